//! The HTTP connector.
//!
//! Enters: reports (native JSON, NDJSON, SenML) and events, gzip or plain. Leaves: records on Kafka, and one answer per
//! request that says per record what was accepted and what was not, and why. Guarantees: 202 only after Kafka's delivery
//! report of everything in the request; memory is bounded whatever is sent; a request that cannot be taken now is
//! answered 429 or 503 with Retry-After and may be repeated as it is.

use std::{
    future::Future,
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};

use axum::{
    Router,
    extract::Request,
    middleware::{Next, from_fn},
    response::Response,
    routing::{get, post},
};
use jiff::tz::TimeZone;
use serde::Deserialize;
use tokio::{
    net::TcpListener,
    sync::{Semaphore, oneshot},
};

use crate::{Error, intake::Intake, telemetry::telemetry};

mod answer;
mod body;
mod intake;
mod openapi;
mod status;

pub use openapi::document;

/// The `[http]` section.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Address and port to listen on; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The greatest body in bytes, also after decompression.
    pub max_body: usize,
    /// Requests that are worked on at once; more are answered 429.
    pub max_requests: usize,
    /// Bytes of bodies held at once over all requests; more are answered 429.
    pub max_buffered: usize,
    /// How long a body may take to arrive, s.
    pub body_timeout: u64,
    /// The time zone of times without offset, as in the IANA database.
    pub time_zone: String,
    /// Whether a record's own `received_at` counts: for replays and simulations only.
    pub accept_received_at: bool,
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
            body_timeout: 30,
            time_zone: "Asia/Shanghai".to_owned(),
            accept_received_at: false,
            tokens: Vec::new(),
        }
    }
}

impl Settings {
    /// Checks what can be checked without listening.
    ///
    /// # Errors
    /// [`Error::Setting`] with the first setting that cannot work.
    pub fn validate(&self) -> Result<(), Error> {
        let wrong = |name: &str, detail: String| Err(Error::Setting { name: format!("http.{name}"), detail });
        if self.max_body == 0 || self.max_requests == 0 {
            return wrong("max_body", "max_body and max_requests must be at least 1".to_owned());
        }
        if self.max_buffered < self.max_body {
            return wrong("max_buffered", format!("must be at least max_body, {}", self.max_body));
        }
        if self.tokens.iter().any(|token| token.trim().is_empty()) {
            return wrong("tokens", "a token is empty".to_owned());
        }
        self.zone().map(|_| ())
    }

    fn zone(&self) -> Result<TimeZone, Error> {
        TimeZone::get(&self.time_zone)
            .map_err(|error| Error::Setting { name: "http.time_zone".to_owned(), detail: error.to_string() })
    }
}

/// What every request needs.
struct Shared {
    settings: Settings,
    zone: TimeZone,
    intake: Intake,
    requests: Semaphore,
    buffered: Arc<Semaphore>,
    /// What holds up the process behind the connectors, if there is more in it and something does.
    held: OnceLock<Held>,
}

/// Says what holds up the rest of the process, if anything does.
pub type Held = Box<dyn Fn() -> Option<String> + Send + Sync>;

/// A server that listens already.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Server {
    /// Checks the settings and listens.
    ///
    /// # Errors
    /// [`Error::Setting`], or [`Error::Io`] when the address cannot be taken.
    pub async fn bind(settings: Settings, intake: Intake) -> Result<Server, Error> {
        settings.validate()?;
        let io = |source| Error::Io { object: format!("http address {}", settings.listen), source };
        let listener = TcpListener::bind(settings.listen).await.map_err(io)?;
        let address = listener.local_addr().map_err(io)?;
        let shared = Arc::new(Shared {
            zone: settings.zone()?,
            requests: Semaphore::new(settings.max_requests.min(Semaphore::MAX_PERMITS)),
            buffered: Arc::new(Semaphore::new((settings.max_buffered / body::STEP).max(1))),
            held: OnceLock::new(),
            intake,
            settings,
        });
        Ok(Server { listener, address, shared })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The server of a process that does more than take reports in: `/readyz` says what holds up the rest, too.
    #[must_use]
    pub fn watching(self, held: Held) -> Server {
        // Set once, before anything is served.
        let _ = self.shared.held.set(held);
        self
    }

    /// Serves until `shutdown`, then lets requests in flight finish, for at most 30 s. `extra` holds further routes.
    ///
    /// # Errors
    /// [`Error::Io`] when the listener fails.
    pub async fn serve(
        self,
        extra: Router,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), Error> {
        let router = router(Arc::clone(&self.shared)).merge(extra);
        let (stopping, stopped) = oneshot::channel();
        let graceful = async move {
            shutdown.await;
            let _ = stopping.send(());
        };
        let service = router.into_make_service_with_connect_info::<SocketAddr>();
        let serving = axum::serve(self.listener, service).with_graceful_shutdown(graceful);
        let overdue = async {
            let _ = stopped.await;
            tokio::time::sleep(Duration::from_secs(30)).await;
        };
        tokio::select! {
            ended = serving => ended.map_err(|source| Error::Io { object: "http listener".to_owned(), source }),
            () = overdue => {
                tracing::warn!("requests were still in flight 30 s after the shutdown, their senders will repeat them");
                Ok(())
            }
        }
    }
}

fn router(shared: Arc<Shared>) -> Router {
    let timed =
        |route: &'static str| from_fn(move |request: Request, next: Next| timed(route, request, next));
    Router::new()
        .route("/api/v1/reports", post(intake::reports).layer(timed("reports")))
        .route("/api/v1/events", post(intake::events).layer(timed("events")))
        .route("/healthz", get(status::health))
        .route("/readyz", get(status::ready))
        .route("/metrics", get(status::metrics))
        .route("/openapi.json", get(openapi::serve))
        .with_state(shared)
}

async fn timed(route: &'static str, request: Request, next: Next) -> Response {
    let seconds = &telemetry().http_request_seconds;
    let started = std::time::Instant::now();
    let response = next.run(request).await;
    let status = response.status();
    seconds.with_label_values(&[route, status.as_str()]).observe(started.elapsed().as_secs_f64());
    response
}
