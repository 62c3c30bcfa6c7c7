//! Rows of `sentinels.csv` to values that stand for nothing, and how they are merged.
//!
//! Enters: rows, and the sentinels that are there. Leaves: those with them. Guarantees: every metric that a sentinel
//! names is in the catalogue.

use super::Merged;
use crate::{
    Catalogue, Sentinel,
    nearest::hint,
    registry_files::{
        rows::Cells,
        table::{Form, Problems},
    },
};

pub(super) const FORM: Form = Form {
    file: super::directory::SENTINELS,
    required: &["value", "shifts", "meaning"],
    optional: &["metrics"],
    attributes: false,
    comments: true,
};

/// Decimal places of a register.
const SHIFTS: u8 = 9;

/// Reads one row.
pub(super) fn read(cells: &mut Cells<'_>) -> Option<Sentinel> {
    let (value, _) = (cells.required_number("value"), cells.required_text("meaning"));
    let shifts = cells.required_whole("shifts", SHIFTS);
    let (metrics, meaning) = (cells.string("metrics"), cells.string("meaning"));
    Some(Sentinel { value: value?, shifts: shifts?, metrics, meaning })
}

/// Puts rows behind the sentinels.
pub(super) fn merge(
    sentinels: &mut Vec<Sentinel>,
    rows: Vec<(u64, Sentinel)>,
    metrics: &Catalogue,
    problems: &mut Problems,
) -> Merged {
    let mut merged = Merged::default();
    for (line, sentinel) in rows {
        for code in sentinel.codes().filter(|code| metrics.id(code).is_none()) {
            let hint = hint(code, metrics.iter().map(|(_, metric)| metric.code.as_str()));
            let what = format!(
                "unknown metric {code}{hint}: write codes of the metric catalogue, with spaces between"
            );
            problems.push((line, what));
        }
        let same = |known: &Sentinel| known.value == sentinel.value && known.metrics == sentinel.metrics;
        if sentinels.iter().any(same) {
            problems.push((line, format!("value {} is there already: delete one", sentinel.value)));
            continue;
        }
        sentinels.push(sentinel);
        merged.added += 1;
    }
    merged
}
