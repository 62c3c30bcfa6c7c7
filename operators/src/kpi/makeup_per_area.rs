//! Make-up water per heated area (单位面积补水量): over a month it is the kg/(m²·month) of T 2.15.4.5.
//!
//! A cubic metre counts as 1,000 kg.

use super::{About, CUBIC_METRE, Kpi, Parameters, SQUARE_METRE, ratio, share};
use crate::window::{Component, Facts};

/// See the module.
pub const KPI: Kpi = Kpi { code: "makeup_per_area", unit: "kg/m²", about: About::Stations, value, coverage };

fn value(facts: &Facts, _: &Parameters) -> Option<f64> {
    ratio(facts, (Component::Makeup, CUBIC_METRE / 1e3), (Component::MakeupArea, SQUARE_METRE))
}

fn coverage(facts: &Facts) -> f32 {
    share(facts, Component::MakeupTime, Component::StationSpan)
}

#[cfg(test)]
mod tests {
    use super::{super::tests::facts, *};

    #[rstest::rstest]
    #[case::half_a_cubic_metre(&[(Component::Makeup, 500_000), (Component::MakeupTime, 3_600_000), (Component::MakeupArea, 5_000_000)], Some(0.01))]
    #[case::not_measured(&[(Component::HeatArea, 5_000_000)], None)]
    fn follows_its_definition(#[case] list: &[(Component, i64)], #[case] want: Option<f64>) {
        let mut facts = facts(list);
        if facts.get(Component::StationSpan) == 0 {
            facts.set(Component::StationSpan, 3_600_000);
        }
        assert_eq!(KPI.rounded(schemas::ScopeKind::City, &facts).0, want);
    }
}
