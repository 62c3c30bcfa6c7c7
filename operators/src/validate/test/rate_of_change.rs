//! Rate of change: a value that changes faster than its object can is suspect.

use schemas::QualityTest;

use super::{super::mark::{Gravity, Mark}, Beside};

pub fn judge(beside: &Beside<'_>) -> Mark {
    let (last, point) = (beside.last, beside.point);
    match beside.limit.allows((point.1 - last.1).abs(), point.0 - last.0) {
        true => Mark::CLEAN,
        false => Mark::CLEAN.with(QualityTest::RateOfChange, Gravity::Suspect),
    }
}
