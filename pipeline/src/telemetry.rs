//! What operators of the platform see: structured logs and Prometheus metrics.
//!
//! What comes from outside is escaped in logs for a person ([`printable_lines`]); colours are for terminals only.
//! Names begin with `nuanliu_`. Handles are made once and kept; a metric that cannot be registered twice is shared.

use std::{ffi::OsStr, io::IsTerminal};

use prometheus::{
    Histogram, IntCounter, IntGauge, IntGaugeVec, core::Collector, histogram_opts, register_histogram,
    register_int_counter, register_int_gauge, register_int_gauge_vec,
};
use schemars::JsonSchema;
use schemas::metrics;
use serde::{Deserialize, Serialize};
use tracing_subscriber::{
    EnvFilter,
    field::MakeExt,
    fmt::{FormatFields, format::debug_fn},
};

use crate::printable::printable_lines;

/// The form of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogForm {
    /// For a person at a terminal.
    #[default]
    Text,
    /// One JSON object a line, for a log store.
    Json,
}

/// Starts logging to standard error. `RUST_LOG` overrides the level.
pub fn start_logging(form: LogForm, level: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    let colours = colours(std::io::stderr().is_terminal(), std::env::var_os("NO_COLOR").as_deref());
    let logs =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours);
    // A second start, as in tests, keeps the first.
    let _ = match form {
        LogForm::Text => logs.fmt_fields(text_fields()).try_init(),
        LogForm::Json => logs.json().try_init(),
    };
}

/// Colours are for a person at a terminal who has not declined them (no-color.org).
fn colours(terminal: bool, no_color: Option<&OsStr>) -> bool {
    terminal && no_color.is_none_or(OsStr::is_empty)
}

/// The fields of a log line: the message, then `name=value`, escaped.
fn text_fields() -> impl for<'writer> FormatFields<'writer> + Send + Sync + 'static {
    debug_fn(|writer, field, value| {
        let value = format!("{value:?}");
        let value = printable_lines(&value);
        match field.name() {
            "message" => write!(writer, "{value}"),
            name if writer.has_ansi_escapes() => write!(writer, "\x1b[3m{name}\x1b[0m\x1b[2m=\x1b[0m{value}"),
            name => write!(writer, "{name}={value}"),
        }
    })
    .delimited(" ")
}

metrics! {
    /// Entries that a stage keeps.
    pub STATE_ENTRIES: IntGaugeVec = register_int_gauge_vec!(
        "nuanliu_state_entries", "Entries of an operator's state, on one worker", &["operator", "worker"]);

    /// The last epoch that was bound.
    pub EPOCH_BOUND: IntGauge = register_int_gauge!("nuanliu_epoch_bound", "Last epoch that was bound");

    /// The last epoch that every sink has acknowledged.
    pub EPOCH_DELIVERED: IntGauge =
        register_int_gauge!("nuanliu_epoch_delivered", "Last epoch that every sink has acknowledged");

    /// Whether what comes in goes out.
    pub DELIVERING: IntGauge = register_int_gauge!(
        "nuanliu_delivering", "0 while no epoch was delivered for operations.delivery_seconds");

    /// How long ago the oldest epoch was bound that is not delivered.
    pub FRONTIER_AGE: prometheus::Gauge = prometheus::register_gauge!(
        "nuanliu_frontier_age_seconds", "Age of the oldest epoch that is not delivered");

    /// From binding to the last acknowledgement.
    pub EPOCH_SECONDS: Histogram = register_histogram!(histogram_opts!(
        "nuanliu_epoch_seconds", "Time from the binding of an epoch to the last acknowledgement",
        vec![0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0]));

    /// How long one slice of saving a state held its operator.
    pub CHECKPOINT_PAUSE: Histogram = register_histogram!(histogram_opts!(
        "nuanliu_checkpoint_pause_seconds", "Time for which saving a state held an operator in one go",
        vec![0.000_1, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5]));

    /// What of that was work of its own, and not waiting for a core.
    pub CHECKPOINT_WORK: Histogram = register_histogram!(histogram_opts!(
        "nuanliu_checkpoint_work_seconds", "CPU time that saving a state took of an operator in one go",
        vec![0.000_1, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5]));

    /// The epoch of the newest checkpoint that is complete.
    pub CHECKPOINT_EPOCH: IntGauge =
        register_int_gauge!("nuanliu_checkpoint_epoch", "Epoch of the newest checkpoint that is complete");

    /// How much the last checkpoint wrote.
    pub CHECKPOINT_BYTES: IntGauge =
        register_int_gauge!("nuanliu_checkpoint_bytes", "Bytes of the part that the last checkpoint wrote");

    /// From the end of the epoch to the manifest, which waits for every sink.
    pub CHECKPOINT_SECONDS: Histogram = register_histogram!(histogram_opts!(
        "nuanliu_checkpoint_seconds", "Time from when a checkpoint was due until it was complete",
        vec![0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0]));

    /// Attempts to write a part or a manifest that failed.
    pub CHECKPOINT_FAILURES: IntCounter = register_int_counter!(
        "nuanliu_checkpoint_failures_total", "Attempts to write or to complete a checkpoint that failed");

    /// What states sealed.
    pub COLD_BYTES: IntCounter = register_int_counter!(
        "nuanliu_cold_bytes_total", "Bytes that states have sealed, as they are stored");

    /// How long late data, or a change of the registry, waited for what its facility had sealed.
    pub THAW_SECONDS: Histogram = register_histogram!(histogram_opts!(
        "nuanliu_thaw_seconds", "Time to find what a facility has sealed",
        vec![0.000_01, 0.000_1, 0.001, 0.005, 0.02, 0.05, 0.2, 1.0, 5.0]));

    /// Records of a partition that are not bound yet.
    pub LAG: IntGaugeVec = register_int_gauge_vec!(
        "nuanliu_lag_records", "Records of an input partition that no epoch has bound yet", &["topic", "partition"]);

    /// Records that the dataflow has read.
    pub RECORDS_READ: IntCounter =
        register_int_counter!("nuanliu_records_read_total", "Records read from the input topics");

    /// What a stage could not take any more.
    pub TOO_LATE: prometheus::IntCounterVec = prometheus::register_int_counter_vec!(
        "nuanliu_too_late_total", "Readings (of stage model: hours) that came too late for a stage", &["stage"]);

    /// Readings that came after their windows had closed.
    pub BEYOND_REVISION: prometheus::IntCounterVec = prometheus::register_int_counter_vec!(
        "nuanliu_readings_beyond_revision_total",
        "Readings that came after their windows had closed: stored and flagged, they revise nothing",
        &["enterprise", "metric"]);

    /// Reports whose time of arrival could not be true.
    pub ARRIVALS_NOT_BELIEVED: IntCounter = register_int_counter!(
        "nuanliu_arrivals_not_believed_total",
        "Reports that said they arrived later than the broker stamped them; the stamp is used");
}

/// Every metric of the process, in no order.
#[must_use]
pub fn all() -> Vec<Box<dyn Collector>> {
    let others = connectors::telemetry::all().into_iter().chain(sinks::collectors());
    collectors().into_iter().chain(others).collect()
}

/// The gauge of one operator on one worker.
#[derive(Clone, Debug)]
pub struct StateSize(IntGauge);

impl StateSize {
    /// The gauge of an operator.
    #[must_use]
    pub fn of(operator: &str, worker: usize) -> StateSize {
        StateSize(STATE_ENTRIES.with_label_values(&[operator, &worker.to_string()]))
    }

    /// Sets it.
    pub fn set(&self, entries: usize) {
        self.0.set(entries as i64);
    }
}

/// Records of all input partitions that no epoch has bound yet.
#[must_use]
pub fn lag() -> i64 {
    use prometheus::core::Collector;
    let families = LAG.collect();
    families
        .iter()
        .flat_map(|family| family.get_metric())
        .map(|metric| metric.get_gauge().get_value() as i64)
        .sum()
}

/// Rows that the provincial platform has not received.
#[must_use]
pub fn owed_to_province() -> i64 {
    let of = |metric: &&prometheus::proto::Metric| metric.get_label().iter().any(|l| l.value() == "exchange");
    let families = prometheus::gather();
    let pending = families.iter().filter(|family| family.name() == "nuanliu_sink_pending");
    pending.flat_map(|family| family.get_metric()).filter(of).map(|m| m.get_gauge().get_value() as i64).sum()
}

/// The metrics in Prometheus' text form.
#[must_use]
pub fn metrics_text() -> String {
    let mut text = String::new();
    match prometheus::TextEncoder::new().encode_utf8(&prometheus::gather(), &mut text) {
        Ok(()) => text,
        Err(error) => format!("# metrics are not readable: {error}\n"),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write,
        sync::{Arc, Mutex},
    };

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// What one line of log becomes.
    fn logged(ansi: bool, log: impl FnOnce()) -> String {
        let written = Written::default();
        let writer = written.clone();
        let logs = tracing_subscriber::fmt()
            .with_writer(move || writer.clone())
            .with_ansi(ansi)
            .without_time()
            .fmt_fields(text_fields())
            .finish();
        tracing::subscriber::with_default(logs, log);
        let bytes = written.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn what_comes_from_outside_steers_no_terminal_and_forges_no_line() {
        let outside = "ST-1\u{1b}]0;x\u{7}\u{9b}2J\u{202e}";
        let forged = "a\n2026-01-01T00:00:00Z ERROR nuanliu: forged";
        let line = logged(false, || {
            let error = std::io::Error::other(outside);
            tracing::warn!(topic = outside, %error, shown = %outside, "about {outside}: {forged}");
        });
        assert!(line.ends_with('\n') && !line.trim_end_matches('\n').contains("\n2026"), "{line:?}");
        assert!(!line.chars().any(|letter| letter.is_control() && letter != '\n'), "{line:?}");
        assert!(!line.contains('\u{202e}'), "{line:?}");
        assert!(line.contains("about ST-1\\u{1b}]0;x\\u{7}\\u{9b}2J\\u{202e}: a\n    2026"), "{line:?}");
        assert!(line.contains("error=ST-1\\u{1b}") && line.contains("shown=ST-1\\u{1b}"), "{line:?}");
    }

    #[test]
    fn a_terminal_gets_colours_of_ours_only() {
        let line = logged(true, || tracing::warn!(shown = %"\u{1b}[31m", "text"));
        assert!(
            line.contains("\u{1b}[3mshown") && line.contains("\\u{1b}[31m") && !line.contains("\u{1b}[31m"),
            "{line:?}"
        );
    }

    #[rstest::rstest]
    #[case(true, None, true)]
    #[case(true, Some(""), true)]
    #[case(true, Some("1"), false)]
    #[case(false, None, false)]
    fn colours_are_for_terminals(
        #[case] terminal: bool,
        #[case] no_color: Option<&str>,
        #[case] wanted: bool,
    ) {
        assert_eq!(colours(terminal, no_color.map(OsStr::new)), wanted);
    }
}
