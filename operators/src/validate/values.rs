//! The remembered values of one metric, bit for bit, in as few bytes as they need.
//!
//! A value with no more decimals than its metric is a whole number of last places. Cells hold its distance from a
//! base in 1 byte, in 2 or 4 where the span needs it; a value that is no such number makes the column 8 bytes wide.

use super::{
    ring::Ring,
    saved::{SavedPacked, SavedValues},
};

/// Cells of one metric; a cell may be empty. Which cell is of which row is said by the ring of the object's rows, here
/// and below: as it is, for [`Values::insert`] as it was before.
#[derive(Debug)]
pub struct Values {
    /// What distances count from.
    base: i64,
    cells: Cells,
}

#[derive(Debug)]
enum Cells {
    /// Distances of 1 byte, as most quantities need within the time that is remembered. Saved as those of 2.
    One(Box<[i8]>),
    /// Distances of 2 bytes.
    Two(Box<[i16]>),
    /// Distances of 4 bytes.
    Four(Box<[i32]>),
    /// Values; empty cells are NaN.
    Eight(Box<[f64]>),
}

/// A distance.
pub trait Distance: Copy + PartialEq + TryFrom<i64> + Into<i64> {
    /// Stands for an empty cell.
    const EMPTY: Self;
}

impl Distance for i8 {
    const EMPTY: i8 = i8::MIN;
}

impl Distance for i16 {
    const EMPTY: i16 = i16::MIN;
}

impl Distance for i32 {
    const EMPTY: i32 = i32::MIN;
}

#[inline]
fn number_at<T: Distance>(base: i64, cell: T) -> Option<i64> {
    (cell != T::EMPTY).then(|| base + cell.into())
}

/// The cell of a number, if it fits.
#[inline]
fn cell_of<T: Distance>(base: i64, number: i64) -> Option<T> {
    let distance = number.checked_sub(base).and_then(|distance| T::try_from(distance).ok());
    distance.filter(|distance| *distance != T::EMPTY)
}

/// Writes a number, or answers that it does not fit.
#[inline]
fn put<T: Distance>(cell: &mut T, base: i64, number: i64) -> bool {
    cell_of(base, number).map(|distance| *cell = distance).is_some()
}

/// The cells of numbers, or `None` when they are too far apart.
fn around<T: Distance>(ring: Ring, base: i64, numbers: &[Option<i64>]) -> Option<Box<[T]>> {
    let cell = |number: &Option<i64>| number.map_or(Some(T::EMPTY), |number| cell_of(base, number));
    Some(ring.fill(T::EMPTY, numbers.iter().map(cell).collect::<Option<Vec<T>>>()?))
}

/// A value as a whole number of its last places, if it is one. Larger ones than this are not exact in an `f64`.
#[inline]
fn number(value: f64, scale: f64) -> Option<i64> {
    /// A number of this size has no binary places left, so that adding and taking it away rounds what is below
    /// [`SMALL`].
    const WHOLE: f64 = 6_755_399_441_055_744.0;
    const SMALL: f64 = (1u64 << 51) as f64;
    let scaled = value * scale;
    let whole = if scaled.abs() < SMALL { (scaled + WHOLE) - WHOLE } else { scaled.round() };
    let number = whole as i64;
    let exact = whole.abs() < (1u64 << 52) as f64 && (number as f64 / scale).to_bits() == value.to_bits();
    exact.then_some(number)
}

impl Values {
    /// Empty cells.
    #[must_use]
    pub fn new(ring: Ring) -> Values {
        Values { base: 0, cells: Cells::One(ring.fill(i8::EMPTY, [])) }
    }

    /// The value in a cell. `scale` is 10 to the number of the metric's decimals, here as everywhere below.
    #[inline]
    #[must_use]
    pub fn get(&self, ring: Ring, row: usize, scale: f64) -> Option<f64> {
        let cell = ring.cell(row);
        let number = match &self.cells {
            Cells::One(cells) => number_at(self.base, cells[cell]),
            Cells::Two(cells) => number_at(self.base, cells[cell]),
            Cells::Four(cells) => number_at(self.base, cells[cell]),
            Cells::Eight(cells) => return Some(cells[cell]).filter(|value| !value.is_nan()),
        };
        number.map(|number| number as f64 / scale)
    }

    /// Writes a value into a cell.
    #[inline]
    pub fn set(&mut self, ring: Ring, row: usize, value: f64, scale: f64) {
        let (cell, base) = (ring.cell(row), self.base);
        let fits = match (&mut self.cells, number(value, scale)) {
            (Cells::Eight(cells), _) => {
                cells[cell] = value;
                true
            }
            (Cells::One(cells), Some(number)) => put(&mut cells[cell], base, number),
            (Cells::Two(cells), Some(number)) => put(&mut cells[cell], base, number),
            (Cells::Four(cells), Some(number)) => put(&mut cells[cell], base, number),
            (_, None) => false,
        };
        if !fits {
            self.widen(ring, row, value, scale);
        }
    }

    /// Writes a value that does not fit: moves the base, or takes the next width.
    #[cold]
    fn widen(&mut self, ring: Ring, row: usize, value: f64, scale: f64) {
        let new = |other: usize| (other == row).then_some(value).or_else(|| self.get(ring, other, scale));
        let values: Vec<Option<f64>> = (0..ring.rows()).map(new).collect();
        *self = Values::packed(ring, &values, scale).unwrap_or_else(|| {
            let values = values.into_iter().map(|value| value.unwrap_or(f64::NAN));
            Values { base: 0, cells: Cells::Eight(ring.fill(f64::NAN, values)) }
        });
    }

    /// Distances from the middle of the values' span.
    fn packed(ring: Ring, values: &[Option<f64>], scale: f64) -> Option<Values> {
        let whole = |value: &Option<f64>| value.map_or(Some(None), |value| number(value, scale).map(Some));
        let numbers: Vec<Option<i64>> = values.iter().map(whole).collect::<Option<_>>()?;
        let present = || numbers.iter().flatten().copied();
        let (least, greatest) = (present().min()?, present().max()?);
        let base = least + (greatest - least) / 2;
        // With as much room again, so that a quantity that drifts does not move its base with every value.
        let narrow = greatest - least <= i64::from(i8::MAX);
        let one = || around(ring, base, &numbers).map(Cells::One);
        let two = || around(ring, base, &numbers).map(Cells::Two);
        let four = || around(ring, base, &numbers).map(Cells::Four);
        let cells = narrow.then(one).flatten().or_else(two).or_else(four)?;
        Some(Values { base, cells })
    }

    /// Empties a cell.
    pub fn clear(&mut self, ring: Ring, row: usize) {
        let cell = ring.cell(row);
        match &mut self.cells {
            Cells::One(cells) => cells[cell] = i8::EMPTY,
            Cells::Two(cells) => cells[cell] = i16::EMPTY,
            Cells::Four(cells) => cells[cell] = i32::EMPTY,
            Cells::Eight(cells) => cells[cell] = f64::NAN,
        }
    }

    /// Adds an empty cell before `row`, or at the end.
    #[inline]
    pub fn insert(&mut self, ring: Ring, row: usize) {
        match &mut self.cells {
            Cells::One(cells) => ring.insert(cells, row, i8::EMPTY),
            Cells::Two(cells) => ring.insert(cells, row, i16::EMPTY),
            Cells::Four(cells) => ring.insert(cells, row, i32::EMPTY),
            Cells::Eight(cells) => ring.insert(cells, row, f64::NAN),
        }
    }

    /// How they are saved.
    #[must_use]
    pub fn saved(&self, ring: Ring) -> SavedValues {
        let base = self.base;
        match &self.cells {
            Cells::One(cells) => {
                let cells = in_order(ring, cells).into_iter().map(wide).collect();
                SavedValues::Two(SavedPacked { base, cells })
            }
            Cells::Two(cells) => SavedValues::Two(SavedPacked { base, cells: in_order(ring, cells) }),
            Cells::Four(cells) => SavedValues::Four(SavedPacked { base, cells: in_order(ring, cells) }),
            Cells::Eight(cells) => SavedValues::Eight(in_order(ring, cells)),
        }
    }

    /// What was restored, where the same number of decimals counts.
    #[must_use]
    pub fn restored(ring: Ring, restored: SavedValues) -> Values {
        let (base, cells) = match restored {
            SavedValues::Two(packed) => {
                match packed.cells.iter().copied().map(narrow).collect::<Option<Vec<_>>>() {
                    Some(cells) => (packed.base, Cells::One(ring.fill(i8::EMPTY, cells))),
                    None => (packed.base, Cells::Two(ring.fill(i16::EMPTY, packed.cells))),
                }
            }
            SavedValues::Four(packed) => (packed.base, Cells::Four(ring.fill(i32::EMPTY, packed.cells))),
            SavedValues::Eight(cells) => (0, Cells::Eight(ring.fill(f64::NAN, cells))),
        };
        Values { base, cells }
    }

    /// The same values where another number of decimals counts.
    #[must_use]
    pub fn rescaled(&self, ring: Ring, from: f64, to: f64) -> Values {
        let mut rescaled = Values::new(ring);
        for row in 0..ring.rows() {
            if let Some(value) = self.get(ring, row, from) {
                rescaled.set(ring, row, value, to);
            }
        }
        rescaled
    }

    #[cfg(test)]
    pub fn heap_bytes(&self) -> usize {
        match &self.cells {
            Cells::One(cells) => size_of_val(&cells[..]),
            Cells::Two(cells) => size_of_val(&cells[..]),
            Cells::Four(cells) => size_of_val(&cells[..]),
            Cells::Eight(cells) => size_of_val(&cells[..]),
        }
    }
}

fn wide(cell: i8) -> i16 {
    if cell == i8::EMPTY { i16::EMPTY } else { cell.into() }
}

fn narrow(cell: i16) -> Option<i8> {
    if cell == i16::EMPTY {
        return Some(i8::EMPTY);
    }
    i8::try_from(cell).ok().filter(|narrow| *narrow != i8::EMPTY)
}

fn in_order<T: Copy>(ring: Ring, cells: &[T]) -> Vec<T> {
    ring.cells().map(|cell| cells[cell]).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_width_follows_the_values() {
        let ring = Ring::of(4);
        let mut values = Values::new(ring);
        values.set(ring, 0, 1_000_000.1, 10.0);
        values.set(ring, 1, 1_000_012.8, 10.0);
        assert!(matches!(values.cells, Cells::One(_)), "{values:?}");
        values.set(ring, 0, 1_000_002.0, 10.0);
        values.set(ring, 1, 1_000_014.0, 10.0);
        assert!(matches!(values.cells, Cells::One(_)), "the base has moved: {values:?}");
        values.set(ring, 1, 1_000_020.0, 10.0);
        assert!(matches!(values.cells, Cells::One(_)), "there is room on either side: {values:?}");
        values.set(ring, 1, 1_000_100.2, 10.0);
        assert!(matches!(values.cells, Cells::Two(_)), "{values:?}");
        let narrow = Values { base: 7, cells: Cells::One([i8::EMPTY, -127, 0, 127].into()) };
        let again = Values::restored(ring, narrow.saved(ring));
        assert!(matches!(again.cells, Cells::One(_)), "{again:?}");
        values.set(ring, 2, 0.1, 10.0);
        assert!(matches!(values.cells, Cells::Four(_)), "{values:?}");
        values.set(ring, 3, 0.123, 10.0);
        assert!(matches!(values.cells, Cells::Eight(_)), "{values:?}");
        let got: Vec<_> = (0..4).map(|row| values.get(ring, row, 10.0)).collect();
        assert_eq!(got, [Some(1_000_002.0), Some(1_000_100.2), Some(0.1), Some(0.123)]);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn every_value_comes_back_bit_for_bit(
            steps in prop::collection::vec(
                (0usize..5, prop_oneof![
                    (-400i64..1200).prop_map(|n| n as f64 / 10.0),
                    (-400_000i64..400_000).prop_map(|n| n as f64 / 10.0),
                    (0i64..9_000_000_000).prop_map(|n| n as f64 / 10.0),
                    Just(-0.0), Just(1e300), -50.0..50.0,
                ]),
                1..60,
            ),
        ) {
            let mut ring = Ring::default();
            let mut values = Values::new(ring);
            let mut want: VecDeque<Option<f64>> = VecDeque::new();
            for (what, value) in steps {
                let last = want.len();
                match what {
                    0 if last > 2 => { ring = ring.without_first(); want.pop_front(); }
                    1 if last > 0 => { values.clear(ring, last / 2); want[last / 2] = None; }
                    2 if last > 0 => { values.set(ring, last / 2, value, 10.0); want[last / 2] = Some(value); }
                    n => {
                        let row = if n == 3 { 0 } else { last };
                        values.insert(ring, row);
                        ring = ring.with_another();
                        values.set(ring, row, value, 10.0);
                        want.insert(row, Some(value));
                    }
                }
                let again = Values::restored(Ring::of(want.len()), values.saved(ring));
                for (row, value) in want.iter().enumerate() {
                    prop_assert_eq!(values.get(ring, row, 10.0).map(f64::to_bits), value.map(f64::to_bits));
                    let value_again = again.get(Ring::of(want.len()), row, 10.0);
                    prop_assert_eq!(value_again.map(f64::to_bits), value.map(f64::to_bits));
                }
            }
        }
    }
}
