//! The registry back into CSV files.

use std::{collections::BTreeSet, io, path::Path};

use super::Registry;
use crate::{Code, Device, Facility, RegistryEntry};

/// Writes a registry into the directory, which is created where it does not exist; files of the registry that are
/// there are replaced. Positions are WGS-84.
///
/// # Errors
/// When the directory or a file cannot be written.
pub fn write(directory: &Path, registry: &Registry) -> io::Result<()> {
    std::fs::create_dir_all(directory)?;
    let (mut districts, mut enterprises, mut thresholds) = (Vec::new(), Vec::new(), Vec::new());
    for entry in registry.entries.values() {
        match entry {
            RegistryEntry::District(d) => {
                districts.push(vec![d.code.to_string(), d.name.clone(), code(&d.parent)]);
            }
            RegistryEntry::Enterprise(e) => enterprises.push(vec![e.code.to_string(), e.name.clone()]),
            RegistryEntry::Threshold(t) => thresholds.push(vec![
                t.scope.to_string(),
                t.metric.code().to_owned(),
                t.side.name().to_owned(),
                number(t.level1),
                number(t.level2),
                number(t.level3),
                t.deadband.to_string(),
                t.on_delay.to_string(),
                t.off_delay.to_string(),
                t.enabled.to_string(),
                t.advice.clone(),
                t.rule.to_string(),
            ]),
            RegistryEntry::Facility(_) | RegistryEntry::Device(_) => {}
        }
    }
    file(directory, "districts.csv", &["code", "name", "parent"], districts)?;
    file(directory, "enterprises.csv", &["code", "name"], enterprises)?;
    facilities(directory, registry)?;
    devices(directory, registry)?;
    let header: Vec<&str> = super::rows::THRESHOLDS.columns().collect();
    file(directory, "thresholds.csv", &header, thresholds)
}

fn facilities(directory: &Path, registry: &Registry) -> io::Result<()> {
    let fixed =
        ["code", "kind", "name", "parent", "enterprise", "district", "longitude", "latitude", "heated_area"];
    let attributes: BTreeSet<&str> =
        registry.facilities().flat_map(|f| f.attributes.keys()).map(Code::as_str).collect();
    let header: Vec<&str> = fixed.into_iter().chain(attributes.iter().copied()).collect();
    let row = |f: &Facility| {
        let mut row = vec![
            f.code.to_string(),
            f.kind.name().to_owned(),
            f.name.clone(),
            code(&f.parent),
            code(&f.enterprise),
            code(&f.district),
            number(f.longitude),
            number(f.latitude),
            number(f.heated_area),
        ];
        row.extend(
            attributes
                .iter()
                .map(|name| f.attributes.get(*name).map(ToString::to_string).unwrap_or_default()),
        );
        row
    };
    file(directory, "facilities.csv", &header, registry.facilities().map(row))
}

fn devices(directory: &Path, registry: &Registry) -> io::Result<()> {
    let fixed = ["code", "facility", "type", "model", "maker", "installed"];
    let attributes: BTreeSet<&str> =
        registry.devices().flat_map(|d| d.attributes.keys()).map(Code::as_str).collect();
    let header: Vec<&str> = fixed.into_iter().chain(attributes.iter().copied()).collect();
    let row = |d: &Device| {
        let mut row = vec![
            d.code.to_string(),
            d.facility.to_string(),
            d.kind.to_string(),
            d.model.clone(),
            d.maker.clone(),
            d.installed.clone(),
        ];
        row.extend(
            attributes
                .iter()
                .map(|name| d.attributes.get(*name).map(ToString::to_string).unwrap_or_default()),
        );
        row
    };
    file(directory, "devices.csv", &header, registry.devices().map(row))
}

fn code(code: &Option<Code>) -> String {
    code.as_deref().unwrap_or_default().to_owned()
}

fn number(number: Option<f64>) -> String {
    number.map_or_else(String::new, |number| number.to_string())
}

fn file(
    directory: &Path,
    name: &str,
    header: &[&str],
    rows: impl IntoIterator<Item = Vec<String>>,
) -> io::Result<()> {
    let mut writer = csv::Writer::from_path(directory.join(name))?;
    writer.write_record(header)?;
    for row in rows {
        writer.write_record(row)?;
    }
    writer.flush()
}
