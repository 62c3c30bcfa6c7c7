//! Sections of one epoch, gathered from all savers.
//!
//! Enters: saved entries and who is done. Leaves: the changes of an epoch once everyone is. Guarantees: changes of an
//! epoch that is never complete, or could not be written, come first in those of the next.

use std::collections::{BTreeMap, BTreeSet};

use operators::durable::{RestoreError, Saved, compact, compact_changes};
use schemas::Epoch;

use super::part::Packed;

/// Sections in the order in which they were saved, each with its form.
pub type Chain = Vec<(u16, Vec<u8>)>;

/// Bytes of a shard that are gathered before they are packed.
const CHUNK: usize = 64 << 10;

/// What was saved of one state and shard: packed as it comes, so that a checkpoint of everything takes little room
/// while it waits for the last saver.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sections {
    packed: Vec<Packed>,
    /// What follows them, with its form.
    open: Vec<u8>,
    form: u16,
}

impl Sections {
    /// Appends a section.
    fn push(&mut self, form: u16, mut section: Vec<u8>) {
        if form != self.form || self.open.len() >= CHUNK {
            self.pack();
        }
        self.form = form;
        if self.open.is_empty() {
            self.open = section;
        } else {
            self.open.append(&mut section);
        }
    }

    fn pack(&mut self) {
        if !self.open.is_empty() {
            self.packed.push(Packed::of(self.form, &std::mem::take(&mut self.open)));
        }
    }

    fn append(&mut self, mut later: Sections) {
        self.pack();
        self.packed.append(&mut later.packed);
        (self.open, self.form) = (later.open, later.form);
    }

    /// All of them as they will be stored.
    pub fn packed(&self) -> impl Iterator<Item = Packed> + '_ {
        let open = (!self.open.is_empty()).then(|| Packed::of(self.form, &self.open));
        self.packed.iter().cloned().chain(open)
    }

    /// All of them as they were saved.
    ///
    /// # Errors
    /// When what was packed does not come back.
    pub fn unpacked(&self) -> Result<Chain, String> {
        let packed = self.packed.iter().map(|packed| Ok((packed.form(), packed.unpack()?)));
        let open = (!self.open.is_empty()).then(|| Ok((self.form, self.open.clone())));
        packed.chain(open).collect()
    }

    /// Bytes of the sections themselves.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.packed.iter().map(Packed::length).sum::<u64>() + self.open.len() as u64
    }
}

/// Changes by state and shard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes(pub BTreeMap<(&'static str, u16), Sections>);

impl Changes {
    fn add(&mut self, state: &'static str, form: u16, saved: Saved) {
        for (shard, section) in saved.into_sections() {
            self.push(state, shard, form, section);
        }
    }

    /// Appends a section.
    pub fn push(&mut self, state: &'static str, shard: u16, form: u16, section: Vec<u8>) {
        self.0.entry((state, shard)).or_default().push(form, section);
    }

    /// Appends what came later.
    pub fn append(&mut self, later: Changes) {
        for (key, sections) in later.0 {
            self.0.entry(key).or_default().append(sections);
        }
    }

    /// Leaves the last of every key, so that changes that wait do not outgrow the state.
    ///
    /// # Errors
    /// When a section is not a sequence of entries.
    pub fn shrink(&mut self) -> Result<(), String> {
        for ((state, _), sections) in &mut self.0 {
            let mut shrunk = Sections::default();
            for run in sections.unpacked()?.chunk_by(|a, b| a.0 == b.0) {
                let run_of: Vec<&[u8]> = run.iter().map(|(_, section)| section.as_slice()).collect();
                let section = compact_changes(state, &run_of).map_err(|error| error.to_string())?;
                shrunk.push(run[0].0, section);
                shrunk.pack();
            }
            *sections = shrunk;
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
        let shrunk = changes.0[&("window", 7)].unpacked().unwrap();
        assert_eq!(shrunk, [(1, section(&[("a", Some(2)), ("b", None)]))]);
    }

    #[test]
    fn much_is_packed_as_it_comes_and_forms_are_kept_apart() {
        let value = "heating ".repeat(1_000);
        let sections: Vec<_> = (0..40_u32)
            .map(|number| {
                let mut saved = Saved::default();
                saved.put(7, &number, Some(&value));
                (u16::from(number >= 20) + 1, saved.into_sections().remove(&7).unwrap_or_default())
            })
            .collect();
        let mut changes = Changes::default();
        sections.iter().for_each(|(form, section)| changes.push("window", 7, *form, section.clone()));
        let gathered = &changes.0[&("window", 7)];
        assert!(gathered.packed.len() > 2 && gathered.open.len() < 2 * CHUNK);
        let of = |form| sections.iter().filter(move |(own, _)| *own == form).flat_map(|(_, s)| s.clone());
        for chain in [gathered.unpacked().unwrap(), unpack_all(gathered.packed())] {
            for form in [1, 2] {
                let bytes = chain.iter().filter(|(own, _)| *own == form).flat_map(|(_, s)| s.clone());
                assert!(bytes.eq(of(form)), "form {form}");
            }
            assert_eq!(chain.iter().map(|(_, section)| section.len() as u64).sum::<u64>(), gathered.length());
        }
    }

    fn unpack_all(packed: impl Iterator<Item = Packed>) -> Chain {
        packed.map(|packed| (packed.form(), packed.unpack().unwrap())).collect()
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
        let both = changes.0[&("window", 7)].unpacked().unwrap();
        assert_eq!(both, [(1, section(&[("a", Some(1))])), (1, section(&[("a", Some(2))]))]);
        assert_eq!(gathering.done("window", 0, 11), None);
    }
}
