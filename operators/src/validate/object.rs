//! One object's recent reports: admits a report, marks its readings, and revises what it bears upon.
//!
//! Enters: the object's reports in the order of arrival. Leaves: checked reports, revisions, rejects. Guarantees:
//! within the memory the final marks depend on what was reported and not on the order in which it came.

use std::rc::Rc;

use schemas::{Code, Flag, MetricId, Millis, time::SECOND};
use smallvec::SmallVec;

use super::{
    Memory,
    admission::Admission,
    column::{Column, States},
    counter::{self, AWAITED, Apart},
    mark::Mark,
    neighbours::{Point, step},
    rows::{ReportRows, Row},
    rule::{self, MetricRule},
    saved::{SavedSeries, SavedStates},
    test::{self, Arrival, Own, sentinel, timeliness},
};
use crate::{
    capacity::{self, RiseLimit},
    flow::{Change, Checked, Object, Observation},
    profile::Profile,
};

/// The recent reports of one object: rows of times, sorted, and one column per metric.
#[derive(Debug)]
pub struct ReportHistory {
    pub(super) object: Rc<Object>,
    pub(super) rows: ReportRows,
    pub(super) columns: Vec<Column>,
    /// Where the tests of the columns stand, one behind the other.
    pub(super) states: Vec<States>,
    /// The greatest time that was forgotten; at or before it nothing is compared any more.
    forgotten: Millis,
    /// How long its reports may take.
    pub(super) arrives_within: Millis,
    /// The clock when it last reported.
    pub touched: Millis,
}

/// A mark that was revised: row, then column.
pub(super) type Remark = (usize, usize);

impl ReportHistory {
    /// An object that has not reported yet.
    #[must_use]
    pub fn new(object: Object, profile: &Profile) -> ReportHistory {
        let mut series = ReportHistory {
            object: Rc::new(object),
            rows: ReportRows::default(),
            columns: Vec::new(),
            states: Vec::new(),
            forgotten: Millis::MIN,
            arrives_within: timeliness::ARRIVES_WITHIN,
            touched: Millis::MIN,
        };
        series.limit(profile);
        series
    }

    /// What was restored of an object of a facility, until [`ReportHistory::limit`] without limits of its columns.
    #[must_use]
    pub fn restored(
        restored: SavedSeries,
        facility: &Code,
        profile: &Profile,
        rules: &[MetricRule],
    ) -> ReportHistory {
        let object = Object { facility: facility.clone(), device: restored.device };
        let mut series = ReportHistory {
            rows: ReportRows::restored(restored.rows),
            columns: Vec::with_capacity(restored.columns.len()),
            forgotten: restored.forgotten,
            touched: restored.touched,
            ..ReportHistory::new(object, profile)
        };
        for column in restored.columns {
            let rule = &rules[usize::from(column.metric.0)];
            let states = series.begin_states(rule, column.states.as_deref().copied());
            series.columns.push(Column::restored(column, states, series.rows.ring(), rule));
        }
        series
    }

    /// How it is saved.
    #[must_use]
    pub fn saved(&self) -> SavedSeries {
        SavedSeries {
            device: self.object.device.clone(),
            rows: self.rows.saved(),
            columns: self.columns.iter().map(|column| column.saved(&self.states, self.rows.ring())).collect(),
            forgotten: self.forgotten,
            touched: self.touched,
        }
    }

    /// Adds the states of a column whose metric has tests of neighbours, and says where they are.
    fn begin_states(&mut self, rule: &MetricRule, known: Option<SavedStates>) -> Option<u16> {
        rule.compares().then(|| {
            self.states.reserve_exact(1);
            self.states.push(known.map_or(States::NEW, |saved| States::restored(saved, rule.counter)));
            (self.states.len() - 1) as u16
        })
    }

    /// Whether it has been silent for so long, by the clock, that it forgets its reports, and has any.
    #[must_use]
    pub fn fades(&self, clock: Millis, memory: &Memory) -> bool {
        let silent = clock.saturating_sub(self.touched);
        let Some(newest) = self.rows.len().checked_sub(1) else { return false };
        silent > memory.lateness && !(silent <= AWAITED && self.may_be_confirmed(newest))
    }

    /// Device code, or empty.
    #[must_use]
    pub fn device(&self) -> &str {
        &self.object.device
    }

    /// How many readings' worth of columns it holds.
    #[must_use]
    pub fn columns(&self) -> usize {
        self.columns.len()
    }

    /// Takes the limits of a profile, for the reports from now on.
    pub fn limit(&mut self, profile: &Profile) {
        let within = profile.number(&self.object.device, schemas::registry::attribute::ARRIVES_WITHIN);
        self.arrives_within =
            within.map_or(timeliness::ARRIVES_WITHIN, |seconds| (seconds * SECOND as f64) as Millis);
        for column in &mut self.columns {
            limit(column, profile, &self.object.device);
        }
    }

    /// Admits one report.
    pub fn admit(&mut self, report: &Observation<'_>, profile: &Profile, admission: &mut Admission<'_>) {
        self.touched = admission.clock;
        admission.carrier = report.carrier();
        if report.readings.is_empty() {
            let times = (report.observed_at, report.received_at);
            admission.reports.close(&self.object, times, admission.carrier);
            return;
        }
        let newest = self.rows.last().map_or(self.forgotten, |row| row.observed);
        if report.observed_at > newest {
            self.admit_newest(report, profile, admission);
        } else if report.observed_at > self.forgotten
            && report.observed_at >= newest.saturating_sub(admission.memory.lateness)
        {
            self.admit_late(report, profile, admission);
        } else {
            self.admit_old(report, profile, admission);
        }
        self.forget(admission.memory, admission.memory.reports_of(profile.facility.kind), admission.rules);
    }

    /// The common path: a report after all others.
    fn admit_newest(&mut self, report: &Observation<'_>, profile: &Profile, admission: &mut Admission<'_>) {
        let arrival = test::arrival(&Arrival::of(report, self.arrives_within));
        let blank = sentinel::is_blank(report.readings, admission.rules);
        let row = self.rows.len();
        self.insert_row(row, Row { observed: report.observed_at, received: report.received_at });
        let ring = self.rows.ring();
        let mut remarks: SmallVec<[Remark; 4]> = SmallVec::new();
        for (hint, reading) in report.readings.iter().enumerate() {
            let index = self.column(hint, reading.metric, profile, admission.rules);
            let rule = &admission.rules[usize::from(reading.metric.0)];
            if self.columns[index].value(ring, row, rule).is_some() {
                admission.reject_twice(report, reading);
                continue;
            }
            let device = self.columns[index].range();
            let own = arrival.union(test::own(&Own { rule, reading, device, blank }));
            let mark = if rule.compares() && !own.impossible() {
                own.union(self.append(index, rule, (report.observed_at, reading.value), &mut remarks))
            } else {
                own
            };
            self.columns[index].set(ring, row, (reading.value, mark), rule);
            admission.reports.add(check(reading.metric, reading.value, mark, Change::New));
        }
        self.emit(row, admission);
        self.emit_remarks(remarks, admission);
    }

    /// Judges the newest reading of a series, and those before it again whose marks depend on it: the one before, which
    /// now has a neighbour, and those of a counter that are believed with it. Lists the marks that were revised.
    fn append(
        &mut self,
        index: usize,
        rule: &MetricRule,
        point: Point,
        remarks: &mut SmallVec<[Remark; 4]>,
    ) -> Mark {
        let (column, ring) = (&mut self.columns[index], self.rows.ring());
        let Some(states) = column.states.map(|at| &mut self.states[usize::from(at)]) else {
            return Mark::CLEAN;
        };
        let limit = column.rise(rule);
        let rows = (0..ring.rows() - 1).rev();
        let before = rows.into_iter().find_map(|row| Some((row, column.neighbour(ring, row, rule)?)));
        if let Some((row, value)) = before {
            let earlier = (self.rows.at(row).observed, value);
            let again = step(&mut states.latest, rule, limit, earlier, Some(point));
            remarks.extend(column.settle(ring, row, again.mark).then_some((row, index)));
        }
        // The state stays before the newest reading, which is taken into it when the next arrives.
        let mut ahead = states.latest;
        let verdict = step(&mut ahead, rule, limit, point, None);
        if let Some(since) = verdict.believed_since {
            self.believe(index, rule, since, remarks);
        }
        verdict.mark
    }

    /// Believes the readings of a counter since a time, but for the newest report's.
    fn believe(
        &mut self,
        index: usize,
        rule: &MetricRule,
        since: Millis,
        remarks: &mut SmallVec<[Remark; 4]>,
    ) {
        let (column, ring) = (&mut self.columns[index], self.rows.ring());
        let rows = (0..ring.rows() - 1).rev().take_while(|row| self.rows.at(*row).observed >= since);
        for row in rows {
            if column.neighbour(ring, row, rule).is_some() {
                let mark = counter::believed(self.rows.at(row).observed, since);
                remarks.extend(column.settle(ring, row, mark).then_some((row, index)));
            }
        }
    }

    /// A report from before the memory: its readings are judged by themselves, and are not good by that alone. Whether it
    /// was received before cannot be told any more.
    fn admit_old(&mut self, report: &Observation<'_>, profile: &Profile, admission: &mut Admission<'_>) {
        let arrival = test::arrival(&Arrival::of(report, self.arrives_within));
        let blank = sentinel::is_blank(report.readings, admission.rules);
        for (hint, reading) in report.readings.iter().enumerate() {
            if report.readings[..hint].iter().any(|earlier| earlier.metric == reading.metric) {
                admission.reject_twice(report, reading);
                continue;
            }
            let index = self.column(hint, reading.metric, profile, admission.rules);
            let rule = &admission.rules[usize::from(reading.metric.0)];
            let device = self.columns[index].range();
            let own = arrival.union(test::own(&Own { rule, reading, device, blank }));
            let checked = check(reading.metric, reading.value, own, Change::Unverified);
            let flag = if checked.flag == Flag::Good { Flag::NotEvaluated } else { checked.flag };
            admission.reports.add(Checked { flag, ..checked });
        }
        admission.emit(&self.object, (report.observed_at, report.received_at));
    }

    pub(super) fn emit(&self, row: usize, admission: &mut Admission<'_>) {
        admission.emit(&self.object, (self.rows.at(row).observed, self.rows.at(row).received));
    }

    pub(super) fn emit_remarks(&self, mut remarks: SmallVec<[Remark; 4]>, admission: &mut Admission<'_>) {
        remarks.sort_unstable();
        for chunk in remarks.chunk_by(|a, b| a.0 == b.0) {
            let row = chunk[0].0;
            for (_, index) in chunk {
                let (column, ring) = (&self.columns[*index], self.rows.ring());
                if let Some(value) = column.value(ring, row, &admission.rules[usize::from(column.metric.0)]) {
                    admission.reports.add(check(
                        column.metric,
                        value,
                        column.mark(ring, row),
                        Change::Remarked,
                    ));
                }
            }
            self.emit(row, admission);
        }
    }

    /// The column of a metric. Readings come in the same order in every report, so `hint` is mostly right.
    pub(super) fn column(
        &mut self,
        hint: usize,
        metric: MetricId,
        profile: &Profile,
        rules: &[MetricRule],
    ) -> usize {
        if self.columns.get(hint).is_some_and(|column| column.metric == metric) {
            return hint;
        }
        self.columns.iter().position(|column| column.metric == metric).unwrap_or_else(|| {
            let states = self.begin_states(&rules[usize::from(metric.0)], None);
            let mut column = Column::new(metric, states, self.rows.ring());
            limit(&mut column, profile, &self.object.device);
            self.columns.reserve_exact(1);
            self.columns.push(column);
            self.columns.len() - 1
        })
    }

    pub(super) fn insert_row(&mut self, at: usize, row: Row) {
        for column in &mut self.columns {
            column.insert(self.rows.ring(), at);
        }
        self.rows.insert(at, row);
    }

    /// Forgets what lies before the memory, which holds so many reports. Readings that the next ones may confirm are kept
    /// for longer.
    fn forget(&mut self, memory: &Memory, reports: usize, rules: &[MetricRule]) {
        let Some(newest) = self.rows.last() else { return };
        let is_old = |series: &ReportHistory| {
            let age = newest.observed.saturating_sub(series.rows.at(0).observed);
            age > memory.lateness && !(age <= AWAITED && series.may_be_confirmed(0))
        };
        while self.rows.len() > reports || is_old(self) {
            self.forget_first(rules);
        }
    }

    /// Whether the report of a row has readings of a counter that stands apart, and is believed with them once it has
    /// counted on there.
    fn may_be_confirmed(&self, row: usize) -> bool {
        let (ring, observed) = (self.rows.ring(), self.rows.at(row).observed);
        self.columns.iter().any(|column| {
            let apart = || column.states.and_then(|at| self.states[usize::from(at)].latest.apart());
            // The state of the newest reading is not known before the next.
            let may_be = |apart: Apart| apart.since <= observed && apart.is_in_one_unit();
            column.mark(ring, row).stands_apart() && (row + 1 == ring.rows() || apart().is_some_and(may_be))
        })
    }

    /// Forgets every reading, and keeps what they leave behind for the tests.
    pub fn forget_all(&mut self, rules: &[MetricRule]) {
        while self.rows.len() > 0 {
            self.forget_first(rules);
        }
        self.rows = ReportRows::default();
        self.columns.iter_mut().for_each(Column::remove_all);
    }

    fn forget_first(&mut self, rules: &[MetricRule]) {
        let (first, ring) = (self.rows.at(0), self.rows.ring());
        let left = ring.without_first();
        for column in &mut self.columns {
            let rule = &rules[usize::from(column.metric.0)];
            if let Some(states) = column.states
                && let Some(value) = column.neighbour(ring, 0, rule)
            {
                let states = &mut self.states[usize::from(states)];
                let next = (1..ring.rows())
                    .find_map(|row| Some((self.rows.at(row).observed, column.neighbour(ring, row, rule)?)));
                let point = (first.observed, value);
                let _final = step(&mut states.settled, rule, column.rise(rule), point, next);
                if next.is_none() {
                    states.latest = states.settled;
                }
            }
            column.remove_first(ring.cell(0), left);
        }
        self.rows.remove_first();
        self.forgotten = first.observed;
    }

    #[cfg(test)]
    pub fn heap_bytes(&self) -> usize {
        let columns: usize = self.columns.iter().map(Column::heap_bytes).sum();
        let (column, states) = (size_of::<Column>(), size_of::<States>());
        let own = self.columns.capacity() * column + self.states.capacity() * states;
        columns + own + self.rows.heap_bytes() + size_of::<Object>() + 2 * size_of::<usize>()
    }
}

pub(super) fn check(metric: MetricId, value: f64, mark: Mark, change: Change) -> Checked {
    Checked { metric, value, flag: mark.flag(), failed: mark.failed(), change }
}

/// Gives a column the limits of its object.
fn limit(column: &mut Column, profile: &Profile, device: &str) {
    let metric = column.metric.metric();
    let rise = if rule::is_counter(metric) {
        RiseLimit::of(profile, device, metric)
    } else {
        rule::rise_limit(metric, profile.number(device, &format!("{}_resolution", metric.code)))
    };
    let rise = Some(rise).filter(|rise| *rise != rule::rise_limit(metric, None));
    column.limit(device_range(profile, device, column.metric), rise);
}

/// The range that the registry gives for a metric of an object: attributes `{metric}_min` and `{metric}_max`, else up to
/// what the facility can carry.
fn device_range(profile: &Profile, device: &str, metric: MetricId) -> Option<(f64, f64)> {
    let limit = |side: &str| profile.number(device, &format!("{}_{side}", metric.code()));
    let least = limit("min");
    let greatest = limit("max").or_else(|| capacity::greatest_value(profile, device, metric.code()));
    (least.is_some() || greatest.is_some())
        .then(|| (least.unwrap_or(f64::NEG_INFINITY), greatest.unwrap_or(f64::INFINITY)))
}
