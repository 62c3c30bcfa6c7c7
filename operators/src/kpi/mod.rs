//! KPIs: pure functions of the facts of a window.
//!
//! Enters: facts of a facility or scope before and after. Leaves: the KPIs and quality figures that changed, with the
//! value before and the cause. Guarantees: a row only where the rounded value or coverage changed; the same facts give
//! the same rows. A KPI is one file here, an entry in [`ALL`], and a row
//! of `schemas/catalogue/kpis.csv`, which says what users may set: names, decimals, clause, parameters, and whether it
//! is published.

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
mod parameters;
mod published;
pub mod quality;
mod revise;
pub mod room_temp_compliance;
pub mod room_temp_mean;
pub mod room_temp_overhigh;
pub mod water_temp_mean;

use schemas::{Period, ScopeKind};

pub use self::{
    parameters::Parameters,
    published::Published,
    revise::{Revise, Revised},
};
use crate::window::{Component, Facts, ladder};

/// How one KPI is computed. What else is known of it stands in the catalogue ([`schemas::KpiEntry`]).
///
/// ```
/// use operators::{
///     kpi::{About, Kpi, Parameters},
///     window::{Component, Facts},
/// };
///
/// /// Hours of which the heat is known.
/// const HEAT_KNOWN: Kpi = Kpi {
///     code: "heat_known",
///     unit: "h",
///     about: About::Stations,
///     value: |facts, _| Some(facts.get(Component::HeatTime) as f64 / 3_600_000.0),
///     coverage: |_| 1.0,
/// };
///
/// let mut facts = Facts::new();
/// facts.add(Component::HeatTime, 1_800_000);
/// assert_eq!((HEAT_KNOWN.value)(&facts, Parameters::in_force()), Some(0.5));
/// ```
#[derive(Debug)]
pub struct Kpi {
    /// The code in tables and on topics.
    pub code: &'static str,
    /// Unit symbol, the same as in the catalogue.
    pub unit: &'static str,
    /// Which windows have it.
    pub about: About,
    /// The value in the unit, not rounded; `None` when nothing was measured.
    pub value: fn(&Facts, &Parameters) -> Option<f64>,
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
    /// Hours and days with an outdoor temperature: degree-days of a longer window do not follow from its mean.
    DegreeDays,
    /// Hours and days of stations, for the same reason.
    StationsByDegree,
}

impl About {
    /// Whether a window with these facts is one of them.
    #[must_use]
    pub fn holds(self, scope: ScopeKind, period: Period, facts: &Facts) -> bool {
        let above = |component| facts.get(component) > 0;
        match self {
            About::Stations => above(Component::StationSpan),
            About::Rooms => above(Component::RoomSpan),
            About::Households => above(Component::RoomSpan) && scope != ScopeKind::Facility,
            About::Outdoor => above(Component::OutdoorSpan),
            About::Devices => above(Component::DeviceSpan),
            About::Reports => above(Component::Expected),
            About::DegreeDays => above(Component::OutdoorSpan) && ladder::rung(period).is_none(),
            About::StationsByDegree => above(Component::StationSpan) && ladder::rung(period).is_none(),
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

#[cfg(test)]
impl Kpi {
    /// Value and coverage as the catalogue in force publishes them.
    pub(crate) fn rounded(&self, scope: ScopeKind, facts: &Facts) -> (Option<f64>, f32) {
        Published::in_force().figure(self.code, scope, facts)
    }
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
    use super::*;

    /// Facts from a list.
    pub(super) fn facts(list: &[(Component, i64)]) -> Facts {
        let mut facts = Facts::new();
        list.iter().for_each(|(component, amount)| facts.add(*component, *amount));
        facts
    }

    #[test]
    fn the_list_is_sorted() {
        assert!(ALL.windows(2).all(|pair| pair[0].code < pair[1].code));
        for kpi in ALL {
            assert_eq!(kpi.rounded(ScopeKind::City, &Facts::new()), (None, 0.0), "{}", kpi.code);
        }
    }

    #[test]
    fn every_kpi_has_one_row_of_the_catalogue_and_every_row_its_kpi() {
        let shipped = schemas::catalogues::Catalogues::shipped();
        let rows: Vec<_> = shipped.kpis().iter().map(|row| (row.code.as_str(), row.unit.as_str())).collect();
        let code: Vec<_> = ALL.iter().map(|kpi| (kpi.code, kpi.unit)).collect();
        assert_eq!(rows, code, "schemas/catalogue/kpis.csv against ALL");
        for row in shipped.kpis() {
            assert!(row.source.starts_with("T ") || row.source.starts_with("C "), "{}", row.code);
        }
    }

    #[test]
    fn every_parameter_stands_in_the_row_of_its_kpi_and_no_other() {
        let shipped = schemas::catalogues::Catalogues::shipped();
        let of = |row: &schemas::KpiEntry| {
            row.parameters.iter().map(|(name, _)| (row.code.clone(), name.clone())).collect::<Vec<_>>()
        };
        let rows: Vec<(String, String)> = shipped.kpis().iter().flat_map(of).collect();
        let mut code: Vec<_> =
            Parameters::NAMES.iter().map(|(kpi, name)| ((*kpi).to_owned(), (*name).to_owned())).collect();
        code.sort();
        assert_eq!(rows, code);
    }
}
