//! Every bad input in every form: what is refused, why, and that nothing is lost.

use bytes::Bytes;
use jiff::tz::{TimeZone, offset};
use proptest::prelude::*;
use schemas::{Facility, FacilityKind, RawValue, Reason, RegistryEntry, number::Decimal};

use super::{
    Arrival, Batch, MAX_RAW, MAX_REFUSED, events, native,
    pointer::{Mapping, Pointers},
    senml, thingsboard,
};
use crate::{KnownFacilities, Outgoing};

/// 2024-01-15T08:00:00Z.
const NOW: i64 = 1_705_305_600_000;

fn arrival() -> Arrival {
    Arrival {
        at: NOW,
        origin: "http:198.51.100.7".to_owned(),
        zone: TimeZone::fixed(offset(8)),
        decimal: None,
        accept_received_at: false,
        backfill: schemas::time::BACKFILL,
        facility: None,
        device: None,
    }
}

fn native(text: &str) -> Batch {
    native::parse(&Bytes::copy_from_slice(text.as_bytes()), &arrival())
}

fn lines(text: &str) -> Batch {
    native::parse_lines(&Bytes::copy_from_slice(text.as_bytes()), &arrival())
}

fn senml(text: &str) -> Batch {
    senml::parse(&Bytes::copy_from_slice(text.as_bytes()), &arrival())
}

fn thingsboard(text: &str) -> Batch {
    thingsboard::parse(&Bytes::copy_from_slice(text.as_bytes()), &arrival(), "/")
}

/// A good native record with these fields instead.
fn record(fields: &str) -> String {
    format!(r#"{{"facility":"ST-1","observed_at":{NOW},{fields}}}"#)
}

/// `facility[/device]@time metric=value …`, as short as a table needs.
fn shown(batch: &Batch) -> Vec<String> {
    let value = |value: &RawValue| match value {
        RawValue::Number(number) => number.to_string(),
        RawValue::Text(text) => format!("'{text}'"),
        RawValue::Missing => "missing".to_owned(),
    };
    batch
        .reports()
        .map(|report| {
            let device = report.device.as_ref().map(|device| format!("/{device}")).unwrap_or_default();
            let readings = report.readings.iter().map(|r| format!(" {}={}", r.metric, value(&r.value)));
            format!(
                "{}{device}@{}{}",
                report.facility,
                report.observed_at - NOW,
                readings.collect::<String>()
            )
        })
        .collect()
}

fn reasons(batch: &Batch) -> Vec<(usize, Option<&str>, Reason)> {
    batch.refused.iter().map(|r| (r.index, r.metric.as_deref(), r.reason)).collect()
}

#[rstest::rstest]
#[case::map(r#""readings":{"room_temp":21.5,"running":true}"#, "ST-1@0 room_temp=21.5 running=1")]
#[case::list(r#""readings":[{"metric":"room_temp","value":21.5}]"#, "ST-1@0 room_temp=21.5")]
#[case::device(r#""device":"D","readings":{"room_temp":21.5}"#, "ST-1/D@0 room_temp=21.5")]
#[case::null(r#""readings":{"room_temp":null}"#, "ST-1@0 room_temp=missing")]
#[case::text(r#""readings":{"room_temp":"２１．５"}"#, "ST-1@0 room_temp='２１．５'")]
#[case::decimal_comma(r#""readings":{"room_temp":"21,5"}"#, "ST-1@0 room_temp='21,5'")]
#[case::great_integer(r#""readings":{"room_temp":9007199254740993}"#, "ST-1@0 room_temp=9007199254740992")]
#[case::beyond_u64(
    r#""readings":{"room_temp":18446744073709551616}"#,
    "ST-1@0 room_temp=18446744073709552000"
)]
#[case::further_fields(r#""site":[{}],"readings":{"room_temp":1}"#, "ST-1@0 room_temp=1")]
fn native_records_are_read(#[case] fields: &str, #[case] want: &str) {
    let batch = native(&record(fields));
    assert_eq!((shown(&batch), batch.refused.len()), (vec![want.to_owned()], 0));
}

#[rstest::rstest]
#[case(Decimal::Point, "1,001", Ok(RawValue::Number(1001.0)))]
#[case(Decimal::Comma, "1,001", Ok(RawValue::Number(1.001)))]
#[case(Decimal::Comma, "1.001,5", Ok(RawValue::Number(1001.5)))]
#[case(Decimal::Comma, "1.001", Ok(RawValue::Number(1001.0)))]
#[case(Decimal::Comma, "45,2", Ok(RawValue::Number(45.2)))]
#[case(Decimal::Comma, "45.2", Err((Reason::NotANumber, "heat_total is the text '45.2', expected a number with the decimal sign ',' as configured".to_owned())))]
fn the_decimal_sign_of_the_profile_decides(
    #[case] decimal: Decimal,
    #[case] text: &str,
    #[case] want: Result<RawValue, (Reason, String)>,
) {
    let arrival = Arrival { decimal: Some(decimal), facility: Some("A".into()), ..arrival() };
    let bytes = |text: String| Bytes::from(text);
    let fields = "time = '/t'\nfields.'/e' = { metric = 'heat_total' }";
    let mapping = Mapping::new(pointers(fields), true).unwrap();
    let native = bytes(format!(r#"{{"observed_at":{NOW},"readings":{{"heat_total":"{text}"}}}}"#));
    let batches = [
        native::parse(&native, &arrival),
        native::parse_lines(&native, &arrival),
        senml::parse(&bytes(format!(r#"[{{"n":"heat_total","vs":"{text}"}}]"#)), &arrival),
        thingsboard::parse(&bytes(format!(r#"{{"A":[{{"heat_total":"{text}"}}]}}"#)), &arrival, "/"),
        mapping.parse(&bytes(format!(r#"{{"t":{NOW},"e":"{text}"}}"#)), &arrival),
    ];
    for batch in batches {
        let found = batch.reports().next().map(|report| report.readings[0].value.clone());
        match &want {
            Ok(value) => assert_eq!(found.as_ref(), Some(value), "{batch:?}"),
            Err((reason, detail)) => {
                assert_eq!((found, batch.refused[0].reason), (None, *reason));
                assert!(batch.refused[0].detail.ends_with(detail), "{}", batch.refused[0].detail);
            }
        }
    }
}

#[rstest::rstest]
#[case(r#""2026-10-25 02:30:00""#, "occurs twice in Europe/Belgrade: send it with its offset")]
#[case("20261025023000", "occurs twice in Europe/Belgrade")]
#[case(r#""2026-03-29 02:30:00""#, "does not occur in Europe/Belgrade")]
fn a_local_time_that_is_not_one_moment_is_refused(#[case] time: &str, #[case] detail: &str) {
    let zone = TimeZone::get("Europe/Belgrade").unwrap();
    let arrival = Arrival { zone, at: 1_800_000_000_000, ..arrival() };
    let fields = "facility = '/facility'\ntime = '/observed_at'\nfields.'/v' = { metric = 'room_temp' }";
    let pattern = if time.contains(' ') { "%Y-%m-%d %H:%M:%S" } else { "%Y%m%d%H%M%S" };
    let payload =
        Bytes::from(format!(r#"{{"facility":"A","observed_at":{time},"readings":{{"room_temp":1}},"v":1}}"#));
    let batches = [
        native::parse(&payload, &arrival),
        thingsboard::parse(
            &Bytes::from(format!(r#"{{"A":[{{"ts":{time},"values":{{}}}}]}}"#)),
            &arrival,
            "/",
        ),
        Mapping::new(pointers(fields), false).unwrap().parse(&payload, &arrival),
        Mapping::new(pointers(&format!("time_format = '{pattern}'\n{fields}")), false)
            .unwrap()
            .parse(&payload, &arrival),
    ];
    for batch in batches {
        assert_eq!(reasons(&batch), [(0, None, Reason::BadTime)]);
        assert!(batch.refused[0].detail.contains(detail), "{}", batch.refused[0].detail);
    }
}

#[rstest::rstest]
#[case(r#""2024-01-15T16:00:01+08:00""#, 1_000)]
#[case(r#""2024-01-15 16:00:01""#, 1_000)]
#[case(r#""２０２４-01-15T08:00:01Z""#, 1_000)]
#[case("1705305601000", 1_000)]
#[case("1705305601000.5", 1_000)]
#[case(r#""1705305601000""#, 1_000)]
#[case(r#""20240115160001""#, 1_000)]
#[case("20240115160001", 1_000)]
#[case("20240115160001.0", 1_000)]
#[case(r#""20240115160001250""#, 1_250)]
#[case("20240115160001250", 1_250)]
fn times_are_read(#[case] time: &str, #[case] after: i64) {
    let batch = native(&format!(r#"{{"facility":"A","observed_at":{time},"readings":{{"room_temp":1}}}}"#));
    assert_eq!(shown(&batch), [format!("A@{after} room_temp=1")]);
}

#[rstest::rstest]
#[case::unknown_metric(r#"{"room_tmp":1}"#, Reason::UnknownMetric, "the nearest is room_temp")]
#[case::far_metric(r#"{"zzz":1}"#, Reason::UnknownMetric, "metric zzz is not in the catalogue")]
#[case::nan(r#"{"room_temp":NaN}"#, Reason::NotFinite, "room_temp is NaN")]
#[case::infinity(r#"{"room_temp":-Infinity}"#, Reason::NotFinite, "-Infinity")]
#[case::overflow(r#"{"room_temp":1e999}"#, Reason::NotFinite, "1e999")]
#[case::lower_nan(r#"{"room_temp":nan}"#, Reason::NotFinite, "room_temp is nan")]
#[case::upper_nan(r#"{"room_temp":NAN}"#, Reason::NotFinite, "room_temp is NAN")]
#[case::negative_nan(r#"{"room_temp":-nan}"#, Reason::NotFinite, "room_temp is -nan")]
#[case::windows_nan(r#"{"room_temp":-nan(ind)}"#, Reason::NotFinite, "room_temp is -nan(ind)")]
#[case::old_windows_nan(r#"{"room_temp":1.#QNAN}"#, Reason::NotFinite, "room_temp is 1.#QNAN")]
#[case::inf(r#"{"room_temp":inf}"#, Reason::NotFinite, "room_temp is inf")]
#[case::negative_inf(r#"{"room_temp":-inf}"#, Reason::NotFinite, "room_temp is -inf")]
#[case::positive_infinity(r#"{"room_temp":+Infinity}"#, Reason::NotFinite, "room_temp is +Infinity")]
#[case::negative_overflow(r#"{"room_temp":-1e999}"#, Reason::NotFinite, "-1e999")]
#[case::word(r#"{"room_temp":undefined}"#, Reason::Malformed, "room_temp is no JSON value")]
#[case::leading_zero(r#"{"room_temp":021.5}"#, Reason::Malformed, "room_temp is no JSON value")]
#[case::no_integer(r#"{"room_temp":.5}"#, Reason::Malformed, "room_temp is no JSON value")]
#[case::plus(r#"{"room_temp":+5}"#, Reason::Malformed, "room_temp is no JSON value")]
#[case::hexadecimal(r#"{"room_temp":0x1F}"#, Reason::Malformed, "room_temp is no JSON value")]
#[case::high_surrogate(r#"{"room_temp":"\ud83d"}"#, Reason::Malformed, "a pair of surrogates")]
#[case::low_surrogate(r#"{"room_temp":"\ude00"}"#, Reason::Malformed, "a pair of surrogates")]
#[case::escape(r#"{"room_temp":"\x41"}"#, Reason::Malformed, "one of")]
#[case::control_character("{\"room_temp\":\"2\u{1}1\"}", Reason::Malformed, "control character")]
#[case::line_break("{\"room_temp\":\"2\n1\"}", Reason::Malformed, "control character")]
#[case::surrogate_in_a_metric(r#"{"room_temp\ud83d":1}"#, Reason::UnknownMetric, "room_temp\u{fffd}")]
#[case::nan_text(r#"{"room_temp":"NaN"}"#, Reason::NotFinite, "NaN")]
#[case::thousands_or_decimals(r#"{"room_temp":"1,001"}"#, Reason::AmbiguousNumber, "1001 or 1.001")]
#[case::thousands(r#"{"room_temp":"1,000.2"}"#, Reason::NotANumber, "the setting decimal")]
#[case::text(r#"{"room_temp":"warm"}"#, Reason::NotANumber, "the text 'warm'")]
#[case::unit_in_text(r#"{"room_temp":"21℃"}"#, Reason::NotANumber, "21℃")]
#[case::boolean(r#"{"room_temp":true}"#, Reason::WrongType, "a boolean")]
#[case::array(r#"{"room_temp":[1]}"#, Reason::WrongType, "an array")]
#[case::object(r#"{"room_temp":{"v":1}}"#, Reason::WrongType, "an object")]
#[case::repeated(r#"{"voltage":1,"voltage":2}"#, Reason::DuplicateKey, "voltage stands more than once")]
#[case::no_metric(r#"[{"value":1}]"#, Reason::MissingField, "field metric is missing")]
#[case::no_value(r#"[{"metric":"room_temp"}]"#, Reason::MissingField, "room_temp has no field value")]
#[case::no_pair("[7]", Reason::WrongType, "expected an object")]
fn a_bad_reading_costs_only_itself(#[case] readings: &str, #[case] reason: Reason, #[case] detail: &str) {
    let good = r#"{"metric":"outdoor_temp","value":-5}"#;
    let readings = match readings.strip_suffix(']') {
        Some(start) => format!("{start},{good}]"),
        None => readings.replacen('{', r#"{"outdoor_temp":-5,"#, 1),
    };
    let batch = native(&record(&format!(r#""readings":{readings}"#)));
    assert!(shown(&batch)[0].contains("outdoor_temp=-5"), "{batch:?}");
    assert_eq!(batch.refused.len(), 1);
    assert_eq!(batch.refused[0].reason, reason);
    assert!(batch.refused[0].detail.contains(detail), "{}", batch.refused[0].detail);
    assert_eq!(batch.refused[0].raw, record(&format!(r#""readings":{readings}"#)));
}

/// What is said of objects of whose records nothing is accepted: facility, device, time.
#[rstest::rstest]
#[case::unusable(&record(r#""readings":{"room_temp":"warm"}"#), Some(("ST-1", None, NOW)))]
#[case::unknown(&record(r#""device":"D","readings":{"zzz":1}"#), Some(("ST-1", Some("D"), NOW)))]
#[case::empty(&record(r#""readings":{}"#), Some(("ST-1", None, NOW)))]
#[case::fast(
    r#"{"facility":"A","observed_at":4000000000000,"readings":{"room_temp":1}}"#,
    Some(("A", None, 4_000_000_000_000))
)]
#[case::never(r#"{"facility":"A","observed_at":5,"readings":{"room_temp":1}}"#, Some(("A", None, 5)))]
#[case::no_time(r#"{"facility":"A","device":"D","readings":{"room_temp":1}}"#, Some(("A", Some("D"), 0)))]
#[case::bad_time(r#"{"facility":"A","observed_at":"noon","readings":{}}"#, Some(("A", None, 0)))]
#[case::nobody(r#"{"observed_at":5,"readings":{"room_temp":1}}"#, None)]
#[case::accepted(&record(r#""readings":{"room_temp":null}"#), None)]
fn a_sender_of_nothing_usable_is_in_contact(
    #[case] text: &str,
    #[case] want: Option<(&str, Option<&str>, i64)>,
) {
    let mut batch = native(text);
    let heard: Vec<_> =
        batch.heard.iter().map(|r| (r.facility.as_str(), r.device.as_deref(), r.observed_at)).collect();
    assert_eq!(heard, Vec::from_iter(want));
    assert!(batch.heard.iter().all(|r| r.readings.is_empty() && r.received_at == NOW));
    assert_eq!(batch.accepted.is_empty(), !text.contains("null"));
    let rejects = batch.refused.len();
    let outgoing = batch.take_outgoing(&arrival());
    let reports = outgoing.iter().filter(|record| matches!(record, Outgoing::Report(_))).count();
    assert_eq!((reports, outgoing.len()), (usize::from(!text.starts_with(r#"{"obs"#)), reports + rejects));
}

#[rstest::rstest]
#[case::no_facility(r#"{"observed_at":0,"readings":{}}"#, Reason::MissingField, "field facility is missing")]
#[case::empty_facility(
    r#"{"facility":" ","observed_at":0,"readings":{}}"#,
    Reason::MissingField,
    "facility is empty"
)]
#[case::numeric_facility(
    r#"{"facility":7,"observed_at":0,"readings":{}}"#,
    Reason::WrongType,
    "facility is a number"
)]
#[case::no_time(
    r#"{"facility":"A","readings":{"room_temp":1}}"#,
    Reason::MissingField,
    "observed_at is missing"
)]
#[case::no_readings(r#"{"facility":"A","observed_at":0}"#, Reason::MissingField, "readings is missing")]
#[case::empty_readings(
    r#"{"facility":"A","observed_at":1705305600000,"readings":{}}"#,
    Reason::Empty,
    "no readings"
)]
#[case::readings_text(
    r#"{"facility":"A","observed_at":0,"readings":"x"}"#,
    Reason::WrongType,
    "readings is text"
)]
#[case::bad_time(
    r#"{"facility":"A","observed_at":"noon","readings":{"room_temp":1}}"#,
    Reason::BadTime,
    "'noon'"
)]
#[case::compact_time_that_is_none(
    r#"{"facility":"A","observed_at":"20241315160000","readings":{"room_temp":1}}"#,
    Reason::BadTime,
    "'20241315160000', expected RFC 3339, yyyyMMddHHmmss"
)]
#[case::compact_number_that_is_no_time(
    r#"{"facility":"A","observed_at":20240115246000,"readings":{"room_temp":1}}"#,
    Reason::BadTime,
    "'20240115246000', expected RFC 3339, yyyyMMddHHmmss"
)]
#[case::compact_time_without_seconds(
    r#"{"facility":"A","observed_at":202401151600,"readings":{"room_temp":1}}"#,
    Reason::TimeBefore2000,
    "yyyyMMddHHmmss is expected"
)]
#[case::week_number_run_over(
    r#"{"facility":"A","observed_at":"2004-05-31T08:00:00Z","readings":{"room_temp":1}}"#,
    Reason::TooOld,
    "lies 7168 days before its arrival at 2024-01-15T08:00:00.000Z, at most 31 are allowed"
)]
#[case::microseconds(
    r#"{"facility":"A","observed_at":1705305600000000,"readings":{"room_temp":1}}"#,
    Reason::TimeInFuture,
    "looks like microseconds"
)]
#[case::overflowing_time(
    r#"{"facility":"A","observed_at":99999999999999999999,"readings":{"room_temp":1}}"#,
    Reason::BadTime,
    "99999999999999999999"
)]
#[case::seconds(
    r#"{"facility":"A","observed_at":1705305600,"readings":{"room_temp":1}}"#,
    Reason::TimeBefore2000,
    "looks like seconds"
)]
#[case::before_2000(
    r#"{"facility":"A","observed_at":"1999-12-31T23:59:59Z","readings":{"room_temp":1}}"#,
    Reason::TimeBefore2000,
    "1999-12-31"
)]
#[case::future(
    r#"{"facility":"A","observed_at":"2024-01-15T09:00:01Z","readings":{"room_temp":1}}"#,
    Reason::TimeInFuture,
    "more than an hour after it arrived at 2024-01-15T08:00:00"
)]
#[case::negative_sequence(
    r#"{"facility":"A","observed_at":1705305600000,"sequence":-1,"readings":{"room_temp":1}}"#,
    Reason::NegativeNumber,
    "sequence is -1"
)]
#[case::fractional_sequence(
    r#"{"facility":"A","observed_at":1705305600000,"sequence":1.5,"readings":{"room_temp":1}}"#,
    Reason::WrongType,
    "sequence is 1.5"
)]
#[case::overflowing_sequence(
    r#"{"facility":"A","observed_at":1705305600000,"sequence":18446744073709551616,"readings":{"room_temp":1}}"#,
    Reason::WrongType,
    "sequence is 18446744073709551616"
)]
#[case::surrogate_in_the_facility(
    r#"{"facility":"A\ud83d","observed_at":1705305600000,"readings":{"room_temp":1}}"#,
    Reason::Malformed,
    "facility is no JSON value"
)]
#[case::no_json_value_in_the_time(
    r#"{"facility":"A","observed_at":now,"readings":{"room_temp":1}}"#,
    Reason::Malformed,
    "observed_at is no JSON value"
)]
#[case::nan_in_the_time(
    r#"{"facility":"A","observed_at":nan,"readings":{"room_temp":1}}"#,
    Reason::BadTime,
    "observed_at is 'nan'"
)]
#[case::nan_in_the_sequence(
    r#"{"facility":"A","observed_at":1705305600000,"sequence":nan,"readings":{"room_temp":1}}"#,
    Reason::WrongType,
    "sequence is nan"
)]
#[case::no_colon(
    r#"{"facility" "A","observed_at":1705305600000,"readings":{"room_temp":1}}"#,
    Reason::Malformed,
    "expected ':'"
)]
#[case::no_comma(
    r#"{"facility":"A" "observed_at":1705305600000,"readings":{"room_temp":1}}"#,
    Reason::Malformed,
    "expected ',' or '}'"
)]
#[case::comma_at_the_end(
    r#"{"facility":"A","observed_at":1705305600000,"readings":{"room_temp":1,}}"#,
    Reason::Malformed,
    "expected a key in quotes"
)]
#[case::single_quotes(r#"{'facility':'A'}"#, Reason::Malformed, "a key in quotes")]
#[case::word("undefined", Reason::Malformed, "the record is no JSON value")]
#[case::repeated_field(
    r#"{"facility":"A","facility":"B","observed_at":1705305600000,"readings":{"room_temp":1}}"#,
    Reason::DuplicateKey,
    "field facility stands more than once"
)]
#[case::number("7", Reason::WrongType, "the record is a number, expected an object")]
#[case::null("null", Reason::WrongType, "the record is null")]
fn a_bad_record_costs_only_itself(#[case] bad: &str, #[case] reason: Reason, #[case] detail: &str) {
    let good = record(r#""readings":{"room_temp":21}"#);
    let payload = format!("[{good}, {bad} ,{good}]");
    let batch = native(&payload);
    assert_eq!(shown(&batch).len(), 2);
    assert_eq!(reasons(&batch), [(1, None, reason)]);
    assert!(batch.refused[0].detail.contains(detail), "{}", batch.refused[0].detail);
    assert_eq!(batch.refused[0].raw, bad);
    let lines = lines(&format!("{good}\n{bad}\r\n\n{good}"));
    if reason == Reason::Malformed {
        // A syntax error is named by its byte, in the payload or in the line.
        assert_eq!((reasons(&lines), &lines.refused[0].raw), (reasons(&batch), &batch.refused[0].raw));
    } else {
        assert_eq!(lines.refused, batch.refused);
    }
}

#[rstest::rstest]
#[case::nothing("", Reason::Empty)]
#[case::space(" \n ", Reason::Empty)]
#[case::empty_array("[]", Reason::Empty)]
#[case::cut("[{\"facility\":\"A\"},", Reason::Malformed)]
#[case::trailing("{} x", Reason::Malformed)]
fn an_unreadable_payload_is_one_refusal_with_all_its_bytes(#[case] payload: &str, #[case] reason: Reason) {
    let batch = native(payload);
    assert!(batch.unreadable && batch.accepted.is_empty());
    assert_eq!(reasons(&batch), [(0, None, reason)]);
    assert_eq!(batch.refused[0].raw, payload);
}

#[test]
fn bytes_that_are_no_text_are_named() {
    let batch = native::parse(&Bytes::from_static(b"{\"a\":\"\xff\"}"), &arrival());
    assert_eq!(batch.refused[0].detail, "byte 6 is no UTF-8");
}

#[rstest::rstest]
#[case::high_surrogate(r#""note":"cut \ud83d""#)]
#[case::two_high_surrogates(r#""note":"\ud83d\ud83d""#)]
#[case::low_surrogate(r#""note":"\ude00""#)]
#[case::nan(r#""note":nan"#)]
#[case::key(r#""\ud83d":1"#)]
#[case::control_character("\"note\":\"a\tb\"")]
#[case::great_number(r#""note":1e999"#)]
#[case::deep_inside(r#""note":{"a":[{"b":nan}]}"#)]
fn what_no_one_reads_costs_nothing(#[case] field: &str) {
    let good = record(r#""readings":{"room_temp":21}"#);
    let batch = native(&format!("[{good},{},{good}]", good.replacen('{', &format!("{{{field},"), 1)));
    assert_eq!((shown(&batch).len(), batch.refused.len()), (3, 0), "{:?}", batch.refused);
}

#[test]
fn bytes_that_are_no_text_cost_only_their_record() {
    // A note in GB 18030.
    let good = record(r#""readings":{"room_temp":21}"#).into_bytes();
    let bad = [&b"{\"note\":\"\xc5\xaf\xc1\xf7\","[..], &good[1..]].concat();
    for (between, start, end) in [("\n", "", ""), (",", "[", "]")] {
        let text =
            [start.as_bytes(), &good, between.as_bytes(), &bad, between.as_bytes(), &good, end.as_bytes()];
        let payload = Bytes::from(text.concat());
        let batch = match between {
            "\n" => native::parse_lines(&payload, &arrival()),
            _ => native::parse(&payload, &arrival()),
        };
        assert_eq!(shown(&batch).len(), 2, "{between:?}");
        assert_eq!(reasons(&batch), [(1, None, Reason::Malformed)]);
        assert!(batch.refused[0].detail.contains("is no UTF-8"), "{}", batch.refused[0].detail);
        assert_eq!(batch.refused[0].raw, bad);
    }
}

#[test]
fn a_syntax_error_costs_only_its_line() {
    let good = record(r#""readings":{"room_temp":21}"#);
    let batch = lines(&format!("{good}\n{{\"facility\":\n{good}\n"));
    assert_eq!(shown(&batch).len(), 2);
    assert_eq!(reasons(&batch), [(1, None, Reason::Malformed)]);
    assert_eq!(batch.refused[0].raw, "{\"facility\":");
}

#[test]
fn deep_json_costs_only_its_record() {
    let good = record(r#""readings":{"room_temp":21}"#);
    let deep = |inner: &str| format!("{}{inner}{}", "[".repeat(50_000), "]".repeat(50_000));
    let batch = native(&format!("[{good},{},{good}]", record(&format!(r#""readings":{}"#, deep("1")))));
    assert_eq!(shown(&batch).len(), 2);
    // An array of one element that nests too deep is an array of readings of which one is no reading.
    assert_eq!(batch.refused.len(), 1);
    let batch = native(&record(&format!(r#""readings":{{"room_temp":{},"voltage":220}}"#, deep(""))));
    assert_eq!(shown(&batch), ["ST-1@0 voltage=220"]);
    assert_eq!(reasons(&batch)[0].1, Some("room_temp"));
}

#[test]
fn received_at_counts_only_where_it_is_accepted() {
    let payload = Bytes::from(record(&format!(r#""received_at":{},"readings":{{"room_temp":1}}"#, NOW + 5)));
    let received = |accept_received_at| {
        let arrival = Arrival { accept_received_at, ..arrival() };
        native::parse(&payload, &arrival).reports().next().unwrap().received_at
    };
    assert_eq!((received(false), received(true)), (NOW, NOW + 5));
}

#[rstest::rstest]
#[case::neither("", "T/D@0 room_temp=1", None)]
#[case::the_same(r#""facility":"T","device":"D","#, "T/D@0 room_temp=1", None)]
#[case::the_same_facility(r#""facility":"T","#, "T/D@0 room_temp=1", None)]
#[case::the_same_device(r#""facility":null,"device":"D","#, "T/D@0 room_temp=1", None)]
#[case::no_device(r#""device":null,"#, "T/D@0 room_temp=1", None)]
#[case::another_facility(r#""facility":"B","#, "", Some("facility B, its topic names facility T"))]
#[case::another_device(r#""device":"E","#, "", Some("device E, its topic names device D"))]
fn the_topic_wins(#[case] names: &str, #[case] want: &str, #[case] detail: Option<&str>) {
    let arrival = Arrival { facility: Some("T".into()), device: Some("D".into()), ..arrival() };
    let good = format!(r#"{{"observed_at":{NOW},"readings":{{"voltage":220}}}}"#);
    let bad = format!(r#"{{{names}"observed_at":{NOW},"readings":{{"room_temp":1}}}}"#);
    let fields = "facility = '/facility'\ndevice = '/device'\ntime = '/observed_at'
        fields.'/readings/room_temp' = { metric = 'room_temp' }\nfields.'/readings/voltage' = { metric = 'voltage' }";
    let mapping = Mapping::new(pointers(fields), true).unwrap();
    let array = Bytes::from(format!("[{good},{bad}]"));
    let batches = [
        native::parse(&array, &arrival),
        native::parse_lines(&Bytes::from(format!("{good}\n{bad}")), &arrival),
        mapping.parse(&array, &arrival),
    ];
    for batch in batches {
        let mut all = vec!["T/D@0 voltage=220", want];
        all.retain(|line| !line.is_empty());
        assert_eq!(shown(&batch), all, "{:?}", batch.refused);
        assert_eq!(batch.refused.len(), usize::from(detail.is_some()));
        if let Some(detail) = detail {
            assert_eq!((batch.refused[0].index, batch.refused[0].reason.name()), (1, "topic_mismatch"));
            assert!(batch.refused[0].detail.contains(detail), "{}", batch.refused[0].detail);
            assert_eq!(
                (batch.refused[0].raw.clone(), batch.refused[0].readings),
                (Bytes::from(bad.clone()), 1)
            );
        }
    }
}

#[test]
fn a_topic_that_names_one_device_of_a_facility_lets_none_beside_it_in() {
    let arrival = Arrival { facility: Some("T".into()), device: Some("D".into()), ..arrival() };
    let payload =
        br#"{"T":[{"room_temp":1}],"T/D":[{"room_temp":2}],"B":[{"room_temp":3}],"T/E":[{"room_temp":4}]}"#;
    let batch = thingsboard::parse(&Bytes::from_static(payload), &arrival, "/");
    assert_eq!(shown(&batch), ["T/D@0 room_temp=1", "T/D@0 room_temp=2"]);
    let found: Vec<_> = batch.refused.iter().map(|r| (r.index, r.reason.name())).collect();
    assert_eq!(found, [(2, "topic_mismatch"), (3, "topic_mismatch")]);
}

#[test]
fn a_record_with_too_many_readings_is_refused_whole() {
    let readings: Vec<String> = (0..3_000).map(|_| r#""room_temp":1"#.to_owned()).collect();
    let batch = native(&record(&format!(r#""readings":{{{}}}"#, readings.join(","))));
    assert_eq!(reasons(&batch), [(0, None, Reason::TooLarge)]);
    assert_eq!(batch.refused[0].readings, 3_000);
}

#[test]
fn a_payload_of_problems_is_answered_within_bounds() {
    let readings: Vec<String> = (0..2_000).map(|n| format!(r#""x{n}":1"#)).collect();
    let bad = record(&format!(r#""readings":{{{}}}"#, readings.join(",")));
    let payload = vec![bad; 100].join("\n");
    let batch = lines(&payload);
    assert_eq!(batch.refused.len(), MAX_REFUSED + 90);
    assert_eq!(refused(&batch), 200_000);
    let carried: usize = batch.refused.iter().map(|refusal| refusal.raw.len()).sum();
    assert!(carried < (5 << 20) + payload.len(), "rejects repeat {carried} bytes");
}

#[test]
fn a_reject_says_where_it_came_from_and_when_its_bytes_were_cut() {
    let batch = native(&record(r#""readings":{"room_temp":"warm","voltage":220}"#));
    let reject = batch.refused[0].reject(&arrival());
    assert_eq!((reject.origin.as_str(), reject.at, reject.readings), ("http:198.51.100.7#room_temp", NOW, 1));
    let enormous = native(&"x".repeat(MAX_RAW + 1));
    let reject = enormous.refused[0].reject(&arrival());
    assert_eq!(reject.raw.len(), MAX_RAW);
    assert!(reject.detail.ends_with(&format!("(the first {MAX_RAW} of {} bytes are kept)", MAX_RAW + 1)));
}

#[test]
fn what_the_registry_does_not_hold_is_refused() {
    let known = KnownFacilities::default();
    let entry = RegistryEntry::Facility(Facility::new("ST-1", FacilityKind::Station));
    known.apply(&entry.key().0, Some(&entry));
    let good = record(r#""readings":{"room_temp":21}"#);
    let device = record(r#""device":"D","readings":{"room_temp":21}"#);
    let mut batch = native(&format!("[{},{device},{good}]", good.replace("ST-1", "ST-2")));
    batch.admit(&known);
    assert_eq!(shown(&batch), ["ST-1@0 room_temp=21"]);
    assert_eq!(reasons(&batch), [(0, None, Reason::UnknownFacility), (1, None, Reason::UnknownDevice)]);
    assert_eq!((batch.refused[1].readings, &batch.refused[1].raw), (1, &Bytes::from(device)));
}

#[rstest::rstest]
#[case::base(
    r#"[{"bn":"ST-1:","bt":1705305600,"bu":"Cel","n":"supply_temp","v":80.5},{"n":"return_temp","v":313.15,"u":"K"}]"#,
    &["ST-1@0 supply_temp=80.5 return_temp=40"]
)]
#[case::relative(r#"[{"n":"A:room_temp","v":21},{"n":"A:room_temp","t":-60,"v":20}]"#,
    &["A@0 room_temp=21", "A@-60000 room_temp=20"])]
#[case::device(r#"[{"n":"A/D/running","vb":true}]"#, &["A/D@0 running=1"])]
#[case::urn(r#"[{"n":"urn:nuanliu:A:D:heat_power","u":"W","v":1500}]"#, &["A/D@0 heat_power=1.5"])]
#[case::text(r#"[{"n":"A:room_temp","u":"Cel","vs":"２１"}]"#, &["A@0 room_temp='２１'"])]
#[case::base_value(r#"[{"bn":"A:","bv":20},{"n":"room_temp","v":1.5}]"#, &["A@0 room_temp=21.5"])]
fn senml_is_read(#[case] payload: &str, #[case] want: &[&str]) {
    let batch = senml(payload);
    assert_eq!((shown(&batch), batch.refused.len()), (want.iter().map(|&s| s.to_owned()).collect(), 0));
}

#[rstest::rstest]
#[case::wrong_unit(r#"{"n":"A:room_temp","u":"Pa","v":1}"#, Reason::WrongUnit, "expected °C")]
#[case::unknown_metric(r#"{"n":"A:rom_temp","v":1}"#, Reason::UnknownMetric, "nearest is room_temp")]
#[case::name(r#"{"n":"room_temp","v":1}"#, Reason::MissingField, "'room_temp' is not facility:metric")]
#[case::sum(r#"{"n":"A:room_temp","s":1}"#, Reason::WrongType, "a sum (s) is no reading")]
#[case::no_value(r#"{"n":"A:room_temp"}"#, Reason::MissingField, "no value")]
#[case::two_values(r#"{"n":"A:room_temp","v":1,"vs":"1"}"#, Reason::DuplicateKey, "more than one value")]
#[case::data(r#"{"n":"A:room_temp","vd":"aGk"}"#, Reason::WrongType, "vd of room_temp is text")]
#[case::text_in_v(r#"{"n":"A:room_temp","v":"1"}"#, Reason::WrongType, "v of room_temp is text")]
#[case::infinite(r#"{"n":"A:room_temp","v":1e999}"#, Reason::NotFinite, "1e999")]
#[case::milliseconds(
    r#"{"n":"A:room_temp","v":1,"t":1705305600000}"#,
    Reason::BadTime,
    "expected seconds since 1970"
)]
#[case::compact_time(
    r#"{"n":"A:room_temp","v":1,"t":20240115160000}"#,
    Reason::BadTime,
    "expected seconds since 1970"
)]
#[case::future(r#"{"n":"A:room_temp","v":1,"t":7200}"#, Reason::TimeInFuture, "10:00:00")]
fn senml_refuses_only_what_is_wrong(#[case] bad: &str, #[case] reason: Reason, #[case] detail: &str) {
    let batch = senml(&format!(r#"[{{"n":"B:voltage","v":220}},{bad}]"#));
    assert_eq!(shown(&batch), ["B@0 voltage=220"]);
    assert_eq!((batch.refused.len(), batch.refused[0].index), (1, 1));
    assert_eq!(batch.refused[0].reason, reason);
    assert!(batch.refused[0].detail.contains(detail), "{}", batch.refused[0].detail);
}

#[rstest::rstest]
#[case::time(r#"{"bn":"B:","bt":"2024-01-15T08:00:00Z","n":"room_temp","v":71}"#, &["A@0 room_temp=45"])]
#[case::name(r#"{"bn":7,"n":"room_temp","v":71}"#, &["A@0 room_temp=45"])]
#[case::repeated_name(r#"{"bn":"B:","bn":"C:","n":"room_temp","v":71}"#, &["A@0 room_temp=45"])]
#[case::unit(r#"{"bn":"B:","bu":[],"n":"room_temp","v":71}"#, &["A@0 room_temp=45"])]
#[case::value(r#"{"bn":"B:","bv":"1","n":"room_temp","v":71}"#, &["A@0 room_temp=45"])]
#[case::no_json(r#"{"bn":"B:","bt":5,"n""room_temp","v":71}"#, &["A@0 room_temp=45"])]
#[case::too_deep_for_a_name(&format!(r#"{{"bn":{}{},"n":"room_temp","v":71}}"#, "[".repeat(90), "]".repeat(90)),
    &["A@0 room_temp=45"])]
#[case::base_is_right(r#"{"bn":"B:","n":"room_temp","v":"x"}"#,
    &["A@0 room_temp=45", "B@0 voltage=99", "B@60000 room_temp=61"])]
#[case::no_base(r#"{"n":"room_temp","v":[]}"#, &["A@0 room_temp=45 voltage=99", "A@60000 room_temp=61"])]
#[case::no_json_and_no_base(r#"{"n""room_temp","v":71}"#, &["A@0 room_temp=45 voltage=99", "A@60000 room_temp=61"])]
fn a_senml_base_that_cannot_be_resolved_refuses_the_records_that_rest_on_it(
    #[case] base: &str,
    #[case] want: &[&str],
) {
    let batch = senml(&format!(
        r#"[{{"bn":"A:","bt":1705305600,"n":"room_temp","v":45}},{base},
        {{"n":"room_temp","t":60,"v":61}},{{"n":"voltage","v":99}}]"#
    ));
    assert_eq!(shown(&batch), want, "{:?}", batch.refused);
    assert!(!batch.unreadable && batch.refused[0].index == 1);
    assert_eq!(batch.readings() + batch.refused.len(), 4);
    for refusal in &batch.refused[1..] {
        assert_eq!(refusal.reason, Reason::MissingField);
        assert!(refusal.detail.contains("record 1"), "{}", refusal.detail);
    }
}

#[test]
fn a_senml_base_that_is_set_anew_is_good_again() {
    let batch = senml(
        r#"[{"bn":"A:","bt":[],"n":"room_temp","v":1},{"n":"voltage","v":2},{"bt":1705305600,"n":"voltage","v":3}]"#,
    );
    assert_eq!(shown(&batch), ["A@0 voltage=3"]);
    assert_eq!(reasons(&batch), [(0, None, Reason::WrongType), (1, None, Reason::MissingField)]);
}

#[rstest::rstest]
#[case::must_understand(r#"{"bn":"B:","x_":1,"n":"voltage","v":2}"#, "record 1 has field x_")]
#[case::version(r#"{"bver":11,"n":"A:voltage","v":2}"#, "version 11")]
fn a_senml_pack_that_is_not_understood_is_refused_whole(#[case] record: &str, #[case] detail: &str) {
    let pack = format!(r#"[{{"n":"A:voltage","v":220}},{record},{{"n":"room_temp","v":20}}]"#);
    let batch = senml(&pack);
    assert_eq!(shown(&batch), [""; 0]);
    assert_eq!(reasons(&batch), [(0, None, Reason::WrongType)]);
    assert!(batch.unreadable && batch.refused[0].raw == pack && batch.refused[0].readings == 3);
    assert!(batch.refused[0].detail.contains(detail), "{}", batch.refused[0].detail);
}

#[rstest::rstest]
#[case::metric(r#"[{"n":"room_temp","v":1},{"n":"voltage","v":2}]"#, &["T/D@0 room_temp=1 voltage=2"], &[])]
#[case::the_same(r#"[{"bn":"T:D:","n":"room_temp","v":1}]"#, &["T/D@0 room_temp=1"], &[])]
#[case::facility_only(r#"[{"bn":"T/","n":"room_temp","v":1}]"#, &["T/D@0 room_temp=1"], &[])]
#[case::another_facility(r#"[{"n":"room_temp","v":1},{"n":"B:voltage","v":2}]"#, &["T/D@0 room_temp=1"], &[1])]
#[case::another_device(r#"[{"n":"room_temp","v":1},{"n":"T:E:voltage","v":2}]"#, &["T/D@0 room_temp=1"], &[1])]
fn the_topic_is_the_base_name_of_senml(#[case] pack: &str, #[case] want: &[&str], #[case] refused: &[usize]) {
    let arrival = Arrival { facility: Some("T".into()), device: Some("D".into()), ..arrival() };
    let batch = senml::parse(&Bytes::copy_from_slice(pack.as_bytes()), &arrival);
    assert_eq!(shown(&batch), want);
    let found: Vec<_> = batch.refused.iter().map(|r| (r.index, r.reason.name())).collect();
    assert_eq!(found, refused.iter().map(|&index| (index, "topic_mismatch")).collect::<Vec<_>>());
}

#[rstest::rstest]
#[case::rfc_3339(
    r#"{"ts":"2024-01-15T08:00:01Z","values":{"room_temp":21}}"#,
    "ST-1@1000 room_temp=21",
    None
)]
#[case::milliseconds(r#"{"ts":1705305601000,"values":{"room_temp":21}}"#, "ST-1@1000 room_temp=21", None)]
#[case::flat(r#"{"room_temp":21}"#, "ST-1@0 room_temp=21", None)]
#[case::values_alone(r#"{"values":{"room_temp":21}}"#, "ST-1@0 room_temp=21", None)]
#[case::seconds(r#"{"ts":1705305600,"values":{"room_temp":21}}"#, "", Some((Reason::TimeBefore2000, "looks like seconds")))]
#[case::beside(r#"{"ts":1705300200000,"room_temp":21}"#, "", Some((Reason::MissingField, "ts stands beside the values")))]
#[case::values_are_no_object(r#"{"ts":1705305600000,"values":[21]}"#, "", Some((Reason::WrongType, "values is an array")))]
#[case::values_are_null(r#"{"ts":1705305600000,"values":null}"#, "", Some((Reason::MissingField, "values")))]
#[case::unknown_metric(r#"{"ts":1705305600000,"values":{"no_such_metric":1}}"#, "", Some((Reason::UnknownMetric, "no_such_metric")))]
#[case::no_number(r#"{"room_temp":"warm"}"#, "", Some((Reason::NotANumber, "room_temp")))]
#[case::no_json(r#"{"ts":1705305600000,"values":{"room_temp":}}"#, "", Some((Reason::Malformed, "syntax error")))]
fn thingsboard_elements_are_read_or_refused_by_name(
    #[case] element: &str,
    #[case] want: &str,
    #[case] refused: Option<(Reason, &str)>,
) {
    let good = r#"{"ts":1705305600000,"values":{"voltage":220}}"#;
    let payload = format!(r#"{{"ST-0":[{good}],"ST-1":[{good}, {element} ],"ST-2":[{good}]}}"#);
    let batch = thingsboard(&payload);
    let mut all = vec!["ST-0@0 voltage=220", "ST-1@0 voltage=220", want, "ST-2@0 voltage=220"];
    all.retain(|line| !line.is_empty());
    assert_eq!(shown(&batch), all, "{:?}", batch.refused);
    let Some((reason, detail)) = refused else { return assert_eq!(batch.refused, []) };
    assert_eq!(batch.refused.len(), 1);
    let refusal = &batch.refused[0];
    assert_eq!((refusal.index, refusal.reason), (2, reason), "{}", refusal.detail);
    assert!(refusal.detail.contains("ST-1") && refusal.detail.contains(detail), "{}", refusal.detail);
    assert_eq!(refusal.raw, format!(r#"{{"ST-1":[{element}]}}"#), "it can be sent again as it is");
}

#[test]
fn a_gateway_reject_names_device_and_metric_however_long_its_payload_is() {
    let good = format!(r#"{{"room_temp":"warm","note":"{}"}}"#, "x".repeat(1 << 19));
    let batch = thingsboard(&format!(r#"{{"ST-1/D1":[{}]}}"#, vec![good; 10].join(",")));
    assert_eq!(batch.refused.len(), 20);
    for refusal in &batch.refused {
        assert!(refusal.detail.contains("facility ST-1, device D1"), "{}", refusal.detail);
        assert!(refusal.detail.contains(refusal.metric.as_deref().unwrap()), "{}", refusal.detail);
    }
}

#[test]
fn thingsboard_telemetry_is_read() {
    let batch = thingsboard(
        r#"{"ST-1":[{"ts":1705305600000,"values":{"room_temp":21,"x":1}},{"ts":"soon","values":{"voltage":1}}],
           "ST-1/D":[{"room_temp":"20,5"}],"":[{"room_temp":1}],"ST-2":[],"ST-3":[7]}"#,
    );
    assert_eq!(shown(&batch), ["ST-1@0 room_temp=21", "ST-1/D@0 room_temp='20,5'"]);
    assert_eq!(
        reasons(&batch),
        [
            (0, Some("x"), Reason::UnknownMetric),
            (1, None, Reason::BadTime),
            (3, None, Reason::MissingField),
            (4, None, Reason::Empty),
            (5, None, Reason::WrongType),
        ]
    );
    assert!(thingsboard("{}").unreadable && thingsboard("[]").unreadable && thingsboard("{").unreadable);
}

fn pointers(text: &str) -> Pointers {
    toml::from_str(text).unwrap()
}

const PLC: &str = r#"
records = "/data"
device = "/dev/id"
time = "/ts"
time_format = "%Y%m%d%H%M%S"
sequence = "/no"
fields."/v/0" = { metric = "supply_temp", factor = 0.1 }
fields."/v/1" = { metric = "supply_pressure", unit = "bar" }
fields."/a~1b" = { metric = "running" }
"#;

#[test]
fn custom_json_is_read_by_pointers() {
    let mapping = Mapping::new(pointers(PLC), true).unwrap();
    let payload = Bytes::from_static(
        br#"{"data":[{"dev":{"id":"P1"},"ts":20240115160000,"no":7,"v":[805,"4.5"],"a/b":true,"more":1},
            {"dev":{"id":"P2"},"ts":"20240115160001","v":["warm",null]},{"dev":{"id":"P3"},"ts":"noon","v":[1]},
            {"dev":{"id":"P4"},"v":[1]},{"ts":20240115160000,"v":[]},7]}"#,
    );
    let named = Arrival { facility: Some("ST-1".into()), ..arrival() };
    let batch = mapping.parse(&payload, &named);
    assert_eq!(
        shown(&batch),
        ["ST-1/P1@0 running=1 supply_temp=80.5 supply_pressure=0.45", "ST-1/P2@1000 supply_pressure=missing"]
    );
    assert_eq!(batch.reports().next().unwrap().sequence, Some(7));
    assert_eq!(
        reasons(&batch),
        [
            (1, Some("supply_temp"), Reason::NotANumber),
            (2, None, Reason::BadTime),
            (3, None, Reason::MissingField),
            (4, None, Reason::Empty),
            (5, None, Reason::MissingField),
        ]
    );
    assert!(mapping.parse(&Bytes::from_static(b"{}"), &named).unreadable);
}

#[rstest::rstest]
#[case("facility = 'id'\nfields.'/v' = { metric = 'room_temp' }", "'id' is no JSON pointer")]
#[case("fields.'/v' = { metric = 'room_temp' }", "neither a pointer nor the topic")]
#[case("facility = '/id'\nfields = {}", "nothing is mapped")]
#[case("facility = '/id'\nfields.'/v' = { metric = 'rom' }", "metric rom is not in the catalogue")]
#[case("facility = '/id'\nfields.'/v' = { metric = 'room_temp', unit = 'bar' }", "expected °C")]
#[case("facility = '/id'\nfields.'/v' = { metric = 'room_temp', factor = 0 }", "the factor not 0")]
#[case("facility = '/id'\ntime_format = 'iso'\nfields.'/v' = { metric = 'room_temp' }", "'iso' is none of")]
fn wrong_pointers_are_named(#[case] text: &str, #[case] detail: &str) {
    let error = Mapping::new(pointers(text), false).unwrap_err().to_string();
    assert!(error.contains(detail), "{error}");
}

#[test]
fn events_are_read() {
    let parse = |text: &str| events(&Bytes::copy_from_slice(text.as_bytes()), &arrival(), false);
    let batch = parse(
        r#"[{"id":"1","kind":"complaint","facility":"A","at":1705305600000,"fields":{"n":1.50,"t":"x","l":[1, 2],"z":null}},
           {"id":"2","kind":"party","facility":"A","at":1705305600000},
           {"id":"3","kind":"plan","facility":"A","at":"2024-02-01T00:00:00Z"},
           {"id":"4","kind":"repair","facility":"A","at":"2024-02-01T00:00:00Z"},
           {"kind":"repair","facility":"A","at":1705305600000},
           {"id":"6","kind":"repair","facility":"A","at":1705305600000,"fields":{"a":1,"a":2}},
           {"id":"7","kind":"repair","facility":"A","at":1705305600000,"fields":{"stopped_area":52000.5}},
           {"id":"8","kind":"repair","facility":"A","at":1705305600000,"fields":{"stopped_area":"half"}}]"#,
    );
    let Outgoing::Event(event) = &batch.accepted[0].record else { panic!("no event") };
    let fields: Vec<_> = event.fields.iter().map(|(k, v)| format!("{k}={v}")).collect();
    assert_eq!(fields, ["l=[1, 2]", "n=1.50", "t=x"]);
    assert_eq!(batch.accepted.iter().map(|a| a.index).collect::<Vec<_>>(), [0, 2, 6]);
    assert_eq!(
        reasons(&batch),
        [
            (1, None, Reason::WrongType),
            (3, None, Reason::TimeInFuture),
            (4, None, Reason::MissingField),
            (5, None, Reason::DuplicateKey),
            (7, None, Reason::WrongType),
        ]
    );
}

/// JSON that resembles records closely enough to reach every branch.
fn anything() -> impl Strategy<Value = String> {
    let scalar = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        Just("NaN".to_owned()),
        Just(NOW.to_string()),
        any::<f64>().prop_map(|number| format!("{number:?}").replace("inf", "Infinity")),
        "\"[a-zA-Z0-9:/.,０-９ -]{0,12}\"",
    ];
    let key = proptest::sample::select(vec![
        "facility",
        "device",
        "observed_at",
        "sequence",
        "readings",
        "metric",
        "value",
        "room_temp",
        "voltage",
        "running",
        "n",
        "bn",
        "v",
        "vs",
        "u",
        "t",
        "bt",
        "ts",
        "values",
        "ST-1",
        "id",
        "kind",
        "at",
        "fields",
    ]);
    scalar.prop_recursive(4, 64, 6, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(|nodes| format!("[{}]", nodes.join(","))),
            proptest::collection::vec((key.clone(), inner), 0..6).prop_map(|members| {
                let members: Vec<_> =
                    members.iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
                format!("{{{}}}", members.join(","))
            }),
        ]
    })
}

/// Something that is wrong with one record and does not hide where it ends.
fn broken_record() -> impl Strategy<Value = Vec<u8>> {
    let value = prop_oneof![
        "[a-zA-Z+.#0-9()-]{1,8}",
        r#""(\\u[dD][89a-fA-F][0-9a-f]{2}|\\[xyz]|[a-z]){1,3}""#,
        Just("\"\u{1}\t\"".to_owned()),
        Just("{\"a\" 1}".to_owned()),
        Just("[1 2]".to_owned()),
        Just("1,".to_owned()),
    ];
    let key = proptest::sample::select(vec![
        "readings",
        "values",
        "facility",
        "observed_at",
        "ts",
        "v",
        "n",
        "bt",
        "x",
    ]);
    prop_oneof![
        (key.clone(), value.clone()).prop_map(|(key, value)| format!("{{\"{key}\":{value}}}").into_bytes()),
        (key, value.clone())
            .prop_map(
                |(key, value)| format!("{{\"facility\":\"B\",\"{key}\":{{\"y\":{value}}}}}").into_bytes()
            ),
        value.prop_map(|value| format!("{{{value}}}").into_bytes()),
        // Bytes in another encoding, whose second byte is no bracket, quote or backslash.
        proptest::collection::vec((0x81_u8..=0xfe, 0x40_u8..=0x5a), 1..6).prop_map(|pairs| {
            let bytes: Vec<u8> = pairs.into_iter().flat_map(|(a, b)| [a, b]).collect();
            [&b"{\"facility\":\""[..], &bytes, b"\"}"].concat()
        }),
    ]
}

/// Good records of one form around a broken one, and how the form is read.
fn around(form: usize, place: usize, broken: &[u8]) -> Batch {
    let good = |number: usize| {
        let at = NOW - number as i64;
        match form {
            0 | 1 | 4 => format!(
                r#"{{"facility":"A","observed_at":{at},"readings":{{"room_temp":{number}}},"v":{number}}}"#
            ),
            2 => format!(
                r#"{{"bn":"A:","bt":{},"bu":"Cel","bv":0,"n":"room_temp","v":{number}}}"#,
                at as f64 / 1e3
            ),
            _ => format!(r#"{{"ts":{at},"values":{{"room_temp":{number}}}}}"#),
        }
    };
    let mut records: Vec<Vec<u8>> = (0..5).map(|number| good(number).into_bytes()).collect();
    records.insert(place, broken.to_vec());
    let body = |between: &[u8]| records.join(between);
    let array = |start: &[u8], end: &[u8]| Bytes::from([start, &body(b","), end].concat());
    let pointers = "records = '/data'\nfacility = '/facility'\ntime = '/observed_at'\nfields.'/v' = { metric = 'room_temp' }";
    match form {
        0 => native::parse(&array(b"[", b"]"), &arrival()),
        1 => native::parse_lines(&Bytes::from(body(b"\n")), &arrival()),
        2 => senml::parse(&array(b"[", b"]"), &arrival()),
        3 => thingsboard::parse(&array(b"{\"A\":[", b"]}"), &arrival(), "/"),
        _ => Mapping::new(self::pointers(pointers), false)
            .unwrap()
            .parse(&array(b"{\"data\":[", b"]}"), &arrival()),
    }
}

/// Readings in refusals.
fn refused(batch: &Batch) -> usize {
    batch.refused.iter().map(|refusal| refusal.readings as usize).sum()
}

proptest! {
    #[test]
    fn no_json_panics_and_every_record_is_answered(text in anything()) {
        let payload = Bytes::copy_from_slice(text.as_bytes());
        let mapping = Mapping::new(pointers("facility = '/facility'\nfields.'/v' = { metric = 'room_temp' }"), false);
        let batches = [
            native(&text),
            lines(&text),
            senml(&text),
            thingsboard(&text),
            mapping.unwrap().parse(&payload, &arrival()),
            events(&payload, &arrival(), false),
        ];
        for (form, batch) in batches.iter().enumerate() {
            // A record that sets only SenML base fields holds nothing; every other payload has an answer.
            prop_assert!(!batch.accepted.is_empty() || !batch.refused.is_empty(), "form {form} of {text}");
        }
    }

    #[test]
    fn one_broken_record_leaves_the_others(form in 0_usize..5, place in 0_usize..=5, broken in broken_record()) {
        let batch = around(form, place, &broken);
        let good: Vec<_> = batch.reports().filter(|report| report.facility == "A" && report.observed_at <= NOW
            && report.observed_at > NOW - 5).map(|report| NOW - report.observed_at).collect();
        let text = String::from_utf8_lossy(&broken);
        prop_assert_eq!(good, [0, 1, 2, 3, 4], "form {} at {}: {}: {:?}", form, place, text, batch.refused);
        let named = batch.refused.iter().all(|refusal| refusal.index == place);
        prop_assert!(named, "{}: {:?}", text, batch.refused);
    }

    #[test]
    fn any_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        let payload = Bytes::from(bytes);
        for batch in [native::parse(&payload, &arrival()), native::parse_lines(&payload, &arrival()),
            senml::parse(&payload, &arrival()), thingsboard::parse(&payload, &arrival(), "/")] {
            prop_assert!(!batch.accepted.is_empty() || !batch.refused.is_empty());
        }
    }

    #[test]
    fn readings_in_are_readings_accepted_and_rejected(
        records in proptest::collection::vec(
            (
                proptest::sample::select(vec!["\"A\"", "7", "\"\""]),
                proptest::sample::select(vec!["1705305600000", "5", "\"x\"", "4000000000000"]),
                proptest::collection::vec(
                    (
                        proptest::sample::select(vec!["room_temp", "voltage", "running", "nonsense"]),
                        proptest::sample::select(vec!["1", "NaN", "\"1,5\"", "\"x\"", "null", "true", "[[]]"]),
                    ),
                    1..8,
                ),
            ),
            1..6,
        )
    ) {
        let total: usize = records.iter().map(|record| record.2.len()).sum();
        let text: Vec<String> = records
            .iter()
            .map(|(facility, at, readings)| {
                let readings: Vec<_> = readings.iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
                format!(r#"{{"facility":{facility},"observed_at":{at},"readings":{{{}}}}}"#, readings.join(","))
            })
            .collect();
        let batch = native(&format!("[{}]", text.join(",")));
        prop_assert_eq!(batch.readings() + refused(&batch), total);
        prop_assert_eq!(lines(&text.join("\n")), batch);
    }
}
