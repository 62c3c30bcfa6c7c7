//! Rows of `thresholds.csv` to rules, and how they are merged.
//!
//! Enters: rows, and the rules that are there. Leaves: the rules with them. Guarantees: one rule per scope, metric,
//! side and name; a user's rule replaces the shipped one as a whole; its scope is a facility kind or a device type that can be
//! known without a registry.

use std::collections::BTreeSet;

use rustc_hash::FxHashMap;

use super::Merged;
pub(super) use crate::registry_files::rows::{THRESHOLDS as FORM, read_threshold as read};
use crate::{
    Code, FacilityKind, MetricId, Side, Threshold,
    nearest::hint,
    registry_files::{check::levels, table::Problems},
};

type Key = (Code, MetricId, Side, Code);

fn key(threshold: &Threshold) -> Key {
    (threshold.scope.clone(), threshold.metric, threshold.side, threshold.rule.clone())
}

/// Puts rows among the rules; the scopes of the user's are those of the shipped ones and the facility kinds.
pub(super) fn merge(
    thresholds: &mut Vec<Threshold>,
    rows: Vec<(u64, Threshold)>,
    of_user: bool,
    problems: &mut Problems,
) -> Merged {
    let kinds = FacilityKind::ALL.iter().map(|kind| kind.name());
    let shipped = thresholds.iter().map(|threshold| threshold.scope.to_string());
    let scopes: BTreeSet<String> = kinds.map(str::to_owned).chain(shipped).collect();
    let places = thresholds.iter().enumerate().map(|(place, threshold)| (key(threshold), place));
    let places: FxHashMap<Key, usize> = places.collect();
    let (mut merged, mut lines) = (Merged::default(), FxHashMap::<Key, u64>::default());
    for (line, threshold) in rows {
        let key = key(&threshold);
        if of_user && !scopes.contains(threshold.scope.as_str()) {
            problems.push((line, unknown_scope(&threshold.scope, &scopes)));
        }
        problems.extend(levels(&threshold).into_iter().map(|what| (line, what)));
        if let Some(first) = lines.get(&key) {
            let (scope, side) = (&threshold.scope, threshold.side.name());
            let what = format!(
                "the {side} threshold of {scope} for this metric stands already in line {first}: delete one, or \
                 name it in the column rule"
            );
            problems.push((line, what));
            continue;
        }
        match places.get(&key) {
            Some(place) => {
                thresholds[*place] = threshold;
                merged.replaced += 1;
            }
            None => {
                thresholds.push(threshold);
                merged.added += 1;
            }
        }
        lines.insert(key, line);
    }
    merged
}

fn unknown_scope(scope: &str, scopes: &BTreeSet<String>) -> String {
    let hint = hint(scope, scopes.iter().map(String::as_str));
    let known: Vec<&str> = scopes.iter().map(String::as_str).collect();
    let known = known.join(", ");
    format!(
        "unknown scope {scope}{hint}: the scopes are {known}; a threshold for one facility, one device or another \
         device type belongs into the registry's thresholds.csv"
    )
}
