package peers;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.apache.flink.streaming.api.operators.AbstractStreamOperator;
import org.apache.flink.streaming.api.operators.OneInputStreamOperator;
import org.apache.flink.streaming.api.operators.Output;
import org.apache.flink.streaming.api.watermark.Watermark;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;
import org.apache.flink.util.Collector;

/** The ceiling: a plain map and no timers. Its state is lost at a failure and cannot move to another worker. */
final class Unkept extends AbstractStreamOperator<Row> implements OneInputStreamOperator<Report, Row> {
    private final long width;
    private final Totals.Part part = new Totals.Part();
    private transient Map<String, Facility> facilities;
    /** Windows by their last millisecond. */
    private transient TreeMap<Long, List<Facility>> open;
    private long watermark = Long.MIN_VALUE;

    Unkept(long width) { this.width = width; }

    @Override public void open() {
        facilities = new HashMap<>();
        open = new TreeMap<>();
    }

    @Override public void processElement(StreamRecord<Report> record) {
        Report report = record.getValue();
        Facility facility = facilities.get(report.facility);
        if (facility == null) facilities.put(report.facility, facility = new Facility(report.facility));
        long start = Math.floorDiv(report.observedAt, width) * width, last = start + width - 1;
        Window window = null;
        if (last <= watermark) {
            part.late += report.readings;
        } else if ((window = facility.window(start)) == null) {
            window = facility.open(start);
            open.computeIfAbsent(last, key -> new ArrayList<>()).add(facility);
        }
        part.check(report, facility, window);
    }

    @Override public void processWatermark(Watermark mark) throws Exception {
        watermark = mark.getTimestamp();
        Row row = new Row();
        Collector<Row> out = new ToOutput(output, row);
        while (!open.isEmpty() && open.firstKey() <= watermark) {
            long start = open.firstKey() + 1 - width;
            for (Facility facility : open.pollFirstEntry().getValue()) {
                row.window = facility.close(start);
                row.giveAll(out);
            }
        }
        super.processWatermark(mark);
    }

    @Override public void finish() { part.addToTotals(); }

    /** Gives rows on in one reused record. */
    private static final class ToOutput implements Collector<Row> {
        private final Output<StreamRecord<Row>> output;
        private final StreamRecord<Row> record;

        ToOutput(Output<StreamRecord<Row>> output, Row row) {
            this.output = output;
            record = new StreamRecord<>(row);
        }

        @Override public void collect(Row row) { output.collect(record); }
        @Override public void close() {}
    }
}
