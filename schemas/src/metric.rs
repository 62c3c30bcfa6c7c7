//! The metric catalogue: what can be measured, in which unit, and what is physically possible.
//!
//! The catalogue is data: `catalogue/metrics.csv`. A metric's number is its line in that file, so lines are only
//! ever appended.

use std::sync::OnceLock;

use rustc_hash::FxHashMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::Error;

/// A metric's place in the catalogue in force; on the wire it is written as its code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MetricId(pub u16);

impl MetricId {
    /// The metric's code.
    #[must_use]
    pub fn code(self) -> &'static str {
        &Catalogue::in_force().metric(self).code
    }

    /// The metric itself.
    #[must_use]
    pub fn metric(self) -> &'static Metric {
        Catalogue::in_force().metric(self)
    }
}

impl Serialize for MetricId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}

impl<'de> Deserialize<'de> for MetricId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let code = compact_str::CompactString::deserialize(deserializer)?;
        Catalogue::in_force().id(&code).ok_or_else(|| de::Error::custom(format!("unknown metric {code}")))
    }
}

/// How a metric behaves over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MetricKind {
    /// A quantity that goes up and down.
    Gauge,
    /// A meter that only counts up, until it is reset.
    Counter,
    /// 0 or 1.
    State,
    /// A coordinate.
    Position,
}

/// What a value of exactly zero says, where it is not a value like any other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Zero {
    /// Nothing was measured: the water of a filled network is never at exactly 0.0 °C, and a receiver without a fix says
    /// 0, 0, which is a place in the Gulf of Guinea.
    Never,
    /// It was measured, unless everything else in the report is zero too: the pressure behind a burst pipe and the
    /// voltage of a lost phase are zero, and must raise their alarms, but nothing else is zero then.
    Alone,
}

/// When a low value is a fault, where it is not one at all times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Low {
    /// While heating is due: when it stops by plan, water and rooms grow cold and nothing flows.
    Heating,
}

/// One metric.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Metric {
    /// The code used everywhere.
    pub code: String,
    /// Chinese name.
    pub name: String,
    /// Unit symbol; empty for states and ratios.
    #[serde(default)]
    pub unit: String,
    /// How it behaves over time.
    pub kind: MetricKind,
    /// Decimals shown and stored.
    pub decimals: u8,
    /// Least physically possible value, in the unit.
    pub min: f64,
    /// Greatest physically possible value, in the unit.
    pub max: f64,
    /// Greatest believable change, in units per minute; `None` where jumps are normal.
    pub max_rate: Option<f64>,
    /// A single point this far from both neighbours is a spike, in the unit.
    pub spike: Option<f64>,
    /// A change up to this does not count as a change, in the unit.
    pub flat_tolerance: Option<f64>,
    /// Unchanged for this long is suspect, in seconds.
    pub flat_suspect: Option<u32>,
    /// Unchanged for this long fails, in seconds.
    pub flat_fail: Option<u32>,
    /// Only values at least this far from zero must change; nearer ones may stand still, as in a station at rest, in the
    /// unit.
    pub flat_above: Option<f64>,
    /// What a value of exactly zero says; `None` where it is a value like any other.
    pub zero: Option<Zero>,
    /// When a low value is a fault; `None` where it is one at all times.
    pub low: Option<Low>,
}

/// Every metric, by number and by code.
#[derive(Debug)]
pub struct Catalogue {
    metrics: Vec<Metric>,
    by_code: FxHashMap<String, MetricId>,
}

impl Catalogue {
    /// The catalogue that ships with the product.
    #[must_use]
    pub fn in_force() -> &'static Catalogue {
        static BUILTIN: OnceLock<Catalogue> = OnceLock::new();
        BUILTIN.get_or_init(|| {
            // A test reads every line of this file, so it cannot be malformed in a released binary.
            Catalogue::read("metrics.csv", include_str!("../catalogue/metrics.csv"))
                .unwrap_or_else(|error| panic!("{error}"))
        })
    }

    /// Reads a catalogue from CSV text.
    ///
    /// # Errors
    /// [`Error::Catalogue`] with the line of the first malformed or repeated metric.
    pub fn read(file: &str, text: &str) -> Result<Catalogue, Error> {
        let mut catalogue = Catalogue { metrics: Vec::new(), by_code: FxHashMap::default() };
        let mut reader =
            csv::ReaderBuilder::new().comment(Some(b'#')).trim(csv::Trim::All).from_reader(text.as_bytes());
        for (row, metric) in reader.deserialize::<Metric>().enumerate() {
            let wrong =
                |line: usize, detail: String| Error::Catalogue { file: file.to_owned(), line, detail };
            let metric = metric
                .map_err(|e| wrong(e.position().map_or(row + 2, |p| p.line() as usize), e.to_string()))?;
            if metric.min > metric.max {
                return Err(wrong(
                    row + 2,
                    format!("{}: min {} is above max {}", metric.code, metric.min, metric.max),
                ));
            }
            let id = MetricId(catalogue.metrics.len() as u16);
            if catalogue.by_code.insert(metric.code.clone(), id).is_some() {
                return Err(wrong(row + 2, format!("metric {} stands twice", metric.code)));
            }
            catalogue.metrics.push(metric);
        }
        Ok(catalogue)
    }

    /// The number of a code.
    #[must_use]
    pub fn id(&self, code: &str) -> Option<MetricId> {
        self.by_code.get(code).copied()
    }

    /// The metric of a number.
    ///
    /// # Panics
    /// When the number is not of this catalogue.
    #[must_use]
    pub fn metric(&self, id: MetricId) -> &Metric {
        &self.metrics[usize::from(id.0)]
    }

    /// The metric of a number, where the catalogue holds it.
    #[must_use]
    pub fn get(&self, id: MetricId) -> Option<&Metric> {
        self.metrics.get(usize::from(id.0))
    }

    /// Every metric in the order of its number.
    pub fn iter(&self) -> impl Iterator<Item = (MetricId, &Metric)> {
        self.metrics.iter().enumerate().map(|(n, metric)| (MetricId(n as u16), metric))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_catalogue_is_well_formed() {
        let catalogue = Catalogue::in_force();
        assert!(catalogue.iter().count() > 90);
        for (id, metric) in catalogue.iter() {
            assert_eq!(catalogue.id(&metric.code), Some(id), "{}", metric.code);
            assert!(!metric.name.is_empty(), "{} has no Chinese name", metric.code);
        }
    }

    #[test]
    fn a_malformed_line_is_named() {
        let head =
            "code,name,unit,kind,decimals,min,max,max_rate,spike,flat_tolerance,flat_suspect,flat_fail\n";
        let wrong = |rows: &str| Catalogue::read("m.csv", &format!("{head}{rows}")).unwrap_err().to_string();
        assert!(wrong("a,甲,,gauge,1,0,x,,,,,\n").contains("m.csv:2"));
        assert!(
            wrong("a,甲,,gauge,1,0,1,,,,,\na,乙,,gauge,1,0,1,,,,,\n")
                .contains("m.csv:3: metric a stands twice")
        );
        assert!(wrong("a,甲,,gauge,1,5,1,,,,,\n").contains("min 5 is above max 1"));
    }
}
