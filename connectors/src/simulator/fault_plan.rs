//! Spreading faults over a city, so that every kind occurs and none hides another.
//!
//! One fault at a time per object, none in the first tenth of the span (models are still learning), under- and
//! over-supply in the second half, all over before the end so that their clearing is seen.

use std::collections::BTreeMap;

use schemas::{
    Code, Millis,
    time::{HOUR, MINUTE},
};

use super::{
    fault::{Fault, FaultKind},
    layout::{self, Layout},
    plan::Plan,
    random::Dice,
};

/// A start and an end.
type Span = (Millis, Millis);

/// Free time between two faults of one object, where the span is long enough, so that what each leads to is told apart.
const APART: Millis = 4 * HOUR;
/// A year, s.
const YEAR: f64 = 365.25 * 86_400.0;
/// How many places are tried for a fault before it is left out.
const TRIES: u64 = 60;

/// The faults of a plan: `faults_per_kind` of each kind, sorted by start.
///
/// In a small plan some may find no free object and are left out. A pure function of the plan.
#[must_use]
pub fn plan_faults(plan: &Plan) -> Vec<Fault> {
    let layout = Layout::new(plan);
    let apart = APART.min((plan.until() - plan.from()) / 12);
    let mut taken: BTreeMap<_, Vec<Span>> = BTreeMap::new();
    let mut faults = Vec::new();
    for (order, kind) in FaultKind::ALL.iter().enumerate() {
        for number in 0..plan.faults_per_kind {
            let dice = Dice::new(plan.seed).stream(0xfa).stream(order as u64).stream(u64::from(number));
            let free =
                (0..TRIES).filter_map(|n| candidate(&layout, *kind, number, dice.stream(n))).find(|f| {
                    let spans = taken.get(&(f.facility.clone(), f.device.clone()));
                    spans.is_none_or(|s| s.iter().all(|(a, b)| f.end + apart <= *a || *b + apart <= f.start))
                });
            if let Some(fault) = free {
                let object = (fault.facility.clone(), fault.device.clone());
                taken.entry(object).or_default().push((fault.start, fault.end));
                faults.push(fault);
            }
        }
    }
    faults.sort_by(|a, b| (a.start, &a.facility, &a.device).cmp(&(b.start, &b.facility, &b.device)));
    faults
}

/// What a kind of fault needs: on what it falls, how long it lasts (h), and how strong it is.
fn candidate(layout: &Layout, kind: FaultKind, number: u32, dice: Dice) -> Option<Fault> {
    use FaultKind::*;
    let turn = number as usize;
    let on_device = match kind {
        DeviceMoved => true,
        SensorStuck | Spike | Dropout | LateUpload | DuplicateUpload | WrongClock | NullsOnly
        | RepeatedBlock | ClockFarAhead => turn % 3 == 2,
        _ => false,
    };
    let pick = |metrics: &[&'static str]| Some(metrics[turn % metrics.len()]);
    let station_temps = ["secondary_supply_temp", "secondary_return_temp", "primary_return_temp"];
    let (hours, metric, magnitude): (f64, Option<&'static str>, f64) = match kind {
        SensorStuck if on_device => (14.0, Some("outdoor_temp"), 0.0),
        SensorStuck => (8.0, pick(&station_temps), 0.0),
        Spike if on_device => (2.0, Some("outdoor_temp"), 25.0),
        Spike => (2.0, pick(&station_temps), 30.0),
        Drift => (10.0, pick(&station_temps), dice.between(1, 5.0, 9.0)),
        Dropout if on_device => (3.0, Some("active_power"), 0.0),
        Dropout => (3.0, pick(&["secondary_supply_temp", "heat_power", "secondary_flow"]), 0.0),
        CounterReset => (1.0, pick(&["heat_total", "makeup_total", "energy_total"]), 0.0),
        LateUpload => (dice.between(1, 2.0, 4.0), None, 0.0),
        DuplicateUpload => (2.0, None, 0.0),
        // Three hours fast, or a clock that fell back to 1970.
        WrongClock if turn.is_multiple_of(2) => (1.0, None, 3.0 * 3_600.0),
        WrongClock => (1.0, None, -1.7e9),
        Leak => (dice.between(1, 3.0, 5.0), None, dice.between(2, 5.5, 9.0)),
        PumpStop => (dice.between(1, 1.0, 2.5), None, 0.0),
        UnderSupply => (dice.between(1, 7.0, 11.0), None, dice.between(2, 0.35, 0.55)),
        OverSupply => (dice.between(1, 7.0, 11.0), None, dice.between(2, 1.45, 1.6)),
        Overpressure => (dice.between(1, 1.0, 2.0), None, dice.between(2, 0.22, 0.34)),
        StationOffline => (dice.between(1, 1.0, 3.0), None, 0.0),
        DeviceMoved => (6.0, None, 0.06),
        BatchUpload => (dice.between(1, 5.0, 7.0), None, 30.0),
        // A meter that has counted more than any station's, or a used one that has counted less.
        MeterReplaced if turn.is_multiple_of(2) => {
            (2.0, Some("heat_total"), dice.between(2, 1.2e5, 1.9e5).round())
        }
        MeterReplaced => (2.0, Some("heat_total"), dice.between(2, 300.0, 2e3).round()),
        // GJ become MJ, or kWh.
        UnitSwitched if turn.is_multiple_of(2) => (4.0, Some("heat_total"), 1e3),
        UnitSwitched => (4.0, Some("heat_total"), 1e3 / 3.6),
        NullsOnly => (3.0, None, 0.0),
        RepeatedBlock => (dice.between(1, 3.0, 5.0), None, 30.0),
        // To 2062, or into the next century.
        ClockFarAhead if turn.is_multiple_of(2) => (2.0, None, 37.0 * YEAR),
        ClockFarAhead => (2.0, None, 80.0 * YEAR),
    };
    let objects = if on_device { layout.plan.size.clean_devices } else { layout.plan.size.stations };
    if objects == 0 {
        return None;
    }
    let index = dice.below(3, objects);
    let (facility, device) = if on_device {
        (layout::clean_code(index), Some(layout::device_code(index)))
    } else {
        (layout::station_code(index), None)
    };
    let (start, end) = span(layout, kind, hours, dice.unit(4));
    Some(Fault { kind, facility, device, metric: metric.map(Code::const_new), start, end, magnitude })
}

fn span(layout: &Layout, kind: FaultKind, hours: f64, place: f64) -> Span {
    let (from, until) = (layout.plan.from(), layout.plan.until());
    let whole = (until - from).min(30 * 24 * HOUR);
    let learning = matches!(kind, FaultKind::UnderSupply | FaultKind::OverSupply);
    let quiet = if learning { whole / 2 } else { whole / 10 };
    let lasts = ((hours * HOUR as f64) as Millis).min(whole / 3);
    let room = (whole - quiet - lasts - whole / 24).max(0);
    let start = from + quiet + (place * room as f64) as Millis / MINUTE * MINUTE;
    (start, start + lasts / MINUTE * MINUTE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulator::plan::Size;

    #[test]
    fn every_kind_occurs_apart_from_the_others_and_ends_in_time() {
        let mut plan = Plan::of(Size::of_stations(60));
        plan.faults_per_kind = 4;
        let faults = plan_faults(&plan);
        assert_eq!(faults, plan_faults(&plan));
        for kind in FaultKind::ALL {
            assert_eq!(faults.iter().filter(|f| f.kind == *kind).count(), 4, "{}", kind.name());
        }
        for (n, a) in faults.iter().enumerate() {
            assert!(a.start >= plan.from() + 4 * HOUR && a.end < plan.until() && a.start < a.end);
            for b in &faults[n + 1..] {
                let same = (&a.facility, &a.device) == (&b.facility, &b.device);
                assert!(!same || a.end + APART <= b.start || b.end + APART <= a.start);
            }
        }
    }

    #[test]
    fn a_small_plan_leaves_out_what_finds_no_room() {
        let mut plan = Plan::of(Size::of_stations(1));
        plan.faults_per_kind = 2;
        plan.hours = 6;
        let faults = plan_faults(&plan);
        assert!(!faults.is_empty() && faults.iter().all(|f| f.end <= plan.until()));
    }
}
