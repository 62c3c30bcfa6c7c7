//! Checkpoints that are damaged, another's, or cannot be written: a start passes over them or refuses, a flow goes on and
//! says so, and the output is the same as undisturbed.

use std::{fs, path::PathBuf, time::Duration};

use connectors::{
    Outgoing,
    simulator::{Intervals, Plan, Size, plan_faults},
};
use schemas::time::MINUTE;
use tests::{Process, Site, district, oracles::table::assert_same, until};

const CONFIG: &str = "clock = \"data\"\nrecords_per_partition = 20\nepochs_in_flight = 16\n---\n\
                      [checkpoint]\nevery_epochs = 8\nkeep = 100000\n";
/// Every fourth checkpoint is taken by all states; the others by those that are not still saving an earlier one, so that
/// a second run may lack some of them.
const TAKEN_BY_ALL: u64 = 4 * 8;
const SOON: Duration = Duration::from_secs(120);

/// The manifests of a site, oldest first.
fn manifests(site: &Site) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(site.path("state/checkpoints")) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| name(path).starts_with("MANIFEST-") && path.extension().is_none());
    paths.sort();
    paths
}

fn name(path: &std::path::Path) -> &str {
    path.file_name().unwrap().to_str().unwrap()
}

fn flip_a_byte(path: &PathBuf) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}

fn cut_in_half(path: &PathBuf) {
    let bytes = fs::read(path).unwrap();
    fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
}

/// Runs until a share of the readings is there and two more checkpoints are, then stops.
async fn run_until(site: &Site, readings: f64) -> Process {
    let before = manifests(site).len();
    let mut process = site.start(&["run"]);
    until("readings and checkpoints arrive", SOON, async || {
        process.must_run();
        site.accounted().await as f64 > readings && manifests(site).len() >= before + 2
    })
    .await;
    process
}

/// The start said that it passed over one checkpoint and which one it took instead.
fn passed_over(words: &str, damaged: &str, instead: &str) {
    let line = words.lines().find(|line| line.contains("a damaged checkpoint is passed over"));
    let line = line.unwrap_or_else(|| panic!("nothing was passed over:\n{words}"));
    assert!(line.contains(damaged) && line.contains(instead), "{damaged}, {instead}: {line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_changes_no_output() {
    let site = Site::new("checkpoints", CONFIG);
    site.nuanliu(&["migrate"]);
    let size = Size { plants: 1, branches: 1, boiler_houses: 0, stations: 3, rooms: 4, clean_devices: 4 };
    let intervals = Intervals { clean_device: 5, ..Intervals::default() };
    let plan = Plan { hours: 12, faults_per_kind: 1, intervals, ..Plan::of(size) };
    let sent = site.simulate(&plan, plan_faults(&plan)).await;
    let readings = sent.readings as f64;

    run_until(&site, readings * 0.3).await.kill();
    let [.., before, newest] = &manifests(&site)[..] else { panic!("too few checkpoints") };
    flip_a_byte(&newest.with_file_name(name(newest).replace("MANIFEST", "part")));
    let process = run_until(&site, readings * 0.6).await;
    passed_over(&process.words(), name(newest), name(before));
    process.kill();

    let [.., before, newest] = &manifests(&site)[..] else { panic!("too few checkpoints") };
    cut_in_half(newest);
    let mut process = site.start(&["run"]);
    site.stored(sent.readings, &mut process, SOON).await;
    passed_over(&process.words(), name(newest), name(before));

    // Another pipeline that is pointed at this place is turned away, and the one that runs is not disturbed.
    let place = site.path("state/checkpoints");
    let stranger = site.beside("stranger", &format!("{CONFIG}url = {place:?}\n"));
    let (code, told) = stranger.try_nuanliu(&["run"]);
    assert!(code == 1 && told.contains(&format!("pipeline `{}`", site.name)), "{code}: {told}");
    process.must_run();
    assert_eq!(process.terminate(SOON), 0);

    let undisturbed = site.beside("undamaged", CONFIG);
    undisturbed.nuanliu(&["migrate"]);
    site.give_bindings(&undisturbed);
    let mut process = undisturbed.start(&["run"]);
    undisturbed.stored(sent.readings, &mut process, SOON).await;
    assert_eq!(process.terminate(SOON), 0);
    assert!(assert_same(&site, &undisturbed).await > 5_000);

    // Going back on purpose gives the same again.
    let all = undamaged(&site);
    let complete: Vec<u64> = all.iter().copied().filter(|epoch| (epoch + 1) % TAKEN_BY_ALL == 0).collect();
    let (back, again, last) = (all[all.len() / 2], complete[complete.len() - 1], all[all.len() - 1]);
    assert!(back < again, "{all:?}");
    let mut process = site.start(&["run", "--from", &back.to_string()]);
    until("it comes as far as before", SOON, async || {
        process.must_run();
        undamaged(&site).contains(&again) && site.metric("nuanliu_epoch_delivered").await >= Some(last as f64)
    })
    .await;
    assert_eq!(process.terminate(SOON), 0);
    assert_same(&site, &undisturbed).await;

    // Nothing begins from nothing while there are checkpoints.
    manifests(&site).iter().for_each(flip_a_byte);
    let starts =
        |site: &Site| fs::read_to_string(site.path("log")).unwrap().matches("the dataflow starts").count();
    let before = starts(&site);
    let (code, told) = site.try_nuanliu(&["run"]);
    assert!(code == 1 && told.contains(name(manifests(&site).last().unwrap())), "{code}: {told}");
    assert!(!told.contains("the dataflow starts") && starts(&site) == before, "{told}");
    assert_same(&site, &undisturbed).await;
}

/// The epochs that `checkpoints list` offers to go back to, oldest first.
fn undamaged(site: &Site) -> Vec<u64> {
    let told = site.nuanliu(&["checkpoints", "list"]);
    let usable = told.lines().filter(|line| !line.contains("damaged") && !line.contains("set aside"));
    let mut epochs: Vec<u64> =
        usable.filter_map(|line| line.split_whitespace().next()?.parse().ok()).collect();
    epochs.sort_unstable();
    epochs
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_that_takes_nothing_is_an_alarm_and_the_flow_goes_on() {
    let config = "epoch_ms = 50\n---\n[checkpoint]\nevery_epochs = 8\n";
    let site = Site::new("no_place", config);
    site.nuanliu(&["migrate"]);
    site.publish(&district::registry(2)).await;
    let mut process = site.start(&["run"]);
    let start = jiff::Timestamp::now().as_millisecond() / MINUTE * MINUTE - 120 * MINUTE;
    let publish = async |minutes: std::ops::Range<i64>| {
        let readings = [("secondary_supply_temp", 45.0), ("outdoor_temp", -9.5)];
        let report = |minute: i64| {
            let at = start + minute * MINUTE;
            Outgoing::Report(district::report(1, at, at + 500, &readings))
        };
        site.publish(&minutes.map(report).collect::<Vec<_>>()).await
    };
    let mut accepted = publish(0..10).await;
    site.stored(accepted, &mut process, SOON).await;
    until("a checkpoint is there", SOON, async || !manifests(&site).is_empty()).await;

    // While it cannot look, a file stands where the directory was.
    let (place, away) = (site.path("state/checkpoints"), site.path("away"));
    process.signal("STOP");
    fs::rename(&place, &away).unwrap();
    fs::write(&place, "no directory").unwrap();
    process.signal("CONT");
    let alarms = |state: &str| {
        format!("SELECT count() FROM alarms FINAL WHERE rule = 'checkpoint_failing' AND {state}")
    };
    until("the alarm is raised", SOON, async || {
        process.must_run();
        site.number(&alarms("cleared_at IS NULL")).await == 1.0
    })
    .await;
    accepted += publish(10..20).await;
    site.stored(accepted, &mut process, SOON).await;
    assert!(site.metric("nuanliu_checkpoint_failures_total").await > Some(0.0));
    let stood = site.metric("nuanliu_checkpoint_epoch").await;

    process.signal("STOP");
    fs::remove_file(&place).unwrap();
    fs::rename(&away, &place).unwrap();
    process.signal("CONT");
    until("the alarm ends", SOON, async || {
        process.must_run();
        site.number(&alarms("cleared_at IS NOT NULL")).await == 1.0
    })
    .await;
    assert!(site.metric("nuanliu_checkpoint_epoch").await > stood, "checkpoints go on");
    assert!(site.metric("nuanliu_checkpoint_bytes").await.is_some());
    assert!(site.metric("nuanliu_checkpoint_seconds_count").await > Some(0.0));
    assert_eq!(process.terminate(SOON), 0);

    // A restart goes on from what was written since.
    let newest = manifests(&site).pop().unwrap();
    let mut process = site.start(&["run"]);
    accepted += publish(20..30).await;
    site.stored(accepted, &mut process, SOON).await;
    let began = process.words().contains("a damaged checkpoint is passed over");
    assert!(!began && manifests(&site).last() >= Some(&newest), "{}", process.words());
    assert_eq!(process.terminate(SOON), 0);
    site.nuanliu(&["checkpoints", "verify"]);
    assert_eq!(site.number("SELECT count() FROM readings").await as u64, accepted, "rows before any merge");
}
