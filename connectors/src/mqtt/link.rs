//! One connection to a broker, in either version of MQTT.
//!
//! Enters: what the broker sends. Leaves: [`Event`]s; acknowledgements and subscriptions go the other way. Guarantees:
//! sender and receiver are of one connection, which is never made again, so an acknowledgement cannot reach a later one,
//! where the same packet number may mean another message.

use bytes::Bytes;

/// Where the broker is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    pub host: String,
    pub port: u16,
    pub tls: bool,
    /// MQTT 5, else 3.1.1.
    pub five: bool,
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// How to connect.
pub struct Options {
    pub address: Address,
    pub client_id: String,
    pub credentials: Option<(String, Vec<u8>)>,
    pub authority: Option<Vec<u8>>,
    pub session_expiry: u32,
    pub receive_maximum: u16,
    pub keep_alive: u16,
    pub filters: Vec<String>,
}

/// What happens on a link.
pub enum Event {
    /// The broker has accepted the connection.
    Connected {
        /// It has kept the session of an earlier one.
        session_present: bool,
    },
    /// The broker has answered the subscription.
    Subscribed {
        /// Filters it refuses.
        refused: Vec<String>,
    },
    /// A message.
    Message {
        /// Its topic.
        topic: String,
        /// Its payload.
        payload: Bytes,
        /// What acknowledges it.
        ack: Ack,
    },
    /// Anything else.
    Other,
}

/// The number of a message, to acknowledge it on the connection that brought it.
#[derive(Debug)]
pub enum Ack {
    Five(rumqttc::ManualAck),
    Four(rumqttc_v4::ManualAck),
    /// QoS 0.
    None,
}

/// What a connection is told.
pub enum Sender {
    Five(rumqttc::AsyncClient),
    Four(rumqttc_v4::AsyncClient),
}

/// What a connection says. It also sends what the [`Sender`] has queued, and signs of life, so it must be waited for.
pub struct Receiver {
    source: Source,
    filters: Vec<String>,
}

enum Source {
    Five(rumqttc::AsyncClient, Box<rumqttc::EventLoop>),
    Four(rumqttc_v4::AsyncClient, Box<rumqttc_v4::EventLoop>),
}

/// The greatest packet that MQTT has. Payloads have a limit of their own, which makes them rejects; a packet refused
/// here would be sent again for ever.
const MAX_PACKET: u32 = 268_435_455;
/// Packets that the library hands over at one go. Of several it would keep those that came just before the end of the
/// connection to itself; a broker that was killed may not have them any more.
const READ_AT_ONCE: usize = 1;

/// Prepares a connection; it is made by the first call of [`Receiver::next`].
pub fn open(options: &Options) -> (Sender, Receiver) {
    // Every acknowledgement and one subscription fit, so that queueing never waits for the broker.
    let capacity = usize::from(options.receive_maximum) + 16;
    let filters = options.filters.clone();
    if options.address.five {
        let (client, events) = rumqttc::AsyncClient::builder(five(options)).capacity(capacity).build();
        let source = Source::Five(client.clone(), Box::new(events));
        (Sender::Five(client), Receiver { source, filters })
    } else {
        let (client, events) = rumqttc_v4::AsyncClient::builder(four(options)).capacity(capacity).build();
        let source = Source::Four(client.clone(), Box::new(events));
        (Sender::Four(client), Receiver { source, filters })
    }
}

impl Receiver {
    /// Waits for what happens next. The receiver goes along: a wait that is given up half way could lose what the
    /// library has begun to send.
    ///
    /// The error says why the connection has ended; nothing comes after it.
    pub async fn next(mut self) -> (Receiver, Result<Event, String>) {
        let event = match &mut self.source {
            Source::Five(client, events) => match events.poll().await {
                Ok(event) => Ok(event_five(client, event, &self.filters)),
                Err(error) => Err(error.to_string()),
            },
            Source::Four(client, events) => match events.poll().await {
                Ok(event) => Ok(event_four(client, event, &self.filters)),
                Err(error) => Err(error.to_string()),
            },
        };
        (self, event)
    }
}

impl Sender {
    /// Queues an acknowledgement; when the connection is gone, there is nobody to tell.
    pub fn acknowledge(&self, ack: Ack) {
        let lost = match (self, ack) {
            (Sender::Five(client), Ack::Five(ack)) => client.try_manual_ack(ack).err().map(|e| e.to_string()),
            (Sender::Four(client), Ack::Four(ack)) => client.try_manual_ack(ack).err().map(|e| e.to_string()),
            _ => None,
        };
        if let Some(error) = lost {
            tracing::debug!(error, "a message was not acknowledged, the broker will send it again");
        }
    }

    /// Asks for the filters, QoS 1.
    ///
    /// # Errors
    /// A filter that the library refuses.
    pub fn subscribe(&self, filters: &[String]) -> Result<(), String> {
        match self {
            Sender::Five(client) => {
                let filters = filters
                    .iter()
                    .map(|f| rumqttc::SubscribeFilter::new(f.clone(), rumqttc::QoS::AtLeastOnce));
                client.try_subscribe_many(filters).map_err(|error| error.to_string())
            }
            Sender::Four(client) => {
                let filter =
                    |f: &String| rumqttc_v4::SubscribeFilter::new(f.clone(), rumqttc_v4::QoS::AtLeastOnce);
                client.try_subscribe_many(filters.iter().map(filter)).map_err(|error| error.to_string())
            }
        }
    }

    /// Asks to part from the broker once everything queued is sent; the session stays. False when that is not possible.
    pub fn part(&self) -> bool {
        match self {
            Sender::Five(client) => client.try_disconnect().is_ok(),
            Sender::Four(client) => client.try_disconnect().is_ok(),
        }
    }
}

fn event_five(client: &rumqttc::AsyncClient, event: rumqttc::Event, filters: &[String]) -> Event {
    use rumqttc::{Packet, SubscribeReasonCode};
    let rumqttc::Event::Incoming(packet) = event else { return Event::Other };
    match packet {
        Packet::ConnAck(answer) => Event::Connected { session_present: answer.session_present },
        Packet::SubAck(answer) => Event::Subscribed {
            refused: filters
                .iter()
                .zip(&answer.return_codes)
                .filter(|(_, code)| !matches!(code, SubscribeReasonCode::Success(_)))
                .map(|(filter, code)| format!("{filter} ({code:?})"))
                .collect(),
        },
        Packet::Publish(publish) => Event::Message {
            topic: String::from_utf8_lossy(&publish.topic).into_owned(),
            ack: client.prepare_ack(&publish).map_or(Ack::None, Ack::Five),
            payload: publish.payload,
        },
        _ => Event::Other,
    }
}

fn event_four(client: &rumqttc_v4::AsyncClient, event: rumqttc_v4::Event, filters: &[String]) -> Event {
    use rumqttc_v4::{Packet, SubscribeReasonCode};
    let rumqttc_v4::Event::Incoming(packet) = event else { return Event::Other };
    match packet {
        Packet::ConnAck(answer) => Event::Connected { session_present: answer.session_present },
        Packet::SubAck(answer) => Event::Subscribed {
            refused: filters
                .iter()
                .zip(&answer.return_codes)
                .filter(|(_, code)| !matches!(code, SubscribeReasonCode::Success(_)))
                .map(|(filter, _)| filter.clone())
                .collect(),
        },
        Packet::Publish(publish) => Event::Message {
            topic: String::from_utf8_lossy(&publish.topic).into_owned(),
            ack: client.prepare_ack(&publish).map_or(Ack::None, Ack::Four),
            payload: publish.payload,
        },
        _ => Event::Other,
    }
}

fn five(options: &Options) -> rumqttc::MqttOptions {
    let address = (options.address.host.clone(), options.address.port);
    let mut five = rumqttc::MqttOptions::new(options.client_id.clone(), address);
    five.set_keep_alive(options.keep_alive);
    five.set_clean_start(false);
    five.set_session_expiry_interval(Some(options.session_expiry));
    // The broker alone keeps the session: here every message is either acknowledged or will come again.
    five.set_broker_session_resume_policy(rumqttc::BrokerSessionResumePolicy::AllowBrokerOnly);
    five.set_receive_maximum(Some(options.receive_maximum));
    five.set_incoming_packet_size_limit(rumqttc::IncomingPacketSizeLimit::Bytes(MAX_PACKET));
    five.set_ack_mode(rumqttc::AckMode::Manual);
    // Acknowledgements that wait go out together, with one call of the system.
    five.set_max_request_batch(options.receive_maximum.into());
    five.set_read_batch_size(READ_AT_ONCE);
    if let Some((name, password)) = &options.credentials {
        five.set_credentials(name.clone(), password.clone());
    }
    if options.address.tls {
        five.set_transport(rumqttc::Transport::tls_with_config(match &options.authority {
            Some(ca) => rumqttc::TlsConfiguration::SimpleNative { ca: ca.clone(), client_auth: None },
            None => rumqttc::TlsConfiguration::Native,
        }));
    }
    five
}

fn four(options: &Options) -> rumqttc_v4::MqttOptions {
    let address = (options.address.host.clone(), options.address.port);
    let mut four = rumqttc_v4::MqttOptions::new(options.client_id.clone(), address);
    four.set_keep_alive(options.keep_alive);
    four.set_clean_session(false);
    four.set_max_packet_size(MAX_PACKET as usize, MAX_PACKET as usize);
    four.set_ack_mode(rumqttc_v4::AckMode::Manual);
    four.set_max_request_batch(options.receive_maximum.into());
    four.set_read_batch_size(READ_AT_ONCE);
    if let Some((name, password)) = &options.credentials {
        four.set_credentials(name.clone(), password.clone());
    }
    if options.address.tls {
        four.set_transport(rumqttc_v4::Transport::tls_with_config(match &options.authority {
            Some(ca) => rumqttc_v4::TlsConfiguration::SimpleNative { ca: ca.clone(), client_auth: None },
            None => rumqttc_v4::TlsConfiguration::Native,
        }));
    }
    four
}
