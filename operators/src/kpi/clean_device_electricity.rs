//! Electricity of clean-heating devices (清洁取暖设备耗电量). C 1.4 names their data, T 2.15.4.2 the figure.

use super::{About, KILOWATT_HOUR, Kpi, Parameters, share};
use crate::window::{Component, Facts};

/// See the module.
pub const KPI: Kpi =
    Kpi { code: "clean_device_electricity", unit: "kWh", about: About::Devices, value, coverage };

fn value(facts: &Facts, _: &Parameters) -> Option<f64> {
    (facts.get(Component::DeviceElectricityTime) > 0)
        .then(|| facts.get(Component::DeviceElectricity) as f64 / KILOWATT_HOUR)
}

fn coverage(facts: &Facts) -> f32 {
    share(facts, Component::DeviceElectricityTime, Component::DeviceSpan)
}

#[cfg(test)]
mod tests {
    use super::{super::tests::facts, *};

    #[rstest::rstest]
    #[case::measured(&[(Component::DeviceElectricity, 2_345_000), (Component::DeviceElectricityTime, 3_600_000)], Some(2.35))]
    #[case::not_measured(&[], None)]
    fn follows_its_definition(#[case] list: &[(Component, i64)], #[case] want: Option<f64>) {
        let mut facts = facts(list);
        if facts.get(Component::DeviceSpan) == 0 {
            facts.set(Component::DeviceSpan, 3_600_000);
        }
        assert_eq!(KPI.rounded(schemas::ScopeKind::City, &facts).0, want);
    }
}
