//! The `[http]` section.

use std::{net::SocketAddr, time::Duration};

use jiff::tz::TimeZone;
use schemars::JsonSchema;
use schemas::{Millis, time};
use serde::Deserialize;

use super::{
    body::{Pace, Windows},
    line::Patience,
};
use crate::Error;

/// The `[http]` section.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Address and port to listen on; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The greatest body in bytes, also after decompression.
    pub max_body: usize,
    /// Requests that are worked on at once, from the end of their body to their answer; more are answered 429.
    pub max_requests: usize,
    /// Bytes of bodies held at once over all requests; more are answered 429.
    pub max_buffered: usize,
    /// Connections that may be open at once. When all are taken, the one that has waited longest for a request gives its
    /// place; when none waits, a new one is answered 503.
    pub max_connections: usize,
    /// The same of one address (of IPv6 a network of 64 bits); more are answered 429. Behind a proxy, whose address all
    /// senders have, as many as in all.
    pub max_connections_per_address: usize,
    /// Open files that connections leave to state and sinks: of the limit of the process (RLIMIT_NOFILE) the rest is for
    /// connections, also when it is less than `max_connections`.
    pub descriptors_reserved: usize,
    /// How long the head of a request may take to arrive, s.
    pub head_timeout: u64,
    /// How long a connection may be silent between two requests, s.
    pub idle_timeout: u64,
    /// How long a body may take to arrive, s; 408 then.
    pub body_timeout: u64,
    /// The least rate at which a body may arrive, bytes/s, over each third of `body_timeout`; 408 when it is slower.
    pub body_rate: usize,
    /// How long the sender may take to read an answer, s.
    pub answer_timeout: u64,
    /// The time zone of times without offset, as in the IANA database.
    pub time_zone: String,
    /// Whether a record's own `received_at` counts: for replays and simulations only.
    pub accept_received_at: bool,
    /// How long before its arrival a record may have been measured, ms: `rules.backfill_days`.
    #[serde(skip)]
    pub backfill: Millis,
    /// When not empty, a request must carry one of these as bearer token.
    pub tokens: Vec<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            max_body: 16 << 20,
            max_requests: 256,
            max_buffered: 128 << 20,
            max_connections: 4_096,
            max_connections_per_address: 1_024,
            descriptors_reserved: 256,
            head_timeout: 10,
            idle_timeout: 75,
            body_timeout: 30,
            body_rate: 256,
            answer_timeout: 30,
            time_zone: "Asia/Shanghai".to_owned(),
            accept_received_at: false,
            backfill: time::BACKFILL,
            tokens: Vec::new(),
        }
    }
}

/// No time-out is longer, s.
const LONGEST: u64 = 3_600;

impl Settings {
    /// Checks what can be checked without listening; one line per problem, naming the key.
    #[must_use]
    pub fn validate(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.max_body == 0 || self.max_requests == 0 {
            problems.push("max_body: max_body and max_requests must be at least 1".to_owned());
        }
        if self.max_buffered < self.max_body {
            problems.push(format!("max_buffered: must be at least max_body, {}", self.max_body));
        }
        if !(1..=self.max_connections).contains(&self.max_connections_per_address) {
            let most = self.max_connections;
            problems
                .push(format!("max_connections_per_address: must be between 1 and max_connections, {most}"));
        }
        if self.descriptors_reserved < 64 {
            let why = "Kafka, store and state need them";
            problems.push(format!("descriptors_reserved: must be at least 64: {why}"));
        }
        problems.extend(self.wrong_times());
        if self.windows().least > self.max_body {
            let most = self.max_body;
            problems
                .push(format!("body_rate: asks for more than max_body, {most}, in a third of body_timeout"));
        }
        if self.tokens.iter().any(|token| token.trim().is_empty()) {
            problems.push("tokens: a token is empty".to_owned());
        }
        problems.extend(self.zone().err().map(Error::problem));
        problems
    }

    fn wrong_times(&self) -> impl Iterator<Item = String> {
        let times = [
            ("head_timeout", self.head_timeout),
            ("idle_timeout", self.idle_timeout),
            ("body_timeout", self.body_timeout),
            ("answer_timeout", self.answer_timeout),
        ];
        let wrong = times.into_iter().filter(|(_, seconds)| !(1..=LONGEST).contains(seconds));
        wrong.map(|(name, _)| format!("{name}: must be between 1 and {LONGEST} s"))
    }

    /// The zone of times without offset.
    pub(super) fn zone(&self) -> Result<TimeZone, Error> {
        TimeZone::get(&self.time_zone)
            .map_err(|error| Error::Setting { name: "time_zone".to_owned(), detail: error.to_string() })
    }

    /// How long a connection may wait for its peer.
    pub(super) fn patience(&self) -> Patience {
        let seconds = Duration::from_secs;
        Patience {
            head: seconds(self.head_timeout),
            idle: seconds(self.idle_timeout),
            answer: seconds(self.answer_timeout),
        }
    }

    /// How fast a body must arrive, from now on.
    pub(super) fn pace(&self) -> Pace {
        Pace::new(self.windows())
    }

    fn windows(&self) -> Windows {
        Windows::new(Duration::from_secs(self.body_timeout), self.body_rate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str) -> Result<(), String> {
        let settings: Settings = toml::from_str(text).map_err(|error| error.to_string())?;
        Error::of_settings("http", &settings.validate()).map_err(|error| error.to_string())
    }

    #[rstest::rstest]
    #[case("max_body = 0", "max_body")]
    #[case("max_buffered = 1", "at least max_body")]
    #[case("max_connections = 0", "max_connections_per_address")]
    #[case("max_connections_per_address = 5000", "between 1 and max_connections, 4096")]
    #[case("max_connections_per_address = 0", "between 1 and max_connections")]
    #[case("descriptors_reserved = 3", "at least 64")]
    #[case("head_timeout = 0", "head_timeout: must be between 1 and 3600 s")]
    #[case("idle_timeout = 100000", "idle_timeout")]
    #[case("answer_timeout = 0", "answer_timeout")]
    #[case("body_timeout = 0", "body_timeout")]
    #[case("body_rate = 10000000", "body_rate: asks for more than max_body")]
    #[case("tokens = [' ']", "a token is empty")]
    #[case("time_zone = 'Mars'", "time_zone")]
    #[case("max_connection = 1", "unknown field")]
    fn wrong_settings_are_named(#[case] text: &str, #[case] detail: &str) {
        let error = settings(text).unwrap_err();
        assert!(error.contains(detail), "{error}");
    }

    #[test]
    fn all_problems_are_named_at_once() {
        let wrong: Settings = toml::from_str("max_buffered = 1\nhead_timeout = 0\nidle_timeout = 0").unwrap();
        let keys: Vec<String> =
            wrong.validate().iter().map(|line| line.split(':').next().unwrap().to_owned()).collect();
        assert_eq!(keys, ["max_buffered", "head_timeout", "idle_timeout"]);
    }

    #[test]
    fn the_defaults_are_right() {
        assert_eq!(settings(""), Ok(()));
        assert_eq!(settings("body_rate = 0\nmax_connections = 1\nmax_connections_per_address = 1"), Ok(()));
    }
}
