//! What a reading's tests said, packed into 32 bits, because remembered readings keep it.

use schemas::{Flag, QualityTest, TestSet};
use serde::{Deserialize, Serialize};

/// How much a test that did not pass weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gravity {
    /// Worth knowing; the value is as good as any.
    Noted,
    /// The value is doubtful.
    Suspect,
    /// The value is impossible.
    Fail,
}

/// The tests a reading did not pass and how grave that is.
///
/// A reading's *own* tests need nothing but the reading and stay with it; its *neighbour* tests (spike, rate of
/// change, flat line, counter) are repeated when a neighbour arrives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark(u32);

// Gravity lies between the tests: ids of tests leave these bits out.
const OWN_SUSPECT: u32 = 1 << 12;
const IMPOSSIBLE: u32 = 1 << 13;
const NEIGHBOUR_SUSPECT: u32 = 1 << 14;
const NEIGHBOUR_FAIL: u32 = 1 << 15;
const TESTS: u32 = !(OWN_SUSPECT | IMPOSSIBLE | NEIGHBOUR_SUSPECT | NEIGHBOUR_FAIL);
const NEIGHBOUR: u32 = TestSet::of_neighbours().0 | NEIGHBOUR_SUSPECT | NEIGHBOUR_FAIL;
const _: () = assert!(TestSet::ALL.0 & !TESTS == 0, "a test has an id from 12 to 15, where gravity lies");

const fn bit(test: QualityTest) -> u32 {
    1 << test.id()
}

impl Mark {
    /// Every test passed.
    pub const CLEAN: Mark = Mark(0);

    /// Nothing was measured: the value says nothing about its neighbours either.
    pub const NO_MEASUREMENT: Mark = Mark(bit(QualityTest::Sentinel) | IMPOSSIBLE);

    /// A mark of its lower and its upper half.
    #[inline]
    #[must_use]
    pub fn of_halves(low: u16, high: u16) -> Mark {
        Mark(u32::from(high) << 16 | u32::from(low))
    }

    /// The lower and the upper half.
    #[inline]
    #[must_use]
    pub fn halves(self) -> (u16, u16) {
        (self.0 as u16, (self.0 >> 16) as u16)
    }

    /// Adds the verdict of one test.
    #[must_use]
    pub fn with(self, test: QualityTest, gravity: Gravity) -> Mark {
        let neighbour = bit(test) & NEIGHBOUR != 0;
        let weight = match (gravity, neighbour) {
            (Gravity::Noted, _) => 0,
            (Gravity::Suspect, false) => OWN_SUSPECT,
            (Gravity::Fail, false) => IMPOSSIBLE,
            (Gravity::Suspect, true) => NEIGHBOUR_SUSPECT,
            (Gravity::Fail, true) => NEIGHBOUR_FAIL,
        };
        Mark(self.0 | bit(test) | weight)
    }

    /// The verdicts of the own tests alone.
    #[must_use]
    pub fn own(self) -> Mark {
        // What is impossible is not compared, so that all it holds is its own.
        if self.impossible() { self } else { Mark(self.0 & !NEIGHBOUR) }
    }

    /// The verdicts of either.
    #[must_use]
    pub fn union(self, other: Mark) -> Mark {
        Mark(self.0 | other.0)
    }

    /// Whether it is of a counter that stands apart from what is believed of it.
    #[must_use]
    pub fn stands_apart(self) -> bool {
        self.0 & (bit(QualityTest::CounterFall) | bit(QualityTest::CounterJump)) != 0
    }

    /// Whether the value itself is impossible, so that it says nothing about its neighbours.
    #[must_use]
    pub fn impossible(self) -> bool {
        self.0 & IMPOSSIBLE != 0
    }

    /// The aggregate flag in QARTOD's precedence; the range test always runs, so a clean mark is good.
    #[must_use]
    pub fn flag(self) -> Flag {
        if self.0 & (IMPOSSIBLE | NEIGHBOUR_FAIL) != 0 {
            Flag::Fail
        } else if self.0 & (OWN_SUSPECT | NEIGHBOUR_SUSPECT) != 0 {
            Flag::Suspect
        } else {
            Flag::Good
        }
    }

    /// The tests that did not pass.
    #[must_use]
    pub fn failed(self) -> TestSet {
        TestSet(self.0 & TESTS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_verdicts_survive_when_neighbours_are_judged_anew() {
        let mark = Mark::CLEAN
            .with(QualityTest::Timeliness, Gravity::Noted)
            .with(QualityTest::Range, Gravity::Suspect)
            .with(QualityTest::Spike, Gravity::Fail);
        assert_eq!(mark.flag(), Flag::Fail);
        assert_eq!(mark.failed().names().collect::<Vec<_>>(), ["range", "spike", "timeliness"]);
        assert_eq!(mark.own().flag(), Flag::Suspect);
        assert_eq!(mark.own().failed().names().collect::<Vec<_>>(), ["range", "timeliness"]);
        assert!(!mark.impossible());
        assert!(Mark::CLEAN.with(QualityTest::Range, Gravity::Fail).impossible());
    }

    #[test]
    fn a_sentinel_is_impossible_by_itself_or_fails_by_its_neighbours() {
        assert!(Mark::NO_MEASUREMENT.impossible());
        assert_eq!(Mark::NO_MEASUREMENT.own(), Mark::NO_MEASUREMENT);
        let by_neighbours = Mark::CLEAN.with(QualityTest::Sentinel, Gravity::Fail);
        assert_eq!((by_neighbours.flag(), by_neighbours.own()), (Flag::Fail, Mark::CLEAN));
        assert!(!by_neighbours.impossible());
    }

    #[test]
    fn what_is_only_noted_stays_good() {
        for test in [QualityTest::Timeliness, QualityTest::Normativity, QualityTest::CounterReset] {
            assert_eq!(Mark::CLEAN.with(test, Gravity::Noted).flag(), Flag::Good);
        }
    }
}
