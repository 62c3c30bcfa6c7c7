//! LZ4 in the frames that ClickHouse takes with `decompress=1`.
//!
//! Enters: bytes. Leaves: frames of checksum, method, both lengths and data. Guarantees: the same bytes give the same
//! frames, so that what waits on disk is sent as it is.

use lz4_flex::block;

use super::stop;
use crate::Error;

/// Bytes before compression in one frame.
const FRAME: usize = 1 << 20;
const CHECKSUM: usize = 16;
const HEADER: usize = 9;
const LZ4: u8 = 0x82;

/// Compresses.
///
/// # Errors
/// [`Error::Stop`] when the library refuses, which it does only out of memory.
pub(super) fn frames(bytes: &[u8]) -> Result<Vec<u8>, Error> {
    let mut frames = Vec::with_capacity(bytes.len() / 4 + 64);
    for chunk in bytes.chunks(FRAME) {
        let begin = frames.len();
        frames.resize(begin + CHECKSUM + HEADER + block::get_maximum_output_size(chunk.len()), 0);
        let data = begin + CHECKSUM + HEADER;
        let length = block::compress_into(chunk, &mut frames[data..])
            .map_err(|error| stop(format!("compressing {} bytes: {error}", chunk.len())))?;
        frames.truncate(data + length);
        let header = begin + CHECKSUM;
        frames[header] = LZ4;
        // A chunk of a mebibyte is far from 4 GiB on either side.
        frames[header + 1..header + 5].copy_from_slice(&((HEADER + length) as u32).to_le_bytes());
        frames[header + 5..data].copy_from_slice(&(chunk.len() as u32).to_le_bytes());
        let checksum = cityhash_rs::cityhash_102_128(&frames[header..]).rotate_right(64);
        frames[begin..header].copy_from_slice(&checksum.to_le_bytes());
    }
    Ok(frames)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_those_of_the_client_library() {
        let small: Vec<u8> = (0..5000_u32).flat_map(|n| (n / 7).to_le_bytes()).collect();
        let theirs = clickhouse::_priv::lz4_compress(&small).unwrap();
        assert_eq!(frames(&small).unwrap(), theirs);
        let large = small.repeat(200);
        let theirs = large.chunks(FRAME).flat_map(|chunk| clickhouse::_priv::lz4_compress(chunk).unwrap());
        assert_eq!(frames(&large).unwrap(), theirs.collect::<Vec<u8>>());
        assert!(frames(&[]).unwrap().is_empty());
    }
}
