//! Online rate (在线率): the time in which objects reported at their interval, of the time in which they should have.
//!
//! C 1.4 (upload interruption). Between two reports an object is online when they are at most 2.5 intervals apart.

use super::{About, Kpi, Parameters, ratio, share};
use crate::window::{Component, Facts};

/// See the module.
pub const KPI: Kpi = Kpi { code: "online_rate", unit: "%", about: About::Reports, value, coverage };

fn value(facts: &Facts, _: &Parameters) -> Option<f64> {
    ratio(facts, (Component::Online, 0.01), (Component::Expected, 1.0)).map(|rate| rate.clamp(0.0, 100.0))
}

fn coverage(facts: &Facts) -> f32 {
    share(facts, Component::ReportsCounted, Component::ReportsExpected)
}

#[cfg(test)]
mod tests {
    use super::{super::tests::facts, *};

    #[rstest::rstest]
    #[case::half(&[(Component::Online, 1_800_000), (Component::Expected, 3_600_000)], Some(50.0))]
    #[case::silent(&[(Component::Expected, 3_600_000)], Some(0.0))]
    fn follows_its_definition(#[case] list: &[(Component, i64)], #[case] want: Option<f64>) {
        let mut facts = facts(list);
        if facts.get(Component::Expected) == 0 {
            facts.set(Component::Expected, 3_600_000);
        }
        assert_eq!(KPI.rounded(schemas::ScopeKind::City, &facts).0, want);
    }
}
