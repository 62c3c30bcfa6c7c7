//! Round trips, old bytes, hostile bytes, and agreement with the Avro library.

use apache_avro::{reader::datum::GenericDatumReader, types::Value, writer::datum::GenericDatumWriter};
use proptest::prelude::*;
use smallvec::SmallVec;

use super::*;
use crate::{
    AlarmState, AlarmTransition, Code, Device, District, Enterprise, Event, Facility, FacilityKind, Flag,
    KpiCause, KpiRow, MetricId, Period, QualityTest, RawReading, RawValue, Reading, Reason, RecordPlace,
    RegistryEntry, Reject, RejectStage, Report, Scope, ScopeKind, Side, TestSet, Threshold, Transition,
};

fn confluent() -> Codec {
    let ids = Topic::ALL.iter().zip(1..).map(|(topic, id)| (*topic, id)).collect();
    Codec::confluent(ids, BTreeMap::new()).unwrap()
}

fn report() -> Report {
    Report {
        facility: "ST-0001".into(),
        device: None,
        observed_at: 1_705_305_600_000,
        received_at: 1_705_305_600_250,
        origin: "http:198.51.100.7".into(),
        sequence: Some(7),
        readings: [
            ("secondary_supply_temp", RawValue::Number(45.2)),
            ("room_temp", RawValue::Text("１８，５".into())),
            ("flow", RawValue::Missing),
        ]
        .map(|(metric, value)| RawReading { metric: metric.into(), value })
        .into_iter()
        .collect(),
    }
}

fn place() -> RecordPlace {
    RecordPlace { topic: Topic::Reports, partition: 3, offset: 1042 }
}

fn alarm() -> AlarmTransition {
    AlarmTransition {
        alarm_id: "a1".into(),
        sequence: 2,
        transition: Transition::Escalated,
        at: 1_705_305_600_000,
        state: AlarmState::Active,
        rule: "threshold".into(),
        facility: "ST-0001".into(),
        device: "".into(),
        metric: Some(MetricId(2)),
        level: 1,
        raised_at: 1_705_305_000_000,
        cleared_at: None,
        first_value: 71.0,
        current_value: 86.5,
        peak_value: 86.5,
        peak_at: 1_705_305_600_000,
        peak_level: 1,
        analysed: false,
        affected_households: 812,
        affected_area: 73_000.5,
        evidence: "{\"readings\":[]}".into(),
        advice: "检查电动调节阀".into(),
        cause: "data".into(),
        caused_by: Some(place()),
    }
}

fn facility() -> Facility {
    Facility {
        code: "ST-0001".into(),
        kind: FacilityKind::Station,
        name: "第一热力站".into(),
        parent: Some("BR-01".into()),
        enterprise: Some("E1".into()),
        district: Some("220102".into()),
        longitude: Some(125.3),
        latitude: Some(43.9),
        heated_area: Some(50_000.0),
        attributes: [("interval".into(), "60".into())].into(),
    }
}

fn entries() -> Vec<RegistryEntry> {
    let threshold = Threshold {
        scope: "station".into(),
        metric: MetricId(2),
        side: Side::High,
        level1: Some(90.0),
        level2: Some(85.0),
        level3: None,
        deadband: 1.0,
        on_delay: 300,
        off_delay: 60,
        enabled: true,
        advice: "check".into(),
        rule: "".into(),
    };
    let device = Device {
        code: "D1".into(),
        facility: "ST-0001".into(),
        kind: "heat_meter".into(),
        model: "M".into(),
        maker: "甲".into(),
        installed: "2021-10".into(),
        attributes: [].into(),
    };
    vec![
        RegistryEntry::District(District {
            code: "220102".into(),
            name: "南关区".into(),
            parent: Some("220100".into()),
        }),
        RegistryEntry::Enterprise(Enterprise { code: "E1".into(), name: "某热力".into() }),
        RegistryEntry::Facility(facility()),
        RegistryEntry::Device(device),
        RegistryEntry::Threshold(threshold),
    ]
}

fn event() -> Event {
    Event {
        id: "c-1".into(),
        kind: "complaint".into(),
        facility: "B-1".into(),
        at: 1,
        received_at: 2,
        origin: "http:h".into(),
        fields: [("text".to_owned(), "家里不热".to_owned())].into(),
    }
}

fn reject() -> Reject {
    Reject {
        at: 3,
        origin: "kafka:heating.reports/3/1042".into(),
        reason: Reason::UnknownFacility,
        detail: "facility X".into(),
        raw: vec![0, 255, 1],
        stage: RejectStage::Dataflow,
        readings: 4,
    }
}

fn reading() -> Reading {
    let mut failed = TestSet::EMPTY;
    failed.insert(QualityTest::Spike);
    failed.insert(QualityTest::ClockAhead);
    Reading {
        facility: "ST-0001".into(),
        device: "".into(),
        metric: MetricId(0),
        observed_at: 5,
        received_at: 6,
        value: 90.25,
        flag: Flag::Suspect,
        failed,
    }
}

fn kpi() -> KpiRow {
    KpiRow {
        kpi: "heat_supplied".into(),
        scope: Scope { kind: ScopeKind::City, code: "220100".into() },
        period: Period::Hour,
        window_start: 3_600_000,
        value: Some(12.5),
        previous: None,
        coverage: 0.75,
        cause: KpiCause::Late,
        caused_by: Some(place()),
    }
}

/// Round trip in both framings, and what the Avro library reads and writes again is the same record to us.
fn agrees<R: Record + PartialEq + std::fmt::Debug>(record: &R) {
    for codec in [Codec::single_object(), confluent()] {
        let bytes = codec.encode(record).unwrap();
        assert_eq!(&codec.decode::<R>(&bytes).unwrap(), record);
        // Both framings are accepted whatever is written.
        assert_eq!(&confluent().decode::<R>(&bytes).unwrap(), record);
    }
    let mut body = Vec::new();
    record.encode_body(&mut body).unwrap();
    let again = reencode(R::TOPIC, &library_value(R::TOPIC, &body));
    assert_eq!(&R::decode_body(&again).unwrap(), record);
    let own = resolution::resolve(R::TOPIC, &Known::all().current(R::TOPIC).schema, &body).unwrap();
    assert_eq!(&R::decode_body(&own).unwrap(), record);
}

fn library_value(topic: Topic, body: &[u8]) -> Value {
    let schema = &Known::all().current(topic).schema;
    let mut rest = body;
    let value = GenericDatumReader::builder(schema).build().unwrap().read_value(&mut rest).unwrap();
    assert!(rest.is_empty(), "the library leaves {} bytes", rest.len());
    value
}

fn reencode(topic: Topic, value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    let schema = &Known::all().current(topic).schema;
    GenericDatumWriter::builder(schema).build().unwrap().write_value_ref(&mut bytes, value).unwrap();
    bytes
}

#[test]
fn every_record_reads_what_it_wrote_as_the_library_does() {
    agrees(&report());
    agrees(&alarm());
    agrees(&event());
    agrees(&reject());
    agrees(&reading());
    agrees(&kpi());
    for entry in entries() {
        agrees(&entry);
    }
}

#[test]
fn the_framings_have_their_standard_headers() {
    // The fingerprint of "int" is given in the Avro specification's test data.
    let int = known::fingerprint(&known::parse("\"int\"").unwrap());
    assert_eq!(u64::from_le_bytes(int), 0x7275_d51a_3f39_5c8f);
    let bytes = Codec::single_object().encode(&report()).unwrap();
    assert_eq!(bytes[..2], [0xc3, 0x01]);
    assert_eq!(bytes[2..10], Known::all().current(Topic::Reports).fingerprint);
    assert_eq!(confluent().encode(&report()).unwrap()[..5], [0, 0, 0, 0, 1]);
}

#[test]
fn every_field_of_every_schema_is_documented_and_new_fields_have_defaults() {
    for topic in Topic::ALL {
        documented(&serde_json::from_str(schema_json(*topic)).unwrap());
    }
    for (topic, json) in known::OLDER {
        assert!(known::parse(json).is_ok(), "{topic:?}");
        assert_ne!(
            known::fingerprint(&known::parse(json).unwrap()),
            Known::all().current(*topic).fingerprint
        );
    }
}

fn documented(schema: &serde_json::Value) {
    if schema["type"] == "record" {
        assert!(schema["doc"].is_string(), "{} has no doc", schema["name"]);
    }
    for field in schema["fields"].as_array().into_iter().flatten() {
        assert!(field["doc"].is_string(), "{}.{} has no doc", schema["name"], field["name"]);
    }
    match schema {
        serde_json::Value::Object(map) => map.values().for_each(documented),
        serde_json::Value::Array(items) => items.iter().for_each(documented),
        _ => {}
    }
}

fn bytes_of(hex: &str) -> Vec<u8> {
    let hex: String = hex.chars().filter(|c| !c.is_whitespace()).collect();
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

/// Values as they lie on topics that were written before the schema's last change.
const OLD_REPORT: &str = "
    c3015485c7931c577d1c0e53542d303030310080c093c2a163f4c393c2a16322687474703a3139382e35312e3130302e
    37062a7365636f6e646172795f737570706c795f74656d70009a9999999999464012726f6f6d5f74656d700218efbc91
    efbc98efbc8cefbc9508666c6f770400";
const OLD_FACILITY: &str = "
    c301dc855950ebd0700d040e53542d303030310e73746174696f6e1ee7acace4b880e783ade58a9be7ab99020a42522d
    303102044531020c323230313032023333333333535f40023333333333f345400210696e74657276616c04363000";
const OLD_KPI: &str = "
    c30156f3c75c33e255cc1a686561745f737570706c69656408636974790c32323031303008686f757280bab703020000
    000000002940000000403f086c617465";
const OLD_ALARM: &str = "
    c3016afec83f75f4881b0461310412657363616c6174656480c093c2a1630c616374697665127468726573686f6c640e
    53542d3030303100022a7365636f6e646172795f737570706c795f74656d700280a1cac1a163000000000000c0514000
    00000000a055400000000000a0554080c093c2a1630200d80c0000000088d2f1401e7b2272656164696e6773223a5b5d
    7d2ae6a380e69fa5e794b5e58aa8e8b083e88a82e998800864617461";
const OLDEST_ALARM: &str = "
    c30184056ffb0c332a3f0461310412657363616c6174656480c093c2a1630c616374697665127468726573686f6c640e
    53542d3030303100022a7365636f6e646172795f737570706c795f74656d700280a1cac1a163000000000000c0514000
    00000000a055400000000000a0554080c093c2a1630200d80c0000000088d2f1401e7b2272656164696e6773223a5b5d
    7d2ae6a380e69fa5e794b5e58aa8e8b083e88a82e99880";

/// Reads a report as the dataflow does, which knows the codes of most metrics by their bytes.
fn read_in_place(codec: &Codec, bytes: &[u8]) -> Result<Report, Error> {
    let body = codec.report_body(bytes)?;
    let mut reader = ReportReader::new(&body)?;
    let mut readings = SmallVec::new();
    let known = |code: &[u8]| (code == b"secondary_supply_temp").then_some("secondary_supply_temp");
    while let Some((metric, value)) = reader.next(known)? {
        let (Named::Known(code) | Named::Unknown(code)) = metric;
        readings.push(RawReading { metric: code.into(), value: value.into() });
    }
    Ok(reader.view().with_readings(readings))
}

#[test]
fn old_bytes_are_read() {
    let codec = Codec::single_object();
    let old = bytes_of(OLD_REPORT);
    assert_eq!(codec.decode::<Report>(&old).unwrap(), Report { sequence: None, ..report() });
    assert!(matches!(codec.report_body(&old).unwrap(), Cow::Owned(_)));
    assert_eq!(read_in_place(&codec, &old).unwrap(), Report { sequence: None, ..report() });
    assert_eq!(
        codec.decode::<RegistryEntry>(&bytes_of(OLD_FACILITY)).unwrap(),
        RegistryEntry::Facility(Facility { heated_area: None, ..facility() })
    );
    for old in [OLDEST_ALARM, OLD_ALARM] {
        let want = AlarmTransition { caused_by: None, ..alarm() };
        assert_eq!(codec.decode::<AlarmTransition>(&bytes_of(old)).unwrap(), want);
    }
    assert_eq!(codec.decode::<KpiRow>(&bytes_of(OLD_KPI)).unwrap(), KpiRow { caused_by: None, ..kpi() });
}

#[test]
fn a_registered_writer_schema_is_resolved() {
    let json = r#"{"type": "record", "name": "Event", "namespace": "elsewhere", "fields": [
        {"name": "extra", "type": {"type": "array", "items": "float"}},
        {"name": "kind", "type": {"type": "enum", "name": "Kind", "symbols": ["repair", "complaint"]}},
        {"name": "id", "type": "string"}, {"name": "facility", "type": ["null", "string"]},
        {"name": "at", "type": "int"}, {"name": "received_at", "type": "long"}, {"name": "origin", "type": "string"}]}"#;
    let writers = [(9, (Topic::Events, json.to_owned()))].into();
    let codec = Codec::confluent(BTreeMap::new(), writers).unwrap();
    let value = bytes_of("00 00000009  02 0000803f 00  02  02 61  02 02 62  06  08  02 63");
    let want = Event {
        id: "a".into(),
        kind: "complaint".into(),
        facility: "b".into(),
        at: 3,
        received_at: 4,
        origin: "c".into(),
        fields: BTreeMap::new(),
    };
    assert_eq!(codec.decode::<Event>(&value).unwrap(), want);
}

#[rstest::rstest]
#[case("", "header at byte 0 is absent")]
#[case("7b22", "header at byte 0 is 7b22")]
#[case("c301", "header at byte 0 needs 10 bytes")]
#[case("0000", "header at byte 0 needs 5 bytes")]
#[case("0000000063 00", "unknown schema number 99")]
#[case("c3010102030405060708", "unknown schema 0807060504030201")]
fn unusable_headers_are_named(#[case] hex: &str, #[case] want: &str) {
    let error = confluent().decode::<Report>(&bytes_of(hex)).unwrap_err().to_string();
    assert!(error.contains(want), "{error}");
}

#[rstest::rstest]
#[case("", "field facility at byte 0 of the body: the body ends within a number")]
#[case(
    "feffffffffffffffff01",
    "field facility at byte 0 of the body: claims a length of 9223372036854775807, 0 bytes"
)]
#[case("01", "field facility at byte 0 of the body: claims a length of -1")]
#[case("ffffffffffffffffffff01", "field facility at byte 0 of the body: the number is longer than 64 bits")]
#[case("02ff", "field facility at byte 0 of the body: text is no UTF-8")]
#[case("0241 06", "field device at byte 2 of the body: union has no branch 3")]
#[case("0241 00 02 04 0242 00 feffffff0f", "field readings at byte 8 of the body: claims")]
#[case(
    "0241 00 02 04 0242 00 02 0243 00 0000",
    "field readings.value at byte 12 of the body: needs 8 bytes, 2 remain"
)]
#[case("0241 00 02 04 0242 00 00 00", "1 bytes follow the last field, from byte 9 of the body")]
fn malformed_bodies_are_named_by_field_and_byte(#[case] hex: &str, #[case] want: &str) {
    let mut bytes = Codec::single_object().encode(&report()).unwrap()[..10].to_vec();
    bytes.extend(bytes_of(hex));
    let codec = Codec::single_object();
    let error = codec.decode::<Report>(&bytes).unwrap_err().to_string();
    assert!(error.contains(want), "{error}");
    assert_eq!(read_in_place(&codec, &bytes).unwrap_err().to_string(), error);
}

#[test]
fn what_has_no_place_in_the_schema_is_not_written() {
    let mut out = vec![1];
    let unknown = Reading { metric: MetricId(u16::MAX), ..reading() };
    assert!(Codec::single_object().encode_into(&unknown, &mut out).is_err());
    let unnamed = Reading { failed: TestSet(1 << 15), ..reading() };
    assert!(Codec::single_object().encode_into(&unnamed, &mut out).is_err());
    assert_eq!(out, [1]);
    let unregistered = Codec::confluent(BTreeMap::new(), BTreeMap::new()).unwrap();
    assert!(unregistered.encode(&report()).unwrap_err().to_string().contains("no number"));
}

fn any_code() -> impl Strategy<Value = Code> {
    ".{0,30}".prop_map(Code::from)
}

fn any_value() -> impl Strategy<Value = RawValue> {
    prop_oneof![
        any::<f64>().prop_filter("NaN is not equal to itself", |v| !v.is_nan()).prop_map(RawValue::Number),
        ".{0,12}".prop_map(RawValue::Text),
        Just(RawValue::Missing),
    ]
}

fn any_report() -> impl Strategy<Value = Report> {
    let readings = prop::collection::vec(
        (any_code(), any_value()).prop_map(|(metric, value)| RawReading { metric, value }),
        0..12,
    );
    let head = (any_code(), prop::option::of(any_code()), any_code());
    (head, any::<[i64; 2]>(), prop::option::of(any::<i64>()), readings).prop_map(
        |((facility, device, origin), [observed_at, received_at], sequence, readings)| Report {
            facility,
            device,
            observed_at,
            received_at,
            origin,
            sequence,
            readings: readings.into_iter().collect(),
        },
    )
}

/// A report as the Avro library sees it, built without our encoder.
fn expected(report: &Report) -> Value {
    let text = |text: &str| Value::String(text.to_owned());
    let option = |value: Option<Value>| match value {
        None => Value::Union(0, Box::new(Value::Null)),
        Some(value) => Value::Union(1, Box::new(value)),
    };
    let readings = report.readings.iter().map(|reading| {
        let value = match &reading.value {
            RawValue::Number(value) => Value::Union(0, Box::new(Value::Double(*value))),
            RawValue::Text(value) => Value::Union(1, Box::new(text(value))),
            RawValue::Missing => Value::Union(2, Box::new(Value::Null)),
        };
        Value::Record(vec![("metric".to_owned(), text(&reading.metric)), ("value".to_owned(), value)])
    });
    let fields = [
        ("facility", text(&report.facility)),
        ("device", option(report.device.as_deref().map(text))),
        ("observed_at", Value::TimestampMillis(report.observed_at)),
        ("received_at", Value::TimestampMillis(report.received_at)),
        ("origin", text(&report.origin)),
        ("sequence", option(report.sequence.map(Value::Long))),
        ("readings", Value::Array(readings.collect())),
    ];
    Value::Record(fields.map(|(name, value)| (name.to_owned(), value)).into())
}

proptest! {
    #[test]
    fn any_report_survives_and_is_what_the_library_reads(report in any_report()) {
        agrees(&report);
        let mut body = Vec::new();
        report.encode_body(&mut body).unwrap();
        prop_assert_eq!(library_value(Topic::Reports, &body), expected(&report));
        prop_assert_eq!(Report::decode_body(&reencode(Topic::Reports, &expected(&report))).unwrap(), report);
    }

    #[test]
    fn no_bytes_make_a_reader_panic(
        noise in prop::collection::vec(any::<u8>(), 0..80),
        which in 0..6usize,
        cut in any::<prop::sample::Index>(),
        bit in any::<prop::sample::Index>(),
    ) {
        let codec = confluent();
        let sample = match which {
            0 => codec.encode(&report()),
            1 => codec.encode(&alarm()),
            2 => codec.encode(&entries()[2]),
            3 => codec.encode(&reading()),
            4 => Ok(bytes_of(OLD_REPORT)),
            _ => Ok(bytes_of(OLD_FACILITY)),
        }.unwrap();
        let truncated = sample[..cut.index(sample.len())].to_vec();
        let mut flipped = sample.clone();
        let bit = bit.index(sample.len() * 8);
        flipped[bit / 8] ^= 1 << (bit % 8);
        let mut behind_header = sample[..5].to_vec();
        behind_header.extend(&noise);
        for bytes in [noise, truncated.clone(), flipped, behind_header] {
            let read = read_in_place(&codec, &bytes).map_err(|error| error.to_string());
            // Compared as text: a value may be no number.
            let whole = codec.decode::<Report>(&bytes).map_err(|error| error.to_string());
            prop_assert_eq!(format!("{read:?}"), format!("{whole:?}"));
            let _ = codec.decode::<AlarmTransition>(&bytes);
            let _ = codec.decode::<RegistryEntry>(&bytes);
            let _ = codec.decode::<Reading>(&bytes);
            let _ = codec.decode::<Event>(&bytes);
            let _ = codec.decode::<Reject>(&bytes);
            let _ = codec.decode::<KpiRow>(&bytes);
        }
        let _ = codec.decode::<Report>(&truncated).unwrap_err();
    }
}
