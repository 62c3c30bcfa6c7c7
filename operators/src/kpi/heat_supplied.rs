//! Heat supplied (供热量): what the heat meters counted, or the integral of power where there is no meter.
//!
//! T 2.15.4.2 and 2.15.4.5. A scope's is that of its stations; a source's own is on the row of the facility.
//!
//! After an outage of days a meter shows more than its open hours can have; the rest stands in the day in which it was
//! read again, so that a month and a season have what the meter counted. Coverage tells of the day's own time alone.

use super::{About, GIGAJOULE, Kpi, Parameters, share};
use crate::window::{Component, Facts};

/// See the module.
pub const KPI: Kpi = Kpi { code: "heat_supplied", unit: "GJ", about: About::Stations, value, coverage };

fn value(facts: &Facts, _: &Parameters) -> Option<f64> {
    (facts.get(Component::HeatTime) > 0).then(|| facts.get(Component::Heat) as f64 / GIGAJOULE)
}

fn coverage(facts: &Facts) -> f32 {
    share(facts, Component::HeatTime, Component::StationSpan)
}

#[cfg(test)]
mod tests {
    use super::{super::tests::facts, *};

    #[rstest::rstest]
    #[case::measured(&[(Component::Heat, 1_234_567_890), (Component::HeatTime, 3_600_000)], Some(1.235))]
    #[case::stopped(&[(Component::HeatTime, 3_600_000)], Some(0.0))]
    #[case::not_measured(&[], None)]
    fn follows_its_definition(#[case] list: &[(Component, i64)], #[case] want: Option<f64>) {
        let mut facts = facts(list);
        if facts.get(Component::StationSpan) == 0 {
            facts.set(Component::StationSpan, 3_600_000);
        }
        assert_eq!(KPI.rounded(schemas::ScopeKind::City, &facts).0, want);
    }
}
