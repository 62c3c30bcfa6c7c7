//! From a payload that was taken apart to Kafka's confirmation: what every connector does with a batch.
//!
//! Enters: a [`Batch`] and its [`Arrival`]. Leaves: its records and rejects on Kafka. Guarantees: `Ok` means that all of
//! them are stored, and they are counted only then.

use schemas::Reason;

use crate::{
    Error, KnownFacilities, Outgoing, Publisher,
    payload::{Arrival, Batch},
    publish::Delivery,
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
        connector: &'static str,
    ) -> Result<Delivered, Error> {
        self.start(batch, arrival, connector)?.confirmed().await
    }

    /// As [`Intake::deliver`] without waiting. Batches are stored in the order of these calls.
    ///
    /// # Errors
    /// As for [`Publisher::start`].
    pub fn start(
        &self,
        batch: &mut Batch,
        arrival: &Arrival,
        connector: &'static str,
    ) -> Result<Started, Error> {
        if let Some(known) = &self.known {
            batch.admit(known);
        }
        let delivered = Delivered { records: batch.accepted.len(), readings: batch.readings() };
        let reasons = batch.refused.iter().map(|refusal| refusal.reason).collect();
        let delivery = self.publisher.start(&batch.take_outgoing(arrival))?;
        Ok(Started { delivery, delivered, reasons, connector })
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

/// A batch on its way to Kafka.
#[derive(Debug)]
#[must_use = "only the delivery reports say that the batch is stored"]
pub struct Started {
    delivery: Delivery,
    delivered: Delivered,
    reasons: Vec<Reason>,
    connector: &'static str,
}

impl Started {
    /// Waits for the delivery reports and counts what they confirm.
    ///
    /// # Errors
    /// As for [`Delivery::confirmed`].
    pub async fn confirmed(self) -> Result<Delivered, Error> {
        self.delivery.confirmed().await?;
        let telemetry = telemetry();
        telemetry.reports_in.with_label_values(&[self.connector]).inc_by(self.delivered.records as u64);
        telemetry.readings_in.inc_by(self.delivered.readings as u64);
        for reason in self.reasons {
            telemetry.count_reject(reason);
        }
        Ok(self.delivered)
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
