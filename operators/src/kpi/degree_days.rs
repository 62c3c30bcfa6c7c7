//! Degree-days (供暖度日数): how far the mean outdoor temperature is below a base, times the days that
//! passed.
//!
//! T 2.15.4.1, where the base is 18 °C. An hour has at most a 24th of its day's, and a day's follows its own mean, as the standard has it.

use schemas::time::DAY;

use super::{About, Kpi, Parameters, ratio, share};
use crate::window::{Component, Facts};

/// See the module.
pub const KPI: Kpi = Kpi { code: "degree_days", unit: "°C·d", about: About::DegreeDays, value, coverage };

fn value(facts: &Facts, parameters: &Parameters) -> Option<f64> {
    let mean = ratio(facts, (Component::Outdoor, 1.0), (Component::OutdoorTime, 1.0))?;
    let days = ratio(facts, (Component::OutdoorSpan, DAY as f64), (Component::OutdoorFacilities, 1.0))?;
    Some((parameters.base_temp - mean).max(0.0) * days)
}

fn coverage(facts: &Facts) -> f32 {
    share(facts, Component::OutdoorTime, Component::OutdoorSpan)
}

#[cfg(test)]
mod tests {
    use super::{super::tests::facts, *};

    #[rstest::rstest]
    #[case::a_day_at_minus_10(&[(Component::Outdoor, -864_000_000), (Component::OutdoorTime, 86_400_000), (Component::OutdoorSpan, 86_400_000), (Component::OutdoorFacilities, 1)], Some(28.0))]
    #[case::two_sensors_are_averaged(&[(Component::Outdoor, -864_000_000), (Component::OutdoorTime, 86_400_000), (Component::OutdoorSpan, 172_800_000), (Component::OutdoorFacilities, 2)], Some(28.0))]
    #[case::a_warm_day(&[(Component::Outdoor, 1_728_000_000), (Component::OutdoorTime, 86_400_000), (Component::OutdoorSpan, 86_400_000), (Component::OutdoorFacilities, 1)], Some(0.0))]
    #[case::not_measured(&[(Component::OutdoorFacilities, 1)], None)]
    fn follows_its_definition(#[case] list: &[(Component, i64)], #[case] want: Option<f64>) {
        let mut facts = facts(list);
        if facts.get(Component::OutdoorSpan) == 0 {
            facts.set(Component::OutdoorSpan, 3_600_000);
        }
        assert_eq!(KPI.rounded(schemas::ScopeKind::City, &facts).0, want);
    }
}
