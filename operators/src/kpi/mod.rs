//! KPIs: pure functions of the facts of a window.
//!
//! Enters: facts of a facility or scope before and after. Leaves: the KPIs and quality figures that changed, with the
//! value before and the cause. Guarantees: a row only where the rounded value or coverage changed; the same facts give
//! the same rows. A KPI is one file here and an entry in [`ALL`].

pub mod clean_device_electricity;
pub mod completeness;
pub mod degree_days;
pub mod electricity_per_area;
pub mod electricity_per_heat;
pub mod heat_per_area;
pub mod heat_per_area_degree_day;
pub mod heat_supplied;
pub mod household_compliance;
pub mod makeup_per_area;
pub mod online_rate;
pub mod outdoor_temp_mean;
pub mod quality;
mod revise;
pub mod room_temp_compliance;
pub mod room_temp_mean;
pub mod room_temp_overhigh;
pub mod water_temp_mean;

use schemas::{Cause, Code, KpiRow, Millis, Period, Scope, ScopeKind};

pub use self::revise::{Revise, Revised};
use crate::window::{Component, Facts};

/// One KPI.
#[derive(Debug)]
pub struct Kpi {
    /// The code in tables and on topics.
    pub code: &'static str,
    /// Chinese name.
    pub name: &'static str,
    /// Unit symbol.
    pub unit: &'static str,
    /// Decimals of an hour's or day's value: as many more than `season_decimals` as such a window is smaller.
    pub decimals: u8,
    /// Decimals that the source prescribes for a season.
    pub season_decimals: u8,
    /// The clause that defines it.
    pub source: &'static str,
    /// Which windows have it.
    pub about: About,
    /// The value in the unit, not rounded; `None` when nothing was measured.
    pub value: fn(&Facts) -> Option<f64>,
    /// Share of the expected data behind it, 0 to 1.
    pub coverage: fn(&Facts) -> f32,
}

/// Which windows a KPI is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    /// Those of stations and sources, and of the scopes above stations.
    Stations,
    /// Those with rooms.
    Rooms,
    /// Those of the scopes above households.
    Households,
    /// Those with an outdoor temperature.
    Outdoor,
    /// Those with clean-heating devices.
    Devices,
    /// Those in which reports are expected.
    Reports,
}

impl About {
    /// Whether a window with these facts is one of them.
    #[must_use]
    pub fn holds(self, scope: ScopeKind, facts: &Facts) -> bool {
        let above = |component| facts.get(component) > 0;
        match self {
            About::Stations => above(Component::StationSpan),
            About::Rooms => above(Component::RoomSpan),
            About::Households => above(Component::RoomSpan) && scope != ScopeKind::Facility,
            About::Outdoor => above(Component::OutdoorSpan),
            About::Devices => above(Component::DeviceSpan),
            About::Reports => above(Component::Expected),
        }
    }
}

/// Every KPI, sorted by code.
pub const ALL: &[&Kpi] = &[
    &clean_device_electricity::KPI,
    &completeness::KPI,
    &degree_days::KPI,
    &electricity_per_area::KPI,
    &electricity_per_heat::KPI,
    &heat_per_area::KPI,
    &heat_per_area_degree_day::KPI,
    &heat_supplied::KPI,
    &household_compliance::KPI,
    &makeup_per_area::KPI,
    &online_rate::KPI,
    &outdoor_temp_mean::KPI,
    &water_temp_mean::PRIMARY_RETURN,
    &water_temp_mean::PRIMARY_SUPPLY,
    &room_temp_compliance::KPI,
    &room_temp_mean::KPI,
    &room_temp_overhigh::KPI,
    &water_temp_mean::SECONDARY_RETURN,
    &water_temp_mean::SECONDARY_SUPPLY,
];

/// The KPIs of a window that changed, in the order of [`ALL`].
pub fn rows<'a>(
    scope: &'a Scope,
    period: Period,
    window_start: Millis,
    before: Option<&'a Facts>,
    after: &'a Facts,
) -> impl Iterator<Item = KpiRow> + 'a {
    let cause = cause(before, after);
    ALL.iter().filter_map(move |kpi| {
        let (previous, covered) = before.map_or((None, 0.0), |facts| kpi.rounded(scope.kind, facts));
        let (value, coverage) = kpi.rounded(scope.kind, after);
        (value != previous || coverage != covered).then(|| KpiRow {
            kpi: Code::const_new(kpi.code),
            scope: scope.clone(),
            period,
            window_start,
            value,
            previous,
            coverage,
            cause,
        })
    })
}

impl Kpi {
    /// Value and coverage as they are published: rounded, and nothing where the KPI does not apply or has no value.
    #[must_use]
    pub fn rounded(&self, scope: ScopeKind, facts: &Facts) -> (Option<f64>, f32) {
        let Some(value) = self.about.holds(scope, facts).then(|| (self.value)(facts)).flatten() else {
            return (None, 0.0);
        };
        let power = 10f64.powi(i32::from(self.decimals));
        // Adding 0 turns -0 into 0.
        let value = Some((value * power).round() / power + 0.0);
        let coverage = (self.coverage)(facts);
        (value, (coverage.clamp(0.0, 1.0) * 100.0).round() / 100.0)
    }
}

/// Why facts changed: the gravest reason of which there is more than before.
#[must_use]
pub fn cause(before: Option<&Facts>, after: &Facts) -> Cause {
    let changed = |component| after.get(component) != before.map_or(0, |before| before.get(component));
    let reasons = [
        (Component::RegistryChanges, Cause::Registry),
        (Component::CorrectedChanges, Cause::Corrected),
        (Component::LateChanges, Cause::Late),
        (Component::Closings, Cause::Closed),
    ];
    reasons.into_iter().find(|(component, _)| changed(*component)).map_or(Cause::Live, |(_, cause)| cause)
}

/// A sum over another, in the units of `part` per unit of `whole` after both are scaled; `None` when `whole` is 0.
fn ratio(
    facts: &Facts,
    (part, part_unit): (Component, f64),
    (whole, whole_unit): (Component, f64),
) -> Option<f64> {
    let divisor = facts.get(whole);
    (divisor > 0).then(|| (facts.get(part) as f64 / part_unit) / (divisor as f64 / whole_unit))
}

/// A sum over another of the same unit.
fn share(facts: &Facts, part: Component, whole: Component) -> f32 {
    ratio(facts, (part, 1.0), (whole, 1.0)).unwrap_or(0.0) as f32
}

/// J in a GJ.
const GIGAJOULE: f64 = 1e9;
/// Units of 0.01 m² in a m².
const SQUARE_METRE: f64 = 100.0;
/// mWh in a kWh.
const KILOWATT_HOUR: f64 = 1e6;
/// cm³ in a m³, and kilograms of water.
const CUBIC_METRE: f64 = 1e6;

#[cfg(test)]
mod tests {
    use schemas::Code;

    use super::*;

    /// Facts from a list.
    pub(super) fn facts(list: &[(Component, i64)]) -> Facts {
        let mut facts = Facts::new();
        list.iter().for_each(|(component, amount)| facts.add(*component, *amount));
        facts
    }

    fn station() -> Scope {
        Scope { kind: ScopeKind::Facility, code: Code::const_new("ST-1") }
    }

    #[test]
    fn the_list_is_sorted_and_complete() {
        assert!(ALL.windows(2).all(|pair| pair[0].code < pair[1].code));
        for kpi in ALL {
            assert!(kpi.decimals >= kpi.season_decimals, "{}", kpi.code);
            assert!(kpi.source.starts_with("T ") || kpi.source.starts_with("C "), "{}", kpi.code);
            assert_eq!(kpi.rounded(ScopeKind::City, &Facts::new()), (None, 0.0), "{}", kpi.code);
        }
    }

    #[test]
    fn only_what_changed_is_told_with_the_value_before() {
        let half = facts(&[
            (Component::Heat, 1_000_000_000),
            (Component::HeatTime, 1_800_000),
            (Component::StationSpan, 3_600_000),
        ]);
        let told: Vec<KpiRow> = rows(&station(), Period::Hour, 0, None, &half).collect();
        assert_eq!(told.len(), 1);
        assert_eq!((told[0].value, told[0].previous, told[0].coverage), (Some(1.0), None, 0.5));
        assert_eq!(told[0].cause, Cause::Live);
        let mut more = half.clone();
        more.add(Component::Heat, 100);
        assert_eq!(rows(&station(), Period::Hour, 0, Some(&half), &more).count(), 0);
        more.add(Component::Heat, 2_000_000_000);
        more.add(Component::LateChanges, 1);
        let told: Vec<KpiRow> = rows(&station(), Period::Hour, 0, Some(&half), &more).collect();
        assert_eq!((told[0].value, told[0].previous, told[0].cause), (Some(3.0), Some(1.0), Cause::Late));
    }

    #[rstest::rstest]
    #[case(&[], Cause::Live)]
    #[case(&[Component::Closings], Cause::Closed)]
    #[case(&[Component::Closings, Component::LateChanges], Cause::Late)]
    #[case(&[Component::CorrectedChanges, Component::LateChanges], Cause::Corrected)]
    #[case(&[Component::CorrectedChanges, Component::RegistryChanges], Cause::Registry)]
    fn the_gravest_cause_is_named(#[case] counted: &[Component], #[case] want: Cause) {
        let before = facts(&[(Component::Closings, 3), (Component::LateChanges, 1)]);
        let mut after = before.clone();
        counted.iter().for_each(|component| after.add(*component, 1));
        assert_eq!(cause(Some(&before), &after), want);
    }
}
