//! Rejects of the dataflow: a reading or a whole report, written again as the JSON of the native form, because the
//! bytes it came in are gone by now.

use std::fmt::Write;

use schemas::{MetricId, Millis, Reason, Reject, Stage, time};

use crate::flow::Observation;

/// Where a record lies: `kafka:{topic}/{partition}/{offset}`.
#[must_use]
pub fn origin(topic: &str, partition: i32, offset: i64) -> String {
    format!("kafka:{topic}/{partition}/{offset}")
}

/// A reject of all readings of a report.
#[must_use]
pub fn report(observation: &Observation, topic: &str, reason: Reason, detail: String) -> Reject {
    let readings = observation.readings.iter().map(|reading| (reading.metric, reading.value));
    Reject {
        at: observation.received_at,
        origin: origin(topic, observation.partition, observation.offset),
        reason,
        detail,
        raw: json(observation, observation.received_at, readings),
        stage: Stage::Dataflow,
        readings: observation.readings.len() as u32,
    }
}

/// A reject of one reading of a report, or of the one that it replaces: then `value` and `received_at` are of that.
#[must_use]
pub fn reading(
    observation: &Observation,
    topic: &str,
    (metric, value, received_at): (MetricId, f64, Millis),
    reason: Reason,
    detail: String,
) -> Reject {
    let report = origin(topic, observation.partition, observation.offset);
    Reject {
        at: observation.received_at,
        origin: format!("{report}#{}", metric.code()),
        reason,
        detail,
        raw: json(observation, received_at, std::iter::once((metric, value))),
        stage: Stage::Dataflow,
        readings: 1,
    }
}

/// Names what was measured, for details: `ST-1`, `ST-1/PUMP-2`.
#[must_use]
pub fn object(observation: &Observation) -> String {
    match observation.device.as_str() {
        "" => observation.facility.to_string(),
        device => format!("{}/{device}", observation.facility),
    }
}

/// The native JSON form (design, section 4) with `received_at` added; members in a fixed order, so that it is
/// canonical.
fn json(
    observation: &Observation,
    received_at: Millis,
    readings: impl Iterator<Item = (MetricId, f64)>,
) -> Vec<u8> {
    let mut out = String::with_capacity(192);
    out.push_str("{\"facility\":");
    quote(&mut out, &observation.facility);
    if !observation.device.is_empty() {
        out.push_str(",\"device\":");
        quote(&mut out, &observation.device);
    }
    for (name, at) in [("observed_at", observation.observed_at), ("received_at", received_at)] {
        member(&mut out, name, format_args!("{at}"));
    }
    if let Some(sequence) = observation.sequence {
        member(&mut out, "sequence", format_args!("{sequence}"));
    }
    out.push_str(",\"readings\":[");
    for (n, (metric, value)) in readings.enumerate() {
        if n > 0 {
            out.push(',');
        }
        out.push_str("{\"metric\":");
        quote(&mut out, metric.code());
        member(&mut out, "value", format_args!("{value:?}"));
        out.push('}');
    }
    out.push_str("]}");
    out.into_bytes()
}

fn member(out: &mut String, name: &str, value: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = write!(out, ",\"{name}\":{value}");
}

fn quote(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if u32::from(c) < 0x20 => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

/// A time for details.
#[must_use]
pub fn at(millis: Millis) -> String {
    time::rfc3339(millis)
}

#[cfg(test)]
mod tests {
    use schemas::Catalogue;
    use smallvec::smallvec;

    use super::*;
    use crate::flow::Observed;

    #[test]
    fn the_report_is_written_again() {
        let id = |code| Catalogue::builtin().id(code).unwrap();
        let observed = |code, value| Observed { metric: id(code), value, normal: true };
        let observation = Observation {
            facility: "ST-\"1\"\n".into(),
            device: "D".into(),
            observed_at: 5,
            received_at: 7,
            sequence: Some(3),
            partition: 2,
            offset: 9,
            readings: smallvec![observed("room_temp", 20.5), observed("room_humidity", 40.0)],
        };
        let reject = report(&observation, "heating.reports", Reason::UnknownFacility, String::new());
        assert_eq!(reject.origin, "kafka:heating.reports/2/9");
        assert_eq!(reject.readings, 2);
        assert_eq!(
            String::from_utf8(reject.raw).unwrap(),
            r#"{"facility":"ST-\"1\"\u000a","device":"D","observed_at":5,"received_at":7,"sequence":3,"#
                .to_owned()
                + r#""readings":[{"metric":"room_temp","value":20.5},{"metric":"room_humidity","value":40.0}]}"#
        );
    }
}
