//! tables: how the rows of a stream become blocks. What is special about a table stands in its file in `sinks/src/table`.

use std::collections::BTreeMap;

pub use sinks::table::*;

use super::block::{Gather, block_of};

/// In place of the table of that name, whose rows are gathered by object.
pub use super::readings::Readings;

impl<T: Gathered + Listed> Gather for T {
    type Item = T::Item;
    type Gathered = BTreeMap<u64, Vec<T::Item>>;
    const TABLE: &'static str = <T as Table>::NAME;

    fn gather(gathered: &mut Self::Gathered, item: T::Item) {
        let block = T::subject(&item).map_or(0, block_of);
        gathered.entry(block).or_default().push(item);
    }

    fn close(gathered: Self::Gathered) -> Vec<(u64, Rows)> {
        let rows = |items| {
            let rows = <T as Gathered>::close(items);
            T::count(&rows);
            T::rows(rows)
        };
        gathered.into_iter().map(|(block, items)| (block, rows(items))).collect()
    }
}
