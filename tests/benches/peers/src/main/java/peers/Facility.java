package peers;

import java.io.IOException;
import java.util.Arrays;
import org.apache.flink.core.memory.DataInputView;
import org.apache.flink.core.memory.DataOutputView;

/** What is kept of a facility: what its tests need of each metric, and its open windows. */
final class Facility implements Plain<Facility> {
    long hash;
    /** When the last value of each metric was observed. */
    final long[] at = new long[Rules.METRICS];
    /** The last value of each metric and the one before it. */
    final double[] before = new double[2 * Rules.METRICS];
    /** How often the last value came in a row, and how many values are known, at most two. */
    final int[] counts = new int[2 * Rules.METRICS];
    private Window[] open = new Window[2];
    private int windows;

    Facility() {}

    Facility(String code) { hash = Rules.hash(code); }

    Window window(long start) {
        for (int i = 0; i < windows; i++) if (open[i].start == start) return open[i];
        return null;
    }

    Window open(long start) {
        if (windows == open.length) open = Arrays.copyOf(open, 2 * windows);
        return open[windows++] = new Window(start, hash);
    }

    /** Takes a window out. */
    Window close(long start) {
        for (int i = 0; i < windows; i++) {
            Window window = open[i];
            if (window.start != start) continue;
            open[i] = open[--windows];
            open[windows] = null;
            return window;
        }
        throw new IllegalStateException("there is no window that starts at " + start);
    }

    @Override public void write(DataOutputView out) throws IOException {
        out.writeLong(hash);
        for (long time : at) out.writeLong(time);
        for (double value : before) out.writeDouble(value);
        for (int count : counts) out.writeInt(count);
        out.writeInt(windows);
        for (int i = 0; i < windows; i++) open[i].write(out);
    }

    @Override public void read(DataInputView in) throws IOException {
        hash = in.readLong();
        for (int i = 0; i < at.length; i++) at[i] = in.readLong();
        for (int i = 0; i < before.length; i++) before[i] = in.readDouble();
        for (int i = 0; i < counts.length; i++) counts[i] = in.readInt();
        windows = in.readInt();
        open = new Window[Math.max(2, windows)];
        for (int i = 0; i < windows; i++) (open[i] = new Window()).read(in);
    }

    @Override public void copyOf(Facility other) {
        hash = other.hash;
        System.arraycopy(other.at, 0, at, 0, at.length);
        System.arraycopy(other.before, 0, before, 0, before.length);
        System.arraycopy(other.counts, 0, counts, 0, counts.length);
        windows = other.windows;
        open = new Window[other.open.length];
        for (int i = 0; i < windows; i++) (open[i] = new Window()).copyOf(other.open[i]);
    }
}
