package peers;

import java.io.IOException;
import org.apache.flink.core.memory.DataInputView;
import org.apache.flink.core.memory.DataOutputView;

/** One window of one facility, all metrics side by side: few arrays, because every one is a cache miss. */
final class Window implements Plain<Window> {
    long start, hash;
    /** Sum, least and greatest of each metric. */
    final double[] values = new double[3 * Rules.METRICS];
    /** Good and flagged readings of each metric. */
    final int[] counts = new int[2 * Rules.METRICS];

    Window() {}

    Window(long start, long hash) {
        this.start = start;
        this.hash = hash;
        for (int i = 0; i < values.length; i += 3) {
            values[i + 1] = Double.POSITIVE_INFINITY;
            values[i + 2] = Double.NEGATIVE_INFINITY;
        }
    }

    void add(int metric, double value, int failed) {
        if (failed != 0) counts[2 * metric + 1]++;
        if ((failed & (Rules.RANGE | Rules.RATE | Rules.FLAT)) != 0) return;
        counts[2 * metric]++;
        int i = 3 * metric;
        values[i] += value;
        if (value < values[i + 1]) values[i + 1] = value;
        if (value > values[i + 2]) values[i + 2] = value;
    }

    boolean has(int metric) { return counts[2 * metric] + counts[2 * metric + 1] > 0; }

    @Override public void write(DataOutputView out) throws IOException {
        out.writeLong(start);
        out.writeLong(hash);
        for (double value : values) out.writeDouble(value);
        for (int count : counts) out.writeInt(count);
    }

    @Override public void read(DataInputView in) throws IOException {
        start = in.readLong();
        hash = in.readLong();
        for (int i = 0; i < values.length; i++) values[i] = in.readDouble();
        for (int i = 0; i < counts.length; i++) counts[i] = in.readInt();
    }

    @Override public void copyOf(Window other) {
        start = other.start;
        hash = other.hash;
        System.arraycopy(other.values, 0, values, 0, values.length);
        System.arraycopy(other.counts, 0, counts, 0, counts.length);
    }
}
