//! Spike: further than the metric's limit from both neighbours on the same side is suspect, further than twice as far
//! fails. The differential method of `ioos_qc`.

use schemas::QualityTest;

use super::{super::mark::{Gravity, Mark}, Beside};

pub fn judge(beside: &Beside<'_>) -> Mark {
    let (Some(limit), Some(next)) = (beside.rule.spike, beside.next) else { return Mark::CLEAN };
    let value = beside.point.1;
    let (rise, fall) = (value - beside.last.1, value - next.1);
    let height = if rise * fall > 0.0 { rise.abs().min(fall.abs()) } else { 0.0 };
    if height > 2.0 * limit {
        Mark::CLEAN.with(QualityTest::Spike, Gravity::Fail)
    } else if height > limit {
        Mark::CLEAN.with(QualityTest::Spike, Gravity::Suspect)
    } else {
        Mark::CLEAN
    }
}
