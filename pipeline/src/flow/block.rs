//! block: rows become blocks, a few per table and group of epochs: a pure function of the epochs.

use operators::{
    durable::{BUCKETS, bucket},
    flow::Stash,
};
use schemas::Epoch;
use sinks::{Block, Rows};
use timely::{
    container::CapacityContainerBuilder,
    dataflow::{
        Scope, StreamVec,
        channels::pact::Pipeline,
        operators::{Concatenate, Operator},
    },
};

/// How what flows becomes the blocks of a table.
pub trait Gather: 'static {
    /// What flows in.
    type Item: Clone + 'static;
    /// What has come of a group of epochs.
    type Gathered: Default + 'static;
    /// The table's name.
    const TABLE: &'static str;

    /// Takes an item to what has come before it.
    fn gather(gathered: &mut Self::Gathered, item: Self::Item);

    /// The rows of a group by block, each block once: in the order of the table's key, whatever order they came in, with
    /// the last state of each key.
    fn close(gathered: Self::Gathered) -> Vec<(u64, Rows)>;
}

/// How many blocks the readings of a group make, and so its KPIs and quality figures. What a block costs a store hardly
/// depends on what it holds: with one for each of the 16 buckets the store took twice the CPU for a city. Where the workers
/// are one, two or four, every block has its rows on one of them.
const BLOCKS: u64 = 4;

/// The number of the block that the rows of a facility or scope go into. It follows those of the buckets, by which blocks
/// were numbered once: a store must not take a block for one of those that it has seen.
#[must_use]
pub fn block_of(code: &str) -> u64 {
    u64::from(BUCKETS) + bucket(code) % BLOCKS
}

/// The last epoch of the group in which `epoch` lies: groups are aligned, so they follow from the epoch alone.
#[must_use]
pub fn group_end(epoch: Epoch, group: u64) -> Epoch {
    epoch / group * group + group - 1
}

/// The blocks of every table.
pub struct TableBlocks<'s> {
    scope: Scope<'s, Epoch>,
    tables: Vec<(&'static str, StreamVec<'s, Epoch, Block>)>,
}

impl<'s> TableBlocks<'s> {
    /// Of no table yet.
    #[must_use]
    pub fn new(scope: Scope<'s, Epoch>) -> TableBlocks<'s> {
        TableBlocks { scope, tables: Vec::new() }
    }

    /// Adds a table, whose rows of `group` epochs go out together.
    #[must_use]
    pub fn with<T: Gather>(mut self, rows: StreamVec<'s, Epoch, T::Item>, group: u64) -> TableBlocks<'s> {
        self.tables.push((T::TABLE, blocks::<T>(rows, group)));
        self
    }

    /// The blocks of some tables.
    #[must_use]
    pub fn of(&self, names: &[&str]) -> StreamVec<'s, Epoch, Block> {
        let wanted = self.tables.iter().filter(|(name, _)| names.contains(name));
        self.scope.clone().concatenate(wanted.map(|(_, blocks)| blocks.clone()))
    }
}

/// Collects the rows of `group` epochs and gives the blocks at the group's last epoch. Where a block has rows on several
/// workers, each gives its part: [`unite`] puts them together.
fn blocks<'s, T: Gather>(rows: StreamVec<'s, Epoch, T::Item>, group: u64) -> StreamVec<'s, Epoch, Block> {
    type Builder = CapacityContainerBuilder<Vec<Block>>;
    let name = format!("block {}", T::TABLE);
    rows.unary_frontier::<Builder, _, _, _>(Pipeline, &name, move |_, _| {
        let mut stash: Stash<T::Gathered> = Stash::default();
        move |(input, frontier), output| {
            input.for_each(|time, items| {
                let end = group_end(*time.time(), group);
                let gathered = stash.entry(end, || (time.delayed(&end, 0), T::Gathered::default()));
                items.drain(..).for_each(|item| T::gather(gathered, item));
            });
            while let Some((epoch, capability, gathered)) = stash.take(|end| !frontier.less_equal(end)) {
                let block = |(bucket, rows)| Block { epoch, bucket: bucket as u16, rows };
                let blocks = T::close(gathered).into_iter().map(block);
                output.session(&capability).give_iterator(blocks);
            }
        }
    })
}

/// Sorts the blocks of an epoch, and makes the parts of each one block.
pub fn unite(blocks: &mut Vec<Block>) {
    blocks.sort_by_key(Block::place);
    blocks.dedup_by(|part, block| part.place() == block.place() && block.rows.unite(&mut part.rows));
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
