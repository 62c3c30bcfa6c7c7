//! hours: what windows say of the hours that have settled, with the registry changes of the epoch, for the models.

use std::{collections::BTreeMap, rc::Rc};

use operators::{
    model::{HoursEpoch, StationHour},
    window::{ClosedHour, WindowedEpoch},
};
use schemas::Epoch;
use timely::{
    container::CapacityContainerBuilder,
    dataflow::{StreamVec, channels::pact::Pipeline, operators::Operator},
};

use super::validate::SharedEpoch;

/// Gives hours to models.
pub trait Hours<'s> {
    /// One [`HoursEpoch`] per epoch and worker.
    fn hours(self, checked: StreamVec<'s, Epoch, SharedEpoch>) -> StreamVec<'s, Epoch, Rc<HoursEpoch>>;
}

impl<'s> Hours<'s> for StreamVec<'s, Epoch, Rc<WindowedEpoch>> {
    fn hours(self, checked: StreamVec<'s, Epoch, SharedEpoch>) -> StreamVec<'s, Epoch, Rc<HoursEpoch>> {
        type Builder = CapacityContainerBuilder<Vec<Rc<HoursEpoch>>>;
        self.binary::<_, Builder, _, _, _, _>(checked, Pipeline, Pipeline, "hours", |_, _| {
            let mut windowed: BTreeMap<Epoch, Rc<WindowedEpoch>> = BTreeMap::new();
            let mut checked: BTreeMap<Epoch, SharedEpoch> = BTreeMap::new();
            move |first, second, output| {
                // Each side gives one value per epoch and worker; whichever comes second completes the epoch.
                first.for_each(|time, epochs| {
                    for epoch in epochs.drain(..) {
                        match checked.remove(&epoch.epoch) {
                            Some(of) => output.session(&time).give(Rc::new(combine(&epoch, &of))),
                            None => drop(windowed.insert(epoch.epoch, epoch)),
                        }
                    }
                });
                second.for_each(|time, epochs| {
                    for epoch in epochs.drain(..) {
                        match windowed.remove(&epoch.epoch) {
                            Some(of) => output.session(&time).give(Rc::new(combine(&of, &epoch))),
                            None => drop(checked.insert(epoch.epoch, epoch)),
                        }
                    }
                });
            }
        })
    }
}

fn combine(windowed: &WindowedEpoch, checked: &SharedEpoch) -> HoursEpoch {
    HoursEpoch {
        epoch: windowed.epoch,
        clock: windowed.clock,
        profiles: checked.profiles.clone(),
        hours: windowed.hours.iter().map(station_hour).collect(),
    }
}

/// No other outdoor temperature than the station's own is known here.
fn station_hour(closed: &ClosedHour) -> StationHour {
    StationHour::of_closed(closed, None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use operators::window::{Component, Facts};

    #[test]
    fn an_hour_of_one_megawatt_at_minus_ten() {
        let mut facts = Facts::new();
        facts.add(Component::Heat, 1_800_000_000);
        facts.add(Component::HeatTime, 1_800_000);
        facts.add(Component::Outdoor, -36_000_000);
        facts.add(Component::OutdoorTime, 3_600_000);
        let hour = station_hour(&ClosedHour { facility: "ST-1".into(), hour: 0, facts, setpoint: None });
        assert_eq!((hour.heat_kw, hour.coverage, hour.outdoor_temp), (Some(1_000.0), 0.5, Some(-10.0)));
    }
}
