use connectors::Connect;
use schemas::{Facility, FacilityKind, RegistryEntry};

use super::*;

const AT: Millis = 1_736_900_000_000;

fn reader(facilities: &[&str]) -> Reader {
    let known = KnownFacilities::default();
    for code in facilities {
        let entry = RegistryEntry::Facility(Facility::new(*code, FacilityKind::Station));
        known.apply(&entry.key().0, Some(&entry));
    }
    let (http, mqtt) = (connectors::http::Settings::default(), connectors::mqtt::Settings::default());
    Reader {
        connectors: [&http as &dyn Connect, &mqtt].map(|c| (c.name(), c.reread().unwrap())).into(),
        kafka: serde_json::from_value(serde_json::json!({ "brokers": "b:1" })).unwrap(),
        backfill: schemas::time::BACKFILL,
        codec: Codec::single_object(),
        known,
    }
}

fn reject(stage: RejectStage, origin: &str, reason: Reason, detail: &str, raw: impl Into<Bytes>) -> Rejected {
    Rejected { at: AT, origin: origin.into(), reason, detail: detail.into(), raw: raw.into(), stage }
}

/// The facility and readings of every report, with its arrival time when that is not the reject's.
fn taken(again: Reread) -> Vec<String> {
    let Reread::Taken(records) = again else { panic!("not taken: {again:?}") };
    let text = |record: &Outgoing| match record {
        Outgoing::Report(report) => {
            let readings: Vec<_> = report.readings.iter().map(|r| r.metric.to_string()).collect();
            let at = report.received_at - AT;
            format!("{} {} {at}", report.facility, readings.join(","))
        }
        Outgoing::Event(event) => format!("event {}", event.facility),
        Outgoing::Reject(reject) => format!("reject {}", reject.reason.name()),
        Outgoing::RegistryEntry(..) => "registry".to_owned(),
    };
    records.iter().map(text).collect()
}

const JSON: &str =
    r#"{"facility":"ST-1","observed_at":1736899990000,"readings":{"room_temp":20.5,"room_humidity":40}}"#;

#[test]
fn an_object_that_is_known_by_now_is_taken_with_the_time_at_which_it_came() {
    let unknown = reject(
        RejectStage::Connector,
        "http:10.0.0.1",
        Reason::UnknownFacility,
        "facility ST-1 is not in the registry",
        JSON,
    );
    assert!(matches!(reader(&[]).read(&unknown), Reread::Refused(Reason::UnknownFacility, _)));
    assert_eq!(taken(reader(&["ST-1"]).read(&unknown)), ["ST-1 room_temp,room_humidity 0"]);
    let raw = r#"{"facility":"ST-1","observed_at":1736899990000,"received_at":1736899999000,"readings":[{"metric":"room_temp","value":20.5}]}"#;
    let inner = reject(RejectStage::Dataflow, "kafka:heating.reports/3/7", Reason::UnknownFacility, "", raw);
    assert_eq!(taken(reader(&["ST-1"]).read(&inner)), ["ST-1 room_temp -1000"]);
}

#[test]
fn an_event_that_the_dataflow_turned_away_is_taken_as_one() {
    let raw =
        r#"{"at":1736899990000,"facility":"ST-1","fields":{"stopped_area":"5"},"id":"R-1","kind":"repair"}"#;
    let event = reject(RejectStage::Dataflow, "kafka:heating.events/3/7", Reason::UnknownFacility, "", raw);
    assert!(matches!(reader(&[]).read(&event), Reread::Refused(Reason::UnknownFacility, _)));
    assert_eq!(taken(reader(&["ST-1"]).read(&event)), ["event ST-1"]);
}

#[test]
fn only_the_reading_that_was_turned_away_is_sent_again() {
    let one = reject(RejectStage::Connector, "http:10.0.0.1#room_temp", Reason::UnknownMetric, "", JSON);
    assert_eq!(taken(reader(&["ST-1"]).read(&one)), ["ST-1 room_temp 0"]);
}

#[test]
fn of_a_pack_only_the_object_that_was_not_known() {
    let pack =
        r#"[{"n":"ST-1:room_temp","v":20,"t":1736899990},{"n":"ST-2:room_temp","v":21,"t":1736899990}]"#;
    let detail = "facility ST-2 is not in the registry";
    let one = reject(RejectStage::Connector, "http:10.0.0.1", Reason::UnknownFacility, detail, pack);
    assert_eq!(taken(reader(&["ST-1", "ST-2"]).read(&one)), ["ST-2 room_temp 0"]);
}

#[test]
fn payloads_of_topics_go_through_the_profiles() {
    let raw = r#"{"observed_at":1736899990000,"readings":{"room_temp":20.5}}"#;
    let one = reject(RejectStage::Connector, "mqtt:heating/ST-1/report", Reason::NoProfile, "", raw);
    assert_eq!(taken(reader(&["ST-1"]).read(&one)), ["ST-1 room_temp 0"]);
    let mut without = reader(&["ST-1"]);
    without.connectors.remove("mqtt");
    assert!(matches!(without.read(&one), Reread::LeftOut(_)));
}

#[test]
fn a_record_of_a_schema_that_is_known_by_now_is_decoded() {
    let report = Report {
        facility: "ST-1".into(),
        device: None,
        observed_at: AT - 10_000,
        received_at: AT - 1,
        origin: "http:10.0.0.1".into(),
        sequence: None,
        readings: [schemas::RawReading {
            metric: schemas::Code::const_new("room_temp"),
            value: schemas::RawValue::Number(20.5),
        }]
        .into_iter()
        .collect(),
    };
    let bytes = Codec::single_object().encode(&report).unwrap();
    let place = "kafka:heating.reports/3/7";
    let one = reject(RejectStage::Dataflow, place, Reason::UnknownSchema, "", bytes);
    assert_eq!(taken(reader(&["ST-1"]).read(&one)), ["ST-1 room_temp -1"]);
    let unreadable = reject(RejectStage::Dataflow, place, Reason::Malformed, "", "no avro");
    assert!(matches!(reader(&["ST-1"]).read(&unreadable), Reread::Refused(Reason::Malformed, _)));
}

#[rstest::rstest]
#[case::duplicate(RejectStage::Dataflow, "kafka:heating.reports/3/7", Reason::Duplicate, "")]
#[case::superseded(RejectStage::Dataflow, "kafka:heating.reports/3/7", Reason::Superseded, "")]
#[case::not_measured(RejectStage::Dataflow, "kafka:heating.reports/3/7#room_temp", Reason::NotMeasured, "")]
#[case::registry(RejectStage::Dataflow, "kafka:heating.registry/0/7", Reason::Malformed, "")]
#[case::file(RejectStage::Connector, "replay:a.csv:7", Reason::BadTime, "")]
#[case::exchange(RejectStage::Sink, "exchange:T/1/2", Reason::Refused, "")]
#[case::cut(RejectStage::Connector, "http:10.0.0.1", Reason::Malformed, &format!("bad{}", schemas::reject::kept_of(8, 9)))]
fn what_makes_no_sense_is_left_out(
    #[case] stage: RejectStage,
    #[case] origin: &str,
    #[case] reason: Reason,
    #[case] detail: &str,
) {
    let one = reject(stage, origin, reason, detail, JSON);
    assert!(matches!(reader(&["ST-1"]).read(&one), Reread::LeftOut(_)));
}
