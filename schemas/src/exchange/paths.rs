//! The paths into our records that a field's source may name, by what feeds its table.
//!
//! Enters: a feed. Leaves: its paths. Guarantees: every path that the exchange fills is here; a test beside the mapping
//! says so.

use super::Feed;

/// Of the facility that a row is about, and of what that belongs to.
const FACILITY: &[&str] = &[
    "facility.code",
    "facility.kind",
    "facility.name",
    "facility.parent",
    "facility.longitude",
    "facility.latitude",
    "facility.heated_area",
    "enterprise.code",
    "enterprise.name",
    "district.code",
    "district.name",
];
const DEVICE: &[&str] =
    &["device.code", "device.facility", "device.type", "device.model", "device.maker", "device.installed"];
const THRESHOLD: &[&str] = &[
    "threshold.id",
    "threshold.scope",
    "threshold.metric",
    "threshold.level1",
    "threshold.level2",
    "threshold.level3",
];
const KPI: &[&str] = &["scope", "period", "window"];
const ALARM: &[&str] = &[
    "alarm.short_id",
    "alarm.facility",
    "alarm.device",
    "alarm.rule",
    "alarm.metric",
    "alarm.level",
    "alarm.peak_level",
    "alarm.type",
    "alarm.first_value",
    "alarm.current_value",
    "alarm.peak_value",
    "alarm.at",
    "alarm.raised_at",
    "alarm.peak_at",
    "alarm.cleared_at",
];
/// What comes before the name of an attribute of the registry, and before the code of a KPI.
const FACILITY_ATTRIBUTE: &str = "facility.attribute.";
const DEVICE_ATTRIBUTE: &str = "device.attribute.";
const KPI_CODE: &str = "kpi.";

impl Feed {
    /// The paths that its rows can be filled from, but for attributes of the registry and KPIs.
    pub fn paths(&self) -> impl Iterator<Item = &'static str> + Clone {
        let (own, of_facility): (&[&str], &[&str]) = match self {
            Feed::Facility(_) => (&[], FACILITY),
            Feed::Device => (DEVICE, FACILITY),
            Feed::Threshold => (THRESHOLD, &[]),
            Feed::Kpi(..) => (KPI, FACILITY),
            Feed::Alarm => (ALARM, FACILITY),
        };
        own.iter().chain(of_facility).copied()
    }

    /// Whether rows can be filled from a path; of KPIs from these.
    #[must_use]
    pub fn knows(&self, path: &str, kpis: &[&str]) -> bool {
        let behind = |start: &str| path.strip_prefix(start).filter(|name| !name.is_empty());
        let of_facility = || behind(FACILITY_ATTRIBUTE).is_some();
        let open = match self {
            Feed::Threshold => false,
            Feed::Device => behind(DEVICE_ATTRIBUTE).is_some() || of_facility(),
            Feed::Kpi(..) => behind(KPI_CODE).is_some_and(|kpi| kpis.contains(&kpi)) || of_facility(),
            Feed::Facility(_) | Feed::Alarm => of_facility(),
        };
        open || self.paths().any(|known| known == path)
    }
}
