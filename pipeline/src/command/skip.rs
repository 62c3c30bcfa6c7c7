//! `skip`: passes over one record of an input topic for good.

use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use rdkafka::{TopicPartitionList, consumer::Consumer};

use crate::{
    config::Config,
    kafka::{INPUTS, consumer},
    skips::{self, RecordPlace, Skip},
};

const ANSWER_WITHIN: Duration = Duration::from_secs(15);

/// Which record, and why.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Where it lies: TOPIC/PARTITION/OFFSET.
    record: RecordPlace,
    /// Why it is passed over; stands in its reject.
    #[arg(long)]
    reason: String,
}

/// Writes the record to the list of the state directory, unless there is nothing to skip.
///
/// # Errors
/// When the record is not one of an input topic, is not there, or was delivered already.
pub fn run(config: &Config, arguments: &Arguments) -> anyhow::Result<()> {
    let Arguments { record, reason } = arguments;
    if reason.trim().is_empty() {
        bail!("--reason is empty: say why, it stands in the reject");
    }
    let inputs: Vec<String> = INPUTS.iter().map(|topic| config.kafka.topic(*topic)).collect();
    if !inputs.contains(&record.topic) {
        bail!("{} is no input of this pipeline: its inputs are {}", record.topic, inputs.join(", "));
    }
    check_place(config, record)?;
    let at = jiff::Timestamp::now().as_millisecond();
    let path =
        skips::add(&config.pipeline.state, &Skip { place: record.clone(), reason: reason.clone(), at })?;
    let path = path.display();
    tracing::info!(%record, %path, "the record will be passed over: stop the pipeline and start it again");
    Ok(())
}

/// The record must be there, and some sink must still wait for it: what was delivered cannot be taken back.
fn check_place(config: &Config, record: &RecordPlace) -> anyhow::Result<()> {
    let RecordPlace { topic, partition, offset } = record;
    let consumer = consumer(&config.kafka, &config.pipeline.name)?;
    let marks = consumer.fetch_watermarks(topic, *partition, ANSWER_WITHIN);
    let (first, end) = marks.with_context(|| format!("{topic}/{partition} cannot be asked"))?;
    if !(first..end).contains(offset) {
        bail!("{record} is not there: {topic}/{partition} holds {first} to {}", end - 1);
    }
    let mut place = TopicPartitionList::new();
    place.add_partition(topic, *partition);
    let committed =
        consumer.committed_offsets(place, ANSWER_WITHIN).context("asking for delivered offsets")?;
    let delivered = committed.elements().first().and_then(|place| place.offset().to_raw()).unwrap_or(-1);
    if *offset < delivered {
        bail!(
            "{record} was delivered to every sink already (up to {}): there is nothing to skip",
            delivered - 1
        );
    }
    Ok(())
}
