//! ClickHouse: readings, KPIs, alarms, quality, rejects and the registry, in columns.
//!
//! Enters: blocks. Leaves: one insert per table and block, each with its deduplication token.
//! Guarantees: acknowledged after the server has written the parts; an insert that is sent again is dropped by the
//! server (same token) or replaced when merged (same key and epoch).

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use clickhouse::{Client, Compression};
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::{sync::Semaphore, task::JoinSet};

mod answer;
mod compress;
pub mod migrate;
mod native;

pub use migrate::{Applied, migrate};
pub(crate) use native::{Insert, NativeBlock};

use crate::{
    Block, Error, Sink,
    attach::{Attach, Attached, Placement, Terms},
    disk::spool::{self, Spool},
    exchange::ledger::Event,
    failpoint,
    outbox::{self, Outbox, Store},
    runner::Status,
    table::{self, exchange_ledger},
};

const NAME: &str = "clickhouse";
/// Bytes that are sent at a time.
const CHUNK: usize = 1 << 20;

/// The `[clickhouse]` section: where the server is and how it is written to.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// `http://host:8123` or `https://host:8443`.
    pub url: String,
    /// Database; letters, digits and underscores.
    #[serde(default = "default_database")]
    pub database: String,
    /// User; the server's default user when absent.
    #[serde(default)]
    pub user: Option<String>,
    /// Password. Prefer `password_file` or `password_env`.
    #[serde(default)]
    pub password: Option<String>,
    /// File that holds the password; a trailing line break is ignored.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    /// Environment variable that holds the password.
    #[serde(default)]
    pub password_env: Option<String>,
    /// How long the server may take to accept a chunk, s.
    #[serde(default = "default_send_timeout")]
    pub send_timeout: u64,
    /// How long the server may take to answer, s.
    #[serde(default = "default_answer_timeout")]
    pub answer_timeout: u64,
    /// Inserts under way at the same time.
    #[serde(default = "default_in_flight")]
    pub in_flight: usize,
    /// Whether inserts are compressed with LZ4.
    #[serde(default = "default_compression")]
    pub compression: bool,
    /// Name of the cluster: tables are then created replicated, on all of it.
    #[serde(default)]
    pub cluster: Option<String>,
    /// Years that rows are kept after they were loaded: three seasons when absent.
    #[serde(default = "default_retention_years")]
    pub retention_years: u32,
    /// Whether blocks wait on disk while the server is away, so that alarms and checkpoints go on; otherwise everything
    /// waits for it.
    #[serde(default = "default_spool")]
    pub spool: bool,
    /// Bytes that may wait on disk; then everything waits.
    #[serde(default = "default_spool_bytes")]
    pub spool_bytes: u64,
    /// Further settings of every insert, such as `insert_quorum = "auto"`.
    #[serde(default)]
    pub insert_settings: BTreeMap<String, String>,
}

fn default_database() -> String {
    "nuanliu".to_owned()
}
fn default_send_timeout() -> u64 {
    10
}
fn default_answer_timeout() -> u64 {
    60
}
fn default_in_flight() -> usize {
    4
}
fn default_compression() -> bool {
    true
}
fn default_spool() -> bool {
    true
}
fn default_spool_bytes() -> u64 {
    20_000_000_000
}
fn default_retention_years() -> u32 {
    3
}

impl Settings {
    /// Settings for a server without password, everything else as by default.
    #[must_use]
    pub fn at(url: &str) -> Self {
        Settings {
            url: url.to_owned(),
            database: default_database(),
            user: None,
            password: None,
            password_file: None,
            password_env: None,
            send_timeout: default_send_timeout(),
            answer_timeout: default_answer_timeout(),
            in_flight: default_in_flight(),
            compression: default_compression(),
            cluster: None,
            retention_years: default_retention_years(),
            spool: default_spool(),
            spool_bytes: default_spool_bytes(),
            insert_settings: BTreeMap::new(),
        }
    }

    /// A client of the server, without a database.
    ///
    /// # Errors
    /// [`Error::Stop`] when the settings are wrong or the password cannot be read.
    pub fn client(&self) -> Result<Client, Error> {
        let problems = self.validate();
        if !problems.is_empty() {
            return Err(stop(problems.join("; ")));
        }
        let mut client = Client::default().with_url(&self.url).with_compression(Compression::None);
        if let Some(user) = &self.user {
            client = client.with_user(user);
        }
        if let Some(password) = self.read_password()? {
            client = client.with_password(password);
        }
        Ok(client)
    }

    fn read_password(&self) -> Result<Option<String>, Error> {
        if let Some(path) = &self.password_file {
            let text = std::fs::read_to_string(path)
                .map_err(|e| stop(format!("password_file {}: {e}", path.display())))?;
            return Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned()));
        }
        if let Some(name) = &self.password_env {
            let text =
                std::env::var(name).map_err(|e| stop(format!("password_env {name} is not usable: {e}")))?;
            return Ok(Some(text));
        }
        Ok(self.password.clone())
    }
}

fn stop(detail: String) -> Error {
    Error::Stop { sink: NAME, detail }
}

impl Attach for Settings {
    const NAME: &'static str = NAME;
    const TABLES: &'static [&'static str] = table::NAMES;
    const PLACEMENT: Placement = Placement::Each;

    fn validate(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if !(self.url.starts_with("http://") || self.url.starts_with("https://")) {
            problems.push(format!("url: {:?} does not begin with http:// or https://", self.url));
        }
        for (key, name) in [("database", Some(&self.database)), ("cluster", self.cluster.as_ref())] {
            if let Some(name) = name
                && (name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'))
            {
                problems.push(format!("{key}: {name:?} may hold only letters, digits and underscores"));
            }
        }
        let passwords = [self.password.is_some(), self.password_file.is_some(), self.password_env.is_some()];
        if passwords.into_iter().filter(|given| *given).count() > 1 {
            problems.push("password: give one of password, password_file and password_env".to_owned());
        }
        if self.in_flight == 0 {
            problems.push("in_flight: must be at least 1".to_owned());
        }
        if self.spool && self.spool_bytes == 0 {
            problems.push("spool_bytes: must be at least 1; `spool = false` turns it off".to_owned());
        }
        if self.retention_years == 0 {
            problems.push("retention_years: must be at least 1".to_owned());
        }
        problems
    }

    fn open(&self, terms: &Terms) -> Result<Attached, Error> {
        let place = match terms.process {
            0 => terms.state.join(spool::NAME),
            process => terms.state.join(format!("{}-{process}", spool::NAME)),
        };
        let (status, spool_status) = (Status::new(NAME), Status::new(spool::NAME));
        let statuses = vec![status.clone(), spool_status.clone()];
        let settings = outbox::Settings {
            spool: Spool::open(&place, self.spool_bytes, terms.stored)?,
            spooling: self.spool,
            status,
            spool_status,
            stop: terms.stopping.clone(),
            fail: Arc::clone(&terms.fail),
        };
        let outbox = Outbox::start(terms.store.clone(), settings, &terms.runtime)
            .map_err(|error| stop(format!("starting the thread of the spool: {error}")))?;
        Ok(Attached { inlet: Arc::new(outbox), statuses })
    }
}

/// The sink.
#[derive(Clone)]
pub struct ClickHouse {
    client: Client,
    compression: bool,
    in_flight: Arc<Semaphore>,
    send_timeout: Duration,
    answer_timeout: Duration,
}

impl ClickHouse {
    /// A sink for a server whose tables exist (see [`migrate()`]); does not connect yet.
    ///
    /// # Errors
    /// [`Error::Stop`] when the settings are wrong.
    pub fn new(settings: &Settings) -> Result<Self, Error> {
        let mut client = settings
            .client()?
            .with_database(&settings.database)
            .with_setting("async_insert", "0")
            .with_setting("insert_deduplicate", "1")
            .with_setting("wait_end_of_query", "1")
            // A replayed history may touch any number of months in one block.
            .with_setting("max_partitions_per_insert_block", "0");
        for (name, value) in &settings.insert_settings {
            client = client.with_setting(name, value);
        }
        Ok(ClickHouse {
            client,
            compression: settings.compression,
            in_flight: Arc::new(Semaphore::new(settings.in_flight)),
            send_timeout: Duration::from_secs(settings.send_timeout),
            answer_timeout: Duration::from_secs(settings.answer_timeout),
        })
    }

    /// The client, for queries.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Copies events of the exchange's delivery ledger to `exchange_ledger`; copying them again changes nothing.
    ///
    /// # Errors
    /// As [`Sink::write`].
    pub async fn write_ledger(&self, events: &[Event]) -> Result<(), Error> {
        match exchange_ledger::insert(events) {
            Some(columns) => self.send(&self.pack(columns)?).await,
            None => Ok(()),
        }
    }

    /// An insert as it will be sent.
    fn pack(&self, insert: Insert) -> Result<spool::Insert, Error> {
        let Insert { table, token, columns } = insert;
        let names = columns.names().iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        let rows = columns.rows() as u64;
        let body = columns.finish();
        let body = if self.compression { compress::frames(&body)? } else { body };
        Ok(spool::Insert {
            statement: format!("INSERT INTO {table} ({names}) FORMAT Native"),
            table: table.to_owned(),
            token,
            compressed: self.compression,
            rows,
            body: body.into(),
        })
    }
}

impl Store for ClickHouse {
    fn name(&self) -> &'static str {
        NAME
    }

    fn encode(&self, block: &Block) -> Result<Vec<spool::Insert>, Error> {
        block.inserts().into_iter().map(|insert| self.pack(insert)).collect()
    }

    async fn send(&self, insert: &spool::Insert) -> Result<(), Error> {
        // The semaphore is never closed.
        let _permit = self.in_flight.acquire().await;
        let mut request = self
            .client
            .insert_formatted_with(&insert.statement)
            .with_setting("insert_deduplication_token", &insert.token)
            .with_setting("decompress", if insert.compressed { "1" } else { "0" })
            .with_timeouts(Some(self.send_timeout), Some(self.answer_timeout));
        let mut bytes = insert.body.clone();
        failpoint::reached("clickhouse.before_insert");
        let send = async {
            while !bytes.is_empty() {
                request.send(bytes.split_to(CHUNK.min(bytes.len()))).await?;
            }
            failpoint::reached("clickhouse.before_end");
            request.end().await
        };
        send.await.map_err(|error| answer::classify(&insert.table, &error))?;
        failpoint::reached("clickhouse.after_insert");
        Ok(())
    }
}

impl Sink for ClickHouse {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn write(&self, blocks: Arc<Vec<Block>>) -> Result<(), Error> {
        let mut under_way = JoinSet::new();
        for block in blocks.iter() {
            for insert in self.encode(block)? {
                let sink = self.clone();
                under_way.spawn(async move { sink.send(&insert).await });
            }
        }
        let mut result = Ok(());
        while let Some(done) = under_way.join_next().await {
            let done = done.unwrap_or_else(|e| {
                Err(Error::Retry { sink: NAME, detail: format!("an insert was cut short: {e}") })
            });
            result = crate::graver(result, done);
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_checked_before_the_server_is_asked() {
        let wrong = Settings {
            url: "tcp://x".to_owned(),
            database: "a;b".to_owned(),
            password: Some("p".to_owned()),
            password_env: Some("P".to_owned()),
            in_flight: 0,
            ..Settings::at("")
        };
        let problems = wrong.validate();
        assert_eq!(problems.len(), 4, "{problems:?}");
        assert!(problems[0].starts_with("url: "));
        assert!(Settings::at("http://localhost:8123").validate().is_empty());
    }

    #[test]
    fn unknown_keys_are_refused() {
        let error =
            toml::from_str::<Settings>("url = \"http://x\"\npasword = \"y\"").unwrap_err().to_string();
        assert!(error.contains("pasword"), "{error}");
    }

    #[test]
    fn a_password_file_may_end_in_a_line_break() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "secret\n").unwrap();
        let settings = Settings { password_file: Some(file.path().to_owned()), ..Settings::at("http://x") };
        assert_eq!(settings.read_password().unwrap().as_deref(), Some("secret"));
    }
}
