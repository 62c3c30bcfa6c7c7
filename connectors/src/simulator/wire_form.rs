//! Reports as senders write them: native JSON, and ThingsBoard gateway telemetry.

use std::fmt::Write;

use schemas::{RawValue, Report};

/// Appends a report in the native JSON form, with its `received_at`.
pub(super) fn native(report: &Report, out: &mut String) {
    out.push_str("{\"facility\":");
    text(&report.facility, out);
    if let Some(device) = &report.device {
        out.push_str(",\"device\":");
        text(device, out);
    }
    // Writing to a string does not fail.
    let _ = write!(out, ",\"observed_at\":{},\"received_at\":{}", report.observed_at, report.received_at);
    if let Some(sequence) = report.sequence {
        let _ = write!(out, ",\"sequence\":{sequence}");
    }
    out.push_str(",\"readings\":");
    values(report, out);
    out.push('}');
}

/// Appends a report as gateway telemetry of one device, named `facility`, separator, `device`.
pub(super) fn thingsboard(report: &Report, separator: &str, out: &mut String) {
    out.push('{');
    match &report.device {
        Some(device) => text(&format!("{}{separator}{device}", report.facility), out),
        None => text(&report.facility, out),
    }
    let _ = write!(out, ":[{{\"ts\":{},\"values\":", report.observed_at);
    values(report, out);
    out.push_str("}]}");
}

fn values(report: &Report, out: &mut String) {
    let mut before = '{';
    for reading in &report.readings {
        out.push(before);
        before = ',';
        text(&reading.metric, out);
        out.push(':');
        match &reading.value {
            RawValue::Number(value) if value.is_finite() => {
                let _ = write!(out, "{value}");
            }
            RawValue::Number(value) => text(&value.to_string(), out),
            RawValue::Text(written) => text(written, out),
            RawValue::Missing => out.push_str("null"),
        }
    }
    if before == '{' {
        out.push('{');
    }
    out.push('}');
}

fn text(text: &str, out: &mut String) {
    let plain = text.bytes().all(|b| b >= 0x20 && b != b'"' && b != b'\\');
    if plain {
        out.push('"');
        out.push_str(text);
        out.push('"');
    } else {
        out.push_str(&serde_json::Value::from(text).to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemas::RawReading;

    fn report() -> Report {
        let reading = |metric: &str, value| RawReading { metric: metric.into(), value };
        Report {
            facility: "A\"1".into(),
            device: Some("D".into()),
            observed_at: 1_000,
            received_at: 2_000,
            origin: "x".into(),
            sequence: Some(7),
            readings: [
                reading("a", RawValue::Number(45.2)),
                reading("b", RawValue::Missing),
                reading("c", RawValue::Text("7,5\n".into())),
            ]
            .into_iter()
            .collect(),
        }
    }

    #[test]
    fn both_forms_are_json() {
        let (mut own, mut gateway) = (String::new(), String::new());
        native(&report(), &mut own);
        thingsboard(&report(), "/", &mut gateway);
        let values = serde_json::json!({"a": 45.2, "b": null, "c": "7,5\n"});
        let read = |text: &str| serde_json::from_str::<serde_json::Value>(text).expect("JSON");
        let want = serde_json::json!({"facility": "A\"1", "device": "D", "observed_at": 1000, "received_at": 2000,
            "sequence": 7, "readings": values});
        assert_eq!(read(&own), want);
        assert_eq!(read(&gateway), serde_json::json!({"A\"1/D": [{"ts": 1000, "values": values}]}));
    }
}
