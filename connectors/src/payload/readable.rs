//! A payload as text, also where some of its bytes are none.
//!
//! Enters: bytes. Leaves: their text and the places that are no UTF-8. Guarantees: a place in the text is the same place
//! in the bytes, so that bytes in another encoding (a note in GB 18030) cost only the record that they stand in.

use std::{borrow::Cow, ops::Range};

use bytes::Bytes;
use schemas::Reason;

use super::{
    json::{Kind, Node, SyntaxError},
    record::{Source, Wrong},
};

/// A payload as text.
pub(super) struct Readable<'a> {
    /// The text, with the control character SUB for every byte that is no UTF-8.
    pub text: Cow<'a, str>,
    /// The bytes it stands for.
    pub source: Source<'a>,
    /// Where in the text such bytes begin.
    flaws: Vec<usize>,
}

impl<'a> Readable<'a> {
    /// Looks through a payload.
    ///
    /// # Errors
    /// [`Reason::Empty`] when there is nothing but white space.
    pub fn new(payload: &'a Bytes) -> Result<Readable<'a>, Wrong> {
        let offset = offset(payload)?;
        let source = Source { payload, offset };
        let bytes = &payload[offset..];
        if let Ok(text) = std::str::from_utf8(bytes) {
            return Ok(Readable { text: Cow::Borrowed(text), source, flaws: Vec::new() });
        }
        let (mut text, mut flaws) = (String::with_capacity(bytes.len()), Vec::new());
        for chunk in bytes.utf8_chunks() {
            text.push_str(chunk.valid());
            if !chunk.invalid().is_empty() {
                flaws.push(text.len());
                text.extend(chunk.invalid().iter().map(|_| '\u{1a}'));
            }
        }
        Ok(Readable { text: Cow::Owned(text), source, flaws })
    }

    /// Looks through an array of records. What is no array is one record, with which the whole payload is unreadable.
    ///
    /// # Errors
    /// As for [`Readable::new`], and [`Reason::Malformed`].
    pub fn of_records(payload: &'a Bytes) -> Result<Readable<'a>, Wrong> {
        let readable = Readable::new(payload)?;
        match readable.flaws.first() {
            Some(at) if !readable.text.trim_start().starts_with('[') => {
                Err((Reason::Malformed, no_utf8(readable.source.offset + at)))
            }
            _ => Ok(readable),
        }
    }

    /// The first byte of a place that is no UTF-8, counted in the payload.
    fn flaw(&self, span: Range<usize>) -> Option<usize> {
        if self.flaws.is_empty() {
            return None;
        }
        let first = self.flaws.partition_point(|at| *at < span.start);
        self.flaws.get(first).filter(|at| **at < span.end).map(|at| self.source.offset + at)
    }

    /// Whether a record is text.
    ///
    /// # Errors
    /// [`Reason::Malformed`].
    pub fn check(&self, record: &Node<'_>) -> Result<(), Wrong> {
        match self.flaw(record.span.clone()) {
            Some(byte) => Err((Reason::Malformed, no_utf8(byte))),
            None => Ok(()),
        }
    }

    /// Puts [`Kind::NoText`] in place of a record that holds such bytes.
    pub fn judge(&self, record: &mut Node<'_>) {
        if let Some(byte) = self.flaw(record.span.clone()) {
            record.kind = Kind::NoText(byte);
        }
    }

    /// Why the payload as a whole is not readable.
    pub fn unreadable(&self, error: &SyntaxError) -> Wrong {
        match self.flaws.first() {
            Some(at) => (Reason::Malformed, no_utf8(self.source.offset + at)),
            None => (Reason::Malformed, error.to_string()),
        }
    }
}

/// The payload as text without a byte order mark, and how many bytes that mark took.
///
/// # Errors
/// [`Reason::Empty`], or [`Reason::Malformed`] when it is no UTF-8.
pub(super) fn text(payload: &Bytes) -> Result<(&str, usize), Wrong> {
    let offset = offset(payload)?;
    match std::str::from_utf8(&payload[offset..]) {
        Ok(text) => Ok((text, offset)),
        Err(error) => Err((Reason::Malformed, no_utf8(offset + error.valid_up_to()))),
    }
}

fn offset(payload: &Bytes) -> Result<usize, Wrong> {
    if payload.trim_ascii().is_empty() {
        return Err((Reason::Empty, "the payload is empty".to_owned()));
    }
    Ok(if payload.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 })
}

fn no_utf8(byte: usize) -> String {
    format!("byte {byte} is no UTF-8")
}
