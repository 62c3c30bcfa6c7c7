//! One object of a facility: its reports, its series and what they contribute.

use std::ops::Range;

use schemas::{
    Code, Dimension, Flag, KpiCause, MetricId, Millis, TestSet,
    time::{HOUR, MINUTE},
};
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::{
    calendar::Calendar,
    facts::Component,
    points::{Point, Points},
    quantity::{Pipe, Quantity, Role},
    reported::Reported,
    segment::{self, Rises, Terms, Undated},
    tally::Tally,
    traits::{ObjectTraits, RoomLimits, WindowContext},
};
use crate::{
    flow::{Change, Checked, CheckedReport},
    reason::Reason,
};

/// The state of one object. Points leave it when their hour is closed for the scopes; the last one before stays, as
/// the start of the next segment. Saved without the traits, which its facility gives it again.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Object {
    pub(super) code: Code,
    #[serde(skip)]
    pub(super) traits: ObjectTraits,
    /// The first hour in which reports are expected.
    pub(super) first_hour: Millis,
    pub(super) beats: Points,
    pub(super) series: Vec<QuantitySeries>,
    /// Readings that are not valid, timely and consistent, in the order of (time, metric).
    pub(super) doubts: Vec<Doubt>,
    /// Not of the many rooms, whose reports hold one or two metrics.
    pub(super) reported: Option<Box<Reported>>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct QuantitySeries {
    pub(super) quantity: Quantity,
    pub(super) points: Points,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Doubt {
    pub(super) at: Millis,
    metric: MetricId,
    quality: [bool; 3],
}

/// What a report told beyond its facts.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Heard {
    /// An outdoor temperature is measured, usable or not.
    pub(super) outdoor: bool,
    /// Hours in which metrics are expected otherwise than before.
    pub(super) expects_otherwise: Option<Range<Millis>>,
}

/// What a beat says of its report.
const WITH_READINGS: f64 = 0.0;
/// See [`WITH_READINGS`].
const WITHOUT_READINGS: f64 = 1.0;

/// Nothing is the matter with a reading.
const FINE: [bool; 3] = [true; 3];
const QUALITY: [Component; 3] = [Component::Valid, Component::Timely, Component::Consistent];

impl Object {
    /// Takes its traits after it was restored, and puts what is sorted by the numbers of metrics in order: the process that
    /// saved it may have had other ones.
    pub(super) fn resume(&mut self, traits: ObjectTraits) {
        self.traits = traits;
        self.order_doubts();
        self.reported.iter_mut().for_each(|reported| reported.sort());
    }

    /// Puts doubts in order, by the numbers that metrics have in this process.
    pub(super) fn order_doubts(&mut self) {
        self.doubts.sort_unstable_by_key(|doubt| (doubt.at, doubt.metric));
    }

    pub(super) fn new(code: Code, traits: ObjectTraits, first_hour: Millis) -> Object {
        Object {
            code,
            traits,
            first_hour,
            beats: Points::new(0),
            series: Vec::new(),
            doubts: Vec::new(),
            reported: None,
        }
    }

    pub(super) fn series_count(&self) -> usize {
        self.series.len() + 1
    }

    pub(super) fn heap_bytes(&self) -> usize {
        let points: usize = self.series.iter().map(|s| s.points.heap_bytes()).sum();
        points
            + self.beats.heap_bytes()
            + self.series.capacity() * size_of::<QuantitySeries>()
            + self.doubts.capacity() * size_of::<Doubt>()
            + self.reported.as_ref().map_or(0, |reported| size_of::<Reported>() + reported.heap_bytes())
    }

    /// From when on what is known of the object is needed to take a report in: from the first point with which it makes a
    /// segment that tells something.
    pub(super) fn reach(&self, report: CheckedReport<'_>, now: &WindowContext<'_>) -> Millis {
        let at = report.observed_at;
        let points = |quantity| self.points(quantity);
        let here = |quantity| points(quantity).is_some_and(|points| points.get(at).is_some());
        // Across a gap a counter tells what it counted, and nothing else tells anything.
        let near = |before: &Millis| at - before <= self.gap();
        let before = |quantity: Quantity| {
            let before = points(quantity).filter(|_| quantity.tells()).and_then(|points| points.before(at));
            before.filter(|before| quantity.counts() || near(before)).unwrap_or(at)
        };
        let mut reach = self.beats.before(at).filter(near).unwrap_or(at);
        let mut sides = [false; 2];
        let mut usable = SmallVec::<[Quantity; 8]>::new();
        for reading in report.readings {
            let Some(quantity) = now.quantities.of(now.role, reading.metric) else { continue };
            match quantity {
                Quantity::Flow(second) => sides[usize::from(second)] = true,
                Quantity::Temperature(side) => sides[usize::from(side.secondary())] = true,
                _ => {}
            }
            let is_usable = reading.flag.usable();
            if is_usable {
                usable.push(quantity);
            }
            if is_usable || here(quantity) {
                reach = reach.min(before(quantity));
            }
        }
        // What is computed of two has a point where both have, or loses the one that it had.
        for side in Pipe::ALL.into_iter().filter(|side| sides[usize::from(side.secondary())]) {
            let parts = [Quantity::Flow(side.secondary()), Quantity::Temperature(side)];
            let both = parts.iter().all(|part| usable.contains(part) || here(*part));
            for quantity in [Quantity::Weight(side), Quantity::Product(side)] {
                if both || here(quantity) {
                    reach = reach.min(before(quantity));
                }
            }
        }
        reach
    }

    /// Takes a report in.
    pub(super) fn receive(
        &mut self,
        report: CheckedReport<'_>,
        now: &WindowContext<'_>,
        tally: &mut Tally,
    ) -> Heard {
        let (at, hour) = (report.observed_at, Calendar::hour(report.observed_at));
        if report.readings.iter().any(|r| r.change == Change::Unverified)
            && self.beats.neighbours(at).here.is_some()
        {
            // Heard before: what stands has been judged with its neighbours, which this has not.
            tally.add(hour, Component::Duplicates, report.readings.len() as i64);
            return Heard::default();
        }
        let empty = report.readings.is_empty();
        if empty || report.readings.iter().any(|r| r.change.is_first()) {
            self.beat(at, empty, now, tally);
            if now.ended(hour) && !empty {
                let cause = if report.carrier.redriven { KpiCause::Redriven } else { KpiCause::Late };
                tally.because(hour, Reason { cause, by: Some(report.carrier.place()) });
            }
        }
        if report.readings.iter().any(|r| !r.change.is_first()) {
            tally.because(hour, Reason { cause: KpiCause::Corrected, by: Some(report.carrier.place()) });
        }
        let terms = self.terms(now);
        let expects_otherwise = self.note_metrics(report.readings, hour, now.role);
        let (mut primary, mut secondary, mut outdoor) = (false, false, false);
        let mut fine = 0;
        for reading in report.readings {
            let quality = quality(reading);
            if quality == FINE && reading.change.is_first() {
                fine += 1;
            } else {
                self.judge((at, hour), reading, quality, tally);
            }
            let Some(quantity) = now.quantities.of(now.role, reading.metric) else { continue };
            let value = reading.flag.usable().then_some(reading.value);
            self.put(quantity, reading.metric.metric().decimals, at, value, &terms, tally);
            match quantity {
                Quantity::Outdoor => outdoor = true,
                Quantity::Flow(second) => *(if second { &mut secondary } else { &mut primary }) = true,
                Quantity::Temperature(side) if side.secondary() => secondary = true,
                Quantity::Temperature(_) => primary = true,
                _ => {}
            }
        }
        for side in Pipe::ALL {
            if if side.secondary() { secondary } else { primary } {
                self.weigh(side, at, &terms, tally);
            }
        }
        if fine > 0 {
            let counted = [Component::Readings].into_iter().chain(QUALITY);
            counted.for_each(|component| tally.add(hour, component, fine));
        }
        Heard { outdoor, expects_otherwise }
    }

    /// Notes which metrics were heard; answers in which hours some are expected otherwise than before.
    fn note_metrics(&mut self, readings: &[Checked], hour: Millis, role: Role) -> Option<Range<Millis>> {
        if role == Role::Rooms || readings.is_empty() {
            return None;
        }
        let metrics = readings.iter().map(|reading| reading.metric);
        self.reported.get_or_insert_default().hear_all(metrics, hour)
    }

    /// How many readings the reports of an hour lack, of the metrics that the object reports.
    pub(super) fn missing_readings(&self, hour: Millis) -> i64 {
        let missing = self.reported.as_ref().map_or(0, |reported| reported.missing(hour));
        if missing == 0 {
            return 0;
        }
        let beats = self.beats.iter_from(hour).take_while(|beat| beat.at < hour + HOUR);
        (missing * beats.filter(|beat| beat.value == WITH_READINGS).count()) as i64
    }

    /// A report was heard: counts it, the time online, and what is expected up to it. One without readings shows
    /// contact and is not among those received, so that completeness tells of what is missing.
    fn beat(&mut self, at: Millis, empty: bool, now: &WindowContext<'_>, tally: &mut Tally) {
        let hour = Calendar::hour(at);
        let beside = self.beats.neighbours(at);
        let received = !empty && beside.here != Some(WITH_READINGS);
        tally.add(hour, Component::ReportsReceived, i64::from(received));
        if received || beside.here.is_none() {
            self.beats.upsert(at, if empty { WITHOUT_READINGS } else { WITH_READINGS });
        }
        if beside.here.is_some() {
            return;
        }
        tally.saw(hour, at);
        let terms = self.terms(now);
        let mut online = |a: Option<Point>, b: Option<Point>, sign: i64| {
            if let (Some(a), Some(b)) = (a, b) {
                segment::online(a.at, b.at, &terms, &mut |hour, c, amount| tally.add(hour, c, sign * amount));
            }
        };
        let here = Some(Point { at, value: 0.0 });
        online(beside.before, beside.after, -1);
        online(beside.before, here, 1);
        online(here, beside.after, 1);
        if !now.ended(hour) && beside.after.is_none_or(|after| after.at >= hour + HOUR) {
            let before = beside.before.map(|before| before.at).filter(|before| *before >= hour);
            self.expect(hour, before.map(|b| b - hour), -1, tally);
            self.expect(hour, Some(at - hour), 1, tally);
        }
        let known = self.first_hour;
        self.first_hour = known.min(hour);
        let mut missed = hour;
        while missed < known && now.ended(missed) {
            self.expect(missed, Some(HOUR), 1, tally);
            missed += HOUR;
        }
    }

    /// Adds what is expected of an object that was last heard `elapsed` into the hour; the whole hour when it is over.
    fn expect(&self, hour: Millis, elapsed: Option<Millis>, sign: i64, tally: &mut Tally) {
        let Some(elapsed) = elapsed else { return };
        let full = (HOUR + self.traits.interval / 2) / self.traits.interval;
        let reports = if elapsed == HOUR { full } else { full.min(elapsed / self.traits.interval + 1) };
        tally.add(hour, Component::Expected, sign * elapsed);
        tally.add(hour, Component::ReportsExpected, sign * reports);
    }

    /// The hour is over: what was not heard until now is missing. Nothing before the object was known.
    pub(super) fn close_hour(&self, hour: Millis, tally: &mut Tally) {
        if self.first_hour <= hour {
            self.expect(hour, self.heard(hour), -1, tally);
            self.expect(hour, Some(HOUR), 1, tally);
        }
    }

    /// How far into the hour the object was last heard.
    fn heard(&self, hour: Millis) -> Option<Millis> {
        let last = self.beats.neighbours(hour + HOUR).before?;
        (last.at >= hour).then_some(last.at - hour)
    }

    /// Takes back (-1) or puts (1) everything that depends on the traits, in the hours that are open.
    pub(super) fn restate(&self, sign: i64, now: &WindowContext<'_>, hours: &[Millis], tally: &mut Tally) {
        let terms = self.terms(now);
        for series in &self.series {
            let mut before = None;
            for point in series.points.iter() {
                if let Some(before) = before.replace(point) {
                    contribute(series.quantity, (before, point), sign, &terms, tally);
                }
            }
        }
        let mut before = None;
        for point in self.beats.iter() {
            if let Some(before) = before.replace(point.at) {
                segment::online(before, point.at, &terms, &mut |hour, component, amount| {
                    tally.add(hour, component, sign * amount);
                });
            }
        }
        for hour in hours.iter().filter(|hour| self.first_hour <= **hour) {
            let elapsed = if now.ended(*hour) { Some(HOUR) } else { self.heard(*hour) };
            self.expect(*hour, elapsed, sign, tally);
        }
    }

    /// Drops every series: the facility has become something else.
    pub(super) fn drop_series(&mut self) {
        self.series.clear();
        self.reported = None;
    }

    /// Forgets what lies before a time, but the last point of each series.
    pub(super) fn forget(&mut self, floor: Millis) {
        self.beats.forget_before_but_one(floor);
        self.series.iter_mut().for_each(|series| series.points.forget_before_but_one(floor));
        self.doubts.retain(|doubt| doubt.at >= floor);
    }

    /// Forgets what was reported in hours that are closed for good. It says for weeks what an hour lacks, so it is never
    /// sealed.
    pub(super) fn forget_reported(&mut self, first_open: Millis) {
        if let Some(reported) = &mut self.reported {
            reported.forget(first_open);
        }
    }

    /// The points of a quantity.
    pub(super) fn points(&self, quantity: Quantity) -> Option<&Points> {
        self.series.iter().find(|series| series.quantity == quantity).map(|series| &series.points)
    }

    /// The last set point in an hour, 0.1 °C.
    pub(super) fn setpoint(&self, hour: Millis) -> Option<u16> {
        let last = self.points(Quantity::Setpoint)?.neighbours(hour + HOUR).before?;
        (last.at >= hour).then(|| (last.value * 10.0).round() as u16)
    }

    /// Two and a half intervals: one report may be lost, and clocks may be a little off.
    pub(super) fn gap(&self) -> Millis {
        (self.traits.interval.saturating_mul(5) / 2).max(MINUTE / 2)
    }

    /// How far its counters can rise.
    pub(super) fn rises(&self) -> Rises {
        self.traits.rises.as_deref().copied().unwrap_or(Rises::ANY)
    }

    fn terms<'a>(&self, now: &WindowContext<'a>) -> Terms<'a> {
        let RoomLimits { standard, over_high } = self.traits.rooms;
        let (gap, rises) = (self.gap(), self.rises());
        Terms { calendar: now.calendar, gap, standard, over_high, floor: now.floor, rises }
    }

    /// Whether heat power was measured within a span, so that its heat is known and told.
    pub(super) fn powered(&self, (from, until): (Millis, Millis)) -> bool {
        let from = from + self.gap();
        let within = |points: &Points| points.iter().any(|point| from < point.at && point.at < until);
        self.points(Quantity::HeatPower).is_some_and(within)
    }

    /// Counts a reading that something is the matter with, or what a revision changes about one.
    fn judge(
        &mut self,
        (at, hour): (Millis, Millis),
        reading: &Checked,
        quality: [bool; 3],
        tally: &mut Tally,
    ) {
        let fine = quality == FINE;
        let key = (at, reading.metric);
        let place = self.doubts.binary_search_by(|doubt| (doubt.at, doubt.metric).cmp(&key));
        let before = match (reading.change, place) {
            (Change::New | Change::Unverified, _) => {
                tally.add(hour, Component::Readings, 1);
                [false; 3]
            }
            (_, Ok(place)) => self.doubts[place].quality,
            (_, Err(_)) => [true; 3],
        };
        for ((component, is), was) in QUALITY.into_iter().zip(quality).zip(before) {
            tally.add(hour, component, i64::from(is) - i64::from(was));
        }
        match (place, fine) {
            (Ok(place), true) => drop(self.doubts.remove(place)),
            (Ok(place), false) => self.doubts[place].quality = quality,
            (Err(_), true) => {}
            (Err(place), false) => {
                self.doubts.insert(place, Doubt { at, metric: reading.metric, quality });
            }
        }
    }

    /// Sets or removes a point and moves the contributions of the segments beside it.
    fn put(
        &mut self,
        quantity: Quantity,
        decimals: u8,
        at: Millis,
        value: Option<f64>,
        terms: &Terms<'_>,
        tally: &mut Tally,
    ) {
        let Some(series) = self.series.iter_mut().find(|series| series.quantity == quantity) else {
            if let Some(value) = value {
                let mut points = Points::new(decimals);
                points.upsert(at, value);
                self.series.reserve_exact(1);
                self.series.push(QuantitySeries { quantity, points });
            }
            return;
        };
        let beside = series.points.neighbours(at);
        if beside.here.map(f64::to_bits) == value.map(f64::to_bits) {
            return;
        }
        match value {
            Some(value) => series.points.upsert(at, value),
            None => series.points.remove(at),
        };
        let mut chain = |middle: Option<f64>, sign: i64| {
            let middle = middle.map(|value| Point { at, value });
            let mut before = beside.before;
            for point in [middle, beside.after].into_iter().flatten() {
                if let Some(before) = before.replace(point) {
                    contribute(quantity, (before, point), sign, terms, tally);
                }
            }
        };
        chain(beside.here, -1);
        chain(value, 1);
    }

    /// Keeps the flow and the product of flow and temperature at the times that have both.
    fn weigh(&mut self, side: Pipe, at: Millis, terms: &Terms<'_>, tally: &mut Tally) {
        let value = |quantity| {
            self.series
                .iter()
                .find(|series| series.quantity == quantity)
                .and_then(|series| series.points.get(at))
        };
        let both = value(Quantity::Flow(side.secondary())).zip(value(Quantity::Temperature(side)));
        self.put(Quantity::Weight(side), 2, at, both.map(|(flow, _)| flow), terms, tally);
        // To three decimals, which is what a flow of two and a temperature of one have: packs well, errs nowhere.
        let product = both.map(|(flow, temperature)| (flow * temperature * 1e3).round() / 1e3);
        self.put(Quantity::Product(side), 3, at, product, terms, tally);
    }
}

/// Whether a reading is valid, timely and consistent.
fn quality(reading: &Checked) -> [bool; 3] {
    const LATE: TestSet = TestSet::of_dimension(Dimension::Timeliness);
    const INCONSISTENT: TestSet = TestSet::of_dimension(Dimension::Consistency);
    [
        reading.flag.usable(),
        reading.flag != Flag::Missing && !reading.failed.meets(LATE),
        !reading.failed.meets(INCONSISTENT),
    ]
}

/// Gathers what a segment contributes, `sign` times: to its hours, and to the day in which it ends what is dated to none.
fn contribute(quantity: Quantity, ends: (Point, Point), sign: i64, terms: &Terms<'_>, tally: &mut Tally) {
    segment::contribute(quantity, ends, terms, &mut |hour, component, amount| {
        tally.add(hour, component, sign * amount);
    });
    if let Some(undated) = segment::undated(quantity, ends, terms) {
        tally.book(Undated { amount: sign * undated.amount, time: sign * undated.time, ..undated });
    }
}
