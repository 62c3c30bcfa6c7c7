//! The spool: inserts that wait on disk while their destination is away.
//!
//! Enters: inserts as they will be sent, with the epochs they belong to. Leaves: the same inserts, oldest first.
//! Guarantees: what [`Spool::append`] accepted survives the end of the process and of the machine until it is settled;
//! a record that was cut short by a crash was never accepted and is removed; a damaged one is never skipped silently.
//!
//! Files `<number>.spool` hold records one behind the other; a file is deleted when all its records are settled.

use std::{
    collections::{BTreeSet, VecDeque},
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use prometheus::{IntGauge, register_int_gauge};
use schemas::{Epoch, Millis, metrics};

mod record;
mod recover;

pub use record::{Head, Insert};

use super::sync_parent;
use crate::{Error, failpoint};

pub(crate) const NAME: &str = "spool";
/// What a segment begins with: the version of everything behind it.
const VERSION: &[u8; 16] = b"nuanliu spool 1\n";
/// A segment of this length is followed by a new one.
const SEGMENT: u64 = 64 << 20;

metrics! {
    /// Bytes of all segments.
    BYTES: IntGauge = register_int_gauge!("nuanliu_spool_bytes", "Bytes on disk that wait for ClickHouse");

    /// Inserts that are not settled.
    BLOCKS: IntGauge = register_int_gauge!("nuanliu_spool_blocks", "Inserts on disk that wait for ClickHouse");

    /// Seconds since the oldest of them was written.
    AGE: IntGauge = register_int_gauge!(
        "nuanliu_spool_age_seconds", "How long the oldest insert on disk has been waiting");
}

/// A record and where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    segment: u64,
    offset: u64,
    /// What is known of it.
    pub head: Head,
}

#[derive(Debug)]
struct Segment {
    number: u64,
    length: u64,
    unsettled: usize,
}

/// The spool of one destination.
#[derive(Debug)]
pub struct Spool {
    directory: PathBuf,
    limit: u64,
    inner: Mutex<Inner>,
    in_use: AtomicBool,
}

#[derive(Debug, Default)]
struct Inner {
    segments: VecDeque<Segment>,
    /// The last segment, while it is written to.
    file: Option<File>,
    /// Not yet taken for sending, oldest first.
    waiting: VecDeque<Waiting>,
    /// Taken and not settled.
    taken: Vec<Waiting>,
    next: u64,
    /// What an earlier process left behind of epochs that will be offered again.
    held: BTreeSet<String>,
}

impl Spool {
    /// Opens a directory, which is created when something is written. `has` is the last epoch that counts as stored:
    /// what came behind it will be offered again, so it may be cut short, and what is whole is not taken twice.
    ///
    /// # Errors
    /// [`Error::Stop`] when a file is damaged, missing, or of another version, with what to do.
    pub fn open(directory: &Path, limit: u64, has: Epoch) -> Result<Spool, Error> {
        let mut inner = Inner { next: 1, ..Inner::default() };
        for (number, path) in recover::segments(directory)? {
            let found = recover::read(number, &path, has)?;
            inner.next = number + 1;
            if found.waiting.is_empty() {
                fs::remove_file(&path).map_err(|error| stop(&path, &error))?;
                continue;
            }
            inner.segments.push_back(Segment {
                number,
                length: found.length,
                unsettled: found.waiting.len(),
            });
            inner.waiting.extend(found.waiting);
            inner.held.extend(found.held);
        }
        let in_use = AtomicBool::new(!inner.segments.is_empty());
        let spool = Spool { directory: directory.to_owned(), limit, inner: Mutex::new(inner), in_use };
        spool.lock().show();
        Ok(spool)
    }

    /// Whether anything waits: then what comes later has to wait behind it.
    #[must_use]
    pub fn in_use(&self) -> bool {
        self.in_use.load(Ordering::SeqCst)
    }

    /// Inserts that are not settled.
    #[must_use]
    pub fn inserts(&self) -> u64 {
        self.lock().inserts()
    }

    /// Takes inserts of the given smallest and largest epoch, durably, in one record. Those that an earlier process
    /// left here are not taken again.
    ///
    /// # Errors
    /// [`Error::Retry`] when there is no room or the disk does not take it; nothing was taken then.
    pub fn append(&self, epochs: (Epoch, Epoch), at: Millis, inserts: &[&Insert]) -> Result<(), Error> {
        let mut inner = self.lock();
        let fresh: Vec<&Insert> =
            inserts.iter().copied().filter(|insert| !inner.held.contains(&insert.token)).collect();
        if fresh.is_empty() {
            return Ok(());
        }
        let (head, bytes) = record::write(epochs, at, &fresh);
        let used = inner.bytes();
        if used + head.whole() > self.limit {
            let limit = self.limit;
            return Err(retry(format!(
                "{used} bytes wait for ClickHouse, clickhouse.spool_bytes allows {limit}: everything waits until it is \
                 back; raise the limit if the disk has room"
            )));
        }
        let written = self.write(&mut inner, &bytes);
        let (segment, offset) =
            written.map_err(|error| retry(format!("{}: {error}", self.directory.display())))?;
        inner.waiting.push_back(Waiting { segment, offset, head });
        self.in_use.store(true, Ordering::SeqCst);
        inner.show();
        Ok(())
    }

    /// Appends to the last segment, or to a new one; gives its number and where the record begins.
    fn write(&self, inner: &mut Inner, bytes: &[u8]) -> io::Result<(u64, u64)> {
        if inner.file.is_none() || inner.segments.back().is_none_or(|last| last.length >= SEGMENT) {
            let number = inner.next;
            inner.file = Some(self.create(number)?);
            inner.next += 1;
            inner.segments.push_back(Segment { number, length: VERSION.len() as u64, unsettled: 0 });
        }
        let (Some(file), Some(segment)) = (inner.file.as_mut(), inner.segments.back_mut()) else {
            return Err(io::Error::other("no segment"));
        };
        failpoint::reached("spool.before");
        let written = failpoint::write_halfway("spool.torn", file, bytes);
        if let Err(error) = written.and_then(|()| file.sync_data()) {
            // The rest of a record must not stand before the next one. If it stays, opening finds it.
            let _ = file.set_len(segment.length).and_then(|()| file.sync_data());
            inner.file = None;
            if segment.unsettled == 0 {
                let _ = fs::remove_file(path(&self.directory, segment.number));
                inner.segments.pop_back();
            }
            return Err(error);
        }
        let offset = segment.length;
        failpoint::reached("spool.after");
        segment.length += bytes.len() as u64;
        segment.unsettled += 1;
        Ok((segment.number, offset))
    }

    fn create(&self, number: u64) -> io::Result<File> {
        fs::create_dir_all(&self.directory)?;
        let path = path(&self.directory, number);
        let mut file = OpenOptions::new().append(true).create_new(true).open(&path)?;
        let made = file.write_all(VERSION).and_then(|()| sync_parent(&path));
        if made.is_err() {
            let _ = fs::remove_file(&path);
        }
        made.map(|()| file)
    }

    /// The oldest record that was not taken yet.
    #[must_use]
    pub fn take(&self) -> Option<Waiting> {
        let mut inner = self.lock();
        let taken = inner.waiting.pop_front();
        inner.taken.extend(taken);
        taken
    }

    /// The inserts of a record.
    ///
    /// # Errors
    /// [`Error::Stop`] when the file is damaged, with what to do; [`Error::Retry`] when it cannot be read now.
    pub fn read(&self, waiting: &Waiting) -> Result<Vec<Insert>, Error> {
        let path = path(&self.directory, waiting.segment);
        let body = recover::body(&path, waiting).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof => stop(&path, &error),
            _ => retry(format!("{}: {error}", path.display())),
        })?;
        let fits = waiting.head.fits(&body);
        fits.then(|| record::read(&waiting.head, body))
            .flatten()
            .ok_or_else(|| recover::damaged(&path, waiting.offset, Some(&waiting.head)))
    }

    /// Forgets a record that its destination has; a segment whose records are all settled is deleted.
    pub fn settle(&self, settled: &Waiting) {
        let mut inner = self.lock();
        inner.taken.retain(|taken| taken != settled);
        let Some(place) = inner.segments.iter().position(|s| s.number == settled.segment) else { return };
        inner.segments[place].unsettled -= 1;
        if inner.segments[place].unsettled == 0 {
            if place + 1 == inner.segments.len() {
                inner.file = None;
            }
            inner.segments.remove(place);
            let path = path(&self.directory, settled.segment);
            failpoint::reached("spool.settled");
            if let Err(error) = fs::remove_file(&path) {
                // It is sent again after a restart, which changes nothing.
                tracing::warn!(%error, path = %path.display(), "a segment of the spool is not deleted");
            }
        }
        if inner.segments.is_empty() {
            inner.held.clear();
            self.in_use.store(false, Ordering::SeqCst);
        }
        inner.show();
    }

    /// Shows the metrics as they are now.
    pub fn show(&self) {
        self.lock().show();
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.length).sum()
    }

    fn unsettled(&self) -> impl Iterator<Item = &Waiting> {
        self.taken.iter().chain(&self.waiting)
    }

    fn inserts(&self) -> u64 {
        self.unsettled().map(|waiting| u64::from(waiting.head.inserts)).sum()
    }

    fn show(&self) {
        BYTES.set(self.bytes() as i64);
        BLOCKS.set(self.inserts() as i64);
        let oldest = self.taken.iter().chain(self.waiting.front()).map(|waiting| waiting.head.at).min();
        let age = oldest.map_or(0, |at| jiff::Timestamp::now().as_millisecond() - at);
        AGE.set(age.max(0) / 1000);
    }
}

fn path(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("{number:010}.spool"))
}

fn retry(detail: String) -> Error {
    Error::Retry { sink: NAME, detail }
}

fn stop(path: &Path, error: &io::Error) -> Error {
    let detail = format!("{}: {error}: mend the disk or restore the file", path.display());
    Error::Stop { sink: NAME, detail }
}

#[cfg(test)]
mod tests;
