//! Where the rows of an object lie in its cells: a ring, so that the oldest leaves and the newest comes without moving
//! the others. All columns of an object share it.

use std::iter::repeat_n;

/// The least room of cells that are not empty.
const LEAST_ROOM: usize = 4;

/// A number of rows in cells of which there are a power of two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ring {
    first: u32,
    rows: u32,
    room: u32,
}

impl Ring {
    /// So many rows, in the room that they have when they come one by one.
    #[must_use]
    pub fn of(rows: usize) -> Ring {
        let room = if rows == 0 { 0 } else { rows.next_power_of_two().max(LEAST_ROOM) };
        Ring { first: 0, rows: rows as u32, room: room as u32 }
    }

    /// How many rows there are.
    #[must_use]
    pub fn rows(self) -> usize {
        self.rows as usize
    }

    /// The cell of a row.
    #[inline]
    #[must_use]
    pub fn cell(self, row: usize) -> usize {
        (self.first as usize + row) & (self.room as usize).wrapping_sub(1)
    }

    /// The ring with one more row.
    #[must_use]
    pub fn with_another(self) -> Ring {
        if self.rows == self.room { Ring::of(self.rows() + 1) } else { Ring { rows: self.rows + 1, ..self } }
    }

    /// The ring without its first row.
    #[must_use]
    pub fn without_first(self) -> Ring {
        Ring { first: self.cell(1) as u32, rows: self.rows - 1, ..self }
    }

    /// The cells of the rows in their order.
    pub fn cells(self) -> impl DoubleEndedIterator<Item = usize> + ExactSizeIterator {
        (0..self.rows()).map(move |row| self.cell(row))
    }

    /// Cells with the values of the rows in their order.
    #[must_use]
    pub fn fill<T: Copy>(self, empty: T, values: impl IntoIterator<Item = T>) -> Box<[T]> {
        let mut cells: Box<[T]> = repeat_n(empty, self.room as usize).collect();
        self.cells().zip(values).for_each(|(cell, value)| cells[cell] = value);
        cells
    }

    /// Puts a value before a row, or behind the last: afterwards the cells are those of [`Ring::with_another`].
    #[inline]
    pub fn insert<T: Copy>(self, cells: &mut Box<[T]>, row: usize, value: T) {
        let after = self.with_another();
        if after.room != self.room {
            *cells = after.fill(value, self.cells().map(|cell| cells[cell]));
        }
        for later in (row..self.rows()).rev() {
            cells[after.cell(later + 1)] = cells[after.cell(later)];
        }
        cells[after.cell(row)] = value;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn values_come_back_as_they_went_in(steps in prop::collection::vec(prop::option::of(0..40_usize), 1..200)) {
            let (mut ring, mut cells, mut plain) = (Ring::default(), Ring::default().fill(0, []), Vec::new());
            for (value, step) in (1..).zip(steps) {
                match step {
                    Some(row) => {
                        let row = row.min(plain.len());
                        ring.insert(&mut cells, row, value);
                        ring = ring.with_another();
                        plain.insert(row, value);
                    }
                    None if plain.is_empty() => {}
                    None => {
                        ring = ring.without_first();
                        plain.remove(0);
                    }
                }
                prop_assert_eq!(ring.cells().map(|cell| cells[cell]).collect::<Vec<_>>(), plain.clone());
                prop_assert_eq!(ring.rows(), plain.len());
                let room = cells.len();
                prop_assert!(room == 0 || room.is_power_of_two() && ring.rows() <= room);
            }
        }
    }
}
