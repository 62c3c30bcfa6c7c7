//! `rejects`: what could not be used, and why; and once more, when the cause is corrected.

use std::io::{Write, stdout};

use anyhow::Context;
use clap::{Args, Subcommand};
use clickhouse::query::Query;
use schemas::{Reason, RejectStage};
use sinks::clickhouse::ClickHouse;

use crate::config::Config;

mod redrive;
mod redrive_log;
mod reread;

/// What to do with rejects.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List rejects, newest first, or count them by reason.
    #[command(
        after_help = "Examples:\n  nuanliu rejects list --reason unknown_facility\n  nuanliu rejects list --count --open"
    )]
    List(List),
    /// Send rejects again, after the registry or the mapping was corrected. Each is taken at most once, however often
    /// this is run; one that still cannot be used stays as it is.
    #[command(
        after_help = "Examples:\n  nuanliu rejects redrive --reason unknown_facility --dry-run\n  nuanliu rejects redrive --reason unknown_facility\n  nuanliu rejects redrive --origin mqtt:v1/gateway --since 2025-01-15T00:00:00+08:00"
    )]
    Redrive(redrive::Arguments),
}

/// Which rejects.
#[derive(Clone, Debug, Args)]
pub struct Filter {
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
    /// Only what was turned away here: connector, dataflow or sink.
    #[arg(long, value_parser = stage)]
    stage: Option<RejectStage>,
}

/// Which rejects to list.
#[derive(Debug, Args)]
pub struct List {
    #[command(flatten)]
    filter: Filter,
    /// Leave out what was redriven and taken.
    #[arg(long)]
    open: bool,
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

fn stage(name: &str) -> Result<RejectStage, String> {
    let stages = [RejectStage::Connector, RejectStage::Dataflow, RejectStage::Sink];
    let found = stages.into_iter().find(|stage| stage_name(*stage) == name);
    found.ok_or_else(|| "no such stage; known are connector, dataflow, sink".to_owned())
}

fn stage_name(stage: RejectStage) -> &'static str {
    match stage {
        RejectStage::Connector => "connector",
        RejectStage::Dataflow => "dataflow",
        RejectStage::Sink => "sink",
    }
}

/// Whether a row of `rejects` was redriven.
const REDRIVEN: &str =
    "(at, reason, origin, epoch, row) IN (SELECT at, reason, origin, epoch, row FROM rejects_redriven)";

impl Filter {
    /// The condition in SQL.
    fn condition(&self) -> String {
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
        if self.stage.is_some() {
            conditions.push("stage = {stage:String}");
        }
        conditions.join(" AND ")
    }

    /// A query with the condition's values.
    fn query(&self, client: &clickhouse::Client, sql: &str) -> Query {
        let mut query = client.query(sql);
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
        if let Some(stage) = self.stage {
            query = query.param("stage", stage_name(stage));
        }
        query
    }
}

/// Runs it.
///
/// # Errors
/// When the store or the brokers do not answer.
pub fn run(config: &Config, command: Command) -> anyhow::Result<()> {
    super::runtime()?.block_on(async {
        match command {
            Command::List(list) => {
                let sink = ClickHouse::new(&config.clickhouse)?;
                let text = list.answer(sink.client()).await.context("asking the store for rejects")?;
                stdout().write_all(text.as_bytes())?;
                Ok(())
            }
            Command::Redrive(arguments) => redrive::run(config, &arguments).await,
        }
    })
}

impl List {
    async fn answer(&self, client: &clickhouse::Client) -> anyhow::Result<String> {
        let condition = self.filter.condition();
        let open = if self.open { format!("AND NOT {REDRIVEN}") } else { String::new() };
        let sql = if self.count {
            format!(
                "SELECT reason, count() AS records, sum(readings) AS readings, countIf({REDRIVEN}) AS redriven, \
                 records - redriven AS open, min(at) AS first, max(at) AS last \
                 FROM rejects FINAL WHERE {condition} {open} GROUP BY reason ORDER BY records DESC, reason"
            )
        } else {
            format!(
                "SELECT at, reason, origin, detail, substring(raw, 1, 200) AS raw, \
                 if({REDRIVEN}, 'redriven', '') AS state FROM rejects FINAL \
                 WHERE {condition} {open} ORDER BY at DESC, origin LIMIT {}",
                self.limit
            )
        };
        super::table::of(self.filter.query(client, &sql)).await
    }
}
