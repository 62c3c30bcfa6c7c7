//! What tests put onto the topics themselves, as the connectors would: for scenarios that are about the dataflow.

use std::{sync::Arc, time::Duration};

use connectors::{
    Outgoing, Publisher,
    pace::Pace,
    publish::Limits,
    simulator::{self, Destination, Fault, Plan, Simulated},
};
use schemas::avro::Codec;

use crate::Site;

/// Records that are published at a time.
const BATCH: usize = 2_000;

impl Site {
    /// A publisher on the site's topics.
    pub fn publisher(&self) -> Publisher {
        // A busy machine or a broker that limps is no reason to fail.
        let limits = Limits { delivery_timeout: Duration::from_secs(60), ..Limits::default() };
        Publisher::connect(&self.kafka(), Arc::new(Codec::single_object()), limits).unwrap()
    }

    /// Publishes records in their order and returns once all of them are on the topics; gives the number of readings.
    pub async fn publish(&self, records: &[Outgoing]) -> u64 {
        let publisher = self.publisher();
        for batch in records.chunks(BATCH) {
            publisher.publish(batch.to_vec()).await.unwrap();
        }
        let readings = |record: &Outgoing| match record {
            Outgoing::Report(report) => report.readings.len() as u64,
            _ => 0,
        };
        records.iter().map(readings).sum()
    }

    /// Loads a plan's registry and sends everything that it simulates.
    pub async fn simulate(&self, plan: &Plan, faults: Vec<Fault>) -> Simulated {
        let publisher = self.publisher();
        simulator::load_registry(plan, &publisher).await.unwrap();
        simulator::run(plan, faults, Destination::Kafka(publisher), Pace::Fastest, false).await.unwrap()
    }
}
