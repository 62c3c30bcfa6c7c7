//! Flat line: a value that has not changed for long is suspect, for longer it fails.
//!
//! A run begins at the first value that leaves the range of the run before it, or that follows a long silence.
//! `ioos_qc` instead slides a window; for a value that stands still both agree, for one that creeps within the
//! tolerance the run is never longer than the window.

use schemas::QualityTest;

use super::{super::mark::{Gravity, Mark}, Beside};

pub fn judge(beside: &Beside<'_>) -> Mark {
    let Some(flat) = beside.rule.flat.filter(|flat| beside.point.1.abs() >= flat.above) else {
        return Mark::CLEAN;
    };
    if beside.unchanged >= flat.fail {
        Mark::CLEAN.with(QualityTest::FlatLine, Gravity::Fail)
    } else if beside.unchanged >= flat.suspect {
        Mark::CLEAN.with(QualityTest::FlatLine, Gravity::Suspect)
    } else {
        Mark::CLEAN
    }
}
