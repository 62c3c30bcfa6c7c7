//! Delivering what the ledger owes.
//!
//! Enters: owed rows. Leaves: requests, and their outcomes in the ledger, in ClickHouse and in the status. Guarantees:
//! rows of a table go out in the order in which they were noted; an attempt is on disk before it is made; nothing that
//! the receiver did not take is skipped, except what it refuses for good, with its reason.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use schemas::{Code, Millis, Reason, Reject, RejectStage, exchange::ExchangeTable, exchange::Tables};
use tokio::sync::watch;

use super::{
    Shared,
    client::{Answer, Client},
    ledger::{Event, Outcome, Row, RowId, is_replaced},
    windows::Windows,
};
use crate::{
    Block, Error, Rows, Sink,
    clickhouse::ClickHouse,
    lease::Lease,
    runner::{BackOff, Status, stopped_while},
};

/// Waits after answers that ask for patience.
const RETRY: BackOff = BackOff { first: Duration::from_secs(1), cap: Duration::from_secs(60) };
/// Waits after answers that only a change of configuration can mend.
const HOLD: BackOff = BackOff { first: Duration::from_secs(60), cap: Duration::from_secs(600) };
/// How often rows that still settle and agreed times are looked at.
const TICK: Duration = Duration::from_secs(1);
/// Events that are mirrored at a time.
const MIRRORED: usize = 10_000;
/// How long copying rests after it failed.
const MIRROR_PAUSE: Millis = 60_000;

/// What one step did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing can be sent now.
    Idle,
    /// A batch was settled.
    Settled {
        /// Rows that the receiver has now.
        delivered: usize,
        /// Rows that it will never take.
        refused: usize,
    },
    /// The receiver asks for patience.
    Retry(String),
    /// Somebody must change the configuration.
    Hold(String),
}

/// A row under way.
#[derive(Clone, Debug)]
struct Sent {
    row: RowId,
    noted: u64,
    content: Row,
    uncertain: bool,
}

impl Sent {
    /// Whether the receiver keeps only the later one of the two: they have the same key in the table.
    fn replaces(&self, other: &Sent, table: &ExchangeTable) -> bool {
        table.key.iter().all(|code| {
            let [own, others] = [self, other].map(|sent| sent.content.get(code).map(plain));
            own.is_some() && own == others
        })
    }
}

/// The delivering task.
pub struct Delivery {
    shared: Shared,
    client: Client,
    windows: Windows,
    batch: usize,
    keep: Millis,
    status: Status,
    mirror: Option<ClickHouse>,
    lease: Option<Arc<Lease>>,
    /// After a failed copy the next is not tried before this wall time, so that deliveries go on meanwhile.
    mirror_not_before: AtomicI64,
}

impl Delivery {
    #[allow(clippy::too_many_arguments)] // All of it is this task's alone.
    pub(super) fn new(
        shared: Shared,
        client: Client,
        windows: Windows,
        batch: usize,
        keep: Millis,
        status: Status,
        mirror: Option<ClickHouse>,
        lease: Option<Arc<Lease>>,
    ) -> Self {
        let mirror_not_before = AtomicI64::new(0);
        Delivery { shared, client, windows, batch, keep, status, mirror, lease, mirror_not_before }
    }

    /// Delivers until `stop` turns true. What is owed then is delivered after the next start.
    ///
    /// # Errors
    /// [`Error::Stop`] when the ledger cannot be written.
    pub async fn run(self, mut stop: watch::Receiver<bool>) -> Result<(), Error> {
        let mut attempt = 0;
        while !*stop.borrow() {
            let now = jiff::Timestamp::now().as_millisecond();
            let step = self.step(now).await?;
            self.status.pending(self.shared.ledger().owed_count());
            let wait = match &step {
                Step::Settled { .. } => Duration::ZERO,
                Step::Idle => TICK,
                Step::Retry(_) => RETRY.wait(attempt + 1),
                Step::Hold(_) => HOLD.wait(attempt + 1),
            };
            match &step {
                Step::Retry(detail) | Step::Hold(detail) => {
                    attempt += 1;
                    self.status.failed(detail);
                }
                Step::Settled { .. } => {
                    attempt = 0;
                    self.status.succeeded();
                }
                Step::Idle => {}
            }
            self.mirror(now).await;
            if step == Step::Idle {
                self.compact(now);
                let woken = async {
                    let _ = tokio::time::timeout(wait, self.shared.wake.notified()).await;
                };
                stopped_while(&mut stop, woken).await;
            } else if !wait.is_zero() {
                stopped_while(&mut stop, tokio::time::sleep(wait)).await;
            }
        }
        self.mirror(Millis::MAX).await;
        Ok(())
    }

    /// Whether this process, and no other, may send now.
    fn may_send(&self) -> bool {
        self.lease.as_ref().is_none_or(|lease| lease.held(Instant::now()))
    }

    /// Settles one batch, if there is one to send at this wall time.
    ///
    /// # Errors
    /// [`Error::Stop`] when the ledger cannot be written.
    pub async fn step(&self, now: Millis) -> Result<Step, Error> {
        if !self.windows.open(now) || !self.may_send() {
            return Ok(Step::Idle);
        }
        let Some((table, rows)) = self.next(now) else { return Ok(Step::Idle) };
        let (rows, mut delivered, mut refused) = self.settle_without_sending(table, rows, now).await?;
        let mut batches = if rows.is_empty() { Vec::new() } else { vec![rows] };
        let mut clock_set = false;
        while let Some(rows) = batches.pop() {
            if !self.may_send() {
                return Ok(Step::Idle);
            }
            self.note(&rows, Outcome::Attempted, "", "", now)?;
            // A disk may be slow, and a process that was halted wakes up anywhere.
            if !self.may_send() {
                return Ok(Step::Idle);
            }
            let contents: Vec<&Row> = rows.iter().map(|row| &row.content).collect();
            let mut answer = self.client.push(&table.group, &table.table, &contents, now).await;
            if matches!(answer, Answer::Clock { .. }) && !clock_set {
                clock_set = true;
                answer = self.client.push(&table.group, &table.table, &contents, now).await;
            }
            match answer {
                Answer::Delivered { code } => {
                    self.note(&rows, Outcome::Delivered, &code, "", now)?;
                    delivered += rows.len();
                }
                Answer::Refused { .. } if rows.len() > 1 => {
                    // One bad row spoils the batch: halve it until the bad one stands alone.
                    self.note(
                        &rows,
                        Outcome::Pending,
                        "",
                        "the batch was refused: sent again in halves",
                        now,
                    )?;
                    let (first, second) = rows.split_at(rows.len() / 2);
                    batches.extend([second.to_vec(), first.to_vec()]);
                }
                Answer::Refused { code, detail } => {
                    self.note(&rows, Outcome::Refused, &code, &detail, now)?;
                    refused += rows.len();
                }
                Answer::Retry { code, detail, uncertain } => {
                    let outcome = if uncertain { Outcome::Uncertain } else { Outcome::Pending };
                    self.note(&rows, outcome, &code, &detail, now)?;
                    return Ok(Step::Retry(format!("{}: {code} {detail}", table.table)));
                }
                Answer::Hold { code, detail } => {
                    self.note(&rows, Outcome::Pending, &code, &detail, now)?;
                    return Ok(Step::Hold(format!("{}: {code} {detail}", table.table)));
                }
                Answer::Clock { detail } => {
                    self.note(&rows, Outcome::Pending, "10003", &detail, now)?;
                    let detail = format!("{}: 10003 {detail}; set this machine's clock", table.table);
                    return Ok(Step::Hold(detail));
                }
            }
        }
        Ok(Step::Settled { delivered, refused })
    }

    /// The oldest owed row that has settled, and others of its table behind it.
    fn next(&self, now: Millis) -> Option<(&'static ExchangeTable, Vec<Sent>)> {
        let ledger = self.shared.ledger();
        let tables = Tables::in_force();
        let settled =
            |table: &ExchangeTable, noted_at: Millis| noted_at + Millis::from(table.settle) * 1000 <= now;
        let mut chosen: Option<&'static ExchangeTable> = None;
        let mut rows = Vec::new();
        for (row, entry) in ledger.owed() {
            // The ledger only holds rows of tables of the catalogue, unless an older program wrote it.
            let Some(table) = tables.named(&row.table) else { continue };
            if chosen.is_some_and(|chosen| chosen.table != table.table) || !settled(table, entry.noted_at) {
                continue;
            }
            chosen = Some(table);
            rows.push(Sent {
                row: row.clone(),
                noted: entry.noted,
                content: entry.content.clone(),
                uncertain: entry.event.outcome == Outcome::Uncertain,
            });
            if rows.len() == self.batch {
                break;
            }
        }
        Some((chosen?, rows))
    }

    /// Refuses rows that break the catalogue, and asks the receiver about those whose answer was lost. Returns the
    /// rows to be sent, and how many were delivered before and refused.
    async fn settle_without_sending(
        &self,
        table: &ExchangeTable,
        rows: Vec<Sent>,
        now: Millis,
    ) -> Result<(Vec<Sent>, usize, usize), Error> {
        let (mut to_send, mut delivered, mut refused) = (Vec::new(), 0, 0);
        let mut rows = rows.into_iter();
        while let Some(row) = rows.next() {
            let problems = table.check(&row.content);
            if !problems.is_empty() {
                let detail = problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
                self.note(&[row], Outcome::Refused, "10001", &format!("not sent: {detail}"), now)?;
                refused += 1;
            } else if row.uncertain && self.receiver_has(table, &row, rows.as_slice(), now).await {
                self.note(&[row], Outcome::Delivered, "getdata", "found at the receiver", now)?;
                delivered += 1;
            } else {
                to_send.push(row);
            }
        }
        Ok((to_send, delivered, refused))
    }

    /// Whether the receiver took a row: it has its content, or that of one of the `later` rows that went with it and
    /// took its place.
    async fn receiver_has(&self, table: &ExchangeTable, sent: &Sent, later: &[Sent], now: Millis) -> bool {
        let condition = |key: &String| Some(format!("{key}={}", plain(sent.content.get(key)?)));
        let Some(conditions) = table.key.iter().map(condition).collect::<Option<Vec<_>>>() else {
            return false;
        };
        let found = self.client.query(&table.group, &table.table, &conditions.join(" and "), now).await;
        let later = later.iter().filter(|later| later.uncertain && later.replaces(sent, table));
        let candidates: Vec<&Row> = std::iter::once(sent).chain(later).map(|sent| &sent.content).collect();
        let is = |row: &Row, content: &Row| {
            content.iter().all(|(code, value)| row.get(code).is_some_and(|it| plain(it) == plain(value)))
        };
        found.is_some_and(|rows| rows.iter().any(|row| candidates.iter().any(|content| is(row, content))))
    }

    fn note(
        &self,
        rows: &[Sent],
        outcome: Outcome,
        code: &str,
        detail: &str,
        now: Millis,
    ) -> Result<(), Error> {
        let rows: Vec<(RowId, u64)> = rows.iter().map(|sent| (sent.row.clone(), sent.noted)).collect();
        self.shared.ledger().outcome(&rows, outcome, code, detail, now).map_err(|error| {
            let advice = if is_replaced(&error) { "" } else { "; free or mend the disk" };
            Error::Stop { sink: super::NAME, detail: format!("ledger: {error}{advice}") }
        })
    }

    fn compact(&self, now: Millis) {
        match self.shared.ledger().compact(now - self.keep) {
            Ok(true) => tracing::info!("exchange ledger: rewritten without what was settled long ago"),
            Ok(false) => {}
            Err(error) => tracing::warn!(%error, "exchange ledger: not rewritten, the old file stays"),
        }
    }

    /// Copies the history to ClickHouse; what cannot be copied now is copied later, and by whom the ledger is then.
    async fn mirror(&self, now: Millis) {
        if now < self.mirror_not_before.load(Ordering::Relaxed) || !self.may_send() {
            return;
        }
        loop {
            let (events, rejects) = self.unmirrored();
            let Some(mirror) = self.mirror.as_ref().filter(|_| !events.is_empty()) else {
                self.shared.ledger().mirrored(events.len());
                return;
            };
            let written = match mirror.write_ledger(&events).await {
                Ok(()) => mirror.write(Arc::new(rejects)).await,
                Err(error) => Err(error),
            };
            if let Err(error) = written {
                tracing::warn!(%error, "exchange history is not copied to ClickHouse for now");
                let later = now.saturating_add(MIRROR_PAUSE);
                self.mirror_not_before.store(later, Ordering::Relaxed);
                return;
            }
            self.shared.ledger().mirrored(events.len());
        }
    }

    fn unmirrored(&self) -> (Vec<Event>, Vec<Block>) {
        let ledger = self.shared.ledger();
        let events: Vec<Event> = ledger.unmirrored().iter().take(MIRRORED).cloned().collect();
        let refused = events.iter().filter(|event| event.outcome == Outcome::Refused);
        let rejects = refused.map(|event| {
            let content = ledger.entry(&event.row).map(|entry| entry.content.clone()).unwrap_or_default();
            let reject = Reject {
                at: event.at,
                origin: format!("exchange:{}/{}/{}", event.row.table, event.row.key, event.row.window),
                reason: Reason::Refused,
                detail: format!("{} {}", event.code, event.detail),
                raw: serde_json::to_vec(&content).unwrap_or_default(),
                stage: RejectStage::Sink,
                readings: 0,
            };
            // No block of the dataflow has this bucket.
            Block { epoch: event.sequence, bucket: u16::MAX, rows: Rows::Rejects(vec![reject]) }
        });
        let rejects = rejects.collect();
        (events, rejects)
    }
}

/// A value as both sides write it in conditions: numbers without their kind.
fn plain(value: &serde_json::Value) -> Code {
    match value {
        serde_json::Value::String(text) => Code::from(text.as_str()),
        serde_json::Value::Number(number) => number
            .as_f64()
            .map_or_else(|| Code::from(number.to_string()), |number| Code::from(number.to_string())),
        other => Code::from(other.to_string()),
    }
}
