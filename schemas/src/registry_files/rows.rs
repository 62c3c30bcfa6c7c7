//! Rows to entries: every cell is read, every cell that cannot be is named.

use super::{
    datum,
    table::{CsvTable, Form, Problems, Row},
};
use crate::{
    Catalogue, Code, Device, District, Enterprise, Facility, FacilityKind, MetricId, RegistryEntry, Side,
    Threshold, nearest::hint,
};

/// Reads one row; `None` when a cell without which there is no entry is missing or malformed.
pub(crate) type ReadRow = fn(&mut Cells<'_>) -> Option<RegistryEntry>;

/// The files of a registry, in the order in which they are read.
pub(crate) const FORMS: &[(Form, ReadRow)] = &[
    (
        Form {
            file: "districts.csv",
            required: &["code", "name"],
            optional: &["parent"],
            attributes: false,
            comments: false,
        },
        district,
    ),
    (
        Form {
            file: "enterprises.csv",
            required: &["code", "name"],
            optional: &[],
            attributes: false,
            comments: false,
        },
        enterprise,
    ),
    (
        Form {
            file: "facilities.csv",
            required: &["code", "kind", "name"],
            optional: &["parent", "enterprise", "district", "longitude", "latitude", "datum", "heated_area"],
            attributes: true,
            comments: false,
        },
        facility,
    ),
    (
        Form {
            file: "devices.csv",
            required: &["code", "facility", "type"],
            optional: &["model", "maker", "installed"],
            attributes: true,
            comments: false,
        },
        device,
    ),
    (Form { comments: false, ..THRESHOLDS }, threshold),
];

/// Thresholds, as they stand in a catalogue.
pub(crate) const THRESHOLDS: Form = Form {
    file: "thresholds.csv",
    required: &["scope", "metric", "side"],
    optional: &[
        "level1",
        "level2",
        "level3",
        "deadband",
        "on_delay",
        "off_delay",
        "enabled",
        "advice",
        "rule",
    ],
    attributes: false,
    comments: true,
};

/// One row while it is read.
pub(crate) struct Cells<'t> {
    pub table: &'t CsvTable,
    pub row: &'t Row,
    pub form: &'t Form,
    /// The metrics that it may name.
    pub metrics: &'t Catalogue,
    pub problems: &'t mut Problems,
}

impl Cells<'_> {
    pub fn wrong(&mut self, what: String) {
        self.problems.push((self.row.line, what));
    }

    pub fn text(&self, column: &str) -> Option<&str> {
        self.table.cell(self.row, column)
    }

    pub fn string(&self, column: &str) -> String {
        self.text(column).unwrap_or_default().to_owned()
    }

    /// A cell that must not be empty.
    pub fn required(&mut self, column: &str) -> Option<Code> {
        let code = self.code(column);
        if self.text(column).is_none() {
            self.wrong(format!("{column} is empty: fill it in"));
        }
        code
    }

    /// Any text but none.
    pub fn required_text(&mut self, column: &str) -> Option<String> {
        let text = self.text(column).map(str::to_owned);
        if text.is_none() {
            self.wrong(format!("{column} is empty: fill it in"));
        }
        text
    }

    /// A code: no spaces, control characters or `/ + #`, which have a meaning in topics and keys.
    pub fn code(&mut self, column: &str) -> Option<Code> {
        let text = self.text(column)?;
        if let Some(bad) = text.chars().find(|c| c.is_whitespace() || c.is_control() || "/+#".contains(*c)) {
            let what = format!("{column} {text:?} contains {bad:?}: use letters, digits, - and _");
            self.wrong(what);
            return None;
        }
        Some(Code::from(text))
    }

    pub fn number(&mut self, column: &str) -> Option<f64> {
        let text = self.text(column)?;
        match crate::number::parse(text) {
            Ok(number) => Some(number.value),
            Err(_) => {
                let what = format!(
                    "{column} {text:?} is no number: write digits with a decimal point, or leave it empty"
                );
                self.wrong(what);
                None
            }
        }
    }

    /// A number that must be there.
    pub fn required_number(&mut self, column: &str) -> Option<f64> {
        self.required_text(column)?;
        self.number(column)
    }

    /// A number above zero, where there is one.
    pub fn positive(&mut self, column: &str) -> Option<f64> {
        let number = self.number(column)?;
        if number <= 0.0 {
            self.wrong(format!("{column} {number} is not above zero: correct it or leave it empty"));
        }
        Some(number)
    }

    /// A whole number from 0 to `most`.
    pub fn required_whole(&mut self, column: &str, most: u8) -> Option<u8> {
        let text = self.required_text(column)?;
        let whole = text.parse().ok().filter(|whole| *whole <= most);
        if whole.is_none() {
            self.wrong(format!("{column} {text:?} is no whole number from 0 to {most}"));
        }
        whole
    }

    pub fn seconds(&mut self, column: &str) -> Option<u32> {
        let text = self.text(column)?;
        let seconds = text.parse().ok();
        if seconds.is_none() {
            let what = format!("{column} {text:?} is no whole number of seconds of at least 0");
            self.wrong(what);
        }
        seconds
    }

    pub fn boolean(&mut self, column: &str, absent: bool) -> bool {
        let Some(text) = self.text(column) else { return absent };
        match text.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "是" => true,
            "false" | "0" | "no" | "否" => false,
            _ => {
                let what = format!("{column} {text:?} is neither true nor false");
                self.wrong(what);
                absent
            }
        }
    }

    /// A cell that must be one of a few names.
    pub fn named<T: Copy>(&mut self, column: &str, all: &[T], name: impl Fn(T) -> &'static str) -> Option<T> {
        self.required_text(column)?;
        self.named_if_any(column, all, name)
    }

    /// A cell that is empty or one of a few names.
    pub fn named_if_any<T: Copy>(
        &mut self,
        column: &str,
        all: &[T],
        name: impl Fn(T) -> &'static str,
    ) -> Option<T> {
        let text = self.text(column)?;
        let found = all.iter().copied().find(|one| name(*one) == text);
        if found.is_none() {
            let names: Vec<&str> = all.iter().map(|one| name(*one)).collect();
            let hint = hint(text, names.iter().copied());
            let what = format!("unknown {column} {text:?}{hint}: write {}", names.join(", "));
            self.wrong(what);
        }
        found
    }

    fn metric(&mut self) -> Option<MetricId> {
        let text = self.required("metric")?;
        let found = self.metrics.id(&text);
        if found.is_none() {
            let hint = hint(&text, self.metrics.iter().map(|(_, metric)| metric.code.as_str()));
            self.wrong(format!("unknown metric {text}{hint}: write a code of the metric catalogue"));
        }
        found
    }

    fn attributes(&self) -> crate::Attributes {
        let cells = self.table.attributes(self.row, self.form);
        cells.map(|(name, cell)| (name.into(), cell.into())).collect()
    }

    /// Longitude and latitude in WGS-84; a pair given in GCJ-02 is converted.
    fn position(&mut self) -> (Option<f64>, Option<f64>) {
        let (longitude, latitude) = (self.number("longitude"), self.number("latitude"));
        let datum = self.text("datum").unwrap_or("WGS-84").to_ascii_uppercase().replace('-', "");
        match (datum.as_str(), longitude, latitude) {
            ("WGS84", ..) => (longitude, latitude),
            ("GCJ02", Some(longitude), Some(latitude)) => {
                let (longitude, latitude) = datum::from_gcj02((longitude, latitude));
                (Some(longitude), Some(latitude))
            }
            ("GCJ02", ..) => (longitude, latitude),
            _ => {
                let text = self.string("datum");
                let hint = hint(&text, ["WGS-84", "GCJ-02"]);
                self.wrong(format!("unknown datum {text:?}{hint}: convert to WGS-84 or GCJ-02"));
                (longitude, latitude)
            }
        }
    }
}

fn district(cells: &mut Cells<'_>) -> Option<RegistryEntry> {
    let (code, parent) = (cells.required("code"), cells.code("parent"));
    Some(RegistryEntry::District(District { code: code?, name: cells.string("name"), parent }))
}

fn enterprise(cells: &mut Cells<'_>) -> Option<RegistryEntry> {
    let code = cells.required("code")?;
    Some(RegistryEntry::Enterprise(Enterprise { code, name: cells.string("name") }))
}

fn facility(cells: &mut Cells<'_>) -> Option<RegistryEntry> {
    let code = cells.required("code");
    let kind = cells.named("kind", FacilityKind::ALL, FacilityKind::name);
    let (parent, enterprise, district) =
        (cells.code("parent"), cells.code("enterprise"), cells.code("district"));
    let (longitude, latitude) = cells.position();
    let heated_area = cells.number("heated_area");
    Some(RegistryEntry::Facility(Facility {
        code: code?,
        kind: kind?,
        name: cells.string("name"),
        parent,
        enterprise,
        district,
        longitude,
        latitude,
        heated_area,
        attributes: cells.attributes(),
    }))
}

fn device(cells: &mut Cells<'_>) -> Option<RegistryEntry> {
    let (code, facility, kind) = (cells.required("code"), cells.required("facility"), cells.required("type"));
    Some(RegistryEntry::Device(Device {
        code: code?,
        facility: facility?,
        kind: kind?,
        model: cells.string("model"),
        maker: cells.string("maker"),
        installed: cells.string("installed"),
        attributes: cells.attributes(),
    }))
}

fn threshold(cells: &mut Cells<'_>) -> Option<RegistryEntry> {
    read_threshold(cells).map(RegistryEntry::Threshold)
}

/// Reads one threshold, as [`ReadRow`] does.
pub(crate) fn read_threshold(cells: &mut Cells<'_>) -> Option<Threshold> {
    let (scope, metric) = (cells.required("scope"), cells.metric());
    let side = cells.named("side", Side::ALL, Side::name);
    let [level1, level2, level3] = ["level1", "level2", "level3"].map(|column| cells.number(column));
    let deadband = cells.number("deadband").unwrap_or(0.0);
    let [on_delay, off_delay] = ["on_delay", "off_delay"].map(|column| cells.seconds(column).unwrap_or(0));
    let enabled = cells.boolean("enabled", true);
    let rule = cells.code("rule").unwrap_or_default();
    Some(Threshold {
        scope: scope?,
        metric: metric?,
        side: side?,
        level1,
        level2,
        level3,
        deadband,
        on_delay,
        off_delay,
        enabled,
        advice: cells.string("advice"),
        rule,
    })
}
