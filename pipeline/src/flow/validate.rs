//! validate: gathers what belongs to an epoch and a worker, in its final order, and marks every reading.

use std::{collections::BTreeMap, rc::Rc};

use operators::{CheckedEpoch, Observations, ObservedEpoch, ProfileChange, Stage, validate::Validate};
use schemas::Epoch;
use timely::{
    container::CapacityContainerBuilder,
    dataflow::{
        StreamVec,
        channels::pact::{Exchange, Pipeline},
        operators::{
            Capability,
            generic::{OutputBuilder, builder_rc::OperatorBuilder},
        },
    },
};

use super::{bucket, clock::Tick, decode::Share, saving::Recovery};
use crate::{Error, telemetry::StateSize};

/// An epoch of one worker, shared by the stages behind.
pub type SharedEpoch = Rc<CheckedEpoch>;

/// Marks readings.
pub trait Validated<'s> {
    /// Routes reports and registry changes to the worker that holds their facility, and once an epoch is complete
    /// applies it in the order (registry, partition, offset). Gives exactly one [`SharedEpoch`] per epoch and worker.
    ///
    /// # Errors
    /// When the state of the checkpoint cannot be read.
    fn validate(
        self,
        profiles: StreamVec<'s, Epoch, ProfileChange>,
        ticks: StreamVec<'s, Epoch, Tick>,
        stage: Validate,
        recovery: &Recovery,
    ) -> Result<StreamVec<'s, Epoch, SharedEpoch>, Error>;
}

impl<'s> Validated<'s> for StreamVec<'s, Epoch, Share> {
    fn validate(
        self,
        profiles: StreamVec<'s, Epoch, ProfileChange>,
        ticks: StreamVec<'s, Epoch, Tick>,
        mut stage: Validate,
        recovery: &Recovery,
    ) -> Result<StreamVec<'s, Epoch, SharedEpoch>, Error> {
        let scope = self.scope();
        let worker = scope.index();
        let mut saving = recovery.attach(&mut stage, (worker, scope.peers()))?;
        let start = recovery.epoch();
        let mut builder = OperatorBuilder::new("validate".to_owned(), scope);
        let mut reports = builder.new_input(self, Exchange::new(|share: &Share| share.worker));
        let mut changes = builder.new_input(profiles, Exchange::new(|c: &ProfileChange| bucket(&c.facility)));
        let mut ticks = builder.new_input(ticks, Pipeline);
        let (output, stream) = builder.new_output::<Vec<SharedEpoch>>();
        let mut output = OutputBuilder::<_, CapacityContainerBuilder<Vec<SharedEpoch>>>::from(output);
        let activator = scope.activator_for(builder.operator_info().address);
        builder.build(move |_| {
            let mut gathered = Gathered::default();
            let size = StateSize::of(Validate::NAME, worker);
            move |frontiers| {
                reports.for_each(|time, data| {
                    let observations = data.drain(..).map(|share| share.observations);
                    gathered.epoch(*time.time()).observations.extend(observations);
                });
                changes.for_each(|time, data| gathered.epoch(*time.time()).profiles.append(data));
                ticks.for_each(|time, data| {
                    for tick in data.drain(..) {
                        gathered.ticks.insert(tick.epoch, (time.retain(0), tick));
                    }
                });
                let mut output = output.activate();
                while let Some((capability, epoch)) =
                    gathered.take_complete(|e| frontiers.iter().any(|f| f.less_equal(&e)))
                {
                    output.session(&capability).give(Rc::new(stage.apply(&epoch)));
                    size.set(stage.entries());
                    if epoch.epoch > start {
                        saving.applied(&mut stage, epoch.epoch);
                    }
                }
                if saving.proceed(&mut stage) {
                    activator.activate();
                }
            }
        });
        Ok(stream)
    }
}

/// What has arrived of epochs that are not complete.
#[derive(Default)]
struct Gathered {
    epochs: BTreeMap<Epoch, ObservedEpoch>,
    ticks: BTreeMap<Epoch, (Capability<Epoch>, Tick)>,
}

impl Gathered {
    fn epoch(&mut self, epoch: Epoch) -> &mut ObservedEpoch {
        self.epochs.entry(epoch).or_default()
    }

    /// The first epoch when nothing more can arrive for it, sorted.
    fn take_complete(&mut self, open: impl Fn(Epoch) -> bool) -> Option<(Capability<Epoch>, ObservedEpoch)> {
        let entry = self.ticks.first_entry().filter(|entry| !open(*entry.key()))?;
        let (number, (capability, tick)) = entry.remove_entry();
        let mut epoch = self.epochs.remove(&number).unwrap_or_default();
        epoch.epoch = number;
        (epoch.clock, epoch.believed) = (tick.clock, tick.believed);
        epoch.profiles.sort_unstable_by(|a, b| a.facility.cmp(&b.facility));
        epoch.observations.sort_unstable_by_key(Observations::place);
        Some((capability, epoch))
    }
}
