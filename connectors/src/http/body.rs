//! Bodies: received within bounds of time and memory, and unpacked.
//!
//! Enters: a request's body. Leaves: its bytes. Guarantees: never more than the limit in memory, before and after
//! decompression; all bodies together never more than the server's budget; a body that is still on its way takes no more
//! of the budget than what has arrived of it, packed as it came, and does not stay long: slow bodies starve nobody.

use std::{io::Write, pin::Pin, sync::Arc, time::Duration};

use axum::{
    body::{Body, HttpBody},
    http::{HeaderMap, StatusCode, header},
};
use bytes::Bytes;
use flate2::write::MultiGzDecoder;
use schemas::Reason;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout_at},
};

use super::answer::Declined;

/// The budget is counted in pieces of this many bytes.
pub const STEP: usize = 4 << 10;
/// How much of a body that is too large its reject keeps.
const KEPT: usize = 64 << 10;
/// A body that is too large is read to its end and thrown away up to this many times the limit, so that its sender,
/// which is still writing, reads the answer.
const DISCARDED: usize = 8;
/// The packed bytes that are unpacked at one go: a thousand times as much may come out.
const UNPACKED_AT_ONCE: usize = 4 << 10;

/// A body in memory and its share of the budget, which ends with it.
#[derive(Debug)]
pub struct Held {
    /// The bytes.
    pub bytes: Bytes,
    _budget: Budget,
}

/// Why a body was not read.
#[derive(Debug)]
pub enum Unread {
    /// It is too large or cannot be unpacked: a reject with its first bytes, and 413 or 400.
    Refused { reason: Reason, detail: String, start: Bytes },
    /// Anything else.
    Declined(Declined),
}

/// The memory of bodies: what one body has of it.
#[derive(Debug)]
pub struct Budget {
    all: Arc<Semaphore>,
    held: Option<OwnedSemaphorePermit>,
}

impl Budget {
    /// A share of nothing.
    pub fn new(all: Arc<Semaphore>) -> Budget {
        Budget { all, held: None }
    }

    /// Takes what is missing to so many bytes.
    fn reserve(&mut self, bytes: usize) -> Result<(), Unread> {
        let wanted = bytes.div_ceil(STEP).max(1);
        let missing = wanted.saturating_sub(self.held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits));
        if missing == 0 {
            return Ok(());
        }
        let taken = Arc::clone(&self.all)
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

    /// Gives back all but so many bytes.
    fn keep(&mut self, bytes: usize) {
        let kept = self.held.as_mut().and_then(|held| held.split(bytes.div_ceil(STEP)));
        if kept.is_some() {
            self.held = kept;
        }
    }
}

/// How fast bodies must arrive.
#[derive(Clone, Copy, Debug)]
pub struct Windows {
    whole: Duration,
    window: Duration,
    /// Bytes that must arrive in each window.
    pub least: usize,
}

impl Windows {
    /// Within a time, and at a rate in bytes/s over each third of it.
    pub fn new(whole: Duration, rate: usize) -> Windows {
        let window = whole / 3;
        Windows { whole, window, least: (window.as_secs_f64() * rate as f64) as usize }
    }
}

/// How fast a body arrives.
#[derive(Debug)]
pub struct Pace {
    windows: Windows,
    end: Instant,
    window_end: Instant,
    /// Bytes of the present window.
    arrived: usize,
}

impl Pace {
    /// Of a body that begins now.
    pub fn new(windows: Windows) -> Pace {
        let now = Instant::now();
        Pace { windows, end: now + windows.whole, window_end: now + windows.window, arrived: 0 }
    }

    /// The next piece; 408 when it does not come in time.
    async fn next(&mut self, stream: &mut Body) -> Result<Option<Bytes>, Declined> {
        loop {
            let Ok(chunk) = timeout_at(self.window_end.min(self.end), next(stream)).await else {
                self.judge()?;
                continue;
            };
            let chunk = chunk.transpose().map_err(|detail| {
                let advice = "send the same request again";
                Declined::wrong(StatusCode::BAD_REQUEST, "malformed", detail, advice)
            })?;
            // Pieces that are always there leave no pause in which the end could be seen.
            if chunk.is_some() && Instant::now() >= self.end {
                self.judge()?;
            }
            self.arrived += chunk.as_ref().map_or(0, Bytes::len);
            return Ok(chunk);
        }
    }

    /// A window has ended.
    fn judge(&mut self) -> Result<(), Declined> {
        let Windows { whole, window, least } = self.windows;
        let (now, advice) = (Instant::now(), "send smaller batches, or over a better line");
        if now >= self.end {
            let detail = format!("the body did not arrive within {} s", whole.as_secs());
            return Err(Declined::late(detail, advice));
        }
        if self.arrived < least {
            let seconds = window.as_secs_f64();
            let detail =
                format!("{} bytes of the body came in {seconds:.1} s, less than {least}", self.arrived);
            return Err(Declined::late(detail, advice));
        }
        self.window_end = now + window;
        self.arrived = 0;
        Ok(())
    }
}

/// A body as it came.
#[derive(Debug)]
pub struct Received {
    bytes: Vec<u8>,
    limit: usize,
    budget: Budget,
}

/// Receives a body of at most `limit` bytes.
///
/// # Errors
/// [`Unread`]; 408 when it comes too slowly, 429 when there is no memory for it.
pub async fn receive(
    headers: &HeaderMap,
    mut stream: Body,
    limit: usize,
    budget: Budget,
    mut pace: Pace,
) -> Result<Received, Unread> {
    let mut received = Received { bytes: Vec::new(), limit, budget };
    let announced: Option<usize> =
        headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    if let Some(length) = announced.filter(|length| *length > limit) {
        let detail = format!("the body has {length} bytes, {limit} are allowed");
        // Who waits to be asked has not sent it, and need not.
        let waits = headers.contains_key(header::EXPECT);
        let pace = (!waits).then_some(&mut pace);
        return Err(received.too_large(detail, &mut stream, pace).await);
    }
    while let Some(chunk) = pace.next(&mut stream).await.map_err(Unread::Declined)? {
        received.budget.reserve(received.bytes.len() + chunk.len())?;
        received.bytes.extend_from_slice(&chunk);
        if received.bytes.len() > limit {
            let detail = format!("the body has more than {limit} bytes");
            return Err(received.too_large(detail, &mut stream, Some(&mut pace)).await);
        }
    }
    Ok(received)
}

impl Received {
    /// Reads on without keeping more than the beginning, for as long as the body comes in time.
    async fn too_large(mut self, detail: String, stream: &mut Body, pace: Option<&mut Pace>) -> Unread {
        let mut start = std::mem::take(&mut self.bytes);
        start.truncate(KEPT);
        start.shrink_to_fit();
        self.budget.keep(KEPT);
        if let Err(busy) = self.budget.reserve(KEPT.min(self.limit)) {
            return busy;
        }
        let mut discarded = 0_usize;
        if let Some(pace) = pace {
            while discarded < self.limit.saturating_mul(DISCARDED) {
                let Ok(Some(chunk)) = pace.next(stream).await else { break };
                discarded += chunk.len();
                start.extend_from_slice(&chunk[..chunk.len().min(KEPT - start.len())]);
            }
        }
        Unread::Refused { reason: Reason::TooLarge, detail, start: start.into() }
    }

    /// The body as it came.
    pub fn into_held(self) -> Held {
        Held { bytes: self.bytes.into(), _budget: self.budget }
    }

    /// The body, unpacked.
    ///
    /// # Errors
    /// [`Unread::Refused`] when it is no gzip stream, or more than the limit comes out; 429 when there is no memory for it.
    pub async fn unpacked(mut self) -> Result<Held, Unread> {
        let limit = self.limit;
        let mut decoder = MultiGzDecoder::new(Bounded { bytes: Vec::new(), limit });
        let refused = |reason, detail: String, start: &[u8]| {
            let start = Bytes::copy_from_slice(&start[..start.len().min(KEPT)]);
            Err(Unread::Refused { reason, detail, start })
        };
        for piece in self.bytes.chunks(UNPACKED_AT_ONCE) {
            if let Err(error) = decoder.write_all(piece) {
                let unpacked = &decoder.get_ref().bytes;
                let start = if unpacked.is_empty() { &self.bytes } else { unpacked };
                return match error.kind() {
                    std::io::ErrorKind::StorageFull => {
                        let detail = format!("the body has more than {limit} bytes, unpacked");
                        refused(Reason::TooLarge, detail, start)
                    }
                    _ => refused(Reason::Malformed, "the body is no gzip stream".to_owned(), start),
                };
            }
            self.budget.reserve(self.bytes.len() + decoder.get_ref().bytes.len())?;
            tokio::task::yield_now().await;
        }
        if decoder.try_finish().is_err() {
            let detail = "the gzip stream ends too early".to_owned();
            return refused(Reason::Malformed, detail, &decoder.get_ref().bytes);
        }
        let bytes = std::mem::take(&mut decoder.get_mut().bytes);
        self.budget.keep(bytes.len());
        Ok(Held { bytes: bytes.into(), _budget: self.budget })
    }
}

/// Whether a body is packed, as its Content-Encoding says.
///
/// # Errors
/// 415 for an encoding other than gzip.
pub fn is_packed(headers: &HeaderMap) -> Result<bool, Declined> {
    match headers.get(header::CONTENT_ENCODING).map(|value| value.as_bytes()) {
        None | Some(b"identity" | b"") => Ok(false),
        Some(b"gzip" | b"x-gzip") => Ok(true),
        Some(other) => Err(Declined::wrong(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported",
            format!("content-encoding {} is not supported", String::from_utf8_lossy(other)),
            "send the body as it is, or with content-encoding gzip",
        )),
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
