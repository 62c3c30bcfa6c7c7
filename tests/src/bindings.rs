//! The bindings of a pipeline, kept beyond the checkpoints behind which the product removes them.
//!
//! Enters: the files `bindings.log` and `bindings-<generation>-<first epoch>.log` of a state directory. Leaves: one log
//! from the first epoch on, in the form of `bindings.log`. Guarantees: where a file continues from before the end of the
//! one before it, the later one counts, as it does for the product.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use schemas::Epoch;

/// What a segment begins with.
const MAGIC: &[u8] = b"nuanliu bindings";

/// Gives every file of bindings in `state` a second name in `archive`.
pub fn keep(state: &Path, archive: &Path) {
    fs::create_dir_all(archive).unwrap();
    for path in files(state) {
        let kept = archive.join(path.file_name().unwrap());
        // It may be there already, or gone since.
        let _ = fs::hard_link(path, kept);
    }
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
    files.sort();
    files
}

/// All bindings of an archive as one log, and the last epoch.
pub fn joined(archive: &Path) -> (Vec<u8>, Epoch) {
    let mut frames: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
    for path in files(archive) {
        let bytes = fs::read(&path).unwrap();
        let mut rest = match bytes.strip_prefix(MAGIC) {
            // The first frame says whose segment it is.
            Some(behind) => next_frame(behind).map_or(&[][..], |(_, rest)| rest),
            None => &bytes[..],
        };
        let mut first = true;
        while let Some((frame, behind)) = next_frame(rest) {
            let epoch = epoch(&frame[8..]);
            if std::mem::take(&mut first) {
                frames.split_off(&epoch);
            }
            frames.insert(epoch, frame.to_vec());
            rest = behind;
        }
    }
    let in_order = frames.keys().zip(1..).all(|(epoch, number)| *epoch == number);
    assert!(in_order, "bindings have been removed before they were kept");
    let last = frames.keys().next_back().copied().unwrap_or_default();
    (frames.into_values().flatten().collect(), last)
}

/// The first frame, with its head, and what lies behind it; nothing when it is torn.
fn next_frame(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = u32::from_le_bytes(*bytes.first_chunk()?) as usize;
    bytes.split_at_checked(8 + length).filter(|_| length > 0)
}

/// What a binding begins with: its epoch, seven bits to a byte, the lowest first.
fn epoch(binding: &[u8]) -> u64 {
    let length = binding.iter().position(|byte| byte & 0x80 == 0).unwrap();
    binding[..=length].iter().rev().fold(0, |epoch, byte| epoch << 7 | u64::from(byte & 0x7f))
}

#[test]
fn an_epoch_is_read_as_it_was_written() {
    assert_eq!([&[5][..], &[0x80, 1], &[0xac, 2, 9]].map(epoch), [5, 128, 300]);
}
