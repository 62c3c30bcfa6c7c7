//! Share of the room time above a limit, 24 °C (室温过高): heat that could have been saved. T 2.15.4.7, P 3(2).

use super::{About, Kpi, Parameters, ratio, share};
use crate::window::{Component, Facts};

/// See the module.
pub const KPI: Kpi = Kpi { code: "room_temp_overhigh", unit: "%", about: About::Rooms, value, coverage };

fn value(facts: &Facts, _: &Parameters) -> Option<f64> {
    ratio(facts, (Component::RoomOverHigh, 0.01), (Component::RoomTime, 1.0))
}

fn coverage(facts: &Facts) -> f32 {
    share(facts, Component::RoomCovered, Component::RoomSpan)
}

#[cfg(test)]
mod tests {
    use super::{super::tests::facts, *};

    #[rstest::rstest]
    #[case::part(&[(Component::RoomOverHigh, 1_800_000), (Component::RoomTime, 3_600_000)], Some(50.0))]
    #[case::none(&[(Component::RoomTime, 3_600_000)], Some(0.0))]
    #[case::not_measured(&[], None)]
    fn follows_its_definition(#[case] list: &[(Component, i64)], #[case] want: Option<f64>) {
        let mut facts = facts(list);
        if facts.get(Component::RoomSpan) == 0 {
            facts.set(Component::RoomSpan, 3_600_000);
        }
        assert_eq!(KPI.rounded(schemas::ScopeKind::City, &facts).0, want);
    }
}
