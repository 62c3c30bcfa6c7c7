//! Business events on `heating.events`: complaints, repairs, plans, order feedback, manual measurements.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Code, Millis};

/// One business event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// The sender's id of the event; a second event with the same id and kind replaces the first.
    pub id: String,
    /// `complaint`, `repair`, `plan`, `order_feedback` or `manual_measurement`.
    pub kind: String,
    /// The facility it is about; also the Kafka key.
    pub facility: Code,
    /// When it happened.
    pub at: Millis,
    /// When it arrived.
    pub received_at: Millis,
    /// Connector and peer.
    pub origin: String,
    /// The event's own fields, as text.
    pub fields: BTreeMap<String, String>,
}
