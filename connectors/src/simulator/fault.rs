//! Faults: what goes wrong, where and when, and what it does to physics, to values and to uploads.

use schemas::{
    Code, Millis, RawValue, Report,
    time::{MINUTE, SECOND},
};
use serde::Serialize;

use super::random::Dice;

macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident => $name:literal;)*) => {
        /// What goes wrong.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(rename_all = "snake_case")]
        pub enum FaultKind { $($(#[$doc])* $variant,)* }

        impl FaultKind {
            /// Every kind.
            pub const ALL: &'static [FaultKind] = &[$(FaultKind::$variant,)*];

            /// The name in the truth file.
            #[must_use]
            pub fn name(self) -> &'static str { match self { $(FaultKind::$variant => $name,)* } }
        }
    };
}

kinds! {
    /// A sensor repeats its last value.
    SensorStuck => "sensor_stuck";
    /// Single values jump by the magnitude (in the metric's unit), once every 40 minutes.
    Spike => "spike";
    /// A sensor wanders off, by the magnitude (in the metric's unit) at the end.
    Drift => "drift";
    /// One metric is reported as not measured.
    Dropout => "dropout";
    /// A counter begins again at zero.
    CounterReset => "counter_reset";
    /// Reports are stored and arrive in a burst when the fault ends.
    LateUpload => "late_upload";
    /// Every report arrives a second time, some seconds later.
    DuplicateUpload => "duplicate_upload";
    /// The object's clock is wrong by the magnitude, s.
    WrongClock => "wrong_clock";
    /// The secondary network loses the magnitude, m³/h.
    Leak => "leak";
    /// The circulation pump stands still.
    PumpStop => "pump_stop";
    /// The station holds only the magnitude, a share below 1, of the temperature rise that the weather asks for.
    UnderSupply => "under_supply";
    /// The station holds the magnitude, a multiple above 1, of the temperature rise that the weather asks for.
    OverSupply => "over_supply";
    /// The pressure of the secondary network stands too high by the magnitude, MPa.
    Overpressure => "overpressure";
    /// The station reports nothing, and stores nothing.
    StationOffline => "station_offline";
    /// The device stands elsewhere, by the magnitude, degrees of latitude and longitude.
    DeviceMoved => "device_moved";
    /// Reports are stored and uploaded together, once in so many minutes as the magnitude says.
    BatchUpload => "batch_upload";
    /// The meter is replaced by another one, whose counter stands at the magnitude (in the metric's unit) and stays.
    MeterReplaced => "meter_replaced";
    /// A counter is reported in another unit: multiplied by the magnitude.
    UnitSwitched => "unit_switched";
    /// Reports come on time, and every value in them is null.
    NullsOnly => "nulls_only";
    /// Every block of so many minutes as the magnitude says is sent a second time, after newer data.
    RepeatedBlock => "repeated_block";
    /// The object's clock is years ahead, by the magnitude, s.
    ClockFarAhead => "clock_far_ahead";
}

/// One fault of one object.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Fault {
    /// What goes wrong.
    pub kind: FaultKind,
    /// The facility.
    pub facility: Code,
    /// The device, when it is one of the facility's.
    pub device: Option<Code>,
    /// The metric, where one sensor or meter is concerned.
    pub metric: Option<Code>,
    /// The first moment, by the object's true time.
    #[serde(serialize_with = "as_rfc3339")]
    pub start: Millis,
    /// The first moment after it.
    #[serde(serialize_with = "as_rfc3339")]
    pub end: Millis,
    /// How much; see [`FaultKind`].
    pub magnitude: f64,
}

fn as_rfc3339<S: serde::Serializer>(at: &Millis, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&schemas::time::rfc3339(*at))
}

impl Fault {
    /// Whether it is there at a moment.
    #[must_use]
    pub fn active(&self, at: Millis) -> bool {
        (self.start..self.end).contains(&at)
    }
}

/// What the faults of a station do to its physics.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Effects {
    pub(super) pump_stopped: bool,
    pub(super) heat_factor: f64,
    pub(super) leak: f64,
    pub(super) overpressure: f64,
}

impl Effects {
    pub(super) const NONE: Effects =
        Effects { pump_stopped: false, heat_factor: 1.0, leak: 0.0, overpressure: 0.0 };

    /// Adds what a fault does while it is there.
    pub(super) fn add(&mut self, fault: &Fault) {
        match fault.kind {
            FaultKind::PumpStop => self.pump_stopped = true,
            FaultKind::UnderSupply | FaultKind::OverSupply => self.heat_factor *= fault.magnitude,
            FaultKind::Leak => self.leak += fault.magnitude,
            FaultKind::Overpressure => self.overpressure += fault.magnitude,
            _ => {}
        }
    }
}

/// What a fault remembers from report to report.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Memory {
    held: Option<f64>,
    last_spike: Option<Millis>,
}

/// Changes the values of a report as a fault of its sensors does. A counter that was reset, or is another meter's, stays
/// so after the fault's end.
pub(super) fn distort(fault: &Fault, memory: &mut Memory, report: &mut Report) {
    let at = report.observed_at;
    let stays = matches!(fault.kind, FaultKind::CounterReset | FaultKind::MeterReplaced) && at >= fault.start;
    if !fault.active(at) && !stays {
        return;
    }
    if fault.kind == FaultKind::NullsOnly {
        report.readings.iter_mut().for_each(|reading| reading.value = RawValue::Missing);
        return;
    }
    let Some(metric) = &fault.metric else { return };
    let Some(reading) = report.readings.iter_mut().find(|r| r.metric == *metric) else { return };
    let RawValue::Number(value) = &mut reading.value else { return };
    match fault.kind {
        FaultKind::SensorStuck => *value = *memory.held.get_or_insert(*value),
        FaultKind::Spike if memory.last_spike.is_none_or(|last| at - last >= 40 * MINUTE) => {
            memory.last_spike = Some(at);
            *value = round3(*value + fault.magnitude);
        }
        FaultKind::Drift => {
            let share = (at - fault.start) as f64 / (fault.end - fault.start) as f64;
            *value = ((*value + share * fault.magnitude) * 10.0).round() / 10.0;
        }
        FaultKind::CounterReset => *value = round3(*value - *memory.held.get_or_insert(*value)),
        FaultKind::MeterReplaced => {
            *value = round3(fault.magnitude + *value - *memory.held.get_or_insert(*value));
        }
        FaultKind::UnitSwitched => *value = round3(*value * fault.magnitude),
        FaultKind::Dropout => reading.value = RawValue::Missing,
        _ => {}
    }
}

/// A stored report follows the one before it after so many milliseconds: a gateway empties its memory at about twenty
/// reports a second, oldest first.
const STORED_APART: Millis = 50;
/// How long after its end a block is sent again, when newer data has been sent.
const REPEATED_AFTER: Millis = 10 * MINUTE;

fn round3(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

/// What becomes of a report on its way.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Upload {
    /// It never arrives.
    pub(super) lost: bool,
    /// It is held back at least until then.
    pub(super) held_until: Option<Millis>,
    /// It arrives a second time, so much later.
    pub(super) again_after: Option<Millis>,
    /// It arrives a second time at that moment.
    pub(super) again_at: Option<Millis>,
}

/// Decides what a fault does to the upload of a report; a wrong clock changes the report itself.
pub(super) fn divert(fault: &Fault, dice: Dice, true_time: Millis, report: &mut Report, upload: &mut Upload) {
    if !fault.active(true_time) {
        return;
    }
    match fault.kind {
        FaultKind::StationOffline => upload.lost = true,
        FaultKind::LateUpload => {
            let place = (true_time - fault.start) / MINUTE;
            upload.held_until = Some(fault.end + place * STORED_APART);
        }
        FaultKind::BatchUpload => {
            let (end, place) = block(fault, true_time);
            upload.held_until = Some(end + place * STORED_APART);
        }
        FaultKind::RepeatedBlock => {
            let (end, place) = block(fault, true_time);
            upload.again_at = Some(end + REPEATED_AFTER + place * STORED_APART);
        }
        FaultKind::DuplicateUpload => {
            let wait = 2 * SECOND + (dice.unit(true_time as u64) * 20.0 * SECOND as f64) as Millis;
            upload.again_after = Some(wait);
        }
        FaultKind::WrongClock | FaultKind::ClockFarAhead => {
            report.observed_at = true_time + (fault.magnitude * SECOND as f64) as Millis;
        }
        _ => {}
    }
}

/// The end of the block of a moment, and the moment's place in the block, minutes. Blocks last for so many minutes as the
/// magnitude says; the last one ends with the fault.
fn block(fault: &Fault, at: Millis) -> (Millis, Millis) {
    let lasts = (fault.magnitude as Millis).max(1) * MINUTE;
    let begin = at - (at - fault.start) % lasts;
    ((begin + lasts).min(fault.end), (at - begin) / MINUTE)
}
