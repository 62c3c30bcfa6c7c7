//! One connection from its beginning to its end.
//!
//! Enters: messages. Leaves: batches on Kafka, acknowledgements. Guarantees: messages are handed to Kafka in the order
//! in which they came; no more wait than the settings allow, then nothing is read from the broker; a message that Kafka
//! does not confirm is tried again as long as the connection lasts, afterwards the broker sends it again.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use jiff::tz::TimeZone;
use prometheus::IntGauge;
use schemas::Reason;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
};

use super::{
    Backoff, Profiles, Settings,
    link::{Ack, Event, Link, Options},
};
use crate::{
    Error,
    intake::{Intake, Started},
    payload::{Arrival, Batch},
};

/// What every connection needs.
pub struct Shared {
    pub settings: Settings,
    pub options: Options,
    pub profiles: Profiles,
    pub zone: TimeZone,
    pub intake: Intake,
}

/// Bytes are counted in pieces of this many.
const STEP: usize = 4 << 10;

/// Serves one connection; `Ok` after a shutdown.
///
/// # Errors
/// Why the connection has ended.
pub async fn serve(
    shared: &Arc<Shared>,
    shutdown: &mut Pin<&mut impl Future<Output = ()>>,
    connected: &IntGauge,
    backoff: &mut Backoff,
) -> Result<(), String> {
    let mut session = Session {
        link: Link::open(&shared.options),
        messages: Arc::new(Semaphore::new(shared.options.receive_maximum.into())),
        bytes: Arc::new(Semaphore::new((shared.settings.max_buffered / STEP).max(1))),
        open: Open(Arc::new(AtomicBool::new(true))),
        tasks: JoinSet::new(),
        shared: Arc::clone(shared),
    };
    loop {
        tokio::select! {
            () = &mut *shutdown => break,
            event = session.link.next(&shared.options.filters) => session.on(event?, connected, backoff)?,
        }
        // Outside of the select: a message must find its place before the next is read.
        tokio::select! {
            () = &mut *shutdown => break,
            () = session.room() => {}
        }
    }
    session.finish().await;
    Ok(())
}

struct Session {
    link: Link,
    messages: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    open: Open,
    tasks: JoinSet<()>,
    shared: Arc<Shared>,
}

/// False once the connection has ended.
struct Open(Arc<AtomicBool>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

impl Session {
    fn on(&mut self, event: Event, connected: &IntGauge, backoff: &mut Backoff) -> Result<(), String> {
        let broker = self.shared.options.address.to_string();
        match event {
            Event::Connected { session_present } => {
                tracing::info!(broker, session_present, "mqtt connected");
                self.link.subscribe(&self.shared.options.filters)?;
            }
            Event::Subscribed { refused } if refused.is_empty() => {
                connected.set(1);
                *backoff = Backoff::default();
                tracing::info!(broker, filters = ?self.shared.options.filters, "mqtt subscribed");
            }
            Event::Subscribed { refused } => {
                return Err(format!("the broker refuses to subscribe {}", refused.join(", ")));
            }
            Event::Message { topic, payload, ack } => self.take(topic, payload, ack),
            Event::Other => {}
        }
        Ok(())
    }

    /// Waits until another message of any size may be taken.
    async fn room(&mut self) {
        while self.tasks.try_join_next().is_some() {}
        let pieces = self.pieces(self.shared.settings.max_payload);
        while self.messages.available_permits() == 0 || self.bytes.available_permits() < pieces as usize {
            if self.tasks.join_next().await.is_none() {
                return;
            }
        }
    }

    /// The share of the budget that so many bytes take; the whole budget when they are more.
    fn pieces(&self, bytes: usize) -> u32 {
        let all = (self.shared.settings.max_buffered / STEP).max(1);
        u32::try_from(bytes.div_ceil(STEP).min(all)).unwrap_or(u32::MAX)
    }

    /// Hands a message to Kafka, and leaves waiting to a task of its own.
    fn take(&mut self, topic: String, payload: Bytes, ack: Ack) {
        let pieces = self.pieces(payload.len().min(self.shared.settings.max_payload));
        // `room` has made sure of both.
        let held = (
            Arc::clone(&self.messages).try_acquire_owned().ok(),
            Arc::clone(&self.bytes).try_acquire_many_owned(pieces).ok(),
        );
        let message = Message { topic, payload, at: jiff::Timestamp::now().as_millisecond() };
        let started = message.start(&self.shared);
        let (shared, open) = (Arc::clone(&self.shared), Arc::clone(&self.open.0));
        self.tasks.spawn(async move {
            if message.store(started, &shared, &open).await {
                ack.send();
            }
            drop::<(Option<OwnedSemaphorePermit>, Option<OwnedSemaphorePermit>)>(held);
        });
    }

    /// Finishes what was begun, for at most 15 s, then parts. Messages that arrive meanwhile are left to the broker.
    async fn finish(mut self) {
        let deadline = tokio::time::sleep(Duration::from_secs(15));
        tokio::pin!(deadline);
        loop {
            tokio::select! {
                () = &mut deadline => {
                    tracing::warn!("messages were not stored in time, the broker will send them again");
                    break;
                }
                done = self.tasks.join_next() => if done.is_none() { break },
                event = self.link.next(&[]) => if event.is_err() { return },
            }
        }
        self.link.close().await;
    }
}

/// A message that is being stored.
struct Message {
    topic: String,
    payload: Bytes,
    at: i64,
}

impl Message {
    fn start(&self, shared: &Shared) -> Result<Started, Error> {
        let arrival = Arrival {
            at: self.at,
            origin: format!("mqtt:{}", self.topic),
            zone: shared.zone.clone(),
            accept_received_at: shared.settings.accept_received_at,
            facility: None,
            device: None,
        };
        let limit = shared.settings.max_payload;
        let (mut batch, arrival) = if self.payload.len() > limit {
            let detail = format!("the payload has {} bytes, {limit} are allowed", self.payload.len());
            (Batch::unreadable(&self.payload, Reason::TooLarge, detail), arrival)
        } else {
            shared.profiles.parse(&self.topic, &self.payload, arrival)
        };
        shared.intake.start(&mut batch, &arrival, "mqtt")
    }

    /// Waits for Kafka, again and again; false when the connection ended before.
    async fn store(&self, mut started: Result<Started, Error>, shared: &Shared, open: &AtomicBool) -> bool {
        let mut backoff = Backoff::default();
        loop {
            let error = match started {
                Ok(started) => match started.confirmed().await {
                    Ok(_) => return true,
                    Err(error) => error,
                },
                Err(error) => error,
            };
            if matches!(error, Error::Refused { .. } | Error::Schemas(_)) {
                return self.refuse(&error, shared).await;
            }
            if !open.load(Ordering::Relaxed) {
                return false;
            }
            tracing::debug!(%error, topic = self.topic, "a message is not stored yet");
            tokio::time::sleep(backoff.next()).await;
            started = self.start(shared);
        }
    }

    /// Stores the message as one reject, when Kafka will never take what is in it.
    async fn refuse(&self, error: &Error, shared: &Shared) -> bool {
        let batch = Batch::unreadable(&self.payload, Reason::Refused, error.to_string());
        let arrival = Arrival {
            at: self.at,
            origin: format!("mqtt:{}", self.topic),
            zone: shared.zone.clone(),
            accept_received_at: false,
            facility: None,
            device: None,
        };
        match shared.intake.reject(&batch, &arrival).await {
            Ok(()) => true,
            Err(second) => {
                tracing::error!(%error, %second, topic = self.topic, "a message can be stored in no form, it stays at the broker");
                false
            }
        }
    }
}
