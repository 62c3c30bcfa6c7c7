//! Sections of one epoch, gathered from all savers.
//!
//! Enters: saved entries and who is done. Leaves: the changes of an epoch once everyone is. Guarantees: changes of an
//! epoch that is never complete, or could not be written, come first in those of the next.

use std::collections::{BTreeMap, BTreeSet};

use operators::durable::{RestoreError, Saved, compact, compact_changes};
use schemas::Epoch;

/// Sections in the order in which they were saved, each with its form.
pub type Chain = Vec<(u16, Vec<u8>)>;

/// Changes by state and shard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes(pub BTreeMap<(&'static str, u16), Chain>);

impl Changes {
    fn add(&mut self, state: &'static str, form: u16, saved: Saved) {
        for (shard, section) in saved.into_sections() {
            self.push(state, shard, form, section);
        }
    }

    /// Appends a section.
    pub fn push(&mut self, state: &'static str, shard: u16, form: u16, mut section: Vec<u8>) {
        let chain = self.0.entry((state, shard)).or_default();
        match chain.last_mut() {
            Some((last, held)) if *last == form => held.append(&mut section),
            _ => chain.push((form, section)),
        }
    }

    /// Appends what came later.
    pub fn append(&mut self, later: Changes) {
        for ((state, shard), chain) in later.0 {
            for (form, section) in chain {
                self.push(state, shard, form, section);
            }
        }
    }

    /// Leaves the last of every key, so that changes that wait do not outgrow the state.
    ///
    /// # Errors
    /// When a section is not a sequence of entries.
    pub fn shrink(&mut self) -> Result<(), RestoreError> {
        for ((state, _), chain) in &mut self.0 {
            for (_, section) in chain {
                *section = compact_changes(state, &[&*section])?;
            }
        }
        Ok(())
    }
}

/// What is being gathered.
#[derive(Debug, Default)]
pub struct Gathering {
    savers: BTreeSet<(&'static str, usize)>,
    epochs: BTreeMap<Epoch, Gathered>,
}

#[derive(Debug, Default)]
struct Gathered {
    changes: Changes,
    done: BTreeSet<(&'static str, usize)>,
}

impl Gathering {
    /// Takes note of a saver.
    pub fn saver(&mut self, state: &'static str, worker: usize) {
        self.savers.insert((state, worker));
    }

    /// Takes saved entries.
    pub fn add(&mut self, state: &'static str, form: u16, epoch: Epoch, saved: Saved) {
        self.epochs.entry(epoch).or_default().changes.add(state, form, saved);
    }

    /// Takes the changes that another process has gathered.
    pub fn merge(&mut self, epoch: Epoch, changes: Changes) {
        self.epochs.entry(epoch).or_default().changes.append(changes);
    }

    /// Whether something is being gathered.
    #[must_use]
    pub fn is_under_way(&self) -> bool {
        !self.epochs.is_empty()
    }

    /// Takes note that a saver is done; gives the changes when all are. They contain those of earlier epochs that
    /// nobody can complete any more.
    pub fn done(&mut self, state: &'static str, worker: usize, epoch: Epoch) -> Option<Changes> {
        let done = &mut self.epochs.entry(epoch).or_default().done;
        done.insert((state, worker));
        if !self.savers.is_subset(done) {
            return None;
        }
        let later = self.epochs.split_off(&(epoch + 1));
        let complete = std::mem::replace(&mut self.epochs, later);
        let mut changes = Changes::default();
        complete.into_values().for_each(|gathered| changes.append(gathered.changes));
        Some(changes)
    }
}

/// A whole chain as few sections as can be: one for each run of the same form.
///
/// # Errors
/// When a section is not a sequence of entries.
pub fn compact_chain(state: &'static str, chain: &[(u16, Vec<u8>)]) -> Result<Chain, RestoreError> {
    let mut compacted: Chain = Vec::new();
    for run in chain.chunk_by(|a, b| a.0 == b.0) {
        let sections: Vec<&[u8]> = run.iter().map(|(_, section)| section.as_slice()).collect();
        let section = if compacted.is_empty() {
            compact(state, &sections)?
        } else {
            compact_changes(state, &sections)?
        };
        compacted.push((run[0].0, section));
    }
    Ok(compacted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(entries: &[(&str, Option<u32>)]) -> Vec<u8> {
        let mut saved = Saved::default();
        entries.iter().for_each(|(key, value)| saved.put(7, key, value.as_ref()));
        saved.into_sections().remove(&7).unwrap_or_default()
    }

    #[test]
    fn changes_that_wait_keep_what_left() {
        let mut changes = Changes::default();
        changes.push("window", 7, 1, section(&[("a", Some(1)), ("b", Some(1)), ("a", Some(2))]));
        changes.push("window", 7, 1, section(&[("b", None)]));
        changes.shrink().unwrap();
        assert_eq!(changes.0[&("window", 7)], [(1, section(&[("a", Some(2)), ("b", None)]))]);
    }

    #[test]
    fn forms_are_not_mixed_when_a_chain_is_compacted() {
        let chain = [
            (1, section(&[("a", Some(1)), ("b", Some(1))])),
            (1, section(&[("c", Some(1)), ("b", None)])),
            (2, section(&[("a", Some(2)), ("a", None)])),
            (2, section(&[("d", Some(2))])),
        ];
        let compacted = compact_chain("window", &chain).unwrap();
        let expected =
            [(1, section(&[("a", Some(1)), ("c", Some(1))])), (2, section(&[("a", None), ("d", Some(2))]))];
        assert_eq!(compacted, expected);
    }

    #[test]
    fn an_epoch_is_complete_when_everyone_is_and_takes_the_incomplete_before_along() {
        let mut gathering = Gathering::default();
        gathering.saver("window", 0);
        gathering.saver("window", 1);
        let saved = |value: u32| {
            let mut saved = Saved::default();
            saved.put(7, "a", Some(&value));
            saved
        };
        gathering.add("window", 1, 3, saved(1));
        assert_eq!(gathering.done("window", 1, 3), None);
        gathering.add("window", 1, 7, saved(2));
        assert_eq!(gathering.done("window", 0, 7), None);
        let changes = gathering.done("window", 1, 7).unwrap();
        assert_eq!(changes.0[&("window", 7)], [(1, section(&[("a", Some(1)), ("a", Some(2))]))]);
        assert_eq!(gathering.done("window", 0, 11), None);
    }
}
