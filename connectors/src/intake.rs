//! From a payload that was taken apart to Kafka's confirmation: what every connector does with a batch.
//!
//! Enters: a [`Batch`] and its [`Arrival`]. Leaves: its records and rejects on Kafka. Guarantees: `Ok` means that all of
//! them are stored, and they are counted only then.

use schemas::Reason;

use crate::{
    Error, KnownFacilities, Outgoing, Publisher,
    payload::{Arrival, Batch},
    publish::{Delivery, Parcel},
    telemetry,
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
    /// As for [`Intake::load`] and [`Intake::send`].
    pub fn start(
        &self,
        batch: &mut Batch,
        arrival: &Arrival,
        connector: &'static str,
    ) -> Result<Started, Error> {
        let mut load = Load::for_records(batch.accepted.len() + batch.heard.len() + batch.refused.len());
        self.load(batch, arrival, &mut load)?;
        self.send(&load, connector)
    }

    /// Checks the batch against the registry and adds its records and rejects to what goes to Kafka together. The
    /// accepted records leave the batch.
    ///
    /// # Errors
    /// As for [`Publisher::pack`]; the load must not be sent then.
    pub fn load(&self, batch: &mut Batch, arrival: &Arrival, load: &mut Load) -> Result<(), Error> {
        if let Some(known) = &self.known {
            batch.admit(known);
        }
        load.delivered.records += batch.accepted.len();
        load.delivered.readings += batch.readings();
        for accepted in batch.accepted.drain(..) {
            self.publisher.pack(&accepted.record, &mut load.parcel)?;
        }
        for report in batch.heard.drain(..) {
            self.publisher.pack(&Outgoing::Report(report), &mut load.parcel)?;
        }
        for refusal in &batch.refused {
            load.count(refusal.reason);
            self.publisher.pack(&Outgoing::Reject(refusal.reject(arrival)), &mut load.parcel)?;
        }
        Ok(())
    }

    /// Hands a load to the producer. Loads are stored in the order of these calls.
    ///
    /// # Errors
    /// As for [`Publisher::send`].
    pub fn send(&self, load: &Load, connector: &'static str) -> Result<Started, Error> {
        let delivery = self.publisher.send(&load.parcel)?;
        Ok(Started { delivery, delivered: load.delivered, rejected: load.rejected.clone(), connector })
    }

    /// Puts rejects of another origin on Kafka, such as a payload that was never taken apart.
    ///
    /// # Errors
    /// As for [`Publisher::publish`].
    pub async fn reject(&self, batch: &Batch, arrival: &Arrival) -> Result<(), Error> {
        let rejects = batch.refused.iter().map(|refusal| Outgoing::Reject(refusal.reject(arrival)));
        self.publisher.publish(rejects.collect()).await?;
        for refusal in &batch.refused {
            telemetry::count_rejects(refusal.reason, 1);
        }
        Ok(())
    }
}

/// Batches that go to Kafka together, and what their delivery will be counted as.
#[derive(Debug, Default)]
pub struct Load {
    parcel: Parcel,
    delivered: Delivered,
    rejected: Rejected,
}

/// How many rejects there are of each reason.
type Rejected = Vec<(Reason, u64)>;

impl Load {
    /// A load of about so many records.
    #[must_use]
    pub fn for_records(records: usize) -> Load {
        Load { parcel: Parcel::for_records(records), ..Load::default() }
    }

    fn count(&mut self, reason: Reason) {
        match self.rejected.iter_mut().find(|counted| counted.0 == reason) {
            Some(counted) => counted.1 += 1,
            None => self.rejected.push((reason, 1)),
        }
    }
}

/// Batches on their way to Kafka.
#[derive(Debug)]
#[must_use = "only the delivery reports say that they are stored"]
pub struct Started {
    delivery: Delivery,
    delivered: Delivered,
    rejected: Rejected,
    connector: &'static str,
}

impl Started {
    /// Waits for the delivery reports and counts what they confirm.
    ///
    /// # Errors
    /// As for [`Delivery::confirmed`].
    pub async fn confirmed(self) -> Result<Delivered, Error> {
        self.delivery.confirmed().await?;
        telemetry::REPORTS_IN.with_label_values(&[self.connector]).inc_by(self.delivered.records as u64);
        telemetry::READINGS_IN.inc_by(self.delivered.readings as u64);
        for (reason, number) in self.rejected {
            telemetry::count_rejects(reason, number);
        }
        Ok(self.delivered)
    }
}

/// What Kafka has confirmed of a batch, beside its rejects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delivered {
    /// Reports or events.
    pub records: usize,
    /// Readings within the reports.
    pub readings: usize,
}
