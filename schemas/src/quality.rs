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
    pub fn graver(self, other: Flag) -> Flag {
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

/// What a quality test looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Looks {
    /// The reading alone: the verdict stays with it.
    Reading,
    /// The readings around it too: the verdict is found again when one of them arrives.
    Neighbours,
}

/// Which figure of data quality a test that did not pass counts against (C 1.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dimension {
    /// None beyond the flag, which says whether the reading may be used.
    Validity,
    /// That it came in time.
    Timeliness,
    /// That it is in normal form and contradicts no other.
    Consistency,
}

macro_rules! tests {
    ($($(#[doc = $doc:literal])* $variant:ident = $id:literal, $looks:ident, $dimension:ident => $name:literal;)*) => {
        /// A quality test that did not pass.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum QualityTest { $($(#[doc = $doc])* $variant,)* }

        impl QualityTest {
            /// Every test, in the order in which names are listed.
            pub const ALL: &'static [QualityTest] = &[$(QualityTest::$variant,)*];

            /// The name in the column `failed` and on the topics.
            #[must_use]
            pub fn name(self) -> &'static str { match self { $(QualityTest::$variant => $name,)* } }

            /// What it found.
            #[must_use]
            pub fn meaning(self) -> &'static str {
                match self { $(QualityTest::$variant => concat!($($doc),*).trim_ascii(),)* }
            }

            /// Its bit in a [`TestSet`] and in checkpoints, for ever: from 0 to 11 and from 16 to 31, since marks keep
            /// their gravity between.
            #[must_use]
            pub const fn id(self) -> u8 { match self { $(QualityTest::$variant => $id,)* } }

            /// What it looks at.
            #[must_use]
            pub const fn looks(self) -> Looks { match self { $(QualityTest::$variant => Looks::$looks,)* } }

            /// What it counts against.
            #[must_use]
            pub const fn dimension(self) -> Dimension {
                match self { $(QualityTest::$variant => Dimension::$dimension,)* }
            }
        }
    };
}

tests! {
    /// The value or time was not written in the normal form (full-width digits, decimal comma, number as text).
    Normativity = 0, Reading, Consistency => "normativity";
    /// Outside the physical or the device's range.
    Range = 1, Reading, Validity => "range";
    /// A single point far from both neighbours.
    Spike = 2, Neighbours, Validity => "spike";
    /// Changes faster than the object can.
    RateOfChange = 3, Neighbours, Validity => "rate_of_change";
    /// Does not change where a live sensor must.
    FlatLine = 4, Neighbours, Validity => "flat_line";
    /// Arrived later than allowed.
    Timeliness = 5, Reading, Timeliness => "timeliness";
    /// A counter fell and has not counted on there.
    CounterFall = 6, Neighbours, Consistency => "counter_fall";
    /// The first reading of a counter that was reset or replaced, once what follows has confirmed it.
    CounterReset = 7, Neighbours, Validity => "counter_reset";
    /// The same object sent a different value for the same time; this is the latest.
    Corrected = 8, Reading, Consistency => "corrected";
    /// The observation lies ahead of its arrival: the device's clock is fast.
    ClockAhead = 9, Reading, Consistency => "clock_ahead";
    /// A counter rose further than the object can carry, and what follows has not confirmed it: garbage, another
    /// meter or another unit.
    CounterJump = 10, Neighbours, Consistency => "counter_jump";
    /// What a device says when it has not measured: zeros that physics forbids, or the limit of a register.
    Sentinel = 11, Neighbours, Validity => "sentinel";
}

/// A set of quality tests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TestSet(pub u32);

impl TestSet {
    /// The empty set.
    pub const EMPTY: TestSet = TestSet(0);
    /// Every test.
    pub const ALL: TestSet = TestSet::of(None, None);

    /// The tests that look at neighbours.
    #[must_use]
    pub const fn of_neighbours() -> TestSet {
        TestSet::of(Some(Looks::Neighbours), None)
    }

    /// The tests that count against a figure of data quality.
    #[must_use]
    pub const fn of_dimension(dimension: Dimension) -> TestSet {
        TestSet::of(None, Some(dimension))
    }

    const fn of(looks: Option<Looks>, dimension: Option<Dimension>) -> TestSet {
        let (mut set, mut n) = (0_u32, 0);
        while n < QualityTest::ALL.len() {
            let test = QualityTest::ALL[n];
            let looks = match looks {
                Some(looks) => test.looks() as u8 == looks as u8,
                None => true,
            };
            let counts = match dimension {
                Some(dimension) => test.dimension() as u8 == dimension as u8,
                None => true,
            };
            if looks && counts {
                set |= 1 << test.id();
            }
            n += 1;
        }
        TestSet(set)
    }

    /// Whether both have a test in common.
    #[must_use]
    pub const fn meets(self, other: TestSet) -> bool {
        self.0 & other.0 != 0
    }

    /// Adds a test.
    pub fn insert(&mut self, test: QualityTest) {
        self.0 |= 1 << test.id();
    }

    /// Removes a test.
    pub fn remove(&mut self, test: QualityTest) {
        self.0 &= !(1 << test.id());
    }

    /// Whether the test is in the set.
    #[must_use]
    pub fn contains(self, test: QualityTest) -> bool {
        self.0 & (1 << test.id()) != 0
    }

    /// The names, in the order of [`QualityTest::ALL`].
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        // Most sets are empty: then no test is looked at.
        let tests = if self == TestSet::EMPTY { &[] } else { QualityTest::ALL };
        tests.iter().filter(move |test| self.contains(**test)).map(|test| test.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_given_once_and_leaves_room_for_gravity() {
        assert_eq!(TestSet::ALL.0.count_ones() as usize, QualityTest::ALL.len());
        assert_eq!(TestSet::ALL.names().count(), QualityTest::ALL.len());
        assert!(QualityTest::ALL.iter().all(|test| !(12..16).contains(&test.id())));
    }

    #[test]
    fn sets_hold_what_the_catalogue_says() {
        assert!(TestSet::of_neighbours().contains(QualityTest::Spike));
        assert!(!TestSet::of_neighbours().contains(QualityTest::Range));
        let late = TestSet::of_dimension(Dimension::Timeliness);
        assert_eq!(late.names().collect::<Vec<_>>(), ["timeliness"]);
        let mut set = TestSet::EMPTY;
        set.insert(QualityTest::Corrected);
        assert!(set.meets(TestSet::of_dimension(Dimension::Consistency)) && !set.meets(late));
    }
}
