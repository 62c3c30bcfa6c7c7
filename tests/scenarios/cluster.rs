//! Two processes run one dataflow: one of them dies, both start again, and the output is that of a single process.

use std::{fs, net::TcpListener, time::Duration};

use connectors::simulator::{Intervals, Plan, Size, plan_faults};
use tests::{Process, Site, oracles::table::assert_same, until};

const CONFIG: &str = "clock = \"data\"\nrecords_per_partition = 100\nworkers = 2\n---\n\
                      [checkpoint]\nevery_epochs = 8\nkeep = 100000\n";

/// The processes of a cluster, each with a configuration of its own: only where the metrics are differs.
fn start(site: &Site) -> [Process; 2] {
    let listeners = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let [one, two, metrics] = listeners.map(|listener| listener.local_addr().unwrap().to_string());
    let hosts = site.path("hosts");
    fs::write(&hosts, format!("{one}\n{two}\n")).unwrap();
    let text = fs::read_to_string(site.config()).unwrap();
    let second = site.path("second.toml");
    fs::write(&second, text.replace(&site.metrics, &metrics)).unwrap();
    let hosts = hosts.to_str().unwrap();
    let first = site.start(&["run", "-n", "2", "-p", "0", "-h", hosts]);
    [first, site.start_on(&second, &["run", "-n", "2", "-p", "1", "-h", hosts])]
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_are_one_dataflow_and_end_together() {
    let site = Site::new("cluster", CONFIG);
    site.nuanliu(&["migrate"]);
    let size = Size { plants: 1, branches: 1, boiler_houses: 0, stations: 3, rooms: 4, clean_devices: 4 };
    let intervals = Intervals { clean_device: 5, ..Intervals::default() };
    let plan = Plan { hours: 30, faults_per_kind: 1, intervals, ..Plan::of(size) };
    let sent = site.simulate(&plan, plan_faults(&plan)).await;

    for (dies, share) in [(1, 0.15), (0, 0.35)] {
        let mut processes = start(&site);
        until("readings arrive", Duration::from_secs(120), async || {
            processes.iter_mut().for_each(Process::must_run);
            let delivered = site.metric("nuanliu_epoch_delivered").await.unwrap_or(0.0);
            delivered > 0.0 && site.accounted().await as f64 > sent.readings as f64 * share
        })
        .await;
        let [mut first, mut second] = processes;
        let (killed, other) = if dies == 0 { (first, &mut second) } else { (second, &mut first) };
        killed.kill();
        assert!(!other.end(Duration::from_secs(30)).await.success(), "the other process ends too");
        assert!(site.accounted().await < sent.readings, "it was killed when all was done");
    }
    let [mut first, mut second] = start(&site);
    site.stored(sent.readings, &mut first, Duration::from_secs(120)).await;
    assert_eq!(first.terminate(Duration::from_secs(60)), 0);
    assert!(second.end(Duration::from_secs(30)).await.success(), "{}", second.log());
    let checkpoints = site.nuanliu(&["checkpoints", "list"]);
    assert!(checkpoints.lines().count() > 5, "checkpoints were completed: {checkpoints}");
    // Each process has sealed what it holds, and the checkpoints name both.
    let files = fs::read_dir(site.path("state/checkpoints")).unwrap();
    let files: Vec<String> = files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    for process in ["-0", "-1"] {
        let sealed = files.iter().filter(|name| name.starts_with("volume-") && name.ends_with(process));
        assert!(sealed.count() > 1, "{process}: {files:?}");
    }
    let (code, told) = site.try_nuanliu(&["checkpoints", "verify"]);
    assert!(code == 0, "{told}");
    let newest = checkpoints.lines().nth(1).and_then(|line| line.split_whitespace().next()).unwrap();
    assert!(site.nuanliu(&["checkpoints", "show", newest]).contains("sealed in"));

    let single = site.beside("single", &CONFIG.replace("workers = 2", "workers = 1"));
    single.nuanliu(&["migrate"]);
    site.give_bindings(&single);
    let mut process = single.start(&["run"]);
    single.stored(sent.readings, &mut process, Duration::from_secs(120)).await;
    assert_eq!(process.terminate(Duration::from_secs(60)), 0);
    assert!(assert_same(&site, &single).await > 10_000);
}
