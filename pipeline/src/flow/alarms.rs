//! Where alarm transitions come from: rules on readings, models on hours, and conditions of the platform itself.

use std::rc::Rc;

use operators::{
    alarm::{AlarmedEpoch, OperationalCondition, OperationalFact, Operations},
    model::DiagnosedEpoch,
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

use super::clock::Tick;

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

impl<'s> AlarmTransitions<'s> for StreamVec<'s, Epoch, Rc<DiagnosedEpoch>> {
    fn transitions(self) -> StreamVec<'s, Epoch, AlarmTransition> {
        self.flat_map(|epoch| epoch.transitions.clone())
    }
}

impl<'s> AlarmTransitions<'s> for StreamVec<'s, Epoch, Tick> {
    /// Alarms about the platform: the conditions that the bindings recorded. Every worker has the ticks; the first
    /// speaks for all.
    fn transitions(self) -> StreamVec<'s, Epoch, AlarmTransition> {
        type Builder = CapacityContainerBuilder<Vec<AlarmTransition>>;
        let first = self.scope().index() == 0;
        self.unary::<Builder, _, _, _>(Pipeline, "operations", move |_, _| {
            let mut operations = Operations::default();
            move |input, output| {
                input.for_each(|time, ticks| {
                    for tick in ticks.drain(..).filter(|_| first) {
                        let facts: Vec<OperationalFact> = tick.conditions.iter().map(fact).collect();
                        output.session(&time).give_iterator(operations.apply(tick.clock, &facts).into_iter());
                    }
                });
            }
        })
    }
}

fn fact(condition: &crate::binding::Condition) -> OperationalFact {
    OperationalFact {
        subject: condition.subject.clone(),
        condition: OperationalCondition::SinkDown,
        active: condition.active,
        detail: condition.detail.clone(),
    }
}
