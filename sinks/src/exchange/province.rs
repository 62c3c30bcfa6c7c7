//! The province's side as a service: who may push, and a store that survives restarts.
//!
//! Enters: the `[receiver]` section. Leaves: the routes of [`super::receiver`] over a [`FileStore`]. Guarantees: a push is
//! answered with success only after its rows are on disk.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use axum::Router;
use schemars::JsonSchema;
use schemas::exchange::{ExchangeTable, Tables};
use serde::{Deserialize, Serialize};

use super::{
    NAME,
    ledger::Row,
    receiver::{MemoryStore, Receiver, Store, router},
    signing::{self, Convention},
};
use crate::Error;

/// The `[receiver]` section: whose pushes are taken, and where they are kept.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Directory of what was received; on a disk that survives restarts.
    pub state_directory: PathBuf,
    /// The signing convention of every city by its appID.
    pub apps: BTreeMap<String, signing::Settings>,
    /// How far a request's time may be from ours, s.
    #[serde(default = "default_tolerance")]
    pub tolerance: i64,
}

fn default_tolerance() -> i64 {
    300
}

/// The routes, over what was received before.
///
/// # Errors
/// [`Error::Stop`] when a convention is wrong or the directory is not usable.
pub fn open(settings: &Settings) -> Result<Router, Error> {
    let stop = |detail: String| Error::Stop { sink: NAME, detail };
    let mut apps = BTreeMap::new();
    for (app, signing) in &settings.apps {
        let convention = Convention::new(signing.clone())
            .map_err(|wrong| stop(format!("receiver.apps.{app}: {wrong}")))?;
        apps.insert(app.clone(), convention);
    }
    let directory = &settings.state_directory;
    let store = FileStore::open(directory)
        .map_err(|error| stop(format!("receiver.state_directory {}: {error}", directory.display())))?;
    let clock = Box::new(|| jiff::Timestamp::now().as_millisecond());
    Ok(router(Receiver { apps, tolerance: settings.tolerance, clock, tables: Tables::in_force(), store }))
}

/// Pushes as lines of a file, and their rows in memory for queries.
#[derive(Clone, Debug)]
pub struct FileStore {
    file: Arc<Mutex<File>>,
    rows: MemoryStore,
}

#[derive(Serialize, Deserialize)]
struct Line {
    table: String,
    rows: Vec<Row>,
}

impl FileStore {
    /// Opens the store and reads what it holds. A torn last line was never answered with success and is cut off.
    ///
    /// # Errors
    /// What the disk says, or that the file holds something else than pushes of the catalogue's tables.
    pub fn open(directory: &Path) -> io::Result<FileStore> {
        fs::create_dir_all(directory)?;
        let path = directory.join("received.jsonl");
        let text = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            read => read?,
        };
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let rows = MemoryStore::default();
        for (number, line) in
            text[..whole].split(|byte| *byte == b'\n').enumerate().filter(|(_, l)| !l.is_empty())
        {
            let unreadable =
                |what: String| io::Error::other(format!("{}:{}: {what}", path.display(), number + 1));
            let line: Line = serde_json::from_slice(line).map_err(|error| unreadable(error.to_string()))?;
            let table = Tables::in_force().named(&line.table);
            rows.put(table.ok_or_else(|| unreadable(format!("unknown table {}", line.table)))?, line.rows);
        }
        let file = OpenOptions::new().create(true).append(true).open(&path)?;
        file.set_len(whole as u64)?;
        Ok(FileStore { file: Arc::new(Mutex::new(file)), rows })
    }

    fn append(&self, table: &ExchangeTable, rows: &[Row]) -> io::Result<()> {
        let mut line = serde_json::to_vec(&Line { table: table.table.clone(), rows: rows.to_vec() })?;
        line.push(b'\n');
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let length = file.metadata()?.len();
        let written = file.write_all(&line).and_then(|()| file.sync_data());
        if written.is_err() {
            // Half a line would spoil the next one.
            file.set_len(length)?;
        }
        written
    }
}

impl Store for FileStore {
    async fn push(&self, table: &ExchangeTable, rows: Vec<Row>) -> Result<(), String> {
        let (store, table) = (self.clone(), table.clone());
        let stored = tokio::task::spawn_blocking(move || -> io::Result<()> {
            store.append(&table, &rows)?;
            store.rows.put(&table, rows);
            Ok(())
        });
        stored.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
    }

    async fn find(&self, table: &ExchangeTable, conditions: &[(String, String)]) -> Result<Vec<Row>, String> {
        self.rows.find(table, conditions).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn row(code: &str, name: &str) -> Row {
        let table = Tables::in_force().named("heat_station").unwrap();
        let mut row = Row::new();
        for key in &table.key {
            row.insert(key.clone(), json!(code));
        }
        row.insert("name".to_owned(), json!(name));
        row
    }

    #[tokio::test]
    async fn what_was_answered_survives_and_a_torn_line_does_not() {
        let directory = tempfile::tempdir().unwrap();
        let table = Tables::in_force().named("heat_station").unwrap();
        let store = FileStore::open(directory.path()).unwrap();
        store.push(table, vec![row("1", "old"), row("2", "two")]).await.unwrap();
        store.push(table, vec![row("1", "new")]).await.unwrap();
        drop(store);
        let path = directory.path().join("received.jsonl");
        let whole = fs::read(&path).unwrap();
        fs::write(&path, [&whole[..], b"{\"table\":\"heat_sta"].concat()).unwrap();
        let store = FileStore::open(directory.path()).unwrap();
        let names: Vec<_> = store.find(table, &[]).await.unwrap().iter().map(|r| r["name"].clone()).collect();
        assert_eq!(names, ["new", "two"]);
        assert_eq!(fs::read(&path).unwrap(), whole);
    }
}
