//! Avro's binary form, byte by byte.
//!
//! Enters: the bytes of one body. Leaves: its primitive values, in place. Guarantees: every malformed byte is an error
//! that names the field and the byte's offset in the body; no panic; no allocation that a hostile length decides.

use std::collections::BTreeMap;

use crate::{Code, Error, Topic};

/// A reading position in the body of a record of one topic.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor<'a> {
    topic: Topic,
    bytes: &'a [u8],
    at: usize,
}

/// The number that Avro writes as this one, with the sign in the last bit.
#[inline]
fn signed(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

impl<'a> Cursor<'a> {
    pub fn new(topic: Topic, bytes: &'a [u8]) -> Self {
        Cursor { topic, bytes, at: 0 }
    }

    pub fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// The error that something is wrong with `field` at byte `at`.
    #[cold]
    fn wrong_at(&self, at: usize, field: &str, what: impl std::fmt::Display) -> Error {
        Error::Decode {
            topic: self.topic.name(),
            detail: format!("field {field} at byte {at} of the body: {what}"),
        }
    }

    /// The error that something is wrong with `field`, which begins at the present position.
    #[cold]
    pub fn wrong(&self, field: &str, what: impl std::fmt::Display) -> Error {
        self.wrong_at(self.at, field, what)
    }

    /// The next `count` bytes.
    #[inline]
    pub fn take(&mut self, field: &str, count: usize) -> Result<&'a [u8], Error> {
        let rest = &self.bytes[self.at..];
        match rest.get(..count) {
            Some(taken) => {
                self.at += count;
                Ok(taken)
            }
            None => Err(self.wrong(field, format_args!("needs {count} bytes, {} remain", rest.len()))),
        }
    }

    #[inline]
    pub fn long(&mut self, field: &str) -> Result<i64, Error> {
        // Lengths, counts and branches mostly take one byte.
        match self.bytes.get(self.at) {
            Some(&byte) if byte < 0x80 => {
                self.at += 1;
                Ok(signed(byte.into()))
            }
            _ => self.long_of_bytes(field),
        }
    }

    fn long_of_bytes(&mut self, field: &str) -> Result<i64, Error> {
        let start = self.at;
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let Some(&byte) = self.bytes.get(self.at) else {
                return Err(self.wrong_at(start, field, "the body ends within a number"));
            };
            self.at += 1;
            if shift == 63 && byte > 1 {
                return Err(self.wrong_at(start, field, "the number is longer than 64 bits"));
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(signed(value));
            }
        }
        Err(self.wrong_at(start, field, "the number is longer than 64 bits"))
    }

    /// An Avro int or long that must fit the narrower type of the record.
    pub fn number<T: TryFrom<i64>>(&mut self, field: &str) -> Result<T, Error> {
        let start = self.at;
        let value = self.long(field)?;
        T::try_from(value).map_err(|_| self.wrong_at(start, field, format_args!("{value} is out of range")))
    }

    pub fn boolean(&mut self, field: &str) -> Result<bool, Error> {
        let start = self.at;
        match self.take(field, 1)? {
            [0] => Ok(false),
            [1] => Ok(true),
            other => Err(self.wrong_at(start, field, format_args!("{} is no boolean", other[0]))),
        }
    }

    pub fn float(&mut self, field: &str) -> Result<f32, Error> {
        let mut four = [0; 4];
        four.copy_from_slice(self.take(field, 4)?);
        Ok(f32::from_le_bytes(four))
    }

    #[inline]
    pub fn double(&mut self, field: &str) -> Result<f64, Error> {
        let mut eight = [0; 8];
        eight.copy_from_slice(self.take(field, 8)?);
        Ok(f64::from_le_bytes(eight))
    }

    /// A length-prefixed byte string.
    #[inline]
    pub fn bytes(&mut self, field: &str) -> Result<&'a [u8], Error> {
        let start = self.at;
        let length = self.long(field)?;
        let remain = self.remaining();
        match usize::try_from(length) {
            Ok(length) if length <= remain => self.take(field, length),
            _ => Err(self.wrong_at(
                start,
                field,
                format_args!("claims a length of {length}, {remain} bytes remain"),
            )),
        }
    }

    #[inline]
    pub fn str(&mut self, field: &str) -> Result<&'a str, Error> {
        let start = self.at;
        let bytes = self.bytes(field)?;
        std::str::from_utf8(bytes)
            .map_err(|error| self.wrong_at(start, field, format_args!("text is no UTF-8: {error}")))
    }

    pub fn string(&mut self, field: &str) -> Result<String, Error> {
        self.str(field).map(str::to_owned)
    }

    pub fn code(&mut self, field: &str) -> Result<Code, Error> {
        self.str(field).map(Code::from)
    }

    /// Text that `read` turns into a value of a closed set.
    pub fn named<T>(&mut self, field: &str, read: impl Fn(&str) -> Option<T>) -> Result<T, Error> {
        let start = self.at;
        let text = self.str(field)?;
        read(text)
            .ok_or_else(|| self.wrong_at(start, field, format_args!("{text:?} is not known to this reader")))
    }

    /// Which of `branches` alternatives of a union follows.
    #[inline]
    pub fn branch(&mut self, field: &str, branches: usize) -> Result<usize, Error> {
        let start = self.at;
        let branch = self.long(field)?;
        match usize::try_from(branch) {
            Ok(branch) if branch < branches => Ok(branch),
            _ => Err(self.wrong_at(start, field, format_args!("union has no branch {branch}"))),
        }
    }

    /// The union `[null, …]`.
    #[inline]
    pub fn option<T>(
        &mut self,
        field: &str,
        read: impl FnOnce(&mut Self) -> Result<T, Error>,
    ) -> Result<Option<T>, Error> {
        if self.branch(field, 2)? == 0 { Ok(None) } else { read(self).map(Some) }
    }

    /// How many items the next block of an array or map holds; 0 is the end.
    #[inline]
    pub fn block(&mut self, field: &str) -> Result<usize, Error> {
        let start = self.at;
        let count = self.long(field)?;
        if count < 0 {
            // A negative count is followed by the block's size in bytes, which serves only to skip it.
            self.long(field)?;
        }
        let remain = self.remaining();
        match usize::try_from(count.unsigned_abs()) {
            // Every item takes at least one byte.
            Ok(items) if items <= remain => Ok(items),
            _ => {
                Err(self.wrong_at(start, field, format_args!("claims {count} items, {remain} bytes remain")))
            }
        }
    }

    /// A map of texts; a key that stands twice is an error.
    pub fn map(&mut self, field: &str) -> Result<BTreeMap<String, String>, Error> {
        let mut map = BTreeMap::new();
        loop {
            let items = self.block(field)?;
            if items == 0 {
                return Ok(map);
            }
            for _ in 0..items {
                let start = self.at;
                let key = self.string(field)?;
                let value = self.string(field)?;
                if let Some(key) = map.insert(key.clone(), value).map(|_| key) {
                    return Err(self.wrong_at(start, field, format_args!("key {key:?} stands twice")));
                }
            }
        }
    }

    /// That nothing follows.
    #[inline]
    pub fn end(&self) -> Result<(), Error> {
        match self.remaining() {
            0 => Ok(()),
            more => Err(Error::Decode {
                topic: self.topic.name(),
                detail: format!("{more} bytes follow the last field, from byte {} of the body", self.at),
            }),
        }
    }
}

/// Writing the same forms at the end of a buffer.
pub(super) trait Put {
    fn put_long(&mut self, value: i64);
    fn put_bytes(&mut self, bytes: &[u8]);
    fn put_boolean(&mut self, value: bool);
    fn put_double(&mut self, value: f64);
    fn put_float(&mut self, value: f32);

    fn put_str(&mut self, text: &str) {
        self.put_bytes(text.as_bytes());
    }

    /// The union `[null, …]`.
    fn put_option<T>(&mut self, value: Option<T>, put: impl FnOnce(&mut Self, T)) {
        match value {
            None => self.put_long(0),
            Some(value) => {
                self.put_long(1);
                put(self, value);
            }
        }
    }

    fn put_map<'a>(&mut self, map: impl ExactSizeIterator<Item = (&'a str, &'a str)>) {
        if map.len() > 0 {
            self.put_long(map.len() as i64);
            for (key, value) in map {
                self.put_str(key);
                self.put_str(value);
            }
        }
        self.put_long(0);
    }
}

impl Put for Vec<u8> {
    #[inline]
    fn put_long(&mut self, value: i64) {
        let mut rest = ((value << 1) ^ (value >> 63)) as u64;
        while rest >= 0x80 {
            self.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        self.push(rest as u8);
    }

    #[inline]
    fn put_bytes(&mut self, bytes: &[u8]) {
        self.put_long(bytes.len() as i64);
        self.extend_from_slice(bytes);
    }

    fn put_boolean(&mut self, value: bool) {
        self.push(u8::from(value));
    }

    #[inline]
    fn put_double(&mut self, value: f64) {
        self.extend_from_slice(&value.to_le_bytes());
    }

    fn put_float(&mut self, value: f32) {
        self.extend_from_slice(&value.to_le_bytes());
    }
}
