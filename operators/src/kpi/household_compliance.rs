//! Share of the households measured whose mean room temperature reaches the standard (室温合格率). T 2.15.4.7 note d.

use super::{About, Kpi, Parameters, ratio, share};
use crate::window::{Component, Facts};

/// See the module.
pub const KPI: Kpi =
    Kpi { code: "household_compliance", unit: "%", about: About::Households, value, coverage };

fn value(facts: &Facts, _: &Parameters) -> Option<f64> {
    ratio(facts, (Component::HouseholdsCompliant, 0.01), (Component::Households, 1.0))
}

fn coverage(facts: &Facts) -> f32 {
    share(facts, Component::RoomCovered, Component::RoomSpan)
}

#[cfg(test)]
mod tests {
    use super::{super::tests::facts, *};

    #[rstest::rstest]
    #[case::two_of_three(&[(Component::HouseholdsCompliant, 2), (Component::Households, 3)], Some(66.7))]
    #[case::not_measured(&[], None)]
    fn follows_its_definition(#[case] list: &[(Component, i64)], #[case] want: Option<f64>) {
        let mut facts = facts(list);
        if facts.get(Component::RoomSpan) == 0 {
            facts.set(Component::RoomSpan, 3_600_000);
        }
        assert_eq!(KPI.rounded(schemas::ScopeKind::City, &facts).0, want);
    }
}
