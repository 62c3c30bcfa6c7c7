//! Turns changed facts into rows, once per aligned group of epochs.
//!
//! Enters: changed windows of facilities, and changes of roll-ups as differential's `count` gives them. Leaves: at the
//! end of each group, the KPIs and quality figures that differ between the group's first state and its last.
//! Guarantees: at most one row per key and group; group boundaries depend on the epoch alone; sorted. Between groups
//! nothing is kept.

use std::rc::Rc;

use schemas::{Epoch, KpiRow, Millis, Period, QualityRow, Scope};

use super::{Published, quality};
use crate::{
    reason::{Reason, Reasons},
    window::{Facts, Horizon, WindowedEpoch},
};

/// Gathers the changes of a group of epochs.
#[derive(Debug)]
pub struct Revise {
    group_epochs: u64,
    published: &'static Published,
    /// Epochs with the changed windows of facilities.
    facilities: Vec<Rc<WindowedEpoch>>,
    /// Facts of roll-ups retracted (-1) and inserted (1).
    roll_ups: Vec<(Key, Facts, i64)>,
    /// Why roll-ups changed, where not because data came in its turn.
    reasons: Reasons<Key>,
}

/// What a group of epochs revises.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Revised {
    /// KPIs, sorted by (kpi, scope, period, window).
    pub kpis: Vec<KpiRow>,
    /// Quality figures, sorted by (scope, period, window).
    pub quality: Vec<QualityRow>,
}

type Key = (Scope, Period, Millis);

#[derive(Debug)]
struct Change<'a> {
    key: (&'a Scope, Period, Millis),
    before: Option<&'a Facts>,
    after: Option<&'a Facts>,
    reason: Reason,
}

impl Revise {
    /// Groups of this many epochs, at least 1; a group ends with each epoch e for which e + 1 is a multiple of it.
    #[must_use]
    pub fn new(group_epochs: u64) -> Revise {
        let (group_epochs, published) = (group_epochs.max(1), Published::in_force());
        let (facilities, roll_ups, reasons) = (Vec::new(), Vec::new(), Reasons::default());
        Revise { group_epochs, published, facilities, roll_ups, reasons }
    }

    /// Whether an epoch is the last of its group.
    #[must_use]
    pub fn ends_group(&self, epoch: Epoch) -> bool {
        (epoch + 1).is_multiple_of(self.group_epochs)
    }

    /// Takes an epoch with the changed windows of facilities. Epochs come in order.
    pub fn push_facilities(&mut self, windowed: Rc<WindowedEpoch>) {
        self.facilities.push(windowed);
    }

    /// Takes the changed roll-ups of one epoch: facts retracted (-1) and inserted (1). `horizon` is that of the epoch's
    /// [`crate::window::WindowedEpoch`]: what is closed is being forgotten, and that is no change.
    pub fn push_roll_ups(&mut self, horizon: Horizon, changes: impl IntoIterator<Item = (Key, Facts, i64)>) {
        let open = changes.into_iter().filter(|((_, period, start), ..)| !horizon.is_closed(*period, *start));
        self.roll_ups.extend(open);
    }

    /// Takes why roll-ups of one epoch changed.
    pub fn push_reasons(&mut self, reasons: impl IntoIterator<Item = (Key, Reason)>) {
        reasons.into_iter().for_each(|(key, reason)| self.reasons.add(key, reason));
    }

    /// Ends an epoch; what changed in its group when it is the last of it, else nothing.
    pub fn close(&mut self, epoch: Epoch) -> Revised {
        if !self.ends_group(epoch) {
            return Revised::default();
        }
        let (facilities, roll_ups) =
            (std::mem::take(&mut self.facilities), std::mem::take(&mut self.roll_ups));
        let reasons = std::mem::take(&mut self.reasons);
        let windows = facilities.iter().flat_map(|windowed| &windowed.facility).map(|windowed| Change {
            key: (&windowed.scope, windowed.period, windowed.window_start),
            before: Some(&windowed.before),
            after: Some(&windowed.after),
            reason: windowed.reason,
        });
        let sums = roll_ups.iter().map(|(key, facts, difference)| Change {
            key: (&key.0, key.1, key.2),
            before: (*difference < 0).then_some(facts),
            after: (*difference >= 0).then_some(facts),
            reason: reasons.of(key),
        });
        let mut changes: Vec<Change<'_>> = windows.chain(sums).collect();
        // Within an epoch a retraction and an insertion of a key come in either order.
        changes.sort_by(|a, b| a.key.cmp(&b.key));
        let mut revised = Revised::default();
        for group in changes.chunk_by(|a, b| a.key == b.key) {
            let (first, last) = ends(group);
            let reason = group.iter().fold(Reason::LIVE, |gravest, change| gravest.or_graver(change.reason));
            self.revise(group[0].key, (first, last.unwrap_or(&Facts::default())), reason, &mut revised);
        }
        let by = |row: &KpiRow| (row.kpi.clone(), row.scope.clone(), row.period, row.window_start);
        revised.kpis.sort_by_cached_key(by);
        revised
    }

    fn revise(
        &self,
        (scope, period, start): (&Scope, Period, Millis),
        (before, after): (Option<&Facts>, &Facts),
        reason: Reason,
        revised: &mut Revised,
    ) {
        if before == Some(after) {
            return;
        }
        revised.kpis.extend(self.published.rows(scope, period, start, (before, after), reason));
        let figures = |facts| quality::row(scope, period, start, facts);
        let row = figures(after);
        if row != before.and_then(figures) {
            revised.quality.extend(row);
        }
    }
}

/// The state before the changes of one key, in the order of epochs, and after them.
///
/// Whole changes say it at once. Retractions and insertions form a chain in which every state but the first and the
/// last is both inserted and retracted, so what remains unpaired are the ends.
fn ends<'a>(changes: &[Change<'a>]) -> (Option<&'a Facts>, Option<&'a Facts>) {
    if let (Some(first), Some(last)) = (changes.first(), changes.last())
        && first.before.is_some()
        && first.after.is_some()
    {
        return (first.before, last.after);
    }
    let mut balance: Vec<(&Facts, i64)> = Vec::with_capacity(changes.len());
    for change in changes {
        let (facts, difference) = match (change.before, change.after) {
            (Some(before), _) => (before, -1),
            (None, Some(after)) => (after, 1),
            (None, None) => continue,
        };
        match balance.iter_mut().find(|(known, _)| *known == facts) {
            Some((_, sum)) => *sum += difference,
            None => balance.push((facts, difference)),
        }
    }
    let end = |sign| balance.iter().find(|(_, sum)| sum.signum() == sign).map(|(facts, _)| *facts);
    (end(-1), end(1))
}

#[cfg(test)]
mod tests {
    use schemas::{Code, ScopeKind};

    use super::{super::tests::facts, *};
    use crate::window::{Component, Windowed};

    fn key(code: &'static str, start: Millis) -> Key {
        (Scope { kind: ScopeKind::City, code: Code::const_new(code) }, Period::Hour, start)
    }

    fn heat(gigajoules: i64) -> Facts {
        let mut facts = facts(&[(Component::HeatTime, 1_000), (Component::StationSpan, 1_000)]);
        facts.add(Component::Heat, gigajoules * 1_000_000_000);
        facts
    }

    #[test]
    fn a_group_gives_the_last_state_once() {
        let mut revise = Revise::new(4);
        let all = Horizon::NOTHING_CLOSED;
        revise.push_roll_ups(all, [(key("B", 0), heat(1), 1), (key("A", 0), heat(7), 1)]);
        assert_eq!(revise.close(4), Revised::default());
        revise.push_roll_ups(all, [(key("B", 0), heat(3), 1), (key("B", 0), heat(1), -1)]);
        assert_eq!(revise.close(5), Revised::default());
        assert_eq!(revise.close(6), Revised::default());
        let told = |revised: &Revised| -> Vec<_> {
            let row = |r: &KpiRow| (r.kpi.to_string(), r.scope.code.to_string(), r.previous, r.value);
            revised.kpis.iter().map(row).collect()
        };
        let row =
            |code: &str, previous, value| ("heat_supplied".to_owned(), code.to_owned(), previous, value);
        assert_eq!(told(&revise.close(7)), [row("A", None, Some(7.0)), row("B", None, Some(3.0))]);
        revise.push_roll_ups(all, [(key("B", 0), heat(3), -1), (key("B", 0), heat(4), 1)]);
        revise.push_roll_ups(all, [(key("A", 0), heat(7), -1), (key("A", 0), heat(8), 1)]);
        revise.push_roll_ups(all, [(key("A", 0), heat(8), -1), (key("A", 0), heat(7), 1)]);
        assert_eq!(told(&revise.close(11)), [row("B", Some(3.0), Some(4.0))]);
        assert_eq!(revise.close(15), Revised::default());
    }

    #[test]
    fn a_closed_window_is_no_change() {
        let mut revise = Revise::new(1);
        let horizon = Horizon { hour: 10, day: 0 };
        revise.push_roll_ups(horizon, [(key("A", 9), heat(1), -1), (key("A", 10), heat(1), -1)]);
        let told = revise.close(0);
        assert_eq!(told.kpis.len(), 1);
        assert_eq!((told.kpis[0].window_start, told.kpis[0].value), (10, None));
    }

    #[test]
    fn facilities_come_with_both_states() {
        let mut revise = Revise::new(2);
        let windowed = |before, after| {
            let (scope, period, window_start) = key("A", 0);
            Rc::new(WindowedEpoch {
                facility: vec![Windowed { scope, period, window_start, before, after, reason: Reason::LIVE }],
                ..WindowedEpoch::default()
            })
        };
        revise.push_facilities(windowed(Facts::new(), heat(1)));
        revise.push_facilities(windowed(heat(1), heat(2)));
        let told = revise.close(1);
        assert_eq!((told.kpis.len(), told.kpis[0].previous, told.kpis[0].value), (1, None, Some(2.0)));
    }
}
