//! A reading among those around it: what the tests that compare it need to know ([`super::test`]); those of counters are in
//! [`super::counter`].
//!
//! Enters: one series in the order of its times, without impossible values (they are no neighbours). Leaves: one
//! verdict per reading. Guarantees: a mark is a function of the readings up to the next one, in time; `step` folds
//! them from left to right with one reading of look-ahead, so an unfinished mark is judged again when the next
//! reading arrives. Readings of a counter that stand apart are believed together, by the one that confirms them.
//!
//! The definitions are those of `ioos_qc` (spike by the differential method, rate of change, flat line), applied to
//! what is left when impossible values are taken out, with times to the millisecond.

use schemas::{Millis, QualityTest};

use super::{
    counter,
    mark::{Gravity, Mark},
    rule::MetricRule,
    saved::SavedState,
    test::{self, Beside, sentinel},
};
use crate::capacity::RiseLimit;

/// A value at a time.
pub type Point = (Millis, f64);

/// What the readings so far leave behind for the next one. `NaN`, which no value is, stands where there is nothing. Both
/// kinds of quantities share the fields: a city has two of these for every series.
#[derive(Clone, Copy, Debug)]
pub struct State {
    /// The last reading, of a counter the last that was believed; `NaN` before the first.
    pub(super) last: Point,
    /// Since when the value has not changed; of a counter since when it stands apart from what is believed.
    pub(super) since: Millis,
    /// Least value since then; of a counter its last one apart, `NaN` when it does not stand apart.
    pub(super) value: f64,
    /// Greatest value since then, as bits; of a counter what [`super::counter`] packs.
    pub(super) packed: u64,
}

/// What a test of neighbours says of a reading.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Verdict {
    /// Of the reading itself.
    pub mark: Mark,
    /// The readings of a counter since then, which stood apart, are believed with this one.
    pub believed_since: Option<Millis>,
}

impl Verdict {
    /// A verdict that changes no other.
    #[must_use]
    pub fn of(mark: Mark) -> Verdict {
        Verdict { mark, believed_since: None }
    }
}

impl State {
    /// Before the first reading.
    pub const EMPTY: State = State { last: (0, f64::NAN), since: 0, value: f64::NAN, packed: 0 };

    /// What was restored. The state of a counter says nothing of a quantity that goes up and down, nor the other way
    /// round, where a metric has become the other.
    #[must_use]
    pub fn restored(saved: SavedState, counter: bool) -> State {
        match saved {
            SavedState::Gauge { last, since, span } if !counter => State::steady(last, since, span),
            SavedState::Counter { believed, apart } if counter => State::counter(believed, apart),
            SavedState::FormerCounter { believed, .. } if counter => State::counter(believed, None),
            _ => State::EMPTY,
        }
    }

    /// How it is saved.
    #[must_use]
    pub fn saved(self, counter: bool) -> SavedState {
        match (self.is_empty(), counter) {
            (true, _) => SavedState::Empty,
            (false, true) => SavedState::Counter { believed: self.last, apart: self.apart() },
            (false, false) => SavedState::Gauge { last: self.last, since: self.since, span: self.span() },
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.last.1.is_nan()
    }

    fn steady(last: Point, since: Millis, span: (f64, f64)) -> State {
        State { last, since, value: span.0, packed: span.1.to_bits() }
    }

    fn span(&self) -> (f64, f64) {
        (self.value, f64::from_bits(self.packed))
    }
}

/// Judges one reading and takes it into the state. `next` is the reading after it, if there is one yet; `limit` is how far
/// the object's counter can rise, or another quantity change.
#[must_use]
pub fn step(
    state: &mut State,
    rule: &MetricRule,
    limit: RiseLimit,
    point: Point,
    next: Option<Point>,
) -> Verdict {
    if rule.counter {
        counter::step(state, limit, point, next)
    } else {
        Verdict::of(step_gauge(state, rule, limit, point, next))
    }
}

fn step_gauge(
    state: &mut State,
    rule: &MetricRule,
    limit: RiseLimit,
    point: Point,
    next: Option<Point>,
) -> Mark {
    let (at, value) = point;
    // A value that may stand for nothing says nothing about the one before it.
    let next = next.filter(|next| !rule.is_sentinel(next.1));
    if sentinel::stands_for_nothing(rule, value, state.last.1, next) {
        return Mark::CLEAN.with(QualityTest::Sentinel, Gravity::Fail);
    }
    if state.is_empty() {
        *state = State::steady(point, at, (value, value));
        return Mark::CLEAN;
    }
    let (last, since, span) = (state.last, state.since, state.span());
    let wider = (span.0.min(value), span.1.max(value));
    let stands =
        rule.flat.is_some_and(|flat| at - last.0 <= flat.longest_gap && wider.1 - wider.0 < flat.tolerance);
    let (since, span) = if stands { (since, wider) } else { (at, (value, value)) };
    *state = State::steady(point, since, span);
    test::beside(&Beside { rule, limit, last, point, next, unchanged: at - since })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use schemas::time::MINUTE;

    use super::*;
    use crate::validate::{counter::Apart, tests::id};

    fn value() -> impl Strategy<Value = f64> {
        prop_oneof![Just(-0.0), Just(0.0), -1e300..1e300, -50.0..50.0]
    }

    fn apart() -> impl Strategy<Value = Apart> {
        (any::<i32>(), any::<u32>(), value(), any::<u32>()).prop_map(|(since, offset, value, rises)| {
            let since = Millis::from(since);
            Apart { since, last: (since + Millis::from(offset), value), rises }
        })
    }

    fn states() -> impl Strategy<Value = SavedState> {
        let point = move || (any::<Millis>(), value());
        prop_oneof![
            Just(SavedState::Empty),
            (point(), any::<Millis>(), (value(), value()))
                .prop_map(|(last, since, span)| SavedState::Gauge { last, since, span }),
            (point(), prop::option::of(apart()))
                .prop_map(|(believed, apart)| SavedState::Counter { believed, apart }),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_state_is_restored_as_it_was_saved(saved in states()) {
            let counter = matches!(saved, SavedState::Counter { .. });
            // As text, since -0.0 equals 0.0.
            let told = |saved: SavedState| format!("{saved:?}");
            prop_assert_eq!(told(State::restored(saved, counter).saved(counter)), told(saved));
            prop_assert!(State::restored(saved, !counter).is_empty());
        }
    }

    #[test]
    fn a_state_takes_forty_bytes() {
        assert_eq!(size_of::<State>(), 40);
    }

    /// One letter per reading: `.` good, `n` noted, `s` suspect, `f` failed; then the tests that spoke, in order.
    fn judged(code: &str, minutes: i64, values: &[f64]) -> (String, Vec<&'static str>) {
        let rule = MetricRule::of(id(code).metric());
        let points: Vec<Point> =
            values.iter().enumerate().map(|(n, value)| (n as Millis * minutes * MINUTE, *value)).collect();
        let mut state = State::EMPTY;
        let (mut letters, mut tests) = (String::new(), Vec::new());
        for (n, point) in points.iter().enumerate() {
            let mark = step(&mut state, &rule, rule.rise, *point, points.get(n + 1).copied()).mark;
            letters.push(match mark.flag().number() {
                3 => 's',
                4 => 'f',
                _ if mark == Mark::CLEAN => '.',
                _ => 'n',
            });
            tests.extend(mark.failed().names());
        }
        tests.dedup();
        (letters, tests)
    }

    #[rstest::rstest]
    #[case::rests_for_four_hours(60, &[45.0; 6], "....ss", &["flat_line"])]
    #[case::moves(60, &[45.0, 45.0, 45.0, 45.0, 45.1, 45.0], "......", &[])]
    #[case::silence_says_nothing(150, &[45.0; 6], "......", &[])]
    #[case::spike(1, &[45.0, 58.0, 45.0], ".ss", &["spike", "rate_of_change"])]
    #[case::step(10, &[45.0, 60.0, 60.0], "...", &[])]
    #[case::spike_that_takes_its_time(10, &[45.0, 60.0, 45.0], ".s.", &["spike"])]
    #[case::high_spike(10, &[45.0, 70.0, 45.0], ".f.", &["spike"])]
    fn gauges(
        #[case] minutes: i64,
        #[case] values: &[f64],
        #[case] letters: &str,
        #[case] tests: &[&'static str],
    ) {
        assert_eq!(judged("secondary_supply_temp", minutes, values), (letters.to_owned(), tests.to_vec()));
    }

    #[rstest::rstest]
    #[case::power("heat_power", &[800.5; 6], "....ss")]
    #[case::flow("secondary_flow", &[120.25; 6], "....ss")]
    #[case::pressure("secondary_supply_pressure", &[0.452; 6], "....ss")]
    #[case::pressure_never_fails("secondary_supply_pressure", &[0.452; 20], "....ssssssssssssssss")]
    #[case::power_fails("heat_power", &[800.5; 14], "....ssssssssff")]
    #[case::flow_moves("secondary_flow", &[120.25, 120.25, 120.26, 120.25, 120.25, 120.25], "......")]
    #[case::rests("secondary_flow", &[0.0; 20], "....................")]
    #[case::rests_with_an_offset("secondary_flow", &[0.02; 20], "....................")]
    #[case::small_meter_shows_few_digits("heat_power", &[3.2; 20], "....................")]
    #[case::stops_and_freezes("heat_power", &[0.0, 0.0, 0.0, 800.5, 800.5, 800.5, 800.5, 800.5], ".......s")]
    fn frozen_meters(#[case] code: &str, #[case] values: &[f64], #[case] letters: &str) {
        let tests = if letters.contains(['s', 'f']) { vec!["flat_line"] } else { Vec::new() };
        assert_eq!(judged(code, 60, values), (letters.to_owned(), tests));
    }

    #[rstest::rstest]
    #[case::for_two_polls("heat_power", &[32.5, 65535.0, 65535.0, 32.7], ".ff.")]
    #[case::shifted("secondary_flow", &[41.2, 327.67, 655.35, 41.0, 6553.5], ".ff.f")]
    #[case::within_a_smooth_run("secondary_flow", &[327.66, 327.67, 327.68, 327.67, 327.67], ".....")]
    #[case::a_plant_that_rises("heat_power", &[61_000.0, 65535.0, 70_000.0], "...")]
    #[case::genuine_by_what_follows("secondary_flow", &[0.0, 327.67, 330.1], "...")]
    #[case::nothing_else_yet("heat_power", &[65535.0, 65535.0, 40.0, 41.0], "ff..")]
    #[case::missing_value_of_a_logger("heat_power", &[32.5, -999.0, 32.7], ".f.")]
    #[case::power_on_of_a_sensor("supply_air_temp", &[41.0, 85.0, 41.5], ".f.")]
    #[case::hot_air("supply_air_temp", &[80.0, 85.0, 84.0], "...")]
    #[case::hot_water("secondary_supply_temp", &[80.0, 85.0, 84.0], "...")]
    fn sentinels(#[case] code: &str, #[case] values: &[f64], #[case] letters: &str) {
        let tests = if letters.contains('f') { vec!["sentinel"] } else { Vec::new() };
        assert_eq!(judged(code, 10, values), (letters.to_owned(), tests));
    }
}
