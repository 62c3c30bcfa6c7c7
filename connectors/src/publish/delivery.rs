//! Delivery reports: how a batch learns that Kafka has it.
//!
//! Enters: librdkafka's callbacks, one per record, on its own thread. Leaves: one answer per batch. Guarantees: every
//! record is counted exactly once, and the bytes of a batch count as pending until its last record is settled.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

use rdkafka::{
    ClientContext,
    error::{KafkaError, RDKafkaErrorCode},
    message::DeliveryResult,
    producer::ProducerContext,
};
use tokio::sync::{Notify, oneshot};

use super::{BrokerState, FATAL, REACHABLE, UNREACHABLE};
use crate::{Error, telemetry};

/// Bytes without delivery report.
#[derive(Debug, Default)]
pub(super) struct Pressure {
    bytes: AtomicUsize,
    records: AtomicUsize,
    emptied: Notify,
}

impl Pressure {
    pub async fn drained(&self) {
        loop {
            let emptied = self.emptied.notified();
            if self.records.load(Ordering::Acquire) == 0 {
                return;
            }
            emptied.await;
        }
    }

    fn release(&self, bytes: usize, records: usize) {
        self.bytes.fetch_sub(bytes, Ordering::AcqRel);
        if self.records.fetch_sub(records, Ordering::AcqRel) == records {
            self.emptied.notify_waiters();
        }
        telemetry::PUBLISH_PENDING.sub(records as i64);
    }
}

/// The records of one `publish` call.
#[derive(Debug)]
pub(super) struct Batch {
    left: AtomicUsize,
    outcome: Mutex<Outcome>,
    pressure: Arc<Pressure>,
    bytes: usize,
    records: usize,
}

#[derive(Debug)]
struct Outcome {
    failure: Option<RDKafkaErrorCode>,
    done: Option<oneshot::Sender<Option<RDKafkaErrorCode>>>,
}

impl Batch {
    /// Reserves the batch's bytes, or refuses it as a whole.
    ///
    /// # Errors
    /// [`Error::Busy`] when other batches wait and this one does not fit beside them.
    pub fn admit(
        pressure: &Arc<Pressure>,
        records: usize,
        bytes: usize,
        limit: usize,
    ) -> Result<(Arc<Batch>, oneshot::Receiver<Option<RDKafkaErrorCode>>), Error> {
        pressure
            .bytes
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |pending| {
                (pending == 0 || pending + bytes <= limit).then_some(pending + bytes)
            })
            .map_err(|pending| Error::Busy { pending, wanted: bytes })?;
        pressure.records.fetch_add(records, Ordering::AcqRel);
        telemetry::PUBLISH_PENDING.add(records as i64);
        let (sender, done) = oneshot::channel();
        let batch = Batch {
            left: AtomicUsize::new(records),
            outcome: Mutex::new(Outcome { failure: None, done: Some(sender) }),
            pressure: Arc::clone(pressure),
            bytes,
            records,
        };
        Ok((Arc::new(batch), done))
    }

    /// Counts `records` as confirmed, or as failed when there is a failure.
    pub fn settle(&self, records: usize, failure: Option<RDKafkaErrorCode>) {
        if failure.is_some() {
            self.outcome.lock().unwrap_or_else(PoisonError::into_inner).failure = failure;
        }
        if self.left.fetch_sub(records, Ordering::AcqRel) == records {
            self.pressure.release(self.bytes, self.records);
            let mut outcome = self.outcome.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(code) = outcome.failure {
                tracing::warn!(%code, records = self.records, "a batch was not delivered as a whole");
            }
            if let Some(done) = outcome.done.take() {
                // The caller may have stopped waiting.
                let _ = done.send(outcome.failure);
            }
        }
    }
}

/// Receives librdkafka's callbacks.
#[derive(Debug)]
pub(super) struct Deliveries {
    pub broker: Arc<BrokerState>,
}

impl ClientContext for Deliveries {
    fn error(&self, error: KafkaError, reason: &str) {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::AllBrokersDown) => self.broker.set(UNREACHABLE),
            Some(RDKafkaErrorCode::Fatal) => {
                tracing::error!(%error, reason, "the kafka producer has failed for good: restart this process");
                self.broker.set(FATAL);
            }
            _ => tracing::warn!(%error, reason, "kafka"),
        }
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Arc<Batch>;

    fn delivery(&self, result: &DeliveryResult<'_>, batch: Arc<Batch>) {
        match result {
            Ok(_) => {
                self.broker.set(REACHABLE);
                batch.settle(1, None);
            }
            Err((error, _)) => {
                batch.settle(1, Some(error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail)));
            }
        }
    }
}

/// What a failed record means for its sender.
pub(super) fn error(code: RDKafkaErrorCode) -> Error {
    match code {
        RDKafkaErrorCode::MessageSizeTooLarge
        | RDKafkaErrorCode::InvalidRecord
        | RDKafkaErrorCode::InvalidMessage => Error::Refused { detail: code.to_string() },
        _ => Error::Gone { detail: code.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_admitted_whole_or_not_at_all() {
        let pressure = Arc::new(Pressure::default());
        let (first, mut done) = Batch::admit(&pressure, 2, 80, 100).unwrap();
        assert!(matches!(Batch::admit(&pressure, 1, 21, 100), Err(Error::Busy { pending: 80, wanted: 21 })));
        let (_second, _) = Batch::admit(&pressure, 1, 20, 100).unwrap();
        first.settle(1, None);
        assert!(done.try_recv().is_err(), "one of two records is not confirmed");
        first.settle(1, None);
        assert_eq!(done.try_recv(), Ok(None));
        assert!(Batch::admit(&pressure, 1, 80, 100).is_ok());
    }

    #[test]
    fn a_batch_larger_than_the_limit_goes_alone() {
        let pressure = Arc::new(Pressure::default());
        let (batch, _done) = Batch::admit(&pressure, 1, 500, 100).unwrap();
        assert!(Batch::admit(&pressure, 1, 1, 100).is_err());
        batch.settle(1, None);
        assert!(Batch::admit(&pressure, 1, 1, 100).is_ok());
    }

    #[test]
    fn one_failed_record_fails_the_batch() {
        let pressure = Arc::new(Pressure::default());
        let (batch, mut done) = Batch::admit(&pressure, 3, 3, 100).unwrap();
        batch.settle(1, None);
        batch.settle(1, Some(RDKafkaErrorCode::MessageTimedOut));
        batch.settle(1, None);
        assert_eq!(done.try_recv(), Ok(Some(RDKafkaErrorCode::MessageTimedOut)));
    }
}
