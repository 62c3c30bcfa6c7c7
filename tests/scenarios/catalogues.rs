//! Catalogues of the user's own: metrics, thresholds and an exchange table that no build knows, and settings of KPIs, work
//! through the whole path;
//! what contradicts the shipped ones or a checkpoint is refused, and goes on when it is put right.

use std::{fs, time::Duration};

use reqwest::{Client, StatusCode, header::CONTENT_TYPE};
use schemas::time::MINUTE;
use serde_json::json;
use tests::{Process, Province, Site, district, province, until};

const SOON: Duration = Duration::from_secs(60);
const WRONG: i32 = 78;
const METRICS: &str = "code,name,unit,kind,decimals,min,max,max_rate,spike,flat_tolerance,flat_suspect,flat_fail,flat_above,zero,low";
/// More than a shipped catalogue's numbers fit into a byte with.
const KPIS: &str = "code,name,english,unit,decimals,season_decimals,source,enabled,parameters";
const FURTHER: usize = 300;
const FLUE: &str = "flue_temp_2,二号烟道温度,°C,gauge,1,-20,600,,50,,,,,,";
const FAN: &str = "fan_speed_2,二号风机转速,Hz,gauge,1,0,60,,,,,,,,";
const THRESHOLDS: &str =
    "scope,metric,side,level1,level2,level3,deadband,on_delay,off_delay,enabled,advice,rule";
const FLUE_RULE: &str = "station,flue_temp_2,high,300,250,200,5,0,0,true,清灰 / clean the flue,";
/// Another rule over the same side.
const FLUE_ALARM: &str = "station,flue_temp_2,high,255,,,1,0,0,true,停炉 / stop the boiler,stop";
const FAN_RULE: &str = "station,fan_speed_2,low,5,10,20,1,0,0,true,查风机 / look at the fan,";

/// A site with a catalogue directory in which nothing is yet.
fn site(exchange: &str) -> Site {
    let config = format!(
        "epoch_ms = 50\n---\n[checkpoint]\nevery_epochs = 8\n[catalogue]\ndirectory = \"catalogue\"\n{exchange}"
    );
    let site = Site::new("catalogues", &config);
    fs::create_dir_all(site.path("catalogue/exchange")).unwrap();
    site
}

fn write(site: &Site, name: &str, lines: &[&str]) {
    fs::write(site.path("catalogue").join(name), lines.join("\n")).unwrap();
}

/// Writes the metrics: hundreds, then these.
fn write_metrics(site: &Site, rows: &[&str]) {
    let further: Vec<String> = (0..FURTHER).map(|n| format!("own_{n},甲,kW,gauge,1,0,9,,,,,,,,")).collect();
    let further = further.iter().map(String::as_str);
    let lines: Vec<&str> = [METRICS].into_iter().chain(further).chain(rows.iter().copied()).collect();
    write(site, "metrics.csv", &lines);
}

async fn started(site: &Site) -> Process {
    let mut process = site.start(&["all"]);
    site.ready(&mut process, SOON).await;
    process
}

/// Sends a report a minute of the flue and the fan, from a minute on.
async fn send(site: &Site, first: i64, readings: &[(f64, f64)]) {
    let report = |(minute, (flue, fan)): (i64, &(f64, f64))| {
        json!({
            "facility": district::code(1), "observed_at": first + minute * MINUTE,
            "readings": { "flue_temp_2": flue, "fan_speed_2": fan, "own_299": 1 },
        })
    };
    let body = json!((0..).zip(readings).map(report).collect::<Vec<_>>()).to_string();
    let url = format!("http://{}/api/v1/reports", site.http);
    let answer = Client::new().post(url).header(CONTENT_TYPE, "application/json").body(body).send();
    let answer = answer.await.unwrap();
    assert_eq!(answer.status(), StatusCode::ACCEPTED, "{:?}", answer.text().await);
}

async fn alarms_are(site: &Site, process: &mut Process, wanted: &str) {
    until("the alarms are told", SOON, async || {
        process.must_run();
        let flue = [site.alarms("flue_temp_2_high").await, site.alarms("flue_temp_2_high_stop").await];
        flue == [[wanted], [wanted]] && site.alarms("fan_speed_2_low").await == [wanted]
    })
    .await;
}

/// The name of the newest checkpoint.
fn newest(site: &Site) -> Option<std::ffi::OsString> {
    let files = fs::read_dir(site.path("state/checkpoints")).into_iter().flatten();
    let names = files.map(|file| file.unwrap().file_name());
    names.filter(|name| name.to_string_lossy().starts_with("MANIFEST-")).max()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_metric_of_the_users_works_through_the_whole_path() {
    let site = site(&province::exchange(&["own_station"]));
    write_metrics(&site, &[FLUE, FAN]);
    write(&site, "thresholds.csv", &[THRESHOLDS, FLUE_RULE, FLUE_ALARM, FAN_RULE]);
    // The online rate of an hour in three decimals, as no shipped row has it; completeness is not published.
    let kpis = [
        KPIS,
        "online_rate,在线率,online rate,%,3,0,C 1.4,true,",
        "completeness,完整率,completeness,%,1,0,C 1.4,false,",
    ];
    write(&site, "kpis.csv", &kpis);
    write(
        &site,
        "exchange/tables.csv",
        &["group,table,name,feed,settle,key", "own,own_station,站,facility:station,0,BM"],
    );
    let fields = ["table,field,name,type,required,source", "own_station,BM,编码,string,M,facility.code"];
    write(&site, "exchange/fields.csv", &fields);
    let output = site.nuanliu(&["check", "--offline"]);
    let adds = "; catalogue adds 302 metrics, 3 threshold rules, 0 sentinels, 0 settings of models, 1 exchange tables, and changes 0 metrics, 2 KPIs";
    assert!(output.contains(adds), "{output}");

    site.nuanliu(&["migrate"]);
    let province = Province::with_catalogue(&site, &site.path("catalogue")).await;
    site.publish(&district::registry(1)).await;
    let mut process = started(&site).await;
    let first = (jiff::Timestamp::now().as_millisecond() / MINUTE - 60) * MINUTE;
    // The last two before it becomes hot are alike, so that neither is a spike.
    let calm = [100.0, 100.0, 700.0, 100.0, 180.0, 100.0, 100.0].map(|flue| (flue, 50.0));
    send(&site, first, &calm).await;
    send(&site, first + 7 * MINUTE, &[(260.0, 8.0); 8]).await;
    alarms_are(&site, &mut process, "active").await;
    // Alarms leave with every epoch, readings with a group of them.
    until("the readings are stored", SOON, async || {
        process.must_run();
        site.number("SELECT count() FROM readings FINAL").await == 15.0 * 3.0
    })
    .await;
    let sql = "SELECT value, flag, arrayStringConcat(failed, ' ') FROM readings FINAL \
               WHERE metric = 'flue_temp_2' AND value != 100 AND value != 260 ORDER BY value";
    assert_eq!(site.query(sql).await, [["180", "3", "spike timeliness"], ["700", "4", "range timeliness"]]);
    until("the KPI has the decimals of the catalogue", SOON, async || {
        process.must_run();
        let exact = "SELECT count() FROM kpis FINAL WHERE kpi = 'online_rate' AND value != round(value, 1)";
        site.number(exact).await > 0.0
    })
    .await;
    assert_eq!(site.number("SELECT count() FROM kpis FINAL WHERE kpi = 'completeness'").await, 0.0);
    until("the province has the row", SOON, async || {
        process.must_run();
        province.received().iter().any(|(table, row)| table == "own_station" && row["BM"] == "ST-0001")
    })
    .await;
    for _ in 0..2 {
        let before = newest(&site);
        until("a checkpoint follows", SOON, async || {
            process.must_run();
            newest(&site) > before
        })
        .await;
    }
    assert_eq!(process.terminate(SOON), 0);

    // Its threshold is left without it.
    write_metrics(&site, &[FAN]);
    let (code, told) = site.try_nuanliu(&["run"]);
    assert_eq!(code, WRONG, "{told}");
    assert!(told.contains("catalogue/thresholds.csv:2: unknown metric flue_temp_2"), "{told}");
    // The checkpoint is.
    write(&site, "thresholds.csv", &[THRESHOLDS, FAN_RULE]);
    let (code, told) = site.try_nuanliu(&["run"]);
    assert_eq!(code, 1, "{told}");
    let words =
        "holds metric flue_temp_2, which the catalogues do not have: put its row back into metrics.csv";
    assert!(told.contains(words), "{told}");

    // Put back, under other numbers, it goes on: what stood is cleared, and nothing is told twice.
    write_metrics(&site, &[FAN, FLUE]);
    write(&site, "thresholds.csv", &[THRESHOLDS, FLUE_RULE, FLUE_ALARM, FAN_RULE]);
    let mut process = started(&site).await;
    send(&site, first + 15 * MINUTE, &[(100.0, 50.0); 8]).await;
    alarms_are(&site, &mut process, "cleared").await;
    assert_eq!(site.number("SELECT count() FROM alarm_events FINAL").await, 6.0);
    assert_eq!(process.terminate(SOON), 0);
}

#[test]
fn a_catalogue_that_contradicts_the_shipped_one_is_refused() {
    let site = site("");
    write(&site, "metrics.csv", &[METRICS, FLUE, "heat_power,热功率,MW,gauge,1,0,500,,,,,,,,", FLUE]);
    write(&site, "treshold.csv", &[THRESHOLDS]);
    write(&site, "kpis.csv", &[KPIS, "online_rat,在线率,online rate,%,3,0,C 1.4,true,"]);
    for command in [&["check", "--offline"][..], &["run"], &["connect"], &["rejects", "list"]] {
        let (code, told) = site.try_nuanliu(command);
        assert_eq!(code, WRONG, "{told}");
        assert!(
            told.contains("catalogue/treshold.csv: unknown file (did you mean thresholds.csv?)"),
            "{told}"
        );
    }
    fs::remove_file(site.path("catalogue/treshold.csv")).unwrap();
    let (code, told) = site.try_nuanliu(&["check", "--offline"]);
    assert_eq!(code, WRONG, "{told}");
    for line in [
        "catalogue/metrics.csv:3: metric heat_power is shipped in kW, not MW: give it another code",
        "catalogue/metrics.csv:4: metric flue_temp_2 stands already in line 2: delete one",
        "catalogue/kpis.csv:2: unknown KPI online_rat (did you mean online_rate?)",
    ] {
        assert!(told.contains(line), "{told}");
    }
}
