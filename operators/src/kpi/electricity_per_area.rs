//! Electricity per heated area (单位面积耗电量) of stations and sources. T 2.15.4.2 and 2.15.4.5.

use super::{About, KILOWATT_HOUR, Kpi, Parameters, SQUARE_METRE, ratio, share};
use crate::window::{Component, Facts};

/// See the module.
pub const KPI: Kpi =
    Kpi { code: "electricity_per_area", unit: "kWh/m²", about: About::Stations, value, coverage };

fn value(facts: &Facts, _: &Parameters) -> Option<f64> {
    ratio(facts, (Component::Electricity, KILOWATT_HOUR), (Component::ElectricityArea, SQUARE_METRE))
}

fn coverage(facts: &Facts) -> f32 {
    share(facts, Component::ElectricityTime, Component::StationSpan)
}

#[cfg(test)]
mod tests {
    use super::{super::tests::facts, *};

    #[rstest::rstest]
    #[case::twenty_kilowatt_hours(&[(Component::Electricity, 20_000_000), (Component::ElectricityTime, 3_600_000), (Component::ElectricityArea, 5_000_000)], Some(0.0004))]
    #[case::not_measured(&[], None)]
    fn follows_its_definition(#[case] list: &[(Component, i64)], #[case] want: Option<f64>) {
        let mut facts = facts(list);
        if facts.get(Component::StationSpan) == 0 {
            facts.set(Component::StationSpan, 3_600_000);
        }
        assert_eq!(KPI.rounded(schemas::ScopeKind::City, &facts).0, want);
    }
}
