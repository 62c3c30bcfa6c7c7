//! The province answers wrongly, late, by half, or not at all: every row arrives once, what it will never take is named, and
//! the city's own flow goes on.

use std::{collections::BTreeMap, time::Duration};

use connectors::Outgoing;
use schemas::{Facility, RegistryEntry};
use tests::{Process, Province, Site, district, province, until};

const SOON: Duration = Duration::from_secs(120);
const PAUSED: &str = "nuanliu_sink_paused{sink=\"exchange\"}";
const BOUND: &str = "nuanliu_epoch_bound";
const TOO_LONG: &str = "ST-with-a-very-long-code";

/// A city that reports to a province, and how many stations it has.
struct Scene {
    city: Site,
    process: Process,
    province: Province,
    stations: usize,
}

impl Scene {
    async fn new() -> Scene {
        let config = format!("epoch_ms = 50\n---\n{}", province::exchange(&["heat_station"]));
        let city = Site::new("exchange", &config);
        city.nuanliu(&["migrate"]);
        let province = Province::of(&city).await;
        city.publish(&district::registry(0)).await;
        let process = city.start(&["run"]);
        Scene { city, process, province, stations: 0 }
    }

    /// Another station, which the province must be told of.
    async fn publish(&mut self) {
        self.stations += 1;
        self.city.publish(&[district::station(self.stations, 10_000.0)]).await;
    }

    /// The stations of every push that the province has taken.
    fn received(&self) -> Vec<String> {
        let code = |(_, row): province::Received| row["HRZBH"].as_str().unwrap().to_owned();
        self.province.received().into_iter().map(code).collect()
    }

    async fn delivered(&mut self) {
        let wanted = district::code(self.stations).to_string();
        until("the station arrives", SOON, async || {
            self.process.must_run();
            self.received().contains(&wanted)
        })
        .await;
    }

    async fn paused(&mut self, wanted: f64) {
        until("the sink is paused, or no more", SOON, async || {
            self.process.must_run();
            self.city.metric(PAUSED).await == Some(wanted)
        })
        .await;
    }

    /// Waits until more epochs were bound than may be on their way at once.
    async fn epochs_go_on(&mut self) {
        let from = self.city.metric(BOUND).await.unwrap_or(0.0);
        until("epochs go on", SOON, async || {
            self.process.must_run();
            self.city.metric(BOUND).await.is_some_and(|bound| bound > from + 80.0)
        })
        .await;
    }
}

fn with_code(code: &str) -> Outgoing {
    let Outgoing::RegistryEntry(_, Some(entry)) = district::station(1, 10_000.0) else { unreachable!() };
    let RegistryEntry::Facility(facility) = *entry else { unreachable!() };
    let entry = RegistryEntry::Facility(Facility { code: code.into(), ..facility });
    Outgoing::RegistryEntry(entry.key(), Some(Box::new(entry)))
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_the_province_answers_every_row_arrives_once() {
    let mut scene = Scene::new().await;
    scene.publish().await;
    scene.delivered().await;

    for (status, text) in [
        (500, "<html>oops</html>"),
        (503, "out of service"),
        (200, r#"{"code": "10005", "message": "Interface Server Error"}"#),
        (200, r#"{"code": 0, "mess"#),
        (429, "slow down"),
    ] {
        scene.province.proxy.answer(status, text);
        scene.publish().await;
        scene.paused(1.0).await;
        scene.province.proxy.fair();
        scene.delivered().await;
        scene.paused(0.0).await;
    }

    scene.province.proxy.set_hanging(true);
    scene.publish().await;
    let hung = district::code(scene.stations).to_string();
    scene.paused(1.0).await;
    scene.epochs_go_on().await;
    scene.province.proxy.set_hanging(false);
    scene.delivered().await;

    // The province takes these, and its answers do not come, or come by half.
    scene.province.proxy.lose_answers(1);
    scene.publish().await;
    scene.delivered().await;
    scene.paused(1.0).await;
    scene.paused(0.0).await;
    scene.province.proxy.cut_answers(1);
    scene.publish().await;
    scene.delivered().await;
    scene.paused(1.0).await;
    scene.paused(0.0).await;

    scene.province.kill();
    scene.publish().await;
    scene.paused(1.0).await;
    scene.province.start().await;
    scene.delivered().await;
    scene.paused(0.0).await;

    // What people must mend; after that they start the pipeline again.
    for (code, says) in
        [("10002", "check signing and its keys"), ("10003", "clock"), ("10004", "check app_id")]
    {
        scene.province.proxy.answer(200, &format!(r#"{{"code": "{code}", "message": "no"}}"#));
        scene.publish().await;
        until(says, SOON, async || scene.process.words().contains(says)).await;
        scene.epochs_go_on().await;
        scene.process.signal("KILL");
        scene.process.end(SOON).await;
        scene.province.proxy.fair();
        scene.process = scene.city.start(&["run"]);
        scene.delivered().await;
    }

    scene.city.publish(&[with_code(TOO_LONG)]).await;
    scene.publish().await;
    scene.delivered().await;
    let outcomes = "SELECT key, argMax(outcome, sequence) FROM exchange_ledger GROUP BY key";
    let mut wanted: BTreeMap<String, String> = (1..=scene.stations)
        .map(|number| (district::code(number).to_string(), "delivered".to_owned()))
        .collect();
    wanted.insert(TOO_LONG.to_owned(), "refused".to_owned());
    until("the ledger says so", SOON, async || {
        let rows = scene.city.query(outcomes).await;
        let told: BTreeMap<_, _> = rows.into_iter().map(|row| (row[0].clone(), row[1].clone())).collect();
        told == wanted
    })
    .await;
    let mut received = scene.received();
    received.sort_unstable();
    let mut wanted: Vec<String> =
        (1..=scene.stations).map(|number| district::code(number).to_string()).collect();
    // What hung on its way may come in after the province has said that it lacks it, and was sent again.
    if received.iter().filter(|code| **code == hung).count() == 2 {
        wanted.push(hung);
        wanted.sort_unstable();
    }
    assert_eq!(received, wanted, "every station once");
    until("the alarms are over", SOON, async || {
        let told = scene.city.alarms("sink_down").await;
        !told.is_empty() && told.iter().all(|state| state == "cleared")
    })
    .await;
    assert_eq!(scene.process.terminate(SOON), 0);
}
