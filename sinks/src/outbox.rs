//! Between the dataflow and a store that may be away: blocks go straight to it while it is quick, and through the spool
//! while it is not.
//!
//! Enters: blocks, each lot with what to do when it is durable. Leaves: inserts at the store. Guarantees: a lot is
//! acknowledged when the store has all of it or the spool has, so that a store that is away holds nobody; what is in the
//! spool is sent, oldest first, however often the process ends meanwhile; memory is bounded, because a lot that the
//! store does not take at once leaves memory for the disk.

use std::{
    future::Future,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use schemas::Epoch;
use tokio::{
    runtime::Handle,
    sync::{Notify, Semaphore, mpsc, watch},
    task::JoinSet,
    time::timeout,
};

use crate::{
    Block, Error,
    attach::{Done, Fail, Inlet},
    disk::spool::{self, Insert, Spool, Waiting},
    runner::{BackOff, Status, stopped_while},
};

/// Lots that may be on their way to the store at once.
const LOTS: usize = 4;
/// Records of the spool that may be on their way to the store at once.
const RECORDS: usize = 8;
/// Bytes that one record of the spool takes before the next is begun.
const RECORD: usize = 4 << 20;
/// How long a store may take for a lot before the lot goes to the spool.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often the age of what waits is shown.
const SHOW: Duration = Duration::from_secs(1);

/// A destination whose blocks can be prepared apart from sending them.
pub trait Store: Send + Sync + 'static {
    /// The store's name in errors.
    fn name(&self) -> &'static str;

    /// The inserts of a block as they will be sent: the same for the same block.
    ///
    /// # Errors
    /// [`Error::Stop`] when the block cannot be expressed.
    fn encode(&self, block: &Block) -> Result<Vec<Insert>, Error>;

    /// Sends an insert and returns when it is durable; sending it again changes nothing.
    fn send(&self, insert: &Insert) -> impl Future<Output = Result<(), Error>> + Send;
}

/// How an outbox behaves.
pub struct Settings {
    /// Where lots wait.
    pub spool: Spool,
    /// Whether lots may wait there; otherwise each holds its acknowledgement until the store has it.
    pub spooling: bool,
    /// The store's condition.
    pub status: Status,
    /// The spool's own condition.
    pub spool_status: Status,
    /// Turned true when the program ends.
    pub stop: watch::Receiver<bool>,
    /// Hears of what cannot go on.
    pub fail: Fail,
}

/// Where lots are handed in.
#[derive(Clone)]
pub struct Outbox {
    lots: mpsc::UnboundedSender<(Arc<Vec<Block>>, Done)>,
    spool: Arc<Spool>,
    status: Status,
}

struct Shared<S> {
    store: S,
    spool: Arc<Spool>,
    spooling: bool,
    status: Status,
    spool_status: Status,
    stop: watch::Receiver<bool>,
    fail: Fail,
    /// Something new is in the spool.
    spooled: Notify,
}

/// A lot, prepared.
struct StoreBatch {
    epochs: (Epoch, Epoch),
    inserts: Vec<Insert>,
    blocks: u64,
    rows: u64,
    began: Instant,
    done: Done,
}

impl Outbox {
    /// Starts the tasks and the thread behind an outbox.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start<S: Store>(store: S, settings: Settings, runtime: &Handle) -> std::io::Result<Outbox> {
        let Settings { spool, spooling, status, spool_status, stop, fail } = settings;
        let (lots, given) = mpsc::unbounded_channel();
        let (late, to_spool) = mpsc::unbounded_channel();
        let spool = Arc::new(spool);
        let outbox = Outbox { lots, spool: Arc::clone(&spool), status: status.clone() };
        let spooled = Notify::new();
        let shared = Arc::new(Shared { store, spool, spooling, status, spool_status, stop, fail, spooled });
        runtime.spawn(accept(Arc::clone(&shared), given, late));
        runtime.spawn(drain(Arc::clone(&shared)));
        let handle = runtime.clone();
        thread::Builder::new().name("spool".to_owned()).spawn(move || keep(&shared, to_spool, &handle))?;
        Ok(outbox)
    }
}

impl Inlet for Outbox {
    fn put(&self, _epoch: Epoch, blocks: Arc<Vec<Block>>, done: Done) {
        // Fails only when the program is ending.
        let _ = self.lots.send((blocks, done));
    }

    fn waiting(&self) -> u64 {
        self.spool.inserts()
    }

    /// Whether nothing waits on disk, or the store does not take it for now.
    fn settled(&self) -> bool {
        !self.spool.in_use() || self.status.pause().paused
    }
}

/// Takes lots in, a few at a time.
async fn accept<S: Store>(
    shared: Arc<Shared<S>>,
    mut given: mpsc::UnboundedReceiver<(Arc<Vec<Block>>, Done)>,
    late: mpsc::UnboundedSender<StoreBatch>,
) {
    let permits = Arc::new(Semaphore::new(LOTS));
    while let Some((blocks, done)) = given.recv().await {
        // The semaphore is never closed.
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
        let (shared, late) = (Arc::clone(&shared), late.clone());
        tokio::spawn(async move {
            match StoreBatch::prepare(&shared.store, &blocks, done) {
                Ok(lot) => {
                    drop(blocks);
                    shared.carry(lot, &late).await;
                }
                Err(error) => (shared.fail)(error),
            }
            drop(permit);
        });
    }
}

impl StoreBatch {
    fn prepare<S: Store>(store: &S, blocks: &[Block], done: Done) -> Result<StoreBatch, Error> {
        let mut inserts = Vec::new();
        for block in blocks {
            inserts.extend(store.encode(block)?);
        }
        let epochs = blocks.iter().map(|block| block.epoch);
        Ok(StoreBatch {
            epochs: (epochs.clone().min().unwrap_or(0), epochs.max().unwrap_or(0)),
            inserts,
            blocks: blocks.len() as u64,
            rows: blocks.iter().map(|block| block.rows.len() as u64).sum(),
            began: Instant::now(),
            done,
        })
    }

    fn bytes(&self) -> usize {
        self.inserts.iter().map(|insert| insert.body.len()).sum()
    }
}

impl<S: Store> Shared<S> {
    /// Brings a lot to the store, or to those who bring it to the spool.
    async fn carry(self: &Arc<Self>, lot: StoreBatch, late: &mpsc::UnboundedSender<StoreBatch>) {
        if !self.spooling {
            return self.hold(lot).await;
        }
        if !self.spool.in_use() {
            match timeout(PATIENCE, send_all(self, &lot.inserts)).await {
                Ok(Ok(())) => return self.stored(lot),
                Ok(Err(error @ Error::Retry { .. })) => self.status.failed(&error.to_string()),
                Ok(Err(error)) => return self.stopped(error),
                Err(_) => tracing::info!("{} is slow: blocks go through the spool", self.store.name()),
            }
        }
        // Fails only when the program is ending.
        let _ = late.send(lot);
    }

    /// Holds a lot until the store has it.
    async fn hold(self: &Arc<Self>, lot: StoreBatch) {
        if self.send_until_stored(&lot.inserts).await {
            self.stored(lot);
        }
    }

    /// Sends until the store has everything; false when the program ends before.
    async fn send_until_stored(self: &Arc<Self>, inserts: &[Insert]) -> bool {
        let mut stop = self.stop.clone();
        let mut attempt = 0;
        loop {
            match send_all(self, inserts).await {
                Ok(()) => {
                    self.status.succeeded();
                    return true;
                }
                Err(error @ Error::Retry { .. }) => {
                    attempt += 1;
                    self.status.failed(&error.to_string());
                    let wait = BackOff::default().wait(attempt);
                    if stopped_while(&mut stop, tokio::time::sleep(wait)).await {
                        return false;
                    }
                }
                Err(error) => {
                    self.stopped(error);
                    return false;
                }
            }
        }
    }

    fn stopped(&self, error: Error) {
        self.status.failed(&error.to_string());
        (self.fail)(error);
    }

    fn stored(&self, lot: StoreBatch) {
        self.status.succeeded();
        self.status.acknowledged(lot.blocks, lot.rows, lot.began.elapsed());
        (lot.done)();
    }

    fn stopping(&self) -> bool {
        *self.stop.borrow()
    }

    /// Brings lots to the disk; where that takes nothing and nothing is there, to the store after all.
    fn spool(self: &Arc<Self>, lots: &[StoreBatch], runtime: &Handle) -> bool {
        let inserts: Vec<&Insert> = lots.iter().flat_map(|lot| &lot.inserts).collect();
        let first = lots.iter().map(|lot| lot.epochs.0).min().unwrap_or(0);
        let last = lots.iter().map(|lot| lot.epochs.1).max().unwrap_or(0);
        let mut attempt = 0;
        while !self.stopping() {
            let at = jiff::Timestamp::now().as_millisecond();
            match self.spool.append((first, last), at, &inserts) {
                Ok(()) => {
                    self.spool_status.succeeded();
                    return true;
                }
                Err(error) => self.spool_status.failed(&error.to_string()),
            }
            if !self.spool.in_use() {
                let (shared, inserts) =
                    (Arc::clone(self), inserts.iter().copied().cloned().collect::<Vec<_>>());
                let (answer, answered) = std::sync::mpsc::channel();
                runtime.spawn(async move { answer.send(send_all(&shared, &inserts).await) });
                // No answer comes when the program is ending.
                let Ok(sent) = answered.recv() else { return false };
                match sent {
                    Ok(()) => {
                        self.status.succeeded();
                        self.spool_status.succeeded();
                        return true;
                    }
                    Err(error @ Error::Retry { .. }) => self.status.failed(&error.to_string()),
                    Err(error) => {
                        self.stopped(error);
                        return false;
                    }
                }
            }
            attempt += 1;
            thread::sleep(BackOff::default().wait(attempt).min(Duration::from_secs(1)));
        }
        false
    }

    /// Sends a record of the spool.
    async fn send_record(self: Arc<Self>, waiting: Waiting) {
        let mut stop = self.stop.clone();
        let mut attempt = 0;
        let inserts = loop {
            let shared = Arc::clone(&self);
            let read = tokio::task::spawn_blocking(move || shared.spool.read(&waiting)).await;
            match read
                .unwrap_or_else(|error| Err(Error::Retry { sink: spool::NAME, detail: error.to_string() }))
            {
                Ok(inserts) => break inserts,
                Err(error @ Error::Retry { .. }) => {
                    attempt += 1;
                    self.spool_status.failed(&error.to_string());
                    let wait = BackOff::default().wait(attempt);
                    if stopped_while(&mut stop, tokio::time::sleep(wait)).await {
                        return;
                    }
                }
                Err(error) => {
                    self.spool_status.failed(&error.to_string());
                    return (self.fail)(error);
                }
            }
        };
        if self.send_until_stored(&inserts).await {
            let _ = tokio::task::spawn_blocking(move || self.spool.settle(&waiting)).await;
        }
    }
}

/// Sends inserts side by side; the gravest of their errors.
async fn send_all<S: Store>(shared: &Arc<Shared<S>>, inserts: &[Insert]) -> Result<(), Error> {
    let mut under_way = JoinSet::new();
    for insert in inserts {
        let (shared, insert) = (Arc::clone(shared), insert.clone());
        under_way.spawn(async move { shared.store.send(&insert).await });
    }
    let mut result = Ok(());
    while let Some(sent) = under_way.join_next().await {
        let sent = sent.unwrap_or_else(|error| {
            Err(Error::Retry {
                sink: shared.store.name(),
                detail: format!("an insert was cut short: {error}"),
            })
        });
        result = crate::graver(result, sent);
    }
    result
}

/// The thread of the spool: one record, and one wait for the disk, for everything that has come meanwhile.
fn keep<S: Store>(shared: &Arc<Shared<S>>, mut lots: mpsc::UnboundedReceiver<StoreBatch>, runtime: &Handle) {
    while let Some(first) = lots.blocking_recv() {
        let mut bytes = first.bytes();
        let mut group = vec![first];
        while bytes < RECORD
            && let Ok(lot) = lots.try_recv()
        {
            bytes += lot.bytes();
            group.push(lot);
        }
        if !shared.spool(&group, runtime) {
            return;
        }
        shared.spooled.notify_one();
        for lot in group {
            shared.status.acknowledged(lot.blocks, lot.rows, lot.began.elapsed());
            (lot.done)();
        }
    }
}

/// Sends what is in the spool, oldest first. A few records are under way at once; while the store is away only one is,
/// so that it is not flooded with attempts.
async fn drain<S: Store>(shared: Arc<Shared<S>>) {
    let mut stop = shared.stop.clone();
    let mut under_way = JoinSet::new();
    loop {
        while under_way.try_join_next().is_some() {}
        let room = if shared.status.pause().paused { 1 } else { RECORDS };
        if under_way.len() < room
            && let Some(waiting) = shared.spool.take()
        {
            under_way.spawn(Arc::clone(&shared).send_record(waiting));
            continue;
        }
        let something = async {
            tokio::select! {
                _ = under_way.join_next(), if !under_way.is_empty() => {}
                () = shared.spooled.notified() => {}
                () = tokio::time::sleep(SHOW) => shared.spool.show(),
            }
        };
        if stopped_while(&mut stop, something).await {
            return;
        }
    }
}

#[cfg(test)]
mod tests;
