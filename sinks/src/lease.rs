//! The lease: what keeps a process that another one has replaced from delivering where nothing can turn it away.
//!
//! Enters: the moments at which Kafka accepted a transaction of this process. Leaves: whether this process may act now.
//! Guarantees: after Kafka has turned a process away its lease ends within [`LENGTH`], also when it slept meanwhile; a
//! process that takes over waits as long before it acts, so that no two act at the same time.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// How long an accepted transaction counts, from the moment it was begun.
pub const LENGTH: Duration = Duration::from_secs(5);

/// The lease of one process.
#[derive(Debug)]
pub struct Lease {
    /// Until then the lease of an earlier process may last.
    from: Instant,
    /// When the last accepted transaction was begun.
    renewed: Mutex<Option<Instant>>,
}

impl Lease {
    /// The lease of a process that has turned away every earlier one before this moment.
    #[must_use]
    pub fn after(takeover: Instant) -> Lease {
        Lease { from: takeover + LENGTH, renewed: Mutex::new(None) }
    }

    /// Takes note of a transaction that was begun then and has been accepted.
    pub fn renew(&self, begun: Instant) {
        *self.renewed.lock().unwrap_or_else(PoisonError::into_inner) = Some(begun);
    }

    /// Whether this process may act.
    #[must_use]
    pub fn held(&self, now: Instant) -> bool {
        let renewed = *self.renewed.lock().unwrap_or_else(PoisonError::into_inner);
        now >= self.from && renewed.is_some_and(|renewed| now < renewed + LENGTH)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_processes_never_hold_it_at_once() {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let old = Lease::after(start);
        old.renew(at(1));
        assert!(!old.held(at(4)), "an earlier process may still hold its own");
        old.renew(at(9));
        assert!(old.held(at(10)));
        // Another one takes over at second 10; Kafka accepts nothing more of the first.
        let new = Lease::after(at(10));
        for second in 10..60 {
            new.renew(at(second));
            assert!(!(old.held(at(second)) && new.held(at(second))), "second {second}");
        }
        assert!(new.held(at(20)) && !old.held(at(20)));
    }
}
