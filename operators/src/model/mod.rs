//! Models: what each object normally does, learnt from its own history while running.
//!
//! Enters: hours that windows closed, again when they changed, and the registry. Leaves: an estimate per object and hour,
//! and alarms with `analysed` set. Guarantees: an hour is judged by what was learnt before it; what is said last of an
//! hour and of an alarm is a function of the hours in the order of their time, whatever the order in which they came;
//! every estimate names the version of its method and of what was learnt.
//!
//! ```text
//! closed hours -> [`Judge`] keeps the objects of one model: [`object`] repeats -> [`course`] steps hour by hour
//!                                                                 by [`Model::judge`] and [`Model::learn`]
//! ```
//!
//! The engine (`judge`, `object`, `course`, `saved`) names no model. A model is one folder or file here, its line in
//! [`models!`], and the lines of its settings in `schemas/catalogue/models.csv`.

mod course;
pub mod energy_signature;
mod judge;
mod object;
#[cfg(test)]
mod restarts;
mod saved;
mod settings;
#[cfg(test)]
mod tests;

use std::fmt;

use schemas::{EstimateRow, Millis};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use smallvec::SmallVec;

pub use course::{Excluded, Fits};
pub use judge::{Judge, JudgedEpoch, ModelledEpoch, Terms};
pub use settings::{Settings, Values};

use crate::{
    Profile,
    alarm::{episode::Fold, journal::Cause, rule::Rule},
    durable::RestoreError,
    window::{ClosedHour, Component},
};

macro_rules! models {
    ($($model:ty,)*) => {
        /// The states of all models in checkpoints.
        pub const STATES: [&str; [$(<$model as Model>::STATE),*].len()] = [$(<$model as Model>::STATE),*];

        /// The facts that models look at: an hour in which one of them changes is given again.
        pub const FACTS: &[&[Component]] = &[$(<$model as Model>::FACTS),*];

        /// Takes a visitor to every model.
        ///
        /// # Errors
        /// The first error of the visitor.
        pub fn visit_all<V: Visit>(visitor: &mut V) -> Result<(), V::Error> {
            $(visitor.visit::<$model>()?;)*
            Ok(())
        }
    };
}

// Every model.
models! {
    energy_signature::EnergySignature,
}

/// Does something for every model.
pub trait Visit {
    /// What can go wrong.
    type Error;

    /// Does it for one.
    ///
    /// # Errors
    /// As the visitor says.
    fn visit<M: Model>(&mut self) -> Result<(), Self::Error>;
}

/// A model: how an hour of an object is judged, what is learnt from it, and how both are explained. Pure: everything it
/// knows of an object is handed to it.
pub trait Model: Sized + fmt::Debug + 'static {
    /// Its code in `models.csv`, in estimates and in evidence.
    const CODE: &'static str;
    /// The name of its state in checkpoints and metrics; never changes.
    const STATE: &'static str;
    /// The form in which its hours and what it learns are saved.
    const FORM: u16;
    /// The facts that it looks at.
    const FACTS: &'static [Component];

    /// What registry and settings say of an object. When it changes, the open hours are judged again.
    type Ground: Clone + PartialEq + fmt::Debug;
    /// One remembered hour, small.
    type Hour: Remembered;
    /// What is known after an hour; what the next is judged by.
    type Learnt: Clone + Default + fmt::Debug + Serialize + DeserializeOwned;
    /// What learning took from the hours up to one, kept so that a repetition need not compute it again.
    type Fit: Clone + fmt::Debug + Serialize + DeserializeOwned;
    /// What is said of an hour.
    type Diagnosis: fmt::Debug;
    /// What an alarm shows beside the diagnosis of its hour.
    type Shown: Default + fmt::Debug;

    /// The rules that judge what the model says of an hour. [`Judged::says`] follows their order.
    fn rules() -> Vec<Rule>;

    /// What is known of an object; `None` when it is none of this model's. Asked of everything that is registered.
    fn ground(profile: &Profile, settings: &Settings) -> Option<Self::Ground>;

    /// Hours to remember.
    fn memory(ground: &Self::Ground) -> i32;

    /// What is remembered of an hour.
    fn hour(closed: &ClosedHour, ground: &Self::Ground) -> Self::Hour;

    /// Judges the last hour of a case.
    fn judge(learnt: &Self::Learnt, case: &Case<'_, Self>) -> Judged<Self>;

    /// Whether hours under an alarm of this rule are no evidence.
    fn locks(rule: usize) -> bool;

    /// Learns from the last hour, after it was judged. Gives the rules whose alarms end by what was learnt.
    fn learn(learnt: &mut Self::Learnt, lesson: Lesson<'_, Self>) -> SmallVec<[(usize, Cause); 2]>;

    /// What an alarm of this hour is to show.
    fn shown(learnt: &Self::Learnt) -> Self::Shown;

    /// Everything that a diagnosis follows from, for the evidence of a rule's alarm.
    fn explain(rule: usize, diagnosis: &Self::Diagnosis, shown: &Self::Shown, hours: &[Self::Hour]) -> Value;

    /// A diagnosis as a row of the table `estimates`.
    fn estimate(diagnosis: &Self::Diagnosis) -> EstimateRow;

    /// Takes back a section of an earlier form than [`Model::FORM`].
    ///
    /// # Errors
    /// When the bytes are not of that form.
    fn restore_former(judge: &mut Judge<Self>, form: u16, section: &[u8]) -> Result<(), RestoreError>;
}

/// An hour in the memory of a model.
pub trait Remembered: Copy + fmt::Debug + Serialize + DeserializeOwned {
    /// Hours since 1970.
    fn number(&self) -> i32;

    /// Whether the same was measured as in another.
    fn same(&self, other: &Self) -> bool;
}

/// The hours of an object up to the one in question, and what surrounds them.
#[derive(Debug)]
pub struct Case<'a, M: Model> {
    /// By number; the last is the one in question.
    pub hours: &'a [M::Hour],
    /// What registry and settings say.
    pub ground: &'a M::Ground,
    /// Whether heating is due in the hour.
    pub heating: bool,
    /// Where each rule stands.
    pub folds: &'a [Fold],
}

/// An hour as it was judged.
#[derive(Debug)]
pub struct Judged<M: Model> {
    /// What is said of it.
    pub diagnosis: M::Diagnosis,
    /// The hour, with what is to be remembered of the judgement.
    pub hour: M::Hour,
    /// What it says to each rule.
    pub says: SmallVec<[Say; 3]>,
}

/// What an hour says to a rule.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Say {
    /// Nothing.
    Nothing,
    /// A value.
    Value(f64),
    /// Whatever stands has ended, for this reason.
    End(Cause),
}

/// What can be learnt from: a case after its last hour was judged.
#[derive(Debug)]
pub struct Lesson<'a, M: Model> {
    /// The case, with the hour as it was judged.
    pub case: Case<'a, M>,
    /// What was said of the hour.
    pub diagnosis: &'a M::Diagnosis,
    /// Hours that are no evidence.
    pub excluded: &'a mut Excluded,
    /// What was computed before.
    pub fits: &'a mut Fits<M::Fit>,
}

/// The number of the hour that holds a time.
#[must_use]
pub fn number(at: Millis) -> i32 {
    at.div_euclid(schemas::time::HOUR) as i32
}

/// The end of an hour.
fn end_of(number: i32) -> Millis {
    (Millis::from(number) + 1) * schemas::time::HOUR
}
