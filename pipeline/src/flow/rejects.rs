//! What was turned away on the way: by validation, and by the join of the registry.

use std::collections::BTreeMap;

use operators::flow::Stash;
use schemas::{Epoch, Millis, Reject};
use timely::{
    container::CapacityContainerBuilder,
    dataflow::{
        StreamVec,
        channels::pact::Pipeline,
        operators::{Operator, vec::Map},
    },
};

use super::{clock::Tick, validate::SharedEpoch};

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

/// Bounds rejects.
pub trait Bounded<'s> {
    /// Cuts rejects to what any sink takes: what a sender made long must not hold up the others.
    fn bounded(self) -> StreamVec<'s, Epoch, Reject>;
}

impl<'s> Bounded<'s> for StreamVec<'s, Epoch, Reject> {
    fn bounded(self) -> StreamVec<'s, Epoch, Reject> {
        self.map(Reject::bounded)
    }
}

/// Stamps rejects.
pub trait Stamped<'s> {
    /// Gives rejects that have no time of their own the clock of their epoch.
    fn stamped(self, ticks: StreamVec<'s, Epoch, Tick>) -> StreamVec<'s, Epoch, Reject>;
}

impl<'s> Stamped<'s> for StreamVec<'s, Epoch, Reject> {
    fn stamped(self, ticks: StreamVec<'s, Epoch, Tick>) -> StreamVec<'s, Epoch, Reject> {
        type Builder = CapacityContainerBuilder<Vec<Reject>>;
        self.binary_frontier::<_, Builder, _, _, _, _>(ticks, Pipeline, Pipeline, "stamp", |_, _| {
            let mut stash: Stash<Vec<Reject>> = Stash::default();
            let mut clocks: BTreeMap<Epoch, Millis> = BTreeMap::new();
            move |(rejects, arriving), (ticks, frontier), output| {
                rejects.for_each(|time, data| {
                    stash.entry(*time.time(), || (time.retain(0), Vec::new())).append(data);
                });
                ticks.for_each(|_, data| clocks.extend(data.drain(..).map(|tick| (tick.epoch, tick.clock))));
                while let Some((epoch, capability, rejects)) = stash.take(|epoch| !frontier.less_equal(epoch))
                {
                    let clock = clocks.get(&epoch).copied().unwrap_or_default();
                    let stamped = rejects.into_iter().map(|reject| Reject { at: clock, ..reject });
                    output.session(&capability).give_iterator(stamped);
                }
                clocks.retain(|epoch, _| arriving.less_equal(epoch) || stash.holds(*epoch));
            }
        })
    }
}
