//! What has arrived of epochs that are not complete.

use std::collections::BTreeMap;

use schemas::Epoch;
use timely::dataflow::operators::Capability;

/// What an operator gathers until its frontiers have passed an epoch, each with the right to speak of the epoch.
#[derive(Debug)]
pub struct Stash<T>(BTreeMap<Epoch, (Capability<Epoch>, T)>);

impl<T> Default for Stash<T> {
    fn default() -> Stash<T> {
        Stash(BTreeMap::new())
    }
}

impl<T> Stash<T> {
    /// What has arrived of an epoch; `begin` gives the right to speak of it, and what there is before the first arrival.
    pub fn entry(&mut self, epoch: Epoch, begin: impl FnOnce() -> (Capability<Epoch>, T)) -> &mut T {
        &mut self.0.entry(epoch).or_insert_with(begin).1
    }

    /// Takes the first epoch out, when it is complete.
    pub fn take(&mut self, complete: impl FnOnce(&Epoch) -> bool) -> Option<(Epoch, Capability<Epoch>, T)> {
        let entry = self.0.first_entry().filter(|entry| complete(entry.key()))?;
        let (epoch, (capability, gathered)) = entry.remove_entry();
        Some((epoch, capability, gathered))
    }

    /// Whether something has arrived of an epoch.
    #[must_use]
    pub fn holds(&self, epoch: Epoch) -> bool {
        self.0.contains_key(&epoch)
    }
}
