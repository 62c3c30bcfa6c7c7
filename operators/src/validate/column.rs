//! What an object remembers of one metric: values, marks and limits.

use schemas::MetricId;

use super::{
    mark::Mark,
    marks::Marks,
    neighbours::State,
    ring::Ring,
    rule::{self, MetricRule},
    saved::{SavedColumn, SavedStates},
    values::Values,
};
use crate::capacity::RiseLimit;

/// One metric's cells, one per row of its object; a cell is empty when the row's report did not have the metric. Which
/// cell is of which row is said by the ring of the object's rows: as it is, for [`Column::insert`] as it was before.
#[derive(Debug)]
pub struct Column {
    /// The metric.
    pub metric: MetricId,
    /// Which of the object's [`States`] is its own; `None` for a metric without tests of neighbours.
    pub states: Option<u16>,
    values: Values,
    /// What most columns do not have.
    rare: Option<Box<Rare>>,
}

/// What a column has beside its values when something is special about it.
#[derive(Debug, Default, PartialEq)]
struct Rare {
    /// The range that the registry gives for the object.
    range: Option<(f64, f64)>,
    /// How far the object's counter can rise, or another quantity change, where that is not the catalogue's limit.
    rise: Option<RiseLimit>,
    marks: Marks,
}

/// Where the tests of neighbours stand.
#[derive(Clone, Copy, Debug)]
pub struct States {
    /// What the forgotten readings leave behind.
    pub settled: State,
    /// What all readings before the newest possible one leave behind.
    pub latest: State,
}

impl States {
    /// Before the first reading.
    pub const NEW: States = States { settled: State::EMPTY, latest: State::EMPTY };

    /// What was restored, for a metric as this version's catalogue has it.
    #[must_use]
    pub fn restored(saved: SavedStates, counter: bool) -> States {
        States {
            settled: State::restored(saved.settled, counter),
            latest: State::restored(saved.latest, counter),
        }
    }

    /// How they are saved.
    #[must_use]
    pub fn saved(self, counter: bool) -> SavedStates {
        SavedStates { settled: self.settled.saved(counter), latest: self.latest.saved(counter) }
    }
}

impl Column {
    /// A column of empty cells.
    #[must_use]
    pub fn new(metric: MetricId, states: Option<u16>, ring: Ring) -> Column {
        Column { metric, states, values: Values::new(ring), rare: None }
    }

    /// A column that was restored, as this version's catalogue has its metric; its range follows from the registry.
    #[must_use]
    pub fn restored(restored: SavedColumn, states: Option<u16>, ring: Ring, rule: &MetricRule) -> Column {
        let decimals = 10f64.powi(i32::from(restored.decimals));
        let mut values = Values::restored(ring, restored.values);
        if decimals != rule.scale {
            values = values.rescaled(ring, decimals, rule.scale);
        }
        let mut column = Column { values, ..Column::new(restored.metric, states, Ring::default()) };
        if !restored.marks.is_empty() {
            column.rare().marks = Marks::restored(ring, restored.marks);
        }
        column
    }

    /// How it is saved.
    #[must_use]
    pub fn saved(&self, states: &[States], ring: Ring) -> SavedColumn {
        let counter = rule::is_counter(self.metric.metric());
        let marked = if self.marks().is_some() { ring } else { Ring::default() };
        SavedColumn {
            metric: self.metric,
            decimals: self.metric.metric().decimals,
            states: self.states.map(|at| Box::new(states[usize::from(at)].saved(counter))),
            values: self.values.saved(ring),
            marks: marked.cells().map(|cell| self.mark_in(cell)).collect(),
        }
    }

    /// The range that the registry gives for the object, where it gives one.
    #[inline]
    #[must_use]
    pub fn range(&self) -> Option<(f64, f64)> {
        self.rare.as_ref()?.range
    }

    /// How far the object's counter can rise, or another quantity change.
    #[inline]
    #[must_use]
    pub fn rise(&self, rule: &MetricRule) -> RiseLimit {
        self.rare.as_ref().and_then(|rare| rare.rise).unwrap_or(rule.rise)
    }

    /// Takes the limits that the registry gives.
    pub fn limit(&mut self, range: Option<(f64, f64)>, rise: Option<RiseLimit>) {
        if range.is_some() || rise.is_some() || self.rare.is_some() {
            let rare = self.rare();
            (rare.range, rare.rise) = (range, rise);
            self.forget_rare();
        }
    }

    /// The marks, if one of them is not clean.
    fn marks(&self) -> Option<&Marks> {
        self.rare.as_ref().map(|rare| &rare.marks).filter(|marks| !marks.is_empty())
    }

    #[inline]
    fn mark_in(&self, cell: usize) -> Mark {
        self.rare.as_ref().map_or(Mark::CLEAN, |rare| rare.marks.get(cell))
    }

    fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    fn forget_rare(&mut self) {
        self.rare = self.rare.take().filter(|rare| **rare != Rare::default());
    }

    /// The value in a row.
    #[inline]
    #[must_use]
    pub fn value(&self, ring: Ring, row: usize, rule: &MetricRule) -> Option<f64> {
        self.values.get(ring, row, rule.scale)
    }

    /// The mark in a row.
    #[inline]
    #[must_use]
    pub fn mark(&self, ring: Ring, row: usize) -> Mark {
        self.mark_in(ring.cell(row))
    }

    /// The value in a row, unless it is impossible.
    #[inline]
    #[must_use]
    pub fn neighbour(&self, ring: Ring, row: usize, rule: &MetricRule) -> Option<f64> {
        if self.mark(ring, row).impossible() { None } else { self.value(ring, row, rule) }
    }

    /// Writes a value and its mark into a row.
    #[inline]
    pub fn set(&mut self, ring: Ring, row: usize, (value, mark): (f64, Mark), rule: &MetricRule) {
        self.values.set(ring, row, value, rule.scale);
        self.set_mark(ring, row, mark);
    }

    /// Writes a mark into a row.
    #[inline]
    pub fn set_mark(&mut self, ring: Ring, row: usize, mark: Mark) {
        if mark != Mark::CLEAN || self.marks().is_some() {
            self.write_mark(ring, row, mark);
        }
    }

    fn write_mark(&mut self, ring: Ring, row: usize, mark: Mark) {
        let (marks, cell) = (&mut self.rare().marks, ring.cell(row));
        let before = marks.get(cell);
        marks.set(ring, cell, mark);
        if before != Mark::CLEAN {
            self.forget_clean_marks(ring);
        }
    }

    /// Puts a verdict of the neighbours in the place of the one before, and tells whether the mark changed.
    #[inline]
    pub fn settle(&mut self, ring: Ring, row: usize, verdict: Mark) -> bool {
        let known = self.mark(ring, row);
        let mark = known.own().union(verdict);
        if mark != known {
            self.set_mark(ring, row, mark);
        }
        mark != known
    }

    /// Empties a cell.
    pub fn clear(&mut self, ring: Ring, row: usize) {
        self.values.clear(ring, row);
        self.set_mark(ring, row, Mark::CLEAN);
    }

    /// Adds an empty cell before `row`, or at the end.
    #[inline]
    pub fn insert(&mut self, ring: Ring, row: usize) {
        self.values.insert(ring, row);
        if let Some(rare) = &mut self.rare {
            rare.marks.insert(ring, row);
        }
    }

    /// Removes the first cell; `ring` is what is left.
    #[inline]
    pub fn remove_first(&mut self, first: usize, ring: Ring) {
        if self.mark_in(first) != Mark::CLEAN {
            self.forget_clean_marks(ring);
        }
    }

    /// Removes every cell and gives back the space.
    pub fn remove_all(&mut self) {
        self.values = Values::new(Ring::default());
        self.forget_marks();
    }

    fn forget_clean_marks(&mut self, ring: Ring) {
        if self.marks().is_some_and(|marks| marks.all_clean(ring)) {
            self.forget_marks();
        }
    }

    fn forget_marks(&mut self) {
        if let Some(rare) = &mut self.rare {
            rare.marks = Marks::default();
            self.forget_rare();
        }
    }

    #[cfg(test)]
    pub fn heap_bytes(&self) -> usize {
        let rare = self.rare.as_deref().map_or(0, size_of_val);
        rare + self.values.heap_bytes() + self.marks().map_or(0, Marks::heap_bytes)
    }
}
