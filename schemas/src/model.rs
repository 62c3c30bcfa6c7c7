//! Settings of models: what a model is tuned by, for all objects, a kind of facility or one facility.

use crate::{Attributes, Code, catalogues, registry::attribute};

/// A value of one setting of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelSetting {
    /// The model's code.
    pub model: Code,
    /// The setting.
    pub setting: Code,
    /// What it holds for: a facility, a kind of facility, or everything when it is empty.
    pub scope: Code,
    /// The value, in its unit.
    pub value: f64,
    /// The unit symbol; empty for a share or a factor.
    pub unit: String,
    /// Least and greatest value that makes sense.
    pub bounds: (f64, f64),
    /// What it does.
    pub meaning: String,
}

impl ModelSetting {
    /// The shipped ones, and those of the user's directory ([`crate::catalogues`]).
    #[must_use]
    pub fn in_force() -> &'static [ModelSetting] {
        catalogues::in_force().models()
    }

    /// The attribute of a facility that sets it for this facility alone: `{model}.{setting}`.
    #[must_use]
    pub fn attribute(&self) -> String {
        format!("{}.{}", self.model, self.setting)
    }

    /// What a facility's attributes say of it, where they say a value within its bounds.
    #[must_use]
    pub fn own(&self, attributes: &Attributes) -> Option<f64> {
        attribute::number(attributes, &self.attribute()).filter(|value| self.admits(*value))
    }

    /// Whether a value lies within the bounds.
    #[must_use]
    pub fn admits(&self, value: f64) -> bool {
        (self.bounds.0..=self.bounds.1).contains(&value)
    }

    /// What is wrong with a value, when it lies beyond the bounds.
    #[must_use]
    pub fn beyond(&self, value: f64) -> Option<String> {
        let (least, most) = self.bounds;
        let unit = if self.unit.is_empty() { String::new() } else { format!(" {}", self.unit) };
        let what = || {
            let name = self.attribute();
            format!("{name} {value} lies outside {least} to {most}{unit}: write a value between them")
        };
        (!self.admits(value)).then(what)
    }
}
