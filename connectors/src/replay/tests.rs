//! Replaying small files with every oddity, and the real ones when they are there.

use std::{io::Write, path::PathBuf};

use schemas::{Millis, RawValue, Reason, Report, time};

use super::*;

const MAPPING: &str = r#"
missing = ["", "NA"]
delay = 2
[time]
column = "t"
format = "%Y-%m-%d %H:%M"
zone = "Europe/Belgrade"
[facility]
column = "site"
prefix = "S-"
names = { old = "7" }
[[columns]]
column = "e"
metric = "heat_total"
factor = 3.6
[[columns]]
column = "ta"
metric = "outdoor_temp"
"#;

fn mapping() -> Mapping {
    Mapping::parse("m.toml", MAPPING).expect("mapping")
}

fn rows(text: &str) -> Vec<Result<Report, RowReject>> {
    read(text, &mapping())
}

fn read(text: &str, mapping: &Mapping) -> Vec<Result<Report, RowReject>> {
    let plain = Box::new(std::io::Cursor::new(text.as_bytes().to_vec()));
    CsvRows::read("a.csv", plain, mapping).expect("header").collect()
}

/// The mapping with another setting of its time.
fn with_time(setting: &str) -> Mapping {
    Mapping::parse("m.toml", &MAPPING.replacen("[time]", &format!("[time]\n{setting}"), 1)).expect("mapping")
}

fn at(text: &str) -> Millis {
    time::parse(text, &jiff::tz::TimeZone::UTC).expect("time")
}

#[test]
fn a_row_becomes_a_report() {
    let rows =
        rows("site,t,ta,e,unused\nold,2024-01-15 13:00,-39.9,100.1,x\nB,2024-01-15 13:00,\"7,5\",NA,\n");
    let report = rows[0].as_ref().expect("report");
    assert_eq!((report.facility.as_str(), report.device.as_ref()), ("S-7", None));
    assert_eq!(report.observed_at, at("2024-01-15T12:00:00Z"));
    assert_eq!(report.received_at, report.observed_at + 2_000);
    assert_eq!(report.origin, "replay:a.csv");
    let values: Vec<_> = report.readings.iter().map(|r| (r.metric.as_str(), r.value.clone())).collect();
    let want = [("heat_total", RawValue::Number(360.36)), ("outdoor_temp", RawValue::Number(-39.9))];
    assert_eq!(values, want, "sentinels pass");
    let second = rows[1].as_ref().expect("report");
    assert_eq!(second.readings[0].value, RawValue::Missing);
    assert_eq!(second.readings[1].value, RawValue::Text("7,5".into()), "left for the dataflow to mark");
}

#[test]
fn a_bad_row_is_named_and_the_others_go_on() {
    let text =
        "site,t,ta,e\nA,yesterday,1,2\nA,2024-01-15 13:00,1\n,2024-01-15 13:00,1,2\nA,2024-01-15 13:00,1,2\n";
    let rows = rows(text);
    let reject = |n: usize| rows[n].as_ref().expect_err("reject");
    assert_eq!((reject(0).line, reject(0).reason, reject(0).readings), (2, Reason::BadTime, 2));
    assert_eq!(reject(0).raw, b"A,yesterday,1,2\n");
    assert!(reject(0).detail.contains("yesterday"), "{}", reject(0).detail);
    assert_eq!((reject(1).line, reject(1).reason), (3, Reason::Malformed));
    assert_eq!((reject(2).line, reject(2).reason), (4, Reason::MissingField));
    assert!(rows[3].is_ok() && rows.len() == 4);
    assert_eq!(reject(0).clone().into_reject(5).origin, "replay:a.csv:2");
}

#[rstest::rstest]
#[case::winter("2024-01-15 13:00", "2024-01-15T12:00:00Z")]
#[case::summer("2024-07-15 13:00", "2024-07-15T11:00:00Z")]
#[case::before_the_skipped_hour("2024-03-31 01:59", "2024-03-31T00:59:00Z")]
#[case::after_the_skipped_hour("2024-03-31 03:00", "2024-03-31T01:00:00Z")]
#[case::before_the_repeated_hour("2024-10-27 01:59", "2024-10-26T23:59:00Z")]
#[case::after_the_repeated_hour("2024-10-27 03:00", "2024-10-27T02:00:00Z")]
fn local_times_are_read(#[case] local: &str, #[case] utc: &str) {
    let rows = rows(&format!("site,t,ta,e\nA,{local},1,2\n"));
    assert_eq!(rows[0].as_ref().expect("report").observed_at, at(utc));
}

#[test]
fn the_repeated_hour_goes_on_in_the_order_of_the_file() {
    let text = "site,t,ta,e\nA,2024-10-27 02:00,1,2\nA,2024-10-27 02:30,1,2\nA,2024-10-27 02:00,1,2\nA,2024-10-27 02:30,1,2\nA,2024-10-27 03:00,1,2\n";
    let times: Vec<Millis> = rows(text).into_iter().map(|r| r.expect("report").observed_at).collect();
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] == 30 * time::MINUTE), "{times:?}");
}

/// Time of day in UTC, or the reason, by object and in the order of the file.
fn times(rows: Vec<Result<Report, RowReject>>) -> Vec<String> {
    let told = |row: Result<Report, RowReject>| match row {
        Ok(report) => format!("{} {}", report.facility, &time::rfc3339(report.observed_at)[8..16]),
        Err(reject) => format!("{} {}", reject.line, reject.reason.name()),
    };
    rows.into_iter().map(told).collect()
}

/// Rows of `object day-hour:minute`, such as `A 27 02:30`, in October 2024.
fn october(rows: &[&str]) -> String {
    let line = |row: &&str| format!("{},2024-10-{},1,2\n", &row[..1], &row[2..]);
    "site,t,ta,e\n".to_owned() + &rows.iter().map(line).collect::<String>()
}

#[rstest::rstest]
#[case::two_meters(
    &["A 27 01:30", "B 27 01:30", "A 27 02:00", "B 27 02:00", "A 27 02:30", "B 27 02:30", "A 27 02:00", "B 27 02:00",
      "A 27 02:30", "B 27 02:30", "A 27 03:00", "B 27 03:00"],
    "S-A 26T23:30 S-B 26T23:30 S-A 27T00:00 S-B 27T00:00 S-A 27T00:30 S-B 27T00:30 S-A 27T01:00 S-B 27T01:00 \
     S-A 27T01:30 S-B 27T01:30 S-A 27T02:00 S-B 27T02:00"
)]
#[case::one_meter_after_the_other(
    &["A 27 02:30", "A 27 02:30", "A 27 03:30", "B 27 02:30", "B 27 02:30", "B 27 03:30"],
    "S-A 27T00:30 S-A 27T01:30 S-A 27T02:30 S-B 27T00:30 S-B 27T01:30 S-B 27T02:30"
)]
#[case::one_meter_has_the_hour_once(
    &["A 27 02:00", "B 27 02:10", "A 27 02:00", "A 27 03:00", "B 27 03:10"],
    "S-A 27T00:00 3 bad_time S-A 27T01:00 S-A 27T02:00 S-B 27T02:10"
)]
#[case::newest_first(
    &["A 27 03:00", "A 27 02:30", "A 27 02:00", "A 27 02:30", "A 27 02:00", "A 27 01:30"],
    "S-A 27T02:00 S-A 27T01:30 S-A 27T01:00 S-A 27T00:30 S-A 27T00:00 S-A 26T23:30"
)]
#[case::to_the_end_of_the_file(&["A 27 02:00", "A 27 02:30", "A 27 02:00"], "S-A 27T00:00 S-A 27T00:30 S-A 27T01:00")]
#[case::once(&["A 27 01:30", "A 27 02:00", "A 27 02:30", "A 27 03:00"], "S-A 26T23:30 3 bad_time 4 bad_time S-A 27T02:00")]
#[case::thrice(&["A 27 02:00", "A 27 02:00", "A 27 02:00", "A 27 03:00"], "2 bad_time 3 bad_time 4 bad_time S-A 27T02:00")]
#[case::other_rows_wait(&["A 27 02:00", "B 27 05:00", "C 27 06:00", "A 27 02:00"], "S-A 27T00:00 S-B 27T04:00 S-C 27T05:00 S-A 27T01:00")]
fn the_repeated_hour_is_told_apart_by_the_order_of_each_object(#[case] file: &[&str], #[case] want: &str) {
    assert_eq!(times(rows(&october(file))).join(" "), want);
}

#[test]
fn a_setting_says_which_of_two_hours_a_file_has() {
    let file = october(&["A 27 02:00", "A 27 03:00", "B 27 02:00", "B 27 02:00"]);
    for (which, hour) in [("first", "00:00"), ("second", "01:00")] {
        let found = times(read(&file, &with_time(&format!("repeated_hour = \"{which}\""))));
        let want = ["S-A 27T02:00", "S-B 27T00:00", "S-B 27T01:00"];
        assert_eq!((&found[0], &found[1..]), (&format!("S-A 27T{hour}"), &want.map(str::to_owned)[..]));
    }
}

#[test]
fn a_time_that_does_not_occur_is_refused() {
    let rows = rows("site,t,ta,e\nA,2024-03-31 02:30,1,2\nA,2024-03-31 03:00,1,2\n");
    let reject = rows[0].as_ref().expect_err("reject");
    assert_eq!((reject.line, reject.reason, reject.readings), (2, Reason::BadTime, 2));
    assert!(reject.detail.contains("does not occur in Europe/Belgrade"), "{}", reject.detail);
    assert!(rows[1].is_ok());
}

#[test]
fn an_offset_column_tells_the_hours_apart() {
    let text = "site,t,o,ta,e\nA,2024-10-27 02:30,+01:00,1,2\nA,2024-10-27 02:30,+0200,1,2\nA,2024-10-27 02:30,2,1,2\n\
                A,2024-03-31 02:30,Z,1,2\nA,2024-10-27 02:30,CET,1,2\nA,2024-10-27 12:30,,1,2\n";
    let found = times(read(text, &with_time("offset_column = \"o\"")));
    let want = ["S-A 27T01:30", "S-A 27T00:30", "S-A 27T00:30", "S-A 31T02:30", "6 bad_time", "S-A 27T11:30"];
    assert_eq!(found, want);
}

#[rstest::rstest]
#[case::strptime("format = \"%s\"\nzone = \"Asia/Shanghai\"", "1705305600", Ok("2024-01-15T08:00:00Z"))]
#[case::seconds("unit = \"s\"", "1705305600", Ok("2024-01-15T08:00:00Z"))]
#[case::fraction("unit = \"s\"", "1705305600.25", Ok("2024-01-15T08:00:00.25Z"))]
#[case::exponent("unit = \"s\"", "1.7053056E9", Ok("2024-01-15T08:00:00Z"))]
#[case::milliseconds("unit = \"ms\"", "1705305600000", Ok("2024-01-15T08:00:00Z"))]
#[case::text("unit = \"s\"", "noon", Err("seconds since 1970"))]
#[case::milliseconds_for_seconds("unit = \"s\"", "1705305600000", Err("seconds since 1970"))]
#[case::seconds_without_unit("zone = \"Asia/Shanghai\"", "1705305600", Err("unit = \"s\""))]
#[case::compact("zone = \"Asia/Shanghai\"", "20240115160000", Ok("2024-01-15T08:00:00Z"))]
#[case::compact_with_milliseconds(
    "zone = \"Asia/Shanghai\"",
    "20240115160000250",
    Ok("2024-01-15T08:00:00.25Z")
)]
#[case::compact_without_zone("", "20240115160000", Err("time.zone"))]
#[case::compact_as_milliseconds("unit = \"ms\"", "20240115160000", Err("milliseconds since 1970"))]
#[case::civil("zone = \"Asia/Shanghai\"", "2024-01-15 16:00:00", Ok("2024-01-15T08:00:00Z"))]
#[case::civil_twice(
    "zone = \"Europe/Belgrade\"",
    "2024-10-27 02:30:00",
    Err("occurs twice in Europe/Belgrade")
)]
#[case::civil_never("zone = \"Europe/Belgrade\"", "2024-03-31 02:30:00", Err("time.skipped_hour"))]
#[case::civil_of_a_clock_set_forward_later(
    "zone = \"Europe/Belgrade\"\nskipped_hour = \"before\"",
    "2024-03-31 02:30:00",
    Ok("2024-03-31T01:30:00Z")
)]
fn times_are_read_as_the_mapping_says(
    #[case] setting: &str,
    #[case] text: &str,
    #[case] want: Result<&str, &str>,
) {
    let mapping = format!(
        "[time]\ncolumn = \"t\"\n{setting}\n[facility]\nconstant = \"A\"\n[[columns]]\ncolumn = \"e\"\nmetric = \"heat_total\"\n"
    );
    let mapping = Mapping::parse("m.toml", &mapping).expect("mapping");
    let rows = read(&format!("t,e\n{text},1\n"), &mapping);
    match (&rows[0], want) {
        (Ok(report), Ok(want)) => assert_eq!(report.observed_at, at(want)),
        (Err(reject), Err(want)) => {
            assert_eq!(reject.reason, Reason::BadTime);
            assert!(reject.detail.contains(want), "{}", reject.detail);
        }
        (found, want) => panic!("{found:?}, not {want:?}"),
    }
}

#[rstest::rstest]
#[case::thousands_or_decimals("", "\"1,001\"", Err((Reason::AmbiguousNumber, "1001 or 1.001")))]
#[case::thousands("", "\"1,000.2\"", Err((Reason::NotANumber, "decimal = \".\"")))]
#[case::decimal_comma("", "\"45,2\"", Ok(RawValue::Text("45,2".into())))]
#[case::word("", "warm", Ok(RawValue::Text("warm".into())))]
#[case::point("decimal = \".\"", "\"1,001\"", Ok(RawValue::Number(1001.0)))]
#[case::point_and_thousands("decimal = \".\"", "\"1,000.2\"", Ok(RawValue::Number(1000.2)))]
#[case::comma("decimal = \",\"", "\"1,001\"", Ok(RawValue::Number(1.001)))]
#[case::comma_and_thousands("decimal = \",\"", "\"1.000,2\"", Ok(RawValue::Number(1000.2)))]
#[case::not_as_configured("decimal = \",\"", "45.2", Err((Reason::NotANumber, "the decimal sign ','")))]
#[case::missing("decimal = \",\"", "NA", Ok(RawValue::Missing))]
fn numbers_are_read_as_the_mapping_says(
    #[case] setting: &str,
    #[case] cell: &str,
    #[case] want: Result<RawValue, (Reason, &str)>,
) {
    let mapping = Mapping::parse("m.toml", &format!("{setting}{MAPPING}")).expect("mapping");
    let rows = read(&format!("site,t,ta,e\nA,2024-01-15 13:00,{cell},10\n"), &mapping);
    let report = rows[0].as_ref().expect("the other reading is taken");
    assert_eq!(report.readings[0].value, RawValue::Number(36.0));
    match want {
        Ok(value) => assert_eq!((report.readings[1].value.clone(), rows.len()), (value, 1)),
        Err((reason, detail)) => {
            assert_eq!((report.readings.len(), rows.len()), (1, 2));
            let reject = rows[1].as_ref().expect_err("reject").clone();
            assert_eq!((reject.line, reject.reason, reject.readings), (2, reason, 1));
            assert!(
                reject.detail.contains(detail) && reject.detail.contains("column ta"),
                "{}",
                reject.detail
            );
            assert_eq!(reject.into_reject(5).origin, "replay:a.csv:2#outdoor_temp");
        }
    }
}

#[test]
fn a_row_of_which_no_reading_can_be_used_is_refused_whole() {
    let rows = rows("site,t,ta,e\nA,2024-01-15 13:00,\"1,001\",\"2,002\"\n");
    let reject = rows[0].as_ref().expect_err("reject");
    assert_eq!((rows.len(), reject.reason, reject.readings), (1, Reason::AmbiguousNumber, 2));
    assert!(reject.detail.contains("column e") && reject.detail.contains("column ta"), "{}", reject.detail);
}

#[test]
fn a_header_that_does_not_fit_is_refused_at_once() {
    let plain = Box::new(std::io::Cursor::new(b"site,t,ta\n".to_vec()));
    let error = CsvRows::read("a.csv", plain, &mapping()).err().expect("error").to_string();
    assert!(error.contains("column e of the mapping is missing, there are: site, t, ta"), "{error}");
}

#[test]
fn gzip_that_breaks_off_keeps_what_was_there_and_says_so() {
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("a.csv.gz");
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
    gzip.write_all(b"site,t,ta,e\nA,2024-01-15 13:00,1,2\nA,2024-01-15 14:00,1,2\n").expect("memory");
    let whole = gzip.finish().expect("memory");
    std::fs::write(&path, &whole[..whole.len() - 12]).expect("write");
    let rows: Vec<_> = CsvRows::open(&path, &mapping(), |file| file).expect("header").collect();
    let reject = rows.last().expect("rows").as_ref().expect_err("broken");
    assert!(reject.detail.contains("breaks off"), "{}", reject.detail);
    assert!(rows.iter().filter(|r| r.is_ok()).count() >= 1);
}

#[test]
fn files_are_merged_by_time_and_nothing_is_lost() {
    let file = |name: &str, times: &[u32]| {
        let mut text = "site,t,ta,e\n".to_owned();
        for hour in times {
            text += &format!("{name},2024-01-15 {hour:02}:00,1,2\n");
        }
        text += &format!("{name},broken,1,2\n");
        let plain = Box::new(std::io::Cursor::new(text.into_bytes()));
        CsvRows::read(name, plain, &mapping()).expect("header")
    };
    let merged: Vec<_> =
        Merge::new(vec![file("A", &[1, 4, 5]), file("B", &[2, 4, 9]), file("C", &[])]).collect();
    assert_eq!(merged.len(), 9);
    let order: Vec<String> = merged
        .iter()
        .flatten()
        .map(|r| format!("{}{}", r.facility, (r.observed_at / time::HOUR) % 24))
        .collect();
    assert_eq!(order, ["S-A0", "S-B1", "S-A3", "S-B3", "S-A4", "S-B8"]);
}

/// The directory of the real data, which is not part of this repository.
fn xai4heat() -> Option<PathBuf> {
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data/xai4heat");
    let directory = std::env::var_os("NUANLIU_XAI4HEAT").map_or_else(|| PathBuf::from(beside), PathBuf::from);
    let there = directory.join("scada_L4.csv.gz").exists();
    if !there {
        println!("skipped: {} is absent; set NUANLIU_XAI4HEAT to the xai4heat data", directory.display());
    }
    there.then_some(directory)
}

fn shipped() -> Mapping {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/examples/xai4heat/xai4heat.toml");
    Mapping::read(path.as_ref()).expect("the shipped mapping is good")
}

#[test]
fn the_shipped_mapping_is_good() {
    assert_eq!(shipped().columns.len(), 8);
}

#[test]
fn the_shipped_registry_is_good_and_names_the_facilities_of_the_files() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/examples/xai4heat/registry");
    let registry = schemas::registry_files::load(directory.as_ref()).expect("registry");
    for station in ["L4", "L8", "L12"] {
        assert!(registry.facility(&format!("XAI-{station}")).is_some(), "{station}");
    }
}

#[test]
fn the_real_files_are_read_to_the_last_row() {
    let Some(directory) = xai4heat() else { return };
    let open = |name: &str| {
        CsvRows::open(&directory.join(format!("scada_{name}.csv.gz")), &shipped(), |file| file)
            .expect("header")
    };
    let rows: Vec<_> = Merge::new(vec![open("L4"), open("L8"), open("L12")]).collect();
    assert_eq!(rows.len(), 45_461 + 31_243 + 31_243);
    let mut last = std::collections::BTreeMap::new();
    let mut received = 0;
    for report in rows.into_iter().map(|row| row.expect("every row is readable")) {
        assert!(report.received_at >= received);
        received = report.received_at;
        let before = last.insert(report.facility.clone(), report.observed_at);
        assert!(
            before.is_none_or(|before| before < report.observed_at),
            "{} {}",
            report.facility,
            time::rfc3339(report.observed_at)
        );
    }
    assert_eq!(last.keys().map(|c| c.as_str()).collect::<Vec<_>>(), ["XAI-L12", "XAI-L4", "XAI-L8"]);
}
