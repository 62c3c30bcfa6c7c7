//! Where state lies, and who may write there: below bindings and checkpoints, which both rest on it.
//!
//! Enters: names and bytes. Leaves: files of a directory or a bucket. Guarantees: of two starts of a pipeline only the one
//! of the greatest generation leaves anything that is read.

pub mod fence;
mod name;
mod store;

pub use fence::Fence;
pub use name::{Generation, Id, Name};
pub use store::{Directory, Object, Store};
