//! Bodies: read within bounds, and unpacked.
//!
//! Enters: a request's body. Leaves: its bytes. Guarantees: never more than the limit in memory, before and after
//! decompression; all bodies together never more than the server's budget.

use std::{io::Write, pin::Pin, sync::Arc, time::Duration};

use axum::{
    body::{Body, HttpBody},
    http::{HeaderMap, StatusCode, header},
};
use bytes::Bytes;
use flate2::write::MultiGzDecoder;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::answer::Declined;

/// The budget is counted in pieces of this many bytes.
pub const STEP: usize = 64 << 10;
/// How much of a body that is too large its reject keeps.
const KEPT: usize = 64 << 10;
/// A body that is too large is read to its end and thrown away up to this many times the limit, so that its sender,
/// which is still writing, reads the answer.
const DISCARDED: usize = 8;

/// A body in memory and its share of the budget, which ends with it.
#[derive(Debug)]
pub struct Held {
    /// The bytes, unpacked.
    pub bytes: Bytes,
    _budget: Option<OwnedSemaphorePermit>,
}

/// Why a body was not read.
#[derive(Debug)]
pub enum Unread {
    /// It is too large or cannot be unpacked: a reject with its first bytes, and 413 or 400.
    Refused { reason: schemas::Reason, detail: String, start: Bytes },
    /// Anything else.
    Declined(Declined),
}

/// How a body may be read.
pub struct Bounds {
    /// The greatest length, before and after decompression.
    pub limit: usize,
    /// The budget of all bodies, in [`STEP`]s.
    pub budget: Arc<Semaphore>,
    /// How long it may take.
    pub timeout: Duration,
}

/// Reads a body and unpacks it as its Content-Encoding says.
///
/// # Errors
/// [`Unread`].
pub async fn read(headers: &HeaderMap, body: Body, bounds: Bounds) -> Result<Held, Unread> {
    let gzip = match headers.get(header::CONTENT_ENCODING).map(|value| value.as_bytes()) {
        None | Some(b"identity" | b"") => false,
        Some(b"gzip" | b"x-gzip") => true,
        Some(other) => {
            return Err(Unread::Declined(Declined::wrong(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported",
                format!("content-encoding {} is not supported", String::from_utf8_lossy(other)),
                "send the body as it is, or with content-encoding gzip",
            )));
        }
    };
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    let timeout = bounds.timeout;
    let waits = headers.contains_key(header::EXPECT);
    let reading = Reading { unpacked: Unpacked::new(gzip, bounds.limit), received: 0, held: None, bounds };
    tokio::time::timeout(timeout, reading.run(body, announced, waits)).await.unwrap_or_else(|_| {
        Err(Unread::Declined(Declined::wrong(
            StatusCode::REQUEST_TIMEOUT,
            "timeout",
            format!("the body did not arrive within {} s", timeout.as_secs()),
            "send smaller batches",
        )))
    })
}

struct Reading {
    unpacked: Unpacked,
    received: usize,
    held: Option<OwnedSemaphorePermit>,
    bounds: Bounds,
}

impl Reading {
    async fn run(mut self, mut stream: Body, announced: Option<usize>, waits: bool) -> Result<Held, Unread> {
        if let Some(length) = announced.filter(|length| *length > self.bounds.limit) {
            let start = if waits {
                Bytes::new()
            } else {
                discard(&mut stream, Bytes::new(), self.bounds.limit).await
            };
            let detail = format!("the body has {length} bytes, {} are allowed", self.bounds.limit);
            return Err(Unread::Refused { reason: schemas::Reason::TooLarge, detail, start });
        }
        while let Some(chunk) = next(&mut stream).await {
            let chunk = chunk.map_err(|detail| {
                let advice = "send the same request again";
                Unread::Declined(Declined::wrong(StatusCode::BAD_REQUEST, "malformed", detail, advice))
            })?;
            self.received += chunk.len();
            if let Err(reason) = self.unpacked.write(&chunk) {
                return Err(self.refuse(reason, stream, chunk).await);
            }
            if self.received > self.bounds.limit {
                return Err(self.refuse(schemas::Reason::TooLarge, stream, chunk).await);
            }
            self.reserve()?;
        }
        match self.unpacked.finish() {
            Ok(bytes) => Ok(Held { bytes: Bytes::from(bytes), _budget: self.held }),
            Err(start) => Err(Unread::Refused {
                reason: schemas::Reason::Malformed,
                detail: "the gzip stream ends too early".to_owned(),
                start: Bytes::from(start),
            }),
        }
    }

    /// Takes from the budget what the body has grown by.
    fn reserve(&mut self) -> Result<(), Unread> {
        let wanted = self.unpacked.len().div_ceil(STEP).max(1);
        let missing = wanted - self.held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits).min(wanted);
        if missing == 0 {
            return Ok(());
        }
        let taken = Arc::clone(&self.bounds.budget)
            .try_acquire_many_owned(u32::try_from(missing).unwrap_or(u32::MAX))
            .map_err(|_| {
                let detail = "the bodies of other requests fill the memory meant for them".to_owned();
                Unread::Declined(Declined::busy(detail))
            })?;
        match &mut self.held {
            Some(held) => held.merge(taken),
            None => self.held = Some(taken),
        }
        Ok(())
    }

    async fn refuse(self, reason: schemas::Reason, mut stream: Body, chunk: Bytes) -> Unread {
        let start = if self.unpacked.len() > 0 { Bytes::from(self.unpacked.start()) } else { chunk };
        let limit = self.bounds.limit;
        let detail = match reason {
            schemas::Reason::TooLarge => format!("the body has more than {limit} bytes, unpacked"),
            _ => "the body is no gzip stream".to_owned(),
        };
        let start = discard(&mut stream, start, limit).await;
        Unread::Refused { reason, detail, start }
    }
}

async fn next(body: &mut Body) -> Option<Result<Bytes, String>> {
    loop {
        let frame = std::future::poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await?;
        match frame.map(|frame| frame.into_data()) {
            Ok(Ok(chunk)) => return Some(Ok(chunk)),
            // Trailers carry nothing that is used.
            Ok(Err(_)) => {}
            Err(error) => return Some(Err(format!("the body ended early: {error}"))),
        }
    }
}

/// Reads on without keeping more than the beginning.
async fn discard(stream: &mut Body, start: Bytes, limit: usize) -> Bytes {
    let mut kept = start[..start.len().min(KEPT)].to_vec();
    let mut discarded = 0_usize;
    while discarded < limit.saturating_mul(DISCARDED) {
        let Some(Ok(chunk)) = next(stream).await else { break };
        discarded += chunk.len();
        kept.extend_from_slice(&chunk[..chunk.len().min(KEPT - kept.len())]);
    }
    Bytes::from(kept)
}

/// The body as far as it was unpacked.
enum Unpacked {
    Plain(Bounded),
    Gzip(Box<MultiGzDecoder<Bounded>>),
}

/// A buffer that takes no more than the limit.
struct Bounded {
    bytes: Vec<u8>,
    limit: usize,
}

impl Write for Bounded {
    fn write(&mut self, chunk: &[u8]) -> std::io::Result<usize> {
        if self.bytes.len() + chunk.len() > self.limit {
            return Err(std::io::ErrorKind::StorageFull.into());
        }
        self.bytes.extend_from_slice(chunk);
        Ok(chunk.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Unpacked {
    fn new(gzip: bool, limit: usize) -> Unpacked {
        let bounded = Bounded { bytes: Vec::new(), limit };
        if gzip { Unpacked::Gzip(Box::new(MultiGzDecoder::new(bounded))) } else { Unpacked::Plain(bounded) }
    }

    fn bounded(&self) -> &Bounded {
        match self {
            Unpacked::Plain(bounded) => bounded,
            Unpacked::Gzip(decoder) => decoder.get_ref(),
        }
    }

    fn len(&self) -> usize {
        self.bounded().bytes.len()
    }

    fn start(&self) -> Vec<u8> {
        let bytes = &self.bounded().bytes;
        bytes[..bytes.len().min(KEPT)].to_vec()
    }

    fn write(&mut self, chunk: &[u8]) -> Result<(), schemas::Reason> {
        let written = match self {
            Unpacked::Plain(bounded) => bounded.write_all(chunk),
            Unpacked::Gzip(decoder) => decoder.write_all(chunk).and_then(|()| decoder.flush()),
        };
        written.map_err(|error| match error.kind() {
            std::io::ErrorKind::StorageFull => schemas::Reason::TooLarge,
            _ => schemas::Reason::Malformed,
        })
    }

    /// The bytes, or what there is of them when the stream ends too early.
    fn finish(self) -> Result<Vec<u8>, Vec<u8>> {
        match self {
            Unpacked::Plain(bounded) => Ok(bounded.bytes),
            Unpacked::Gzip(mut decoder) => match decoder.try_finish() {
                Ok(()) => Ok(std::mem::take(&mut decoder.get_mut().bytes)),
                Err(_) => Err(std::mem::take(&mut decoder.get_mut().bytes)),
            },
        }
    }
}
