//! Mean outdoor temperature (室外平均温度), over time and over the facilities that measure it. T 2.15.4.1.

use super::{About, Kpi, Parameters, ratio, share};
use crate::window::{Component, Facts};

/// See the module.
pub const KPI: Kpi = Kpi { code: "outdoor_temp_mean", unit: "°C", about: About::Outdoor, value, coverage };

fn value(facts: &Facts, _: &Parameters) -> Option<f64> {
    ratio(facts, (Component::Outdoor, 1.0), (Component::OutdoorTime, 1.0))
}

fn coverage(facts: &Facts) -> f32 {
    share(facts, Component::OutdoorTime, Component::OutdoorSpan)
}

#[cfg(test)]
mod tests {
    use super::{super::tests::facts, *};

    #[rstest::rstest]
    #[case::frost(&[(Component::Outdoor, -37_000_000), (Component::OutdoorTime, 3_600_000)], Some(-10.3))]
    #[case::not_measured(&[], None)]
    fn follows_its_definition(#[case] list: &[(Component, i64)], #[case] want: Option<f64>) {
        let mut facts = facts(list);
        if facts.get(Component::OutdoorSpan) == 0 {
            facts.set(Component::OutdoorSpan, 3_600_000);
        }
        assert_eq!(KPI.rounded(schemas::ScopeKind::City, &facts).0, want);
    }
}
