//! One connection from its beginning to its end.
//!
//! Enters: messages. Leaves: groups of them on Kafka, acknowledgements. Guarantees: messages are handed to Kafka in the
//! order in which they came, and acknowledged in that order once Kafka has confirmed them; no more wait than the settings
//! allow, then nothing is read from the broker; what Kafka does not confirm is tried again, also when the connection is
//! lost meanwhile: a broker that was killed may not have it any more.

use std::{collections::VecDeque, future::Future, pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use jiff::tz::TimeZone;
use prometheus::IntGauge;
use schemas::Reason;
use tokio::task::JoinHandle;

use super::{
    Failed, Profiles, Settings,
    link::{self, Ack, Event, Options, Sender},
};
use crate::{
    Error,
    intake::{Intake, Load, Started},
    payload::{Arrival, Batch},
    telemetry,
};

/// What every connection needs.
pub struct Shared {
    pub settings: Settings,
    pub options: Options,
    pub profiles: Profiles,
    pub zone: TimeZone,
    pub intake: Intake,
}

/// How many messages go to Kafka together at most: what has arrived by then, nothing is waited for.
const GROUP: usize = 256;
/// How long what was begun may take after a shutdown, and the parting from the broker.
const FINISHING: Duration = Duration::from_secs(15);
const PARTING: Duration = Duration::from_secs(2);

/// How a connection has ended.
pub enum End {
    /// By itself: another is made.
    Lost,
    /// With the process.
    Shutdown,
}

/// Serves one connection.
pub async fn serve(
    shared: &Arc<Shared>,
    shutdown: &mut Pin<&mut impl Future<Output = ()>>,
    connected: &IntGauge,
    failed: &mut Failed,
    kept: &mut Kept,
) -> End {
    let (sender, receiver) = link::open(&shared.options);
    let mut session = Session { shared: Arc::clone(shared), sender, waiting: Waiting::default() };
    let mut arrived = Vec::new();
    let mut next = std::pin::pin!(receiver.next());
    let lost = loop {
        tokio::select! {
            biased;
            () = &mut *shutdown => break None,
            acks = session.waiting.first() => session.acknowledge(acks),
            (receiver, event) = &mut next, if arrived.len() < GROUP && session.has_room() => {
                next.set(receiver.next());
                match event.and_then(|event| session.on(event, connected, failed, kept)) {
                    Ok(message) => arrived.extend(message),
                    Err(detail) => break Some(detail),
                }
            }
            // Nothing more is there at this moment.
            () = std::future::ready(()), if !arrived.is_empty() => session.take(std::mem::take(&mut arrived)),
        }
    };
    connected.set(0);
    if let Some(detail) = lost {
        tracing::warn!(broker = %shared.options.address, detail, "mqtt connection ended");
        session.take(arrived);
        let mut end = End::Lost;
        let deadline = async {
            shutdown.await;
            end = End::Shutdown;
            tokio::time::sleep(FINISHING).await;
        };
        session.store_until(deadline).await;
        return end;
    }
    // What was begun is finished. Messages that were not begun are left to the broker, as those that arrive meanwhile.
    let deadline = tokio::time::sleep(FINISHING);
    tokio::pin!(deadline);
    while session.waiting.begun() {
        tokio::select! {
            () = &mut deadline => {
                tracing::warn!("messages were not stored in time, the broker will send them again");
                break;
            }
            acks = session.waiting.first() => session.acknowledge(acks),
            (receiver, event) = &mut next => match event {
                Ok(_) => next.set(receiver.next()),
                Err(_) => {
                    session.store_until(deadline).await;
                    return End::Shutdown;
                }
            },
        }
    }
    if session.sender.part() {
        let parting = async {
            while let (receiver, Ok(_)) = (&mut next).await {
                next.set(receiver.next());
            }
        };
        let _ = tokio::time::timeout(PARTING, parting).await;
    }
    End::Shutdown
}

/// Whether the broker must have kept the session of an earlier connection of this process.
#[derive(Debug, Default)]
pub struct Kept(bool);

impl Kept {
    /// A subscription stands: the broker keeps for it what comes while we are away.
    fn subscribed(&mut self) {
        self.0 = true;
    }

    /// Whether a session is lost that was expected; never one that the broker was not asked to keep.
    fn is_lost(&self, session_present: bool, options: &Options) -> bool {
        let asked = !options.address.five || options.session_expiry > 0;
        self.0 && asked && !session_present
    }

    fn connected(&mut self, session_present: bool, broker: &str, options: &Options) {
        if self.is_lost(session_present, options) {
            telemetry::MQTT_SESSION_LOST.with_label_values(&[broker]).inc();
            tracing::warn!(
                broker,
                client_id = options.client_id,
                "the broker has lost the mqtt session: messages that came while it was away or since the connection was \
                 lost are gone unless devices send them again; look whether the broker was restarted without \
                 persistence, session_expiry is too short, or another client has the same client_id"
            );
        }
        self.0 |= session_present;
    }
}

struct Session {
    shared: Arc<Shared>,
    sender: Sender,
    waiting: Waiting,
}

impl Session {
    /// Takes in what has happened; gives the message, if it is one.
    fn on(
        &mut self,
        event: Event,
        connected: &IntGauge,
        failed: &mut Failed,
        kept: &mut Kept,
    ) -> Result<Option<Message>, String> {
        let broker = self.shared.options.address.to_string();
        match event {
            Event::Connected { session_present } => {
                tracing::info!(broker, session_present, "mqtt connected");
                kept.connected(session_present, &broker, &self.shared.options);
                if session_present {
                    // The broker kept the subscriptions too; in MQTT 5 the library then asks for none, and none is answered.
                    connected.set(1);
                    *failed = Failed::default();
                }
                self.sender.subscribe(&self.shared.options.filters)?;
            }
            Event::Subscribed { refused } if refused.is_empty() => {
                connected.set(1);
                *failed = Failed::default();
                kept.subscribed();
                tracing::info!(broker, filters = ?self.shared.options.filters, "mqtt subscribed");
            }
            Event::Subscribed { refused } => {
                return Err(format!("the broker refuses to subscribe {}", refused.join(", ")));
            }
            Event::Message { topic, payload, ack } => {
                self.waiting.add(payload.len());
                return Ok(Some(Message::new(topic, payload, ack)));
            }
            Event::Other => {}
        }
        Ok(None)
    }

    /// Whether another message of any size may be taken.
    fn has_room(&self) -> bool {
        let settings = &self.shared.settings;
        self.waiting.messages < usize::from(settings.receive_maximum)
            && self.waiting.bytes + settings.max_payload <= settings.max_buffered
    }

    /// Hands messages to Kafka, and leaves waiting to a task.
    fn take(&mut self, messages: Vec<Message>) {
        let (shared, size) = (Arc::clone(&self.shared), Size::of(&messages));
        let started = start(&shared, &messages);
        let task = tokio::spawn(async move { store(&shared, messages, started).await });
        self.waiting.groups.push_back(Group { task, size });
    }

    /// Waits until Kafka has everything that a lost connection has brought: nobody can be told, and a broker that was killed
    /// may not have it any more.
    async fn store_until(mut self, deadline: impl Future<Output = ()>) {
        let stored = async {
            while self.waiting.begun() {
                self.waiting.first().await;
                self.waiting.remove_first();
            }
        };
        tokio::select! {
            () = stored => {}
            () = deadline => tracing::warn!("messages of a lost connection were not stored in time"),
        }
    }

    /// Acknowledges what the first group has come to, which no longer waits.
    fn acknowledge(&mut self, acks: Vec<Ack>) {
        self.waiting.remove_first();
        acks.into_iter().for_each(|ack| self.sender.acknowledge(ack));
    }
}

/// Messages that are not acknowledged.
#[derive(Default)]
struct Waiting {
    messages: usize,
    bytes: usize,
    /// Those that Kafka was given, the oldest first.
    groups: VecDeque<Group>,
}

/// Messages that Kafka was given together.
struct Group {
    task: JoinHandle<Vec<Ack>>,
    size: Size,
}

#[derive(Clone, Copy)]
struct Size {
    messages: usize,
    bytes: usize,
}

impl Size {
    fn of(messages: &[Message]) -> Size {
        Size { messages: messages.len(), bytes: messages.iter().map(|message| message.payload.len()).sum() }
    }
}

impl Waiting {
    fn add(&mut self, bytes: usize) {
        self.messages += 1;
        self.bytes += bytes;
    }

    /// Whether Kafka was given messages.
    fn begun(&self) -> bool {
        !self.groups.is_empty()
    }

    /// Waits until the first group is stored; for ever when there is none. The caller may give up and come again.
    async fn first(&mut self) -> Vec<Ack> {
        match self.groups.front_mut() {
            // A task ends early only with the session.
            Some(group) => (&mut group.task).await.unwrap_or_default(),
            None => std::future::pending().await,
        }
    }

    fn remove_first(&mut self) {
        if let Some(group) = self.groups.pop_front() {
            self.messages -= group.size.messages;
            self.bytes -= group.size.bytes;
        }
    }
}

impl Drop for Waiting {
    /// What is not stored by now is left to the broker, which will send it again.
    fn drop(&mut self) {
        self.groups.iter().for_each(|group| group.task.abort());
    }
}

/// A message that is not acknowledged.
struct Message {
    topic: String,
    payload: Bytes,
    ack: Ack,
    at: i64,
}

impl Message {
    fn new(topic: String, payload: Bytes, ack: Ack) -> Message {
        Message { topic, payload, ack, at: jiff::Timestamp::now().as_millisecond() }
    }

    fn arrival(&self, shared: &Shared) -> Arrival {
        Arrival {
            at: self.at,
            origin: format!("mqtt:{}", self.topic),
            zone: shared.zone.clone(),
            decimal: None,
            accept_received_at: shared.settings.accept_received_at,
            backfill: shared.settings.backfill,
            facility: None,
            device: None,
        }
    }

    fn parse(&self, shared: &Shared) -> (Batch, Arrival) {
        let (arrival, limit) = (self.arrival(shared), shared.settings.max_payload);
        if self.payload.len() <= limit {
            return shared.profiles.parse(&self.topic, &self.payload, arrival);
        }
        let detail = format!("the payload has {} bytes, {limit} are allowed", self.payload.len());
        (Batch::unreadable(&self.payload, Reason::TooLarge, detail), arrival)
    }

    /// Stores the message as one reject, when Kafka will never take what is in it.
    async fn refuse(self, error: &Error, shared: &Shared) -> Option<Ack> {
        let batch = Batch::unreadable(&self.payload, Reason::Refused, error.to_string());
        match shared.intake.reject(&batch, &self.arrival(shared)).await {
            Ok(()) => Some(self.ack),
            Err(second) => {
                tracing::error!(%error, %second, topic = self.topic, "a message can be stored in no form, it stays at the broker");
                None
            }
        }
    }
}

/// Hands messages to Kafka together.
fn start(shared: &Shared, messages: &[Message]) -> Result<Started, Error> {
    let mut load = Load::for_records(messages.len());
    for message in messages {
        let (mut batch, arrival) = message.parse(shared);
        shared.intake.load(&mut batch, &arrival, &mut load)?;
    }
    shared.intake.send(&load, "mqtt")
}

/// Waits for Kafka, again and again; gives what may be acknowledged then.
async fn store(shared: &Shared, messages: Vec<Message>, mut started: Result<Started, Error>) -> Vec<Ack> {
    let mut failed = Failed::default();
    loop {
        let error = match started {
            Ok(started) => match started.confirmed().await {
                Ok(_) => return messages.into_iter().map(|message| message.ack).collect(),
                Err(error) => error,
            },
            Err(error) => error,
        };
        if matches!(error, Error::Refused { .. } | Error::Schemas(_)) {
            return store_alone(shared, messages, &error).await;
        }
        tracing::debug!(%error, messages = messages.len(), "messages are not stored yet");
        tokio::time::sleep(failed.again()).await;
        started = start(shared, &messages);
    }
}

/// Stores each message for itself, since Kafka will never take what is in one of them.
async fn store_alone(shared: &Shared, mut messages: Vec<Message>, error: &Error) -> Vec<Ack> {
    if messages.len() > 1 {
        let mut acks = Vec::with_capacity(messages.len());
        for message in messages {
            let message = vec![message];
            let started = start(shared, &message);
            acks.extend(Box::pin(store(shared, message, started)).await);
        }
        return acks;
    }
    match messages.pop() {
        Some(message) => message.refuse(error, shared).await.into_iter().collect(),
        None => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case::first_start(true, 3_600, false, false, false)]
    #[case::broker_forgot(true, 3_600, true, false, true)]
    #[case::broker_kept(true, 3_600, true, true, false)]
    #[case::never_to_be_kept(true, 0, true, false, false)]
    #[case::version_four_has_no_expiry(false, 0, true, false, true)]
    fn a_session_is_lost_only_where_one_was_expected(
        #[case] five: bool,
        #[case] session_expiry: u32,
        #[case] subscribed: bool,
        #[case] present: bool,
        #[case] lost: bool,
    ) {
        let options = Options {
            address: link::Address { host: "broker".to_owned(), port: 1_883, tls: false, five },
            client_id: "nuanliu".to_owned(),
            credentials: None,
            authority: None,
            session_expiry,
            receive_maximum: 10,
            keep_alive: 30,
            filters: Vec::new(),
        };
        let mut kept = Kept::default();
        if subscribed {
            kept.subscribed();
        }
        assert_eq!(kept.is_lost(present, &options), lost);
    }
}
