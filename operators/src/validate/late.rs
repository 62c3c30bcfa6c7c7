//! Late reports of an object: those between others, and those for a time that was reported before.
//!
//! Enters: a report that is not the object's newest but within its memory. Leaves: its readings, revisions of the
//! marks beside them, and rejects of repetitions and of values that were corrected. Guarantees: which of two values
//! for one time stands depends on when they arrived, not on which is read first; of two that arrived in the same
//! millisecond the one read later stands.

use std::rc::Rc;

use schemas::{Millis, QualityTest};
use smallvec::SmallVec;

use super::{
    admission::Admission,
    counter,
    mark::{Gravity, Mark},
    neighbours::{Point, State, step},
    object::{Remark, ReportHistory, check},
    rows::Row,
    rule::MetricRule,
    test::{self, Arrival, Own, sentinel},
};
use crate::{
    flow::{Change, Observation, Repeated},
    profile::Profile,
};

/// A column that a late report touched: which reading is new, or was found to have been corrected already.
struct Touched {
    column: usize,
    row: Row,
    change: Change,
}

impl ReportHistory {
    /// A report between others, or for a time that was reported before.
    pub(super) fn admit_late(
        &mut self,
        report: &Observation<'_>,
        profile: &Profile,
        admission: &mut Admission<'_>,
    ) {
        let arrival = test::arrival(&Arrival::of(report, self.arrives_within));
        let blank = sentinel::is_blank(report.readings, admission.rules);
        let mut touched: SmallVec<[Touched; 8]> = SmallVec::new();
        let mut repeated = 0;
        for (hint, reading) in report.readings.iter().enumerate() {
            if report.readings[..hint].iter().any(|earlier| earlier.metric == reading.metric) {
                admission.reject_twice(report, reading);
                continue;
            }
            let column = self.column(hint, reading.metric, profile, admission.rules);
            let rule = &admission.rules[usize::from(reading.metric.0)];
            let device = self.columns[column].range();
            let own = arrival.union(test::own(&Own { rule, reading, device, blank }));
            match self.known(column, report.observed_at, rule) {
                Some((_, value)) if value == reading.value => {
                    repeated += 1;
                    admission.reject_duplicate(report, reading);
                }
                Some((row, _)) if report.received_at < self.rows.at(row).received => {
                    admission.reject_superseded(report, (reading.metric, reading.value, report.received_at));
                    let ring = self.rows.ring();
                    let stands = self.columns[column].mark(ring, row);
                    self.columns[column].set_mark(ring, row, corrected(stands));
                    touched.push(Touched { column, row: self.rows.at(row), change: Change::Remarked });
                }
                Some((row, value)) => {
                    admission.reject_superseded(report, (reading.metric, value, self.rows.at(row).received));
                    self.columns[column].clear(self.rows.ring(), row);
                    touched.push(self.place(
                        column,
                        report,
                        (reading.value, corrected(own)),
                        rule,
                        Change::Corrected,
                    ));
                }
                None => touched.push(self.place(column, report, (reading.value, own), rule, Change::New)),
            }
        }
        if repeated > 0 {
            let object = Rc::clone(&self.object);
            admission.repeated.push(Repeated { object, observed_at: report.observed_at, readings: repeated });
        }
        self.judge_again(&touched, admission);
    }

    /// Writes a late reading into its row, with its own tests' verdicts.
    fn place(
        &mut self,
        column: usize,
        report: &Observation<'_>,
        (value, own): (f64, Mark),
        rule: &MetricRule,
        change: Change,
    ) -> Touched {
        let row = Row { observed: report.observed_at, received: report.received_at };
        let at = self.rows.partition_point(|other| other < row);
        if at == self.rows.len() || self.rows.at(at) != row {
            self.insert_row(at, row);
        }
        self.columns[column].set(self.rows.ring(), at, (value, own), rule);
        Touched { column, row, change }
    }

    /// Judges every remembered reading of the touched columns again, and emits what is new or revised.
    fn judge_again(&mut self, touched: &[Touched], admission: &mut Admission<'_>) {
        let ring = self.rows.ring();
        let mut placed = None;
        let mut remarks: SmallVec<[Remark; 4]> = SmallVec::new();
        for touched in touched {
            let rule = &admission.rules[usize::from(self.columns[touched.column].metric.0)];
            let row = self.rows.partition_point(|row| row < touched.row);
            self.fold(touched.column, rule, &mut remarks);
            remarks.retain(|remark| *remark != (row, touched.column));
            let column = &self.columns[touched.column];
            if touched.change == Change::Remarked {
                remarks.push((row, touched.column));
            } else if let Some(value) = column.value(ring, row, rule) {
                placed = Some(row);
                admission.reports.add(check(column.metric, value, column.mark(ring, row), touched.change));
            }
        }
        if let Some(row) = placed {
            self.emit(row, admission);
        }
        self.emit_remarks(remarks, admission);
    }

    /// Folds a column from what is forgotten to the newest reading and lists the marks that changed.
    fn fold(&mut self, index: usize, rule: &MetricRule, remarks: &mut SmallVec<[Remark; 4]>) {
        let (column, ring) = (&mut self.columns[index], self.rows.ring());
        let Some(states) = column.states.map(|at| &mut self.states[usize::from(at)]) else { return };
        let limit = column.rise(rule);
        let mut marks: SmallVec<[(usize, Mark); 64]> = SmallVec::new();
        let mut judge = |state: &mut State, (row, point): (usize, Point), next: Option<Point>| {
            let verdict = step(state, rule, limit, point, next);
            let since = verdict.believed_since.unwrap_or(Millis::MAX);
            for (row, mark) in marks.iter_mut().rev() {
                let at = self.rows.at(*row).observed;
                if at < since {
                    break;
                }
                *mark = counter::believed(at, since);
            }
            marks.push((row, verdict.mark));
        };
        let mut state = states.settled;
        let mut waiting: Option<(usize, Point)> = None;
        for row in 0..self.rows.len() {
            let Some(value) = column.neighbour(ring, row, rule) else { continue };
            let point = (self.rows.at(row).observed, value);
            if let Some(before) = waiting.replace((row, point)) {
                judge(&mut state, before, Some(point));
            }
        }
        states.latest = state;
        if let Some(newest) = waiting {
            judge(&mut state, newest, None);
        }
        for (row, mark) in marks {
            remarks.extend(column.settle(ring, row, mark).then_some((row, index)));
        }
    }

    /// The row and value remembered for a time.
    fn known(&self, column: usize, at: Millis, rule: &MetricRule) -> Option<(usize, f64)> {
        let first = self.rows.partition_point(|row| row.observed < at);
        let same = (first..self.rows.len()).take_while(|row| self.rows.at(*row).observed == at);
        same.into_iter().find_map(|row| Some((row, self.columns[column].value(self.rows.ring(), row, rule)?)))
    }
}

fn corrected(mark: Mark) -> Mark {
    mark.with(QualityTest::Corrected, Gravity::Noted)
}
