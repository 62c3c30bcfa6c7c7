//! Arrivals that brought no readings of their own, in their place among the reports of their object.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;
use schemas::Millis;

use crate::{Heard, Object};

/// Arrivals of an epoch that brought no readings of their own, by object. An epoch of a backlog holds hours: they are taken
/// where they belong among the reports of their object.
pub(super) struct Others<'a>(FxHashMap<&'a Object, VecDeque<&'a Heard>>);

impl<'a> Others<'a> {
    pub(super) fn of(heard: &'a [Heard]) -> Others<'a> {
        let mut others: FxHashMap<&Object, VecDeque<&Heard>> = FxHashMap::default();
        for heard in heard {
            others.entry(&heard.object).or_default().push_back(heard);
        }
        Others(others)
    }

    /// The next one of an object that came no later than a report of it.
    pub(super) fn next(&mut self, object: &Object, at: Millis) -> Option<&'a Heard> {
        if self.0.is_empty() {
            return None;
        }
        let others = self.0.get_mut(object)?;
        others.front().filter(|heard| heard.received_at <= at)?;
        others.pop_front()
    }

    /// What is left, by object.
    pub(super) fn rest(self) -> impl Iterator<Item = &'a Heard> {
        let mut rest: Vec<_> = self.0.into_iter().collect();
        rest.sort_unstable_by_key(|(object, _)| *object);
        rest.into_iter().flat_map(|(_, heard)| heard)
    }
}
