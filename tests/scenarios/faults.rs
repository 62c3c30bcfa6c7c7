//! A simulated district through the whole pipeline: every fault is found as far as its signal allows, nothing else raises
//! an alarm, and a healthy day is silent.

use std::{collections::BTreeSet, time::Duration};

use connectors::simulator::{Fault, Intervals, Plan, Size, plan_faults, truth::expected};
use schemas::{
    Millis,
    time::{HOUR, MINUTE},
};
use tests::Site;

const CONFIG: &str = "clock = \"data\"\n";
/// How long after the end of a fault what it caused may still be raised: delays, a settled hour, an upload.
const AFTERWARDS: Millis = 2 * HOUR;

fn plan(seed: u64, hours: u32, faults_per_kind: u32) -> Plan {
    let size = Size { plants: 1, branches: 2, boiler_houses: 1, stations: 16, rooms: 32, clean_devices: 8 };
    let intervals = Intervals { station: 2, source: 10, clean_device: 5, ..Intervals::default() };
    Plan { hours, seed, faults_per_kind, intervals, ..Plan::of(size) }
}

/// Simulates a plan and runs the pipeline on it until everything is in the store.
async fn district(plan: &Plan, faults: Vec<Fault>) -> Site {
    let site = Site::new("faults", CONFIG);
    site.nuanliu(&["migrate"]);
    let sent = site.simulate(plan, faults).await;
    let mut process = site.start(&["run"]);
    site.stored(sent.readings, &mut process, Duration::from_secs(240)).await;
    assert_eq!(process.terminate(Duration::from_secs(60)), 0);
    site
}

/// An alarm episode that was not retracted.
#[derive(Debug)]
struct Episode {
    rule: String,
    facility: String,
    device: String,
    raised_at: Millis,
    cleared_at: Option<Millis>,
    values: String,
}

async fn episodes(site: &Site) -> Vec<Episode> {
    let sql = "SELECT rule, facility, device, toUnixTimestamp64Milli(raised_at), \
               toUnixTimestamp64Milli(cleared_at), toString(tuple(level, first_value, peak_value)) \
               FROM alarms FINAL WHERE state != 'retracted' ORDER BY raised_at, alarm_id";
    let episode = |row: Vec<String>| Episode {
        rule: row[0].clone(),
        facility: row[1].clone(),
        device: row[2].clone(),
        raised_at: row[3].parse().unwrap(),
        cleared_at: row[4].parse().ok(),
        values: row[5].clone(),
    };
    site.query(sql).await.into_iter().map(episode).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_healthy_day_raises_no_alarm() {
    let site = district(&plan(7, 24, 0), Vec::new()).await;
    let alarms = episodes(&site).await;
    let lines: Vec<String> = alarms.iter().map(line).collect();
    assert!(alarms.is_empty(), "{} alarms on a healthy day:\n{}", alarms.len(), lines.join("\n"));
    let doubtful =
        site.query("SELECT metric, arrayJoin(failed), count() FROM readings FINAL GROUP BY 1, 2").await;
    assert!(doubtful.is_empty(), "marks on a healthy day: {doubtful:?}");
    assert_eq!(site.number("SELECT count() FROM rejects FINAL").await, 0.0);
    // The day is there: the same scenario without data would be silent too.
    let rooms = "SELECT value FROM kpis FINAL WHERE kpi = 'room_temp_mean' AND scope_kind = 'city' AND period = 'day' \
                 ORDER BY window_start LIMIT 1";
    let mean = site.number(rooms).await;
    assert!((17.0..26.0).contains(&mean), "mean room temperature {mean}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_is_found_and_nothing_else() {
    let plan = plan(3, 48, 3);
    let faults = plan_faults(&plan);
    let kinds: BTreeSet<_> = faults.iter().map(|fault| fault.kind).collect();
    assert_eq!(kinds.len(), connectors::simulator::FaultKind::ALL.len(), "every kind occurs");
    let site = district(&plan, faults.clone()).await;
    let alarms = episodes(&site).await;
    let mut missed = Vec::new();
    for fault in &faults {
        for what in not_found(&site, &alarms, fault).await {
            missed.push(format!("{what} for {fault:?}"));
        }
        for what in out_of_bounds(&site, fault).await {
            missed.push(format!("{what} for {fault:?}"));
        }
    }
    let unexplained: Vec<String> =
        alarms.iter().filter(|alarm| !faults.iter().any(|fault| explains(fault, alarm))).map(line).collect();
    assert!(
        missed.is_empty() && unexplained.is_empty(),
        "{} of {} faults missed:\n{}\n{} of {} alarms unexplained:\n{}",
        missed.len(),
        faults.len(),
        missed.join("\n"),
        unexplained.len(),
        alarms.len(),
        unexplained.join("\n")
    );
}

fn line(alarm: &Episode) -> String {
    let Episode { rule, facility, device, raised_at, cleared_at, values } = alarm;
    let time = schemas::time::rfc3339;
    format!("{rule} {facility}/{device} from {} to {:?} {values}", time(*raised_at), cleared_at.map(time))
}

/// What the truth demands of a fault and is not there.
async fn not_found(site: &Site, alarms: &[Episode], fault: &Fault) -> Vec<String> {
    let expected = expected(fault);
    let (facility, device) = (fault.facility.as_str(), fault.device.as_deref().unwrap_or_default());
    let (from, until) = (fault.start, fault.end + AFTERWARDS);
    let mut missing = Vec::new();
    for rule in expected.alarms {
        let on = |alarm: &&Episode| {
            let here = alarm.rule == rule && alarm.facility == facility && alarm.device == device;
            here && (from - HOUR..=until).contains(&alarm.raised_at)
        };
        if !alarms.iter().any(|alarm| on(&alarm)) {
            missing.push(format!("no alarm {rule}"));
        }
    }
    let of = format!("facility = '{facility}' AND device = '{device}'");
    let metric = fault.metric.as_ref().map(|metric| format!("AND metric = '{metric}'")).unwrap_or_default();
    for test in expected.flags {
        let sql = format!(
            "SELECT count() FROM readings FINAL WHERE {of} {metric} AND has(failed, '{test}') AND observed_at \
             BETWEEN fromUnixTimestamp64Milli({from}) AND fromUnixTimestamp64Milli({until})"
        );
        if site.number(&sql).await == 0.0 {
            missing.push(format!("no mark {test}"));
        }
    }
    for reason in expected.rejects {
        let sql = format!(
            "SELECT count() FROM rejects FINAL WHERE reason = '{reason}' AND position(raw, '{facility}') > 0 AND at \
             BETWEEN fromUnixTimestamp64Milli({from}) AND fromUnixTimestamp64Milli({until})"
        );
        if site.number(&sql).await == 0.0 {
            missing.push(format!("no reject {reason}"));
        }
    }
    missing
}

/// What the truth rules out of a fault and is there.
async fn out_of_bounds(site: &Site, fault: &Fault) -> Vec<String> {
    let expected = expected(fault);
    let (facility, device) = (fault.facility.as_str(), fault.device.as_deref().unwrap_or_default());
    let hour = |at: Millis| at.div_euclid(HOUR) * HOUR;
    let (first, end) = (hour(fault.start), hour(fault.end - 1) + HOUR);
    let kpi = |figure: &str, kpi: &str, until: Millis| {
        format!(
            "SELECT ifNull({figure}(value), 0) FROM kpis FINAL WHERE kpi = '{kpi}' AND scope_kind = 'facility' AND \
             scope = '{facility}' AND period = 'hour' AND window_start >= fromUnixTimestamp({}) AND window_start < \
             fromUnixTimestamp({})",
            first / 1_000,
            until / 1_000
        )
    };
    let of = format!("facility = '{facility}' AND device = '{device}'");
    let between = |from: Millis, until: Millis| {
        format!("observed_at BETWEEN fromUnixTimestamp64Milli({from}) AND fromUnixTimestamp64Milli({until})")
    };
    let mut wrong = Vec::new();
    for (test, most) in expected.at_most {
        let when = between(fault.start, fault.end + AFTERWARDS);
        let sql =
            format!("SELECT count() FROM readings FINAL WHERE {of} AND has(failed, '{test}') AND {when}");
        let marked = site.number(&sql).await;
        if marked > most as f64 {
            wrong.push(format!("{marked} marks {test}"));
        }
    }
    if let Some((from, to)) = expected.heat {
        // 1 kW for an hour is 3.6 MJ.
        let when = between(first, end + HOUR - 1);
        let power = format!(
            "SELECT sum(kw) * 0.0036 FROM (SELECT avg(value) AS kw FROM readings FINAL WHERE {of} AND metric = \
             'heat_power' AND {when} GROUP BY toStartOfHour(observed_at))"
        );
        let supplied = site.number(&power).await;
        let counted = site.number(&kpi("sum", "heat_supplied", end + HOUR)).await;
        if !(from * supplied..=to * supplied).contains(&counted) {
            wrong.push(format!("{counted} GJ of {supplied} supplied"));
        }
    }
    if expected.complete {
        let least = site.number(&kpi("min", "completeness", end)).await;
        if least < 99.0 {
            wrong.push(format!("an hour is {least} % complete"));
        }
    }
    wrong
}

/// Whether a fault accounts for an alarm: on its object, or on what it heats, while it lasts or soon after.
fn explains(fault: &Fault, alarm: &Episode) -> bool {
    let expected = expected(fault);
    let forbidden = expected.forbids(&alarm.rule, alarm.raised_at - fault.start);
    let rules = [expected.alarms, expected.also].concat();
    let below = alarm.rule.starts_with("room_temp");
    let here = alarm.facility == fault.facility || below;
    // Buildings cool down and warm up slowly.
    let slowly = if below || alarm.rule.ends_with("_supply") { 12 * HOUR } else { AFTERWARDS };
    let when = fault.start - 10 * MINUTE..=fault.end + slowly;
    here && !forbidden && rules.contains(&alarm.rule.as_str()) && when.contains(&alarm.raised_at)
}
