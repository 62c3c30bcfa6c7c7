//! The kinds of conditions: a file each, and an entry in [`ALL`].

mod checkpoint_failing;
mod clock_skew;
mod data_lost;
mod disk_nearly_full;
mod lag;
mod late_data;
mod no_data;
mod sink_down;
mod source_down;

use super::{Patience, Sign, View};

/// What is said of each subject of a kind.
pub type Signs = Vec<(String, Sign)>;

/// Something that can be wrong with the platform.
#[derive(Debug)]
pub struct Kind {
    /// The rule code of its alarms, by which bindings and checkpoints know it.
    pub code: &'static str,
    /// The level of its alarms: 1 (gravest) to 3.
    pub level: u8,
    /// What to do about it.
    pub advice: &'static str,
    /// How long signs must last.
    pub patience: Patience,
    /// What can be seen of every subject.
    pub signs: fn(&View<'_>) -> Signs,
}

/// Every kind, in the order in which changes of one epoch are recorded.
pub const ALL: &[&Kind] = &[
    &sink_down::KIND,
    &lag::KIND,
    &no_data::KIND,
    &checkpoint_failing::KIND,
    &disk_nearly_full::KIND,
    &clock_skew::KIND,
    &source_down::KIND,
    &data_lost::KIND,
    &late_data::KIND,
];

impl Kind {
    /// The kind of a code.
    #[must_use]
    pub fn of(code: &str) -> Option<&'static Kind> {
        ALL.iter().copied().find(|kind| kind.code == code)
    }
}

/// That of sinks: bindings of the first version named it by its subject alone.
pub(super) const SINK_DOWN: &Kind = &sink_down::KIND;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_known_by_their_codes() {
        let codes: std::collections::BTreeSet<&str> = ALL.iter().map(|kind| kind.code).collect();
        assert_eq!(codes.len(), ALL.len(), "a code names one kind");
        for kind in ALL {
            assert!(Kind::of(kind.code).is_some_and(|known| known.code == kind.code));
            assert!((1..=3).contains(&kind.level) && !kind.advice.is_empty(), "{}", kind.code);
            assert!(!kind.code.contains('/'), "the subject begins behind it");
        }
        assert!(Kind::of("sink_up").is_none());
    }
}
