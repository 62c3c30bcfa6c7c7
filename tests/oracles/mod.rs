//! Batch computations, written separately from the product and as plainly as their definitions allow.

pub mod kpis;
pub mod table;
pub mod topics;
