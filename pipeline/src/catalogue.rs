//! The `[catalogue]` section: metrics, thresholds, sentinels, settings of models and exchange tables of the user's own,
//! and what the user sets of KPIs.
//!
//! Enters: the section. Leaves: the catalogues in force for this process ([`schemas::catalogues`]). Guarantees: what is
//! wrong with a file is named with its line, and nothing runs then.

use std::path::PathBuf;

use schemars::JsonSchema;
use schemas::{
    Error,
    catalogues::{self, Catalogues, Sizes},
};
use serde::Deserialize;

use crate::config::Invalid;

/// The `[catalogue]` section.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// A directory with any of `metrics.csv`, `kpis.csv`, `thresholds.csv`, `sentinels.csv`, `models.csv`,
    /// `exchange/tables.csv` and `exchange/fields.csv`, with the columns of those in `schemas/catalogue`. They are merged over the shipped ones at
    /// start. Processes that read the same topics need the same files. Names that begin with a dot are passed over.
    pub directory: Option<PathBuf>,
}

impl Settings {
    /// Puts the shipped catalogues with those of the directory in force for this process. Nothing may have read the
    /// shipped ones before.
    ///
    /// # Errors
    /// Every problem of every file, as `file:line: what`.
    pub fn install(&self) -> Result<(), Invalid> {
        let read = |directory: &PathBuf| Catalogues::read(directory);
        let catalogues = self.directory.as_ref().map_or_else(|| Ok(Catalogues::shipped()), read);
        catalogues.and_then(Catalogues::install).map_err(|error| match error {
            Error::Catalogues(problems) => Invalid(problems),
            other => Invalid(vec![format!("catalogue.directory: {other}")]),
        })
    }

    /// What is in force, in words: how much is shipped, and how much the directory adds and changes.
    #[must_use]
    pub fn describe(&self) -> String {
        let in_force = catalogues::in_force();
        let shipped = in_force.sizes_shipped();
        let Some(directory) = &self.directory else { return format!("{} shipped", counted(shipped)) };
        let (added, changed) = in_force.sizes_of_user();
        let (shipped, added, directory) = (counted(shipped), counted(added), directory.display());
        let Sizes { metrics, kpis, thresholds, models, .. } = changed;
        let changed = format!(
            "{metrics} metrics, {kpis} KPIs, {thresholds} threshold rules, {models} settings of models"
        );
        format!("{shipped} shipped; {directory} adds {added}, and changes {changed}")
    }
}

fn counted(sizes: Sizes) -> String {
    let Sizes { metrics, kpis, sentinels, thresholds, models, tables } = sizes;
    // A directory adds no KPIs.
    let kpis = if kpis > 0 { format!("{kpis} KPIs, ") } else { String::new() };
    format!(
        "{metrics} metrics, {kpis}{thresholds} threshold rules, {sentinels} sentinels, {models} settings of models, \
         {tables} exchange tables"
    )
}
