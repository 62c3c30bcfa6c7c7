//! The remembered values of one metric of one object, with their marks.

use std::collections::VecDeque;

use schemas::MetricId;

use super::{mark::Mark, neighbours::State, rule::Rule};

/// One metric's cells, one per row of its object; a cell is empty when the row's report did not have the metric.
#[derive(Debug)]
pub struct Column {
    /// The metric.
    pub metric: MetricId,
    /// The range that the registry gives for the object, where it gives one.
    pub range: Option<Box<(f64, f64)>>,
    /// What the forgotten readings leave behind.
    pub floor: State,
    /// What all readings before the newest possible one leave behind.
    pub tail: State,
    values: Values,
    /// Empty while every remembered mark is clean, which is the rule.
    marks: Vec<Mark>,
}

/// Values as multiples of the metric's last decimal place in 4 bytes; in 8 bytes once one does not fit exactly.
#[derive(Debug)]
enum Values {
    Narrow(VecDeque<i32>),
    Wide(VecDeque<f64>),
}

const ABSENT: i32 = i32::MIN;

fn narrow(value: f64, scale: f64) -> Option<i32> {
    let scaled = (value * scale).round();
    let exact = scaled.abs() < f64::from(i32::MAX) && (scaled / scale).to_bits() == value.to_bits();
    exact.then_some(scaled as i32)
}

impl Column {
    /// A column of `rows` empty cells.
    #[must_use]
    pub fn new(metric: MetricId, rows: usize) -> Column {
        let values = Values::Narrow(std::iter::repeat_n(ABSENT, rows).collect());
        Column { metric, range: None, floor: State::Empty, tail: State::Empty, values, marks: Vec::new() }
    }

    /// The value in a row.
    #[must_use]
    pub fn value(&self, row: usize, rule: &Rule) -> Option<f64> {
        match &self.values {
            Values::Narrow(cells) => {
                Some(cells[row]).filter(|n| *n != ABSENT).map(|n| f64::from(n) / rule.scale)
            }
            Values::Wide(cells) => Some(cells[row]).filter(|value| !value.is_nan()),
        }
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

    /// Writes a value into a row.
    pub fn set(&mut self, row: usize, value: f64, rule: &Rule) {
        if let Values::Narrow(cells) = &mut self.values {
            if let Some(n) = narrow(value, rule.scale) {
                cells[row] = n;
                return;
            }
            let widened = |n: &i32| if *n == ABSENT { f64::NAN } else { f64::from(*n) / rule.scale };
            self.values = Values::Wide(cells.iter().map(widened).collect());
        }
        if let Values::Wide(cells) = &mut self.values {
            cells[row] = value;
        }
    }

    /// Writes a mark into a row.
    pub fn set_mark(&mut self, row: usize, mark: Mark) {
        if self.marks.is_empty() {
            if mark == Mark::CLEAN {
                return;
            }
            self.marks = vec![Mark::CLEAN; self.rows()];
        }
        let before = std::mem::replace(&mut self.marks[row], mark);
        if before != Mark::CLEAN {
            self.forget_clean_marks();
        }
    }

    /// Empties a cell.
    pub fn clear(&mut self, row: usize) {
        match &mut self.values {
            Values::Narrow(cells) => cells[row] = ABSENT,
            Values::Wide(cells) => cells[row] = f64::NAN,
        }
        self.set_mark(row, Mark::CLEAN);
    }

    /// Adds an empty cell before `row`, or at the end.
    pub fn insert(&mut self, row: usize) {
        match &mut self.values {
            Values::Narrow(cells) => cells.insert(row, ABSENT),
            Values::Wide(cells) => cells.insert(row, f64::NAN),
        }
        if !self.marks.is_empty() {
            self.marks.insert(row, Mark::CLEAN);
        }
    }

    /// Removes the first cell.
    pub fn remove_first(&mut self) {
        match &mut self.values {
            Values::Narrow(cells) => drop(cells.pop_front()),
            Values::Wide(cells) => drop(cells.pop_front()),
        }
        if !self.marks.is_empty() && self.marks.remove(0) != Mark::CLEAN {
            self.forget_clean_marks();
        }
    }

    fn forget_clean_marks(&mut self) {
        if self.marks.iter().all(|mark| *mark == Mark::CLEAN) {
            self.marks = Vec::new();
        }
    }

    /// Gives back what it holds beyond its cells.
    pub fn shrink(&mut self) {
        match &mut self.values {
            Values::Narrow(cells) => cells.shrink_to_fit(),
            Values::Wide(cells) => cells.shrink_to_fit(),
        }
        self.marks.shrink_to_fit();
    }

    fn rows(&self) -> usize {
        match &self.values {
            Values::Narrow(cells) => cells.len(),
            Values::Wide(cells) => cells.len(),
        }
    }
}
