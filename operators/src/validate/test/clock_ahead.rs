//! Clock ahead: a clock that runs ahead puts the value at the wrong time, so its readings are suspect.

use schemas::{Millis, QualityTest, time};

use super::{super::mark::{Gravity, Mark}, Arrival};

/// How far an observation may lie ahead of its arrival before its clock counts as fast.
pub const CLOCK_TOLERANCE: Millis = time::MINUTE;

pub fn judge(arrival: &Arrival) -> Mark {
    match arrival.age < -CLOCK_TOLERANCE {
        true => Mark::CLEAN.with(QualityTest::ClockAhead, Gravity::Suspect),
        false => Mark::CLEAN,
    }
}
