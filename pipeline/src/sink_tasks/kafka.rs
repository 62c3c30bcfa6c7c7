//! The thread of the Kafka sink: its transactions are one after the other, and its client blocks.
//!
//! Enters: the blocks of each epoch. Leaves: committed transactions, and with each the lease of this process. Guarantees:
//! Kafka is asked at least once a second whether it still accepts this process.

use std::{
    io,
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use schemas::Epoch;
use sinks::{
    Block, Inlet,
    attach::Done,
    kafka::Kafka,
    lease::Lease,
    runner::{BackOff, Status},
};

use crate::{control::Control, progress::Progress};

/// After so long without anything to say Kafka is asked whether it still accepts us.
const SILENCE: Duration = Duration::from_secs(1);

/// What the thread works with.
pub struct Thread {
    /// The sink.
    pub kafka: Kafka,
    /// Its condition.
    pub status: Status,
    /// Renewed by every transaction.
    pub lease: Arc<Lease>,
    /// What is committed with an epoch.
    pub progress: Arc<Progress>,
    /// The last epoch that is committed.
    pub last: Epoch,
}

/// The blocks of an epoch, and what to do when they are committed.
type Given = (Epoch, Arc<Vec<Block>>, Done);

struct Desk(mpsc::Sender<Given>);

impl Inlet for Desk {
    fn put(&self, epoch: Epoch, blocks: Arc<Vec<Block>>, done: Done) {
        // Fails only when the thread has ended, and then the pipeline is stopping.
        let _ = self.0.send((epoch, blocks, done));
    }
}

impl Thread {
    /// Starts it.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(mut self, control: Arc<Control>) -> io::Result<Arc<dyn Inlet>> {
        let (desk, given) = mpsc::channel::<Given>();
        thread::Builder::new().name("kafka sink".to_owned()).spawn(move || {
            loop {
                let written = match given.recv_timeout(SILENCE) {
                    Ok((epoch, blocks, done)) => {
                        self.last = epoch;
                        let written = self.write(&blocks, &control);
                        if written {
                            done();
                        }
                        written
                    }
                    Err(mpsc::RecvTimeoutError::Timeout) => self.write(&[], &control),
                    Err(mpsc::RecvTimeoutError::Disconnected) => false,
                };
                if !written {
                    return;
                }
            }
        })?;
        Ok(Arc::new(Desk(desk)))
    }

    /// Writes until it is committed; false when the pipeline ends before.
    fn write(&mut self, blocks: &[Block], control: &Control) -> bool {
        let positions = self.progress.positions();
        if positions.is_empty() {
            // Nothing is bound yet, so nothing can be said.
            return true;
        }
        let mut attempt = 0;
        loop {
            let begun = Instant::now();
            match self.kafka.write(self.last, blocks, &positions) {
                Ok(()) => {
                    self.lease.renew(begun);
                    self.status.succeeded();
                    return true;
                }
                Err(_) if control.finished() => return false,
                Err(error @ sinks::Error::Retry { .. }) => {
                    self.status.failed(&error.to_string());
                    attempt += 1;
                    thread::sleep(BackOff::default().wait(attempt));
                }
                Err(error) => {
                    control.fail(error.into());
                    return false;
                }
            }
        }
    }
}
