//! Disks that are full, read-only or gone under a running pipeline: it is said with what to do, and nothing is lost.

use std::{fs, time::Duration};

use tests::{Disk, Process, Site, district, until};

const SOON: Duration = Duration::from_secs(90);
const STATIONS: usize = 2;
const CHECKPOINT: &str = "nuanliu_checkpoint_epoch";
const FAILURES: &str = "nuanliu_checkpoint_failures_total";
const CONFIG: &str = "epoch_ms = 50\n---\n[checkpoint]\nevery_epochs = 8\n";

/// A pipeline with a small disk, and how many readings it was given.
struct Scene {
    site: Site,
    disk: Disk,
    accepted: u64,
    minute: i64,
}

impl Scene {
    /// `config` with what lies on the disk.
    async fn new(name: &str, config: &str) -> Option<Scene> {
        let site = Site::new(name, config);
        site.nuanliu(&["migrate"]);
        site.publish(&district::registry(STATIONS)).await;
        let disk = Disk::at(&site.path("small"), 1 << 20)?;
        Some(Scene { site, disk, accepted: 0, minute: 0 })
    }

    fn start(&self) -> Process {
        self.site.start_under(&self.disk.enter(), &["run"])
    }

    async fn publish(&mut self) {
        let minutes = self.minute..self.minute + 5;
        self.minute += 5;
        self.accepted += self.site.publish(&district::minutes(STATIONS, 120, minutes)).await;
    }

    async fn stored(&self, process: &mut Process) {
        self.site.stored(self.accepted, process, SOON).await;
    }

    /// Waits until a checkpoint follows.
    async fn checkpoint(&self, process: &mut Process) {
        let before = self.site.metric(CHECKPOINT).await;
        until("a checkpoint follows", SOON, async || {
            process.must_run();
            self.site.metric(CHECKPOINT).await > before
        })
        .await;
    }

    /// Waits until so many alarms of failing checkpoints have been told, and whether the last still stands.
    async fn failing(&self, process: &mut Process, number: usize, state: &str) {
        until(&format!("alarm {number} is {state}"), SOON, async || {
            process.must_run();
            let told = self.site.alarms("checkpoint_failing").await;
            told.len() == number && told.last().is_some_and(|last| last == state)
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_or_read_only_checkpoint_disk_is_an_alarm_and_the_flow_goes_on() {
    let Some(mut scene) = Scene::new("full_disk", &format!("{CONFIG}url = \"small/checkpoints\"\n")).await
    else {
        return;
    };
    let mut process = scene.start();
    scene.publish().await;
    scene.stored(&mut process).await;
    scene.checkpoint(&mut process).await;

    scene.disk.fill();
    scene.publish().await;
    scene.failing(&mut process, 1, "active").await;
    assert!(process.words().contains("No space left on device"), "{}", process.words());
    scene.publish().await;
    scene.stored(&mut process).await;
    scene.disk.make_room();
    scene.checkpoint(&mut process).await;

    scene.disk.set_read_only(true);
    until("checkpoints fail again", SOON, async || process.words().contains("Read-only file system")).await;
    scene.publish().await;
    scene.stored(&mut process).await;
    // It dies before it could write any.
    process.kill();
    scene.disk.set_read_only(false);
    let mut process = scene.start();
    scene.publish().await;
    scene.stored(&mut process).await;
    scene.checkpoint(&mut process).await;
    scene.failing(&mut process, 1, "cleared").await;
    assert_eq!(process.terminate(SOON), 0);
    let rows = scene.site.number("SELECT count() FROM readings").await;
    assert_eq!(rows as u64, scene.accepted, "rows before any merge");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_state_disk_stops_with_what_is_full_and_a_start_goes_on_when_there_is_room() {
    let Some(mut scene) = Scene::new("full_state", CONFIG).await else { return };
    let state = |name: &str| format!("state = {:?}", scene.site.path(name));
    scene.site.reconfigure(&state("state"), &state("small/state"));
    let mut process = scene.start();
    scene.publish().await;
    scene.stored(&mut process).await;

    scene.disk.fill();
    scene.publish().await;
    assert!(!process.end(SOON).await.success());
    let words = process.words();
    assert!(words.contains("small/state") && words.contains("No space left on device"), "{words}");
    // A start says the same, as long as there is no room.
    let mut process = scene.start();
    assert!(!process.end(SOON).await.success());
    assert!(process.words().contains("No space left on device"), "{}", process.words());

    scene.disk.make_room();
    let mut process = scene.start();
    scene.publish().await;
    scene.stored(&mut process).await;
    assert_eq!(process.terminate(SOON), 0);
    let rows = scene.site.number("SELECT count() FROM readings").await;
    assert_eq!(rows as u64, scene.accepted, "rows before any merge");
}

#[tokio::test(flavor = "multi_thread")]
async fn checkpoints_that_vanish_are_an_alarm_until_they_are_brought_back() {
    let Some(mut scene) = Scene::new("vanished", CONFIG).await else { return };
    let mut process = scene.start();
    scene.publish().await;
    scene.stored(&mut process).await;
    scene.checkpoint(&mut process).await;

    // First the directory is gone, then there is an empty one, as where a disk is not mounted.
    let (place, away) = (scene.site.path("state/checkpoints"), scene.site.path("away"));
    fs::rename(&place, &away).unwrap();
    scene.failing(&mut process, 1, "active").await;
    fs::create_dir(&place).unwrap();
    scene.publish().await;
    scene.stored(&mut process).await;
    let failures = scene.site.metric(FAILURES).await;
    until("it is tried again", SOON, async || scene.site.metric(FAILURES).await > failures).await;
    let words = process.words();
    assert!(words.contains("bring back what was there") && !words.contains("taken over"), "{words}");
    assert_eq!(fs::read_dir(&place).unwrap().count(), 0, "nothing is written where nothing is known");

    fs::remove_dir(&place).unwrap();
    fs::rename(&away, &place).unwrap();
    scene.checkpoint(&mut process).await;
    scene.failing(&mut process, 1, "cleared").await;
    process.kill();
    let mut process = scene.start();
    scene.publish().await;
    scene.stored(&mut process).await;
    assert!(!process.words().contains("a damaged checkpoint is passed over"), "{}", process.words());
    assert_eq!(process.terminate(SOON), 0);
    scene.site.nuanliu(&["checkpoints", "verify"]);
    let rows = scene.site.number("SELECT count() FROM readings").await;
    assert_eq!(rows as u64, scene.accepted, "rows before any merge");
}
