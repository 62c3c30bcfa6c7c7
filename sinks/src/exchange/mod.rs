//! The provincial exchange.

pub mod ledger;
pub mod signing;
