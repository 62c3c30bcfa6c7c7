//! block: rows become blocks, one per table, group of epochs and bucket: a pure function of the epochs.

use std::collections::BTreeMap;

use schemas::Epoch;
use sinks::{Block, Rows};
use timely::{
    container::CapacityContainerBuilder,
    dataflow::{
        StreamVec,
        channels::pact::Pipeline,
        operators::{Capability, Operator},
    },
};

/// What of a stream goes into one table.
pub trait Table: 'static {
    /// What flows in.
    type Item: Clone + 'static;
    /// One row.
    type Row: 'static;
    /// The operator's name.
    const NAME: &'static str;

    /// Takes an item apart into rows and the buckets they belong to.
    fn split(item: Self::Item, put: &mut impl FnMut(u64, Self::Row));

    /// Brings the rows of a block into the order of the table's key, whatever order they came in, and leaves the last
    /// state of each key.
    fn rows(rows: Vec<Self::Row>) -> Rows;
}

/// The last epoch of the group in which `epoch` lies: groups are aligned, so they follow from the epoch alone.
#[must_use]
pub fn group_end(epoch: Epoch, group: u64) -> Epoch {
    epoch / group * group + group - 1
}

/// Rows by bucket.
type Buckets<R> = BTreeMap<u64, Vec<R>>;

/// Builds blocks.
pub trait Blocks<'s, I> {
    /// Collects the rows of `group` epochs and gives the blocks at the group's last epoch. Rows of one bucket must be on
    /// one worker.
    fn blocks<T: Table<Item = I>>(self, group: u64) -> StreamVec<'s, Epoch, Block>;
}

impl<'s, I: Clone + 'static> Blocks<'s, I> for StreamVec<'s, Epoch, I> {
    fn blocks<T: Table<Item = I>>(self, group: u64) -> StreamVec<'s, Epoch, Block> {
        type Builder = CapacityContainerBuilder<Vec<Block>>;
        self.unary_frontier::<Builder, _, _, _>(Pipeline, T::NAME, move |_, _| {
            let mut open: BTreeMap<Epoch, (Capability<Epoch>, Buckets<T::Row>)> = BTreeMap::new();
            move |(input, frontier), output| {
                input.for_each(|time, items| {
                    let end = group_end(*time.time(), group);
                    let (_, buckets) =
                        open.entry(end).or_insert_with(|| (time.delayed(&end, 0), BTreeMap::new()));
                    for item in items.drain(..) {
                        T::split(item, &mut |bucket, row| buckets.entry(bucket).or_default().push(row));
                    }
                });
                while let Some(entry) = open.first_entry().filter(|entry| !frontier.less_equal(entry.key())) {
                    let (epoch, (capability, buckets)) = entry.remove_entry();
                    let blocks = buckets.into_iter().map(|(bucket, rows)| Block {
                        epoch,
                        bucket: bucket as u16,
                        rows: T::rows(rows),
                    });
                    output.session(&capability).give_iterator(blocks);
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::group_end;

    #[test]
    fn groups_are_aligned() {
        assert_eq!([1, 3, 4, 7, 8].map(|e| group_end(e, 4)), [3, 3, 7, 7, 11]);
        assert_eq!([1, 2].map(|e| group_end(e, 1)), [1, 2]);
    }
}
