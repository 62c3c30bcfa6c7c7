//! Timeliness: late arrival is noted and no more: a late reading is as true as a punctual one, and KPIs are revised with it.

use schemas::{Millis, QualityTest, time};

use super::{super::mark::{Gravity, Mark}, Arrival};

/// How long a reading may take to arrive when the registry does not say (`arrives_within`).
pub const ARRIVES_WITHIN: Millis = 15 * time::MINUTE;

pub fn judge(arrival: &Arrival) -> Mark {
    match arrival.age > arrival.within {
        true => Mark::CLEAN.with(QualityTest::Timeliness, Gravity::Noted),
        false => Mark::CLEAN,
    }
}
