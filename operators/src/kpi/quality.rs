//! Quality figures of a scope and window (C 1.4): completeness, timeliness, validity, consistency, uniqueness, and a
//! weighted score.
//!
//! Enters: facts. Leaves: shares from 0 to 1. Guarantees: nothing received gives 0 throughout: silence earns no credit.

use schemas::{Millis, Period, QualityRow, Scope};

use crate::window::{Component, Facts};

/// Weights of completeness, timeliness, validity, consistency and uniqueness in the score; their sum is 1. What is
/// missing or wrong harms supervision most, then what comes late; form and repetition are repaired on the way.
pub const WEIGHTS: [f32; 5] = [0.35, 0.2, 0.25, 0.1, 0.1];

/// The figures of a window in which reports were expected or received, be it for windows that had closed, rounded to four
/// decimals.
#[must_use]
pub fn row(scope: &Scope, period: Period, window_start: Millis, facts: &Facts) -> Option<QualityRow> {
    let received = facts.get(Component::Readings);
    let beyond_revision = facts.get(Component::BeyondRevision);
    if received <= 0 && facts.get(Component::ReportsExpected) <= 0 && beyond_revision <= 0 {
        return None;
    }
    let of_received = |component| share(facts.get(component), received);
    let figures = [
        completeness(facts) as f32,
        of_received(Component::Timely),
        of_received(Component::Valid),
        of_received(Component::Consistent),
        share(received, received + facts.get(Component::Duplicates)),
    ];
    let score = figures.iter().zip(WEIGHTS).map(|(figure, weight)| figure * weight).sum();
    let [completeness, timeliness, validity, consistency, uniqueness] = figures.map(rounded);
    let scope = scope.clone();
    let score = rounded(score);
    Some(QualityRow {
        scope,
        period,
        window_start,
        completeness,
        timeliness,
        validity,
        consistency,
        uniqueness,
        score,
        beyond_revision: beyond_revision.max(0) as u64,
    })
}

/// (expected − missing − invalid) / expected, 0 to 1; where no report is expected, the share of what is valid. Missing are
/// reports, and readings of metrics that reports lack though the object reports them.
#[must_use]
pub fn completeness(facts: &Facts) -> f64 {
    let part =
        |part: i64, whole: i64| if whole > 0 { (part as f64 / whole as f64).clamp(0.0, 1.0) } else { 0.0 };
    let due = facts.get(Component::Readings) + facts.get(Component::ReadingsMissing);
    let valid = part(facts.get(Component::Valid), due);
    let expected = facts.get(Component::ReportsExpected);
    if expected > 0 { valid * part(facts.get(Component::ReportsCounted), expected) } else { valid }
}

fn share(part: i64, whole: i64) -> f32 {
    if whole > 0 { (part as f64 / whole as f64).clamp(0.0, 1.0) as f32 } else { 0.0 }
}

fn rounded(share: f32) -> f32 {
    (share * 1e4).round() / 1e4
}

#[cfg(test)]
mod tests {
    use schemas::{Code, ScopeKind};

    use super::{super::tests::facts, *};

    #[test]
    fn figures_are_shares_and_the_score_their_weighted_sum() {
        assert!((WEIGHTS.iter().sum::<f32>() - 1.0).abs() < 1e-6);
        let scope = Scope { kind: ScopeKind::Enterprise, code: Code::const_new("E-1") };
        assert_eq!(row(&scope, Period::Day, 0, &Facts::new()), None);
        let window = facts(&[
            (Component::ReportsExpected, 100),
            (Component::ReportsCounted, 80),
            (Component::Readings, 400),
            (Component::Valid, 200),
            (Component::Timely, 300),
            (Component::Consistent, 400),
            (Component::Duplicates, 100),
        ]);
        let row = row(&scope, Period::Day, 0, &window).unwrap();
        let figures = [row.completeness, row.timeliness, row.validity, row.consistency, row.uniqueness];
        assert_eq!(figures, [0.4, 0.75, 0.5, 1.0, 0.8]);
        assert_eq!(row.score, 0.595);
    }

    #[test]
    fn silence_earns_no_credit() {
        let scope = Scope { kind: ScopeKind::Facility, code: Code::const_new("ST-1") };
        let row = row(&scope, Period::Hour, 0, &facts(&[(Component::ReportsExpected, 60)])).unwrap();
        assert_eq!((row.completeness, row.timeliness, row.uniqueness, row.score), (0.0, 0.0, 0.0, 0.0));
    }
}
