//! The registry as a directory of CSV files.
//!
//! Enters: `districts.csv`, `enterprises.csv`, `facilities.csv`, `devices.csv`, `thresholds.csv` (UTF-8, header row,
//! columns in any order, empty = unknown; further columns of facilities and devices are attributes). Leaves: a
//! [`Registry`], or every problem of all files as `file:line: what is wrong: what to do`. Guarantees: what [`load`]
//! accepts has no unknown references and no circles; what [`write`] writes [`load`] reads back as it was.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    path::Path,
};

use crate::{
    Catalogue, Device, Error, Facility, RegistryEntry, RegistryKey, Threshold, catalogues, nearest::hint,
};

pub(crate) mod check;
pub mod datum;
pub(crate) mod rows;
pub(crate) mod table;
mod write;

#[cfg(test)]
mod tests;

pub use check::{Problem, Severity, check};
pub use write::write;

use rows::Cells;
use table::CsvTable;

/// Everything that is registered.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Registry {
    /// The entries by key.
    pub entries: BTreeMap<RegistryKey, RegistryEntry>,
    /// What should be looked at, as `file:line: what`; it does not keep the registry from being used.
    pub warnings: Vec<String>,
}

impl Registry {
    /// A registry of these entries; of two with the same key the last counts. Nothing is checked: see [`check`].
    pub fn new(entries: impl IntoIterator<Item = RegistryEntry>) -> Registry {
        let entries = entries.into_iter().map(|entry| (entry.key(), entry)).collect();
        Registry { entries, warnings: Vec::new() }
    }

    /// The facility of a code.
    #[must_use]
    pub fn facility(&self, code: &str) -> Option<&Facility> {
        match self.entries.get(&RegistryKey(format!("facility/{code}").into()))? {
            RegistryEntry::Facility(facility) => Some(facility),
            _ => None,
        }
    }

    /// The device of a code.
    #[must_use]
    pub fn device(&self, code: &str) -> Option<&Device> {
        match self.entries.get(&RegistryKey(format!("device/{code}").into()))? {
            RegistryEntry::Device(device) => Some(device),
            _ => None,
        }
    }

    /// The facilities in the order of their codes.
    pub fn facilities(&self) -> impl Iterator<Item = &Facility> {
        self.entries.values().filter_map(|entry| match entry {
            RegistryEntry::Facility(facility) => Some(facility),
            _ => None,
        })
    }

    /// The devices in the order of their codes.
    pub fn devices(&self) -> impl Iterator<Item = &Device> {
        self.entries.values().filter_map(|entry| match entry {
            RegistryEntry::Device(device) => Some(device),
            _ => None,
        })
    }

    /// The thresholds of the registry itself, without those of the catalogues.
    pub fn thresholds(&self) -> impl Iterator<Item = &Threshold> {
        self.entries.values().filter_map(|entry| match entry {
            RegistryEntry::Threshold(threshold) => Some(threshold),
            _ => None,
        })
    }
}

/// What differs between two registries under one key.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// The key.
    pub key: RegistryKey,
    /// The entry before; `None` when it is new.
    pub before: Option<RegistryEntry>,
    /// The entry after; `None` when it is removed.
    pub after: Option<RegistryEntry>,
}

/// What leads from one registry to another, in the order of the keys.
#[must_use]
pub fn diff(before: &Registry, after: &Registry) -> Vec<Difference> {
    let mut differences: BTreeMap<&RegistryKey, Difference> = BTreeMap::new();
    for (key, entry) in &before.entries {
        let now = after.entries.get(key);
        if now != Some(entry) {
            let (before, after) = (Some(entry.clone()), now.cloned());
            differences.insert(key, Difference { key: key.clone(), before, after });
        }
    }
    for (key, entry) in &after.entries {
        if !before.entries.contains_key(key) {
            let after = Some(entry.clone());
            differences.insert(key, Difference { key: key.clone(), before: None, after });
        }
    }
    differences.into_values().collect()
}

/// The threshold rules of the catalogues: those that ship with the product (`catalogue/thresholds.csv`), and the user's
/// own ([`crate::catalogues`]).
///
/// Scopes are facility kinds and device types; the limits of the shipped ones are those of CJJ/T 241 (T 2.1 to 2.9) and
/// of the water quality table (T 2.6), which allows the limit itself, so the rule begins one decimal beyond. A registry
/// threshold with the same key replaces a rule.
#[must_use]
pub fn catalogue_thresholds() -> &'static [Threshold] {
    catalogues::in_force().thresholds()
}

/// Reads and checks the directory.
///
/// # Errors
/// [`Error::Registry`] with every problem of every file.
pub fn load(directory: &Path) -> Result<Registry, Error> {
    let mut reading = Reading::default();
    reading.directory(directory);
    reading.check();
    if reading.problems.is_empty() {
        let warnings = reading.warnings.into_iter().map(Located::text).collect();
        Ok(Registry { entries: reading.entries, warnings })
    } else {
        reading.problems.sort();
        Err(Error::Registry(reading.problems.into_iter().map(Located::text).collect()))
    }
}

/// A message about a line of a file; sorts by file, then line.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Located {
    /// Place of the file among [`rows::FORMS`]; behind them are messages about the directory.
    file: usize,
    line: u64,
    what: String,
}

impl Located {
    fn text(self) -> String {
        match rows::FORMS.get(self.file) {
            Some((form, _)) => format!("{}:{}: {}", form.file, self.line, self.what),
            None => self.what,
        }
    }
}

/// The state of reading a directory.
#[derive(Default)]
struct Reading {
    entries: BTreeMap<RegistryKey, RegistryEntry>,
    /// File and line of each entry.
    places: BTreeMap<RegistryKey, (usize, u64)>,
    problems: Vec<Located>,
    warnings: Vec<Located>,
}

impl Reading {
    fn about_directory(&mut self, what: String) {
        self.problems.push(Located { file: usize::MAX, line: 0, what });
    }

    fn directory(&mut self, directory: &Path) {
        let shown = directory.display();
        let names = std::fs::read_dir(directory).and_then(|files| {
            files.map(|file| Ok(file?.file_name().to_string_lossy().into_owned())).collect()
        });
        let mut names: Vec<String> = match names {
            Ok(names) => names,
            Err(error) => {
                return self.about_directory(format!("{shown}: directory is not readable: {error}"));
            }
        };
        names.sort();
        let files: Vec<&str> = rows::FORMS.iter().map(|(form, _)| form.file).collect();
        for name in &names {
            let table = [".csv", ".xls", ".xlsx", ".ods", ".tsv"]
                .iter()
                .any(|end| name.to_lowercase().ends_with(end));
            if table && !files.contains(&name.as_str()) {
                let hint = hint(name, files.iter().copied());
                let expected = files.join(", ");
                self.about_directory(format!(
                    "{name}: unknown file{hint}: the files are {expected}; rename or move it"
                ));
            }
        }
        if !files.iter().any(|file| names.iter().any(|name| name == file)) {
            return self
                .about_directory(format!("{shown}: holds no registry: the files are {}", files.join(", ")));
        }
        for (number, (form, _)) in rows::FORMS.iter().enumerate() {
            if names.iter().any(|name| name == form.file) {
                match std::fs::read(directory.join(form.file)) {
                    Ok(bytes) => self.file(number, &bytes),
                    Err(error) => {
                        self.about_directory(format!("{}: file is not readable: {error}", form.file));
                    }
                }
            }
        }
    }

    fn file(&mut self, number: usize, bytes: &[u8]) {
        let (form, read) = &rows::FORMS[number];
        let mut problems = Vec::new();
        let table = CsvTable::read(form, bytes, &mut problems);
        for row in &table.rows {
            let metrics = Catalogue::in_force();
            let entry = read(&mut Cells { table: &table, row, form, metrics, problems: &mut problems });
            let Some(entry) = entry else { continue };
            let key = entry.key();
            match self.places.entry(key.clone()) {
                Entry::Occupied(first) => {
                    problems.push((
                        row.line,
                        format!("{} stands already in line {}: delete one", key.0, first.get().1),
                    ));
                }
                Entry::Vacant(place) => {
                    place.insert((number, row.line));
                    self.entries.insert(key, entry);
                }
            }
        }
        self.problems.extend(problems.into_iter().map(|(line, what)| Located { file: number, line, what }));
    }

    /// Checks what was read as a whole.
    fn check(&mut self) {
        for Problem { key, severity, what } in check(&self.entries) {
            let (file, line) = self.places.get(&key).copied().unwrap_or((usize::MAX, 0));
            let what = Located { file, line, what };
            match severity {
                Severity::Error => self.problems.push(what),
                Severity::Warning => self.warnings.push(what),
            }
        }
    }
}
