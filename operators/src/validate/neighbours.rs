//! The tests that compare a reading with those around it: spike, rate of change, flat line, counter.
//!
//! Enters: one series in the order of its times, without impossible values (they are no neighbours). Leaves: one
//! mark per reading. Guarantees: a mark is a function of the readings up to the next one, in time; `step` folds
//! them from left to right with one reading of look-ahead, so an unfinished mark is judged again when the next
//! reading arrives.
//!
//! The definitions are those of `ioos_qc` (spike by the differential method, rate of change, flat line), applied to
//! what is left when impossible values are taken out, with times to the millisecond.

use schemas::{Millis, QualityTest, time};

use super::{
    mark::{Gravity, Mark},
    rule::{Flat, Rule},
    saved::SavedState,
};

/// A value at a time.
pub type Point = (Millis, f64);

/// A counter that fell to at most this share of what it had may have been reset.
pub const RESET_SHARE: f64 = 0.01;
/// A counter that counts on for this long at a lower level is believed again.
pub const RESTART_AFTER: Millis = time::DAY;

/// What the readings so far leave behind for the next one. `NaN`, which no value is, stands where there is nothing: a city
/// has two of these for every series.
#[derive(Clone, Copy, Debug)]
pub struct State {
    /// The last reading, of a counter the last that was believed; `NaN` before the first.
    last: Point,
    /// Since when the value has not changed; of a counter since when it stands where it fell to.
    since: Millis,
    /// Least and greatest value since then; of a counter the value it fell to and its last one there, `NaN` when it has
    /// not fallen.
    span: (f64, f64),
}

impl State {
    /// Before the first reading.
    pub const EMPTY: State = State { last: (0, f64::NAN), since: 0, span: (f64::NAN, f64::NAN) };

    /// What was restored. The state of a counter says nothing of a quantity that goes up and down, nor the other way
    /// round, where a metric has become the other.
    #[must_use]
    pub fn restored(saved: SavedState, counter: bool) -> State {
        match saved {
            SavedState::Gauge { last, since, span } if !counter => State { last, since, span },
            SavedState::Counter { high, fallen: Some(((since, bottom), before)) } if counter => {
                State { last: high, since, span: (bottom, before) }
            }
            SavedState::Counter { high, fallen: None } if counter => State::believed(high),
            _ => State::EMPTY,
        }
    }

    /// How it is saved.
    #[must_use]
    pub fn saved(self, counter: bool) -> SavedState {
        match (self.is_empty(), counter) {
            (true, _) => SavedState::Empty,
            (false, true) => SavedState::Counter { high: self.last, fallen: self.fallen() },
            (false, false) => SavedState::Gauge { last: self.last, since: self.since, span: self.span },
        }
    }

    fn is_empty(&self) -> bool {
        self.last.1.is_nan()
    }

    /// A counter that has just been believed.
    fn believed(high: Point) -> State {
        State { last: high, ..State::EMPTY }
    }

    /// Where a counter has stood since it fell, and its last value there.
    fn fallen(&self) -> Option<(Point, f64)> {
        (!self.span.0.is_nan()).then_some(((self.since, self.span.0), self.span.1))
    }
}

/// Judges one reading and takes it into the state. `next` is the reading after it, if there is one yet.
#[must_use]
pub fn step(state: &mut State, rule: &Rule, point: Point, next: Option<Point>) -> Mark {
    if rule.counter { step_counter(state, rule, point, next) } else { step_gauge(state, rule, point, next) }
}

fn step_gauge(state: &mut State, rule: &Rule, point: Point, next: Option<Point>) -> Mark {
    let (at, value) = point;
    if state.is_empty() {
        *state = State { last: point, since: at, span: (value, value) };
        return Mark::CLEAN;
    }
    let State { last, since, span } = *state;
    let mut mark = rate_of_change(rule, last, point);
    if let (Some(limit), Some(next)) = (rule.spike, next) {
        mark = mark.and(spike(limit, last.1, value, next.1));
    }
    let wider = (span.0.min(value), span.1.max(value));
    let unchanged =
        rule.flat.is_some_and(|flat| at - last.0 <= flat.longest_gap && wider.1 - wider.0 < flat.tolerance);
    let (since, span) = if unchanged { (since, wider) } else { (at, (value, value)) };
    if let Some(flat) = rule.flat {
        mark = mark.and(flat_line(flat, at - since));
    }
    *state = State { last: point, since, span };
    mark
}

/// Further than `limit` from both neighbours on the same side: suspect; further than twice as far: failed.
fn spike(limit: f64, before: f64, value: f64, after: f64) -> Mark {
    let (rise, fall) = (value - before, value - after);
    let height = if rise * fall > 0.0 { rise.abs().min(fall.abs()) } else { 0.0 };
    if height > 2.0 * limit {
        Mark::CLEAN.with(QualityTest::Spike, Gravity::Fail)
    } else if height > limit {
        Mark::CLEAN.with(QualityTest::Spike, Gravity::Suspect)
    } else {
        Mark::CLEAN
    }
}

fn rate_of_change(rule: &Rule, before: Point, point: Point) -> Mark {
    if plausible(rule, point.1 - before.1, point.0 - before.0) {
        Mark::CLEAN
    } else {
        Mark::CLEAN.with(QualityTest::RateOfChange, Gravity::Suspect)
    }
}

fn plausible(rule: &Rule, change: f64, elapsed: Millis) -> bool {
    rule.max_rate.is_none_or(|rate| change.abs() * time::MINUTE as f64 <= rate * elapsed as f64)
}

/// A run begins at the first value that leaves the range of the run before it, or that follows a long silence.
/// `ioos_qc` instead slides a window; for a value that stands still both agree, for one that creeps within the
/// tolerance the run is never longer than the window.
fn flat_line(flat: Flat, unchanged: Millis) -> Mark {
    if unchanged >= flat.fail {
        Mark::CLEAN.with(QualityTest::FlatLine, Gravity::Fail)
    } else if unchanged >= flat.suspect {
        Mark::CLEAN.with(QualityTest::FlatLine, Gravity::Suspect)
    } else {
        Mark::CLEAN
    }
}

/// A counter is compared with the last reading that was believed:
/// - above it, it is believed; a jump is a rate of change, and when the next reading falls back between, a spike;
/// - below it, it fell, and fails until it is above again;
/// - except that near zero, and counting on with the next reading, it was reset; and that whatever counts on for a
///   day where it fell to is another meter.
fn step_counter(state: &mut State, rule: &Rule, point: Point, next: Option<Point>) -> Mark {
    let (at, value) = point;
    if state.is_empty() {
        *state = State::believed(point);
        return Mark::CLEAN;
    }
    let high = state.last;
    if value >= high.1 {
        if next.is_some_and(|(_, after)| after < value && after >= high.1) {
            return Mark::CLEAN.with(QualityTest::Spike, Gravity::Fail);
        }
        *state = State::believed(point);
        return rate_of_change(rule, high, point);
    }
    let counts_on = next.is_some_and(|(later, after)| {
        after > value && after < high.1 && plausible(rule, after - value, later - at)
    });
    let (bottom, before) = state.fallen().unwrap_or((point, value));
    let bottom = if value >= before { bottom } else { point };
    let reset = value <= high.1 * RESET_SHARE && counts_on;
    if reset || at - bottom.0 >= RESTART_AFTER && value > bottom.1 {
        *state = State::believed(point);
        Mark::CLEAN.with(QualityTest::CounterReset, Gravity::Noted)
    } else {
        *state = State { last: high, since: bottom.0, span: (bottom.1, value) };
        Mark::CLEAN.with(QualityTest::CounterFall, Gravity::Fail)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::validate::tests::id;

    fn states() -> impl Strategy<Value = SavedState> {
        let value = || prop_oneof![Just(-0.0), Just(0.0), -1e300..1e300, -50.0..50.0];
        let point = move || (any::<Millis>(), value());
        prop_oneof![
            Just(SavedState::Empty),
            (point(), any::<Millis>(), (value(), value()))
                .prop_map(|(last, since, span)| SavedState::Gauge { last, since, span }),
            (point(), prop::option::of((point(), value())))
                .prop_map(|(high, fallen)| SavedState::Counter { high, fallen }),
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
        let rule = Rule::of(id(code).metric());
        let points: Vec<Point> = values
            .iter()
            .enumerate()
            .map(|(n, value)| (n as Millis * minutes * time::MINUTE, *value))
            .collect();
        let mut state = State::EMPTY;
        let (mut letters, mut tests) = (String::new(), Vec::new());
        for (n, point) in points.iter().enumerate() {
            let mark = step(&mut state, &rule, *point, points.get(n + 1).copied());
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
    #[case::steady(1, &[1000.0, 1000.5, 1000.5, 1001.0], "....", &[])]
    #[case::fast(1, &[1000.0, 1061.0, 1062.0], ".s.", &["rate_of_change"])]
    #[case::not_fast_after_a_silence(60, &[1000.0, 4600.0], "..", &[])]
    #[case::spike(1, &[1000.0, 5000.0, 1000.5, 1001.0], ".f..", &["spike"])]
    #[case::zero_between(1, &[1000.0, 0.0, 1001.0], ".f.", &["counter_fall"])]
    #[case::zeros_between(1, &[1000.0, 0.0, 0.0, 0.0, 1001.0], ".fff.", &["counter_fall"])]
    #[case::reset(1, &[1000.0, 0.2, 0.7, 1.1], ".n..", &["counter_reset"])]
    #[case::reset_that_rests(1, &[1000.0, 0.0, 0.0, 0.4, 0.9], ".fn..", &["counter_fall", "counter_reset"])]
    #[case::fall(1, &[1000.0, 700.0, 701.0, 702.0], ".fff", &["counter_fall"])]
    #[case::fall_and_recovery(1, &[1000.0, 700.0, 1000.0, 1000.5], ".f..", &["counter_fall"])]
    #[case::unfinished_fall(1, &[1000.0, 0.2], ".f", &["counter_fall"])]
    #[case::another_meter(360, &[1000.0, 700.0, 701.0, 702.0, 703.0, 704.0, 705.0], ".ffffn.",
        &["counter_fall", "counter_reset"])]
    #[case::a_fault_that_stays_is_no_meter(720, &[1000.0, 700.0, 700.0, 700.0, 700.0], ".ffff", &["counter_fall"])]
    fn counters(
        #[case] minutes: i64,
        #[case] values: &[f64],
        #[case] letters: &str,
        #[case] tests: &[&'static str],
    ) {
        assert_eq!(judged("heat_total", minutes, values), (letters.to_owned(), tests.to_vec()));
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
}
