//! Heat per heated area (单位面积供热量): heat over the area of the facilities whose heat was measured.
//!
//! T 2.15.4.2 and 2.15.4.5.

use super::{About, GIGAJOULE, Kpi, Parameters, SQUARE_METRE, ratio, share};
use crate::window::{Component, Facts};

/// See the module.
pub const KPI: Kpi = Kpi { code: "heat_per_area", unit: "GJ/m²", about: About::Stations, value, coverage };

fn value(facts: &Facts, _: &Parameters) -> Option<f64> {
    ratio(facts, (Component::Heat, GIGAJOULE), (Component::HeatArea, SQUARE_METRE))
}

fn coverage(facts: &Facts) -> f32 {
    share(facts, Component::HeatTime, Component::StationSpan)
}

#[cfg(test)]
mod tests {
    use super::{super::tests::facts, *};

    #[rstest::rstest]
    #[case::measured(&[(Component::Heat, 2_000_000_000), (Component::HeatTime, 3_600_000), (Component::HeatArea, 1_000_000)], Some(0.0002))]
    #[case::area_unknown(&[(Component::Heat, 2_000_000_000), (Component::HeatTime, 3_600_000)], None)]
    fn follows_its_definition(#[case] list: &[(Component, i64)], #[case] want: Option<f64>) {
        let mut facts = facts(list);
        if facts.get(Component::StationSpan) == 0 {
            facts.set(Component::StationSpan, 3_600_000);
        }
        assert_eq!(KPI.rounded(schemas::ScopeKind::City, &facts).0, want);
    }
}
