//! `exchange_ledger`: what became of every row that the province is owed. It fills as the ledger grows, not by blocks.

use crate::{
    clickhouse::{Insert, NativeBlock},
    exchange::ledger::Event,
};

/// The table.
pub const NAME: &str = "exchange_ledger";

/// The insert of events of the ledger; none when there are none.
#[must_use]
pub(crate) fn insert(events: &[Event]) -> Option<Insert> {
    let (first, last) = (events.first()?.sequence, events.last()?.sequence);
    // Numbers are never used twice in one ledger, but a ledger may be started anew: its times tell them apart.
    let token = format!("{NAME}/{}/{first}-{last}", events.first()?.at);
    let mut columns = NativeBlock::new(events.len());
    columns.low_cardinality("table", events.iter().map(|e| e.row.table.as_str()));
    columns.string("key", events.iter().map(|e| &e.row.key));
    columns.millis("window", events.iter().map(|e| e.row.window));
    columns.u32("attempt", events.iter().map(|e| e.attempt));
    columns.millis("at", events.iter().map(|e| e.at));
    columns.low_cardinality("outcome", events.iter().map(|e| e.outcome.name()));
    columns.low_cardinality("code", events.iter().map(|e| e.code.as_str()));
    columns.string("detail", events.iter().map(|e| &e.detail));
    columns.u64("sequence", events.iter().map(|e| e.sequence));
    Some(Insert { table: NAME, token, columns })
}
