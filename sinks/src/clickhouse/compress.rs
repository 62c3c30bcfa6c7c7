//! LZ4 in the frames that ClickHouse takes with `decompress=1`.
//!
//! Enters: bytes. Leaves: frames of checksum, method, both lengths and data. Guarantees: the same bytes give the same
//! frames, so that what waits on disk is sent as it is.

use std::cell::RefCell;

use lz4_flex::block;

use super::stop;
use crate::Error;

/// Bytes before compression in one frame.
const FRAME: usize = 1 << 20;
const CHECKSUM: usize = 16;
const HEADER: usize = 9;
const LZ4: u8 = 0x82;

thread_local! {
    /// Where a frame is built: its greatest length is seven times its usual one.
    static ROOM: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Compresses.
///
/// # Errors
/// [`Error::Stop`] when the library refuses, which it does only out of memory.
pub(super) fn frames(bytes: &[u8]) -> Result<Vec<u8>, Error> {
    let mut frames = Vec::with_capacity(bytes.len() / 4 + 64);
    ROOM.with_borrow_mut(|room| {
        room.resize(CHECKSUM + HEADER + block::get_maximum_output_size(FRAME), 0);
        bytes.chunks(FRAME).try_for_each(|chunk| {
            frames.extend_from_slice(frame(chunk, room)?);
            Ok(())
        })
    })?;
    Ok(frames)
}

/// One frame, built in `room`.
fn frame<'a>(chunk: &[u8], room: &'a mut [u8]) -> Result<&'a [u8], Error> {
    let data = CHECKSUM + HEADER;
    let length = block::compress_into(chunk, &mut room[data..])
        .map_err(|error| stop(format!("compressing {} bytes: {error}", chunk.len())))?;
    let frame = &mut room[..data + length];
    frame[CHECKSUM] = LZ4;
    // A chunk of a mebibyte is far from 4 GiB on either side.
    frame[CHECKSUM + 1..CHECKSUM + 5].copy_from_slice(&((HEADER + length) as u32).to_le_bytes());
    frame[CHECKSUM + 5..data].copy_from_slice(&(chunk.len() as u32).to_le_bytes());
    let checksum = cityhash_rs::cityhash_102_128(&frame[CHECKSUM..]).rotate_right(64);
    frame[..CHECKSUM].copy_from_slice(&checksum.to_le_bytes());
    Ok(frame)
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
