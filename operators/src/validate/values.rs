//! The remembered values of one metric, bit for bit, in as few bytes as they need.
//!
//! A value with no more decimals than its metric is a whole number of last places. Cells hold its distance from a
//! base in 2 bytes, in 4 where the span needs it; a value that is no such number makes the column 8 bytes wide.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::saved;

/// Cells of one metric; a cell may be empty.
#[derive(Debug, Serialize, Deserialize)]
pub enum Values {
    /// Distances of 2 bytes.
    Two(Packed<i16>),
    /// Distances of 4 bytes.
    Four(Packed<i32>),
    /// Values; empty cells are NaN.
    Eight(#[serde(deserialize_with = "saved::cells")] VecDeque<f64>),
}

/// Distances from a base.
#[derive(Debug, Serialize, Deserialize)]
pub struct Packed<T> {
    base: i64,
    #[serde(deserialize_with = "saved::cells", bound(deserialize = "T: Deserialize<'de>"))]
    cells: VecDeque<T>,
}

/// A distance.
pub trait Distance: Copy + PartialEq + TryFrom<i64> + Into<i64> {
    /// Stands for an empty cell.
    const EMPTY: Self;
}

impl Distance for i16 {
    const EMPTY: i16 = i16::MIN;
}

impl Distance for i32 {
    const EMPTY: i32 = i32::MIN;
}

impl<T: Distance> Packed<T> {
    fn get(&self, row: usize) -> Option<i64> {
        Some(self.cells[row]).filter(|cell| *cell != T::EMPTY).map(|cell| self.base + cell.into())
    }

    /// Writes a number, or answers that it does not fit.
    fn set(&mut self, row: usize, number: i64) -> bool {
        let distance = number.checked_sub(self.base).and_then(|distance| T::try_from(distance).ok());
        let fits = distance.filter(|distance| *distance != T::EMPTY);
        if let Some(distance) = fits {
            self.cells[row] = distance;
        }
        fits.is_some()
    }

    /// The numbers around the middle of their span, or `None` when they are too far apart.
    fn around(numbers: &[Option<i64>], (least, greatest): (i64, i64)) -> Option<Packed<T>> {
        let base = least + (greatest - least) / 2;
        let distance = |number: &Option<i64>| match number {
            None => Some(T::EMPTY),
            Some(number) => T::try_from(number - base).ok().filter(|distance| *distance != T::EMPTY),
        };
        Some(Packed { base, cells: numbers.iter().map(distance).collect::<Option<_>>()? })
    }
}

/// A value as a whole number of its last places, if it is one. Larger ones than this are not exact in an `f64`.
fn number(value: f64, scale: f64) -> Option<i64> {
    let scaled = (value * scale).round();
    let number = scaled as i64;
    let exact = scaled.abs() < (1u64 << 52) as f64 && (number as f64 / scale).to_bits() == value.to_bits();
    exact.then_some(number)
}

impl Values {
    /// Empty cells.
    #[must_use]
    pub fn new(rows: usize) -> Values {
        Values::Two(Packed { base: 0, cells: std::iter::repeat_n(i16::EMPTY, rows).collect() })
    }

    /// How many cells there are.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Values::Two(packed) => packed.cells.len(),
            Values::Four(packed) => packed.cells.len(),
            Values::Eight(cells) => cells.len(),
        }
    }

    /// The value in a cell. `scale` is 10 to the number of the metric's decimals, here as everywhere below.
    #[must_use]
    pub fn get(&self, row: usize, scale: f64) -> Option<f64> {
        match self {
            Values::Two(packed) => packed.get(row).map(|number| number as f64 / scale),
            Values::Four(packed) => packed.get(row).map(|number| number as f64 / scale),
            Values::Eight(cells) => Some(cells[row]).filter(|value| !value.is_nan()),
        }
    }

    /// Writes a value into a cell.
    pub fn set(&mut self, row: usize, value: f64, scale: f64) {
        let fits = match (&mut *self, number(value, scale)) {
            (Values::Eight(cells), _) => {
                cells[row] = value;
                true
            }
            (Values::Two(packed), Some(number)) => packed.set(row, number),
            (Values::Four(packed), Some(number)) => packed.set(row, number),
            (_, None) => false,
        };
        if !fits {
            self.widen(row, value, scale);
        }
    }

    /// The same values where another number of decimals counts.
    #[must_use]
    pub fn rescaled(&self, from: f64, to: f64) -> Values {
        let values: Vec<Option<f64>> = (0..self.len()).map(|row| self.get(row, from)).collect();
        let mut rescaled = Values::new(values.len());
        for (row, value) in values.into_iter().enumerate() {
            if let Some(value) = value {
                rescaled.set(row, value, to);
            }
        }
        rescaled
    }

    /// Writes a value that does not fit: moves the base, or takes the next width.
    fn widen(&mut self, row: usize, value: f64, scale: f64) {
        let new = |other: usize| (other == row).then_some(value).or_else(|| self.get(other, scale));
        let values: Vec<Option<f64>> = (0..self.len()).map(new).collect();
        *self = Values::packed(&values, scale).unwrap_or_else(|| {
            Values::Eight(values.into_iter().map(|value| value.unwrap_or(f64::NAN)).collect())
        });
    }

    fn packed(values: &[Option<f64>], scale: f64) -> Option<Values> {
        let whole = |value: &Option<f64>| value.map_or(Some(None), |value| number(value, scale).map(Some));
        let numbers: Vec<Option<i64>> = values.iter().map(whole).collect::<Option<_>>()?;
        let present = || numbers.iter().flatten().copied();
        let span = (present().min()?, present().max()?);
        let two = Packed::around(&numbers, span).map(Values::Two);
        two.or_else(|| Packed::around(&numbers, span).map(Values::Four))
    }

    /// Empties a cell.
    pub fn clear(&mut self, row: usize) {
        match self {
            Values::Two(packed) => packed.cells[row] = i16::EMPTY,
            Values::Four(packed) => packed.cells[row] = i32::EMPTY,
            Values::Eight(cells) => cells[row] = f64::NAN,
        }
    }

    /// Adds an empty cell before `row`, or at the end.
    pub fn insert(&mut self, row: usize) {
        match self {
            Values::Two(packed) => packed.cells.insert(row, i16::EMPTY),
            Values::Four(packed) => packed.cells.insert(row, i32::EMPTY),
            Values::Eight(cells) => cells.insert(row, f64::NAN),
        }
    }

    /// Removes the first cell.
    pub fn remove_first(&mut self) {
        match self {
            Values::Two(packed) => drop(packed.cells.pop_front()),
            Values::Four(packed) => drop(packed.cells.pop_front()),
            Values::Eight(cells) => drop(cells.pop_front()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_width_follows_the_values() {
        let mut values = Values::new(4);
        values.set(0, 1_000_000.1, 10.0);
        values.set(1, 1_000_000.2, 10.0);
        assert!(matches!(values, Values::Two(_)), "{values:?}");
        values.set(2, 0.1, 10.0);
        assert!(matches!(values, Values::Four(_)), "{values:?}");
        values.set(3, 0.123, 10.0);
        assert!(matches!(values, Values::Eight(_)), "{values:?}");
        let got: Vec<_> = (0..4).map(|row| values.get(row, 10.0)).collect();
        assert_eq!(got, [Some(1_000_000.1), Some(1_000_000.2), Some(0.1), Some(0.123)]);
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
            let mut values = Values::new(0);
            let mut want: VecDeque<Option<f64>> = VecDeque::new();
            for (what, value) in steps {
                let last = want.len();
                match what {
                    0 if last > 2 => { values.remove_first(); want.pop_front(); }
                    1 if last > 0 => { values.clear(last / 2); want[last / 2] = None; }
                    2 if last > 0 => { values.set(last / 2, value, 10.0); want[last / 2] = Some(value); }
                    n => {
                        let row = if n == 3 { 0 } else { last };
                        values.insert(row);
                        values.set(row, value, 10.0);
                        want.insert(row, Some(value));
                    }
                }
                prop_assert_eq!(values.len(), want.len());
                for (row, value) in want.iter().enumerate() {
                    prop_assert_eq!(values.get(row, 10.0).map(f64::to_bits), value.map(f64::to_bits));
                }
            }
        }
    }
}
