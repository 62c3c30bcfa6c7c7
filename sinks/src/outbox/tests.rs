use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use super::*;
use crate::compliance;

/// A store in memory that can be away, hang, or lose answers.
#[derive(Clone, Default)]
struct Remembering(Arc<Content>);

#[derive(Default)]
struct Content {
    away: AtomicBool,
    hanging: AtomicBool,
    lost_answers: AtomicUsize,
    attempts: AtomicUsize,
    tokens: Mutex<BTreeMap<String, usize>>,
}

impl Store for Remembering {
    fn name(&self) -> &'static str {
        "remembering"
    }

    fn encode(&self, block: &Block) -> Result<Vec<Insert>, Error> {
        let token = block.to_string();
        let (table, statement) = ("t".to_owned(), "INSERT".to_owned());
        let body = serde_json::to_vec(block).unwrap().into();
        Ok(vec![Insert { table, statement, token, compressed: false, rows: 1, body }])
    }

    async fn send(&self, insert: &Insert) -> Result<(), Error> {
        let retry = |detail: &str| Error::Retry { sink: "remembering", detail: detail.to_owned() };
        self.0.attempts.fetch_add(1, Ordering::SeqCst);
        if self.0.hanging.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        if self.0.away.load(Ordering::SeqCst) {
            return Err(retry("away"));
        }
        *self.0.tokens.lock().unwrap().entry(insert.token.clone()).or_default() += 1;
        let lose = |left: usize| left.checked_sub(1);
        match self.0.lost_answers.fetch_update(Ordering::SeqCst, Ordering::SeqCst, lose) {
            Ok(_) => Err(retry("the answer was lost")),
            Err(_) => Ok(()),
        }
    }
}

impl Remembering {
    fn tokens(&self) -> Vec<String> {
        self.0.tokens.lock().unwrap().keys().cloned().collect()
    }
}

struct Desk {
    outbox: Outbox,
    stop: watch::Sender<bool>,
    status: Status,
    acknowledged: Arc<AtomicUsize>,
    failures: Arc<Mutex<Vec<String>>>,
}

fn desk(store: &Remembering, directory: &Path, spooling: bool, limit: u64) -> Desk {
    desk_over(store, Spool::open(directory, limit, 0).unwrap(), spooling)
}

fn desk_over(store: &Remembering, spool: Spool, spooling: bool) -> Desk {
    let (stop, stopping) = watch::channel(false);
    let (status, failures) = (Status::new("remembering"), Arc::new(Mutex::new(Vec::new())));
    let failed = Arc::clone(&failures);
    let settings = Settings {
        spool,
        spooling,
        status: status.clone(),
        spool_status: Status::new("spool of a test"),
        stop: stopping,
        fail: Arc::new(move |error| failed.lock().unwrap().push(error.to_string())),
    };
    let outbox = Outbox::start(store.clone(), settings, &Handle::current()).unwrap();
    Desk { outbox, stop, status, acknowledged: Arc::default(), failures }
}

impl Desk {
    fn put(&self, epoch: Epoch) {
        let acknowledged = Arc::clone(&self.acknowledged);
        let done = move || {
            acknowledged.fetch_add(1, Ordering::SeqCst);
        };
        self.outbox.put(epoch, Arc::new(compliance::blocks(epoch)), Box::new(done));
    }

    fn acknowledged(&self) -> usize {
        self.acknowledged.load(Ordering::SeqCst)
    }
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(20), "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn tokens(epochs: std::ops::RangeInclusive<Epoch>) -> Vec<String> {
    let blocks = epochs.flat_map(compliance::blocks);
    let mut tokens: Vec<String> = blocks.map(|block| block.to_string()).collect();
    tokens.sort();
    tokens
}

fn files(directory: &Path) -> usize {
    std::fs::read_dir(directory).unwrap().count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quick_store_gets_everything_and_the_disk_nothing() {
    let (store, directory) = (Remembering::default(), tempfile::tempdir().unwrap());
    let desk = desk(&store, directory.path(), true, u64::MAX);
    (1..=20).for_each(|epoch| desk.put(epoch));
    until("all is acknowledged", || desk.acknowledged() == 20).await;
    assert_eq!(store.tokens(), tokens(1..=20));
    assert_eq!(files(directory.path()), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_away_holds_nobody_and_gets_everything_later() {
    let (store, directory) = (Remembering::default(), tempfile::tempdir().unwrap());
    store.0.away.store(true, Ordering::SeqCst);
    let desk = desk(&store, directory.path(), true, u64::MAX);
    (1..=50).for_each(|epoch| desk.put(epoch));
    until("all is acknowledged", || desk.acknowledged() == 50).await;
    assert!(desk.status.pause().paused && desk.outbox.waiting() > 0 && store.tokens().is_empty());
    store.0.away.store(false, Ordering::SeqCst);
    until("the spool is empty", || desk.outbox.waiting() == 0).await;
    assert_eq!(store.tokens(), tokens(1..=50));
    assert!(!desk.status.pause().paused);
    assert_eq!(files(directory.path()), 0);
    desk.put(51);
    until("it is quick again", || desk.acknowledged() == 51).await;
    assert_eq!(files(directory.path()), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_hangs_holds_nobody_for_long() {
    let (store, directory) = (Remembering::default(), tempfile::tempdir().unwrap());
    store.0.hanging.store(true, Ordering::SeqCst);
    let desk = desk(&store, directory.path(), true, u64::MAX);
    (1..=20).for_each(|epoch| desk.put(epoch));
    until("all is acknowledged", || desk.acknowledged() == 20).await;
    assert!(store.tokens().is_empty());
    let inserts = tokens(1..=20).len();
    assert!(store.0.attempts.load(Ordering::SeqCst) <= 2 * inserts, "it is not flooded with attempts");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_on_disk_is_sent_after_a_restart() {
    let (store, directory) = (Remembering::default(), tempfile::tempdir().unwrap());
    store.0.away.store(true, Ordering::SeqCst);
    let first = desk(&store, directory.path(), true, u64::MAX);
    (1..=9).for_each(|epoch| first.put(epoch));
    until("all is acknowledged", || first.acknowledged() == 9).await;
    first.stop.send_replace(true);
    store.0.away.store(false, Ordering::SeqCst);
    // Turning spooling off sends what is there all the same.
    let second = desk(&store, directory.path(), false, u64::MAX);
    until("the spool is empty", || second.outbox.waiting() == 0).await;
    assert_eq!(store.tokens(), tokens(1..=9));
    assert_eq!(files(directory.path()), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_answers_lose_nothing() {
    let (store, directory) = (Remembering::default(), tempfile::tempdir().unwrap());
    store.0.lost_answers.store(7, Ordering::SeqCst);
    let desk = desk(&store, directory.path(), true, u64::MAX);
    (1..=20).for_each(|epoch| desk.put(epoch));
    until("all is acknowledged", || desk.acknowledged() == 20 && desk.outbox.waiting() == 0).await;
    assert_eq!(store.tokens(), tokens(1..=20));
}

#[rstest::rstest]
#[case::without_a_spool(false, u64::MAX)]
#[case::with_a_full_spool(true, 10)]
#[tokio::test(flavor = "multi_thread")]
async fn where_nothing_can_wait_on_disk_everything_waits(#[case] spooling: bool, #[case] limit: u64) {
    let (store, directory) = (Remembering::default(), tempfile::tempdir().unwrap());
    store.0.away.store(true, Ordering::SeqCst);
    let desk = desk(&store, directory.path(), spooling, limit);
    (1..=5).for_each(|epoch| desk.put(epoch));
    until("it is tried again", || store.0.attempts.load(Ordering::SeqCst) > 60).await;
    assert_eq!(desk.acknowledged(), 0);
    store.0.away.store(false, Ordering::SeqCst);
    until("all is acknowledged", || desk.acknowledged() == 5).await;
    assert_eq!(store.tokens(), tokens(1..=5));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_record_stops_the_pipeline() {
    let (store, directory) = (Remembering::default(), tempfile::tempdir().unwrap());
    store.0.away.store(true, Ordering::SeqCst);
    let first = desk(&store, directory.path(), true, u64::MAX);
    for epoch in 1..=3 {
        first.put(epoch);
        until("it is acknowledged", || first.acknowledged() == epoch as usize).await;
    }
    first.stop.send_replace(true);
    let segment = std::fs::read_dir(directory.path()).unwrap().next().unwrap().unwrap().path();
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes[500] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    store.0.away.store(false, Ordering::SeqCst);
    // Epochs up to 3 count as stored, so the body is not read before it is sent.
    let second = desk_over(&store, Spool::open(directory.path(), u64::MAX, 3).unwrap(), true);
    until("it stops", || !second.failures.lock().unwrap().is_empty()).await;
    assert!(second.failures.lock().unwrap()[0].contains("is damaged at byte"));
}
