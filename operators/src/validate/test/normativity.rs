//! Normativity (C 1.4): a value that had to be normalised is noted and used: unifying forms is what the platform is for.

use schemas::QualityTest;

use super::{super::mark::{Gravity, Mark}, Own};

pub fn judge(own: &Own<'_>) -> Mark {
    match own.reading.normal {
        true => Mark::CLEAN,
        false => Mark::CLEAN.with(QualityTest::Normativity, Gravity::Noted),
    }
}
