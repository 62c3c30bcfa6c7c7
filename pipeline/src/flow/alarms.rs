//! Where alarm transitions come from: rules on readings, models on hours, and conditions of the platform itself.

use std::rc::Rc;

use operators::{
    alarm::{AlarmedEpoch, OperationalFact, Operations},
    model::ModelledEpoch,
};
use schemas::{AlarmTransition, Epoch};
use timely::{
    container::CapacityContainerBuilder,
    dataflow::{
        StreamVec,
        channels::pact::Pipeline,
        operators::{Operator, vec::Map},
    },
};

use super::{clock::Tick, saving::Recovery};
use crate::{Error, binding::Condition};

/// Gives alarm transitions.
pub trait AlarmTransitions<'s> {
    /// The transitions, each at the epoch in which it was concluded.
    fn transitions(self) -> StreamVec<'s, Epoch, AlarmTransition>;
}

impl<'s> AlarmTransitions<'s> for StreamVec<'s, Epoch, Rc<AlarmedEpoch>> {
    fn transitions(self) -> StreamVec<'s, Epoch, AlarmTransition> {
        self.flat_map(|epoch| epoch.transitions.clone())
    }
}

impl<'s> AlarmTransitions<'s> for StreamVec<'s, Epoch, Rc<ModelledEpoch>> {
    fn transitions(self) -> StreamVec<'s, Epoch, AlarmTransition> {
        self.flat_map(|epoch| epoch.transitions.clone())
    }
}

/// Alarms about the platform.
pub trait Operational<'s> {
    /// The transitions of the conditions that the bindings recorded. Every worker has the ticks; the first speaks for
    /// all.
    ///
    /// # Errors
    /// When the state of the checkpoint cannot be read.
    fn operations(self, recovery: &Recovery) -> Result<StreamVec<'s, Epoch, AlarmTransition>, Error>;
}

impl<'s> Operational<'s> for StreamVec<'s, Epoch, Tick> {
    fn operations(self, recovery: &Recovery) -> Result<StreamVec<'s, Epoch, AlarmTransition>, Error> {
        type Builder = CapacityContainerBuilder<Vec<AlarmTransition>>;
        let scope = self.scope();
        let operations = recovery.restore_on_first(Operations::default(), (scope.index(), scope.peers()))?;
        let start = recovery.epoch();
        Ok(self.unary::<Builder, _, _, _>(Pipeline, "operations", move |_, info| {
            let mut operations = operations.woken_by(scope.activator_for(info.address));
            move |input, output| {
                if !operations.is_here() {
                    return input.for_each(|_, ticks| ticks.clear());
                }
                input.for_each(|time, ticks| {
                    for tick in ticks.drain(..).filter(|tick| tick.epoch > start) {
                        let facts: Vec<OperationalFact> =
                            tick.conditions.iter().map(Condition::fact).collect();
                        let transitions =
                            operations.apply(tick.epoch, |known| known.apply(tick.clock, &facts));
                        output.session(&time).give_iterator(transitions.into_iter());
                    }
                });
                operations.proceed();
            }
        }))
    }
}
