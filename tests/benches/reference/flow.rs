//! The reference job as a dataflow of the product's own parts.
//!
//! ```text
//!  bind ─┬─────────────────────────────► clock ─┐
//!        └─► read ─► decode ─┬─► marks ───►─┘    ▼
//!                            └─► reports ──► reference ─► count
//! ```
//!
//! Enters: a topic of reports. Leaves: rows, counted. Guarantees: those of the product's dataflow: bound epochs, state
//! in checkpoints, the same rows for any number of workers.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use operators::{Observations, flow::Stash};
use pipeline::{
    Error,
    config::RuleSettings,
    control::Control,
    flow::{
        bind::{Minter, bind},
        clock::{Clock, ClockSource, Clocked, Tick},
        decode::{Decode, Share},
        read::Read,
        saving::Recovery,
    },
};
use schemas::{Epoch, KafkaSettings, Millis, avro::Codec};
use timely::{
    container::CapacityContainerBuilder,
    dataflow::{
        ProbeHandle, Scope, StreamVec,
        channels::pact::{Exchange, Pipeline},
        operators::{Operator, Probe, vec::Broadcast},
    },
};

use super::{
    rules::Row,
    stage::{Reference, Seen},
};

/// The states that its checkpoints hold.
pub const STATES: &[&str] = &[<Clock as operators::Durable>::STATE, <Reference as operators::Durable>::STATE];

/// What every worker needs.
pub struct Parts {
    pub kafka: KafkaSettings,
    pub control: Arc<Control>,
    pub recovery: Recovery,
    pub width: Millis,
    pub totals: Arc<Totals>,
}

/// What all workers have come to.
#[derive(Default)]
pub struct Totals {
    pub rows: AtomicU64,
    pub checksum: AtomicU64,
    pub seen: Mutex<Seen>,
}

impl Totals {
    fn rows(&self, rows: &[Row]) {
        self.rows.fetch_add(rows.len() as u64, Relaxed);
        let sum = rows.iter().fold(0, |sum: u64, row| sum.wrapping_add(row.checksum()));
        self.checksum.fetch_add(sum, Relaxed);
    }

    fn seen(&self, seen: Seen) {
        let mut all = self.seen.lock().unwrap();
        all.readings += seen.readings;
        all.late += seen.late;
        all.failed.iter_mut().zip(seen.failed).for_each(|(all, failed)| *all += failed);
    }
}

/// Builds the dataflow of one worker.
pub fn build(
    scope: Scope<'_, Epoch>,
    parts: &Parts,
    minter: Option<Minter>,
    delivered: &ProbeHandle<Epoch>,
) -> Result<(), Error> {
    let bindings = bind(scope, minter, delivered.clone());
    let records = bindings.clone().broadcast().read(&parts.kafka, "reference", Arc::clone(&parts.control));
    let decoded = records.decode(&Codec::single_object(), &parts.kafka, &Arc::default(), ClockSource::Data);
    let clock = Clock::new(ClockSource::Data, RuleSettings::default().calendar().longest_step());
    let ticks = bindings.clocked(decoded.marks, clock, &parts.recovery)?;
    let rows = summarise(decoded.observations, ticks, parts)?;
    let totals = Arc::clone(&parts.totals);
    type Nothing = CapacityContainerBuilder<Vec<()>>;
    rows.unary::<Nothing, _, _, _>(Pipeline, "count", move |_, _| {
        move |input, _| input.for_each(|_, rows| totals.rows(rows))
    })
    .probe_with(delivered);
    Ok(())
}

/// Gathers what belongs to an epoch and a worker, applies it once it is complete, and gives the rows that it ends.
fn summarise<'s>(
    reports: StreamVec<'s, Epoch, Share>,
    ticks: StreamVec<'s, Epoch, Tick>,
    parts: &Parts,
) -> Result<StreamVec<'s, Epoch, Row>, Error> {
    let scope = reports.scope();
    let mut stage = parts.recovery.restore(Reference::new(parts.width), (scope.index(), scope.peers()))?;
    stage.state().resume();
    let totals = Arc::clone(&parts.totals);
    let by_facility = Exchange::new(|share: &Share| share.worker);
    type Rows = CapacityContainerBuilder<Vec<Row>>;
    Ok(reports.binary_frontier::<_, Rows, _, _, _, _>(
        ticks,
        by_facility,
        Pipeline,
        "reference",
        |_, info| {
            let mut stage = stage.woken_by(scope.activator_for(info.address));
            let mut gathered: BTreeMap<Epoch, Vec<Observations>> = BTreeMap::new();
            let mut stash: Stash<Millis> = Stash::default();
            let mut ended = false;
            move |(reports, to_come), (ticks, more), output| {
                reports.for_each(|time, data| {
                    let gathered = gathered.entry(*time.time()).or_default();
                    gathered.extend(data.drain(..).map(|share| share.observations));
                });
                ticks.for_each(|time, data| {
                    for tick in data.drain(..) {
                        stash.entry(tick.epoch, || (time.retain(0), tick.clock));
                    }
                });
                while let Some((epoch, capability, clock)) = stash.take(|epoch| !to_come.less_equal(epoch)) {
                    let mut reports = gathered.remove(&epoch).unwrap_or_default();
                    reports.sort_unstable_by_key(Observations::place);
                    let mut session = output.session(&capability);
                    stage.apply(epoch, |stage| {
                        reports.iter().for_each(|reports| stage.reports(reports));
                        stage.close(clock, |row| session.give(row));
                    });
                }
                stage.proceed();
                if !ended && to_come.is_empty() && more.is_empty() {
                    // The topic has ended: what is still open is counted here.
                    ended = true;
                    let mut rows = Vec::new();
                    let stage = stage.state();
                    stage.close(Millis::MAX, |row| rows.push(row));
                    totals.rows(&rows);
                    totals.seen(stage.seen);
                }
            }
        },
    ))
}
