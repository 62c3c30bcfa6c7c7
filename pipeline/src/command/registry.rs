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
    printable::{printable, printable_bytes},
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
    let present = Present::read(&config.kafka, &codec)?;
    for unreadable in &present.unreadable {
        tracing::warn!("{unreadable}");
    }
    match command {
        Command::Load { directory, prune } => {
            let changes = present.changes(&read_files(&directory)?, prune);
            runtime.block_on(publish(config, codec, changes))
        }
        Command::Diff { directory } => show(&present, &read_files(&directory)?),
        Command::Export { directory } => {
            registry_files::write(&directory, &present.registry)?;
            let (entries, left_out) = (present.registry.entries.len(), present.unreadable.len());
            tracing::info!(entries, left_out, directory = %directory.display(), "exported");
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

impl Present {
    /// What has to be published so that the topic says what the files say. Records that are not readable are replaced, or
    /// removed with what else the files do not hold.
    fn changes(&self, wanted: &Registry, prune: bool) -> Vec<(RegistryKey, Option<RegistryEntry>)> {
        let differences = registry_files::diff(&self.registry, wanted).into_iter();
        let unreadable = self.unreadable.iter().filter_map(|unreadable| unreadable.key.clone());
        let gone = unreadable.filter(|key| !wanted.entries.contains_key(key)).map(|key| (key, None));
        differences
            .map(|difference| (difference.key, difference.after))
            .chain(gone)
            .filter(|(_, after)| prune || after.is_some())
            .collect()
    }
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

fn show(present: &Present, wanted: &Registry) -> anyhow::Result<()> {
    let mut out = stdout().lock();
    let differences = registry_files::diff(&present.registry, wanted);
    for Difference { key, before, after } in &differences {
        let sign = match (before, after) {
            (None, _) => '+',
            (_, None) => '-',
            _ => '~',
        };
        writeln!(out, "{sign} {}", printable(&key.0))?;
        for (mark, entry) in [('-', before), ('+', after)] {
            if let Some(entry) = entry {
                writeln!(out, "    {mark} {}", printable(&serde_json::to_string(entry)?))?;
            }
        }
    }
    for unreadable in &present.unreadable {
        writeln!(out, "! {}", printable(&unreadable.to_string()))?;
    }
    writeln!(
        out,
        "{} entries differ, {} records are not readable",
        differences.len(),
        present.unreadable.len()
    )?;
    Ok(())
}

/// What the registry's topic holds now.
#[derive(Debug, Default)]
struct Present {
    registry: Registry,
    /// What of it cannot be used; nothing of the registry stands under these keys.
    unreadable: Vec<Unreadable>,
}

/// A record of the topic that is no registry entry.
#[derive(Debug)]
struct Unreadable {
    /// Where it lies: topic/partition/offset.
    place: String,
    /// Its key, as it may be printed.
    shown: String,
    /// Its key; `None` when it is no text, so that no file can hold it.
    key: Option<RegistryKey>,
    why: String,
}

impl std::fmt::Display for Unreadable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Unreadable { place, shown, key, why } = self;
        let advice = match key {
            Some(_) => {
                "`nuanliu registry load` replaces it when the files hold its key, and with --prune removes it when not"
            }
            None => "write a record without value under this key with Kafka's own tools",
        };
        write!(f, "registry record {place} with key `{shown}` is passed over: {why}; {advice}")
    }
}

impl Present {
    /// Reads the topic to its end.
    ///
    /// # Errors
    /// When that is not possible.
    fn read(settings: &KafkaSettings, codec: &Codec) -> anyhow::Result<Present> {
        let topic = settings.topic(Topic::Registry);
        let consumer = kafka::consumer(settings, "nuanliu-registry")?;
        let mut unread = assign_all(&consumer, &topic)?;
        let mut records = BTreeMap::new();
        let mut moved = Instant::now();
        while unread > 0 {
            match consumer.poll(Duration::from_millis(100)) {
                Some(Ok(message)) => {
                    moved = Instant::now();
                    let place = format!("{topic}/{}/{}", message.partition(), message.offset());
                    apply(&mut records, message.key().unwrap_or_default(), message.payload(), place, codec);
                }
                Some(Err(KafkaError::PartitionEOF(_))) => unread -= 1,
                Some(Err(error)) => tracing::warn!(%error, "reading {topic}"),
                None if moved.elapsed() > SILENCE => {
                    bail!("{topic} cannot be read to its end: are the brokers there?")
                }
                None => {}
            }
        }
        Ok(Present::of(records))
    }

    fn of(records: Records) -> Present {
        let mut present = Present::default();
        for record in records.into_values() {
            match record {
                Ok(entry) => drop(present.registry.entries.insert(entry.key(), entry)),
                Err(unreadable) => present.unreadable.push(unreadable),
            }
        }
        present
    }
}

/// The last record of every key.
type Records = BTreeMap<Vec<u8>, Result<RegistryEntry, Unreadable>>;

/// Takes in one record; without a value it removes what stands under its key.
fn apply(records: &mut Records, key: &[u8], value: Option<&[u8]>, place: String, codec: &Codec) {
    let Some(value) = value else { return drop(records.remove(key)) };
    let text = std::str::from_utf8(key).ok().filter(|text| !text.is_empty());
    let entry = match codec.decode::<RegistryEntry>(value) {
        Ok(entry) if text == Some(entry.key().0.as_str()) => Ok(entry),
        Ok(entry) => Err(format!("it holds {}, which is not its key", entry.key().0)),
        Err(error) => Err(error.to_string()),
    };
    let record = entry.map_err(|why| Unreadable {
        place,
        shown: printable_bytes(key),
        key: text.map(|text| RegistryKey(text.into())),
        why,
    });
    records.insert(key.to_vec(), record);
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

#[cfg(test)]
mod tests {
    use schemas::{District, Enterprise};

    use super::*;

    fn district(code: &str, name: &str) -> RegistryEntry {
        RegistryEntry::District(District { code: code.into(), name: name.to_owned(), parent: None })
    }

    fn present(records: &[(&[u8], Option<Vec<u8>>)]) -> Present {
        let mut read = Records::new();
        for (offset, (key, value)) in records.iter().enumerate() {
            apply(&mut read, key, value.as_deref(), format!("r/0/{offset}"), &Codec::single_object());
        }
        Present::of(read)
    }

    fn encoded(entry: &RegistryEntry) -> Option<Vec<u8>> {
        Some(Codec::single_object().encode(entry).unwrap())
    }

    #[test]
    fn an_unreadable_record_is_told_passed_over_and_replaced_or_removed() {
        let (one, two) = (district("1", "一"), district("2", "二"));
        let enterprise = RegistryEntry::Enterprise(Enterprise { code: "E".into(), name: "e".to_owned() });
        let garbage = || Some(b"garbage\x1b[2J".to_vec());
        let present = present(&[
            (b"district/1", garbage()),
            (b"district/1", encoded(&one)),
            (b"district/2", encoded(&two)),
            (b"district/2", garbage()),
            (b"district/3", garbage()),
            (b"district/4", garbage()),
            (b"district/4", None),
            (b"district/5", encoded(&enterprise)),
            (b"bad\xff\x1b", garbage()),
        ]);
        assert_eq!(
            present.registry.entries.keys().map(|key| key.0.as_str()).collect::<Vec<_>>(),
            ["district/1"]
        );
        let told: Vec<String> = present.unreadable.iter().map(ToString::to_string).collect();
        assert_eq!(told.len(), 4, "{told:?}");
        assert!(
            told[0].starts_with("registry record r/0/8 with key `bad\\xff\\u{1b}` is passed over: "),
            "{told:?}"
        );
        assert!(told[0].ends_with("with Kafka's own tools"), "{told:?}");
        assert!(
            told[1].starts_with("registry record r/0/3 with key `district/2` is passed over: "),
            "{told:?}"
        );
        assert!(told[1].ends_with("and with --prune removes it when not"), "{told:?}");
        assert!(told[3].contains("it holds enterprise/E, which is not its key"), "{told:?}");

        let wanted = Registry {
            entries: [&one, &two].map(|entry| (entry.key(), entry.clone())).into_iter().collect(),
            warnings: Vec::new(),
        };
        let published = |prune| {
            let changes = present.changes(&wanted, prune);
            changes.into_iter().map(|(key, entry)| (key.0.to_string(), entry.is_some())).collect::<Vec<_>>()
        };
        assert_eq!(published(false), [("district/2".to_owned(), true)]);
        let removed = |code: &str| (format!("district/{code}"), false);
        assert_eq!(published(true), [("district/2".to_owned(), true), removed("3"), removed("5")]);
    }
}
