//! `check`: everything that can be found out before running.

use std::{
    io::{Write, stdout},
    path::PathBuf,
    time::Duration,
};

use clap::Args;
use rdkafka::consumer::Consumer;
use schemas::{Error, registry_files};
use sinks::clickhouse::ClickHouse;

use crate::{
    config::{Config, Invalid},
    kafka,
};

/// What to check.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Do not ask the services.
    #[arg(long)]
    offline: bool,
    /// Also check a directory of registry files.
    #[arg(long, value_name = "DIRECTORY")]
    registry: Option<PathBuf>,
}

/// Checks; the configuration itself has been read already.
///
/// # Errors
/// [`Invalid`] with every problem found.
pub fn run(config: &Config, arguments: &Arguments) -> anyhow::Result<()> {
    let mut out = stdout().lock();
    let mut problems = Vec::new();
    writeln!(out, "configuration: ok")?;
    writeln!(out, "catalogues: ok ({})", config.catalogue.describe())?;
    if let Some(directory) = &arguments.registry {
        match registry_files::load(directory) {
            Ok(registry) => writeln!(out, "registry: ok ({} entries)", registry.entries.len())?,
            Err(Error::Registry(found)) => problems.extend(found),
            Err(error) => problems.push(error.to_string()),
        }
    }
    if !arguments.offline {
        for (service, answer) in [("kafka", check_kafka(config)), ("clickhouse", check_clickhouse(config))] {
            match answer {
                Ok(said) => writeln!(out, "{service}: ok ({said})")?,
                Err(error) => problems.push(format!("{service}: {error:#}")),
            }
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(Invalid(problems).into()) }
}

fn check_kafka(config: &Config) -> anyhow::Result<String> {
    let consumer = kafka::consumer(&config.kafka, "nuanliu-check")?;
    let metadata = consumer.fetch_metadata(None, Duration::from_secs(5))?;
    let marks = kafka::watermarks(&consumer, &config.kafka)?;
    Ok(format!("{} brokers, {} input partitions", metadata.brokers().len(), marks.len()))
}

fn check_clickhouse(config: &Config) -> anyhow::Result<String> {
    super::runtime()?.block_on(async {
        let sink = ClickHouse::new(&config.clickhouse)?;
        let version: String = sink.client().query("SELECT version()").fetch_one().await?;
        let applied: u64 =
            sink.client().query("SELECT count() FROM schema_migrations FINAL").fetch_one().await.map_err(
                |error| anyhow::anyhow!("the tables are not there ({error}): run `nuanliu migrate`"),
            )?;
        Ok(format!("version {version}, {applied} migrations applied"))
    })
}
