//! The tables: numbered SQL files, applied once and in order.
//!
//! Enters: the files of `deploy/clickhouse` (built into the binary) and what `schema_migrations` says was applied.
//! Leaves: the missing ones, applied. Guarantees: idempotent; a file that changed after it was applied is an error.

use clickhouse::{Client, Row};
use serde::Deserialize;

use super::{Settings, answer, stop};
use crate::Error;

/// A numbered file.
#[derive(Clone, Copy, Debug)]
struct Migration {
    /// Without its extension, such as `001_readings`.
    name: &'static str,
    sql: &'static str,
}

impl Migration {
    /// The number with which the name begins; 0 when it has none.
    fn number(&self) -> u32 {
        self.name.split('_').next().and_then(|number| number.parse().ok()).unwrap_or_default()
    }
}

/// All files, in the order of their names.
const MIGRATIONS: &[Migration] = include!(concat!(env!("OUT_DIR"), "/migrations.rs"));

/// Where the numbers of the applied files are kept.
const BOOKKEEPING: &str = "CREATE TABLE IF NOT EXISTS {database}.schema_migrations {cluster} \
    (version UInt32, name String, checksum String, applied_at DateTime64(3, 'UTC') DEFAULT now64(3)) \
    ENGINE = {replacing}(applied_at) ORDER BY version";

/// One file, and what [`migrate`] did with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Its name, such as `001_readings`.
    pub name: &'static str,
    /// True when it was applied now, false when it had been applied before.
    pub now: bool,
}

#[derive(Row, Deserialize)]
struct Recorded {
    version: u32,
    checksum: String,
}

/// Creates the database and brings its tables up to date; `progress` hears of every file after it is done.
///
/// # Errors
/// [`Error::Stop`] when a file changed after it was applied, when the database is newer than this program, or when
/// the server refuses a statement; [`Error::Retry`] when it does not answer.
pub async fn migrate(settings: &Settings, mut progress: impl FnMut(&Applied)) -> Result<Vec<Applied>, Error> {
    let client = settings.client()?;
    execute(&client, "database", &fill("CREATE DATABASE IF NOT EXISTS {database} {cluster}", settings))
        .await?;
    execute(&client, "schema_migrations", &fill(BOOKKEEPING, settings)).await?;
    let recorded = recorded(&client, settings).await?;
    let missing = plan(&recorded)?;
    let mut applied = Vec::new();
    for migration in MIGRATIONS {
        let now = missing.contains(&migration.number());
        if now {
            for statement in statements(migration.sql) {
                execute(&client, migration.name, &fill(&statement, settings)).await?;
            }
            record(&client, settings, migration).await?;
        }
        applied.push(Applied { name: migration.name, now });
        applied.last().into_iter().for_each(&mut progress);
    }
    Ok(applied)
}

/// The numbers of the files that are still to be applied.
fn plan(recorded: &[Recorded]) -> Result<Vec<u32>, Error> {
    for row in recorded {
        let Some(known) = MIGRATIONS.iter().find(|migration| migration.number() == row.version) else {
            return Err(stop(format!(
                "the database holds migration {}, which this program does not know: upgrade the program",
                row.version
            )));
        };
        if checksum(known.sql) != row.checksum {
            return Err(stop(format!(
                "migration {} changed after it was applied: restore the file and put the change into a new one",
                known.name
            )));
        }
    }
    let known = |number: u32| recorded.iter().any(|row| row.version == number);
    Ok(MIGRATIONS.iter().map(Migration::number).filter(|number| !known(*number)).collect())
}

async fn recorded(client: &Client, settings: &Settings) -> Result<Vec<Recorded>, Error> {
    client
        .query(&fill(
            "SELECT version, checksum FROM {database}.schema_migrations FINAL ORDER BY version",
            settings,
        ))
        .fetch_all()
        .await
        .map_err(|error| answer::classify("schema_migrations", &error))
}

async fn record(client: &Client, settings: &Settings, migration: &Migration) -> Result<(), Error> {
    // All three values are our own constants, so nothing needs escaping.
    let statement = format!(
        "INSERT INTO {{database}}.schema_migrations (version, name, checksum) VALUES ({}, '{}', '{}')",
        migration.number(),
        migration.name,
        checksum(migration.sql)
    );
    execute(client, migration.name, &fill(&statement, settings)).await
}

async fn execute(client: &Client, object: &str, statement: &str) -> Result<(), Error> {
    // `?` and `{}` in a statement are not parameters.
    client.query_raw(statement).execute().await.map_err(|error| answer::classify(object, &error))
}

/// The statements of a file, without comments.
fn statements(sql: &str) -> Vec<String> {
    let lines = sql.lines().filter(|line| !line.trim_start().starts_with("--"));
    let text = lines.collect::<Vec<_>>().join("\n");
    text.split(";\n")
        .map(|statement| statement.trim().trim_end_matches(';').to_owned())
        .filter(|statement| !statement.is_empty())
        .collect()
}

/// Fills in what differs between a single server and a cluster.
fn fill(statement: &str, settings: &Settings) -> String {
    let clustered = settings.cluster.is_some();
    let cluster = settings.cluster.as_ref().map_or_else(String::new, |name| format!("ON CLUSTER {name}"));
    let (replacing, deduplication) = if clustered {
        (
            "ReplicatedReplacingMergeTree",
            "replicated_deduplication_window = 10000, replicated_deduplication_window_seconds = 604800",
        )
    } else {
        ("ReplacingMergeTree", "non_replicated_deduplication_window = 10000")
    };
    statement
        .replace("{database}", &settings.database)
        .replace("{cluster}", &cluster)
        .replace("{replacing}", replacing)
        .replace("{deduplication}", deduplication)
        .replace("{retention_years}", &settings.retention_years.to_string())
}

/// A checksum of the file as it is written, before anything is filled in; blank ends of lines do not count.
fn checksum(sql: &str) -> String {
    let text = sql.lines().map(str::trim_end).collect::<Vec<_>>().join("\n");
    format!("{:08x}", crc32fast::hash(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::{self, exchange_ledger};

    fn recorded(version: u32, checksum: &str) -> Recorded {
        Recorded { version, checksum: checksum.to_owned() }
    }

    #[test]
    fn files_are_numbered_without_gaps() {
        for (place, migration) in MIGRATIONS.iter().enumerate() {
            let number = place as u32 + 1;
            assert_eq!(migration.number(), number);
            assert!(migration.name.starts_with(&format!("{number:03}_")), "{}", migration.name);
        }
    }

    #[test]
    fn every_table_has_a_file_that_creates_it() {
        let files: String = MIGRATIONS.iter().map(|migration| migration.sql).collect();
        for table in table::STORED.concat().into_iter().chain([exchange_ledger::NAME]) {
            assert!(files.contains(&format!("IF NOT EXISTS {{database}}.{table} ")), "{table}");
        }
    }

    #[rstest::rstest]
    #[case(None)]
    #[case(Some("city"))]
    fn no_placeholder_is_left(#[case] cluster: Option<&str>) {
        let settings = Settings { cluster: cluster.map(str::to_owned), ..Settings::at("http://x") };
        for migration in MIGRATIONS {
            for statement in statements(migration.sql) {
                let statement = fill(&statement, &settings);
                assert!(!statement.contains(['{', '}']), "{statement}");
                let alters = statement.starts_with("ALTER TABLE ");
                assert!(alters || statement.starts_with("CREATE "), "{statement}");
                assert_eq!(statement.contains("ON CLUSTER city"), cluster.is_some(), "{statement}");
                let replicated = statement.contains("Replicated") || statement.starts_with("CREATE VIEW");
                assert!(cluster.is_none() || replicated || alters, "{statement}");
            }
        }
    }

    #[test]
    fn only_missing_files_are_applied() {
        assert_eq!(plan(&[]).unwrap().len(), MIGRATIONS.len());
        let first = recorded(1, &checksum(MIGRATIONS[0].sql));
        assert_eq!(plan(&[first]).unwrap()[0], 2);
    }

    #[test]
    fn a_changed_file_is_an_error_with_advice() {
        let error = plan(&[recorded(1, "00000000")]).unwrap_err().to_string();
        assert!(error.contains("001_readings") && error.contains("new one"), "{error}");
    }

    #[test]
    fn a_newer_database_is_an_error_with_advice() {
        let error = plan(&[recorded(999, "00000000")]).unwrap_err().to_string();
        assert!(error.contains("upgrade"), "{error}");
    }
}
