//! `rejects`: what could not be used, and why.

use std::io::{Write, stdout};

use anyhow::Context;
use clap::{Args, Subcommand};
use schemas::Reason;
use sinks::clickhouse::ClickHouse;

use crate::config::Config;

/// What to do with rejects.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List rejects, newest first, or count them by reason.
    #[command(
        after_help = "Examples:\n  nuanliu rejects list --reason unknown_facility\n  nuanliu rejects list --count"
    )]
    List(List),
}

/// Which rejects to list.
#[derive(Debug, Args)]
pub struct List {
    /// Only this reason.
    #[arg(long, value_parser = reason)]
    reason: Option<Reason>,
    /// Only origins that begin with this, such as `http:` or `kafka:heating.reports/3/`.
    #[arg(long)]
    origin: Option<String>,
    /// Only from this time on (RFC 3339).
    #[arg(long)]
    since: Option<jiff::Timestamp>,
    /// Only before this time (RFC 3339).
    #[arg(long)]
    until: Option<jiff::Timestamp>,
    /// At most so many.
    #[arg(long, default_value_t = 50)]
    limit: u64,
    /// Count by reason instead.
    #[arg(long)]
    count: bool,
}

fn reason(name: &str) -> Result<Reason, String> {
    let known = || Reason::ALL.iter().map(|reason| reason.name()).collect::<Vec<_>>().join(", ");
    let found = Reason::ALL.iter().copied().find(|reason| reason.name() == name);
    found.ok_or_else(|| format!("no such reason; known are {}", known()))
}

/// Runs it.
///
/// # Errors
/// When the store does not answer.
pub fn run(config: &Config, command: Command) -> anyhow::Result<()> {
    let Command::List(list) = command;
    super::runtime()?.block_on(async {
        let sink = ClickHouse::new(&config.clickhouse)?;
        let text = list.query(sink.client()).await.context("asking the store for rejects")?;
        stdout().write_all(&text)?;
        Ok(())
    })
}

impl List {
    async fn query(&self, client: &clickhouse::Client) -> anyhow::Result<Vec<u8>> {
        let mut conditions = vec!["1"];
        if self.reason.is_some() {
            conditions.push("reason = {reason:String}");
        }
        if self.origin.is_some() {
            conditions.push("startsWith(origin, {origin:String})");
        }
        if self.since.is_some() {
            conditions.push("at >= fromUnixTimestamp64Milli({since:Int64})");
        }
        if self.until.is_some() {
            conditions.push("at < fromUnixTimestamp64Milli({until:Int64})");
        }
        let conditions = conditions.join(" AND ");
        let sql = if self.count {
            format!(
                "SELECT reason, count() AS records, sum(readings) AS readings, min(at) AS first, max(at) AS last \
                 FROM rejects FINAL WHERE {conditions} GROUP BY reason ORDER BY records DESC, reason"
            )
        } else {
            format!(
                "SELECT at, reason, origin, detail, substring(raw, 1, 200) AS raw FROM rejects FINAL \
                 WHERE {conditions} ORDER BY at DESC, origin LIMIT {}",
                self.limit
            )
        };
        let mut query = client.query(&sql);
        if let Some(reason) = self.reason {
            query = query.param("reason", reason.name());
        }
        if let Some(origin) = &self.origin {
            query = query.param("origin", origin);
        }
        for (name, at) in [("since", self.since), ("until", self.until)] {
            if let Some(at) = at {
                query = query.param(name, at.as_millisecond());
            }
        }
        Ok(query.fetch_bytes("PrettyCompactMonoBlock")?.collect().await?.to_vec())
    }
}
