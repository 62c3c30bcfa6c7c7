//! The numbers in the definitions of KPIs that a user may set (column `parameters` of `kpis.csv`).
//!
//! Enters: the KPIs of the catalogue. Leaves: the numbers as fields. Guarantees: a test holds the names here and those of
//! the shipped rows equal, so that none is absent.

use std::sync::OnceLock;

use schemas::{KpiEntry, catalogues};

macro_rules! parameters {
    ($($(#[$doc:meta])* $kpi:literal $name:ident,)*) => {
        /// The numbers in force.
        #[derive(Clone, Copy, Debug, PartialEq)]
        pub struct Parameters { $($(#[$doc])* pub $name: f64,)* }

        impl Parameters {
            /// The KPI in whose row each stands, and its name.
            pub const NAMES: &'static [(&'static str, &'static str)] = &[$(($kpi, stringify!($name)),)*];

            /// Those of a catalogue that merges over the shipped one.
            #[must_use]
            pub fn of(kpis: &[KpiEntry]) -> Parameters {
                Parameters { $($name: value(kpis, $kpi, stringify!($name)),)* }
            }
        }
    };
}

parameters! {
    /// The indoor temperature that degree-days are counted against, °C (T 2.15.4.1).
    "degree_days" base_temp,
    /// Heat per degree-day has no value where the mean is nearer to `base_temp` than this, K.
    "heat_per_area_degree_day" least_degrees,
    /// The room temperature that must be reached where the registry does not say (`standard_temp`), °C (T 2.15.4.1).
    /// `household_compliance` and the energy signature go by it too.
    "room_temp_compliance" standard_temp,
    /// Above this a room is over-heated, °C (P 3(2)).
    "room_temp_overhigh" over_high,
}

static IN_FORCE: OnceLock<Parameters> = OnceLock::new();

impl Parameters {
    /// Those of the catalogue of this process.
    #[must_use]
    pub fn in_force() -> &'static Parameters {
        IN_FORCE.get_or_init(|| Parameters::of(catalogues::in_force().kpis()))
    }
}

fn value(kpis: &[KpiEntry], kpi: &str, name: &str) -> f64 {
    let entry = kpis.iter().find(|entry| entry.code == kpi);
    let value = entry.and_then(|entry| entry.parameters.iter().find(|(known, _)| known == name));
    value.map_or_else(|| unreachable!("the shipped row of {kpi} has no {name}"), |(_, value)| *value)
}
