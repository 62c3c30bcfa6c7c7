//! Checkpoints in a bucket of an object store: killed in the middle and started again, the state comes from there, the
//! output is the same as undisturbed, and a part that is gone is noticed.

use std::time::Duration;

use connectors::simulator::{Intervals, Plan, Size, plan_faults};
use tests::{Site, oracles::table::assert_same, site::service, until};

const SOON: Duration = Duration::from_secs(120);
const PIPELINE: &str = "clock = \"data\"\nrecords_per_partition = 20\nepochs_in_flight = 16\n---\n";
const CHECKPOINT: &str = "[checkpoint]\nevery_epochs = 8\nkeep = 100000\n";

/// The prefix of a bucket, looked at without the product.
struct Bucket {
    endpoint: String,
    prefix: String,
}

impl Bucket {
    /// The names under the prefix that begin with `kind`, oldest first.
    async fn names(&self, kind: &str) -> Vec<String> {
        let Bucket { endpoint, prefix } = self;
        let (mut names, mut after) = (Vec::new(), String::new());
        loop {
            let url = format!("{endpoint}/nuanliu?list-type=2&prefix={prefix}/{kind}&start-after={after}");
            let text = reqwest::get(url).await.unwrap().error_for_status().unwrap().text().await.unwrap();
            let keys = text.split("<Key>").skip(1).map(|rest| rest.split('<').next().unwrap().to_owned());
            names.extend(keys.clone().map(|key| key[prefix.len() + 1..].to_owned()));
            match keys.last() {
                Some(last) => after = last,
                None => return names,
            }
        }
    }

    async fn remove(&self, name: &str) {
        let url = format!("{}/nuanliu/{}/{name}", self.endpoint, self.prefix);
        // Who asks must be named; the server of the tests does not look at the signature.
        let who = "AWS4-HMAC-SHA256 Credential=nuanliu/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0";
        reqwest::Client::new()
            .delete(url)
            .header("Authorization", who)
            .send()
            .await
            .unwrap()
            .error_for_status()
            .unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_pipeline_goes_on_from_a_bucket() {
    let endpoint = service("NUANLIU_S3");
    let prefix = format!("object_store_{}", std::process::id());
    let place = format!("url = \"s3://nuanliu/{prefix}\"\nendpoint = {endpoint:?}\n");
    let bucket = Bucket { endpoint, prefix };
    let site = Site::new("object_store", &format!("{PIPELINE}{CHECKPOINT}{place}"));
    site.nuanliu(&["migrate"]);
    let size = Size { plants: 1, branches: 1, boiler_houses: 0, stations: 3, rooms: 4, clean_devices: 4 };
    let intervals = Intervals { clean_device: 5, ..Intervals::default() };
    let plan = Plan { hours: 24, faults_per_kind: 1, intervals, ..Plan::of(size) };
    let sent = site.simulate(&plan, plan_faults(&plan)).await;

    let mut known: Vec<String> = Vec::new();
    for share in [0.15, 0.3] {
        let mut process = site.start(&["run"]);
        until("readings and checkpoints arrive", SOON, async || {
            process.must_run();
            let enough = site.accounted().await as f64 > sent.readings as f64 * share;
            enough && bucket.names("MANIFEST-").await.last() > known.last()
        })
        .await;
        process.kill();
        assert!(site.accounted().await < sent.readings, "killed when all was done: make the plan larger");
        known = bucket.names("MANIFEST-").await;
    }
    let mut process = site.start(&["run"]);
    site.stored(sent.readings, &mut process, SOON).await;
    assert!(epoch_of_start(&process.words()) >= epoch_of(known.last().unwrap()), "{}", process.words());
    assert_eq!(process.terminate(SOON), 0);
    assert!(!site.path("state/checkpoints").exists(), "the checkpoints are in the bucket alone");

    let newest = bucket.names("MANIFEST-").await.pop().unwrap();
    let epoch = epoch_of(&newest).to_string();
    assert!(site.nuanliu(&["checkpoints", "list"]).contains(&epoch));
    assert!(site.nuanliu(&["checkpoints", "verify"]).contains(&format!("epoch {epoch}: right")));

    let part = newest.replace("MANIFEST", "part");
    bucket.remove(&part).await;
    let (code, told) = site.try_nuanliu(&["checkpoints", "verify"]);
    assert!(code == 1 && told.contains(&format!("epoch {epoch}: {part} is missing")), "{code}: {told}");
    let mut process = site.start(&["run"]);
    until("a checkpoint follows", SOON, async || {
        process.must_run();
        let later = bucket.names("MANIFEST-").await.pop().unwrap();
        later != newest && epoch_of(&later) >= epoch_of(&newest)
    })
    .await;
    let words = process.words();
    assert!(words.contains("a damaged checkpoint is passed over") && words.contains(&part), "{words}");
    assert_eq!(process.terminate(SOON), 0);
    site.nuanliu(&["checkpoints", "verify"]);

    let undisturbed = site.beside("in_a_directory", &format!("{PIPELINE}{CHECKPOINT}"));
    undisturbed.nuanliu(&["migrate"]);
    site.give_bindings(&undisturbed);
    let mut process = undisturbed.start(&["run"]);
    undisturbed.stored(sent.readings, &mut process, SOON).await;
    assert_eq!(process.terminate(SOON), 0);
    assert!(assert_same(&site, &undisturbed).await > 5_000);
}

/// The epoch in the name of a manifest.
fn epoch_of(manifest: &str) -> u64 {
    manifest.split('-').nth(1).unwrap().parse().unwrap()
}

/// The checkpoint that a start says it goes on from.
fn epoch_of_start(words: &str) -> u64 {
    let line =
        words.lines().find(|line| line.contains("the dataflow starts")).expect("it says where it starts");
    let plain: String = line
        .split('\x1b')
        .map(|piece| {
            if piece.starts_with('[') { piece.split_once('m').map_or(piece, |(_, text)| text) } else { piece }
        })
        .collect();
    let value = plain.split("checkpoint=").nth(1).unwrap_or_else(|| panic!("{plain}"));
    value.split(' ').next().unwrap().parse().unwrap()
}
