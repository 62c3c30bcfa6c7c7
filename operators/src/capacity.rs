//! What a facility can carry: how far its counters can rise in a time, and its greatest power and flow.
//!
//! Enters: a profile. Leaves: limits. Guarantees: every limit is wide. It tells faults of a meter (garbage, another
//! meter, another unit) from heat that was supplied, and never a busy day from a quiet one. Where the registry gives no
//! measure of the facility, the catalogue's greatest rate of the metric holds.

use schemas::{
    FacilityKind, Metric, Millis,
    registry::attribute::{CAPACITY, DESIGN_LOAD, TRANSFORMER_CAPACITY},
    time::MINUTE,
};

use crate::Profile;

/// Heat power that no heated area needs, kW/m². Design loads are 0.03 to 0.1 kW/m² (CJJ 34).
const GREATEST_KW_PER_AREA: f64 = 1.5;
/// How far the heat power may exceed a design load, which is that of a mean building on the coldest day.
const OVER_DESIGN_LOAD: f64 = 3.0;
/// How far it may exceed the installed capacity of a source.
const OVER_CAPACITY: f64 = 2.0;
/// How far electric power may exceed the rating of a transformer.
const OVER_TRANSFORMER: f64 = 1.5;
/// Heat that 1 kW carries in a minute, GJ.
const GJ_PER_KW_MINUTE: f64 = 60e-6;
/// Heat power that 1 m³/h of water carries per kelvin, kW.
const KW_PER_FLOW_KELVIN: f64 = 1.163;
/// Least difference of supply and return at the greatest heat power, K.
const LEAST_DIFFERENCE: f64 = 5.0;
/// Meters that count whole units show nothing less than this step.
const WHOLE_UNIT: f64 = 1.0;

/// How far a counter can rise.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RiseLimit {
    /// The metric's unit per minute.
    pub per_minute: f64,
    /// One step of the display, which may fall into any moment, in the metric's unit.
    pub step: f64,
}

impl RiseLimit {
    /// No rise is too steep.
    pub const NONE: RiseLimit = RiseLimit { per_minute: f64::INFINITY, step: 0.0 };

    /// The limit of a counter of the facility itself, or of one of its devices. In the order of their precedence:
    /// attribute `{metric}_max_rate` (per minute), what the facility can carry, the catalogue's greatest rate. The
    /// step is attribute `{metric}_resolution`, else one unit.
    #[must_use]
    pub fn of(profile: &Profile, device: &str, metric: &Metric) -> RiseLimit {
        let named = |suffix: &str| positive(profile.number(device, &format!("{}_{suffix}", metric.code)));
        let per_minute = named("max_rate").or_else(|| carried(profile, device, &metric.code));
        RiseLimit {
            per_minute: per_minute.or(metric.max_rate).unwrap_or(f64::INFINITY),
            step: named("resolution").unwrap_or(WHOLE_UNIT),
        }
    }

    /// The limit that the catalogue gives where nothing is known of the object.
    #[must_use]
    pub fn of_catalogue(metric: &Metric) -> RiseLimit {
        RiseLimit { per_minute: metric.max_rate.unwrap_or(f64::INFINITY), step: WHOLE_UNIT }
    }

    /// Whether a counter can have risen so far in this time.
    #[inline]
    #[must_use]
    pub fn allows(&self, rise: f64, elapsed: Millis) -> bool {
        (rise - self.step) * MINUTE as f64 <= self.per_minute * elapsed as f64
    }
}

/// What the facility can carry of what a counter counts, per minute.
fn carried(profile: &Profile, device: &str, metric: &str) -> Option<f64> {
    match metric {
        "heat_total" => Some(greatest_heat_power(profile, device)? * GJ_PER_KW_MINUTE),
        "energy_total" => {
            let rating = positive(profile.number(device, TRANSFORMER_CAPACITY))?;
            Some(rating * OVER_TRANSFORMER / 60.0)
        }
        _ => None,
    }
}

/// The greatest heat power that the facility can have, kW; `None` when the registry gives no measure of it.
///
/// Of design load (kW), capacity (MW) and heated area (m²) the one that allows most holds: an attribute that is wrong or
/// meant for something else must not turn heat that was supplied into a fault.
#[must_use]
pub fn greatest_heat_power(profile: &Profile, device: &str) -> Option<f64> {
    let facility = &profile.facility;
    let area = match facility.kind {
        FacilityKind::WeatherStation => None,
        _ => positive(facility.heated_area).or_else(|| positive(Some(profile.area_below))),
    };
    let number = |name| positive(profile.number(device, name));
    let measures = [
        number(DESIGN_LOAD).map(|load| load * OVER_DESIGN_LOAD),
        number(CAPACITY).map(|capacity| capacity * 1e3 * OVER_CAPACITY),
        area.map(|area| area * GREATEST_KW_PER_AREA),
    ];
    measures.into_iter().flatten().reduce(f64::max)
}

/// The greatest value of a metric that the facility can have, in its unit; `None` where that is not known.
#[must_use]
pub fn greatest_value(profile: &Profile, device: &str, metric: &str) -> Option<f64> {
    match metric {
        "heat_power" => greatest_heat_power(profile, device),
        "primary_flow" | "secondary_flow" | "supply_flow" | "flow" => {
            Some(greatest_heat_power(profile, device)? / (KW_PER_FLOW_KELVIN * LEAST_DIFFERENCE))
        }
        _ => None,
    }
}

/// A measure that says something: zero, negative and not finite ones do not.
fn positive(measure: Option<f64>) -> Option<f64> {
    measure.filter(|measure| measure.is_finite() && *measure > 0.0)
}

#[cfg(test)]
mod tests {
    use schemas::Catalogue;

    use super::*;
    use crate::validate::tests::registered;

    fn limit(area: Option<f64>, attributes: &str, metric: &str) -> RiseLimit {
        let mut profile = Profile::clone(registered(attributes, "").profile.as_ref().unwrap());
        profile.facility.heated_area = area;
        let catalogue = Catalogue::in_force();
        RiseLimit::of(&profile, "", catalogue.metric(catalogue.id(metric).unwrap()))
    }

    #[rstest::rstest]
    #[case::nothing_known(None, "", "heat_total", 60.0)]
    #[case::nothing_said_by_zero(Some(0.0), "design_load=0 capacity=-1", "heat_total", 60.0)]
    #[case::area(Some(10_000.0), "", "heat_total", 0.9)]
    #[case::design_load(None, "design_load=500", "heat_total", 0.09)]
    #[case::a_wrong_design_load(Some(10_000.0), "design_load=0.5", "heat_total", 0.9)]
    #[case::capacity(Some(10_000.0), "capacity=29", "heat_total", 3.48)]
    #[case::by_name(Some(10_000.0), "heat_total_max_rate=0.25", "heat_total", 0.25)]
    #[case::transformer(None, "transformer_capacity=400", "energy_total", 10.0)]
    #[case::catalogue(Some(10_000.0), "", "makeup_total", 20.0)]
    fn rates(#[case] area: Option<f64>, #[case] attributes: &str, #[case] metric: &str, #[case] want: f64) {
        let limit = limit(area, attributes, metric);
        assert!((limit.per_minute - want).abs() < 1e-9, "{limit:?}");
        assert_eq!(limit.step, 1.0);
    }

    #[rstest::rstest]
    #[case::power("heat_power", Some(15_000.0))]
    #[case::flow("secondary_flow", Some(2_580.0))]
    #[case::nothing_known_of_it("secondary_supply_temp", None)]
    fn greatest_values(#[case] metric: &str, #[case] want: Option<f64>) {
        let mut profile = Profile::clone(registered("", "").profile.as_ref().unwrap());
        assert_eq!(greatest_value(&profile, "", metric), None, "nothing is known of the facility");
        profile.facility.heated_area = Some(10_000.0);
        let greatest = greatest_value(&profile, "", metric);
        assert_eq!(greatest.map(|greatest| (greatest / 10.0).round() * 10.0), want);
    }

    #[test]
    fn a_step_of_the_display_may_fall_into_any_moment() {
        let fine = limit(Some(1_000.0), "heat_total_resolution=0.001", "heat_total");
        assert!(!fine.allows(1.0, MINUTE) && fine.allows(0.09, MINUTE));
        let whole = limit(Some(1_000.0), "", "heat_total");
        assert!(whole.allows(1.0, 0) && whole.allows(1.08, MINUTE) && !whole.allows(1.1, MINUTE));
    }
}
