//! The hour that autumn repeats, told apart by the order of each object's rows.
//!
//! Enters: rows in the order of a file, some with two moments. Leaves: the same rows in the same order, each with one
//! moment or refused. Guarantees: the rows of an object that follow each other within the hour are first and second
//! where their clock goes back exactly once (forward, in a file with the newest first); otherwise the setting decides, and
//! without it they are refused, so that none overwrites another.

use std::collections::{BTreeMap, VecDeque};

use schemas::{Code, Millis, Report, time::HOUR};

use super::{
    mapping::Occurrence,
    row::{Row, RowReject},
    row_time::Twice,
};

/// How many rows wait at most for one that tells them apart. Then the oldest are decided by what there is.
const MAX_HELD: usize = 1 << 20;

/// A file's rows between its reader and its merge.
pub(super) struct RepeatedHour {
    rows: VecDeque<Held>,
    /// How many rows have left.
    left: u64,
    /// Objects within the hour. An entry leaves with its object's next row outside, or at the end of the file.
    runs: BTreeMap<Object, Run>,
    setting: Option<Occurrence>,
    delay: Millis,
    order: Order,
}

type Object = (Code, Option<Code>);

enum Held {
    Decided(Row),
    Open { report: Report, reject: RowReject, time: Twice },
}

/// The rows of one object within the hour.
struct Run {
    /// Their numbers among all rows.
    rows: Vec<u64>,
    last: Twice,
    /// Where in `rows` the clock does not go on, and where it does not go back.
    backward: Vec<usize>,
    forward: Vec<usize>,
}

/// Which way the times of a file go.
#[derive(Default)]
struct Order {
    previous: Option<Millis>,
    later: u64,
    earlier: u64,
}

impl RepeatedHour {
    /// No rows yet; `delay` is how long after its observation a row counts as received.
    pub fn new(setting: Option<Occurrence>, delay: Millis) -> RepeatedHour {
        let (rows, runs) = (VecDeque::new(), BTreeMap::new());
        RepeatedHour { rows, left: 0, runs, setting, delay, order: Order::default() }
    }

    /// Takes in a row that has one moment or none.
    pub fn add(&mut self, row: Row) {
        if let Ok(report) = &row {
            self.order.add(report.observed_at);
            if !self.runs.is_empty()
                && let Some(run) = self.runs.remove(&object(report))
            {
                self.decide(&run);
            }
        }
        self.rows.push_back(Held::Decided(row));
    }

    /// Takes in a row that has two moments, beside what it is as a reject.
    pub fn hold(&mut self, report: Report, reject: RowReject, time: Twice) {
        self.order.add(time.first);
        let number = self.left + self.rows.len() as u64;
        let object = object(&report);
        self.rows.push_back(Held::Open { report, reject, time });
        match self.runs.get_mut(&object) {
            Some(run) if run.is_same_hour(time) => run.add(number, time),
            _ => {
                if let Some(run) = self.runs.insert(object, Run::new(number, time)) {
                    self.decide(&run);
                }
            }
        }
        if self.rows.len() >= MAX_HELD
            && let Some(Held::Open { report, .. }) = self.rows.front()
            && let Some(run) = self.runs.remove(&self::object(report))
        {
            self.decide(&run);
        }
    }

    /// Decides what still waits at the end of the file.
    pub fn finish(&mut self) {
        for run in std::mem::take(&mut self.runs).into_values() {
            self.decide(&run);
        }
    }

    /// The next row, once it is decided.
    pub fn next(&mut self) -> Option<Row> {
        match self.rows.pop_front()? {
            Held::Decided(row) => {
                self.left += 1;
                Some(row)
            }
            open => {
                self.rows.push_front(open);
                None
            }
        }
    }

    fn decide(&mut self, run: &Run) {
        let newest_first = self.order.earlier > self.order.later;
        let turns = if newest_first { &run.forward } else { &run.backward };
        for (place, number) in run.rows.iter().enumerate() {
            let decided = match (turns.as_slice(), self.setting) {
                ([turn], _) if (place < *turn) == newest_first => Ok(Occurrence::Second),
                ([_], _) => Ok(Occurrence::First),
                ([], Some(occurrence)) => Ok(occurrence),
                ([], None) => {
                    Err("its object has it once in the file: set time.repeated_hour or time.offset_column")
                }
                _ => Err("its object has it more than twice in the file: set time.offset_column"),
            };
            let place = usize::try_from(number - self.left).unwrap_or(usize::MAX);
            if let Some(held) = self.rows.get_mut(place) {
                held.decide(decided, self.delay);
            }
        }
    }
}

fn object(report: &Report) -> Object {
    (report.facility.clone(), report.device.clone())
}

impl Held {
    fn decide(&mut self, decided: Result<Occurrence, &str>, delay: Millis) {
        let Held::Open { report, reject, time } = self else { return };
        let at = match decided {
            Ok(Occurrence::First) => time.first,
            Ok(Occurrence::Second) => time.second,
            Err(why) => {
                let detail = format!("{}, and {why}", reject.detail);
                *self = Held::Decided(Err(RowReject { detail, ..reject.clone() }));
                return;
            }
        };
        (report.observed_at, report.received_at) = (at, at + delay);
        *self = Held::Decided(Ok(report.clone()));
    }
}

impl Run {
    fn new(number: u64, time: Twice) -> Run {
        Run { rows: vec![number], last: time, backward: Vec::new(), forward: Vec::new() }
    }

    /// Whether a time is within the hour of this run and not within that of another year.
    fn is_same_hour(&self, time: Twice) -> bool {
        (time.first - self.last.first).abs() < 12 * HOUR
    }

    fn add(&mut self, number: u64, time: Twice) {
        if time.first <= self.last.first {
            self.backward.push(self.rows.len());
        }
        if time.first >= self.last.first {
            self.forward.push(self.rows.len());
        }
        self.rows.push(number);
        self.last = time;
    }
}

impl Order {
    fn add(&mut self, at: Millis) {
        if let Some(previous) = self.previous.replace(at) {
            self.later += u64::from(at > previous);
            self.earlier += u64::from(at < previous);
        }
    }
}
