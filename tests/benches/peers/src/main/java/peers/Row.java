package peers;

import org.apache.flink.util.Collector;

/** A finished window of one facility and metric; one instance is reused. */
public final class Row {
    Window window;
    int metric;

    /** Gives a row for every metric that the window has. */
    void giveAll(Collector<Row> out) {
        for (metric = 0; metric < Rules.METRICS; metric++) if (window.has(metric)) out.collect(this);
    }

    long checksum() { return Rules.checksum(window, metric); }
}
