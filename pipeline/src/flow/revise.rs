//! roll up and revise: facts of facilities become facts of every scope above, and changed facts become KPI rows.

use std::{collections::BTreeMap, rc::Rc};

use differential_dataflow::{AsCollection, operators::CountTotal};
use operators::{
    flow::Stash,
    kpi::{Revise, Revised},
    reason::Reason,
    window::{Facts, WindowedEpoch},
};
use schemas::{Epoch, KpiRow, Millis, Period, QualityRow, Scope};
use timely::{
    container::CapacityContainerBuilder,
    dataflow::{
        StreamVec,
        channels::pact::{Exchange, Pipeline},
        operators::{
            Capability,
            generic::{OutputBuilder, builder_rc::OperatorBuilder},
            vec::Map,
        },
    },
};

use super::bucket;

type Key = (Scope, Period, Millis);
/// A roll-up's facts retracted or inserted, as differential's count gives them.
type RolledUp = ((Key, Facts), Epoch, i64);

/// Why a roll-up changes in an epoch.
type Explained = (Key, Epoch, Reason);

/// What windows say of an epoch, with the right to speak of it on the second output.
type Windows = (Capability<Epoch>, Rc<WindowedEpoch>);

/// The rows of KPIs and of data quality.
pub struct Indicators<'s> {
    /// KPI states.
    pub kpis: StreamVec<'s, Epoch, KpiRow>,
    /// Data-quality figures.
    pub quality: StreamVec<'s, Epoch, QualityRow>,
}

/// Rolls up.
pub trait RollUp<'s> {
    /// Sums the facts of each scope and window over all facilities below it, and gives at the end of each group of
    /// epochs the rows that differ from what was said before. A row is on the worker of its scope's bucket.
    fn roll_up(self, group: u64) -> Indicators<'s>;
}

impl<'s> RollUp<'s> for StreamVec<'s, Epoch, Rc<WindowedEpoch>> {
    fn roll_up(self, group: u64) -> Indicators<'s> {
        // The sums ride in the difference, so that a late reading costs one update per scope.
        let contributions = self.clone().flat_map(|windowed| {
            let epoch = windowed.epoch;
            windowed.contributions.clone().into_iter().map(move |(key, facts)| (key, epoch, facts))
        });
        let totals = contributions.as_collection().count_total_core::<i64>().inner;
        let reasons = self.clone().flat_map(|windowed| {
            let epoch = windowed.epoch;
            windowed.reasons.clone().into_iter().map(move |(key, reason)| (key, epoch, reason))
        });
        revise(self, totals, reasons, group)
    }
}

fn revise<'s>(
    windowed: StreamVec<'s, Epoch, Rc<WindowedEpoch>>,
    totals: StreamVec<'s, Epoch, RolledUp>,
    reasons: StreamVec<'s, Epoch, Explained>,
    group: u64,
) -> Indicators<'s> {
    let mut builder = OperatorBuilder::new("revise".to_owned(), windowed.scope());
    let mut windows = builder.new_input(windowed, Pipeline);
    let mut totals =
        builder.new_input(totals, Exchange::new(|(((scope, ..), _), ..): &RolledUp| bucket(&scope.code)));
    let mut reasons =
        builder.new_input(reasons, Exchange::new(|((scope, ..), ..): &Explained| bucket(&scope.code)));
    let (kpis, kpi_rows) = builder.new_output::<Vec<KpiRow>>();
    let (quality, quality_rows) = builder.new_output::<Vec<QualityRow>>();
    let mut kpis = OutputBuilder::<_, CapacityContainerBuilder<Vec<KpiRow>>>::from(kpis);
    let mut quality = OutputBuilder::<_, CapacityContainerBuilder<Vec<QualityRow>>>::from(quality);
    builder.build(move |_| {
        let mut stash: Stash<Windows> = Stash::default();
        let mut changed: BTreeMap<Epoch, Vec<(Key, Facts, i64)>> = BTreeMap::new();
        let mut because: BTreeMap<Epoch, Vec<(Key, Reason)>> = BTreeMap::new();
        let mut stage = Revise::new(group);
        move |frontiers| {
            windows.for_each(|time, epochs| {
                for epoch in epochs.drain(..) {
                    stash.entry(epoch.epoch, || (time.retain(0), (time.retain(1), epoch)));
                }
            });
            totals.for_each(|_, updates| {
                for ((key, facts), epoch, difference) in updates.drain(..) {
                    changed.entry(epoch).or_default().push((key, facts, difference));
                }
            });
            reasons.for_each(|_, reasons| {
                for (key, epoch, reason) in reasons.drain(..) {
                    because.entry(epoch).or_default().push((key, reason));
                }
            });
            let (mut kpis, mut quality) = (kpis.activate(), quality.activate());
            let complete = |epoch: &Epoch| !frontiers.iter().any(|frontier| frontier.less_equal(epoch));
            while let Some((epoch, for_kpis, (for_quality, windowed))) = stash.take(complete) {
                stage.push_roll_ups(windowed.horizon, changed.remove(&epoch).unwrap_or_default());
                stage.push_reasons(because.remove(&epoch).unwrap_or_default());
                stage.push_facilities(windowed);
                let Revised { kpis: rows, quality: figures } = stage.close(epoch);
                kpis.session(&for_kpis).give_iterator(rows.into_iter());
                quality.session(&for_quality).give_iterator(figures.into_iter());
            }
        }
    });
    Indicators { kpis: kpi_rows, quality: quality_rows }
}
