//! Who is let in: every listener of the process takes connections here.
//!
//! Enters: connections. Leaves: those that have a place, each served by a task of its own; the others get an answer that
//! says why. Guarantees: as many connections as there are places and no more; when the process runs out of descriptors,
//! connections that wait are closed and the listener goes on; at the end every request under way is answered.

use std::{future::Future, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use axum::Router;
use prometheus::IntGauge;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    time::Instant,
};

use super::{
    answer::Declined,
    connection,
    line::Patience,
    places::{Full, Most, Places},
};
use crate::telemetry;

/// Connections that are told at once why they have no place; others are closed without a word.
const TOLD: usize = 32;
/// After a failure of the system, such as no descriptor left.
const PAUSE: Duration = Duration::from_millis(100);
/// The log tells of refusals once in this time.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// A listener, and what its connections may take.
#[derive(Clone, Copy, Debug)]
pub struct Door {
    /// Its name in metrics and log.
    pub name: &'static str,
    /// How many connections there may be.
    pub most: Most,
    /// How long a connection may wait for its peer.
    pub patience: Patience,
}

impl Door {
    /// The door of a listener for few visitors, such as a scraper of metrics.
    #[must_use]
    pub fn small(name: &'static str) -> Door {
        let seconds = Duration::from_secs;
        let patience = Patience { head: seconds(10), idle: seconds(75), answer: seconds(30) };
        Door { name, most: Most { total: 32, per_address: 32 }, patience }
    }

    /// Serves until `shutdown`, then until every request under way is answered.
    pub async fn serve(self, listener: TcpListener, router: Router, shutdown: impl Future<Output = ()>) {
        let (stop, stopping) = watch::channel(());
        let mut entrance = Entrance {
            door: self,
            places: Places::new(self.most),
            open: telemetry::HTTP_CONNECTIONS.with_label_values(&[self.name]),
            told: Arc::new(Semaphore::new(TOLD)),
            refused: 0,
            said: None,
        };
        let mut shutdown = pin!(shutdown);
        loop {
            let accepted = tokio::select! {
                () = &mut shutdown => break,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => entrance.admit(stream, peer, &router, &stopping),
                Err(error) if is_of_peer(&error) => {}
                Err(error) => {
                    entrance.failed(&error);
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
        // Whoever comes now is turned away by the system.
        drop((listener, stopping));
        let _ = stop.send(());
        stop.closed().await;
    }
}

/// The peer has gone before it was let in.
fn is_of_peer(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

struct Entrance {
    door: Door,
    places: Places,
    open: IntGauge,
    told: Arc<Semaphore>,
    /// Refusals that the log has not told, and when it did.
    refused: u64,
    said: Option<Instant>,
}

impl Entrance {
    fn admit(
        &mut self,
        stream: TcpStream,
        peer: SocketAddr,
        router: &Router,
        stopping: &watch::Receiver<()>,
    ) {
        let place = match self.places.take(peer.ip(), self.door.patience, Instant::now()) {
            Ok(place) => place,
            Err(full) => return self.refuse(stream, full),
        };
        // Answers are short and complete: nothing is won by waiting for more. Without it they are only slower.
        let _ = stream.set_nodelay(true);
        let (name, places, open) = (self.door.name, self.places.clone(), self.open.clone());
        let serving = connection::serve(stream, peer, place, router.clone(), stopping.clone());
        open.set(places.len() as i64);
        tokio::spawn(async move {
            let overdue = serving.await;
            open.set(places.len() as i64);
            if let Some(overdue) = overdue {
                tracing::debug!(listener = name, %peer, why = overdue.name(), "a connection was closed");
                telemetry::HTTP_CONNECTIONS_CLOSED.with_label_values(&[name, overdue.name()]).inc();
            }
        });
    }

    fn refuse(&mut self, stream: TcpStream, full: Full) {
        let (reason, declined) = match full {
            Full::Address => {
                let most = self.door.most.per_address;
                let detail =
                    format!("{most} connections from this address are open, as many as one may have");
                ("address", Declined::busy(detail))
            }
            Full::Total => {
                let detail = format!("{} connections are open, as many as are taken", self.door.most.total);
                ("total", Declined::full(detail))
            }
        };
        self.count(reason);
        self.tell(&declined.problem.detail);
        if let Ok(telling) = Arc::clone(&self.told).try_acquire_owned() {
            tokio::spawn(async move {
                connection::say(stream, &declined).await;
                drop(telling);
            });
        }
    }

    /// The system lets nobody in.
    fn failed(&mut self, error: &std::io::Error) {
        self.count("descriptors");
        self.places.relieve(Instant::now());
        self.tell(&format!("{error}: raise the limit of open files (LimitNOFILE, ulimit -n)"));
    }

    fn count(&self, reason: &str) {
        telemetry::HTTP_CONNECTIONS_REFUSED.with_label_values(&[self.door.name, reason]).inc();
    }

    fn tell(&mut self, why: &str) {
        self.refused += 1;
        if self.said.is_none_or(|said| said.elapsed() >= TELL_EVERY) {
            tracing::warn!(
                listener = self.door.name,
                refused = self.refused,
                "connections are refused: {why}"
            );
            (self.refused, self.said) = (0, Some(Instant::now()));
        }
    }
}
