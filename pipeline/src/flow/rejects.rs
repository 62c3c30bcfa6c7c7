//! What validation turned away.

use schemas::{Epoch, Reject};
use timely::dataflow::{StreamVec, operators::vec::Map};

use super::validate::SharedEpoch;

/// Gives rejects.
pub trait Rejected<'s> {
    /// The rejects of each epoch.
    fn rejects(self) -> StreamVec<'s, Epoch, Reject>;
}

impl<'s> Rejected<'s> for StreamVec<'s, Epoch, SharedEpoch> {
    fn rejects(self) -> StreamVec<'s, Epoch, Reject> {
        self.flat_map(|epoch| epoch.rejects.clone())
    }
}
