//! Runs a pure stage on every epoch of a worker, in order.

use std::rc::Rc;

use operators::Stage;
use schemas::Epoch;
use timely::{
    container::CapacityContainerBuilder,
    dataflow::{StreamVec, channels::pact::Pipeline, operators::Operator},
};

use crate::telemetry::StateSize;

/// Runs stages.
pub trait Staged<'s, I> {
    /// Applies the stage to each epoch as it comes: the stages before emit them in order, one per epoch.
    fn stage<S>(self, stage: S) -> StreamVec<'s, Epoch, Rc<S::Output>>
    where
        S: Stage<Input = I>,
        S::Output: 'static;
}

impl<'s, I: 'static> Staged<'s, I> for StreamVec<'s, Epoch, Rc<I>> {
    fn stage<S>(self, mut stage: S) -> StreamVec<'s, Epoch, Rc<S::Output>>
    where
        S: Stage<Input = I>,
        S::Output: 'static,
    {
        let worker = self.scope().index();
        type Builder<T> = CapacityContainerBuilder<Vec<Rc<T>>>;
        self.unary::<Builder<S::Output>, _, _, _>(Pipeline, S::NAME, move |_, _| {
            let size = StateSize::of(S::NAME, worker);
            move |input, output| {
                input.for_each(|time, epochs| {
                    let mut session = output.session(&time);
                    for epoch in epochs.drain(..) {
                        session.give(Rc::new(stage.apply(&epoch)));
                    }
                    size.set(stage.entries());
                });
            }
        })
    }
}
