//! How the objects of a model are saved and read back.
//!
//! Enters and leaves: objects with their hours, what was learnt of them, and what was told of their alarms. Ground,
//! season and rules follow from registry, catalogue and code, and are not written; nor is what follows from the rest.
//! Rules are named by their codes; of those that are calm nothing is written.

use std::rc::Rc;

use schemas::Code;
use serde::{Deserialize, Serialize, Serializer};

use super::{
    Judge, Model, Terms,
    course::{Course, Excluded, Fits, Rules},
    judge::Watched,
    object::ObjectState,
};
use crate::{
    alarm::{episode::Fold, saved::SavedMonitor},
    durable::{Durable, RestoreError, Saved, known_form},
};

impl<M: Model> Durable for Judge<M> {
    const STATE: &'static str = M::STATE;
    const FORM: u16 = M::FORM;

    fn begin(&mut self) {
        self.objects.begin();
    }

    fn save(&mut self, entries: usize, out: &mut Saved) -> bool {
        self.objects.save(entries, out)
    }

    fn restore(&mut self, _shard: u16, form: u16, section: &[u8]) -> Result<(), RestoreError> {
        known_form(Self::STATE, form, Self::FORM)?;
        if form < Self::FORM {
            return M::restore_former(self, form, section);
        }
        self.objects.restore(Self::STATE, section)
    }
}

impl<M: Model> Judge<M> {
    /// Takes back a section of an earlier form, whose objects were `G`.
    ///
    /// # Errors
    /// When the bytes are not of that form.
    pub fn restore_as<G>(&mut self, section: &[u8]) -> Result<(), RestoreError>
    where
        G: serde::de::DeserializeOwned + Into<SavedWatched<M>>,
    {
        self.objects.restore_former::<G>(M::STATE, section)
    }
}

/// An object with its alarms, as it was saved.
#[derive(Debug, Deserialize)]
#[serde(bound = "")]
pub struct SavedWatched<M: Model> {
    pub(super) hours: Vec<M::Hour>,
    pub(super) open: i32,
    pub(super) learnt: M::Learnt,
    pub(super) excluded: Excluded,
    pub(super) fits: Fits<M::Fit>,
    #[serde(deserialize_with = "of_rules::<M, _, _>")]
    pub(super) folds: Vec<(Code, Fold)>,
    #[serde(deserialize_with = "of_rules::<M, _, _>")]
    pub(super) monitors: Vec<(Code, SavedMonitor)>,
}

/// Reads what is kept by rule, and refuses rules that the model does not have.
fn of_rules<'de, M: Model, T: Deserialize<'de>, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<(Code, T)>, D::Error> {
    let kept = Vec::<(Code, T)>::deserialize(deserializer)?;
    let rules = M::rules();
    match kept.iter().find(|(code, _)| rules.iter().all(|rule| rule.code != *code)) {
        Some((code, _)) => Err(serde::de::Error::custom(format!(
            "rule {code} is not among those of {}: run a version that has it",
            M::CODE
        ))),
        None => Ok(kept),
    }
}

/// Written as [`SavedWatched`] is read.
impl<M: Model> Serialize for Watched<M> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let ObjectState { hours, open, settled, fits, .. } = &self.object;
        let Course { learnt, excluded, folds } = settled;
        let folds = self.monitors.iter().zip(folds).filter(|(_, fold)| !fold.idle());
        let folds: Vec<(&Code, &Fold)> = folds.map(|(monitor, fold)| (&monitor.rule.code, fold)).collect();
        let monitors = self.monitors.iter().filter(|monitor| !monitor.calm());
        let monitors: Vec<_> = monitors.map(|monitor| (&monitor.rule.code, monitor)).collect();
        (hours, open, learnt, excluded, fits, folds, monitors).serialize(serializer)
    }
}

impl<M: Model> SavedWatched<M> {
    /// The object again, where `fresh` is one of which nothing is known.
    pub(super) fn resume(self, fresh: Watched<M>, terms: &Terms, rules: &Rules) -> Watched<M> {
        let Watched { mut object, mut monitors, .. } = fresh;
        let SavedWatched { hours, open, learnt, excluded, fits, folds, monitors: told } = self;
        (object.hours, object.open, object.fits) = (hours, open, fits);
        (object.settled.learnt, object.settled.excluded) = (learnt, excluded);
        for (code, fold) in folds {
            if let Some(rule) = rules.iter().position(|rule| rule.code == code) {
                object.settled.folds[rule] = fold;
            }
        }
        for (code, monitor) in told {
            if let Some(rule) = rules.iter().position(|rule| rule.code == code) {
                monitors[rule] = monitor.resume(|_, _| Rc::clone(&rules[rule]));
            }
        }
        object.repeat(terms, rules);
        Watched { object, monitors, ..fresh }
    }
}
