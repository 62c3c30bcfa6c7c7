//! The records of a spool: how inserts stand in a segment.
//!
//! Enters: inserts, or bytes of a segment. Leaves: bytes, or inserts. Guarantees: a record is read back whole or not at
//! all; both its head and its body have a checksum.
//!
//! ```text
//! head (52 bytes): magic, body length, body checksum, inserts, first and last epoch, written at, rows, head checksum
//! body: per insert: table, token, statement, compressed?, rows, bytes: each with its length before it
//! ```

use bytes::Bytes;
use schemas::{Epoch, Millis};

/// What a record begins with.
const MAGIC: [u8; 4] = *b"nlr1";
/// The length of a head.
pub(super) const HEAD: usize = 52;

/// One insert as it will be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Insert {
    /// The table.
    pub table: String,
    /// The statement, before its data.
    pub statement: String,
    /// The deduplication token: a second insert with the same token changes nothing.
    pub token: String,
    /// Whether the body is compressed.
    pub compressed: bool,
    /// The number of rows.
    pub rows: u64,
    /// The data.
    pub body: Bytes,
}

/// What is known of a record without reading its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Length of the body.
    pub length: u32,
    /// Checksum of the body.
    pub checksum: u32,
    /// Inserts in it.
    pub inserts: u32,
    /// The smallest and the largest epoch of its blocks.
    pub epochs: (Epoch, Epoch),
    /// When it was written, in wall time.
    pub at: Millis,
    /// Rows in it.
    pub rows: u64,
}

impl Head {
    /// Reads a head; `None` when it is not one.
    pub(super) fn read(bytes: &[u8; HEAD]) -> Option<Head> {
        let four = |at: usize| bytes[at..at + 4].try_into().map(u32::from_le_bytes).ok();
        let eight = |at: usize| bytes[at..at + 8].try_into().map(u64::from_le_bytes).ok();
        if bytes[..4] != MAGIC || four(HEAD - 4)? != crc32fast::hash(&bytes[..HEAD - 4]) {
            return None;
        }
        let (at, rows) = (eight(32)? as Millis, eight(40)?);
        let epochs = (eight(16)?, eight(24)?);
        Some(Head { length: four(4)?, checksum: four(8)?, inserts: four(12)?, epochs, at, rows })
    }

    fn write(&self) -> [u8; HEAD] {
        let mut bytes = [0; HEAD];
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[4..8].copy_from_slice(&self.length.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.checksum.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.inserts.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.epochs.0.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.epochs.1.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.at.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.rows.to_le_bytes());
        let checksum = crc32fast::hash(&bytes[..HEAD - 4]);
        bytes[HEAD - 4..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// The length of the whole record.
    #[must_use]
    pub fn whole(&self) -> u64 {
        HEAD as u64 + u64::from(self.length)
    }

    /// Whether these bytes are the body.
    #[must_use]
    pub fn fits(&self, body: &[u8]) -> bool {
        body.len() == self.length as usize && crc32fast::hash(body) == self.checksum
    }
}

/// The bytes of a record.
#[must_use]
pub(super) fn write(epochs: (Epoch, Epoch), at: Millis, inserts: &[&Insert]) -> (Head, Vec<u8>) {
    let size = inserts.iter().map(|insert| insert.body.len() + insert.statement.len() + 128).sum::<usize>();
    let mut bytes = Vec::with_capacity(HEAD + size);
    bytes.resize(HEAD, 0);
    for insert in inserts {
        for text in [&insert.table, &insert.token, &insert.statement] {
            put(&mut bytes, text.as_bytes());
        }
        bytes.push(u8::from(insert.compressed));
        bytes.extend_from_slice(&insert.rows.to_le_bytes());
        put(&mut bytes, &insert.body);
    }
    let body = &bytes[HEAD..];
    let head = Head {
        length: body.len() as u32,
        checksum: crc32fast::hash(body),
        inserts: inserts.len() as u32,
        epochs,
        at,
        rows: inserts.iter().map(|insert| insert.rows).sum(),
    };
    bytes[..HEAD].copy_from_slice(&head.write());
    (head, bytes)
}

fn put(bytes: &mut Vec<u8>, field: &[u8]) {
    bytes.extend_from_slice(&(field.len() as u32).to_le_bytes());
    bytes.extend_from_slice(field);
}

/// The inserts of a body; `None` when it does not hold that many whole inserts and nothing else.
#[must_use]
pub(super) fn read(head: &Head, mut body: Bytes) -> Option<Vec<Insert>> {
    let mut inserts = Vec::with_capacity(head.inserts as usize);
    for _ in 0..head.inserts {
        let mut text = || String::from_utf8(take(&mut body)?.to_vec()).ok();
        let (table, token, statement) = (text()?, text()?, text()?);
        if body.len() < 9 {
            return None;
        }
        let compressed = body.split_to(1)[0] != 0;
        let rows = u64::from_le_bytes(body.split_to(8)[..].try_into().ok()?);
        inserts.push(Insert { table, token, statement, compressed, rows, body: take(&mut body)? });
    }
    body.is_empty().then_some(inserts)
}

fn take(body: &mut Bytes) -> Option<Bytes> {
    let length = body.get(..4)?.try_into().map(u32::from_le_bytes).ok()? as usize;
    let _ = body.split_to(4);
    (body.len() >= length).then(|| body.split_to(length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_changed_byte_is_noticed() {
        let insert = |n: u64| Insert {
            table: "readings".to_owned(),
            statement: "INSERT INTO readings".to_owned(),
            token: format!("readings/7/{n}"),
            compressed: n == 0,
            rows: n,
            body: vec![n as u8; 40].into(),
        };
        let (head, bytes) = write((7, 8), 1_705_305_600_000, &[&insert(0), &insert(3)]);
        let parse = |bytes: &[u8]| {
            let head = Head::read(bytes.first_chunk()?)?;
            let body = Bytes::copy_from_slice(&bytes[HEAD..]);
            if head.fits(&body) { read(&head, body) } else { None }
        };
        assert_eq!((head.epochs, head.rows, head.whole()), ((7, 8), 3, bytes.len() as u64));
        assert_eq!(parse(&bytes), Some(vec![insert(0), insert(3)]));
        for place in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[place] ^= 0x10;
            assert_eq!(parse(&changed), None, "byte {place}");
            assert_eq!(parse(&bytes[..place]), None, "cut at {place}");
        }
    }
}
