//! registry: keeps what the registry says for checkpoints, and says it again after a restart.

use std::collections::BTreeMap;

use operators::registry::KeptRegistry;
use schemas::Epoch;
use timely::{
    container::CapacityContainerBuilder,
    dataflow::{
        StreamVec,
        channels::pact::Exchange,
        operators::generic::{OutputBuilder, builder_rc::OperatorBuilder},
    },
};

use super::{bucket, decode::RegistryRecord, saving::Recovery};
use crate::Error;

/// Keeps registry records.
pub trait Kept<'s> {
    /// The same records, each at the worker that keeps it; after a restart first those of the checkpoint, at its epoch.
    ///
    /// # Errors
    /// When the checkpoint cannot be read.
    fn kept(self, recovery: &Recovery) -> Result<StreamVec<'s, Epoch, RegistryRecord>, Error>;
}

impl<'s> Kept<'s> for StreamVec<'s, Epoch, RegistryRecord> {
    fn kept(self, recovery: &Recovery) -> Result<StreamVec<'s, Epoch, RegistryRecord>, Error> {
        type Builder = CapacityContainerBuilder<Vec<RegistryRecord>>;
        let scope = self.scope();
        let mut state = recovery.restore(KeptRegistry::default(), (scope.index(), scope.peers()))?;
        let mut restored = state.state().restored()?;
        let start = recovery.epoch();

        let mut builder = OperatorBuilder::new("registry".to_owned(), scope);
        let mut input = builder.new_input(self, Exchange::new(|r: &RegistryRecord| bucket(&r.0)));
        let (output, stream) = builder.new_output::<Vec<RegistryRecord>>();
        let mut output = OutputBuilder::<_, Builder>::from(output);
        let mut state = state.woken_by(scope.activator_for(builder.operator_info().address));
        builder.build(move |mut capabilities| {
            let mut at_start = capabilities.pop().filter(|_| start > 0).map(|first| first.delayed(&start));
            let mut waiting: BTreeMap<Epoch, Vec<RegistryRecord>> = BTreeMap::new();
            let mut next = start + 1;
            move |frontiers| {
                let mut output = output.activate();
                if let Some(capability) = at_start.take() {
                    output.session(&capability).give_iterator(restored.drain(..));
                    restored = Vec::new();
                }
                input.for_each(|time, records| {
                    waiting.entry(*time.time()).or_default().extend(records.iter().cloned());
                    output.session(&time).give_container(records);
                });
                // The end of the input is no epoch.
                let reached = frontiers[0].frontier().first().copied();
                while reached.is_some_and(|reached| next < reached) {
                    let records = waiting.remove(&next).unwrap_or_default();
                    state.apply(next, |registry| registry.apply(records));
                    next += 1;
                }
                state.proceed();
            }
        });
        Ok(stream)
    }
}
