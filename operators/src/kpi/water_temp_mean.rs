//! Mean water temperatures (平均供回水温度): weighted by flow where flow is measured with it, else over time.
//!
//! T 2.15.4.3 and 2.15.4.5. Four KPIs with one rule. A source's supply and return are its primary side. When the flow
//! stands still for the whole window, the mean is over time.

use super::{About, Kpi, Parameters, ratio, share};
use crate::window::{Component, Facts};

const fn kpi(
    code: &'static str,
    value: fn(&Facts, &Parameters) -> Option<f64>,
    coverage: fn(&Facts) -> f32,
) -> Kpi {
    Kpi { code, unit: "°C", about: About::Stations, value, coverage }
}

/// Primary supply.
pub const PRIMARY_SUPPLY: Kpi = kpi(
    "primary_supply_temp_mean",
    |facts, _| {
        use Component::{PrimarySupply, PrimarySupplyFlow, PrimarySupplyProduct, PrimarySupplyTime};
        mean(facts, [PrimarySupplyProduct, PrimarySupplyFlow, PrimarySupply, PrimarySupplyTime])
    },
    |facts| share(facts, Component::PrimarySupplyTime, Component::StationSpan),
);

/// Primary return.
pub const PRIMARY_RETURN: Kpi = kpi(
    "primary_return_temp_mean",
    |facts, _| {
        use Component::{PrimaryReturn, PrimaryReturnFlow, PrimaryReturnProduct, PrimaryReturnTime};
        mean(facts, [PrimaryReturnProduct, PrimaryReturnFlow, PrimaryReturn, PrimaryReturnTime])
    },
    |facts| share(facts, Component::PrimaryReturnTime, Component::StationSpan),
);

/// Secondary supply.
pub const SECONDARY_SUPPLY: Kpi = kpi(
    "secondary_supply_temp_mean",
    |facts, _| {
        use Component::{SecondarySupply, SecondarySupplyFlow, SecondarySupplyProduct, SecondarySupplyTime};
        mean(facts, [SecondarySupplyProduct, SecondarySupplyFlow, SecondarySupply, SecondarySupplyTime])
    },
    |facts| share(facts, Component::SecondarySupplyTime, Component::StationSpan),
);

/// Secondary return.
pub const SECONDARY_RETURN: Kpi = kpi(
    "secondary_return_temp_mean",
    |facts, _| {
        use Component::{SecondaryReturn, SecondaryReturnFlow, SecondaryReturnProduct, SecondaryReturnTime};
        mean(facts, [SecondaryReturnProduct, SecondaryReturnFlow, SecondaryReturn, SecondaryReturnTime])
    },
    |facts| share(facts, Component::SecondaryReturnTime, Component::StationSpan),
);

fn mean(facts: &Facts, [product, flow, integral, time]: [Component; 4]) -> Option<f64> {
    ratio(facts, (product, 1.0), (flow, 1.0)).or_else(|| ratio(facts, (integral, 1.0), (time, 1.0)))
}

#[cfg(test)]
mod tests {
    use schemas::ScopeKind;

    use super::{super::tests::facts, *};

    #[test]
    fn weighs_by_flow_where_it_is_measured() {
        let mut window = facts(&[
            (Component::SecondarySupply, 3_600_000 * 40),
            (Component::SecondarySupplyTime, 3_600_000),
            (Component::StationSpan, 7_200_000),
        ]);
        assert_eq!(SECONDARY_SUPPLY.rounded(ScopeKind::Facility, &window), (Some(40.0), 0.5));
        window.add(Component::SecondarySupplyFlow, 100);
        window.add(Component::SecondarySupplyProduct, 4_512);
        assert_eq!(SECONDARY_SUPPLY.rounded(ScopeKind::Facility, &window), (Some(45.1), 0.5));
        for kpi in [&PRIMARY_SUPPLY, &PRIMARY_RETURN, &SECONDARY_RETURN] {
            assert_eq!(kpi.rounded(ScopeKind::Facility, &window), (None, 0.0));
        }
    }

    #[rstest::rstest]
    #[case(&PRIMARY_SUPPLY, Component::PrimarySupply, Component::PrimarySupplyTime)]
    #[case(&PRIMARY_RETURN, Component::PrimaryReturn, Component::PrimaryReturnTime)]
    #[case(&SECONDARY_SUPPLY, Component::SecondarySupply, Component::SecondarySupplyTime)]
    #[case(&SECONDARY_RETURN, Component::SecondaryReturn, Component::SecondaryReturnTime)]
    fn each_reads_its_own_facts(#[case] kpi: &Kpi, #[case] integral: Component, #[case] time: Component) {
        let window = facts(&[(integral, 70_000), (time, 1_000), (Component::StationSpan, 1_000)]);
        assert_eq!(kpi.rounded(ScopeKind::Facility, &window), (Some(70.0), 1.0));
    }
}
