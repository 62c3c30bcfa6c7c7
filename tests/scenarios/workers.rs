//! The output is a function of the bindings and of Kafka: the same for one, two and three workers, byte for byte.

use std::time::Duration;

use connectors::simulator::{Intervals, Plan, Size, plan_faults};
use schemas::{AlarmTransition, KpiRow, Topic, avro::Record};
use tests::{Consumed, Site, consume, oracles::table::assert_same};

/// Epochs are small, so that there are many and workers have every chance to meet in another order.
const CONFIG: &str =
    "clock = \"data\"\nrecords_per_partition = 150\n---\n[checkpoint]\nevery_epochs = 8\nkeep = 100000\n";

/// Records of a topic as text, sorted: which of them stand in which partition is not the pipeline's choice.
fn lines<R: Record + std::fmt::Debug>(site: &Site, topic: Topic) -> Vec<String> {
    let line = |Consumed { key, value, epoch }: Consumed<R>| format!("{epoch:?} {key} {value:?}");
    let mut lines: Vec<String> = consume::<R>(&site.kafka(), topic).into_iter().map(line).collect();
    lines.sort_unstable();
    lines
}

#[tokio::test(flavor = "multi_thread")]
async fn one_two_and_three_workers_give_the_same_output() {
    let one = Site::new("workers", &format!("workers = 1\n{CONFIG}"));
    one.nuanliu(&["migrate"]);
    let size = Size { plants: 1, branches: 1, boiler_houses: 0, stations: 3, rooms: 8, clean_devices: 6 };
    let intervals = Intervals { clean_device: 2, ..Intervals::default() };
    let plan = Plan { hours: 10, faults_per_kind: 1, intervals, ..Plan::of(size) };
    let sent = one.simulate(&plan, plan_faults(&plan)).await;
    let mut process = one.start(&["run"]);
    one.stored(sent.readings, &mut process, Duration::from_secs(180)).await;
    assert_eq!(process.terminate(Duration::from_secs(60)), 0);
    let alarms = lines::<AlarmTransition>(&one, Topic::Alarms);
    let kpis = lines::<KpiRow>(&one, Topic::Kpis);
    assert!(alarms.len() > 5 && kpis.len() > 500, "{} alarm transitions, {} KPIs", alarms.len(), kpis.len());

    for workers in [2, 3] {
        let other = one.beside("workers", &format!("workers = {workers}\n{CONFIG}"));
        other.nuanliu(&["migrate"]);
        one.give_bindings(&other);
        let mut process = other.start(&["run"]);
        other.stored(sent.readings, &mut process, Duration::from_secs(180)).await;
        assert_eq!(process.terminate(Duration::from_secs(60)), 0);
        assert!(assert_same(&one, &other).await > 10_000);
        // Both wrote to the same topics: every record stands there once more.
        let again = |lines: &[String]| -> Vec<String> {
            lines.iter().flat_map(|line| std::iter::repeat_n(line.clone(), workers)).collect()
        };
        assert_eq!(lines::<AlarmTransition>(&one, Topic::Alarms), again(&alarms), "{workers} workers");
        assert_eq!(lines::<KpiRow>(&one, Topic::Kpis), again(&kpis), "{workers} workers");
    }
}
