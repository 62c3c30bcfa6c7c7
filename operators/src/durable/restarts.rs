//! Stages that are interrupted against one that is not: what the pipeline does with checkpoints, as simple as can be.
//!
//! Enters: epochs, and what happens between them. Guarantees: whatever happens, every epoch tells what it told without
//! interruption, and the epoch that gives the registry back tells nothing.

use std::collections::BTreeMap;

use proptest::prelude::*;
use schemas::Code;

use super::{Durable, GLOBAL, Saved, compact, holder, shard};
use crate::{ProfileChange, Stage};

/// An epoch that can be divided between workers.
pub trait Divided: Sized {
    /// What belongs to the facilities that a worker holds.
    fn share(&self, holds: &dyn Fn(&str) -> bool) -> Self;
    /// What the registry changes.
    fn profiles(&self) -> &[ProfileChange];
    /// The same epoch carrying nothing but these profiles.
    fn again(&self, profiles: Vec<ProfileChange>) -> Self;
}

/// What an epoch told: facility, and what was said of it in that order.
pub type Told = Vec<(String, String)>;

/// What happens after an epoch.
#[derive(Clone, Debug)]
pub enum Event {
    /// Nothing.
    Quiet,
    /// A checkpoint begins.
    Begin,
    /// So many more entries are saved, per worker.
    Save(usize),
    /// All workers die, and so many go on from the last checkpoint.
    Crash(usize),
}

/// Courses in which checkpoints are often completed between crashes.
pub fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        3 => Just(Event::Quiet),
        4 => Just(Event::Begin),
        6 => Just(Event::Save(3)),
        3 => Just(Event::Save(100)),
        2 => (1..=3_usize).prop_map(Event::Crash),
    ];
    prop::collection::vec(event, 0..60)
}

struct UnderWay {
    next: usize,
    sections: Vec<Saved>,
    done: bool,
}

struct Course<'a, S: Stage> {
    new: &'a dyn Fn() -> S,
    epochs: &'a [S::Input],
    stages: Vec<S>,
    chains: BTreeMap<u16, Vec<Vec<u8>>>,
    /// The epoch after the last checkpoint.
    committed: usize,
    under_way: Option<UnderWay>,
}

/// Applies the epochs without interruption and with it, and compares what is told and how many entries are held.
pub fn never_show<S>(new: &dyn Fn() -> S, epochs: &[S::Input], events: &[Event], told: fn(&S::Output) -> Told)
where
    S: Stage + Durable,
    S::Input: Divided,
{
    let mut uninterrupted = new();
    let expected: Vec<_> = epochs
        .iter()
        .map(|epoch| (by_facility(told(&uninterrupted.apply(epoch))), uninterrupted.entries()))
        .collect();
    let mut course =
        Course { new, epochs, stages: vec![new()], chains: BTreeMap::new(), committed: 0, under_way: None };
    let (mut events, mut next) = (events.iter(), 0);
    while next < epochs.len() {
        let outputs = course.apply(&epochs[next]);
        let all = by_facility(outputs.iter().flat_map(told).collect());
        let entries = course.stages.iter().map(Stage::entries).sum();
        assert_eq!((all, entries), expected[next], "epoch {next}");
        next += 1;
        match events.next() {
            None | Some(Event::Quiet) => {}
            Some(Event::Begin) => course.begin(next),
            Some(Event::Save(entries)) => course.save(*entries),
            Some(Event::Crash(workers)) => next = course.restart(*workers, told),
        }
    }
}

fn by_facility(mut told: Told) -> Told {
    told.sort_by(|a, b| a.0.cmp(&b.0));
    told
}

impl<S> Course<'_, S>
where
    S: Stage + Durable,
    S::Input: Divided,
{
    fn apply(&mut self, epoch: &S::Input) -> Vec<S::Output> {
        let workers = self.stages.len();
        let share = |worker| epoch.share(&|code: &str| holder(shard(code), workers) == worker);
        self.stages.iter_mut().enumerate().map(|(worker, stage)| stage.apply(&share(worker))).collect()
    }

    fn begin(&mut self, next: usize) {
        self.stages.iter_mut().for_each(Durable::begin);
        let under_way = self.under_way.take();
        let sections = under_way.map_or_else(|| vec![Saved::default(); self.stages.len()], |u| u.sections);
        self.under_way = Some(UnderWay { next, sections, done: false });
    }

    fn save(&mut self, entries: usize) {
        let Some(under_way) = &mut self.under_way else { return };
        let pairs = self.stages.iter_mut().zip(&mut under_way.sections);
        under_way.done =
            pairs.filter_map(|(stage, out)| (!stage.save(entries, out)).then_some(())).count() == 0;
        if !under_way.done {
            return;
        }
        let Some(done) = self.under_way.take() else { return };
        self.committed = done.next;
        for (worker, saved) in done.sections.into_iter().enumerate() {
            for (shard, section) in saved.into_sections() {
                if shard != GLOBAL {
                    assert_eq!(holder(shard, self.stages.len()), worker, "a section of another worker");
                } else if worker != 0 {
                    continue;
                }
                self.chains.entry(shard).or_default().push(section);
            }
        }
    }

    /// Goes back to the last checkpoint; answers with the epoch after it.
    fn restart(&mut self, workers: usize, told: fn(&S::Output) -> Told) -> usize {
        self.under_way = None;
        self.stages = (0..workers).map(|_| (self.new)()).collect();
        if self.committed == 0 {
            return 0;
        }
        for (shard, chain) in &mut self.chains {
            if self.committed.is_multiple_of(2) {
                *chain = vec![compact(S::STATE, chain).unwrap()];
            }
            for (worker, stage) in self.stages.iter_mut().enumerate() {
                if *shard == GLOBAL || holder(*shard, workers) == worker {
                    chain.iter().for_each(|section| stage.restore(*shard, S::FORM, section).unwrap());
                }
            }
        }
        let mut registry: BTreeMap<Code, ProfileChange> = BTreeMap::new();
        for change in self.epochs[..self.committed].iter().flat_map(Divided::profiles) {
            match change.profile {
                Some(_) => drop(registry.insert(change.facility.clone(), change.clone())),
                None => drop(registry.remove(&change.facility)),
            }
        }
        let again = self.epochs[self.committed - 1].again(registry.into_values().collect());
        let outputs = self.apply(&again);
        assert_eq!(outputs.iter().flat_map(told).collect::<Told>(), [], "nothing may leave when restored");
        self.committed
    }
}

/// A section in whose place of some bytes others of the same length stand, such as the code of a metric.
pub fn with(section: &[u8], bytes: &[u8], instead: &[u8]) -> Vec<u8> {
    assert_eq!(bytes.len(), instead.len());
    let found = section.windows(bytes.len()).position(|window| window == bytes);
    let start = found.unwrap_or_else(|| panic!("{bytes:?} is not in the section"));
    let mut section = section.to_vec();
    section[start..start + bytes.len()].copy_from_slice(instead);
    section
}

/// Bytes as a test writes them down.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The bytes of what [`hex`] gave; what is no digit is passed over.
pub fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(16)).collect();
    digits.chunks(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect()
}
