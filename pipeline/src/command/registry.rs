//! `registry`: the registry between its files and its topic.

use std::{
    collections::BTreeMap,
    io::{Write, stdout},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use clap::Subcommand;
use connectors::publish::{Limits, Outgoing, Publisher};
use indicatif::ProgressBar;
use rdkafka::{
    Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
};
use schemas::{
    KafkaSettings, RegistryEntry, RegistryKey, Topic,
    avro::Codec,
    registry_files::{self, Difference, Registry},
};

use crate::{
    config::{Config, Invalid},
    kafka,
};

/// Records that are published at a time.
const BATCH: usize = 2_000;
/// Silence after which reading the topic is given up.
const SILENCE: Duration = Duration::from_secs(30);

/// What to do with the registry.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Check a directory of CSV files and publish what differs from the topic.
    #[command(after_help = "Example:\n  nuanliu registry load registry/ --prune")]
    Load {
        /// The directory.
        directory: PathBuf,
        /// Also remove what the files do not hold.
        #[arg(long)]
        prune: bool,
    },
    /// Show what `load` would change.
    #[command(after_help = "Example:\n  nuanliu registry diff registry/")]
    Diff {
        /// The directory.
        directory: PathBuf,
    },
    /// Write the registry on the topic as CSV files.
    #[command(after_help = "Example:\n  nuanliu registry export backup/")]
    Export {
        /// The directory; it must not hold registry files yet.
        directory: PathBuf,
    },
}

/// Runs it.
///
/// # Errors
/// When files or topic are not usable.
pub fn run(config: &Config, command: Command) -> anyhow::Result<()> {
    let runtime = super::runtime()?;
    let codec = runtime.block_on(connectors::publish::codec(&config.kafka))?;
    let present = read_topic(&config.kafka, &codec)?;
    match command {
        Command::Load { directory, prune } => {
            let changes = changes(&present, &read_files(&directory)?, prune);
            runtime.block_on(publish(config, codec, changes))
        }
        Command::Diff { directory } => show(&registry_files::diff(&present, &read_files(&directory)?)),
        Command::Export { directory } => {
            registry_files::write(&directory, &present)?;
            tracing::info!(entries = present.entries.len(), directory = %directory.display(), "exported");
            Ok(())
        }
    }
}

fn read_files(directory: &Path) -> anyhow::Result<Registry> {
    registry_files::load(directory).map_err(|error| match error {
        schemas::Error::Registry(problems) => Invalid(problems).into(),
        other => anyhow::Error::from(other),
    })
}

/// What has to be published so that the topic says what the files say.
fn changes(present: &Registry, wanted: &Registry, prune: bool) -> Vec<(RegistryKey, Option<RegistryEntry>)> {
    registry_files::diff(present, wanted)
        .into_iter()
        .filter(|difference| prune || difference.after.is_some())
        .map(|difference| (difference.key, difference.after))
        .collect()
}

/// Publishes registry changes with a progress bar.
///
/// # Errors
/// When the brokers do not take them.
pub async fn publish(
    config: &Config,
    codec: Codec,
    changes: Vec<(RegistryKey, Option<RegistryEntry>)>,
) -> anyhow::Result<()> {
    let publisher = Publisher::connect(&config.kafka, Arc::new(codec), Limits::default())?;
    let bar = ProgressBar::new(changes.len() as u64).with_message("registry");
    for batch in changes.chunks(BATCH) {
        let outgoing = batch
            .iter()
            .cloned()
            .map(|(key, entry)| Outgoing::RegistryEntry(key, entry.map(Box::new)))
            .collect();
        publisher.publish(outgoing).await.context("publishing the registry")?;
        bar.inc(batch.len() as u64);
    }
    bar.finish_and_clear();
    tracing::info!(changes = changes.len(), "the registry is loaded");
    Ok(())
}

fn show(differences: &[Difference]) -> anyhow::Result<()> {
    let mut out = stdout().lock();
    for Difference { key, before, after } in differences {
        let sign = match (before, after) {
            (None, _) => '+',
            (_, None) => '-',
            _ => '~',
        };
        writeln!(out, "{sign} {}", key.0)?;
        for (mark, entry) in [('-', before), ('+', after)] {
            if let Some(entry) = entry {
                writeln!(out, "    {mark} {}", serde_json::to_string(entry)?)?;
            }
        }
    }
    writeln!(out, "{} entries differ", differences.len())?;
    Ok(())
}

/// The registry as the topic holds it now.
///
/// # Errors
/// When the topic cannot be read to its end, or holds entries that are not readable.
pub fn read_topic(settings: &KafkaSettings, codec: &Codec) -> anyhow::Result<Registry> {
    let topic = settings.topic(Topic::Registry);
    let consumer = kafka::consumer(settings, "nuanliu-registry")?;
    let mut unread = assign_all(&consumer, &topic)?;
    let mut entries = BTreeMap::new();
    let mut moved = Instant::now();
    while unread > 0 {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => {
                moved = Instant::now();
                let key = RegistryKey(String::from_utf8_lossy(message.key().unwrap_or_default()).into());
                match message.payload() {
                    Some(bytes) => drop(entries.insert(key, codec.decode::<RegistryEntry>(bytes)?)),
                    None => drop(entries.remove(&key)),
                }
            }
            Some(Err(KafkaError::PartitionEOF(_))) => unread -= 1,
            Some(Err(error)) => tracing::warn!(%error, "reading {topic}"),
            None if moved.elapsed() > SILENCE => {
                bail!("{topic} cannot be read to its end: are the brokers there?")
            }
            None => {}
        }
    }
    Ok(Registry { entries, warnings: Vec::new() })
}

fn assign_all(consumer: &BaseConsumer, topic: &str) -> anyhow::Result<usize> {
    let metadata = consumer.fetch_metadata(Some(topic), SILENCE)?;
    let partitions = metadata.topics().first().map(|t| t.partitions()).unwrap_or_default();
    if partitions.is_empty() {
        bail!("topic {topic} does not exist: run `nuanliu migrate`");
    }
    let mut list = TopicPartitionList::new();
    for partition in partitions {
        list.add_partition_offset(topic, partition.id(), Offset::Beginning)?;
    }
    consumer.assign(&list)?;
    Ok(partitions.len())
}
