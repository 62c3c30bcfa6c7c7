//! Why a figure changed: a cause, and the record that brought it about.
//!
//! Reasons travel beside the facts, not in them: facts say what holds, whatever way it came about.

use std::hash::Hash;

use rustc_hash::FxHashMap;
use schemas::{KpiCause, RecordPlace};
use serde::{Deserialize, Serialize};

/// Why a window changed in an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// The cause.
    pub cause: KpiCause,
    /// The record, where it was one.
    pub by: Option<RecordPlace>,
}

impl Default for Reason {
    fn default() -> Reason {
        Reason::LIVE
    }
}

impl Reason {
    /// Data came in its turn.
    pub const LIVE: Reason = Reason { cause: KpiCause::Live, by: None };
    /// The window ended.
    pub const CLOSED: Reason = Reason { cause: KpiCause::Closed, by: None };

    /// The registry changed with a record.
    #[must_use]
    pub fn registry(by: Option<RecordPlace>) -> Reason {
        Reason { cause: KpiCause::Registry, by }
    }

    /// Whether data came in its turn.
    #[must_use]
    pub fn is_live(self) -> bool {
        self.cause == KpiCause::Live
    }

    /// The graver of two; of two as grave, that of the later record.
    #[must_use]
    pub fn or_graver(self, other: Reason) -> Reason {
        let rank = |reason: Reason| (gravity(reason.cause), reason.by);
        if rank(other) > rank(self) { other } else { self }
    }

    /// Why the window that holds one with this reason changed. While it goes on, its parts end and are late; it is not.
    #[must_use]
    pub fn of_longer(self, over: bool) -> Reason {
        match self.cause {
            KpiCause::Closed | KpiCause::Late | KpiCause::Redriven if !over => Reason::LIVE,
            _ => self,
        }
    }
}

/// Why things changed, each by the gravest reason; what is not named changed because data came in its turn.
#[derive(Debug)]
pub struct Reasons<K>(FxHashMap<K, Reason>);

impl<K> Default for Reasons<K> {
    fn default() -> Reasons<K> {
        Reasons(FxHashMap::default())
    }
}

impl<K: Eq + Hash> Reasons<K> {
    /// Notes one more reason.
    pub fn add(&mut self, key: K, reason: Reason) {
        if !reason.is_live() {
            let known = self.0.entry(key).or_default();
            *known = known.or_graver(reason);
        }
    }

    /// Why something changed.
    #[must_use]
    pub fn of(&self, key: &K) -> Reason {
        self.0.get(key).copied().unwrap_or_default()
    }

    /// Hands over what is named, in no order, and starts anew.
    pub fn take(&mut self) -> impl Iterator<Item = (K, Reason)> + use<K> {
        std::mem::take(&mut self.0).into_iter()
    }
}

/// How much a cause says: where several hold, the one that says most is told.
fn gravity(cause: KpiCause) -> u8 {
    match cause {
        KpiCause::Live => 0,
        KpiCause::Closed => 1,
        KpiCause::Late => 2,
        KpiCause::Redriven => 3,
        KpiCause::Corrected => 4,
        KpiCause::Registry => 5,
    }
}

#[cfg(test)]
mod tests {
    use schemas::Topic;

    use super::*;

    fn reason(cause: KpiCause, offset: i64) -> Reason {
        Reason { cause, by: Some(RecordPlace { topic: Topic::Reports, partition: 0, offset }) }
    }

    #[rstest::rstest]
    #[case::live(Reason::LIVE, Reason::CLOSED, Reason::CLOSED)]
    #[case::late(reason(KpiCause::Late, 1), Reason::CLOSED, reason(KpiCause::Late, 1))]
    #[case::redriven(reason(KpiCause::Late, 2), reason(KpiCause::Redriven, 1), reason(KpiCause::Redriven, 1))]
    #[case::corrected(
        reason(KpiCause::Late, 2),
        reason(KpiCause::Corrected, 1),
        reason(KpiCause::Corrected, 1)
    )]
    #[case::registry(reason(KpiCause::Corrected, 1), Reason::registry(None), Reason::registry(None))]
    #[case::the_later_record(reason(KpiCause::Late, 1), reason(KpiCause::Late, 2), reason(KpiCause::Late, 2))]
    fn the_gravest_is_named(#[case] one: Reason, #[case] other: Reason, #[case] want: Reason) {
        assert_eq!((one.or_graver(other), other.or_graver(one)), (want, want));
    }

    #[test]
    fn a_longer_window_is_late_only_when_it_is_over() {
        let late = reason(KpiCause::Late, 1);
        assert_eq!((late.of_longer(false), late.of_longer(true)), (Reason::LIVE, late));
        assert_eq!(reason(KpiCause::Corrected, 1).of_longer(false), reason(KpiCause::Corrected, 1));
    }
}
