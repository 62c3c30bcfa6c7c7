//! A stream of batches onto Kafka: several under way at once, repeated until Kafka takes them.
//!
//! Guarantees: batches are handed to the producer in order; [`Feed::settle`] returns once Kafka has confirmed every
//! one. What Kafka cannot take now is sent again with growing pauses; the dataflow recognises repetitions.

use std::time::Duration;

use tokio::task::JoinSet;

use crate::{Error, Outgoing, Publisher};

/// Batches under way at once.
const UNDER_WAY: usize = 4;
/// Records of a batch.
pub(crate) const BATCH: usize = 5_000;
/// How often a batch is sent again before the feed gives up, with pauses from 50 ms to 5 s: about five minutes.
const ATTEMPTS: u32 = 70;

/// Batches on their way to Kafka.
pub(crate) struct Feed {
    publisher: Publisher,
    under_way: JoinSet<Result<(), Error>>,
}

impl Feed {
    pub(crate) fn new(publisher: Publisher) -> Self {
        Feed { publisher, under_way: JoinSet::new() }
    }

    /// Sends a batch, waiting while too many are under way.
    ///
    /// # Errors
    /// What kept an earlier batch from being sent.
    pub(crate) async fn send(&mut self, batch: Vec<Outgoing>) -> Result<(), Error> {
        while self.under_way.len() >= UNDER_WAY {
            self.join().await?;
        }
        let publisher = self.publisher.clone();
        // Handed over here and not in the task, so that batches keep their order.
        let first = publisher.start(&batch);
        self.under_way.spawn(async move {
            let outcome = match first {
                Ok(delivery) => delivery.confirmed().await,
                Err(error) => Err(error),
            };
            match outcome {
                Err(error) if passing(&publisher, &error) => persist(&publisher, &batch).await,
                settled => settled,
            }
        });
        Ok(())
    }

    /// Waits until everything is confirmed.
    ///
    /// # Errors
    /// What kept a batch from being sent.
    pub(crate) async fn settle(&mut self) -> Result<(), Error> {
        while !self.under_way.is_empty() {
            self.join().await?;
        }
        Ok(())
    }

    async fn join(&mut self) -> Result<(), Error> {
        match self.under_way.join_next().await {
            Some(Ok(result)) => result,
            Some(Err(error)) => {
                Err(Error::Io { object: "batch under way".to_owned(), source: std::io::Error::other(error) })
            }
            None => Ok(()),
        }
    }
}

/// Whether the batch may be taken later.
fn passing(publisher: &Publisher, error: &Error) -> bool {
    matches!(error, Error::Busy { .. } | Error::Gone { .. }) && publisher.usable()
}

async fn persist(publisher: &Publisher, batch: &[Outgoing]) -> Result<(), Error> {
    let mut pause = Duration::from_millis(50);
    for _ in 1..ATTEMPTS {
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(5));
        match send(publisher, batch).await {
            Err(error) if passing(publisher, &error) => {}
            settled => return settled,
        }
    }
    send(publisher, batch).await
}

async fn send(publisher: &Publisher, batch: &[Outgoing]) -> Result<(), Error> {
    publisher.start(batch)?.confirmed().await
}
