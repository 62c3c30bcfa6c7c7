//! The bindings of a pipeline, kept beyond the checkpoints behind which the product removes them.
//!
//! Enters: the files `bindings-<generation>-<first epoch>.log` of a state directory. Leaves: one such file with everything
//! from the first epoch on, for another pipeline. Guarantees: where a file continues from before the end of the one before
//! it, the later one counts, as it does for the product.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use schemas::Epoch;

/// What a file begins with.
const MAGIC: &[u8] = b"nuanliu bindings";
/// The joined log: of a generation before any start.
const JOINED: &str = "bindings-000000-000000000001.log";

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

/// Writes all bindings of an archive as one log of a pipeline into its state directory; gives the last epoch.
pub fn join(archive: &Path, state: &Path, pipeline: &str) -> Epoch {
    let (frames, last) = joined(archive);
    // Version, pipeline, generation, the epoch before the first.
    let name = [&[u8::try_from(pipeline.len()).unwrap()], pipeline.as_bytes()].concat();
    let header = frame(&[&[1], &name[..], &[0, 0]].concat());
    fs::create_dir_all(state).unwrap();
    fs::write(state.join(JOINED), [MAGIC, &header, &frames].concat()).unwrap();
    last
}

fn joined(archive: &Path) -> (Vec<u8>, Epoch) {
    let mut frames: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
    for path in files(archive) {
        let bytes = fs::read(&path).unwrap();
        // The first frame says whose file it is.
        let mut rest = bytes.strip_prefix(MAGIC).and_then(next_frame).map_or(&[][..], |(_, rest)| rest);
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

fn frame(payload: &[u8]) -> Vec<u8> {
    let length = payload.len() as u32;
    [&length.to_le_bytes(), &crc32fast::hash(payload).to_le_bytes(), payload].concat()
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use pipeline::{
        binding::{BindingLog, log, next},
        place::{Directory, Fence},
    };

    use super::*;

    #[test]
    fn an_epoch_is_read_as_it_was_written() {
        assert_eq!([&[5][..], &[0x80, 1], &[0xac, 2, 9]].map(epoch), [5, 128, 300]);
    }

    #[test]
    fn the_product_reads_what_was_joined() {
        let [one, archive, other] = [(); 3].map(|()| tempfile::tempdir().unwrap());
        let mut written = Vec::new();
        for _ in 0..2 {
            let store = Directory::open(&one.path().join("checkpoints")).unwrap();
            let fence = Fence::take(one.path(), Arc::new(store), false).unwrap();
            let (mut log, recorded) = BindingLog::open(one.path(), "one", fence, Arc::default()).unwrap();
            assert_eq!(recorded.bindings, written);
            for wall in [100, 200] {
                let binding = next(written.last(), &[], wall, 10, Vec::new());
                log.append(&binding).unwrap();
                written.push(binding);
            }
        }
        keep(one.path(), archive.path());
        assert_eq!(join(archive.path(), &other.path().join("state"), "other"), 4);
        assert_eq!(log::read(&other.path().join("state"), "other").unwrap().bindings, written);
    }
}
