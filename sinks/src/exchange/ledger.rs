//! The delivery ledger: what is owed to the receiver, what it has, and what it said, surviving any crash.
//!
//! Enters: rows to deliver and outcomes of attempts. Leaves: the rows still owed, in order. Guarantees: a row is durable
//! before [`Ledger::note`] returns; a row that was delivered with the same content is not owed again; a torn last line
//! is cut off, any other damage stops; once another process has opened the ledger, nothing that is written here is read
//! any more, and nothing of it is acknowledged. So whoever takes over knows of every attempt: one that was noted before it
//! opened the ledger it finds there, and one that comes after is not made.
//!
//! A file `ledger-<number>.log` holds one line per fact: a CRC-32 in hexadecimal, a space, and JSON. Every opening begins a
//! file of the next number with what the one before held.

mod line;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use schemas::{Code, Epoch, Millis, RegistryEntry, RegistryKey};

use crate::disk::{self, numbered};
use line::{Line, read_line, write_line};

pub use line::{Event, Outcome, Row, RowId};

/// A row and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The last event.
    pub event: Event,
    /// Number of the line that noted the content.
    pub noted: u64,
    /// When the content was noted.
    pub noted_at: Millis,
    /// The content.
    pub content: Row,
}

/// The ledger.
#[derive(Debug)]
pub struct Ledger {
    path: PathBuf,
    file: File,
    lines: u64,
    sequence: u64,
    entries: BTreeMap<RowId, Entry>,
    owed: BTreeSet<(u64, RowId)>,
    registry: BTreeMap<RegistryKey, RegistryEntry>,
    /// Up to which epoch each pipeline is noted.
    noted: BTreeMap<String, Epoch>,
    unmirrored: Vec<Event>,
}

impl Ledger {
    /// Opens the ledger in a directory, making both if missing. Rows that were under way become uncertain. Whoever had
    /// it open before goes on with a file that nobody will read.
    ///
    /// # Errors
    /// When the directory cannot be used, the file is damaged anywhere but in its last line, or another process opens
    /// it at the same time.
    pub fn open(directory: &Path) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        let before = files(directory)?;
        let number = before.last().map_or(0, |(number, _)| *number) + 1;
        let path = directory.join(format!("ledger-{number:06}.log"));
        let claimed = OpenOptions::new().write(true).create_new(true).open(&path);
        let file = claimed.map_err(|error| {
            let what = format!("{}: {error}: another process opens this ledger now", path.display());
            io::Error::new(error.kind(), what)
        })?;
        let mut ledger = Ledger {
            path,
            file,
            lines: 0,
            sequence: 0,
            entries: BTreeMap::new(),
            owed: BTreeSet::new(),
            registry: BTreeMap::new(),
            noted: BTreeMap::new(),
            unmirrored: Vec::new(),
        };
        let begun = ledger.begin(&before);
        if begun.is_err() {
            // Without content it is not read either.
            let _ = fs::remove_file(&ledger.path);
        }
        begun?;
        ledger.doubt()?;
        Ok(ledger)
    }

    /// Begins the file with what the newest one before says. One without content was claimed and not begun.
    fn begin(&mut self, before: &[(u64, PathBuf)]) -> io::Result<()> {
        let mut whole = Vec::new();
        for (_, path) in before.iter().rev() {
            whole = fs::read(path)?;
            if !whole.is_empty() {
                let length = self.replay(&whole, path)?;
                if length < whole.len() {
                    let bytes = whole.len() - length;
                    tracing::warn!(bytes, "exchange ledger: a torn last line was cut off");
                }
                whole.truncate(length);
                break;
            }
        }
        self.replace(&whole)?;
        before.iter().try_for_each(|(_, path)| fs::remove_file(path))
    }

    /// Replaces the file by one of this content, as a whole or not at all.
    fn replace(&mut self, content: &[u8]) -> io::Result<()> {
        disk::replace(&self.path, |file| file.write_all(content))?;
        self.file = OpenOptions::new().append(true).open(&self.path)?;
        Ok(())
    }

    /// Takes in the lines of the file and returns how many bytes of it are whole.
    fn replay(&mut self, bytes: &[u8], path: &Path) -> io::Result<usize> {
        let mut at = 0;
        while at < bytes.len() {
            let end = bytes[at..].iter().position(|byte| *byte == b'\n').map(|length| at + length);
            let line = end.and_then(|end| read_line(&bytes[at..end]));
            let Some((end, line)) = end.zip(line) else {
                // Only the last write can be torn: whatever follows a damaged line was once synced.
                let rest = &bytes[at..];
                let torn = end.is_none() || end.is_some_and(|end| end + 1 == bytes.len());
                return if torn {
                    Ok(at)
                } else {
                    Err(io::Error::new(
                        io::ErrorKind::InvalidData,
                        format!(
                            "{} is damaged at byte {at} ({} bytes follow): restore it, or move it away to start anew",
                            path.display(),
                            rest.len()
                        ),
                    ))
                };
            };
            self.apply(line);
            at = end + 1;
        }
        Ok(at)
    }

    /// Rows that were under way when the program ended may or may not have arrived.
    fn doubt(&mut self) -> io::Result<()> {
        let under_way: Vec<(RowId, u64)> = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.event.outcome == Outcome::Attempted)
            .map(|(row, entry)| (row.clone(), entry.noted))
            .collect();
        let at = under_way.iter().filter_map(|(row, _)| self.entries.get(row)).map(|e| e.event.at).max();
        self.outcome(
            &under_way,
            Outcome::Uncertain,
            "",
            "the program ended before the answer",
            at.unwrap_or(0),
        )
    }

    fn apply(&mut self, line: Line) {
        self.lines += 1;
        match line {
            Line::Registry(key, Some(entry)) => {
                self.registry.insert(key, entry);
            }
            Line::Registry(key, None) => {
                self.registry.remove(&key);
            }
            Line::Content(event, content) => {
                self.sequence = self.sequence.max(event.sequence);
                self.unmirrored.push(event.clone());
                let entry =
                    Entry { noted: event.sequence, noted_at: event.at, content, event: event.clone() };
                if let Some(before) = self.entries.insert(event.row.clone(), entry) {
                    self.owed.remove(&(before.noted, event.row.clone()));
                }
                self.owed.insert((event.sequence, event.row));
            }
            Line::Event(event) => {
                self.sequence = self.sequence.max(event.sequence);
                self.unmirrored.push(event.clone());
                if let Some(entry) = self.entries.get_mut(&event.row) {
                    if matches!(event.outcome, Outcome::Delivered | Outcome::Refused) {
                        self.owed.remove(&(entry.noted, event.row.clone()));
                    }
                    entry.event = event;
                }
            }
            Line::Noted(pipeline, epoch) => {
                self.noted.insert(pipeline, epoch);
            }
        }
    }

    fn append(&mut self, lines: Vec<Line>) -> io::Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        let mut bytes = Vec::new();
        for line in &lines {
            write_line(&mut bytes, line)?;
        }
        let before = self.file.metadata()?.len();
        let written = self.file.write_all(&bytes).and_then(|()| self.file.sync_data());
        if let Err(error) = written.and_then(|()| self.must_be_newest()) {
            // What was not acknowledged must not be found by the next reader.
            let _ = self.file.set_len(before);
            return Err(error);
        }
        lines.into_iter().for_each(|line| self.apply(line));
        Ok(())
    }

    /// Asked after writing: another process claims its file before it reads this one, so that it finds what was written
    /// here, or its file is found.
    fn must_be_newest(&self) -> io::Result<()> {
        let newest = self.path.parent().map_or_else(|| Ok(Vec::new()), files)?.pop();
        match newest {
            Some((_, newest)) if newest != self.path => {
                let what = format!("{}: another process has opened this ledger", newest.display());
                Err(io::Error::new(io::ErrorKind::AlreadyExists, what))
            }
            _ => Ok(()),
        }
    }

    /// Notes rows that are owed from now on; rows whose content is what it was before are passed over. With them stands
    /// the epoch of a pipeline that they complete.
    ///
    /// # Errors
    /// When the rows could not be made durable; then none is owed.
    pub fn note(
        &mut self,
        rows: Vec<(RowId, Row)>,
        complete: Option<(&str, Epoch)>,
        at: Millis,
    ) -> io::Result<usize> {
        let mut newest: BTreeMap<RowId, (usize, Row)> = BTreeMap::new();
        for (place, (row, content)) in rows.into_iter().enumerate() {
            newest.insert(row, (place, content));
        }
        let mut changed: Vec<_> = newest
            .into_iter()
            .filter(|(row, (_, content))| self.entries.get(row).is_none_or(|entry| entry.content != *content))
            .collect();
        changed.sort_by_key(|(_, (place, _))| *place);
        let sequence = self.sequence;
        let lines = changed.into_iter().zip(sequence + 1..).map(|((row, (_, content)), sequence)| {
            let event = Event {
                sequence,
                row,
                attempt: 0,
                at,
                outcome: Outcome::Pending,
                code: Code::default(),
                detail: String::new(),
            };
            Line::Content(event, content)
        });
        let mut lines: Vec<Line> = lines.collect();
        let noted = lines.len();
        // Where nothing changed, noting it again changes nothing either.
        let complete = complete.filter(|_| noted > 0);
        lines.extend(complete.map(|(pipeline, epoch)| Line::Noted(pipeline.to_owned(), epoch)));
        self.append(lines)?;
        Ok(noted)
    }

    /// Up to which epoch everything of a pipeline is noted.
    #[must_use]
    pub fn noted(&self, pipeline: &str) -> Epoch {
        self.noted.get(pipeline).copied().unwrap_or_default()
    }

    /// Notes what became of rows, each with the [`Entry::noted`] of the content that was sent; rows that have other
    /// content by now are passed over, since the new content is still owed.
    ///
    /// # Errors
    /// When it could not be made durable; then nothing changed.
    pub fn outcome(
        &mut self,
        rows: &[(RowId, u64)],
        outcome: Outcome,
        code: &str,
        detail: &str,
        at: Millis,
    ) -> io::Result<()> {
        let mut sequence = self.sequence;
        let mut lines = Vec::new();
        for (row, noted) in rows {
            let Some(entry) = self.entries.get(row).filter(|entry| entry.noted == *noted) else { continue };
            sequence += 1;
            lines.push(Line::Event(Event {
                sequence,
                row: row.clone(),
                attempt: entry.event.attempt + u32::from(outcome == Outcome::Attempted),
                at,
                outcome,
                code: Code::from(code),
                detail: detail.to_owned(),
            }));
        }
        self.append(lines)
    }

    /// Notes what the registry says now.
    ///
    /// # Errors
    /// When it could not be made durable.
    pub fn know(&mut self, entries: &[(RegistryKey, Option<RegistryEntry>)]) -> io::Result<()> {
        let new = entries.iter().filter(|(key, entry)| self.registry.get(key) != entry.as_ref());
        let lines = new.map(|(key, entry)| Line::Registry(key.clone(), entry.clone())).collect();
        self.append(lines)
    }

    /// The registry as last noted.
    #[must_use]
    pub fn registry(&self) -> &BTreeMap<RegistryKey, RegistryEntry> {
        &self.registry
    }

    /// A row.
    #[must_use]
    pub fn entry(&self, row: &RowId) -> Option<&Entry> {
        self.entries.get(row)
    }

    /// The rows still owed, the oldest first.
    pub fn owed(&self) -> impl Iterator<Item = (&RowId, &Entry)> {
        self.owed.iter().filter_map(|(_, row)| Some((row, self.entries.get(row)?)))
    }

    /// How many rows are still owed.
    #[must_use]
    pub fn owed_count(&self) -> usize {
        self.owed.len()
    }

    /// How many rows stand where.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<&'static str, usize> {
        let mut counts = BTreeMap::new();
        for entry in self.entries.values() {
            *counts.entry(entry.event.outcome.name()).or_default() += 1;
        }
        counts
    }

    /// The events that the mirror has not got yet; they stay until [`Ledger::mirrored`].
    #[must_use]
    pub fn unmirrored(&self) -> &[Event] {
        &self.unmirrored
    }

    /// Forgets the given number of oldest events that waited for the mirror.
    pub fn mirrored(&mut self, events: usize) {
        self.unmirrored.drain(..events.min(self.unmirrored.len()));
    }

    /// Rewrites the file without what is settled and older than `before`, when that at least halves it.
    ///
    /// # Errors
    /// When the new file cannot be written; the old one then stays.
    pub fn compact(&mut self, before: Millis) -> io::Result<bool> {
        self.must_be_newest()?;
        let settled = |entry: &Entry| {
            matches!(entry.event.outcome, Outcome::Delivered | Outcome::Refused) && entry.event.at < before
        };
        let kept = self.entries.values().filter(|entry| !settled(entry)).count() * 2 + self.registry.len();
        if self.lines == 0 || (kept as u64) * 2 > self.lines || !self.unmirrored.is_empty() {
            return Ok(false);
        }
        self.entries.retain(|_, entry| !settled(entry));
        let mut bytes = Vec::new();
        let mut lines = 0;
        for (key, entry) in &self.registry {
            write_line(&mut bytes, &Line::Registry(key.clone(), Some(entry.clone())))?;
            lines += 1;
        }
        let mut entries: Vec<&Entry> = self.entries.values().collect();
        entries.sort_by_key(|entry| entry.noted);
        for entry in entries {
            let mut noted = entry.event.clone();
            (noted.sequence, noted.at) = (entry.noted, entry.noted_at);
            write_line(&mut bytes, &Line::Content(noted, entry.content.clone()))?;
            write_line(&mut bytes, &Line::Event(entry.event.clone()))?;
            lines += 2;
        }
        for (pipeline, epoch) in &self.noted {
            write_line(&mut bytes, &Line::Noted(pipeline.clone(), *epoch))?;
            lines += 1;
        }
        self.replace(&bytes)?;
        self.lines = lines;
        Ok(true)
    }
}

/// Whether what failed did so because another process has opened the ledger.
#[must_use]
pub fn is_replaced(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AlreadyExists
}

/// The ledgers of a directory by number.
fn files(directory: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    numbered::files(directory, "ledger", ".log")
}
