//! When the remembered reports of one object were measured and when they arrived, exactly, in 8 bytes each.

use schemas::Millis;
use serde::{Deserialize, Serialize};

use super::{ring::Ring, saved::SavedRows};

/// When a report was measured and when it arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Row {
    /// When it was measured.
    pub observed: Millis,
    /// When it arrived.
    pub received: Millis,
}

/// Milliseconds since a base, and from measuring to arrival.
pub type Near = (u32, i32);

/// Sorted rows. They take 16 bytes each while they lie more than 49 days apart, or one of them took more than 24 days
/// to arrive, as in a replayed history.
#[derive(Debug, Default)]
pub struct ReportRows {
    ring: Ring,
    times: Times,
}

#[derive(Debug)]
enum Times {
    Near { base: Millis, cells: Box<[Near]> },
    Far(Box<[Row]>),
}

impl Default for Times {
    fn default() -> Times {
        Times::Near { base: 0, cells: Box::default() }
    }
}

fn near(base: Millis, row: Row) -> Option<Near> {
    let offset = u32::try_from(row.observed.checked_sub(base)?).ok()?;
    let delay = i32::try_from(row.received.checked_sub(row.observed)?).ok()?;
    Some((offset, delay))
}

fn row(base: Millis, (offset, delay): Near) -> Row {
    let observed = base + Millis::from(offset);
    Row { observed, received: observed + Millis::from(delay) }
}

impl ReportRows {
    /// What was restored.
    #[must_use]
    pub fn restored(restored: SavedRows) -> ReportRows {
        match restored {
            SavedRows::Near { base, cells } => {
                let ring = Ring::of(cells.len());
                ReportRows { ring, times: Times::Near { base, cells: ring.fill((0, 0), cells) } }
            }
            SavedRows::Far(rows) => {
                let ring = Ring::of(rows.len());
                ReportRows { ring, times: Times::far(ring, &rows) }
            }
        }
    }

    /// How they are saved.
    #[must_use]
    pub fn saved(&self) -> SavedRows {
        match &self.times {
            Times::Near { base, cells } => {
                let cells = self.ring.cells().map(|cell| cells[cell]).collect();
                SavedRows::Near { base: *base, cells }
            }
            Times::Far(_) => SavedRows::Far(self.iter().collect()),
        }
    }

    /// Where the rows lie, here and in the columns.
    #[inline]
    #[must_use]
    pub fn ring(&self) -> Ring {
        self.ring
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ring.rows()
    }

    /// One row.
    ///
    /// # Panics
    /// When there is no such row and never was a later one.
    #[inline]
    #[must_use]
    pub fn at(&self, index: usize) -> Row {
        match &self.times {
            Times::Near { base, cells } => row(*base, cells[self.ring.cell(index)]),
            Times::Far(rows) => rows[self.ring.cell(index)],
        }
    }

    fn iter(&self) -> impl Iterator<Item = Row> {
        (0..self.len()).map(|index| self.at(index))
    }

    /// The newest row.
    #[must_use]
    pub fn last(&self) -> Option<Row> {
        self.len().checked_sub(1).map(|last| self.at(last))
    }

    /// How many rows come before the first that does not satisfy `before`.
    #[must_use]
    pub fn partition_point(&self, before: impl Fn(Row) -> bool) -> usize {
        let (mut first, mut end) = (0, self.len());
        while first < end {
            let middle = first + (end - first) / 2;
            if before(self.at(middle)) {
                first = middle + 1;
            } else {
                end = middle;
            }
        }
        first
    }

    /// Puts a row where it belongs by the order; `at` is that place.
    pub fn insert(&mut self, at: usize, new: Row) {
        if self.len() == 0 {
            self.times = Times::Near { base: new.observed, cells: self.ring.fill((0, 0), []) };
        }
        let after = self.ring.with_another();
        let fits = match &mut self.times {
            Times::Near { base, cells } => {
                near(*base, new).map(|cell| self.ring.insert(cells, at, cell)).is_some()
            }
            Times::Far(rows) => {
                self.ring.insert(rows, at, new);
                true
            }
        };
        if !fits {
            let mut rows: Vec<Row> = self.iter().collect();
            rows.insert(at, new);
            self.times = Times::of(after, &rows);
        }
        self.ring = after;
    }

    #[cfg(test)]
    pub fn heap_bytes(&self) -> usize {
        match &self.times {
            Times::Near { cells, .. } => size_of_val(&cells[..]),
            Times::Far(rows) => size_of_val(&rows[..]),
        }
    }

    /// Removes the first row.
    pub fn remove_first(&mut self) {
        self.ring = self.ring.without_first();
    }
}

impl Times {
    /// Times since the first, or as they are where that does not fit.
    fn of(ring: Ring, rows: &[Row]) -> Times {
        let base = rows.first().map_or(0, |first| first.observed);
        let cells: Option<Vec<Near>> = rows.iter().map(|row| near(base, *row)).collect();
        match cells {
            Some(cells) => Times::Near { base, cells: ring.fill((0, 0), cells) },
            None => Times::far(ring, rows),
        }
    }

    fn far(ring: Ring, rows: &[Row]) -> Times {
        Times::Far(ring.fill(Row { observed: 0, received: 0 }, rows.iter().copied()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use schemas::time::DAY;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn rows_come_back_as_they_went_in(
            rows in prop::collection::vec(
                (prop_oneof![0i64..5000, 0i64..(60 * DAY), Just(2000 * DAY)], prop_oneof![-9i64..9, Just(40 * DAY)]),
                1..40,
            ),
            kept in 1usize..20,
        ) {
            let mut packed = ReportRows::default();
            let mut plain: Vec<Row> = Vec::new();
            for (observed, delay) in rows {
                let new = Row { observed, received: observed + delay };
                let at = plain.partition_point(|row| *row < new);
                prop_assert_eq!(packed.partition_point(|row| row < new), at);
                packed.insert(at, new);
                plain.insert(at, new);
                if plain.len() > kept {
                    packed.remove_first();
                    plain.remove(0);
                }
                let all: Vec<_> = (0..packed.len()).map(|at| packed.at(at)).collect();
                prop_assert_eq!(&all, &plain);
                prop_assert_eq!(packed.last(), plain.last().copied());
                let again = ReportRows::restored(packed.saved());
                prop_assert_eq!(again.iter().collect::<Vec<_>>(), all);
            }
        }
    }
}
