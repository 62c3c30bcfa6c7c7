//! What every sink must do, as a suite that is run on each of them.
//!
//! Enters: an empty sink, and a way to count what it holds. Leaves: nothing, or a panic that names the broken rule.
//! Rules: rewriting changes nothing; the order of blocks does not matter; empty and large blocks are fine; writes at
//! the same time do not disturb each other.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use schemas::Epoch;

pub use crate::table::reading;
use crate::{Block, ReadingColumns, Rows, Sink, table};

/// Rows by table, a row that is written again counting once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts(pub BTreeMap<&'static str, usize>);

impl Counts {
    /// What a sink holds after it took these blocks.
    #[must_use]
    pub fn of<'a>(blocks: impl Iterator<Item = &'a Block>) -> Self {
        let mut seen: BTreeSet<(&'static str, String)> = BTreeSet::new();
        for block in blocks {
            seen.extend(block.keys());
        }
        let mut counts = Counts::default();
        for (table, _) in seen {
            *counts.0.entry(table).or_default() += 1;
        }
        counts
    }
}

/// One block of every table for the given epoch, equal whenever it is asked for.
#[must_use]
pub fn blocks(epoch: Epoch) -> Vec<Block> {
    let at = 1_705_305_600_000 + epoch as i64 * 1000;
    let rows = table::examples(epoch, at).into_iter();
    rows.map(|rows| Block { epoch, bucket: 0, rows }).collect()
}

/// Runs the suite on a sink that holds nothing yet; `counts` says what it holds.
///
/// # Panics
/// When the sink breaks a rule.
pub async fn check<S: Sink>(sink: &S, counts: impl AsyncFn() -> Counts) {
    let mut written: Vec<Block> = Vec::new();
    let mut write = async |rule: &str, blocks: Vec<Block>| {
        written.extend(blocks.iter().cloned());
        let result = sink.write(Arc::new(blocks)).await;
        assert!(result.is_ok(), "{}: {rule}: {result:?}", sink.name());
        assert_eq!(counts().await, Counts::of(written.iter()), "{}: {rule}", sink.name());
    };
    write("writes what it is given", blocks(1)).await;
    write("writing again changes nothing", blocks(1)).await;
    write("an empty list is fine", Vec::new()).await;
    let empty = Block { epoch: 2, bucket: 0, rows: Rows::Readings(ReadingColumns::default()) };
    write("a block without rows is fine", vec![empty]).await;
    let mut backwards = [blocks(4), blocks(3)].concat();
    backwards.reverse();
    write("the order does not matter", backwards).await;
    let large = (0..30_000).map(|n| reading(n, 1_705_300_000_000)).collect();
    write("a large block is fine", vec![Block { epoch: 5, bucket: 1, rows: Rows::Readings(large) }]).await;

    let together = [Arc::new(blocks(6)), Arc::new(blocks(7)), Arc::new(blocks(6))];
    let [a, b, c] = &together;
    let done = tokio::join!(sink.write(Arc::clone(a)), sink.write(Arc::clone(b)), sink.write(Arc::clone(c)));
    assert!(done.0.is_ok() && done.1.is_ok() && done.2.is_ok(), "{}: writes at the same time", sink.name());
    let all = written.iter().chain(together.iter().flat_map(|blocks| blocks.iter()));
    assert_eq!(counts().await, Counts::of(all), "{}: writes at the same time", sink.name());
}
