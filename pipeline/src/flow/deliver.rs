//! deliver: hands blocks to a sink and keeps their epoch open until the sink has made them durable.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use operators::flow::Stash;
use schemas::Epoch;
use sinks::{Block, Rows};
use timely::{
    container::CapacityContainerBuilder,
    dataflow::{
        StreamVec,
        channels::pact::Pipeline,
        operators::{Capability, Operator, vec::Map},
    },
    scheduling::SyncActivator,
};

use super::{
    block::{group_end, unite},
    clock::Tick,
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

    /// As [`Deliver::deliver`], but sends an epoch only when it has passed `fence`, which is what another sink has
    /// acknowledged: a process that this sink turns away then writes nothing to the others either.
    fn deliver_behind(
        self,
        fence: StreamVec<'s, Epoch, ()>,
        name: &str,
        delivered: Epoch,
        send: impl Fn(Delivery) + 'static,
    ) -> StreamVec<'s, Epoch, ()>;
}

type Builder = CapacityContainerBuilder<Vec<()>>;

impl<'s> Deliver<'s> for StreamVec<'s, Epoch, Block> {
    fn deliver(
        self,
        name: &str,
        delivered: Epoch,
        send: impl Fn(Delivery) + 'static,
    ) -> StreamVec<'s, Epoch, ()> {
        let scope = self.scope();
        self.unary_frontier::<Builder, _, _, _>(Pipeline, name, move |_, info| {
            let activator = scope.worker().sync_activator_for(info.address.to_vec());
            let mut counter = EpochHolder::new(delivered, activator, send);
            move |(input, frontier), _output| {
                input.for_each(|time, blocks| counter.gather(*time.time(), || time.retain(0), blocks));
                counter.send(|epoch| !frontier.less_equal(epoch));
                counter.release();
            }
        })
    }

    fn deliver_behind(
        self,
        fence: StreamVec<'s, Epoch, ()>,
        name: &str,
        delivered: Epoch,
        send: impl Fn(Delivery) + 'static,
    ) -> StreamVec<'s, Epoch, ()> {
        let scope = self.scope();
        self.binary_frontier::<_, Builder, _, _, _, _>(fence, Pipeline, Pipeline, name, move |_, info| {
            let activator = scope.worker().sync_activator_for(info.address.to_vec());
            let mut counter = EpochHolder::new(delivered, activator, send);
            move |(input, frontier), (fence, fenced), _output| {
                fence.for_each(|_, _| {});
                input.for_each(|time, blocks| counter.gather(*time.time(), || time.retain(0), blocks));
                counter.send(|epoch| !frontier.less_equal(epoch) && !fenced.less_equal(epoch));
                counter.release();
            }
        })
    }
}

/// Where blocks are gathered, handed out, and kept open until they are acknowledged.
struct EpochHolder<F> {
    delivered: Epoch,
    send: F,
    activator: Arc<SyncActivator>,
    acknowledged: Arc<Mutex<Vec<Epoch>>>,
    /// Not sent yet.
    gathering: Stash<Vec<Block>>,
    /// Sent and not acknowledged.
    held: BTreeMap<Epoch, Capability<Epoch>>,
}

impl<F: Fn(Delivery)> EpochHolder<F> {
    fn new(delivered: Epoch, activator: SyncActivator, send: F) -> EpochHolder<F> {
        EpochHolder {
            delivered,
            send,
            activator: Arc::new(activator),
            acknowledged: Arc::default(),
            gathering: Stash::default(),
            held: BTreeMap::new(),
        }
    }

    fn gather(&mut self, epoch: Epoch, retain: impl FnOnce() -> Capability<Epoch>, blocks: &mut Vec<Block>) {
        if epoch > self.delivered && !blocks.is_empty() {
            self.gathering.entry(epoch, || (retain(), Vec::new())).append(blocks);
        }
    }

    /// Hands out the epochs that are ready, in their order.
    fn send(&mut self, ready: impl Fn(&Epoch) -> bool) {
        while let Some((epoch, capability, mut blocks)) = self.gathering.take(&ready) {
            // They come from all workers, in any order, and a topic keeps the order in which it is written.
            unite(&mut blocks);
            self.held.insert(epoch, capability);
            (self.send)(Delivery {
                epoch,
                blocks: Arc::new(blocks),
                acknowledged: Arc::clone(&self.acknowledged),
                activator: Arc::clone(&self.activator),
            });
        }
    }

    /// Lets go of what was acknowledged.
    fn release(&mut self) {
        for epoch in self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            self.held.remove(&epoch);
        }
    }
}

/// Gives the sign of life of a pipeline.
pub trait Beats<'s> {
    /// An empty block at the end of every group of epochs, so that Kafka commits a transaction for each even when there
    /// is nothing to say: that is what tells a process that another one has taken over.
    fn beats(self, group: u64) -> StreamVec<'s, Epoch, Block>;
}

impl<'s> Beats<'s> for StreamVec<'s, Epoch, Tick> {
    fn beats(self, group: u64) -> StreamVec<'s, Epoch, Block> {
        // Every worker has the ticks; the first speaks for all.
        let first = self.scope().index() == 0;
        self.flat_map(move |tick| {
            let due = first && tick.epoch == group_end(tick.epoch, group);
            due.then(|| Block { epoch: tick.epoch, bucket: 0, rows: Rows::Alarms(Vec::new()) })
        })
    }
}

#[cfg(test)]
mod tests {
    use timely::dataflow::operators::{Input, Probe};

    use super::*;

    fn block(epoch: Epoch) -> Block {
        Block { epoch, bucket: 0, rows: Rows::Alarms(Vec::new()) }
    }

    /// Nothing goes to the others before Kafka has committed it, and what is held keeps its epoch open.
    #[test]
    fn an_epoch_is_sent_when_the_fence_has_passed_it() {
        timely::execute_directly(|worker| {
            let sent: Arc<Mutex<Vec<Delivery>>> = Arc::default();
            let desk = Arc::clone(&sent);
            let (mut blocks, mut fence, probe) = worker.dataflow(|scope| {
                let (blocks, given) = scope.new_input::<Vec<Block>>();
                let (fence, fenced) = scope.new_input::<Vec<()>>();
                let (probe, _) = given
                    .deliver_behind(fenced, "test", 1, move |delivery| desk.lock().unwrap().push(delivery))
                    .probe();
                (blocks, fence, probe)
            });
            for epoch in 1..=3 {
                blocks.advance_to(epoch);
                blocks.send(block(epoch));
            }
            blocks.advance_to(4);
            let epochs = || sent.lock().unwrap().iter().map(|delivery| delivery.epoch).collect::<Vec<_>>();
            let mut steps = |fence_at: Epoch| {
                fence.advance_to(fence_at);
                for _ in 0..20 {
                    worker.step();
                }
            };
            steps(2);
            assert!(epochs().is_empty(), "epoch 1 was delivered before, epoch 2 has not passed the fence");
            steps(3);
            assert_eq!(epochs(), [2]);
            steps(10);
            assert_eq!(epochs(), [2, 3]);
            assert!(probe.less_equal(&2), "what is not acknowledged stays open");
            sent.lock().unwrap().drain(..).for_each(Delivery::acknowledge);
            steps(11);
            assert!(!probe.less_equal(&3) && probe.less_equal(&4));
        });
    }
}
