//! The HTTP connector.
//!
//! Enters: reports (native JSON, NDJSON, SenML) and events, gzip or plain. Leaves: records on Kafka, and one answer per
//! request that says per record what was accepted and what was not, and why. Guarantees: 202 only after Kafka's delivery
//! report of everything in the request; memory, connections and waiting are bounded whatever is sent and however slowly,
//! and leave state and sinks what they need; a request that cannot be taken now is answered 429 or 503 with Retry-After
//! and may be repeated as it is.

use std::{
    future::Future,
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, HttpBody},
    extract::{Request, State},
    http::{HeaderMap, StatusCode},
    middleware::{Next, from_fn, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use jiff::tz::TimeZone;
use schemas::Millis;
use tokio::{
    net::TcpListener,
    sync::{Semaphore, SemaphorePermit, oneshot},
};

use crate::{
    Error,
    connect::{Connect, Held, Reread, Serving, Terms},
    intake::Intake,
    payload::{self, Arrival, native, senml},
    telemetry,
};

mod answer;
mod body;
mod connection;
mod descriptors;
mod intake;
mod line;
mod listen;
mod openapi;
mod places;
mod settings;
mod status;

pub use descriptors::raise_limit;
pub use listen::Door;
pub use openapi::document;
pub use settings::Settings;

use answer::Declined;
use body::{Budget, Received, Unread};
use places::Most;

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

impl Connect for Settings {
    fn name(&self) -> &'static str {
        "http"
    }

    fn problems(&self) -> Vec<String> {
        self.validate()
    }

    fn set_backfill(&mut self, backfill: Millis) {
        self.backfill = backfill;
    }

    fn serve(&self, intake: Intake, terms: Terms) -> Serving {
        let settings = self.clone();
        Box::pin(async move {
            let server = Server::bind(settings, intake).await?.watching(terms.held);
            tracing::info!(address = %server.address(), "the HTTP connector listens");
            server.serve(terms.routes, terms.stopped).await
        })
    }

    /// The media type is not kept: the form that can be read is the right one.
    fn reread(&self) -> Result<Reread, Error> {
        let zone = self.zone()?;
        Ok(Box::new(move |_, raw, arrival| {
            let arrival = Arrival { zone: zone.clone(), ..arrival };
            let first = native::parse(raw, &arrival);
            if !first.accepted.is_empty() {
                return first;
            }
            let others = [
                native::parse_lines(raw, &arrival),
                senml::parse(raw, &arrival),
                payload::events(raw, &arrival, false),
            ];
            others.into_iter().find(|batch| !batch.accepted.is_empty()).unwrap_or(first)
        }))
    }
}

impl Shared {
    /// Receives a body within the bounds of all.
    async fn receive(&self, headers: &HeaderMap, body: Body) -> Result<Received, Unread> {
        let (settings, budget) = (&self.settings, Budget::new(Arc::clone(&self.buffered)));
        body::receive(headers, body, settings.max_body, budget, settings.pace()).await
    }

    /// Leave to work on a request, as long as the permit is kept.
    fn work(&self) -> Result<SemaphorePermit<'_>, Declined> {
        let busy = |_| Declined::busy(format!("{} requests are being worked on", self.settings.max_requests));
        self.requests.try_acquire().map_err(busy)
    }
}

/// A server that listens already.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    door: Door,
    shared: Arc<Shared>,
}

impl Server {
    /// Checks the settings and listens.
    ///
    /// # Errors
    /// [`Error::Setting`], or [`Error::Io`] when the address cannot be taken.
    pub async fn bind(settings: Settings, intake: Intake) -> Result<Server, Error> {
        Error::of_settings("http", &settings.validate())?;
        let (wanted, reserved) = (settings.max_connections, settings.descriptors_reserved);
        let total = descriptors::connections(wanted, reserved, descriptors::limit())?;
        let most = Most { total, per_address: settings.max_connections_per_address.min(total) };
        let door = Door { name: "http", most, patience: settings.patience() };
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
        Ok(Server { listener, address, door, shared })
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

    /// Serves until `shutdown`, then lets requests in flight finish, for at most 30 s. `extra` holds further routes; their
    /// bodies are received within the same bounds before they see them.
    ///
    /// # Errors
    /// None at present: a listener that fails is tried again, with the failure in the log.
    pub async fn serve(
        self,
        extra: Router,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), Error> {
        let bounded = from_fn_with_state(Arc::clone(&self.shared), bounded);
        let router = router(Arc::clone(&self.shared)).merge(extra.layer(bounded));
        let (stopping, stopped) = oneshot::channel();
        let graceful = async move {
            shutdown.await;
            let _ = stopping.send(());
        };
        let overdue = async {
            let _ = stopped.await;
            tokio::time::sleep(Duration::from_secs(30)).await;
        };
        tokio::select! {
            () = self.door.serve(self.listener, router, graceful) => {}
            () = overdue => {
                tracing::warn!("requests were still in flight 30 s after the shutdown, their senders will repeat them");
            }
        }
        Ok(())
    }
}

/// Receives the body of a request before its route sees it.
async fn bounded(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    if request.body().is_end_stream() {
        return next.run(request).await;
    }
    let (parts, body) = request.into_parts();
    let received = match shared.receive(&parts.headers, body).await {
        Ok(received) => received.into_held(),
        Err(Unread::Declined(declined)) => return declined.into_response(),
        Err(Unread::Refused { reason, detail, .. }) => {
            let advice = "send smaller requests";
            let status = StatusCode::PAYLOAD_TOO_LARGE;
            return Declined::wrong(status, reason.name(), detail, advice).into_response();
        }
    };
    let working = match shared.work() {
        Ok(working) => working,
        Err(declined) => return declined.into_response(),
    };
    let answer = next.run(Request::from_parts(parts, received.bytes.clone().into())).await;
    drop((working, received));
    answer
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
    let seconds = &telemetry::HTTP_REQUEST_SECONDS;
    let started = std::time::Instant::now();
    let response = next.run(request).await;
    let status = response.status();
    seconds.with_label_values(&[route, status.as_str()]).observe(started.elapsed().as_secs_f64());
    response
}

#[cfg(test)]
mod tests;
