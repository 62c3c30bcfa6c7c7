//! Facts per facility, scope, hour and day, kept exact while readings arrive late or are corrected.

mod packing;
pub mod points;

pub use points::{Around, Point, Points};
