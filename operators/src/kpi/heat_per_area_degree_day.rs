//! Heat per area and degree-day (单位供暖度日数单位面积供热量): mean heat flow per area over how far it is below the
//! base of the degree-days.
//!
//! T 2.15.4.2 and 2.15.4.5. Nothing when it is nearer to the base than `least_degrees`, a tenth of a degree.

use super::{About, Kpi, Parameters, ratio, share};
use crate::window::{Component, Facts};

/// See the module.
pub const KPI: Kpi = Kpi {
    code: "heat_per_area_degree_day",
    unit: "kJ/(m²·°C·d)",
    about: About::StationsByDegree,
    value,
    coverage,
};

fn value(facts: &Facts, parameters: &Parameters) -> Option<f64> {
    let below =
        parameters.base_temp - ratio(facts, (Component::Outdoor, 1.0), (Component::OutdoorTime, 1.0))?;
    // J per m² and s; times the seconds of a day it is J per m² and day.
    let flow = ratio(facts, (Component::Heat, 1.0), (Component::HeatAreaTime, 1.0))?;
    (below >= parameters.least_degrees).then(|| flow * 86_400.0 / 1e3 / below)
}

fn coverage(facts: &Facts) -> f32 {
    share(facts, Component::HeatTime, Component::StationSpan).min(share(
        facts,
        Component::OutdoorTime,
        Component::OutdoorSpan,
    ))
}

#[cfg(test)]
mod tests {
    use super::{super::tests::facts, *};

    #[rstest::rstest]
    #[case::forty_watts_at_minus_2(&[(Component::Heat, 4_000_000), (Component::HeatAreaTime, 100_000), (Component::Outdoor, -7_200_000), (Component::OutdoorTime, 3_600_000)], Some(172.8))]
    #[case::outdoor_unknown(&[(Component::Heat, 4_000_000), (Component::HeatAreaTime, 100_000)], None)]
    #[case::warm(&[(Component::Heat, 4_000_000), (Component::HeatAreaTime, 100_000), (Component::Outdoor, 72_000_000), (Component::OutdoorTime, 3_600_000)], None)]
    fn follows_its_definition(#[case] list: &[(Component, i64)], #[case] want: Option<f64>) {
        let mut facts = facts(list);
        if facts.get(Component::StationSpan) == 0 {
            facts.set(Component::StationSpan, 3_600_000);
        }
        assert_eq!(KPI.rounded(schemas::ScopeKind::City, &facts).0, want);
    }
}
