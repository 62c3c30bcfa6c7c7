//! ClickHouse's Native format: columns, not rows, at half the server's cost of RowBinary.
//!
//! Enters: columns of equal length. Leaves: one block of bytes for `INSERT … FORMAT Native`.
//! Guarantees: the same columns give the same bytes; dictionaries are in the order of first appearance.

use std::collections::HashMap;

use rustc_hash::FxBuildHasher;

/// Version of the dictionary serialization: shared dictionaries with additional keys.
const DICTIONARY_VERSION: u64 = 1;
/// The dictionary's keys follow in the block (bit 9) and replace earlier ones (bit 10).
const DICTIONARY_IN_BLOCK: u64 = 0x600;

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
        NativeBlock { rows, names: Vec::new(), bytes: Vec::with_capacity(rows * 48 + 512) }
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
    pub fn finish(self) -> Vec<u8> {
        let mut head = Vec::with_capacity(self.bytes.len() + 16);
        variable_length(&mut head, self.names.len() as u64);
        variable_length(&mut head, self.rows as u64);
        head.extend_from_slice(&self.bytes);
        head
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
        let before = self.bytes.len();
        values.for_each(|value| self.bytes.extend_from_slice(&value));
        debug_assert_eq!(self.bytes.len() - before, self.rows * N, "column {name} has the wrong length");
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
        self.column(name, "Nullable(Float64)");
        self.bytes.extend(values.clone().map(|value| u8::from(value.is_none())));
        values.for_each(|value| self.bytes.extend_from_slice(&value.unwrap_or_default().to_le_bytes()));
    }

    /// A column `Nullable(DateTime64(3, 'UTC'))`.
    pub fn nullable_millis(&mut self, name: &'static str, values: impl Iterator<Item = Option<i64>> + Clone) {
        self.column(name, "Nullable(DateTime64(3, 'UTC'))");
        self.bytes.extend(values.clone().map(|value| u8::from(value.is_none())));
        values.for_each(|value| self.bytes.extend_from_slice(&value.unwrap_or_default().to_le_bytes()));
    }

    /// A column `String`; any bytes are allowed.
    pub fn string<B: AsRef<[u8]>>(&mut self, name: &'static str, values: impl Iterator<Item = B>) {
        self.column(name, "String");
        values.for_each(|value| text(&mut self.bytes, value.as_ref()));
    }

    /// A column `LowCardinality(String)`, sent as a dictionary and one number per row.
    pub fn low_cardinality<'a>(&mut self, name: &'static str, values: impl Iterator<Item = &'a str>) {
        self.column(name, "LowCardinality(String)");
        self.bytes.extend_from_slice(&DICTIONARY_VERSION.to_le_bytes());
        let mut dictionary = Dictionary::with_capacity(self.rows);
        values.for_each(|value| dictionary.push(value));
        dictionary.write(&mut self.bytes);
    }

    /// A column `Array(LowCardinality(String))`.
    pub fn low_cardinality_arrays<A>(&mut self, name: &'static str, values: impl Iterator<Item = A>)
    where
        A: Iterator<Item = &'static str>,
    {
        self.column(name, "Array(LowCardinality(String))");
        self.bytes.extend_from_slice(&DICTIONARY_VERSION.to_le_bytes());
        let mut dictionary = Dictionary::with_capacity(0);
        for array in values {
            array.for_each(|value| dictionary.push(value));
            self.bytes.extend_from_slice(&(dictionary.places.len() as u64).to_le_bytes());
        }
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

/// The distinct values of a column in the order of first appearance, and the place of each row's value in it.
struct Dictionary<'a> {
    numbers: HashMap<&'a str, u32, FxBuildHasher>,
    values: Vec<&'a str>,
    places: Vec<u32>,
}

impl<'a> Dictionary<'a> {
    fn with_capacity(rows: usize) -> Self {
        Dictionary { numbers: HashMap::default(), values: Vec::new(), places: Vec::with_capacity(rows) }
    }

    fn push(&mut self, value: &'a str) {
        // Rows are sorted, so the value is most often that of the row before.
        if let Some(&last) = self.places.last()
            && self.values[last as usize] == value
        {
            self.places.push(last);
            return;
        }
        let next = self.values.len() as u32;
        let number = *self.numbers.entry(value).or_insert(next);
        if number == next {
            self.values.push(value);
        }
        self.places.push(number);
    }

    /// Writes keys and places; nothing at all for no rows, as the server expects.
    fn write(&self, bytes: &mut Vec<u8>) {
        if self.places.is_empty() {
            return;
        }
        let width = match self.values.len() {
            0..=0x100 => 0,
            0x101..=0x1_0000 => 1,
            _ => 2_u64,
        };
        bytes.extend_from_slice(&(DICTIONARY_IN_BLOCK | width).to_le_bytes());
        bytes.extend_from_slice(&(self.values.len() as u64).to_le_bytes());
        self.values.iter().for_each(|value| text(bytes, value.as_bytes()));
        bytes.extend_from_slice(&(self.places.len() as u64).to_le_bytes());
        match width {
            0 => bytes.extend(self.places.iter().map(|&place| place as u8)),
            1 => self.places.iter().for_each(|&place| bytes.extend_from_slice(&(place as u16).to_le_bytes())),
            _ => self.places.iter().for_each(|&place| bytes.extend_from_slice(&place.to_le_bytes())),
        }
    }
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
        let mut dictionary = Dictionary::with_capacity(0);
        values.iter().for_each(|value| dictionary.push(value));
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
