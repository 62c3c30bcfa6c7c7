package peers;

import java.io.IOException;
import java.util.Arrays;
import org.apache.flink.core.memory.DataInputView;
import org.apache.flink.core.memory.DataOutputView;
import org.apache.flink.types.StringValue;

/** A decoded report on its way to the worker of its facility; one instance is reused. */
final class Report implements Plain<Report> {
    String facility;
    long observedAt;
    int readings;
    byte[] metrics = new byte[8];
    double[] values = new double[8];

    void add(int metric, double value) {
        if (readings == metrics.length) grow(2 * readings);
        metrics[readings] = (byte) metric;
        values[readings++] = value;
    }

    private void grow(int room) {
        metrics = Arrays.copyOf(metrics, room);
        values = Arrays.copyOf(values, room);
    }

    @Override public void write(DataOutputView out) throws IOException {
        StringValue.writeString(facility, out);
        out.writeLong(observedAt);
        out.writeByte(readings);
        for (int i = 0; i < readings; i++) {
            out.writeByte(metrics[i]);
            out.writeDouble(values[i]);
        }
    }

    @Override public void read(DataInputView in) throws IOException {
        facility = StringValue.readString(in);
        observedAt = in.readLong();
        readings = in.readUnsignedByte();
        if (readings > metrics.length) grow(readings);
        for (int i = 0; i < readings; i++) {
            metrics[i] = in.readByte();
            values[i] = in.readDouble();
        }
    }

    @Override public void copyOf(Report other) {
        facility = other.facility;
        observedAt = other.observedAt;
        readings = other.readings;
        metrics = other.metrics.clone();
        values = other.values.clone();
    }
}
