//! One connection, from its first byte to its end.
//!
//! Enters: a socket with a place. Leaves: answers of a router. Guarantees: it ends when its peer keeps it waiting for
//! longer than it may, when another one needs its place, and after the request under way when the server stops; what it
//! buffers is bounded.

use std::{
    convert::Infallible,
    io::IoSlice,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{Router, extract::ConnectInfo, http::Request, response::Response};
use hyper::{body::Incoming, server::conn::http1, service::Service};
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::TcpStream,
    sync::watch,
    time::{Instant, Sleep, sleep_until},
};

use super::{
    answer::Declined,
    line::Overdue,
    places::{Guest, Seat},
};

/// What is read ahead of a connection, and the longest head of a request, bytes.
const READ_AHEAD: usize = 64 << 10;
const LONGEST_HEAD: usize = 16 << 10;

/// How long a peer may take to read why it is not served.
const PARTING: Duration = Duration::from_secs(1);

/// Serves a connection to its end; says why when it was this side that closed it.
pub async fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    place: Seat,
    router: Router,
    mut stopping: watch::Receiver<()>,
) -> Option<Overdue> {
    let guest = &place.guest;
    let io = TokioIo::new(Watched { stream, guest: Arc::clone(guest) });
    let answering = Answering { router: TowerToHyperService::new(router), peer, guest: Arc::clone(guest) };
    let mut builder = http1::Builder::new();
    // Times are watched here, those of idle connections apart from those of heads.
    builder.header_read_timeout(None).max_buf_size(READ_AHEAD).max_header_size(LONGEST_HEAD);
    let mut connection = builder.serve_connection(io, answering);
    let mut due = Due { guest, sleep: Box::pin(sleep_until(Instant::now())) };
    let mut stopped = false;
    let overdue = loop {
        tokio::select! {
            // What is due follows from what the connection has just done.
            biased;
            _ = &mut connection => return None,
            overdue = &mut due => break overdue,
            () = guest.leave.notified() => {
                // A request that has come meanwhile is answered first.
                if guest.line().waiting_since().is_some() {
                    break Overdue::Displaced;
                }
                Pin::new(&mut connection).graceful_shutdown();
            }
            _ = stopping.changed(), if !stopped => {
                stopped = true;
                Pin::new(&mut connection).graceful_shutdown();
            }
        }
    };
    let in_head = guest.line().in_head();
    if overdue == Overdue::Head && in_head {
        let detail = "the head of the request did not arrive in time".to_owned();
        let late = Declined::late(detail, "send the request at one go");
        say(connection.into_parts().io.into_inner().stream, &late).await;
    }
    Some(overdue)
}

/// Answers on a connection that is not served, and ends it so that the peer can read the answer.
pub async fn say(mut stream: TcpStream, declined: &Declined) {
    let parting = async {
        stream.write_all(declined.as_message().as_bytes()).await?;
        stream.shutdown().await?;
        // Closed with bytes unread, the connection would be reset, and the answer lost with it.
        let mut unread = [0; 4096];
        while stream.read(&mut unread).await? > 0 {}
        Ok::<_, std::io::Error>(())
    };
    let _ = tokio::time::timeout(PARTING, parting).await;
}

/// Ends when the connection is overdue; to be polled after the connection was.
struct Due<'a> {
    guest: &'a Guest,
    sleep: Pin<Box<Sleep>>,
}

impl Future for Due<'_> {
    type Output = Overdue;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Overdue> {
        let Some((deadline, why)) = self.guest.line().deadline() else { return Poll::Pending };
        // Deadlines mostly move on: the timer is set again when it has run out, or when one is nearer.
        if self.sleep.deadline() > deadline {
            self.sleep.as_mut().reset(deadline);
        }
        while self.sleep.as_mut().poll(context).is_ready() {
            if Instant::now() >= deadline {
                return Poll::Ready(why);
            }
            self.sleep.as_mut().reset(deadline);
        }
        Poll::Pending
    }
}

/// The router, which notes when it works.
struct Answering {
    router: TowerToHyperService<Router>,
    peer: SocketAddr,
    guest: Arc<Guest>,
}

impl Service<Request<Incoming>> for Answering {
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        self.guest.line().work();
        request.extensions_mut().insert(ConnectInfo(self.peer));
        let (answer, guest) = (self.router.call(request), Arc::clone(&self.guest));
        Box::pin(async move {
            let answer = answer.await;
            guest.line().answered(Instant::now());
            answer
        })
    }
}

/// A socket, which notes what comes and what is not taken.
struct Watched {
    stream: TcpStream,
    guest: Arc<Guest>,
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        if buffer.filled().len() > before {
            self.guest.line().read(Instant::now());
        }
        Poll::Ready(Ok(()))
    }
}

impl Watched {
    fn note<T>(&self, written: Poll<T>) -> Poll<T> {
        if written.is_pending() {
            self.guest.line().block(Instant::now());
        }
        written
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.note(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.note(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// Called once everything is written.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(context))?;
        self.guest.line().flushed(Instant::now());
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
