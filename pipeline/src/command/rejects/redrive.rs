//! `rejects redrive`: sends rejects again, as they came, and says what becomes of each.
//!
//! Enters: rejects of the store, the registry and the mapping of today. Leaves: records on the topics, as the connectors
//! would put them there, and notes. Guarantees: each reject is taken at most once; one that is refused again stays open.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{Write, stdout},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use clap::Args;
use clickhouse::{Client, Row};
use connectors::{Connect, KnownFacilities, Outgoing, http};
use indicatif::{ProgressBar, ProgressStyle};
use jiff::Timestamp;
use schemas::{Reason, avro::Codec, report, time};
use serde::Deserialize;
use sinks::clickhouse::ClickHouse;

use super::{
    Filter, REDRIVEN,
    redrive_log::{self, Key, RedriveLog},
    reread::{Reader, Rejected, Reread, SETTLED},
};
use crate::{config::Config, printable::printable};

/// Rejects in one transaction.
const BATCH: usize = 200;
/// How long the registry may take to be read.
const REGISTRY_WITHIN: Duration = Duration::from_secs(60);

/// Which rejects to send again.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    filter: Filter,
    /// At most so many, the oldest first.
    #[arg(long, default_value_t = 100_000)]
    limit: u64,
    /// Only say what would become of each.
    #[arg(long)]
    dry_run: bool,
}

/// A row of `rejects`.
#[derive(Row, Deserialize)]
struct Found {
    at_ms: i64,
    reason_name: String,
    origin: String,
    detail: String,
    raw_hex: String,
    stage_name: String,
    epoch: u64,
    row: u64,
}

#[derive(Row, Deserialize)]
struct Settled {
    name: String,
    records: u64,
}

/// How many went which way.
#[derive(Debug, Default)]
struct Counts {
    taken: usize,
    refused: usize,
    left_out: usize,
    before: usize,
}

/// Sends rejects again.
///
/// # Errors
/// When the store or the brokers do not answer; run it again then, nothing is sent twice.
pub async fn run(config: &Config, arguments: &Arguments) -> anyhow::Result<()> {
    let store = ClickHouse::new(&config.clickhouse)?;
    let client = store.client();
    let codec = connectors::publish::codec(&config.kafka).await?;
    let mut notes = RedriveLog::open(&config.kafka, codec.clone()).await?;
    notes.copy_missing(client).await?;
    let (known, _following) = KnownFacilities::follow(&config.kafka, Arc::new(codec.clone()))?;
    let found = arguments.find(client).await.context("asking the store for rejects")?;
    let settled = arguments.settled(client).await.context("asking the store for rejects")?;
    registry(&known).await?;
    let reader = reader(config, codec, known)?;

    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} rejects, {eta} left")?;
    let bar = ProgressBar::new(found.len() as u64).with_style(style);
    let mut counts = Counts::default();
    // Two readings of one record may have been turned away with the whole record.
    let mut sent = BTreeSet::new();
    for batch in found.chunks(BATCH) {
        let mut taken = Vec::new();
        for found in batch {
            let line = found.again(&reader, &notes, &mut sent, &mut taken, &mut counts);
            bar.suspend(|| writeln!(stdout(), "{}", printable(&line)))?;
        }
        if !arguments.dry_run && !taken.is_empty() {
            let now = Timestamp::now().as_millisecond();
            notes.write(&taken, now)?;
            redrive_log::copy(client, taken.iter().map(|(key, _)| (key, now))).await?;
        }
        bar.inc(batch.len() as u64);
    }
    bar.finish_and_clear();
    arguments.sum_up(&counts, &settled, found.len())
}

async fn registry(known: &KnownFacilities) -> anyhow::Result<()> {
    let begun = Instant::now();
    while !known.complete() {
        if begun.elapsed() > REGISTRY_WITHIN {
            bail!("the registry's topic cannot be read to its end: are the brokers there?");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

fn reader(config: &Config, codec: Codec, known: KnownFacilities) -> anyhow::Result<Reader> {
    // Payloads of HTTP can be read without its section.
    let http = http::Settings::default();
    let mut connectors = BTreeMap::from([(http.name(), http.reread()?)]);
    for connector in config.connectors() {
        connectors.insert(connector.name(), connector.reread()?);
    }
    Ok(Reader { connectors, kafka: config.kafka.clone(), backfill: config.rules.backfill(), codec, known })
}

impl Arguments {
    /// What is open and may be taken now, the oldest first.
    async fn find(&self, client: &Client) -> Result<Vec<Found>, clickhouse::error::Error> {
        let sql = format!(
            "SELECT toUnixTimestamp64Milli(at) AS at_ms, toString(reason) AS reason_name, origin, detail, \
             hex(raw) AS raw_hex, toString(stage) AS stage_name, epoch, row FROM rejects FINAL WHERE {} AND {} AND NOT {REDRIVEN} \
             ORDER BY at, reason, origin, epoch, row LIMIT {}",
            self.filter.condition(),
            settled_reasons("NOT IN"),
            self.limit
        );
        self.filter.query(client, &sql).fetch_all::<Found>().await
    }

    /// How many are left out for their reason.
    async fn settled(&self, client: &Client) -> Result<Vec<Settled>, clickhouse::error::Error> {
        let sql = format!(
            "SELECT toString(reason) AS name, count() AS records FROM rejects FINAL WHERE {} AND {} \
             GROUP BY name ORDER BY name",
            self.filter.condition(),
            settled_reasons("IN")
        );
        self.filter.query(client, &sql).fetch_all::<Settled>().await
    }

    fn sum_up(&self, counts: &Counts, settled: &[Settled], found: usize) -> anyhow::Result<()> {
        let mut out = stdout().lock();
        for Settled { name, records } in settled {
            let advice = super::reason(name).map_or("", Reason::advice);
            writeln!(out, "{records} rejects with reason {} are left out: {advice}", printable(name))?;
        }
        let Counts { taken, refused, left_out, before } = counts;
        let would = if self.dry_run { "would be " } else { "" };
        writeln!(
            out,
            "{taken} {would}taken again, {refused} {would}refused again, {left_out} left out, \
             {before} had been redriven before"
        )?;
        if found as u64 == self.limit {
            writeln!(out, "there may be more: run it again, or raise --limit")?;
        }
        Ok(())
    }
}

fn settled_reasons(operator: &str) -> String {
    let names: Vec<String> = SETTLED.iter().map(|reason| format!("'{}'", reason.name())).collect();
    format!("reason {operator} ({})", names.join(", "))
}

impl Found {
    fn key(&self) -> Key {
        let (reason, origin) = (self.reason_name.clone(), self.origin.clone());
        Key { at: self.at_ms, reason, origin, epoch: self.epoch, row: self.row }
    }

    fn rejected(&self) -> Result<Rejected, String> {
        Ok(Rejected {
            at: self.at_ms,
            origin: self.origin.clone(),
            reason: super::reason(&self.reason_name)?,
            detail: self.detail.clone(),
            raw: hex::decode(&self.raw_hex).map_err(|error| error.to_string())?.into(),
            stage: super::stage(&self.stage_name)?,
        })
    }

    /// Decides what becomes of it, and says so in a line.
    fn again(
        &self,
        reader: &Reader,
        notes: &RedriveLog,
        sent: &mut BTreeSet<String>,
        taken: &mut Vec<(Key, Vec<Outgoing>)>,
        counts: &mut Counts,
    ) -> String {
        let what = format!("{} {} {}", time::rfc3339(self.at_ms), self.origin, self.reason_name);
        let key = self.key();
        if notes.has(&key) {
            counts.before += 1;
            return format!("before   {what}");
        }
        let again = match self.rejected() {
            Ok(rejected) => reader.read(&rejected),
            Err(error) => Reread::LeftOut(format!("this version does not know it: {error}")),
        };
        match again {
            Reread::Taken(mut records) => {
                counts.taken += 1;
                records.retain(|record| sent.insert(format!("{record:?}")));
                records.iter_mut().for_each(mark);
                let readings: usize = records.iter().map(readings).sum();
                taken.push((key, records));
                format!("taken    {what} ({readings} readings)")
            }
            Reread::Refused(reason, detail) => {
                counts.refused += 1;
                format!("refused  {what}: {}: {detail}", reason.name())
            }
            Reread::LeftOut(why) => {
                counts.left_out += 1;
                format!("left out {what}: {why}")
            }
        }
    }
}

/// Marks a report, so that what it revises says why.
fn mark(record: &mut Outgoing) {
    if let Outgoing::Report(report) = record
        && !report.origin.starts_with(report::REDRIVEN)
    {
        report.origin = format!("{}{}", report::REDRIVEN, report.origin).into();
    }
}

fn readings(record: &Outgoing) -> usize {
    if let Outgoing::Report(report) = record { report.readings.len() } else { 0 }
}
