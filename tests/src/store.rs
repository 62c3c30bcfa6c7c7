//! Eyes on a database.

use clickhouse::Client;
use sinks::clickhouse::Settings;

/// A database that is only read.
pub struct Store(Client);

impl Store {
    /// The database that settings name.
    pub fn at(settings: &Settings) -> Store {
        Store(settings.client().unwrap().with_database(&settings.database))
    }

    /// Rows of a query, as columns of text.
    pub async fn query(&self, sql: &str) -> Vec<Vec<String>> {
        let answer = async { self.0.query_raw(sql).fetch_bytes("TSV")?.collect().await };
        let text = answer.await.unwrap_or_else(|error: clickhouse::error::Error| panic!("{sql}: {error}"));
        let text = String::from_utf8_lossy(&text).into_owned();
        text.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect()
    }

    /// One number of a query.
    pub async fn number(&self, sql: &str) -> f64 {
        let rows = self.query(sql).await;
        rows.first()
            .and_then(|row| row[0].parse().ok())
            .unwrap_or_else(|| panic!("{sql}: no number but {rows:?}"))
    }
}
