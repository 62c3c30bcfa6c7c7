//! models: every model judges the hours that windows closed, each in an operator of its own.

use std::rc::Rc;

use operators::{
    model::{Judge, Model, ModelledEpoch, Terms, Visit, visit_all},
    window::WindowedEpoch,
};
use schemas::Epoch;
use timely::dataflow::{StreamVec, operators::Concatenate};

use super::{saving::Recovery, stages::Staged};
use crate::Error;

/// Judges hours.
pub trait Modelled<'s> {
    /// What every model says of the hours of each epoch.
    ///
    /// # Errors
    /// When the state of the checkpoint cannot be read.
    fn models(
        self,
        terms: &Terms,
        recovery: &Recovery,
    ) -> Result<StreamVec<'s, Epoch, Rc<ModelledEpoch>>, Error>;
}

impl<'s> Modelled<'s> for StreamVec<'s, Epoch, Rc<WindowedEpoch>> {
    fn models(
        self,
        terms: &Terms,
        recovery: &Recovery,
    ) -> Result<StreamVec<'s, Epoch, Rc<ModelledEpoch>>, Error> {
        let scope = self.scope();
        let mut operators = Operators { windowed: self, terms, recovery, modelled: Vec::new() };
        visit_all(&mut operators)?;
        Ok(scope.concatenate(operators.modelled))
    }
}

struct Operators<'s, 'r> {
    windowed: StreamVec<'s, Epoch, Rc<WindowedEpoch>>,
    terms: &'r Terms,
    recovery: &'r Recovery,
    modelled: Vec<StreamVec<'s, Epoch, Rc<ModelledEpoch>>>,
}

impl Visit for Operators<'_, '_> {
    type Error = Error;

    fn visit<M: Model>(&mut self) -> Result<(), Error> {
        let judge = Judge::<M>::new(self.terms.clone());
        self.modelled.push(self.windowed.clone().stage(judge, self.recovery)?);
        Ok(())
    }
}
