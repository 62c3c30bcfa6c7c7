//! The settings of a model as they hold for an object.
//!
//! Enters: the settings in force ([`ModelSetting`]) and a profile. Leaves: one value per setting. Guarantees: of several
//! values the nearest counts: the facility's attribute `{model}.{setting}`, the row of the facility, that of its kind,
//! that of everything. An attribute that cannot be read, or lies beyond the bounds, counts as absent.

use schemas::ModelSetting;

use crate::Profile;

/// The rows of one model.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Those for everything first, sorted by setting; then the others.
    rows: Vec<ModelSetting>,
    settings: usize,
}

/// The values of all settings of a model for one object.
#[derive(Clone, Debug, PartialEq)]
pub struct Values(Vec<(schemas::Code, f64)>);

impl Settings {
    /// Those in force.
    #[must_use]
    pub fn of(model: &str) -> Settings {
        let of_model = ModelSetting::in_force().iter().filter(|row| row.model == model);
        let mut rows: Vec<ModelSetting> = of_model.cloned().collect();
        rows.sort_by(|a, b| (!a.scope.is_empty(), &a.setting).cmp(&(!b.scope.is_empty(), &b.setting)));
        let settings = rows.iter().filter(|row| row.scope.is_empty()).count();
        Settings { rows, settings }
    }

    /// The same with another value for everything, whatever the bounds: for tests and trials.
    ///
    /// # Panics
    /// When the model has no such setting.
    #[must_use]
    pub fn with(mut self, setting: &str, value: f64) -> Settings {
        let row = self.rows[..self.settings].iter_mut().find(|row| row.setting == setting);
        row.unwrap_or_else(|| panic!("the model has no setting {setting}")).value = value;
        self
    }

    /// The values for an object.
    #[must_use]
    pub fn values(&self, profile: &Profile) -> Values {
        let (all, some) = self.rows.split_at(self.settings);
        let facility = &profile.facility;
        let value = |row: &ModelSetting| {
            let of = |scope: &str| {
                let mut rows = some.iter().filter(|own| own.setting == row.setting);
                rows.find(|own| own.scope == scope).map(|own| own.value)
            };
            let own = row.own(&facility.attributes).or_else(|| of(&facility.code));
            own.or_else(|| of(facility.kind.name())).unwrap_or(row.value)
        };
        Values(all.iter().map(|row| (row.setting.clone(), value(row))).collect())
    }
}

impl Values {
    /// The value of a setting.
    ///
    /// # Panics
    /// When the catalogue does not have it: a test of the model asks for all.
    #[must_use]
    pub fn get(&self, setting: &str) -> f64 {
        let found = self.0.iter().find(|(name, _)| *name == setting);
        found.unwrap_or_else(|| unreachable!("models.csv lacks setting {setting}")).1
    }
}
