//! Range: a value outside the catalogue's range, or a state that is neither 0 nor 1, fails; one outside the range of its
//! device is suspect, like the user span of `ioos_qc`'s gross range test.

use schemas::QualityTest;

use super::{super::mark::{Gravity, Mark}, Own};

pub fn judge(own: &Own<'_>) -> Mark {
    let (rule, value) = (own.rule, own.reading.value);
    let outside = |(least, greatest): (f64, f64)| value < least || value > greatest;
    if outside(rule.range) || rule.state && value != 0.0 && value != 1.0 {
        Mark::CLEAN.with(QualityTest::Range, Gravity::Fail)
    } else if own.device.is_some_and(outside) {
        Mark::CLEAN.with(QualityTest::Range, Gravity::Suspect)
    } else {
        Mark::CLEAN
    }
}
