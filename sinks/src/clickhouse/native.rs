//! ClickHouse's Native format: columns, not rows, at half the server's cost of RowBinary.
//!
//! Enters: columns of equal length. Leaves: one block of bytes for `INSERT … FORMAT Native`.
//! Guarantees: the same columns give the same bytes; dictionaries are in the order of first appearance.

use std::collections::HashMap;

use rustc_hash::FxBuildHasher;
use schemas::Epoch;

/// Version of the dictionary serialization: shared dictionaries with additional keys.
const DICTIONARY_VERSION: u64 = 1;
/// The dictionary's keys follow in the block (bit 9) and replace earlier ones (bit 10).
const DICTIONARY_IN_BLOCK: u64 = 0x600;

/// What goes into one table in one statement.
#[derive(Debug)]
pub struct Insert {
    /// The table.
    pub table: &'static str,
    /// The deduplication token: a second insert with the same token changes nothing.
    pub token: String,
    /// The columns.
    pub columns: NativeBlock,
}

/// One block under construction: the number of rows is fixed, columns are appended.
#[derive(Debug)]
pub struct NativeBlock {
    rows: usize,
    names: Vec<&'static str>,
    bytes: Vec<u8>,
}

impl NativeBlock {
    /// A block of `rows` rows without columns.
    #[must_use]
    pub fn new(rows: usize) -> Self {
        let mut bytes = Vec::with_capacity(rows * 48 + 512);
        // The number of columns is put here in the end.
        bytes.push(0);
        variable_length(&mut bytes, rows as u64);
        NativeBlock { rows, names: Vec::new(), bytes }
    }

    /// The names of the columns, in order.
    #[must_use]
    pub fn names(&self) -> &[&'static str] {
        &self.names
    }

    /// The number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The bytes of the block.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        // No table has as many columns as a second byte would be for.
        debug_assert!(self.names.len() < 0x80, "{} columns", self.names.len());
        self.bytes[0] = self.names.len() as u8;
        self.bytes
    }

    /// The column `epoch`: the same for every row.
    pub fn epoch(&mut self, epoch: Epoch) {
        self.u64("epoch", std::iter::repeat_n(epoch, self.rows));
    }

    fn column(&mut self, name: &'static str, kind: &str) {
        self.names.push(name);
        text(&mut self.bytes, name.as_bytes());
        text(&mut self.bytes, kind.as_bytes());
    }

    fn fixed<const N: usize>(
        &mut self,
        name: &'static str,
        kind: &str,
        values: impl Iterator<Item = [u8; N]>,
    ) {
        self.column(name, kind);
        self.fill(name, values);
    }

    /// Writes one value of fixed length per row.
    fn fill<const N: usize>(&mut self, name: &str, mut values: impl Iterator<Item = [u8; N]>) {
        let begin = self.bytes.len();
        self.bytes.resize(begin + self.rows * N, 0);
        let (places, _) = self.bytes[begin..].as_chunks_mut::<N>();
        let filled = places.iter_mut().zip(&mut values).map(|(place, value)| *place = value).count();
        debug_assert!(filled == self.rows && values.next().is_none(), "column {name} has the wrong length");
    }

    /// A column `UInt8`.
    pub fn u8(&mut self, name: &'static str, values: impl Iterator<Item = u8>) {
        self.fixed(name, "UInt8", values.map(u8::to_le_bytes));
    }

    /// A column `UInt32`.
    pub fn u32(&mut self, name: &'static str, values: impl Iterator<Item = u32>) {
        self.fixed(name, "UInt32", values.map(u32::to_le_bytes));
    }

    /// A column `UInt64`.
    pub fn u64(&mut self, name: &'static str, values: impl Iterator<Item = u64>) {
        self.fixed(name, "UInt64", values.map(u64::to_le_bytes));
    }

    /// A column `Float32`.
    pub fn f32(&mut self, name: &'static str, values: impl Iterator<Item = f32>) {
        self.fixed(name, "Float32", values.map(f32::to_le_bytes));
    }

    /// A column `Float64`.
    pub fn f64(&mut self, name: &'static str, values: impl Iterator<Item = f64>) {
        self.fixed(name, "Float64", values.map(f64::to_le_bytes));
    }

    /// A column `DateTime64(3, 'UTC')` from milliseconds since 1970.
    pub fn millis(&mut self, name: &'static str, values: impl Iterator<Item = i64>) {
        self.fixed(name, "DateTime64(3, 'UTC')", values.map(i64::to_le_bytes));
    }

    /// A column `DateTime('UTC')` from milliseconds since 1970; times outside 1970 to 2106 go to the nearer end.
    pub fn seconds(&mut self, name: &'static str, values: impl Iterator<Item = i64>) {
        let clamp = |at: i64| at.div_euclid(1000).clamp(0, i64::from(u32::MAX)) as u32;
        self.fixed(name, "DateTime('UTC')", values.map(|at| clamp(at).to_le_bytes()));
    }

    /// A column `Nullable(Float64)`.
    pub fn nullable_f64(&mut self, name: &'static str, values: impl Iterator<Item = Option<f64>> + Clone) {
        self.fixed(name, "Nullable(Float64)", values.clone().map(|value| [u8::from(value.is_none())]));
        self.fill(name, values.map(|value| value.unwrap_or_default().to_le_bytes()));
    }

    /// A column `Nullable(DateTime64(3, 'UTC'))`.
    pub fn nullable_millis(&mut self, name: &'static str, values: impl Iterator<Item = Option<i64>> + Clone) {
        self.fixed(
            name,
            "Nullable(DateTime64(3, 'UTC'))",
            values.clone().map(|value| [u8::from(value.is_none())]),
        );
        self.fill(name, values.map(|value| value.unwrap_or_default().to_le_bytes()));
    }

    /// A column `String`; any bytes are allowed.
    pub fn string<B: AsRef<[u8]>>(&mut self, name: &'static str, values: impl Iterator<Item = B>) {
        self.column(name, "String");
        values.for_each(|value| text(&mut self.bytes, value.as_ref()));
    }

    /// A column `LowCardinality(String)`, sent as a dictionary and one number per row.
    pub fn low_cardinality<'a>(&mut self, name: &'static str, values: impl Iterator<Item = &'a str>) {
        self.low_cardinality_runs(name, values.map(|value| (value, 1)));
    }

    /// A column `LowCardinality(String)` whose values come with the number of rows that have them.
    pub fn low_cardinality_runs<'a>(
        &mut self,
        name: &'static str,
        runs: impl Iterator<Item = (&'a str, usize)>,
    ) {
        self.column(name, "LowCardinality(String)");
        self.bytes.extend_from_slice(&DICTIONARY_VERSION.to_le_bytes());
        let mut dictionary = Dictionary::default();
        runs.for_each(|(value, rows)| dictionary.push(value, rows));
        dictionary.write(&mut self.bytes);
    }

    /// A column `LowCardinality(String)` whose values are known by number: each is looked up once.
    pub fn low_cardinality_numbers<'a>(
        &mut self,
        name: &'static str,
        numbers: impl Iterator<Item = u16> + Clone,
        text: impl Fn(u16) -> &'a str,
    ) {
        self.column(name, "LowCardinality(String)");
        self.bytes.extend_from_slice(&DICTIONARY_VERSION.to_le_bytes());
        let mut places: Vec<u32> = Vec::new();
        let mut values = Vec::new();
        for number in numbers.clone() {
            let number = usize::from(number);
            if places.len() <= number {
                places.resize(number + 1, u32::MAX);
            }
            if places[number] == u32::MAX {
                places[number] = values.len() as u32;
                values.push(text(number as u16));
            }
        }
        dictionary(
            &mut self.bytes,
            &values,
            self.rows,
            numbers.map(|number| (places[usize::from(number)], 1)),
        );
    }

    /// A column `Array(LowCardinality(String))`.
    pub fn low_cardinality_arrays<A>(&mut self, name: &'static str, values: impl Iterator<Item = A>)
    where
        A: Iterator<Item = &'static str>,
    {
        self.column(name, "Array(LowCardinality(String))");
        self.bytes.extend_from_slice(&DICTIONARY_VERSION.to_le_bytes());
        let mut dictionary = Dictionary::default();
        let ends = values.map(|array| {
            array.for_each(|value| dictionary.push(value, 1));
            (dictionary.rows as u64).to_le_bytes()
        });
        self.fill(name, ends);
        dictionary.write(&mut self.bytes);
    }

    /// A column `Map(String, String)`.
    pub fn maps<'a, M>(&mut self, name: &'static str, values: impl Iterator<Item = M> + Clone)
    where
        M: Iterator<Item = (&'a str, &'a str)>,
    {
        self.column(name, "Map(String, String)");
        let mut end = 0_u64;
        for map in values.clone() {
            end += map.count() as u64;
            self.bytes.extend_from_slice(&end.to_le_bytes());
        }
        values.clone().flatten().for_each(|(key, _)| text(&mut self.bytes, key.as_bytes()));
        values.flatten().for_each(|(_, value)| text(&mut self.bytes, value.as_bytes()));
    }
}

/// The distinct values of a column in the order of first appearance, and the rows that have them.
#[derive(Default)]
struct Dictionary<'a> {
    numbers: HashMap<&'a str, u32, FxBuildHasher>,
    values: Vec<&'a str>,
    /// The place of a value, and how many rows in succession have it.
    runs: Vec<(u32, usize)>,
    rows: usize,
}

impl<'a> Dictionary<'a> {
    fn push(&mut self, value: &'a str, rows: usize) {
        self.rows += rows;
        // Rows are sorted, so the value is most often that of the row before.
        if let Some((last, before)) = self.runs.last_mut()
            && self.values[*last as usize] == value
        {
            *before += rows;
            return;
        }
        let next = self.values.len() as u32;
        let number = *self.numbers.entry(value).or_insert(next);
        if number == next {
            self.values.push(value);
        }
        self.runs.push((number, rows));
    }

    fn write(&self, bytes: &mut Vec<u8>) {
        dictionary(bytes, &self.values, self.rows, self.runs.iter().copied());
    }
}

/// Writes keys, and the place of each row's value, given in runs; nothing at all for no rows, as the server expects.
fn dictionary(bytes: &mut Vec<u8>, values: &[&str], rows: usize, runs: impl Iterator<Item = (u32, usize)>) {
    if rows == 0 {
        return;
    }
    let width = match values.len() {
        0..=0x100 => 0,
        0x101..=0x1_0000 => 1,
        _ => 2_u64,
    };
    bytes.extend_from_slice(&(DICTIONARY_IN_BLOCK | width).to_le_bytes());
    bytes.extend_from_slice(&(values.len() as u64).to_le_bytes());
    values.iter().for_each(|value| text(bytes, value.as_bytes()));
    bytes.extend_from_slice(&(rows as u64).to_le_bytes());
    match width {
        0 => places(bytes, rows, runs.map(|(place, rows)| ([place as u8], rows))),
        1 => places(bytes, rows, runs.map(|(place, rows)| ((place as u16).to_le_bytes(), rows))),
        _ => places(bytes, rows, runs.map(|(place, rows)| (place.to_le_bytes(), rows))),
    }
}

/// Writes the places of `rows` rows, given in runs.
fn places<const N: usize>(bytes: &mut Vec<u8>, rows: usize, runs: impl Iterator<Item = ([u8; N], usize)>) {
    let begin = bytes.len();
    bytes.resize(begin + rows * N, 0);
    let (mut rest, _) = bytes[begin..].as_chunks_mut::<N>();
    for (place, rows) in runs {
        let (run, behind) = rest.split_at_mut(rows);
        run.fill(place);
        rest = behind;
    }
    debug_assert!(rest.is_empty(), "{} rows have no value", rest.len());
}

/// A number in base 128, least group first.
fn variable_length(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

/// Length and bytes.
fn text(bytes: &mut Vec<u8>, value: &[u8]) {
    variable_length(bytes, value.len() as u64);
    bytes.extend_from_slice(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_columns_with_names_and_types() {
        let mut block = NativeBlock::new(2);
        block.u8("a", [1, 2].into_iter());
        block.string("b", ["x", "yz"].into_iter());
        assert_eq!(block.finish(), b"\x02\x02\x01a\x05UInt8\x01\x02\x01b\x06String\x01x\x02yz");
    }

    #[test]
    fn a_dictionary_holds_each_value_once() {
        let mut block = NativeBlock::new(3);
        block.low_cardinality("m", ["p", "q", "p"].into_iter());
        let bytes = block.finish();
        let mut want = b"\x01\x03\x01m\x16LowCardinality(String)".to_vec();
        for number in [1_u64, 0x600, 2] {
            want.extend_from_slice(&number.to_le_bytes());
        }
        want.extend_from_slice(b"\x01p\x01q");
        want.extend_from_slice(&3_u64.to_le_bytes());
        want.extend_from_slice(&[0, 1, 0]);
        assert_eq!(bytes, want);
    }

    #[rstest::rstest]
    #[case(256, 1)]
    #[case(257, 2)]
    #[case(65_536, 2)]
    #[case(65_537, 4)]
    fn places_are_as_wide_as_the_dictionary_needs(#[case] distinct: usize, #[case] width: usize) {
        let values: Vec<String> = (0..distinct).map(|n| n.to_string()).collect();
        let mut dictionary = Dictionary::default();
        values.iter().for_each(|value| dictionary.push(value, 1));
        let mut bytes = Vec::new();
        dictionary.write(&mut bytes);
        let keys: usize = values.iter().map(|value| value.len() + 1).sum();
        assert_eq!(bytes.len(), 24 + keys + distinct * width);
    }

    #[test]
    fn arrays_without_elements_carry_no_dictionary() {
        let mut block = NativeBlock::new(2);
        block.low_cardinality_arrays("f", [[].into_iter(), [].into_iter()].into_iter());
        let bytes = block.finish();
        assert_eq!(&bytes[bytes.len() - 24..], [1_u64.to_le_bytes(), [0; 8], [0; 8]].concat());
    }

    #[test]
    fn lengths_are_in_base_128() {
        let mut bytes = Vec::new();
        variable_length(&mut bytes, 300);
        assert_eq!(bytes, [0xac, 0x02]);
    }
}
