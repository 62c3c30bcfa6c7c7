//! lateness: what came too late for a stage is counted, and said in the log.
//!
//! Enters: what windows, alarms and models say of an epoch. Leaves: the same, and for the conditions who sends it.
//! Guarantees: every reading or hour that a stage could not take any more is counted; a warning a minute and worker at
//! most, and none is lost: it says how many came since the last.

use std::{
    collections::BTreeMap,
    rc::Rc,
    time::{Duration, Instant},
};

use operators::{alarm::AlarmedEpoch, model::ModelledEpoch, window::WindowedEpoch};
use schemas::{Code, Epoch};
use timely::dataflow::{
    StreamVec,
    operators::{Inspect, vec::Map},
};

use crate::{conditions::LateReadings, telemetry};

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
        self.too_late.readings()
    }
    fn facility(&self) -> Option<&str> {
        self.too_late.facility()
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
                        "readings came too late and revise nothing: see rules.day_lateness_hours and alarm_horizon_minutes"
                    );
                }
            }
        })
    }
}

/// Tells who sends what comes too late.
pub trait ByEnterprise<'s> {
    /// How many readings came after their windows had closed, by enterprise. They are counted by metric too.
    fn by_enterprise(self) -> StreamVec<'s, Epoch, (Code, u64)>;
}

impl<'s> ByEnterprise<'s> for StreamVec<'s, Epoch, Rc<WindowedEpoch>> {
    fn by_enterprise(self) -> StreamVec<'s, Epoch, (Code, u64)> {
        self.flat_map(|epoch| {
            let mut sums: BTreeMap<Code, u64> = BTreeMap::new();
            for (enterprise, metric, readings) in epoch.too_late.iter() {
                telemetry::BEYOND_REVISION
                    .with_label_values(&[enterprise.as_str(), metric.code()])
                    .inc_by(readings);
                *sums.entry(enterprise.clone()).or_default() += readings;
            }
            sums
        })
    }
}

/// Tells the conditions what comes too late.
pub trait ToldTo {
    /// Counts it.
    fn told_to(self, late: &LateReadings);
}

impl ToldTo for StreamVec<'_, Epoch, (Code, u64)> {
    fn told_to(self, late: &LateReadings) {
        let late = late.clone();
        self.inspect(move |(enterprise, readings)| late.add(enterprise, *readings, Instant::now()));
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
    use schemas::{Catalogue, Facility, FacilityKind};
    use timely::dataflow::operators::{Capture, ToStream, capture::Extract};

    use super::*;

    /// So many readings of one metric that came too late from an enterprise's station.
    fn windowed(enterprise: &str, readings: usize) -> WindowedEpoch {
        let mut facility = Facility::new("ST-1", FacilityKind::Station);
        facility.enterprise = (!enterprise.is_empty()).then(|| enterprise.into());
        let metric = Catalogue::in_force().id("heat_power").unwrap();
        let mut too_late = TooLate::default();
        too_late.count(&facility, std::iter::repeat_n(metric, readings));
        WindowedEpoch { too_late, ..WindowedEpoch::default() }
    }

    #[test]
    fn who_sends_what_comes_too_late_is_told() {
        let late = LateReadings::default();
        let told = late.clone();
        timely::example(move |scope| {
            let epochs = [("EN-1", 5), ("", 2), ("EN-1", 1), ("EN-2", 0)];
            let epochs = epochs.map(|(enterprise, readings)| Rc::new(windowed(enterprise, readings)));
            let stream: StreamVec<'_, Epoch, _> = epochs.to_vec().to_stream(scope);
            stream.by_enterprise().told_to(&told);
        });
        let now = late.now(Instant::now());
        assert_eq!(now, [(String::new(), 2), ("EN-1".to_owned(), 6)]);
        let counted = telemetry::BEYOND_REVISION.with_label_values(&["EN-1", "heat_power"]).get();
        assert_eq!(counted, 6);
    }

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
        let counted = || telemetry::TOO_LATE.with_label_values(&["window"]).get();
        let before = counted();
        let passed = timely::example(move |scope| {
            let epochs = [5, 0, 2].map(|readings| Rc::new(windowed("", readings))).to_vec();
            let stream: StreamVec<'_, Epoch, _> = epochs.to_stream(scope);
            Map::map(stream.count_late(), |epoch| epoch.too_late()).capture()
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
