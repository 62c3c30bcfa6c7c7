package peers;

import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.state.CheckpointListener;
import org.apache.flink.api.common.state.ValueState;
import org.apache.flink.api.common.state.ValueStateDescriptor;
import org.apache.flink.streaming.api.functions.KeyedProcessFunction;
import org.apache.flink.util.Collector;

/** The job as an expert writes it: state that survives a failure, a timer per facility and window, one look-up a report. */
final class Keyed extends KeyedProcessFunction<String, Report, Row> implements CheckpointListener {
    private final long width;
    private final Totals.Part part = new Totals.Part();
    private transient ValueState<Facility> state;
    private transient Row row;

    Keyed(long width) { this.width = width; }

    @Override public void open(OpenContext context) {
        state = getRuntimeContext().getState(new ValueStateDescriptor<>("facility", Plain.type(Facility.class, Plain.Facilities.ONE)));
        row = new Row();
    }

    @Override public void processElement(Report report, Context context, Collector<Row> out) throws Exception {
        // The heap backend gives the live object, or a copy while a snapshot needs the old one: no update after changes.
        Facility facility = state.value();
        if (facility == null) state.update(facility = new Facility(report.facility));
        long start = Math.floorDiv(report.observedAt, width) * width, last = start + width - 1;
        Window window = null;
        if (last <= context.timerService().currentWatermark()) {
            part.late += report.readings;
        } else if ((window = facility.window(start)) == null) {
            window = facility.open(start);
            context.timerService().registerEventTimeTimer(last);
        }
        part.check(report, facility, window);
    }

    @Override public void onTimer(long last, OnTimerContext context, Collector<Row> out) throws Exception {
        row.window = state.value().close(last + 1 - width);
        row.giveAll(out);
    }

    @Override public void notifyCheckpointComplete(long checkpoint) {
        if (getRuntimeContext().getTaskInfo().getIndexOfThisSubtask() == 0) Totals.checkpoints.increment();
    }

    @Override public void close() { part.addToTotals(); }
}
