//! The log of bindings in a pipeline's state directory: segments that only their generation appends to.
//!
//! ```text
//! bindings-<generation>-<first epoch>.log:  magic | frame(header) | frame(binding) | frame(binding) | ...
//! frame: length | crc | payload; the header says which epoch the segment continues from
//! ```
//!
//! Enters: bindings, each once. Leaves: the same sequence, without gaps. Guarantees: a binding is on disk before
//! `append` returns; what a process appends after another has taken over is never read, because the segment of the
//! other continues from before it; a torn end, left by a crash while writing, is not read, and nobody has seen it;
//! damage before the place from which the next segment continues is an error.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use schemas::Epoch;
use serde::{Deserialize, Serialize};
use sinks::{disk, failpoint};

use super::Binding;
use crate::{
    Error,
    place::{Fence, Generation},
};

const MAGIC: &[u8; 16] = b"nuanliu bindings";
const VERSION: u32 = 1;

/// What a segment begins with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Header {
    version: u32,
    pipeline: String,
    generation: Generation,
    /// The epoch before its first.
    after: Epoch,
}

/// What a log holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    /// The epoch before the first that it holds.
    pub after: Epoch,
    /// The bindings, without gaps.
    pub bindings: Vec<Binding>,
}

impl Recorded {
    /// The last epoch.
    #[must_use]
    pub fn last(&self) -> Epoch {
        self.bindings.last().map_or(self.after, |binding| binding.epoch)
    }
}

/// Where new bindings go.
#[derive(Debug)]
pub struct BindingLog {
    state: PathBuf,
    pipeline: String,
    fence: Fence,
    last: Epoch,
    /// The epoch of the newest checkpoint: a new segment begins when there is a new one, so that old ones can go.
    checkpoint: Arc<AtomicU64>,
    segment: Option<Segment>,
}

#[derive(Debug)]
struct Segment {
    file: File,
    path: PathBuf,
    checkpoint: Epoch,
}

impl BindingLog {
    /// Reads the log of a state directory that has been taken over, to be appended to.
    ///
    /// # Errors
    /// When the log has a gap, is damaged or another pipeline's, or the disk fails.
    pub fn open(
        state: &Path,
        pipeline: &str,
        fence: Fence,
        checkpoint: Arc<AtomicU64>,
    ) -> Result<(BindingLog, Recorded), Error> {
        let recorded = read(state, pipeline)?;
        let log = BindingLog {
            state: state.to_owned(),
            pipeline: pipeline.to_owned(),
            fence,
            last: recorded.last(),
            checkpoint,
            segment: None,
        };
        Ok((log, recorded))
    }

    /// The generation of this process.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.fence.generation()
    }

    /// Makes a binding durable.
    ///
    /// # Errors
    /// When the disk fails, when another process has taken over, or when the binding is not the next one; it must then
    /// not be used.
    pub fn append(&mut self, binding: &Binding) -> Result<(), Error> {
        self.fence.check_state()?;
        if binding.epoch != self.last + 1 {
            return Err(Error::BindingGap {
                path: self.state.clone(),
                expected: self.last + 1,
                found: binding.epoch,
            });
        }
        let checkpoint = self.checkpoint.load(Ordering::Relaxed);
        let open = self.segment.take().filter(|segment| segment.checkpoint == checkpoint);
        let segment = match open {
            Some(segment) => segment,
            None => self.begin(checkpoint)?,
        };
        let segment = self.segment.insert(segment);
        let failed = |error| Error::State { path: segment.path.clone(), error };
        let bytes = frame(binding).map_err(failed)?;
        failpoint::reached("bind.before");
        let written = failpoint::write_halfway("bind.torn", &mut segment.file, &bytes);
        written.and_then(|()| segment.file.sync_data()).map_err(failed)?;
        failpoint::reached("bind.after");
        self.last = binding.epoch;
        // Who took over before this has not read the binding, who does after it will.
        self.fence.check_state()
    }

    fn begin(&self, checkpoint: Epoch) -> Result<Segment, Error> {
        let header = Header {
            version: VERSION,
            pipeline: self.pipeline.clone(),
            generation: self.fence.generation(),
            after: self.last,
        };
        let name = format!("bindings-{:06}-{:012}.log", header.generation, header.after + 1);
        let path = self.state.join(name);
        let begun = frame(&header).and_then(|header| {
            let mut file = File::create(&path)?;
            file.write_all(MAGIC)?;
            file.write_all(&header)?;
            file.sync_all()?;
            disk::sync_parent(&path)?;
            Ok(file)
        });
        failpoint::reached("bind.begun");
        match begun {
            Ok(file) => Ok(Segment { file, path, checkpoint }),
            Err(error) => Err(Error::State { path, error }),
        }
    }
}

fn frame(value: &impl Serialize) -> io::Result<Vec<u8>> {
    let payload = postcard::to_stdvec(value).map_err(io::Error::other)?;
    let mut frame = Vec::with_capacity(payload.len() + 8);
    frame.extend((payload.len() as u32).to_le_bytes());
    frame.extend(disk::sealed(&payload));
    Ok(frame)
}

/// Takes the first frame off; `None` when it is not whole. Zeros, as some file systems leave, are no frame.
fn unframe(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    let (sealed, rest) = rest.split_at_checked((u32::from_le_bytes(*length) as usize).checked_add(4)?)?;
    disk::unsealed(sealed).filter(|payload| !payload.is_empty()).map(|payload| (payload, rest))
}

/// The segments of a directory in the order of the log: (generation, first epoch, path).
fn segments(state: &Path) -> io::Result<Vec<(Generation, Epoch, PathBuf)>> {
    let mut segments = Vec::new();
    for entry in fs::read_dir(state)? {
        let path = entry?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        let numbers = name.strip_prefix("bindings-").and_then(|name| name.strip_suffix(".log"));
        let Some((generation, first)) = numbers.and_then(|numbers| numbers.split_once('-')) else { continue };
        if let (Ok(generation), Ok(first)) = (generation.parse(), first.parse()) {
            segments.push((generation, first, path));
        }
    }
    segments.sort();
    Ok(segments)
}

/// Reads the log of a state directory.
///
/// # Errors
/// When it has a gap, is damaged or another pipeline's, or the disk fails.
pub fn read(state: &Path, pipeline: &str) -> Result<Recorded, Error> {
    let found = segments(state).map_err(|error| Error::State { path: state.to_owned(), error })?;
    let mut recorded: Option<Recorded> = None;
    // Damage of the segment before. Who continues from before it has seen nothing of what is behind.
    let mut broken: Option<Error> = None;
    for (_, _, path) in found {
        let bytes = fs::read(&path).map_err(|error| Error::State { path: path.clone(), error })?;
        let Some((after, bindings, damage)) = read_segment(&bytes, &path, pipeline)? else { continue };
        let last = recorded.as_ref().map_or(after, Recorded::last);
        if let Some(error) = broken.take().filter(|_| last < after) {
            return Err(error);
        }
        broken = damage;
        let recorded = recorded.get_or_insert_with(|| Recorded { after, bindings: Vec::new() });
        // What a process appended after it had been taken over from.
        while recorded.bindings.last().is_some_and(|binding| binding.epoch > after) {
            recorded.bindings.pop();
        }
        if recorded.last() != after {
            return Err(Error::BindingGap { path, expected: recorded.last() + 1, found: after + 1 });
        }
        recorded.bindings.extend(bindings);
    }
    broken.map_or_else(|| Ok(recorded.unwrap_or_default()), Err)
}

/// The epoch before a segment, its bindings, and what is wrong behind them; nothing when it was torn before its first.
type Read = Option<(Epoch, Vec<Binding>, Option<Error>)>;

fn read_segment(bytes: &[u8], path: &Path, pipeline: &str) -> Result<Read, Error> {
    let framed = bytes.strip_prefix(MAGIC).and_then(unframe);
    let Some((header, mut rest)) = framed else {
        return if holds_frame(bytes) { Err(damaged(path, 0)) } else { Ok(None) };
    };
    let header: Header = read_frame(header, path, MAGIC.len())?;
    if header.version > VERSION {
        return Err(Error::UnknownBinding { path: path.to_owned(), at: 0 });
    }
    if header.pipeline != pipeline {
        return Err(Error::AnotherPipeline {
            place: path.display().to_string(),
            what: "pipeline",
            found: header.pipeline,
            expected: pipeline.to_owned(),
        });
    }
    let after = header.after;
    let mut bindings: Vec<Binding> = Vec::new();
    while let Some((payload, after_it)) = unframe(rest) {
        let at = bytes.len() - rest.len();
        let binding: Binding = read_frame(payload, path, at)?;
        let expected = bindings.last().map_or(after, |binding| binding.epoch) + 1;
        if binding.epoch != expected {
            return Err(Error::BindingGap { path: path.to_owned(), expected, found: binding.epoch });
        }
        bindings.push(binding);
        rest = after_it;
    }
    // Only the last append can be torn. Anything whole behind a broken frame was used.
    let damage = rest.get(1..).is_some_and(holds_frame).then(|| damaged(path, bytes.len() - rest.len()));
    Ok(Some((after, bindings, damage)))
}

fn read_frame<'a, T: Deserialize<'a>>(payload: &'a [u8], path: &Path, at: usize) -> Result<T, Error> {
    postcard::from_bytes(payload).map_err(|_| Error::UnknownBinding { path: path.to_owned(), at })
}

fn damaged(path: &Path, at: usize) -> Error {
    Error::DamagedBindings { path: path.to_owned(), at }
}

/// Whether a whole frame begins anywhere.
fn holds_frame(bytes: &[u8]) -> bool {
    (0..bytes.len()).any(|at| unframe(&bytes[at..]).is_some())
}

/// Removes segments that hold nothing after `epoch`, from the oldest on.
///
/// # Errors
/// What the system says.
pub fn forget(state: &Path, epoch: Epoch) -> io::Result<()> {
    let segments = segments(state)?;
    for (segment, next) in segments.iter().zip(segments.iter().skip(1)) {
        if next.1 > epoch + 1 {
            break;
        }
        fs::remove_file(&segment.2)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
