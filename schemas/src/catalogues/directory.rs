//! The directory of the user's catalogue files.
//!
//! Enters: a path. Leaves: the bytes of the files, or every name that belongs to none of them. Guarantees: a file whose
//! name is misspelt is refused by name, as is a directory without any catalogue.

use std::{borrow::Cow, fs, io, path::Path};

use crate::nearest::hint;

pub(super) const METRICS: &str = "metrics.csv";
pub(super) const KPIS: &str = "kpis.csv";
pub(super) const SENTINELS: &str = "sentinels.csv";
pub(super) const THRESHOLDS: &str = "thresholds.csv";
pub(super) const MODELS: &str = "models.csv";
pub(super) const TABLES: &str = "exchange/tables.csv";
pub(super) const FIELDS: &str = "exchange/fields.csv";

const NAMES: [&str; 7] = [METRICS, KPIS, SENTINELS, THRESHOLDS, MODELS, TABLES, FIELDS];
/// The folder of the exchange tables.
const FOLDER: &str = "exchange";

/// The bytes of every file; empty when it is absent.
#[derive(Debug, Default)]
pub(super) struct Files<'b> {
    pub metrics: Bytes<'b>,
    pub kpis: Bytes<'b>,
    pub sentinels: Bytes<'b>,
    pub thresholds: Bytes<'b>,
    pub models: Bytes<'b>,
    pub tables: Bytes<'b>,
    pub fields: Bytes<'b>,
}

/// Bytes, compiled in or read.
#[derive(Debug, Default)]
pub(super) struct Bytes<'b>(Cow<'b, [u8]>);

impl<'b> From<&'b str> for Bytes<'b> {
    fn from(text: &'b str) -> Bytes<'b> {
        Bytes(Cow::Borrowed(text.as_bytes()))
    }
}

impl std::ops::Deref for Bytes<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

/// Reads the files of a directory.
///
/// # Errors
/// What cannot be read, and what is none of them.
pub(super) fn read(directory: &Path) -> Result<Files<'static>, Vec<String>> {
    let shown = directory.display();
    let mut problems = Vec::new();
    let mut names = match listed(directory) {
        Ok(names) => names,
        Err(error) => return Err(vec![format!("{shown}: catalogue directory is not readable: {error}")]),
    };
    if let Some(folder) = names.iter().position(|name| name == FOLDER) {
        names.remove(folder);
        match listed(&directory.join(FOLDER)) {
            Ok(inside) => names.extend(inside.into_iter().map(|name| format!("{FOLDER}/{name}"))),
            Err(error) => problems.push(format!("{shown}/{FOLDER}: folder is not readable: {error}")),
        }
    }
    let (known, unknown): (Vec<_>, Vec<_>) = names.iter().partition(|name| NAMES.contains(&name.as_str()));
    let expected = NAMES.join(", ");
    for name in &unknown {
        let hint = hint(name, NAMES);
        problems
            .push(format!("{shown}/{name}: unknown file{hint}: the files are {expected}; rename or move it"));
    }
    if known.is_empty() && problems.is_empty() {
        problems.push(format!(
            "{shown}: holds no catalogue: the files are {expected}; put one there, or remove catalogue.directory"
        ));
    }
    let mut bytes = |name: &str| match fs::read(directory.join(name)) {
        Ok(bytes) => Bytes(Cow::Owned(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Bytes::default(),
        Err(error) => {
            problems.push(format!("{shown}/{name}: file is not readable: {error}"));
            Bytes::default()
        }
    };
    let files = Files {
        metrics: bytes(METRICS),
        kpis: bytes(KPIS),
        sentinels: bytes(SENTINELS),
        thresholds: bytes(THRESHOLDS),
        models: bytes(MODELS),
        tables: bytes(TABLES),
        fields: bytes(FIELDS),
    };
    if problems.is_empty() { Ok(files) } else { Err(problems) }
}

/// The names in a directory, sorted; not those that begin with a dot, which editors, version control and mounted volumes
/// leave there.
fn listed(directory: &Path) -> io::Result<Vec<String>> {
    let names = fs::read_dir(directory)?.map(|file| Ok(file?.file_name().to_string_lossy().into_owned()));
    let mut names = names.collect::<io::Result<Vec<String>>>()?;
    names.retain(|name| !name.starts_with('.'));
    names.sort();
    Ok(names)
}
