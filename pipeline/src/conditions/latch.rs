//! The hysteresis of a condition: it turns only when signs against it have lasted. Pure: time is an argument.

use std::{fmt, time::Duration};

/// How long the signs of a condition must last before it is raised, and how long their absence before it is cleared.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    pub(super) raise: Duration,
    pub(super) clear: Duration,
}

impl fmt::Display for Patience {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}", self.raise.as_secs(), self.clear.as_secs())
    }
}

impl Patience {
    /// In seconds.
    pub(super) const fn seconds(raise: u64, clear: u64) -> Patience {
        Patience { raise: Duration::from_secs(raise), clear: Duration::from_secs(clear) }
    }
}

/// What a sight says about a condition.
#[derive(Clone, Debug, PartialEq)]
pub enum Sign {
    /// It holds.
    Bad(String),
    /// It holds, and another detail is told while it does.
    Growing(String),
    /// Neither: between the limit that raises and the one that clears.
    Unclear,
    /// It does not hold.
    Good,
}

impl Sign {
    pub(super) fn of(wrong: Option<String>) -> Sign {
        wrong.map_or(Sign::Good, Sign::Bad)
    }
}

/// One condition with its hysteresis.
#[derive(Clone, Debug, Default)]
pub(super) struct Latch {
    pub(super) on: bool,
    /// Since when the signs have been against what it says.
    since: Option<Duration>,
    pub(super) detail: String,
}

impl Latch {
    /// One that says this, against which there are no signs.
    pub(super) fn that_is(on: bool) -> Latch {
        Latch { on, ..Latch::default() }
    }

    /// Takes a sign; true when the latch turned, or has another detail to tell.
    pub(super) fn update(&mut self, now: Duration, sign: &Sign, patience: Patience) -> bool {
        let (against, wait) = match sign {
            Sign::Growing(detail) if self.on => {
                self.since = None;
                return std::mem::replace(&mut self.detail, detail.clone()) != *detail;
            }
            Sign::Bad(_) | Sign::Growing(_) => (!self.on, patience.raise),
            Sign::Good => (self.on, patience.clear),
            Sign::Unclear => (false, Duration::ZERO),
        };
        if !against {
            self.since = None;
            return false;
        }
        let since = *self.since.get_or_insert(now);
        if now.saturating_sub(since) < wait {
            return false;
        }
        self.on = !self.on;
        self.since = None;
        self.detail = match sign {
            Sign::Bad(detail) | Sign::Growing(detail) => detail.clone(),
            Sign::Unclear | Sign::Good => String::new(),
        };
        true
    }
}
