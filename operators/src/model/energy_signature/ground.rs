//! What registry and settings say of a station.

use schemas::{FacilityKind, registry::attribute};

use super::signature::{Design, SignatureSettings};
use crate::{
    Profile, kpi,
    model::{Settings, Values},
};

/// Outdoor temperature that the design load is for, unless the attribute `design_temp` says otherwise, °C.
pub const DESIGN_OUTDOOR_TEMP: f64 = -20.0;
/// Heat that a square metre asks for on the coldest day where the registry knows no load, kW: that of buildings with
/// saving measures (CJJ 34), so that heating is not taken for idling.
const KW_PER_SQUARE_METRE: f64 = 0.04;

/// How a station is judged and learnt of: its values of the settings in `models.csv`, where their meaning stands.
#[derive(Clone, Debug, PartialEq)]
pub struct SupplySettings {
    /// The fit.
    pub signature: SignatureSettings,
    /// Hours to learn from before anything is judged.
    pub least_hours: usize,
    /// Hours remembered to learn from.
    pub most_hours: i32,
    /// Least share of an hour that must be measured.
    pub least_coverage: f64,
    /// Only hours this far below the balance point are judged, °C.
    pub least_degrees: f64,
    /// A deviation counts only when it is this many robust standard deviations.
    pub significance: f64,
    /// Hours after which under-supply with a stable relation is taken for the station's own: no shorter than the memory,
    /// for too little heat is no custom.
    pub lasting_under_hours: i32,
    /// The same for over-supply.
    pub lasting_over_hours: i32,
}

impl From<&Values> for SupplySettings {
    fn from(values: &Values) -> SupplySettings {
        let hours = |setting| values.get(setting).round() as i32;
        SupplySettings {
            signature: SignatureSettings {
                balance: (values.get("balance_least"), values.get("balance_most")),
                prior_hours: values.get("prior_hours"),
                design_hours: hours("design_hours") as usize,
            },
            least_hours: hours("least_hours") as usize,
            most_hours: hours("most_hours"),
            least_coverage: values.get("least_coverage"),
            least_degrees: values.get("least_degrees"),
            significance: values.get("significance"),
            lasting_under_hours: hours("lasting_under_hours").max(hours("most_hours")),
            lasting_over_hours: hours("lasting_over_hours"),
        }
    }
}

/// What is known of a station beside its hours.
#[derive(Clone, Debug, PartialEq)]
pub struct Ground {
    /// Its design.
    pub design: Design,
    /// How it is judged.
    pub settings: SupplySettings,
}

impl Ground {
    /// What the profile of a station says; `None` for other facilities.
    #[must_use]
    pub fn of(profile: &Profile, settings: &Settings) -> Option<Ground> {
        let station = profile.facility.kind == FacilityKind::Station;
        station.then(|| Ground {
            design: design(profile),
            settings: SupplySettings::from(&settings.values(profile)),
        })
    }
}

fn design(profile: &Profile) -> Design {
    let positive = |value: Option<f64>| value.filter(|value| value.is_finite() && *value > 0.0);
    let load_kw = positive(profile.number("", attribute::DESIGN_LOAD));
    let capacity_kw = positive(profile.number("", attribute::CAPACITY)).map(|megawatts| megawatts * 1000.0);
    let area = positive(profile.facility.heated_area).or(positive(Some(profile.area_below)));
    Design {
        facility: profile.facility.code.clone(),
        load_kw,
        size_kw: load_kw.or(capacity_kw).or(area.map(|area| area * KW_PER_SQUARE_METRE)),
        outdoor_temp: profile.number("", "design_temp").unwrap_or(DESIGN_OUTDOOR_TEMP),
        standard_temp: profile
            .number("", attribute::STANDARD_TEMP)
            .unwrap_or(kpi::Parameters::in_force().standard_temp),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;

    use schemas::Facility;

    use super::{super::MODEL, *};

    fn of(kind: FacilityKind, attributes: &[(&str, &str)]) -> Option<Ground> {
        let attributes = attributes.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        let profile = Profile {
            facility: Facility { attributes, ..Facility::new("ST-1", kind) },
            devices: [].into(),
            scopes: Arc::default(),
            thresholds: Arc::default(),
            households_below: 0,
            area_below: 0.0,
        };
        Ground::of(&profile, &Settings::of(MODEL))
    }

    pub fn shipped() -> SupplySettings {
        of(FacilityKind::Station, &[]).unwrap().settings
    }

    #[test]
    fn every_setting_is_in_the_catalogue() {
        let settings = shipped();
        assert_eq!((settings.least_hours, settings.most_hours, settings.significance), (24, 672, 3.0));
        assert_eq!((settings.signature.balance, settings.lasting_under_hours), ((12.0, 24.0), 672));
        assert_eq!(of(FacilityKind::BoilerHouse, &[]), None);
    }

    #[test]
    fn an_attribute_sets_one_station_within_the_bounds() {
        let of = |value| of(FacilityKind::Station, &[("energy_signature.significance", value)]);
        let significance = |value| of(value).unwrap().settings.significance;
        assert_eq!([significance("4.5"), significance("99"), significance("viel")], [4.5, 3.0, 3.0]);
    }
}
