//! Writing parts: the changes of an epoch, and in the same part whatever is due to be compacted.
//!
//! Enters: the state of the store after the checkpoint before, and the changes of an epoch. Leaves: a durable part, and
//! the state after it. Guarantees: nothing is changed in memory unless the part is durable, so a failure can be
//! repeated.

use std::collections::{BTreeMap, BTreeSet};

use sinks::failpoint;

use super::{
    gather::{Chain, Changes, Sections, compact_chain},
    manifest::{Chains, Section},
    part::{self, Packed, Part},
    volume::Volume,
};
use crate::place::{Id, Name, Store};

/// What the chains of all states are.
#[derive(Clone, Debug, Default)]
pub struct Written {
    /// The parts that are named, with their lengths.
    pub parts: BTreeMap<Id, u64>,
    /// The chains.
    pub chains: Chains,
    /// What is sealed.
    pub volumes: Vec<Volume>,
}

impl Written {
    /// Writes the changes of an epoch and gives what the chains are after it. `compact_after` sections of a shard are
    /// rewritten as one.
    ///
    /// # Errors
    /// What went wrong, in words; nothing was changed then.
    pub fn write(
        &self,
        store: &dyn Store,
        id: Id,
        changes: &Changes,
        states: &'static [&'static str],
        compact_after: usize,
    ) -> Result<Written, String> {
        let mut next = self.clone();
        let mut part = Part::new(id);
        let (wasteful, nothing) = (self.wasteful(), Sections::default());
        for state in states {
            let mut shards: BTreeSet<u16> =
                changes.0.range((*state, 0)..=(*state, u16::MAX)).map(|((_, shard), _)| *shard).collect();
            let held = self.chains.get(*state);
            let moved = held
                .into_iter()
                .flatten()
                .filter(|(_, chain)| chain.iter().any(|section| wasteful.contains(&section.part)));
            shards.extend(moved.map(|(shard, _)| *shard));
            for shard in shards {
                let chain = held.and_then(|shards| shards.get(&shard)).map_or(&[][..], Vec::as_slice);
                let new = changes.0.get(&(*state, shard)).unwrap_or(&nothing);
                let moved = chain.iter().any(|section| wasteful.contains(&section.part));
                let placed = if moved || is_long(shard, chain, new, compact_after) {
                    let mut whole = read_chain(store, chain)?;
                    whole.append(&mut new.unpacked()?);
                    let compacted = compact_chain(state, &whole).map_err(|error| error.to_string())?;
                    let sections = compacted.iter().filter(|(_, section)| !section.is_empty());
                    sections.map(|(form, section)| part.push(&Packed::of(*form, section))).collect()
                } else {
                    let mut placed = chain.to_vec();
                    placed.extend(new.packed().map(|section| part.push(&section)));
                    placed
                };
                let shards = next.chains.entry((*state).to_owned()).or_default();
                if placed.is_empty() {
                    shards.remove(&shard);
                } else {
                    shards.insert(shard, placed);
                }
            }
        }
        next.settle(id, part.length());
        if !part.is_empty() {
            let name = Name::Part(id).to_string();
            failpoint::reached("part.before");
            store.write(&name, part.into_pieces()).map_err(|error| format!("{name}: {error}"))?;
            failpoint::reached("part.after");
        }
        Ok(next)
    }

    /// Parts of which less than half is still named.
    fn wasteful(&self) -> BTreeSet<Id> {
        let mut live: BTreeMap<Id, u64> = self.parts.keys().map(|id| (*id, part::HEAD)).collect();
        for section in self.chains.values().flat_map(BTreeMap::values).flatten() {
            *live.entry(section.part).or_default() += section.stored;
        }
        let is_wasteful = |(id, length): &(&Id, &u64)| live.get(*id).copied().unwrap_or(0) * 2 < **length;
        self.parts.iter().filter(is_wasteful).map(|(id, _)| *id).collect()
    }

    /// Takes note of a new part and drops those that no chain names any more.
    fn settle(&mut self, id: Id, length: u64) {
        self.parts.insert(id, length);
        let chains = self.chains.values().flat_map(BTreeMap::values);
        let named: BTreeSet<Id> = chains.flatten().map(|section| section.part).collect();
        self.parts.retain(|id, _| named.contains(id));
    }
}

/// Whether a chain is to be rewritten: when it comes from many parts, or what follows the first of them outweighs it.
/// Shards come due at different lengths, so that not all are rewritten in the same checkpoint.
fn is_long(shard: u16, chain: &[Section], new: &Sections, compact_after: usize) -> bool {
    let spread = compact_after.div_ceil(2);
    let due = compact_after - spread + usize::from(shard) % (spread + 1);
    let bytes = |sections: &[Section]| sections.iter().map(|section| section.length).sum::<u64>();
    let mut parts = chain.chunk_by(|a, b| a.part == b.part).map(bytes);
    let length = parts.clone().count() + usize::from(new.length() > 0);
    let first = parts.next();
    let behind = parts.sum::<u64>() + new.length();
    length > due.max(2) || (length > 2 && first.is_some_and(|first| behind > first))
}

fn read_chain(store: &dyn Store, chain: &[Section]) -> Result<Chain, String> {
    let read = |section: &Section| {
        let name = Name::Part(section.part);
        let stored = store
            .read_range(&name.to_string(), section.offset, section.stored)
            .map_err(|error| format!("{name}: {error}"))?;
        let bytes = part::unpack(section, &stored).map_err(|detail| format!("{name}: {detail}"))?;
        Ok((section.form, bytes))
    };
    chain.iter().map(read).collect()
}
