//! Completeness (数据完整率): k = (expected − missing − invalid) / expected. C 1.4.
//!
//! Missing are reports, and in reports the readings of metrics that the object reports otherwise; a report counts by the
//! share of its readings that may be used.

use super::{About, Kpi, Parameters, quality, share};
use crate::window::{Component, Facts};

/// See the module.
pub const KPI: Kpi = Kpi { code: "completeness", unit: "%", about: About::Reports, value, coverage };

fn value(facts: &Facts, _: &Parameters) -> Option<f64> {
    (facts.get(Component::ReportsExpected) > 0).then(|| 100.0 * quality::completeness(facts))
}

fn coverage(facts: &Facts) -> f32 {
    share(facts, Component::ReportsCounted, Component::ReportsExpected)
}

#[cfg(test)]
mod tests {
    use super::{super::tests::facts, *};

    #[rstest::rstest]
    #[case::missing_and_invalid(&[(Component::ReportsExpected, 60), (Component::ReportsCounted, 30), (Component::Readings, 120), (Component::Valid, 90), (Component::Expected, 3_600_000)], Some(37.5))]
    #[case::lacking_a_metric(&[(Component::ReportsExpected, 60), (Component::ReportsCounted, 60), (Component::Readings, 120), (Component::Valid, 120), (Component::ReadingsMissing, 60)], Some(66.7))]
    #[case::silent(&[(Component::ReportsExpected, 60), (Component::Expected, 3_600_000)], Some(0.0))]
    fn follows_its_definition(#[case] list: &[(Component, i64)], #[case] want: Option<f64>) {
        let mut facts = facts(list);
        if facts.get(Component::Expected) == 0 {
            facts.set(Component::Expected, 3_600_000);
        }
        assert_eq!(KPI.rounded(schemas::ScopeKind::City, &facts).0, want);
    }
}
