//! Rejects of the dataflow: a reading or a whole report, written again as the JSON of the native form, so that it
//! can be read and sent again.

use std::fmt::Write;

use schemas::{Millis, Reason, Reject, RejectStage, report::ValueView, time};

use crate::flow::{Observation, PlacedEvent};

/// A report without its readings: what its rejects say about it.
#[derive(Clone, Copy, Debug)]
pub struct Header<'a> {
    /// Facility code.
    pub facility: &'a str,
    /// Device code, or empty.
    pub device: &'a str,
    /// When it was measured.
    pub observed_at: Millis,
    /// When it arrived.
    pub received_at: Millis,
    /// The sender's counter.
    pub sequence: Option<i64>,
}

impl<'a> From<&Observation<'a>> for Header<'a> {
    fn from(observation: &Observation<'a>) -> Self {
        Header {
            facility: observation.facility,
            device: observation.device,
            observed_at: observation.observed_at,
            received_at: observation.received_at,
            sequence: observation.sequence,
        }
    }
}

/// Where a record lies: `kafka:{topic}/{partition}/{offset}`.
#[must_use]
pub fn origin(topic: &str, partition: i32, offset: i64) -> String {
    format!("kafka:{topic}/{partition}/{offset}")
}

/// A reject of all readings of a report.
#[must_use]
pub fn report(observation: &Observation<'_>, topic: &str, reason: Reason, detail: String) -> Reject {
    let readings = observation.readings.iter().map(|r| (r.metric.code(), ValueView::Number(r.value)));
    Reject {
        at: observation.received_at,
        origin: origin(topic, observation.partition, observation.offset),
        reason,
        detail,
        raw: json(observation.into(), readings),
        stage: RejectStage::Dataflow,
        readings: observation.readings.len() as u32,
    }
}

/// A reject of one reading of the report at `origin`.
#[must_use]
pub fn reading(
    header: Header<'_>,
    origin: &str,
    (metric, value): (&str, ValueView<'_>),
    reason: Reason,
    detail: String,
) -> Reject {
    Reject {
        at: header.received_at,
        origin: format!("{origin}#{metric}"),
        reason,
        detail,
        raw: json(header, std::iter::once((metric, value))),
        stage: RejectStage::Dataflow,
        readings: 1,
    }
}

/// A reject of an event, written again as the JSON of the native form.
#[must_use]
pub fn event(placed: &PlacedEvent, topic: &str, reason: Reason, detail: String) -> Reject {
    let event = &placed.event;
    let raw = serde_json::json!({
        "id": event.id,
        "kind": event.kind,
        "facility": event.facility,
        "at": event.at,
        "fields": event.fields,
    });
    Reject {
        at: event.received_at,
        origin: origin(topic, placed.partition, placed.offset),
        reason,
        detail,
        raw: raw.to_string().into_bytes(),
        stage: RejectStage::Dataflow,
        readings: 0,
    }
}

/// Names what was measured, for details: `ST-1`, `ST-1/PUMP-2`.
#[must_use]
pub fn object(header: Header<'_>) -> String {
    match header.device {
        "" => header.facility.to_owned(),
        device => format!("{}/{device}", header.facility),
    }
}

/// The native JSON form with `received_at` added; members in a fixed order, so that it is
/// canonical. Numbers that JSON cannot write are written as text.
fn json<'a>(header: Header<'_>, readings: impl Iterator<Item = (&'a str, ValueView<'a>)>) -> Vec<u8> {
    let mut out = String::with_capacity(192);
    out.push_str("{\"facility\":");
    quote(&mut out, header.facility);
    if !header.device.is_empty() {
        out.push_str(",\"device\":");
        quote(&mut out, header.device);
    }
    // Writing to a string cannot fail.
    let _ = write!(out, ",\"observed_at\":{},\"received_at\":{}", header.observed_at, header.received_at);
    if let Some(sequence) = header.sequence {
        let _ = write!(out, ",\"sequence\":{sequence}");
    }
    out.push_str(",\"readings\":[");
    for (n, (metric, value)) in readings.enumerate() {
        out.push_str(if n > 0 { ",{\"metric\":" } else { "{\"metric\":" });
        quote(&mut out, metric);
        out.push_str(",\"value\":");
        match value {
            ValueView::Number(value) if value.is_finite() => {
                let _ = write!(out, "{value:?}");
            }
            ValueView::Number(value) => quote(&mut out, &value.to_string()),
            ValueView::Text(text) => quote(&mut out, text),
            ValueView::Missing => out.push_str("null"),
        }
        out.push('}');
    }
    out.push_str("]}");
    out.into_bytes()
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

    use super::*;
    use crate::flow::Observed;

    #[test]
    fn the_report_is_written_again() {
        let id = |code| Catalogue::in_force().id(code).unwrap();
        let observed = |code, value| Observed { metric: id(code), value, normal: true };
        let observation = Observation {
            facility: "ST-\"1\"\n",
            device: "D",
            observed_at: 5,
            received_at: 7,
            sequence: Some(3),
            partition: 2,
            offset: 9,
            redriven: false,
            readings: &[observed("room_temp", 20.5), observed("room_humidity", 40.0)],
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
