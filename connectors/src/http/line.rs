//! One connection's state: what it waits for, and until when it may.
//!
//! Enters: what is read, worked on, answered and written. Leaves: when the connection is overdue, and for what.
//! Guarantees: pure, time is an argument; a connection on which nothing happens is always overdue at some time, except
//! while its request is worked on, which has bounds of its own.

use std::time::Duration;

use tokio::time::Instant;

/// How long a connection may wait for its peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// For the first byte, and from the first byte of a request to the end of its head.
    pub head: Duration,
    /// Between an answer and the next request.
    pub idle: Duration,
    /// For the peer to take an answer.
    pub answer: Duration,
}

/// What a connection does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing has come yet.
    New,
    /// A head has begun to arrive.
    Head,
    /// A request is worked on.
    Working,
    /// The last request is answered.
    Idle,
}

/// Why a connection is closed by this side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overdue {
    /// The head did not arrive in time.
    Head,
    /// No other request came in time.
    Idle,
    /// The answer was not taken in time.
    Answer,
    /// It waited longest when another one needed its place.
    Displaced,
}

impl Overdue {
    /// As metrics name it.
    pub fn name(self) -> &'static str {
        match self {
            Overdue::Head => "head_timeout",
            Overdue::Idle => "idle_timeout",
            Overdue::Answer => "answer_timeout",
            Overdue::Displaced => "displaced",
        }
    }
}

/// The state of one connection.
#[derive(Clone, Debug)]
pub struct Line {
    patience: Patience,
    phase: Phase,
    since: Instant,
    /// Since when the peer has not taken all of what is written.
    blocked: Option<Instant>,
}

impl Line {
    /// A connection that was just accepted.
    pub fn new(patience: Patience, now: Instant) -> Line {
        Line { patience, phase: Phase::New, since: now, blocked: None }
    }

    /// Bytes have come.
    pub fn read(&mut self, now: Instant) {
        if matches!(self.phase, Phase::New | Phase::Idle) {
            (self.phase, self.since) = (Phase::Head, now);
        }
    }

    /// A head is complete.
    pub fn work(&mut self) {
        self.phase = Phase::Working;
    }

    /// A request is answered.
    pub fn answered(&mut self, now: Instant) {
        (self.phase, self.since) = (Phase::Idle, now);
    }

    /// The peer takes no more at present.
    pub fn block(&mut self, now: Instant) {
        self.blocked.get_or_insert(now);
    }

    /// The peer has taken everything.
    pub fn flushed(&mut self, now: Instant) {
        if self.blocked.take().is_some() && self.phase == Phase::Idle {
            self.since = now;
        }
    }

    /// When it will be overdue, and for what; `None` while its request is worked on.
    pub fn deadline(&self) -> Option<(Instant, Overdue)> {
        if let Some(blocked) = self.blocked {
            return Some((blocked + self.patience.answer, Overdue::Answer));
        }
        match self.phase {
            Phase::New | Phase::Head => Some((self.since + self.patience.head, Overdue::Head)),
            Phase::Idle => Some((self.since + self.patience.idle, Overdue::Idle)),
            Phase::Working => None,
        }
    }

    /// Whether an answer to a half-sent head may still be of use to the peer.
    pub fn in_head(&self) -> bool {
        self.phase == Phase::Head
    }

    /// Since when it has kept its place without a request, when that is so.
    pub fn waiting_since(&self) -> Option<Instant> {
        (self.phase != Phase::Working).then_some(self.since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience = Patience {
        head: Duration::from_secs(10),
        idle: Duration::from_secs(75),
        answer: Duration::from_secs(30),
    };

    #[test]
    fn every_wait_has_an_end_except_work() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut line = Line::new(PATIENCE, start);
        let due = |line: &Line| line.deadline().map(|(end, why)| ((end - start).as_secs(), why));
        assert_eq!(due(&line), Some((10, Overdue::Head)), "nothing has come");
        line.read(at(4));
        line.read(at(9));
        assert_eq!(
            due(&line),
            Some((14, Overdue::Head)),
            "more of a head does not prolong the wait for its end"
        );
        line.work();
        line.read(at(11));
        assert_eq!((due(&line), line.waiting_since()), (None, None), "bodies have bounds of their own");
        line.block(at(15));
        line.answered(at(16));
        line.block(at(20));
        assert_eq!(due(&line), Some((45, Overdue::Answer)), "from the first byte that was not taken");
        line.flushed(at(25));
        assert_eq!(due(&line), Some((100, Overdue::Idle)));
        assert_eq!(line.waiting_since(), Some(at(25)));
        line.read(at(90));
        assert_eq!(due(&line), Some((100, Overdue::Head)), "the next head");
    }
}
