//! validate: gathers what belongs to an epoch and a worker, in its final order, and marks every reading.

use std::{collections::BTreeMap, rc::Rc};

use operators::{
    CheckedEpoch, Observations, ObservedEpoch, ProfileChange, Stage,
    flow::{PlacedEvent, Stash},
    validate::Validate,
};
use schemas::Epoch;
use timely::{
    container::CapacityContainerBuilder,
    dataflow::{
        StreamVec,
        channels::pact::{Exchange, Pipeline},
        operators::generic::{OutputBuilder, builder_rc::OperatorBuilder},
    },
};

use super::{bucket, clock::Tick, decode::Share, saving::Recovery};
use crate::{Error, telemetry::StateSize};

/// An epoch of one worker, shared by the stages behind.
pub type SharedEpoch = Rc<CheckedEpoch>;

/// Marks readings.
pub trait Validated<'s> {
    /// Routes reports, events and registry changes to the worker that holds their facility, and once an epoch is complete
    /// applies it in the order (registry, reports, events), each by partition and offset. Gives exactly one [`SharedEpoch`] per epoch and worker.
    ///
    /// # Errors
    /// When the state of the checkpoint cannot be read.
    fn validate(
        self,
        events: StreamVec<'s, Epoch, PlacedEvent>,
        profiles: StreamVec<'s, Epoch, ProfileChange>,
        ticks: StreamVec<'s, Epoch, Tick>,
        stage: Validate,
        recovery: &Recovery,
    ) -> Result<StreamVec<'s, Epoch, SharedEpoch>, Error>;
}

impl<'s> Validated<'s> for StreamVec<'s, Epoch, Share> {
    fn validate(
        self,
        events: StreamVec<'s, Epoch, PlacedEvent>,
        profiles: StreamVec<'s, Epoch, ProfileChange>,
        ticks: StreamVec<'s, Epoch, Tick>,
        stage: Validate,
        recovery: &Recovery,
    ) -> Result<StreamVec<'s, Epoch, SharedEpoch>, Error> {
        let scope = self.scope();
        let worker = scope.index();
        let stage = recovery.restore(stage, (worker, scope.peers()))?;
        let mut builder = OperatorBuilder::new("validate".to_owned(), scope);
        let mut reports = builder.new_input(self, Exchange::new(|share: &Share| share.worker));
        let mut changes = builder.new_input(profiles, Exchange::new(|c: &ProfileChange| bucket(&c.facility)));
        let by_facility = Exchange::new(|placed: &PlacedEvent| bucket(&placed.event.facility));
        let mut events = builder.new_input(events, by_facility);
        let mut ticks = builder.new_input(ticks, Pipeline);
        let (output, stream) = builder.new_output::<Vec<SharedEpoch>>();
        let mut output = OutputBuilder::<_, CapacityContainerBuilder<Vec<SharedEpoch>>>::from(output);
        let mut stage = stage.woken_by(scope.activator_for(builder.operator_info().address));
        builder.build(move |_| {
            let mut gathered: BTreeMap<Epoch, ObservedEpoch> = BTreeMap::new();
            let mut stash: Stash<Tick> = Stash::default();
            let size = StateSize::of(Validate::NAME, worker);
            move |frontiers| {
                reports.for_each(|time, data| {
                    let observations = data.drain(..).map(|share| share.observations);
                    gathered.entry(*time.time()).or_default().observations.extend(observations);
                });
                changes.for_each(|time, data| {
                    gathered.entry(*time.time()).or_default().profiles.append(data);
                });
                events.for_each(|time, data| {
                    gathered.entry(*time.time()).or_default().events.append(data);
                });
                ticks.for_each(|time, data| {
                    for tick in data.drain(..) {
                        stash.entry(tick.epoch, || (time.retain(0), tick));
                    }
                });
                let mut output = output.activate();
                let complete = |epoch: &Epoch| !frontiers.iter().any(|frontier| frontier.less_equal(epoch));
                while let Some((number, capability, tick)) = stash.take(complete) {
                    let epoch = completed(tick, gathered.remove(&number).unwrap_or_default());
                    output
                        .session(&capability)
                        .give(Rc::new(stage.apply(number, |stage| stage.apply(&epoch))));
                    size.set(stage.state().entries());
                }
                stage.proceed();
            }
        });
        Ok(stream)
    }
}

/// An epoch of which nothing more can arrive, in its final order.
fn completed(tick: Tick, mut epoch: ObservedEpoch) -> ObservedEpoch {
    (epoch.epoch, epoch.clock, epoch.believed) = (tick.epoch, tick.clock, tick.believed);
    epoch.registry = tick.registry;
    epoch.profiles.sort_unstable_by(|a, b| a.facility.cmp(&b.facility));
    epoch.observations.sort_unstable_by_key(Observations::place);
    epoch.events.sort_unstable_by_key(|placed| (placed.partition, placed.offset));
    epoch
}
