//! Everything that can be wrong with ClickHouse, one after the other: it is said with what to do, nothing is lost, and
//! no row is there twice, even before merges.

use std::time::Duration;

use connectors::Outgoing;
use schemas::time::MINUTE;
use tests::{Process, Proxy, Service, Site, district, until};

const PAUSED: &str = "nuanliu_sink_paused{sink=\"clickhouse\"}";
const WAITING: &str = "nuanliu_spool_blocks";
const BOUND: &str = "nuanliu_epoch_bound";
const SOON: Duration = Duration::from_secs(90);

/// A running pipeline whose store is behind a proxy, and how many readings it was given.
struct Scene {
    site: Site,
    proxy: Proxy,
    process: Process,
    accepted: u64,
    minute: i64,
}

const EPOCHS: &str = "epoch_ms = 50\n";

async fn scene(name: &str) -> Scene {
    scene_of(Site::new(name, EPOCHS)).await
}

async fn scene_of(site: Site) -> Scene {
    site.nuanliu(&["migrate"]);
    let clickhouse = site.clickhouse().url;
    let proxy = Proxy::before(&clickhouse).await;
    site.reconfigure(&clickhouse, &proxy.url);
    site.publish(&district::registry(2)).await;
    let process = site.start(&["run"]);
    let mut scene = Scene { site, proxy, process, accepted: 0, minute: 0 };
    scene.publish().await;
    scene.stored().await;
    scene
}

impl Scene {
    /// Publishes two minutes of both stations.
    async fn publish(&mut self) {
        let start = jiff::Timestamp::now().as_millisecond() / MINUTE * MINUTE - 120 * MINUTE;
        let minutes = self.minute..self.minute + 2;
        self.minute += 2;
        let report = |(station, at): (usize, i64)| {
            let readings = [("secondary_supply_temp", 45.0), ("outdoor_temp", -9.5)];
            Outgoing::Report(district::report(station, at, at + 500, &readings))
        };
        let reports = minutes.flat_map(|minute| [1, 2].map(|station| (station, start + minute * MINUTE)));
        self.accepted += self.site.publish(&reports.map(report).collect::<Vec<_>>()).await;
    }

    async fn stored(&mut self) {
        self.site.stored(self.accepted, &mut self.process, SOON).await;
    }

    async fn metric(&mut self, name: &str, holds: impl Fn(f64) -> bool) {
        until(name, SOON, async || {
            self.process.must_run();
            self.site.metric(name).await.is_some_and(&holds)
        })
        .await;
    }

    /// Waits until more epochs were bound than may be on their way at once.
    async fn epochs_go_on(&mut self) {
        let from = self.site.metric(BOUND).await.unwrap_or(0.0);
        self.metric(BOUND, |bound| bound > from + 80.0).await;
    }

    /// Everything is stored, once, and nothing waits.
    async fn settled(mut self) {
        self.stored().await;
        self.metric(WAITING, |waiting| waiting == 0.0).await;
        assert_eq!(self.process.terminate(SOON), 0);
        let rows = self.site.number("SELECT count() FROM readings").await;
        assert_eq!(rows as u64, self.accepted, "rows before any merge");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_server_answers_is_said_with_what_to_do_and_nothing_is_lost() {
    let mut scene = scene("store_answers").await;
    for (status, text, says) in [
        (500, "<html>oops</html>", "oops"),
        (500, "Code: 252. DB::Exception: Too many parts (300). (TOO_MANY_PARTS)", "merges are behind"),
        (500, "Code: 242. DB::Exception: Table is in readonly mode. (TABLE_IS_READ_ONLY)", "its keeper"),
        (500, "Code: 241. DB::Exception: Memory limit exceeded. (MEMORY_LIMIT_EXCEEDED)", "memory"),
        (403, "Code: 497. DB::Exception: Not enough privileges. (ACCESS_DENIED)", "grant INSERT"),
        (429, "slow down", "slow down"),
    ] {
        scene.proxy.answer(status, text);
        scene.publish().await;
        scene.metric(PAUSED, |paused| paused == 1.0).await;
        until(says, SOON, async || scene.process.log().contains(says)).await;
        scene.epochs_go_on().await;
        scene.proxy.set_down(false);
        scene.stored().await;
        scene.metric(PAUSED, |paused| paused == 0.0).await;
    }
    scene.settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_connections_store_everything_once() {
    let mut scene = scene("store_breaks").await;
    scene.proxy.cut_bodies(4);
    scene.publish().await;
    until("bodies are cut", SOON, async || scene.proxy.to_cut() == 0).await;
    scene.stored().await;
    scene.proxy.cut_answers(4);
    scene.publish().await;
    until("answers are cut", SOON, async || scene.proxy.to_cut() == 0).await;
    scene.settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_hangs_holds_no_epoch() {
    let mut scene = scene("store_hangs").await;
    scene.proxy.set_hanging(true);
    scene.publish().await;
    scene.metric(WAITING, |waiting| waiting > 0.0).await;
    scene.epochs_go_on().await;
    scene.proxy.set_hanging(false);
    scene.settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_store_holds_no_epoch_and_gets_everything() {
    let mut scene = scene("store_slow").await;
    scene.proxy.delay(Duration::from_secs(2));
    for _ in 0..4 {
        scene.publish().await;
        scene.epochs_go_on().await;
    }
    scene.stored().await;
    scene.proxy.fair();
    scene.settled().await;
}

/// Sets how many parts of the readings may wait to be merged.
async fn allow_parts(site: &Site, parts: u32) {
    let settings = format!("parts_to_delay_insert = {parts}, parts_to_throw_insert = {parts}");
    site.query(&format!("ALTER TABLE readings MODIFY SETTING {settings}")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_with_too_many_parts_takes_the_rest_when_it_is_merged() {
    let mut scene = scene("store_parts").await;
    scene.site.query(&format!("SYSTEM STOP MERGES {}.readings", scene.site.name)).await;
    allow_parts(&scene.site, 1).await;
    scene.publish().await;
    scene.metric(PAUSED, |paused| paused == 1.0).await;
    until("it is said", SOON, async || scene.process.log().contains("merges are behind")).await;
    scene.epochs_go_on().await;
    allow_parts(&scene.site, 3_000).await;
    scene.settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_or_a_table_that_may_only_be_read_holds_the_rows() {
    let mut scene = scene("store_reads").await;
    scene.proxy.set_read_only(true);
    scene.publish().await;
    scene.metric(PAUSED, |paused| paused == 1.0).await;
    until("it is said", SOON, async || scene.process.log().contains("may only read")).await;
    scene.epochs_go_on().await;
    scene.proxy.set_read_only(false);
    scene.stored().await;
    scene.site.query("ALTER TABLE readings MODIFY SETTING table_readonly = 1").await;
    scene.publish().await;
    scene.metric(PAUSED, |paused| paused == 1.0).await;
    until("it is said", SOON, async || scene.process.log().contains("table_readonly is on")).await;
    scene.epochs_go_on().await;
    scene.site.query("ALTER TABLE readings MODIFY SETTING table_readonly = 0").await;
    scene.settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_was_changed_holds_the_rows_until_it_is_known() {
    let mut server = Service::store("first");
    let mut scene = scene_of(Site::with_store(&server, "store_password", EPOCHS)).await;
    server.change_password("second");
    scene.publish().await;
    scene.metric(PAUSED, |paused| paused == 1.0).await;
    until("it is said", SOON, async || scene.process.log().contains("check clickhouse.user")).await;
    scene.epochs_go_on().await;
    server.change_password("first");
    scene.settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_without_a_column_stops_with_advice() {
    let mut scene = scene("store_column").await;
    let column = "SELECT type FROM system.columns WHERE database = currentDatabase() AND table = 'readings' AND \
                  name = 'flag'";
    let kind = scene.site.query(column).await[0][0].clone();
    scene.site.query("ALTER TABLE readings DROP COLUMN flag").await;
    scene.publish().await;
    assert!(!scene.process.end(SOON).await.success());
    let log = scene.process.log();
    assert!(log.contains("readings") && log.contains("nuanliu migrate"), "{log}");
    scene.site.query(&format!("ALTER TABLE readings ADD COLUMN flag {kind} AFTER value")).await;
    scene.process = scene.site.start(&["run"]);
    scene.settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_at_any_step_of_the_spool_loses_nothing() {
    let mut scene = scene("store_crash").await;
    scene.process.kill();
    for place in ["spool.before:2", "spool.torn:2", "spool.after:2", "spool.torn:1", "spool.settled:1"] {
        scene.proxy.set_down(true);
        scene.process = scene.site.start_with(&["run"], ("NUANLIU_FAILPOINT", place));
        for _ in 0..3 {
            scene.publish().await;
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        if place.starts_with("spool.settled") {
            scene.proxy.set_down(false);
        }
        assert!(!scene.process.end(SOON).await.success(), "{place}");
    }
    scene.proxy.set_down(false);
    scene.process = scene.site.start(&["run"]);
    scene.settled().await;
}
