//! The order of rows within a block: that of their table's key.

use std::cmp::Ordering;

use schemas::{EstimateRow, KpiRow};

use crate::{QualityRow, Rows};

/// By (kpi, scope, period, window).
#[must_use]
pub fn kpis(a: &KpiRow, b: &KpiRow) -> Ordering {
    let key = |row: &KpiRow| (row.period, row.window_start);
    (&a.kpi, &a.scope).cmp(&(&b.kpi, &b.scope)).then_with(|| key(a).cmp(&key(b)))
}

/// By (scope, period, window).
#[must_use]
pub fn quality(a: &QualityRow, b: &QualityRow) -> Ordering {
    (&a.scope, a.period, a.window_start).cmp(&(&b.scope, b.period, b.window_start))
}

/// By (model, facility, device, hour).
#[must_use]
pub fn estimates(a: &EstimateRow, b: &EstimateRow) -> Ordering {
    (&a.model, &a.facility, &a.device, a.hour).cmp(&(&b.model, &b.facility, &b.device, b.hour))
}

impl Rows {
    /// Takes in another worker's rows of the same block: the keys of the two differ. False, and nothing is taken, for tables
    /// that one worker writes alone.
    pub fn unite(&mut self, others: &mut Rows) -> bool {
        match (self, others) {
            (Rows::Readings(rows), Rows::Readings(others)) => *rows = rows.united(others),
            (Rows::Kpis(rows), Rows::Kpis(others)) => {
                rows.append(others);
                rows.sort_by(kpis);
            }
            (Rows::Quality(rows), Rows::Quality(others)) => {
                rows.append(others);
                rows.sort_by(quality);
            }
            (Rows::Estimates(rows), Rows::Estimates(others)) => {
                rows.append(others);
                rows.sort_by(estimates);
            }
            _ => return false,
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use schemas::{Cause, Period, Scope, ScopeKind};

    use super::*;

    #[test]
    fn rows_of_two_workers_come_into_the_order_of_the_key() {
        let row = |code: &str, kpi: &str, window_start| KpiRow {
            kpi: kpi.into(),
            scope: Scope { kind: ScopeKind::Station, code: code.into() },
            period: Period::Hour,
            window_start,
            value: None,
            previous: None,
            coverage: 1.0,
            cause: Cause::Live,
        };
        let mut rows = Rows::Kpis(vec![row("B", "a", 1), row("B", "a", 2), row("D", "b", 1)]);
        let mut others = Rows::Kpis(vec![row("A", "a", 5), row("C", "a", 1), row("A", "b", 1)]);
        assert!(rows.unite(&mut others));
        let all = [("A", "a", 5), ("B", "a", 1), ("B", "a", 2), ("C", "a", 1), ("A", "b", 1), ("D", "b", 1)];
        assert_eq!(rows, Rows::Kpis(all.map(|(code, kpi, start)| row(code, kpi, start)).to_vec()));
    }

    #[test]
    fn what_one_worker_writes_alone_is_left_as_it_is() {
        let mut rows = Rows::Rejects(Vec::new());
        assert!(!rows.unite(&mut Rows::Rejects(Vec::new())));
    }
}
