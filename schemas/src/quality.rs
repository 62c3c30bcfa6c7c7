//! Quality marks: QARTOD flags and the tests behind them (C 1.4, T 2.1.1). A mark never destroys a value.

use serde::{Deserialize, Serialize};

/// QARTOD flag of a reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Flag {
    /// Every test that ran passed.
    Good,
    /// No test ran.
    NotEvaluated,
    /// A test found it doubtful.
    Suspect,
    /// A test found it impossible.
    Fail,
    /// Nothing was measured.
    Missing,
}

impl Flag {
    /// The QARTOD number: 1 good, 2 not evaluated, 3 suspect, 4 fail, 9 missing.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Flag::Good => 1,
            Flag::NotEvaluated => 2,
            Flag::Suspect => 3,
            Flag::Fail => 4,
            Flag::Missing => 9,
        }
    }

    /// Whether KPIs and alarms may rest on the reading.
    #[must_use]
    pub fn usable(self) -> bool {
        matches!(self, Flag::Good | Flag::NotEvaluated)
    }

    /// The graver of two flags in QARTOD's precedence 4 > 3 > 1 > 2 > 9.
    #[must_use]
    pub fn and(self, other: Flag) -> Flag {
        let rank = |flag: Flag| match flag {
            Flag::Fail => 4,
            Flag::Suspect => 3,
            Flag::Good => 2,
            Flag::NotEvaluated => 1,
            Flag::Missing => 0,
        };
        if rank(other) > rank(self) { other } else { self }
    }
}

macro_rules! tests {
    ($($(#[$doc:meta])* $variant:ident => $name:literal;)*) => {
        /// A quality test that did not pass. Stored as a bit of [`TestSet`], so the order is part of the format.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum QualityTest { $($(#[$doc])* $variant,)* }

        impl QualityTest {
            /// Every test, in bit order.
            pub const ALL: &'static [QualityTest] = &[$(QualityTest::$variant,)*];

            /// The name in the column `failed` and on the topics.
            #[must_use]
            pub fn name(self) -> &'static str { match self { $(QualityTest::$variant => $name,)* } }
        }
    };
}

tests! {
    /// The value or time was not written in the normal form (full-width digits, decimal comma, number as text).
    Normativity => "normativity";
    /// Outside the physical or the device's range.
    Range => "range";
    /// A single point far from both neighbours.
    Spike => "spike";
    /// Changes faster than the object can.
    RateOfChange => "rate_of_change";
    /// Does not change where a live sensor must.
    FlatLine => "flat_line";
    /// Arrived later than allowed.
    Timeliness => "timeliness";
    /// A counter fell and has not counted on there.
    CounterFall => "counter_fall";
    /// The first reading of a counter that was reset or replaced, once what follows has confirmed it.
    CounterReset => "counter_reset";
    /// The same object sent a different value for the same time; this is the latest.
    Corrected => "corrected";
    /// The observation lies ahead of its arrival: the device's clock is fast.
    ClockAhead => "clock_ahead";
    /// A counter rose further than the object can carry, and what follows has not confirmed it: garbage, another
    /// meter or another unit.
    CounterJump => "counter_jump";
    /// What a device says when it has not measured: zeros that physics forbids, or the limit of a register.
    Sentinel => "sentinel";
}

/// A set of quality tests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TestSet(pub u16);

impl TestSet {
    /// The empty set.
    pub const EMPTY: TestSet = TestSet(0);

    /// Adds a test.
    pub fn insert(&mut self, test: QualityTest) {
        self.0 |= 1 << test as u8;
    }

    /// Removes a test.
    pub fn remove(&mut self, test: QualityTest) {
        self.0 &= !(1 << test as u8);
    }

    /// Whether the test is in the set.
    #[must_use]
    pub fn contains(self, test: QualityTest) -> bool {
        self.0 & (1 << test as u8) != 0
    }

    /// The names, in bit order.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        // Most sets are empty: then no test is looked at.
        let tests = if self == TestSet::EMPTY { &[] } else { QualityTest::ALL };
        tests.iter().filter(move |test| self.contains(**test)).map(|test| test.name())
    }
}
