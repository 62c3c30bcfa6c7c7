//! What comes in.

pub mod simulator;
