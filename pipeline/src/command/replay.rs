//! `replay`: recorded CSV files, through a mapping, onto Kafka.

use std::{path::PathBuf, sync::Arc};

use clap::Args;
use connectors::{
    publish::{Limits, Publisher},
    replay::{self, Mapping},
};

use crate::config::Config;

/// What to replay.
#[derive(Debug, Args)]
pub struct Arguments {
    /// CSV files, plain or gzip; several are merged by time.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// The mapping from columns to metrics.
    #[arg(long, short)]
    mapping: PathBuf,
    #[command(flatten)]
    pace: super::Pace,
}

/// Replays and says what was sent.
///
/// # Errors
/// When a file does not fit the mapping, or Kafka refuses.
pub fn run(config: &Config, arguments: &Arguments) -> anyhow::Result<()> {
    let mapping = Mapping::read(&arguments.mapping)?;
    super::runtime()?.block_on(async {
        let codec = connectors::publish::codec(&config.kafka).await?;
        let publisher = Publisher::connect(&config.kafka, Arc::new(codec), Limits::default())?;
        let sent = replay::run(&arguments.files, &mapping, publisher, arguments.pace.pace(), true).await?;
        tracing::info!(
            rows = sent.rows,
            reports = sent.reports,
            readings = sent.readings,
            rejects = sent.rejects,
            "replayed"
        );
        Ok(())
    })
}
