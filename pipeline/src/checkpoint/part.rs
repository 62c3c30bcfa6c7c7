//! Sections in a part: one after the other, each compressed where that makes it smaller.
//!
//! Enters: sections. Leaves: the pieces of a part and where each section lies in it; later the sections again.
//! Guarantees: a section comes back as it was, or as an error.

use bytes::Bytes;

use super::manifest::Section;
use crate::place::Id;

const MAGIC: &[u8; 16] = b"nuanliu part   1";

/// Bytes before the first section.
pub const HEAD: u64 = MAGIC.len() as u64;

/// A section as it is stored. Clones share its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packed {
    form: u16,
    length: u64,
    crc: u32,
    stored: Bytes,
}

impl Packed {
    /// Packs a section.
    #[must_use]
    pub fn of(form: u16, section: &[u8]) -> Packed {
        let compressed = lz4_flex::block::compress(section);
        let stored = if compressed.len() < section.len() { &compressed } else { section };
        let (length, crc) = (section.len() as u64, crc32fast::hash(stored));
        Packed { form, length, crc, stored: Bytes::copy_from_slice(stored) }
    }

    /// Form of the entries.
    #[must_use]
    pub fn form(&self) -> u16 {
        self.form
    }

    /// Bytes of the section itself.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The section.
    ///
    /// # Errors
    /// What is wrong with the bytes.
    pub fn unpack(&self) -> Result<Vec<u8>, String> {
        unpacked(&self.stored, self.length)
    }
}

/// A part that is being put together.
#[derive(Debug)]
pub struct Part {
    id: Id,
    pieces: Vec<Bytes>,
    length: u64,
}

impl Part {
    /// An empty part.
    #[must_use]
    pub fn new(id: Id) -> Part {
        Part { id, pieces: vec![Bytes::from_static(MAGIC)], length: HEAD }
    }

    /// Appends a section.
    pub fn push(&mut self, section: &Packed) -> Section {
        let Packed { form, length, crc, stored } = section.clone();
        let placed =
            Section { part: self.id, offset: self.length, stored: stored.len() as u64, length, crc, form };
        self.length += placed.stored;
        self.pieces.push(stored);
        placed
    }

    /// Whether it has no sections.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pieces.len() == 1
    }

    /// Bytes so far.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The pieces of its file.
    #[must_use]
    pub fn into_pieces(self) -> Vec<Bytes> {
        self.pieces
    }
}

/// Whether the stored bytes are those that were written.
#[must_use]
pub fn is_whole(section: &Section, stored: &[u8]) -> bool {
    stored.len() as u64 == section.stored && crc32fast::hash(stored) == section.crc
}

/// The section from its stored bytes.
///
/// # Errors
/// What is wrong with the bytes.
pub fn unpack(section: &Section, stored: &[u8]) -> Result<Vec<u8>, String> {
    if !is_whole(section, stored) {
        return Err(format!("the checksum of {} bytes at {} is wrong", section.stored, section.offset));
    }
    unpacked(stored, section.length)
}

fn unpacked(stored: &[u8], length: u64) -> Result<Vec<u8>, String> {
    if stored.len() as u64 == length {
        return Ok(stored.to_vec());
    }
    lz4_flex::block::decompress(stored, length as usize).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_come_back_and_changed_bytes_do_not() {
        let mut part = Part::new(Id { epoch: 7, generation: 1 });
        assert!(part.is_empty());
        let sections = [b"abc".to_vec(), b"heating heating heating heating heating".to_vec(), Vec::new()];
        let packed: Vec<_> = sections.iter().map(|section| Packed::of(2, section)).collect();
        let placed: Vec<_> = packed.iter().map(|section| part.push(section)).collect();
        let length = part.length();
        let bytes = part.into_pieces().concat();
        assert_eq!(bytes.len() as u64, length);
        assert!(placed[1].stored < placed[1].length, "repetition is compressed");
        for ((place, section), packed) in placed.iter().zip(&sections).zip(&packed) {
            assert_eq!((&packed.unpack().unwrap(), packed.form()), (section, 2));
            let stored = &bytes[place.offset as usize..][..place.stored as usize];
            assert_eq!(&unpack(place, stored).unwrap(), section);
            for byte in 0..stored.len() {
                let mut flipped = stored.to_vec();
                flipped[byte] ^= 16;
                assert!(unpack(place, &flipped).is_err());
            }
        }
    }
}
