//! The marks of a column's cells, in the room they need: the second half of a mark is kept only where one of them has
//! something in it.

use super::{mark::Mark, ring::Ring};

/// No cells while every mark is clean.
#[derive(Debug, Default, PartialEq)]
pub struct Marks {
    low: Box<[u16]>,
    /// No cells while all of it is zero.
    high: Box<[u16]>,
}

impl Marks {
    /// Whether every mark is clean, so that there are no cells.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.low.is_empty()
    }

    /// Marks of the rows in their order.
    #[must_use]
    pub fn restored(ring: Ring, marks: Vec<Mark>) -> Marks {
        let mut cells = Marks::default();
        marks.into_iter().enumerate().for_each(|(row, mark)| cells.set(ring, ring.cell(row), mark));
        cells
    }

    /// The mark in a cell.
    #[inline]
    #[must_use]
    pub fn get(&self, cell: usize) -> Mark {
        let half = |half: &[u16]| half.get(cell).copied().unwrap_or(0);
        Mark::of_halves(half(&self.low), half(&self.high))
    }

    /// Writes a mark into a cell.
    pub fn set(&mut self, ring: Ring, cell: usize, mark: Mark) {
        let write = |half: &mut Box<[u16]>, value: u16| {
            if half.is_empty() && value != 0 {
                *half = ring.fill(0, []);
            }
            if let Some(place) = half.get_mut(cell) {
                *place = value;
            }
        };
        let (low, high) = mark.halves();
        // Cells are there as soon as one mark is not clean.
        if self.is_empty() && mark != Mark::CLEAN {
            self.low = ring.fill(0, []);
        }
        write(&mut self.low, low);
        write(&mut self.high, high);
    }

    /// Puts a clean mark before a row, or behind the last.
    #[inline]
    pub fn insert(&mut self, ring: Ring, row: usize) {
        for half in [&mut self.low, &mut self.high] {
            if !half.is_empty() {
                ring.insert(half, row, 0);
            }
        }
    }

    /// Whether the marks of all rows are clean.
    #[must_use]
    pub fn all_clean(&self, ring: Ring) -> bool {
        ring.cells().all(|cell| self.get(cell) == Mark::CLEAN)
    }

    /// Bytes on the heap, for memory figures.
    #[cfg(test)]
    pub fn heap_bytes(&self) -> usize {
        size_of_val(&*self.low) + size_of_val(&*self.high)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use schemas::QualityTest;

    use super::{super::mark::Gravity, *};

    fn mark() -> impl Strategy<Value = Mark> {
        let tests = || proptest::sample::select(QualityTest::ALL);
        let gravity = proptest::sample::select(&[Gravity::Noted, Gravity::Suspect, Gravity::Fail][..]);
        prop_oneof![
            Just(Mark::CLEAN),
            (tests(), gravity).prop_map(|(test, gravity)| Mark::CLEAN.with(test, gravity)),
            any::<(u16, u16)>().prop_map(|(low, high)| Mark::of_halves(low, high)),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn are_cells_with_a_mark_each(steps in prop::collection::vec((0..40_usize, mark(), any::<bool>()), 1..80)) {
            let (mut ring, mut marks, mut plain) = (Ring::default(), Marks::default(), Vec::new());
            for (row, mark, inserts) in steps {
                if inserts || plain.is_empty() {
                    let row = row.min(plain.len());
                    marks.insert(ring, row);
                    ring = ring.with_another();
                    plain.insert(row, Mark::CLEAN);
                }
                let row = row % plain.len();
                marks.set(ring, ring.cell(row), mark);
                plain[row] = mark;
                prop_assert_eq!(ring.cells().map(|cell| marks.get(cell)).collect::<Vec<_>>(), plain.clone());
                prop_assert_eq!(marks.all_clean(ring), plain.iter().all(|mark| *mark == Mark::CLEAN));
                let restored = Marks::restored(ring, plain.clone());
                prop_assert!((0..plain.len()).all(|row| restored.get(ring.cell(row)) == plain[row]));
            }
        }
    }
}
