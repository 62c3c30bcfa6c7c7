//! lateness: what came too late for a stage is counted, and said in the log.
//!
//! Enters: what windows, alarms and models say of an epoch. Leaves: the same. Guarantees: every reading or hour that a
//! stage could not take any more is counted; a warning a minute and worker at most, and none is lost: it says how many
//! came since the last.

use std::{
    rc::Rc,
    time::{Duration, Instant},
};

use operators::{alarm::AlarmedEpoch, model::ModelledEpoch, window::WindowedEpoch};
use schemas::Epoch;
use timely::dataflow::{StreamVec, operators::Inspect};

use crate::telemetry;

/// Least time between two warnings of one stage on one worker.
const BETWEEN_WARNINGS: Duration = Duration::from_secs(60);

/// What may have been too late.
pub trait Late {
    /// The stage, as it is labelled.
    const STAGE: &'static str;
    /// How many readings (of a model: hours) came too late in the epoch.
    fn too_late(&self) -> u64;
    /// One facility that sent some, where that is known.
    fn facility(&self) -> Option<&str> {
        None
    }
}

impl Late for WindowedEpoch {
    const STAGE: &'static str = "window";
    fn too_late(&self) -> u64 {
        self.too_late.readings
    }
    fn facility(&self) -> Option<&str> {
        self.too_late.facility.as_deref()
    }
}

impl Late for AlarmedEpoch {
    const STAGE: &'static str = "alarms";
    fn too_late(&self) -> u64 {
        self.too_late
    }
}

impl Late for ModelledEpoch {
    const STAGE: &'static str = "model";
    fn too_late(&self) -> u64 {
        self.too_late
    }
}

/// Counts what came too late.
pub trait CountLate {
    /// The same stream, counted.
    #[must_use]
    fn count_late(self) -> Self;
}

impl<'s, T: Late + 'static> CountLate for StreamVec<'s, Epoch, Rc<T>> {
    fn count_late(self) -> Self {
        let mut warnings = Warnings::default();
        self.inspect(move |epoch| {
            if epoch.too_late() > 0 {
                telemetry::TOO_LATE.with_label_values(&[T::STAGE]).inc_by(epoch.too_late());
                if let Some(count) = warnings.due(epoch.too_late(), Instant::now()) {
                    let facility = epoch.facility().unwrap_or_default();
                    tracing::warn!(
                        stage = T::STAGE,
                        count,
                        facility,
                        "readings came too late and revise nothing: see rules.lateness_hours, day_lateness_hours and \
                         alarm_horizon_minutes"
                    );
                }
            }
        })
    }
}

/// How many came since the last warning, and when that was.
#[derive(Debug, Default)]
struct Warnings {
    untold: u64,
    last: Option<Instant>,
}

impl Warnings {
    /// Counts; the number to warn of when a warning is due.
    fn due(&mut self, count: u64, now: Instant) -> Option<u64> {
        self.untold += count;
        if self.last.is_some_and(|last| now.duration_since(last) < BETWEEN_WARNINGS) {
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.untold))
    }
}

#[cfg(test)]
mod tests {
    use operators::window::TooLate;
    use timely::dataflow::operators::{Capture, ToStream, capture::Extract};

    use super::*;

    #[test]
    fn a_warning_a_minute_says_how_many() {
        let (mut warnings, start) = (Warnings::default(), Instant::now());
        let mut at = |seconds, count| warnings.due(count, start + Duration::from_secs(seconds));
        assert_eq!(
            [at(0, 3), at(10, 4), at(59, 1), at(60, 2), at(61, 9)],
            [Some(3), None, None, Some(7), None]
        );
    }

    #[test]
    fn what_is_too_late_is_counted_by_stage() {
        let windowed = |readings| WindowedEpoch {
            too_late: TooLate { readings, facility: None },
            ..WindowedEpoch::default()
        };
        let counted = || telemetry::TOO_LATE.with_label_values(&["window"]).get();
        let before = counted();
        let passed = timely::example(move |scope| {
            let epochs = vec![Rc::new(windowed(5)), Rc::new(windowed(0)), Rc::new(windowed(2))];
            let stream: StreamVec<'_, Epoch, _> = epochs.to_stream(scope);
            timely::dataflow::operators::vec::Map::map(stream.count_late(), |epoch| epoch.too_late())
                .capture()
        });
        assert_eq!(
            passed.extract().into_iter().map(|(_, all)| all).collect::<Vec<_>>().concat(),
            [0, 2, 5],
            "extract sorts"
        );
        assert_eq!(counted() - before, 7);
        assert!(telemetry::metrics_text().contains("nuanliu_too_late_total{stage=\"window\"}"));
    }
}
