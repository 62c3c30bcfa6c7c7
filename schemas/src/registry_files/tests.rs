//! Good directories, bad directories, and the way there and back.

use super::*;
use crate::Side;

const FACILITIES: &str = "code,kind,name,parent,enterprise,district,longitude,latitude,heated_area,interval
P1,plant,热电一厂,,E1,220100,125.30,43.90,,60
ST-1,station,一站,P1,E1,220102,125.31,43.91,50000,60
B-1,building,一栋,ST-1,E1,220102,,,8000,
";

fn good() -> Vec<(&'static str, Vec<u8>)> {
    [
        ("districts.csv", "code,name,parent\n220100,长春市,\n220102,南关区,220100\n"),
        ("enterprises.csv", "code,name\nE1,某热力公司\n"),
        ("facilities.csv", FACILITIES),
        (
            "devices.csv",
            "code,facility,type,model,maker,installed,range\nD1,ST-1,heat_meter,M1,甲,2021-10,5\n",
        ),
        (
            "thresholds.csv",
            "scope,metric,side,level1,level2,level3,deadband,on_delay,off_delay\n\
             ST-1,secondary_supply_temp,high,90,85,80,1,300,60\nheat_meter,supply_temp,low,,,20,0.5,0,0\n",
        ),
    ]
    .map(|(name, text)| (name, text.as_bytes().to_vec()))
    .into()
}

fn directory(files: &[(&str, Vec<u8>)]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        std::fs::write(directory.path().join(name), bytes).unwrap();
    }
    directory
}

/// The problems when one file is replaced.
fn problems(name: &'static str, text: impl AsRef<[u8]>) -> Vec<String> {
    let mut files = good();
    files.retain(|(file, _)| *file != name);
    files.push((name, text.as_ref().to_vec()));
    match load(directory(&files).path()) {
        Err(Error::Registry(problems)) => problems,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_good_directory_is_read_and_written_back() {
    let first = load(directory(&good()).path()).unwrap();
    assert_eq!(first.entries.len(), 9);
    assert!(first.warnings.is_empty());
    let station = first.facility("ST-1").unwrap();
    assert_eq!((station.heated_area, station.attributes["interval"].as_str()), (Some(50_000.0), "60"));
    assert!(!first.facility("B-1").unwrap().attributes.contains_key("interval"));
    assert_eq!(first.device("D1").unwrap().attributes["range"], "5");
    assert_eq!(first.thresholds().find(|t| t.scope == "heat_meter").unwrap().side, Side::Low);
    let exported = tempfile::tempdir().unwrap();
    write(exported.path(), &first).unwrap();
    assert_eq!(load(exported.path()).unwrap(), first);
}

#[test]
fn bom_crlf_and_column_order_do_not_matter() {
    let first = load(directory(&good()).path()).unwrap();
    let mut files = good();
    let text = "\u{feff}name,parent,code\r\n长春市,,220100\r\n南关区,220100,220102\r\n";
    files[0].1 = text.as_bytes().to_vec();
    assert_eq!(load(directory(&files).path()).unwrap(), first);
}

#[rstest::rstest]
#[case(
    "districts.csv",
    "code,name,parent\n220100,a,\n220102,b,22010\n",
    "districts.csv:3: parent: unknown district 22010 (did you mean 220100?)"
)]
#[case(
    "districts.csv",
    "code,name,parent\n220100,a,220102\n220102,b,220100\n",
    "districts.csv:2: the parents of district 220100 form a circle: 220100 -> 220102 -> 220100"
)]
#[case(
    "districts.csv",
    "code,name,parent\n220100,a,\n220102,b,220100\n2201,c,\n",
    "districts.csv:4: district code 2201 is not 6 or 9 digits"
)]
#[case(
    "districts.csv",
    "code,name,parent\n220100,a,\n220102,b,220100\n220100,c,\n",
    "districts.csv:4: district/220100 stands already in line 2"
)]
#[case(
    "districts.csv",
    "code,nam\n220100,a\n220102,b\n",
    "districts.csv:1: unknown column nam (did you mean name?)"
)]
#[case("districts.csv", "code,nam\n220100,a\n220102,b\n", "districts.csv:1: required column name is absent")]
#[case("districts.csv", "code,name\n220100,a\n220102\n", "districts.csv:3: has 1 cells, the header has 2")]
#[case("enterprises.csv", "code,name\nE1,x\n,y\n", "enterprises.csv:3: code is empty")]
#[case("enterprises.csv", "code,name\nE1,x\nE 2,y\n", "enterprises.csv:3: code \"E 2\" contains ' '")]
#[case(
    "facilities.csv",
    "code,kind,name,heated_aera\nST-1,station,a,1\n",
    "facilities.csv:1: column heated_aera looks like heated_area"
)]
#[case(
    "facilities.csv",
    "code,kind,name\nST-1,staton,a\n",
    "facilities.csv:2: unknown kind \"staton\" (did you mean station?)"
)]
#[case(
    "facilities.csv",
    "code,kind,name,parent\nST-1,station,a,P9\nP1,plant,b,\n",
    "facilities.csv:2: parent: unknown facility P9 (did you mean P1?)"
)]
#[case(
    "facilities.csv",
    "code,kind,name,parent\nST-1,station,a,ST-1\n",
    "facilities.csv:2: the parents of facility ST-1 form a circle: ST-1 -> ST-1"
)]
#[case(
    "facilities.csv",
    "code,kind,name,parent\nZ,station,a,ST-1\nST-1,station,a,B\nB,station,b,ST-1\n",
    "facilities.csv:4: the parents of facility B form a circle: B -> ST-1 -> B"
)]
#[case(
    "facilities.csv",
    "code,kind,name,enterprise,district\nST-1,station,a,E2,220103\n",
    "facilities.csv:2: enterprise: unknown enterprise E2 (did you mean E1?)"
)]
#[case(
    "facilities.csv",
    "code,kind,name,enterprise,district\nST-1,station,a,E2,220103\n",
    "facilities.csv:2: district: unknown district 220103"
)]
#[case(
    "facilities.csv",
    "code,kind,name,energy_signature.least_hour\nST-1,station,a,12\n",
    "energy_signature has no setting least_hour (did you mean least_hours?)"
)]
#[case(
    "facilities.csv",
    "code,kind,name,energy_signature.least_hours\nST-1,station,a,1000\n",
    "attribute energy_signature.least_hours 1000 lies outside 2 to 168 h"
)]
#[case(
    "facilities.csv",
    "code,kind,name,heated_area\nST-1,station,a,-5\n",
    "facilities.csv:2: heated_area -5 m² is negative"
)]
#[case("facilities.csv", "code,kind,name,heated_area\nST-1,station,a,10000001\n", "above 10 million m²")]
#[case(
    "facilities.csv",
    "code,kind,name,heated_area\nST-1,station,a,5万\n",
    "facilities.csv:2: heated_area \"5万\" is no number"
)]
#[case(
    "facilities.csv",
    "code,kind,name,heated_area\nST-1,station,a,NaN\n",
    "facilities.csv:2: heated_area \"NaN\" is no number"
)]
#[case(
    "facilities.csv",
    "code,kind,name,longitude,latitude\nST-1,station,a,43.9,125.3\n",
    "longitude 43.9 and latitude 125.3 are swapped"
)]
#[case("facilities.csv", "code,kind,name,longitude,latitude\nST-1,station,a,30,85\n", "are swapped")]
#[case(
    "facilities.csv",
    "code,kind,name,longitude,latitude\nST-1,station,a,181,10\n",
    "is no place on earth"
)]
#[case(
    "facilities.csv",
    "code,kind,name,longitude,latitude\nST-1,station,a,121,\n",
    "has a longitude without latitude"
)]
#[case(
    "facilities.csv",
    "code,kind,name,longitude,latitude,datum\nST-1,station,a,121,31,BD-09\n",
    "unknown datum \"BD-09\""
)]
#[case(
    "devices.csv",
    "code,facility,type\nD1,ST-2,heat_meter\n",
    "devices.csv:2: facility: unknown facility ST-2 (did you mean ST-1?)"
)]
#[case("devices.csv", "code,facility,type\nD1,ST-1,\n", "devices.csv:2: type is empty")]
#[case(
    "thresholds.csv",
    "scope,metric,side,level1\nST-9,ph,high,12\n",
    "thresholds.csv:2: unknown scope ST-9 (did you mean ST-1?)"
)]
#[case(
    "thresholds.csv",
    "scope,metric,side,level1\nST-1,room_tmp,high,12\n",
    "thresholds.csv:2: unknown metric room_tmp (did you mean room_temp?)"
)]
#[case(
    "thresholds.csv",
    "scope,metric,side,level1\nST-1,ph,hihg,12\n",
    "thresholds.csv:2: unknown side \"hihg\" (did you mean high?)"
)]
#[case(
    "thresholds.csv",
    "scope,metric,side,level1,level3\nST-1,ph,high,8,9\n",
    "thresholds.csv:2: side high: level1 8 must be above level3 9"
)]
#[case(
    "thresholds.csv",
    "scope,metric,side,level1,level2\nST-1,ph,low,9,8\n",
    "thresholds.csv:2: side low: level1 9 must be below level2 8"
)]
#[case(
    "thresholds.csv",
    "scope,metric,side,level1,deadband\nST-1,ph,high,8,-1\n",
    "thresholds.csv:2: deadband -1 is negative"
)]
#[case("thresholds.csv", "scope,metric,side\nST-1,ph,high\n", "thresholds.csv:2: has no level")]
#[case(
    "thresholds.csv",
    "scope,metric,side,level1,on_delay\nST-1,ph,high,8,-5\n",
    "thresholds.csv:2: on_delay \"-5\" is no whole number of seconds"
)]
#[case(
    "thresholds.csv",
    "scope,metric,side,level1,enabled\nST-1,ph,high,8,maybe\n",
    "thresholds.csv:2: enabled \"maybe\" is neither true nor false"
)]
#[case("facility.csv", "code\n", "facility.csv: unknown file (did you mean facilities.csv?)")]
fn problems_are_named(#[case] file: &'static str, #[case] text: &str, #[case] want: &str) {
    let problems = problems(file, text);
    assert!(problems.iter().any(|problem| problem.contains(want)), "{problems:#?}");
}

#[test]
fn gbk_and_utf_16_are_refused_with_advice() {
    let mut gbk = b"code,name\nE1,x\nE2,".to_vec();
    gbk.extend([0xc8, 0xc8, 0xc1, 0xa6, b'\n']);
    assert!(
        problems("enterprises.csv", gbk)[0]
            .starts_with("enterprises.csv:3: is GBK, not UTF-8: save it as UTF-8")
    );
    assert!(problems("enterprises.csv", [0xff, 0xfe, b'c', 0])[0].contains("is UTF-16"));
    assert!(problems("enterprises.csv", [b'c', 0xff])[0].contains("is not UTF-8"));
}

#[test]
fn every_problem_is_collected_in_the_order_of_files_and_lines() {
    let problems =
        problems("facilities.csv", "code,kind,name,parent,heated_area\nA,x,n,,\nST-1,station,n,Q,-1\n");
    let lines: Vec<&str> = problems.iter().map(|problem| problem.split(": ").next().unwrap()).collect();
    assert_eq!(lines, ["facilities.csv:2", "facilities.csv:3", "facilities.csv:3"]);
}

#[test]
fn an_absent_or_empty_directory_is_named() {
    let empty = tempfile::tempdir().unwrap();
    assert!(load(empty.path()).unwrap_err().to_string().contains("holds no registry"));
    assert!(load(&empty.path().join("x")).unwrap_err().to_string().contains("directory is not readable"));
}

#[test]
fn a_place_abroad_is_only_warned_about() {
    let facilities = "code,kind,name,longitude,latitude\nNIS,station,Niš,21.9,43.32\n";
    let registry = load(directory(&[("facilities.csv", facilities.as_bytes().to_vec())]).path()).unwrap();
    assert!(
        registry.warnings[0].starts_with("facilities.csv:2: longitude 21.9, latitude 43.32 is outside China")
    );
}

#[test]
fn gcj_02_is_converted() {
    let facilities =
        "code,kind,name,longitude,latitude,datum\nS,station,s,116.38404722455657,39.91334545536069,gcj-02\n";
    let registry = load(directory(&[("facilities.csv", facilities.as_bytes().to_vec())]).path()).unwrap();
    let station = registry.facility("S").unwrap();
    assert!((station.longitude.unwrap() - 116.377_817).abs() < 2e-6);
    assert!((station.latitude.unwrap() - 39.911_954).abs() < 2e-6);
    assert!(station.attributes.is_empty());
}

#[test]
fn a_difference_names_what_was_and_what_is() {
    let before = load(directory(&good()).path()).unwrap();
    let mut after = before.clone();
    after.entries.remove(&RegistryKey("device/D1".into()));
    let moved = Facility { parent: Some("P1".into()), ..before.facility("B-1").unwrap().clone() };
    after.entries.insert(RegistryKey("facility/B-1".into()), RegistryEntry::Facility(moved.clone()));
    after.entries.insert(RegistryKey("facility/B-2".into()), RegistryEntry::Facility(moved));
    let differences = diff(&before, &after);
    let shape: Vec<(&str, bool, bool)> =
        differences.iter().map(|d| (d.key.0.as_str(), d.before.is_some(), d.after.is_some())).collect();
    assert_eq!(
        shape,
        [("device/D1", true, false), ("facility/B-1", true, true), ("facility/B-2", false, true)]
    );
    assert!(diff(&after, &after).is_empty());
}

#[test]
fn the_shipped_thresholds_are_consistent() {
    let registry = Registry::new(catalogue_thresholds().iter().cloned().map(RegistryEntry::Threshold));
    assert_eq!(registry.entries.len(), catalogue_thresholds().len(), "a rule stands twice");
    assert_eq!(check(&registry.entries), []);
    for threshold in catalogue_thresholds() {
        assert!(threshold.advice.contains(" / "), "{} {}", threshold.scope, threshold.metric.code());
        let metric = threshold.metric.metric();
        for level in [threshold.level1, threshold.level2, threshold.level3].into_iter().flatten() {
            assert!((metric.min..=metric.max).contains(&level), "{} {level}", metric.code);
        }
    }
}

#[rstest::rstest]
#[case("station", "secondary_supply_temp", 35.0, 55.0)]
#[case("station", "primary_supply_temp", 70.0, 110.0)]
#[case("station", "secondary_supply_pressure", 0.3, 0.6)]
#[case("station", "primary_supply_pressure", 0.6, 1.2)]
#[case("station", "smoke", 0.0, 0.0)]
#[case("plant", "supply_temp", 70.0, 120.0)]
#[case("household", "room_temp", 17.0, 26.0)]
#[case("clean_device", "voltage", 200.0, 235.0)]
fn a_healthy_object_breaks_no_shipped_rule(
    #[case] scope: &str,
    #[case] metric: &str,
    #[case] least: f64,
    #[case] greatest: f64,
) {
    let rules = catalogue_thresholds().iter().filter(|t| t.scope == scope && t.metric.code() == metric);
    let mut found = 0;
    for rule in rules {
        found += 1;
        for level in [rule.level1, rule.level2, rule.level3].into_iter().flatten() {
            let good = if rule.side == Side::High { greatest < level } else { least > level };
            assert!(good, "{scope} {metric} {} {level}", rule.side.name());
        }
    }
    assert!(found > 0, "no rule for {scope} {metric}");
}
