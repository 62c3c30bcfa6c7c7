//! The energy signature: under-supply, over-supply and intermittent supply of stations, each station's heat against the
//! weather, hour by hour.
//!
//! Enters: closed hours of stations (heat, outdoor temperature, set point). Leaves: a [`Diagnosis`] per station and hour,
//! and alarms `under_supply`, `over_supply` and `intermittent_supply`.
//! Guarantees: hours under an alarm are not learnt from, until a stable relation has lasted so long that it is the
//! station's own.
//!
//! The outdoor temperature is smoothed over as many hours as the station's own history says that it follows (its
//! controller and the inertia of its buildings): of 1, 3, 6, 12 and 24 h the one that explains the heat best.
//! No heating is expected outside the heating season of the registry, nor of a station that is off on a mild day. Heat
//! that stops day after day though the weather asks for it is intermittent supply (C 1.5); less heat under a lowered
//! set point is not.

mod diagnosis;
mod former;
mod ground;
mod hours;
mod judgement;
mod known;
mod learn;
mod signature;

use schemas::{Code, EstimateRow, Millis, Side, time::HOUR};
use serde_json::{Value, json};
use smallvec::SmallVec;

pub use diagnosis::{Diagnosis, Learnt, Reason, SupplyState};
pub use ground::{DESIGN_OUTDOOR_TEMP, Ground, SupplySettings};
pub use signature::{Design, Sample, Signature, SignatureSettings};

use self::{hours::Hour, known::Known, learn::Fit};
use super::{Case, Judge, Judged, Lesson, Model, Settings, end_of};
use crate::{
    Profile,
    alarm::{episode::Limits, journal::Cause, rule::Rule},
    durable::RestoreError,
    window::{ClosedHour, Component},
};

/// The model's code.
pub const MODEL: &str = "energy_signature";
/// Version of the method, written with every diagnosis: raised with any change of what is judged or learnt.
const METHOD: u32 = 2;

/// Rule code: less heat than the weather asks for.
pub const UNDER_SUPPLY: &str = "under_supply";
/// Rule code: more heat than the weather asks for.
pub const OVER_SUPPLY: &str = "over_supply";
/// Rule code: heat that stops day after day.
pub const INTERMITTENT_SUPPLY: &str = "intermittent_supply";

/// The rules by number.
const UNDER: usize = 0;
const OVER: usize = 1;
const INTERMITTENT: usize = 2;

/// Judged hours shown with an alarm: number, and % of what was expected.
pub type Shares = SmallVec<[(i32, f32); 6]>;

/// The model.
#[derive(Debug)]
pub struct EnergySignature;

impl Model for EnergySignature {
    const CODE: &'static str = MODEL;
    const STATE: &'static str = "supply";
    const FORM: u16 = 3;
    const FACTS: &'static [Component] =
        &[Component::Heat, Component::HeatTime, Component::Outdoor, Component::OutdoorTime];

    type Ground = Ground;
    type Hour = Hour;
    type Learnt = Known;
    type Fit = Fit;
    type Diagnosis = Diagnosis;
    type Shown = Shares;

    fn rules() -> Vec<Rule> {
        rules()
    }

    fn ground(profile: &Profile, settings: &Settings) -> Option<Ground> {
        Ground::of(profile, settings)
    }

    fn memory(ground: &Ground) -> i32 {
        ground.settings.most_hours
    }

    fn hour(closed: &ClosedHour, ground: &Ground) -> Hour {
        Hour::of(closed, ground.settings.least_coverage)
    }

    fn judge(known: &Known, case: &Case<'_, Self>) -> Judged<Self> {
        known.judge(case)
    }

    /// A station whose heat stops at night is learnt from all the same: stops are told by other days.
    fn locks(rule: usize) -> bool {
        rule != INTERMITTENT
    }

    fn learn(known: &mut Known, lesson: Lesson<'_, Self>) -> SmallVec<[(usize, Cause); 2]> {
        known.learn(lesson)
    }

    fn shown(known: &Known) -> Shares {
        known.shown.clone()
    }

    fn explain(rule: usize, diagnosis: &Diagnosis, shown: &Shares, hours: &[Hour]) -> Value {
        let smoothing = diagnosis.learnt.map_or(1, |learnt| learnt.smoothing_hours);
        let mut evidence = json!({
            "percent_of_expected": by_hour(shown.iter().copied()),
            "diagnosis": diagnosis.describe(),
            "outdoor_temps": by_hour(hours::outdoor_temps(hours, diagnosis.hour, smoothing)),
        });
        if let (Some(stops), Some(evidence)) =
            (diagnosis.stops.filter(|_| rule == INTERMITTENT), evidence.as_object_mut())
        {
            evidence.insert("hours_off_by_day".to_owned(), json!(stops.off));
        }
        evidence
    }

    fn estimate(diagnosis: &Diagnosis) -> EstimateRow {
        diagnosis.into()
    }

    fn restore_former(judge: &mut Judge<Self>, form: u16, section: &[u8]) -> Result<(), RestoreError> {
        match form {
            1 => judge.restore_as::<former::FirstForm>(section),
            _ => judge.restore_as::<former::SecondForm>(section),
        }
    }
}

/// Values for the evidence: `[[start of the hour, value], …]`; unknown ones are null.
fn by_hour(values: impl IntoIterator<Item = (i32, f32)>) -> Value {
    let value = |(number, value)| json!([schemas::time::rfc3339(end_of(number) - HOUR), plain(value)]);
    values.into_iter().map(value).collect()
}

/// The decimal number that was meant by a stored one.
fn plain(value: f32) -> Option<f64> {
    value.to_string().parse().ok().filter(|value: &f64| value.is_finite())
}

/// Heat in % of what is expected: three consecutive hours raise, two good ones clear.
/// Hours of the last day in which the heat was off, where it is off day after day.
fn rules() -> Vec<Rule> {
    let rule = |code, side, levels: [f64; 3], advice: &str| Rule {
        code: Code::const_new(code),
        name: Code::const_new(""),
        scope: Code::const_new(""),
        metric: None,
        limits: Limits {
            side,
            levels: levels.map(Some),
            deadband: 5.0,
            on_delay: 2 * HOUR,
            off_delay: HOUR,
            confirmations: 3,
            step: 10.0,
            longest_gap: Millis::MAX,
        },
        analysed: true,
        advice: advice.to_owned(),
        heating: None,
    };
    vec![
        rule(
            UNDER_SUPPLY,
            Side::Low,
            [50.0, 65.0, 75.0],
            "供热不足：核查一次侧供水温度与流量、调节阀、换热器和循环泵，恢复供热量",
        ),
        rule(
            OVER_SUPPLY,
            Side::High,
            [200.0, 160.0, 130.0],
            "过量供热：下调二次供水温度设定，核查气候补偿与调节阀",
        ),
        Rule {
            code: Code::const_new(INTERMITTENT_SUPPLY),
            name: Code::const_new(""),
            scope: Code::const_new(""),
            metric: None,
            limits: Limits {
                side: Side::High,
                levels: [12.0, 6.0, 3.0].map(Some),
                deadband: 1.0,
                on_delay: 0,
                off_delay: HOUR,
                confirmations: 1,
                step: 3.0,
                longest_gap: Millis::MAX,
            },
            analysed: true,
            advice: "间歇供热：连续多日按时段停供，核查停供原因，恢复连续供热".to_owned(),
            heating: None,
        },
    ]
}
