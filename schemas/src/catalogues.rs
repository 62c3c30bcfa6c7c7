//! The catalogues in force: the metrics, KPIs, sentinels, thresholds, settings of models and exchange tables that ship
//! with the product, and those that a directory of the user's adds to them.
//!
//! Enters: `catalogue/*.csv`, compiled in, and a directory with files of the same names and columns, each optional.
//! Leaves: one [`Catalogues`] for the process, or every problem of all files as `file:line: what is wrong: what to do`.
//! Guarantees: what is in force does not change while the process lives; a code that is shipped keeps its unit and kind;
//! KPIs are set, never added; nothing in the directory is passed over but names that begin with a dot.

use std::{path::Path, sync::OnceLock};

use crate::{
    Catalogue, Error, ModelSetting, Sentinel, Threshold,
    exchange::{self, Tables},
    kpi::KpiEntry,
    registry_files::{
        rows::Cells,
        table::{CsvTable, Form, Problems},
    },
};

mod directory;
mod kpis;
mod metrics;
mod models;
mod sentinels;
#[cfg(test)]
mod tests;
mod thresholds;

static IN_FORCE: OnceLock<Catalogues> = OnceLock::new();

/// The catalogues of this process: those installed, or the shipped ones when something reads them before.
#[inline]
#[must_use]
pub fn in_force() -> &'static Catalogues {
    IN_FORCE.get_or_init(Catalogues::shipped)
}

/// Every catalogue.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Catalogues {
    metrics: Catalogue,
    kpis: Vec<KpiEntry>,
    sentinels: Vec<Sentinel>,
    thresholds: Vec<Threshold>,
    models: Vec<ModelSetting>,
    tables: Tables,
    shipped: Sizes,
    added: Sizes,
    replaced: Sizes,
}

/// How many entries catalogues hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Metrics.
    pub metrics: usize,
    /// KPIs.
    pub kpis: usize,
    /// Values that stand for nothing.
    pub sentinels: usize,
    /// Threshold rules.
    pub thresholds: usize,
    /// Settings of models.
    pub models: usize,
    /// Exchange tables.
    pub tables: usize,
}

/// What a file did to a catalogue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Merged {
    added: usize,
    replaced: usize,
}

impl Catalogues {
    /// Those that ship with the product.
    #[must_use]
    pub fn shipped() -> Catalogues {
        let shipped = directory::Files {
            metrics: include_str!("../catalogue/metrics.csv").into(),
            kpis: include_str!("../catalogue/kpis.csv").into(),
            sentinels: include_str!("../catalogue/sentinels.csv").into(),
            thresholds: include_str!("../catalogue/thresholds.csv").into(),
            models: include_str!("../catalogue/models.csv").into(),
            tables: include_str!("../catalogue/exchange/tables.csv").into(),
            fields: include_str!("../catalogue/exchange/fields.csv").into(),
        };
        let mut problems = Vec::new();
        let mut catalogues = Catalogues::default();
        catalogues
            .merge(&shipped, false, &mut |file, found| problems.extend(located(Path::new(file), found)));
        // A test reads every line of these files, so they cannot be malformed in a released binary.
        assert!(problems.is_empty(), "shipped catalogues: {problems:?}");
        catalogues.shipped = std::mem::take(&mut catalogues.added);
        catalogues
    }

    /// The shipped ones with what a directory adds and changes.
    ///
    /// # Errors
    /// [`Error::Catalogues`] with every problem of every file.
    pub fn read(path: &Path) -> Result<Catalogues, Error> {
        let files = directory::read(path).map_err(Error::Catalogues)?;
        let mut catalogues = Catalogues::shipped();
        let mut problems = Vec::new();
        catalogues.merge(&files, true, &mut |file, found| {
            problems.extend(located(&path.join(file), found));
        });
        if problems.is_empty() { Ok(catalogues) } else { Err(Error::Catalogues(problems)) }
    }

    /// Puts them in force for this process. The same may be installed again.
    ///
    /// # Errors
    /// [`Error::CataloguesInUse`] when others are in force, be it because something has read the shipped ones before.
    pub fn install(self) -> Result<(), Error> {
        let same = |refused: Catalogues| *in_force() == refused;
        IN_FORCE.set(self).or_else(|refused| same(refused).then_some(()).ok_or(Error::CataloguesInUse))
    }

    /// The metrics.
    #[inline]
    #[must_use]
    pub fn metrics(&self) -> &Catalogue {
        &self.metrics
    }

    /// The KPIs, in the order of `kpis.csv`.
    #[must_use]
    pub fn kpis(&self) -> &[KpiEntry] {
        &self.kpis
    }

    /// The values that stand for nothing.
    #[must_use]
    pub fn sentinels(&self) -> &[Sentinel] {
        &self.sentinels
    }

    /// The threshold rules; their metrics are numbers of [`Catalogues::metrics`].
    #[must_use]
    pub fn thresholds(&self) -> &[Threshold] {
        &self.thresholds
    }

    /// The settings of models: those that hold for everything, then those of the user's for some.
    #[must_use]
    pub fn models(&self) -> &[ModelSetting] {
        &self.models
    }

    /// The exchange tables.
    #[must_use]
    pub fn tables(&self) -> &Tables {
        &self.tables
    }

    /// How many entries are shipped.
    #[must_use]
    pub fn sizes_shipped(&self) -> Sizes {
        self.shipped
    }

    /// How many entries the user's directory adds, and in how many shipped ones it changes something.
    #[must_use]
    pub fn sizes_of_user(&self) -> (Sizes, Sizes) {
        (self.added, self.replaced)
    }

    /// Merges files, the shipped ones or the user's, over what is there, and gives what is wrong with each of them to
    /// `refuse`.
    fn merge(
        &mut self,
        files: &directory::Files<'_>,
        of_user: bool,
        refuse: &mut impl FnMut(&'static str, Problems),
    ) {
        let mut problems = Problems::new();
        let read = rows(&metrics::FORM, &files.metrics, &self.metrics, &mut problems, metrics::read);
        let metrics = metrics::merge(&mut self.metrics, read, &mut problems);
        refuse(directory::METRICS, std::mem::take(&mut problems));

        let read = rows(&kpis::FORM, &files.kpis, &self.metrics, &mut problems, kpis::read);
        let kpis = kpis::merge(&mut self.kpis, read, of_user, &mut problems);
        refuse(directory::KPIS, std::mem::take(&mut problems));

        let read = rows(&sentinels::FORM, &files.sentinels, &self.metrics, &mut problems, sentinels::read);
        let sentinels = sentinels::merge(&mut self.sentinels, read, &self.metrics, &mut problems);
        refuse(directory::SENTINELS, std::mem::take(&mut problems));

        let read = rows(&thresholds::FORM, &files.thresholds, &self.metrics, &mut problems, thresholds::read);
        let thresholds = thresholds::merge(&mut self.thresholds, read, of_user, &mut problems);
        refuse(directory::THRESHOLDS, std::mem::take(&mut problems));

        let read = rows(&models::FORM, &files.models, &self.metrics, &mut problems, models::read);
        let models = models::merge(&mut self.models, read, of_user, &mut problems);
        refuse(directory::MODELS, std::mem::take(&mut problems));

        let mut of_fields = Problems::new();
        let tables =
            rows(&exchange::read::TABLES, &files.tables, &self.metrics, &mut problems, exchange::read::table);
        let fields = rows(
            &exchange::read::FIELDS,
            &files.fields,
            &self.metrics,
            &mut of_fields,
            exchange::read::field,
        );
        let codes: Vec<&str> = self.kpis.iter().map(|kpi| kpi.code.as_str()).collect();
        let added = self.tables.merge((tables, fields), &codes, (&mut problems, &mut of_fields));
        refuse(directory::TABLES, problems);
        refuse(directory::FIELDS, of_fields);

        let sizes = |of: fn(Merged) -> usize| Sizes {
            metrics: of(metrics),
            kpis: of(kpis),
            sentinels: of(sentinels),
            thresholds: of(thresholds),
            models: of(models),
            tables: of(Merged { added, replaced: 0 }),
        };
        self.added = sizes(|merged| merged.added);
        self.replaced = sizes(|merged| merged.replaced);
    }
}

/// The rows of a file that can be read, with their lines. `metrics` are those that a row may name.
fn rows<T>(
    form: &Form,
    bytes: &[u8],
    metrics: &Catalogue,
    problems: &mut Problems,
    read: impl Fn(&mut Cells<'_>) -> Option<T>,
) -> Vec<(u64, T)> {
    if bytes.is_empty() {
        return Vec::new();
    }
    let table = CsvTable::read(form, bytes, problems);
    let mut rows = Vec::with_capacity(table.rows.len());
    for row in &table.rows {
        let mut cells = Cells { table: &table, row, form, metrics, problems: &mut *problems };
        rows.extend(read(&mut cells).map(|read| (row.line, read)));
    }
    rows
}

fn located(file: &Path, mut problems: Problems) -> impl Iterator<Item = String> {
    problems.sort();
    let file = file.display().to_string();
    problems.into_iter().map(move |(line, what)| format!("{file}:{line}: {what}"))
}
