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
    let plain = Box::new(std::io::Cursor::new(text.as_bytes().to_vec()));
    Rows::read("a.csv", plain, &mapping()).expect("header").collect()
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
#[case::skipped_hour("2024-03-31 02:30", "2024-03-31T01:30:00Z")]
#[case::repeated_hour("2024-10-27 02:30", "2024-10-27T00:30:00Z")]
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

#[test]
fn a_header_that_does_not_fit_is_refused_at_once() {
    let plain = Box::new(std::io::Cursor::new(b"site,t,ta\n".to_vec()));
    let error = Rows::read("a.csv", plain, &mapping()).err().expect("error").to_string();
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
    let rows: Vec<_> = Rows::open(&path, &mapping(), |file| file).expect("header").collect();
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
        Rows::read(name, plain, &mapping()).expect("header")
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
        Rows::open(&directory.join(format!("scada_{name}.csv.gz")), &shipped(), |file| file).expect("header")
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
