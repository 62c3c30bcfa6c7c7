//! A small district by hand, for scenarios that need to know every value: one city, one enterprise, stations that report
//! every minute.

use connectors::Outgoing;
use schemas::{
    Code, District, Enterprise, Facility, FacilityKind, Millis, RawReading, RawValue, RegistryEntry, Report,
    time::MINUTE,
};

/// The city's code.
pub const CITY: &str = "220100";
/// The enterprise's code.
pub const ENTERPRISE: &str = "E-1";
/// Midnight of 15 January 2025 in Changchun.
pub const MIDNIGHT: Millis = 1_736_870_400_000;

/// The registry with so many stations of 10,000 m² each.
pub fn registry(stations: usize) -> Vec<Outgoing> {
    let city = District { code: CITY.into(), name: "长春".to_owned(), parent: None };
    let enterprise = Enterprise { code: ENTERPRISE.into(), name: "第一热力".to_owned() };
    let mut entries =
        vec![entry(RegistryEntry::District(city)), entry(RegistryEntry::Enterprise(enterprise))];
    entries.extend((1..=stations).map(|number| station(number, 10_000.0)));
    entries
}

/// The registry entry of one station.
pub fn station(number: usize, heated_area: f64) -> Outgoing {
    let attributes = [("interval", "60"), ("offline_after", "1800"), ("arrives_within", "300")];
    entry(RegistryEntry::Facility(Facility {
        code: code(number),
        kind: FacilityKind::Station,
        name: format!("Station {number}"),
        parent: None,
        enterprise: Some(ENTERPRISE.into()),
        district: Some(CITY.into()),
        longitude: Some(125.3),
        latitude: Some(43.9),
        heated_area: Some(heated_area),
        attributes: attributes.map(|(name, value)| (name.into(), value.into())).into_iter().collect(),
    }))
}

/// A station whose silence is an alarm after so many seconds.
pub fn station_lost_after(number: usize, seconds: u32) -> Outgoing {
    let Outgoing::RegistryEntry(key, Some(mut entry)) = station(number, 10_000.0) else { unreachable!() };
    if let RegistryEntry::Facility(facility) = &mut *entry {
        facility.attributes.insert("offline_after".into(), seconds.to_string().into());
    }
    Outgoing::RegistryEntry(key, Some(entry))
}

/// A healthy report of a station that arrives half a second after it was observed.
pub fn healthy(number: usize, at: Millis) -> Outgoing {
    Outgoing::Report(report(number, at, at + 500, &[("secondary_supply_temp", 45.0), ("outdoor_temp", -9.5)]))
}

/// Healthy reports of the first stations, minute by minute; minute 0 is so many minutes ago.
pub fn minutes(stations: usize, ago: Millis, minutes: std::ops::Range<i64>) -> Vec<Outgoing> {
    let start = (jiff::Timestamp::now().as_millisecond() / MINUTE - ago) * MINUTE;
    minutes
        .flat_map(|minute| (1..=stations).map(move |station| healthy(station, start + minute * MINUTE)))
        .collect()
}

/// The code of a station.
pub fn code(number: usize) -> Code {
    Code::from(format!("ST-{number:04}"))
}

fn entry(entry: RegistryEntry) -> Outgoing {
    Outgoing::RegistryEntry(entry.key(), Some(Box::new(entry)))
}

/// A report of a station.
pub fn report(
    number: usize,
    observed_at: Millis,
    received_at: Millis,
    readings: &[(&'static str, f64)],
) -> Report {
    let reading = |(metric, value): &(&'static str, f64)| RawReading {
        metric: Code::const_new(metric),
        value: RawValue::Number(*value),
    };
    Report {
        facility: code(number),
        device: None,
        observed_at,
        received_at,
        origin: Code::const_new("test"),
        sequence: None,
        readings: readings.iter().map(reading).collect(),
    }
}
