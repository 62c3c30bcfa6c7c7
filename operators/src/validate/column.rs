//! What an object remembers of one metric: values, marks, limits, and where its tests stand.

use schemas::MetricId;
use serde::{Deserialize, Serialize};

use super::{
    mark::Mark,
    neighbours::State,
    rule::Rule,
    saved::{self, RestoredColumn},
    values::Values,
};

/// One metric's cells, one per row of its object; a cell is empty when the row's report did not have the metric.
#[derive(Debug, Serialize)]
pub struct Column {
    /// The metric.
    #[serde(serialize_with = "saved::metric")]
    pub metric: MetricId,
    /// The range that the registry gives for the object, where it gives one.
    #[serde(skip)]
    pub range: Option<Box<(f64, f64)>>,
    /// Where the tests of neighbours stand; `None` for a metric without such tests.
    pub states: Option<Box<States>>,
    values: Values,
    /// Empty while every remembered mark is clean, which is the rule.
    marks: Vec<Mark>,
}

/// Where the tests of neighbours stand.
#[derive(Debug, Serialize, Deserialize)]
pub struct States {
    /// What the forgotten readings leave behind.
    pub floor: State,
    /// What all readings before the newest possible one leave behind.
    pub tail: State,
}

impl Column {
    /// A column of `rows` empty cells.
    #[must_use]
    pub fn new(metric: MetricId, rule: &Rule, rows: usize) -> Column {
        let states = || Box::new(States { floor: State::Empty, tail: State::Empty });
        Column {
            metric,
            range: None,
            states: rule.compares().then(states),
            values: Values::new(rows),
            marks: Vec::new(),
        }
    }

    /// A column that was restored, as this version's catalogue has its metric; its range follows from the registry.
    #[must_use]
    pub fn restored(restored: RestoredColumn, metric: MetricId, rule: &Rule) -> Column {
        let decimals = 10f64.powi(i32::from(restored.decimals));
        let values = if decimals == rule.scale {
            restored.values
        } else {
            restored.values.rescaled(decimals, rule.scale)
        };
        let states = Column::new(metric, rule, 0).states.map(|new| restored.states.unwrap_or(new));
        Column { metric, range: None, states, values, marks: restored.marks }
    }

    /// The value in a row.
    #[must_use]
    pub fn value(&self, row: usize, rule: &Rule) -> Option<f64> {
        self.values.get(row, rule.scale)
    }

    /// The mark in a row.
    #[must_use]
    pub fn mark(&self, row: usize) -> Mark {
        self.marks.get(row).copied().unwrap_or(Mark::CLEAN)
    }

    /// The value in a row, unless it is impossible.
    #[must_use]
    pub fn neighbour(&self, row: usize, rule: &Rule) -> Option<f64> {
        if self.mark(row).impossible() { None } else { self.value(row, rule) }
    }

    /// Writes a value and its mark into a row.
    pub fn set(&mut self, row: usize, value: f64, mark: Mark, rule: &Rule) {
        self.values.set(row, value, rule.scale);
        self.set_mark(row, mark);
    }

    /// Writes a mark into a row.
    pub fn set_mark(&mut self, row: usize, mark: Mark) {
        if self.marks.is_empty() {
            if mark == Mark::CLEAN {
                return;
            }
            self.marks = vec![Mark::CLEAN; self.values.len()];
        }
        let before = std::mem::replace(&mut self.marks[row], mark);
        if before != Mark::CLEAN {
            self.forget_clean_marks();
        }
    }

    /// Puts a verdict of the neighbours in the place of the one before, and tells whether the mark changed.
    pub fn settle(&mut self, row: usize, verdict: Mark) -> bool {
        let known = self.mark(row);
        let mark = known.own().and(verdict);
        if mark != known {
            self.set_mark(row, mark);
        }
        mark != known
    }

    /// Empties a cell.
    pub fn clear(&mut self, row: usize) {
        self.values.clear(row);
        self.set_mark(row, Mark::CLEAN);
    }

    /// Adds an empty cell before `row`, or at the end.
    pub fn insert(&mut self, row: usize) {
        self.values.insert(row);
        if !self.marks.is_empty() {
            self.marks.insert(row, Mark::CLEAN);
        }
    }

    /// Removes the first cell.
    pub fn remove_first(&mut self) {
        self.values.remove_first();
        if !self.marks.is_empty() && self.marks.remove(0) != Mark::CLEAN {
            self.forget_clean_marks();
        }
    }

    /// Removes every cell and gives back the space.
    pub fn remove_all(&mut self) {
        self.values = Values::new(0);
        self.marks = Vec::new();
    }

    fn forget_clean_marks(&mut self) {
        if self.marks.iter().all(|mark| *mark == Mark::CLEAN) {
            self.marks = Vec::new();
        }
    }
}
