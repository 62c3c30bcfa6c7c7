//! When the remembered reports of one object were measured and when they arrived, exactly, in 8 bytes each.

use std::collections::VecDeque;

use schemas::Millis;
use serde::{Deserialize, Serialize};

use super::saved;

/// When a report was measured and when it arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Row {
    /// When it was measured.
    pub observed: Millis,
    /// When it arrived.
    pub received: Millis,
}

/// Sorted rows. They take 16 bytes each while they lie more than 49 days apart, or one of them took more than 24 days
/// to arrive, as in a replayed history.
#[derive(Debug, Serialize, Deserialize)]
pub enum Rows {
    /// Milliseconds since the base, and from measuring to arrival.
    Near {
        base: Millis,
        #[serde(deserialize_with = "saved::cells")]
        cells: VecDeque<(u32, i32)>,
    },
    /// The rows as they are.
    Far(#[serde(deserialize_with = "saved::cells")] VecDeque<Row>),
}

fn near(base: Millis, row: Row) -> Option<(u32, i32)> {
    let offset = u32::try_from(row.observed.checked_sub(base)?).ok()?;
    let delay = i32::try_from(row.received.checked_sub(row.observed)?).ok()?;
    Some((offset, delay))
}

fn row(base: Millis, (offset, delay): (u32, i32)) -> Row {
    let observed = base + Millis::from(offset);
    Row { observed, received: observed + Millis::from(delay) }
}

impl Rows {
    /// No rows.
    #[must_use]
    pub fn new() -> Rows {
        Rows::Near { base: 0, cells: VecDeque::new() }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Rows::Near { cells, .. } => cells.len(),
            Rows::Far(rows) => rows.len(),
        }
    }

    /// One row.
    ///
    /// # Panics
    /// When there are fewer rows.
    #[must_use]
    pub fn at(&self, index: usize) -> Row {
        match self {
            Rows::Near { base, cells } => row(*base, cells[index]),
            Rows::Far(rows) => rows[index],
        }
    }

    /// The newest row.
    #[must_use]
    pub fn last(&self) -> Option<Row> {
        self.len().checked_sub(1).map(|last| self.at(last))
    }

    /// How many rows come before the first that does not satisfy `before`.
    #[must_use]
    pub fn partition_point(&self, before: impl Fn(Row) -> bool) -> usize {
        match self {
            Rows::Near { base, cells } => cells.partition_point(|cell| before(row(*base, *cell))),
            Rows::Far(rows) => rows.partition_point(|row| before(*row)),
        }
    }

    /// Puts a row where it belongs by the order; `at` is that place.
    pub fn insert(&mut self, at: usize, new: Row) {
        if self.len() == 0 {
            *self = Rows::Near { base: new.observed, cells: VecDeque::new() };
        }
        let fits = match &mut *self {
            Rows::Near { base, cells } => near(*base, new).map(|cell| cells.insert(at, cell)).is_some(),
            Rows::Far(rows) => {
                rows.insert(at, new);
                true
            }
        };
        if !fits {
            let mut rows: VecDeque<Row> = (0..self.len()).map(|at| self.at(at)).collect();
            rows.insert(at, new);
            let base = rows[0].observed;
            let cells: Option<VecDeque<_>> = rows.iter().map(|row| near(base, *row)).collect();
            *self = cells.map_or(Rows::Far(rows), |cells| Rows::Near { base, cells });
        }
    }

    /// Removes the first row.
    pub fn remove_first(&mut self) -> Option<Row> {
        match self {
            Rows::Near { base, cells } => cells.pop_front().map(|cell| row(*base, cell)),
            Rows::Far(rows) => rows.pop_front(),
        }
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
            let mut packed = Rows::new();
            let mut plain: Vec<Row> = Vec::new();
            for (observed, delay) in rows {
                let new = Row { observed, received: observed + delay };
                let at = plain.partition_point(|row| *row < new);
                prop_assert_eq!(packed.partition_point(|row| row < new), at);
                packed.insert(at, new);
                plain.insert(at, new);
                if plain.len() > kept {
                    prop_assert_eq!(packed.remove_first(), Some(plain.remove(0)));
                }
                let all: Vec<_> = (0..packed.len()).map(|at| packed.at(at)).collect();
                prop_assert_eq!(&all, &plain);
                prop_assert_eq!(packed.last(), plain.last().copied());
            }
        }
    }
}
