//! The quality tests of readings and of what surrounds them, one file each; those of counters are in [`super::counter`].
//!
//! Enters: what a test looks at. Leaves: its mark. Guarantees: every test is a pure function; the engine, which remembers
//! reports and judges them again, names none. A test is one file here, an entry in one of the lists below, and its line in
//! `schemas/src/quality.rs`, which gives it a name, an id and what it counts against.

#[cfg(test)]
mod tests;

use schemas::Millis;

use super::{mark::Mark, neighbours::Point, rule::MetricRule};
use crate::{
    capacity::RiseLimit,
    flow::{Observation, Observed},
};

/// What tests of one reading look at.
pub struct Own<'a> {
    /// The limits of its metric.
    pub rule: &'a MetricRule,
    /// The reading.
    pub reading: &'a Observed,
    /// Least and greatest value that the device can give, where the registry says.
    pub device: Option<(f64, f64)>,
    /// Whether its report says nothing but zero.
    pub blank: bool,
}

/// What tests of a report's times look at.
pub struct Arrival {
    /// From the observation to the arrival, ms.
    pub age: Millis,
    /// How long a reading may take to arrive, ms.
    pub within: Millis,
}

impl Arrival {
    /// The times of a report, which may take so long to arrive, ms.
    #[must_use]
    pub fn of(report: &Observation<'_>, within: Millis) -> Arrival {
        Arrival { age: report.received_at.saturating_sub(report.observed_at), within }
    }
}

/// What tests of a quantity that goes up and down look at: a reading and those around it.
pub struct Beside<'a> {
    /// The limits of its metric.
    pub rule: &'a MetricRule,
    /// How far it can change.
    pub limit: RiseLimit,
    /// The reading before.
    pub last: Point,
    /// The reading.
    pub point: Point,
    /// The reading after, if there is one yet.
    pub next: Option<Point>,
    /// For how long the value has not changed, ms.
    pub unchanged: Millis,
}

macro_rules! tests {
    ($($(#[$doc:meta])* $list:ident($facts:ty): $($test:ident),*;)*) => {
        $($(pub mod $test;)*)*

        $(
            $(#[$doc])*
            #[inline]
            #[must_use]
            pub fn $list(facts: &$facts) -> Mark {
                let mark = Mark::CLEAN;
                $(let mark = mark.union($test::judge(facts));)*
                mark
            }
        )*
    };
}

tests! {
    /// What the tests of one reading say.
    own(Own<'_>): normativity, sentinel, range;
    /// What a report's times say about all of its readings.
    arrival(Arrival): timeliness, clock_ahead;
    /// What the tests of neighbours say.
    beside(Beside<'_>): rate_of_change, spike, flat_line;
}
