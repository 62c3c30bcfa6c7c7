//! Estimates: what models expected of objects and found, hour by hour, for people to look at.

use std::rc::Rc;

use operators::model::ModelledEpoch;
use schemas::{Epoch, EstimateRow};
use timely::dataflow::{StreamVec, operators::vec::Map};

/// Gives estimates.
pub trait Estimates<'s> {
    /// The estimates of each epoch; of one object and hour the last counts.
    fn estimates(self) -> StreamVec<'s, Epoch, EstimateRow>;
}

impl<'s> Estimates<'s> for StreamVec<'s, Epoch, Rc<ModelledEpoch>> {
    fn estimates(self) -> StreamVec<'s, Epoch, EstimateRow> {
        self.flat_map(|epoch| epoch.estimates.clone())
    }
}
