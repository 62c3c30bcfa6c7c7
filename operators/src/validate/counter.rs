//! The tests of a counter: what it counts is believed only where the object can have supplied it.
//!
//! Enters: one counter's readings in the order of their times. Leaves: one verdict per reading. Guarantees: a reading that
//! fell, or that rose further than the object can carry ([`RiseLimit`]), is not believed before what follows confirms it;
//! so garbage never reaches a KPI, whether it lasts for one poll or for many. Once confirmed, the readings since then are
//! believed together; what lies between the two levels is never an increment of the meter.
//!
//! A reading is compared with the last one that was believed. When it follows from that, it is believed, unless the next
//! one falls back between both: then it is a spike. Else the counter *stands apart*: below (`counter_fall`, failed) or
//! above (`counter_jump`, suspect), at first the garbage of a failing meter for all that is known. What counts on there,
//! step by step as the object can carry it, is another meter or a reset one, and is confirmed after [`CONFIRMING_RISES`]
//! rises in at least [`CONFIRMED_AFTER`]; its first reading is noted as `counter_reset`. Time that passes there, counted
//! or silent, does not make the jump possible: a new meter that rests, or is silent for hours, is not the old one that
//! rose so far meanwhile. What stands at a multiple of the
//! believed value that is a ratio of units is the same meter in another unit, and is never confirmed: its unit has to be
//! set right where it is read. A return to what was believed ends all of it.

use schemas::{Millis, QualityTest, time};
use serde::{Deserialize, Serialize};

use super::{
    mark::{Gravity, Mark},
    neighbours::{Point, State, Verdict},
};
use crate::capacity::RiseLimit;

/// How often a counter that stands apart must have risen before it is believed there.
pub const CONFIRMING_RISES: u32 = 3;
/// For how long it must have counted on there.
pub const CONFIRMED_AFTER: Millis = 30 * time::MINUTE;

/// For how long readings of a counter that stands apart are remembered, ms, however short the memory: what confirms a new
/// meter may come after an outage, and what it counted in that belongs to the day.
pub const AWAITED: Millis = time::DAY;

/// A counter may be so far ahead of what the object can carry, and is believed as soon as that is made up for.
pub const AHEAD: Millis = 10 * time::MINUTE;

/// Ratios of the units that meters count in: kWh to MJ, Gcal to GJ, GJ to Mcal, GJ to kWh, and thousands.
const UNIT_RATIOS: [f64; 5] = [3.6, 4.1868, 238.846, 277.778, 1000.0];
/// How near a ratio of values must be to one of units.
const RATIO_TOLERANCE: f64 = 2e-3;
/// Stands for the rises of a counter that is in another unit.
const ANOTHER_UNIT: u32 = u32::MAX;

/// Where a counter stands apart from what is believed of it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Apart {
    /// Since when.
    pub since: Millis,
    /// Its last reading there, at most [`u32::MAX`] ms later.
    pub last: Point,
    /// How often it has risen there; [`u32::MAX`] where it is in another unit.
    pub rises: u32,
}

impl State {
    /// A counter with its last believed reading.
    #[must_use]
    pub fn counter(believed: Point, apart: Option<Apart>) -> State {
        let Some(Apart { since, last, rises }) = apart else {
            return State { last: believed, ..State::EMPTY };
        };
        let offset = u64::from(u32::try_from(last.0 - since).unwrap_or(u32::MAX));
        State { last: believed, since, value: last.1, packed: offset << 32 | u64::from(rises) }
    }

    /// Where it stands apart, if it does.
    #[must_use]
    pub fn apart(&self) -> Option<Apart> {
        let (offset, rises) = ((self.packed >> 32) as Millis, self.packed as u32);
        let last = (self.since + offset, self.value);
        (!self.value.is_nan()).then_some(Apart { since: self.since, last, rises })
    }
}

impl Apart {
    fn begin((_, believed): Point, first: Point) -> Apart {
        let ratio = (first.1 / believed).abs();
        let near = |ratio: f64, unit: f64| (ratio / unit - 1.0).abs() < RATIO_TOLERANCE;
        let in_another_unit = UNIT_RATIOS.iter().any(|unit| near(ratio, *unit) || near(1.0 / ratio, *unit));
        Apart { since: first.0, last: first, rises: if in_another_unit { ANOTHER_UNIT } else { 0 } }
    }

    /// The next reading there.
    fn go_on(self, point: Point) -> Apart {
        let rises = self.rises.saturating_add(u32::from(point.1 > self.last.1));
        Apart { last: point, rises, ..self }
    }

    /// Whether it is not in another unit.
    #[must_use]
    pub fn is_in_one_unit(&self) -> bool {
        self.rises != ANOTHER_UNIT
    }

    fn confirmed(&self) -> bool {
        self.rises >= CONFIRMING_RISES && self.is_in_one_unit() && self.last.0 - self.since >= CONFIRMED_AFTER
    }
}

/// Judges one reading and takes it into the state. `next` is the reading after it, if there is one yet.
#[must_use]
pub fn step(state: &mut State, limit: RiseLimit, point: Point, next: Option<Point>) -> Verdict {
    let believed = state.last;
    if state.is_empty() {
        *state = State::counter(point, None);
        return Verdict::of(Mark::CLEAN);
    }
    let follows = |before: Point, after: Point| {
        after.1 >= before.1 && limit.allows(after.1 - before.1, after.0 - before.0)
    };
    let goes_on =
        |apart: &Apart| follows(apart.last, point) && point.0 - apart.since <= Millis::from(u32::MAX);
    let apart = state.apart().filter(goes_on).map(|apart| apart.go_on(point));
    let jumped = |apart: &Apart| !limit.allows(point.1 - believed.1, apart.since - believed.0 + AHEAD);
    let is_believed = follows(believed, point) && !apart.as_ref().is_some_and(jumped);
    // Whatever comes next: what is believed together is not taken back by one more reading.
    if let Some(apart) = apart.filter(|apart| !is_believed && apart.confirmed()) {
        *state = State::counter(point, None);
        return Verdict { mark: Mark::CLEAN, believed_since: Some(apart.since) };
    }
    if point.1 > believed.1 && next.is_some_and(|next| next.1 < point.1 && follows(believed, next)) {
        *state = State::counter(believed, None);
        return Verdict::of(Mark::CLEAN.with(QualityTest::Spike, Gravity::Fail));
    }
    if is_believed {
        *state = State::counter(point, None);
        return Verdict::of(Mark::CLEAN);
    }
    let apart = apart.unwrap_or_else(|| Apart::begin(believed, point));
    *state = State::counter(believed, Some(apart));
    Verdict::of(match point.1 < believed.1 {
        true => Mark::CLEAN.with(QualityTest::CounterFall, Gravity::Fail),
        false => Mark::CLEAN.with(QualityTest::CounterJump, Gravity::Suspect),
    })
}

/// The mark of a reading at `at` that is believed with all since `since`.
#[must_use]
pub fn believed(at: Millis, since: Millis) -> Mark {
    if at == since { Mark::CLEAN.with(QualityTest::CounterReset, Gravity::Noted) } else { Mark::CLEAN }
}

#[cfg(test)]
mod tests {
    use schemas::time::MINUTE;

    use super::*;

    /// Of a station of 10,000 m².
    const LIMIT: RiseLimit = RiseLimit { per_minute: 0.9, step: 1.0 };

    /// One letter per reading: `.` good, `n` noted, `s` suspect, `f` failed; then the tests that spoke, in order.
    fn judged(minutes: i64, values: &[f64]) -> (String, Vec<&'static str>) {
        let points: Vec<Point> =
            values.iter().zip(0..).map(|(value, n)| (n * minutes * MINUTE, *value)).collect();
        let (mut state, mut marks) = (State::EMPTY, Vec::<Mark>::new());
        for (n, point) in points.iter().enumerate() {
            let verdict = step(&mut state, LIMIT, *point, points.get(n + 1).copied());
            if let Some(since) = verdict.believed_since {
                let first = points.iter().position(|(at, _)| *at == since).unwrap();
                (first..n).for_each(|n| marks[n] = believed(points[n].0, since));
            }
            marks.push(verdict.mark);
        }
        let letter = |mark: &Mark| match mark.flag().number() {
            3 => 's',
            4 => 'f',
            _ if *mark == Mark::CLEAN => '.',
            _ => 'n',
        };
        let mut tests: Vec<_> = marks.iter().flat_map(|mark| mark.failed().names()).collect();
        tests.dedup();
        (marks.iter().map(letter).collect(), tests)
    }

    #[rstest::rstest]
    #[case::steady(1, &[1000.0, 1000.5, 1000.5, 1001.0], "....", &[])]
    #[case::a_step_of_the_display(1, &[1000.0, 1001.0, 1001.0, 1002.0], "....", &[])]
    #[case::fast(1, &[1000.0, 1002.0, 1003.0], ".ss", &["counter_jump"])]
    #[case::fast_for_once(1, &[1000.0, 1002.0, 1002.1], ".s.", &["counter_jump"])]
    #[case::not_fast_after_a_silence(60, &[1000.0, 1054.0], "..", &[])]
    #[case::spike(1, &[1000.0, 5000.0, 1000.5, 1001.0], ".f..", &["spike"])]
    #[case::small_spike(1, &[1000.0, 1001.0, 1000.5, 1001.0], ".f..", &["spike"])]
    #[case::garbage_for_two_polls(1, &[1000.0, 1000.5, 99999.0, 99999.0, 1001.5, 1002.0], "..sf..",
        &["counter_jump", "spike"])]
    #[case::zero_between(1, &[1000.0, 0.0, 1001.0], ".f.", &["counter_fall"])]
    #[case::zeros_between(1, &[1000.0, 0.0, 0.0, 0.0, 1001.0], ".fff.", &["counter_fall"])]
    #[case::zero_and_an_older_value(1, &[397.0, 397.1, 0.0, 396.9, 397.0, 397.1], "..fff.", &["counter_fall"])]
    #[case::reset(15, &[1000.0, 0.2, 0.7, 1.1, 1.2, 1.3], ".n....", &["counter_reset"])]
    #[case::reset_that_rests(20, &[1000.0, 0.0, 0.0, 0.4, 0.9, 1.0], ".n....", &["counter_reset"])]
    #[case::another_meter_below(60, &[9011.5, 1234.0, 1234.5, 1235.0, 1235.5], ".n...", &["counter_reset"])]
    #[case::another_meter_above(15, &[1000.0, 51000.0, 51000.1, 51000.2, 51000.3], ".n...", &["counter_reset"])]
    #[case::not_confirmed_yet(1, &[1000.0, 51000.0, 51000.1, 51000.2, 51000.3], ".ssss", &["counter_jump"])]
    #[case::the_wrong_one_came_first(15, &[99999.0, 1000.0, 1000.1, 1000.2, 1000.3], ".n...", &["counter_reset"])]
    #[case::garbage_that_counts_on(1, &[1000.0, 700.0, 701.0, 702.0, 703.0, 1003.0], ".ffff.", &["counter_fall"])]
    #[case::fall_and_recovery(1, &[1000.0, 700.0, 1000.0, 1000.5], ".f..", &["counter_fall"])]
    #[case::a_new_meter_that_rests(60, &[1000.0, 1200.0, 1200.0, 1200.0, 1200.0, 1200.0], ".sssss", &["counter_jump"])]
    #[case::a_new_meter_that_rested(60, &[1000.0, 1200.0, 1200.0, 1200.0, 1200.0, 1200.1, 1200.2, 1200.3], ".n......",
        &["counter_reset"])]
    #[case::far_ahead_and_made_up_for(10, &[1000.0, 1015.0, 1015.0, 1015.1], ".s..", &["counter_jump"])]
    #[case::a_fault_that_stays_is_no_meter(720, &[1000.0, 700.0, 700.0, 700.0], ".fff", &["counter_fall"])]
    #[case::another_unit(60, &[850.1, 850.14, 850160.0, 850180.0, 850200.0, 850220.0], "..ssss", &["counter_jump"])]
    #[case::another_unit_upwards(15, &[850.1, 0.8501, 0.8502, 0.8503, 0.8504], ".ffff", &["counter_fall"])]
    #[case::the_unit_was_set_right(60, &[850.1, 850160.0, 850180.0, 850.5], ".sf.", &["counter_jump", "spike"])]
    fn counters(
        #[case] minutes: i64,
        #[case] values: &[f64],
        #[case] letters: &str,
        #[case] tests: &[&'static str],
    ) {
        assert_eq!(judged(minutes, values), (letters.to_owned(), tests.to_vec()));
    }
}
