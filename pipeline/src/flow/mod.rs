//! The operators that move data and capabilities: thin shells around the pure stages.
//!
//! Enters: bindings. Leaves: acknowledged blocks. Guarantees: an epoch is processed once its frontier has passed,
//! in an order that does not depend on the number of workers.

pub mod alarms;
pub mod arrivals;
pub mod batch;
pub mod bind;
pub mod block;
pub mod clock;
pub mod decode;
pub mod deliver;
pub mod estimates;
pub mod lateness;
pub mod models;
pub mod read;
pub mod readings;
pub mod registry;
pub mod rejects;
pub mod revise;
pub mod saving;
pub mod stages;
pub mod tables;
pub mod validate;

pub use operators::durable::bucket;
