//! The cold tier: state that is too old to be needed soon, and may still be needed.
//!
//! ```text
//!  stage ──sealed, a batch per closing──► cold tier ──with the next checkpoint──► volumes beside the parts
//!    ▲                                        │
//!    └──thawed, records of one facility───────┘   newest first, when late data or the registry ask for them
//! ```
//!
//! Enters: records by facility, in batches. Leaves: the records of one facility, newest first. Guarantees: what was put is
//! found until it is forgotten, also after a restart: a batch is part of every checkpoint from its epoch on, and of none
//! before. Whether something lies here or in memory never shows in what a stage tells.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

use schemas::{Code, Epoch, Millis};

use crate::durable::RestoreError;

/// What a stage seals at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Name of the state that it is part of.
    pub state: &'static str,
    /// The form of its records.
    pub form: u16,
    /// The epoch in which it was put.
    pub epoch: Epoch,
    /// All of it lies before this time.
    pub until: Millis,
    /// Records by facility.
    pub records: BTreeMap<Code, Vec<u8>>,
}

impl Batch {
    /// The record of a facility.
    #[must_use]
    pub fn found(&self, facility: &str) -> Option<Found<'_>> {
        let record = self.records.get(facility)?;
        Some(Found { form: self.form, until: self.until, record })
    }
}

/// A record that was found.
#[derive(Clone, Copy, Debug)]
pub struct Found<'a> {
    /// Its form.
    pub form: u16,
    /// All of it lies before this time.
    pub until: Millis,
    /// The record.
    pub record: &'a [u8],
}

/// Is given a record; answers whether it wants one more.
pub type Take<'a> = dyn FnMut(Found<'_>) -> bool + 'a;

/// Where stages put what they seal.
pub trait ColdTier {
    /// Takes a batch. Batches of a state come in the order of their epochs.
    fn put(&self, batch: Batch);

    /// Gives the records of a facility in batches that reach beyond `from`, newest first, until `take` wants no more.
    /// Where one cannot be read it is as after [`ColdTier::fail`].
    fn find(&self, state: &'static str, facility: &str, from: Millis, take: &mut Take<'_>);

    /// Says that a record is not what it must be: the epoch under way tells nothing, and the process ends.
    fn fail(&self, error: RestoreError);

    /// Says that from an epoch on nobody asks for what lies before a time.
    fn forget(&self, state: &'static str, epoch: Epoch, before: Millis);
}

/// A cold tier in memory: for tests, and for stages of which nothing is restored.
#[derive(Debug, Default)]
pub struct MemoryTier {
    batches: RefCell<Vec<Batch>>,
    failure: RefCell<Option<RestoreError>>,
    /// Nothing is let go, so that a test can go back to any epoch.
    keeps: bool,
}

impl MemoryTier {
    /// An empty one.
    #[must_use]
    pub fn shared() -> Rc<MemoryTier> {
        Rc::default()
    }
}

#[cfg(test)]
impl MemoryTier {
    /// One that keeps what is forgotten, to be restored from any epoch.
    pub(crate) fn keeping() -> Rc<MemoryTier> {
        Rc::new(MemoryTier { keeps: true, ..MemoryTier::default() })
    }

    /// What a process finds that goes on from the end of an epoch.
    pub(crate) fn restored(&self, epoch: Epoch) -> Rc<MemoryTier> {
        let kept = self.batches.borrow().iter().filter(|batch| batch.epoch <= epoch).cloned().collect();
        Rc::new(MemoryTier { batches: RefCell::new(kept), keeps: self.keeps, ..MemoryTier::default() })
    }

    /// The same without some batches, by the order in which they came.
    pub(crate) fn without(&self, lost: std::ops::Range<usize>) -> Rc<MemoryTier> {
        let batches = self.batches.borrow();
        let kept = batches.iter().enumerate().filter(|(number, _)| !lost.contains(number));
        let kept = kept.map(|(_, batch)| batch.clone()).collect();
        Rc::new(MemoryTier { batches: RefCell::new(kept), ..MemoryTier::default() })
    }

    /// Records and their bytes, for memory figures.
    pub(crate) fn footprint(&self) -> (usize, usize) {
        let batches = self.batches.borrow();
        let records = || batches.iter().flat_map(|batch| batch.records.values());
        (records().count(), records().map(Vec::len).sum())
    }

    /// What was wrong with a record.
    pub(crate) fn failure(&self) -> Option<RestoreError> {
        self.failure.borrow().clone()
    }
}

impl ColdTier for MemoryTier {
    fn put(&self, batch: Batch) {
        self.batches.borrow_mut().push(batch);
    }

    fn find(&self, state: &'static str, facility: &str, from: Millis, take: &mut Take<'_>) {
        let batches = self.batches.borrow();
        let reach = batches.iter().rev().filter(|batch| batch.state == state && batch.until > from);
        let mut records = reach.filter_map(|batch| batch.found(facility));
        while records.next().is_some_and(&mut *take) {}
    }

    fn fail(&self, error: RestoreError) {
        self.failure.borrow_mut().get_or_insert(error);
    }

    /// At once: a process that is restored from an earlier epoch has a tier of its own.
    fn forget(&self, state: &'static str, _epoch: Epoch, before: Millis) {
        if !self.keeps {
            self.batches.borrow_mut().retain(|batch| batch.state != state || batch.until > before);
        }
    }
}
