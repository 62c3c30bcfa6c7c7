package peers;

import com.sun.management.OperatingSystemMXBean;
import java.io.Serializable;
import java.lang.management.ManagementFactory;
import java.util.Locale;
import java.util.concurrent.atomic.LongAdder;
import org.apache.flink.api.connector.sink2.Sink;
import org.apache.flink.api.connector.sink2.SinkWriter;
import org.apache.flink.api.connector.sink2.WriterInitContext;

/** What a pass comes to. All of it runs in this JVM, so the totals are static. */
final class Totals {
    private Totals() {}

    static final LongAdder readings = new LongAdder(), late = new LongAdder(), bad = new LongAdder();
    static final LongAdder rows = new LongAdder(), checksum = new LongAdder(), checkpoints = new LongAdder();
    static final LongAdder[] failed = {new LongAdder(), new LongAdder(), new LongAdder(), new LongAdder()};
    private static Moment first, last;

    /** Time and the CPU time of this JVM, with compilers and collectors. */
    private record Moment(long nanos, long cpu) {
        static Moment now() {
            var system = (OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();
            return new Moment(System.nanoTime(), system.getProcessCpuTime());
        }
    }

    static void reset() {
        for (LongAdder adder : new LongAdder[] {readings, late, bad, rows, checksum, checkpoints}) adder.reset();
        for (LongAdder adder : failed) adder.reset();
        first = last = null;
    }

    /** The first record has come: what went before was starting up. */
    static synchronized void begun() { if (first == null) first = Moment.now(); }

    static synchronized void ended() { last = Moment.now(); }

    static String json() {
        return String.format(Locale.ROOT,
                "{\"readings\":%d,\"rows\":%d,\"checksum\":\"%016x\",\"failed\":[%s,%s,%s,%s],\"late\":%s,\"bad\":%s,\"checkpoints\":%s,\"seconds\":%.3f,\"cpu_seconds\":%.3f}",
                readings.sum(), rows.sum(), checksum.sum(), failed[0], failed[1], failed[2], failed[3], late, bad, checkpoints,
                (last.nanos - first.nanos) / 1e9, (last.cpu - first.cpu) / 1e9);
    }

    /** What one worker has seen. */
    static final class Part implements Serializable {
        long late;
        private long readings;
        private final long[] failed = new long[4];

        /** Tests the readings of a report and adds them to the window, if it is still open. */
        void check(Report report, Facility facility, Window window) {
            readings += report.readings;
            for (int i = 0; i < report.readings; i++) {
                int metric = report.metrics[i], bits = Rules.check(facility, metric, report.observedAt, report.values[i]);
                if (bits != 0) for (int test = 0; test < 4; test++) failed[test] += bits >> test & 1;
                if (window != null) window.add(metric, report.values[i], bits);
            }
        }

        void addToTotals() {
            Totals.readings.add(readings);
            Totals.late.add(late);
            for (int test = 0; test < 4; test++) Totals.failed[test].add(failed[test]);
        }
    }

    /** Counts rows and adds up their checksums. */
    static final class Counting implements Sink<Row> {
        @Override public SinkWriter<Row> createWriter(WriterInitContext context) {
            return new SinkWriter<>() {
                private long count, sum;

                @Override public void write(Row row, Context written) {
                    count++;
                    sum += row.checksum();
                }

                @Override public void flush(boolean endOfInput) {
                    rows.add(count);
                    checksum.add(sum);
                    count = sum = 0;
                    if (endOfInput) ended();
                }

                @Override public void close() {}
            };
        }
    }
}
