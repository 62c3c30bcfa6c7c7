//! Runs a pure stage on every epoch of a worker, in order, and saves its state behind it.

use std::rc::Rc;

use operators::{CheckedEpoch, Durable, Stage, window::WindowedEpoch};
use schemas::Epoch;
use timely::{
    container::CapacityContainerBuilder,
    dataflow::{StreamVec, channels::pact::Pipeline, operators::Operator},
};

use super::saving::Recovery;
use crate::{Error, telemetry::StateSize};

/// What says which epoch it is of.
pub trait OfEpoch {
    /// Number of the epoch.
    fn epoch(&self) -> Epoch;
}

impl OfEpoch for CheckedEpoch {
    fn epoch(&self) -> Epoch {
        self.epoch
    }
}

impl OfEpoch for WindowedEpoch {
    fn epoch(&self) -> Epoch {
        self.epoch
    }
}

/// Runs stages.
pub trait Staged<'s, I> {
    /// Applies the stage to each epoch as it comes: the stages before emit them in order, one per epoch.
    ///
    /// # Errors
    /// When the state of the checkpoint cannot be read.
    fn stage<S>(self, stage: S, recovery: &Recovery) -> Result<StreamVec<'s, Epoch, Rc<S::Output>>, Error>
    where
        S: Stage<Input = I> + Durable,
        S::Output: 'static;
}

impl<'s, I: OfEpoch + 'static> Staged<'s, I> for StreamVec<'s, Epoch, Rc<I>> {
    fn stage<S>(self, stage: S, recovery: &Recovery) -> Result<StreamVec<'s, Epoch, Rc<S::Output>>, Error>
    where
        S: Stage<Input = I> + Durable,
        S::Output: 'static,
    {
        let scope = self.scope();
        let worker = scope.index();
        let cold = recovery.checkpoints.cold().clone();
        let stage = recovery.restore(stage, (worker, scope.peers()))?;
        type Builder<T> = CapacityContainerBuilder<Vec<Rc<T>>>;
        Ok(self.unary::<Builder<S::Output>, _, _, _>(Pipeline, S::NAME, move |_, info| {
            let size = StateSize::of(S::NAME, worker);
            let mut stage = stage.woken_by(scope.activator_for(info.address));
            let mut held = Vec::new();
            move |input, output| {
                input.for_each(|time, epochs| {
                    for epoch in epochs.drain(..) {
                        let told = stage.apply(epoch.epoch(), |stage| stage.apply(&epoch));
                        if cold.failed() {
                            // What it stands on is not what was sealed: no epoch ends any more, and the process does.
                            held.push(time.retain(0));
                        } else {
                            output.session(&time).give(Rc::new(told));
                        }
                    }
                    size.set(stage.state().entries());
                });
                stage.proceed();
            }
        }))
    }
}
