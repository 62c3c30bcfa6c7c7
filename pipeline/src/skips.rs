//! Records that an operator has passed over (`nuanliu skip`): the last resort against one that holds up the rest.
//!
//! Enters and leaves: `skips.jsonl` in the state directory, one record a line, written and synced before the command
//! answers. Guarantees: a record that is skipped leaves as a reject with the reason and its bytes, in every replay too; the
//! list only grows, and is read when the dataflow starts.

use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    str::FromStr,
};

use schemas::Millis;
use serde::{Deserialize, Serialize};
use sinks::disk;

use crate::Error;

const FILE: &str = "skips.jsonl";

/// Where a record lies: `topic/partition/offset`, as in the origin of its reject.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RecordPlace {
    /// The topic, with its prefix.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
}

impl FromStr for RecordPlace {
    type Err = String;

    fn from_str(text: &str) -> Result<RecordPlace, String> {
        let text = text.strip_prefix("kafka:").unwrap_or(text);
        let place = || {
            let mut parts = text.rsplitn(3, '/');
            let offset = parts.next()?.parse().ok().filter(|offset| *offset >= 0)?;
            let partition = parts.next()?.parse().ok().filter(|partition| *partition >= 0)?;
            let topic = parts.next().filter(|topic| !topic.is_empty())?.to_owned();
            Some(RecordPlace { topic, partition, offset })
        };
        place().ok_or_else(|| "say TOPIC/PARTITION/OFFSET, such as heating.reports/3/1042".to_owned())
    }
}

impl std::fmt::Display for RecordPlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}/{}", self.topic, self.partition, self.offset)
    }
}

/// One line of the list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Skip {
    /// Which record.
    #[serde(flatten)]
    pub place: RecordPlace,
    /// Why it is passed over.
    pub reason: String,
    /// When that was said, wall time.
    pub at: Millis,
}

/// The records that are passed over.
#[derive(Debug, Default)]
pub struct Skips(BTreeMap<RecordPlace, String>);

impl Skips {
    /// Reads the list of a state directory; there is none until something was skipped.
    ///
    /// # Errors
    /// [`Error::State`] when the file is there and cannot be read.
    pub fn read(state: &Path) -> Result<Skips, Error> {
        let path = state.join(FILE);
        let failed = |error| Error::State { path: path.clone(), error };
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Skips::default()),
            read => read.map_err(failed)?,
        };
        let mut skips = BTreeMap::new();
        for (line, number) in text.lines().zip(1..) {
            let wrong =
                |error| failed(io::Error::other(format!("line {number} is no skipped record: {error}")));
            let skip: Skip = serde_json::from_str(line).map_err(wrong)?;
            skips.insert(skip.place, skip.reason);
        }
        Ok(Skips(skips))
    }

    /// Why a record is passed over, if it is.
    #[must_use]
    pub fn reason(&self, topic: &str, partition: i32, offset: i64) -> Option<&str> {
        if self.0.is_empty() {
            return None;
        }
        let place = RecordPlace { topic: topic.to_owned(), partition, offset };
        self.0.get(&place).map(String::as_str)
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

/// Adds a record to the list of a state directory, for the next start; gives the file.
///
/// # Errors
/// [`Error::State`] when the disk does not take it.
pub fn add(state: &Path, skip: &Skip) -> Result<PathBuf, Error> {
    let path = state.join(FILE);
    let write = || -> io::Result<()> {
        fs::create_dir_all(state)?;
        let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
        let mut line = serde_json::to_string(skip).map_err(io::Error::other)?;
        line.push('\n');
        file.write_all(line.as_bytes())?;
        file.sync_all()?;
        // The name of a new file is durable with its directory.
        disk::sync_parent(&path)
    };
    write().map(|()| path.clone()).map_err(|error| Error::State { path, error })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case("heating.reports/3/1042", Some(("heating.reports", 3, 1042)))]
    #[case("kafka:heating.reports/0/0", Some(("heating.reports", 0, 0)))]
    #[case("heating.reports/3", None)]
    #[case("/3/4", None)]
    #[case("heating.reports/-1/4", None)]
    #[case("heating.reports/1/x", None)]
    fn places(#[case] text: &str, #[case] want: Option<(&str, i32, i64)>) {
        let place = text.parse::<RecordPlace>().ok();
        assert_eq!(place.as_ref().map(|p| (p.topic.as_str(), p.partition, p.offset)), want);
    }

    #[test]
    fn what_was_added_is_skipped_after_a_restart() {
        let state = tempfile::tempdir().unwrap();
        assert!(Skips::read(state.path()).unwrap().is_empty());
        for offset in [7, 9] {
            let place = RecordPlace { topic: "heating.reports".to_owned(), partition: 2, offset };
            add(state.path(), &Skip { place, reason: format!("\"{offset}\"\n"), at: 5 }).unwrap();
        }
        let skips = Skips::read(state.path()).unwrap();
        assert_eq!(skips.len(), 2);
        assert_eq!(skips.reason("heating.reports", 2, 9), Some("\"9\"\n"));
        assert_eq!(skips.reason("heating.reports", 2, 8), None);
    }

    #[test]
    fn a_list_that_is_damaged_is_refused_with_its_line() {
        let state = tempfile::tempdir().unwrap();
        fs::write(state.path().join(FILE), "{}\n").unwrap();
        let error = Skips::read(state.path()).unwrap_err().to_string();
        assert!(error.contains("skips.jsonl") && error.contains("line 1"), "{error}");
    }
}
