//! Electricity per heat (单位供热量输送耗电量), over the hours in which a facility measured both.
//!
//! T 2.15.4.2 and 2.15.4.5. Nothing when no heat was supplied.

use super::{About, GIGAJOULE, KILOWATT_HOUR, Kpi, Parameters, ratio, share};
use crate::window::{Component, Facts};

/// See the module.
pub const KPI: Kpi =
    Kpi { code: "electricity_per_heat", unit: "kWh/GJ", about: About::Stations, value, coverage };

fn value(facts: &Facts, _: &Parameters) -> Option<f64> {
    ratio(facts, (Component::PairedElectricity, KILOWATT_HOUR), (Component::PairedHeat, GIGAJOULE))
}

fn coverage(facts: &Facts) -> f32 {
    share(facts, Component::HeatTime, Component::StationSpan).min(share(
        facts,
        Component::ElectricityTime,
        Component::StationSpan,
    ))
}

#[cfg(test)]
mod tests {
    use super::{super::tests::facts, *};

    #[rstest::rstest]
    #[case::both(&[(Component::PairedElectricity, 20_000_000), (Component::PairedHeat, 8_000_000_000)], Some(2.5))]
    #[case::no_heat(&[(Component::PairedElectricity, 20_000_000)], None)]
    fn follows_its_definition(#[case] list: &[(Component, i64)], #[case] want: Option<f64>) {
        let mut facts = facts(list);
        if facts.get(Component::StationSpan) == 0 {
            facts.set(Component::StationSpan, 3_600_000);
        }
        assert_eq!(KPI.rounded(schemas::ScopeKind::City, &facts).0, want);
    }
}
