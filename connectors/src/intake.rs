//! From a payload that was taken apart to Kafka's confirmation: what every connector does with a batch.
//!
//! Enters: a [`Batch`] and its [`Arrival`]. Leaves: its records and rejects on Kafka. Guarantees: `Ok` means that all of
//! them are stored, and they are counted only then.

use crate::{
    Error, KnownFacilities, Outgoing, Publisher,
    payload::{Arrival, Batch},
    telemetry::telemetry,
};

/// Where batches go; clones share the publisher and the registry's codes.
#[derive(Clone)]
pub struct Intake {
    /// The way onto Kafka.
    pub publisher: Publisher,
    /// What the registry holds; `None` lets every object through, so that the dataflow decides.
    pub known: Option<KnownFacilities>,
}

impl Intake {
    /// Whether batches can be judged: the registry was read to its end once.
    #[must_use]
    pub fn registry_read(&self) -> bool {
        self.known.as_ref().is_none_or(KnownFacilities::complete)
    }

    /// Checks the batch against the registry, puts all of it on Kafka and waits for the delivery reports. The accepted
    /// records leave the batch.
    ///
    /// # Errors
    /// As for [`Publisher::publish`].
    pub async fn deliver(
        &self,
        batch: &mut Batch,
        arrival: &Arrival,
        connector: &str,
    ) -> Result<Delivered, Error> {
        if let Some(known) = &self.known {
            batch.admit(known);
        }
        let delivered = Delivered { records: batch.accepted.len(), readings: batch.readings() };
        self.publisher.publish(batch.take_outgoing(arrival)).await?;
        let telemetry = telemetry();
        telemetry.reports_in.with_label_values(&[connector]).inc_by(delivered.records as u64);
        telemetry.readings_in.inc_by(delivered.readings as u64);
        for refusal in &batch.refused {
            telemetry.count_reject(refusal.reason);
        }
        Ok(delivered)
    }

    /// Puts rejects of another origin on Kafka, such as a payload that was never taken apart.
    ///
    /// # Errors
    /// As for [`Publisher::publish`].
    pub async fn reject(&self, batch: &Batch, arrival: &Arrival) -> Result<(), Error> {
        let rejects = batch.refused.iter().map(|refusal| Outgoing::Reject(refusal.reject(arrival)));
        self.publisher.publish(rejects.collect()).await?;
        for refusal in &batch.refused {
            telemetry().count_reject(refusal.reason);
        }
        Ok(())
    }
}

/// What Kafka has confirmed of a batch, beside its rejects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// Reports or events.
    pub records: usize,
    /// Readings within the reports.
    pub readings: usize,
}
