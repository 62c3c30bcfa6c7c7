//! deliver: hands blocks to a sink and keeps their epoch open until the sink has made them durable.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use schemas::Epoch;
use sinks::Block;
use timely::{
    Accountable,
    container::CapacityContainerBuilder,
    dataflow::{
        StreamVec,
        channels::pact::Pipeline,
        operators::{Capability, Operator},
    },
    scheduling::SyncActivator,
};

/// Blocks of one epoch on their way to a sink.
pub struct Delivery {
    /// The epoch.
    pub epoch: Epoch,
    /// Its blocks.
    pub blocks: Arc<Vec<Block>>,
    acknowledged: Arc<Mutex<Vec<Epoch>>>,
    activator: Arc<SyncActivator>,
}

impl Delivery {
    /// Says that every block is durable.
    pub fn acknowledge(self) {
        self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner).push(self.epoch);
        // Fails only when the worker has ended, and then nobody waits.
        let _ = self.activator.activate();
    }
}

/// Delivers blocks.
pub trait Deliver<'s> {
    /// Sends the blocks of each epoch through `send`, except those of epochs up to `delivered`, which the sink has
    /// already. The frontier of the result is what the sink has acknowledged.
    fn deliver(
        self,
        name: &str,
        delivered: Epoch,
        send: impl Fn(Delivery) + 'static,
    ) -> StreamVec<'s, Epoch, ()>;
}

impl<'s> Deliver<'s> for StreamVec<'s, Epoch, Block> {
    fn deliver(
        self,
        name: &str,
        delivered: Epoch,
        send: impl Fn(Delivery) + 'static,
    ) -> StreamVec<'s, Epoch, ()> {
        type Builder = CapacityContainerBuilder<Vec<()>>;
        let scope = self.scope();
        self.unary_frontier::<Builder, _, _, _>(Pipeline, name, move |_, info| {
            let activator = Arc::new(scope.worker().sync_activator_for(info.address.to_vec()));
            let acknowledged: Arc<Mutex<Vec<Epoch>>> = Arc::default();
            let mut gathering: BTreeMap<Epoch, (Capability<Epoch>, Vec<Block>)> = BTreeMap::new();
            let mut held: BTreeMap<Epoch, Capability<Epoch>> = BTreeMap::new();
            move |(input, frontier), _output| {
                input.for_each(|time, blocks| {
                    if *time.time() > delivered && blocks.record_count() > 0 {
                        let (_, all) =
                            gathering.entry(*time.time()).or_insert_with(|| (time.retain(0), vec![]));
                        all.append(blocks);
                    }
                });
                while let Some(entry) = gathering.first_entry().filter(|e| !frontier.less_equal(e.key())) {
                    let (epoch, (capability, mut blocks)) = entry.remove_entry();
                    // They come from all workers, in any order, and a topic keeps the order in which it is written.
                    blocks.sort_by_key(Block::place);
                    held.insert(epoch, capability);
                    send(Delivery {
                        epoch,
                        blocks: Arc::new(blocks),
                        acknowledged: Arc::clone(&acknowledged),
                        activator: Arc::clone(&activator),
                    });
                }
                for epoch in acknowledged.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
                    held.remove(&epoch);
                }
            }
        })
    }
}
