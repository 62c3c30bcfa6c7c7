//! A simulated district or city that obeys physics, with labelled faults.
//!
//! Enters: a [`Plan`] (sizes, span, seed). Leaves: its [`registry`], the [`Fault`]s with their truth file, and a
//! [`Simulator`]: for every minute the reports that arrive in it. Guarantees: no clock and no hidden chance, so the
//! same plan gives the same bytes; a plan without faults stays within every physical range and limit.
//!
//! ```text
//! weather ─┬─> source ──> station ──> building ──> room
//!          └─> clean device                          │
//!              faults: physics, values, uploads ─────┴──> reports in order of arrival
//! ```

mod building;
mod city;
mod clean_device;
mod drive;
mod fault;
mod fault_plan;
mod http_client;
mod layout;
mod mqtt_backlog;
mod mqtt_client;
mod plan;
mod random;
mod registry;
mod sheet;
mod source;
mod station;
pub mod truth;
mod weather;
mod wire_form;

#[cfg(test)]
mod tests;

pub use city::{Minute, Simulator};
pub use drive::{Destination, Endpoints, Simulated, load_registry, registry_records, run};
pub use fault::{Fault, FaultKind};
pub use fault_plan::plan_faults;
pub use plan::{Intervals, Plan, PlanError, Size};
pub use registry::registry;
pub use truth::write_truth;
