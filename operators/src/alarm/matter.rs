//! What events say is the matter with a facility, and since when: what signals of events are the sum of.

use schemas::Millis;
use serde::{Deserialize, Serialize};

/// Something that is the matter.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Matter {
    /// Since when.
    pub from: Millis,
    /// Until when; `None` while it lasts.
    pub until: Option<Millis>,
    /// How much of the signal it is.
    pub value: f64,
}

impl Matter {
    /// Whether it was over before a time.
    #[must_use]
    pub fn is_over(&self, at: Millis) -> bool {
        self.until.is_some_and(|until| until < at)
    }

    /// Whether it is the matter at a time.
    #[must_use]
    pub fn holds(&self, at: Millis) -> bool {
        self.from <= at && self.until.is_none_or(|until| at < until)
    }

    /// The times at which it changes the signal.
    pub fn times(&self) -> impl Iterator<Item = Millis> {
        std::iter::once(self.from).chain(self.until)
    }
}
