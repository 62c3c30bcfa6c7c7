//! The metric catalogue: what can be measured, in which unit, and what is physically possible.
//!
//! Enters: the metrics of `catalogue/metrics.csv` and of the user's own file ([`crate::catalogues`]). Leaves: metrics by
//! number and by code. Guarantees: a metric's number is its place among those of both files, and holds as long as the
//! process lives; everywhere outside of the process a metric is written as its code.

use std::cell::Cell;

use rustc_hash::FxHashMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{Code, catalogues, fnv};

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
        let code = Code::deserialize(deserializer)?;
        Catalogue::in_force().id(&code).ok_or_else(|| unknown(format_args!("{code}")))
    }
}

thread_local! {
    /// The metric that a deserialisation on this thread did not find last.
    static UNKNOWN: Cell<Option<String>> = const { Cell::new(None) };
}

/// The error of a deserialisation that names a metric which the catalogue lacks. The name is kept for
/// [`take_unknown`]: formats such as postcard drop the text of an error.
pub fn unknown<E: de::Error>(metric: impl std::fmt::Display) -> E {
    let metric = metric.to_string();
    let error = E::custom(format_args!("unknown metric {metric}"));
    UNKNOWN.set(Some(metric));
    error
}

/// The metric that a deserialisation on this thread did not find since this was asked last.
#[must_use]
pub fn take_unknown() -> Option<String> {
    UNKNOWN.take()
}

/// FNV-1a of a code: the name of a metric in four bytes. The codes of a catalogue differ in it, and none has one of the
/// values below [`RESERVED_HASHES`], which are free for what is no metric.
#[must_use]
pub fn hash(code: &str) -> u32 {
    fnv::fnv_32(code.bytes())
}

/// See [`hash`].
pub const RESERVED_HASHES: u32 = 16;

/// How a metric behaves over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

impl MetricKind {
    /// Every kind.
    pub const ALL: &[MetricKind] =
        &[MetricKind::Gauge, MetricKind::Counter, MetricKind::State, MetricKind::Position];

    /// The name that it is written with.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            MetricKind::Gauge => "gauge",
            MetricKind::Counter => "counter",
            MetricKind::State => "state",
            MetricKind::Position => "position",
        }
    }
}

/// What a value of exactly zero says, where it is not a value like any other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Zero {
    /// Nothing was measured: the water of a filled network is never at exactly 0.0 °C, and a receiver without a fix says
    /// 0, 0, which is a place in the Gulf of Guinea.
    Never,
    /// It was measured, unless everything else in the report is zero too: the pressure behind a burst pipe and the
    /// voltage of a lost phase are zero, and must raise their alarms, but nothing else is zero then.
    Alone,
}

impl Zero {
    /// Every one.
    pub const ALL: &[Zero] = &[Zero::Never, Zero::Alone];

    /// The name that it is written with.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Zero::Never => "never",
            Zero::Alone => "alone",
        }
    }
}

/// When a low value is a fault, where it is not one at all times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Low {
    /// While heating is due: when it stops by plan, water and rooms grow cold and nothing flows.
    Heating,
}

impl Low {
    /// Every one.
    pub const ALL: &[Low] = &[Low::Heating];

    /// The name that it is written with.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Low::Heating => "heating",
        }
    }
}

/// One metric.
#[derive(Clone, Debug, PartialEq)]
pub struct Metric {
    /// The code used everywhere.
    pub code: String,
    /// Chinese name.
    pub name: String,
    /// Unit symbol; empty for states and ratios.
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
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Catalogue {
    metrics: Vec<Metric>,
    by_code: FxHashMap<String, MetricId>,
    by_hash: FxHashMap<u32, MetricId>,
}

impl Catalogue {
    /// The metrics that this process knows: the shipped ones, and those that the user adds ([`crate::catalogues`]).
    #[inline]
    #[must_use]
    pub fn in_force() -> &'static Catalogue {
        catalogues::in_force().metrics()
    }

    /// Adds a metric behind all others.
    ///
    /// # Errors
    /// What keeps its code from being used.
    pub(crate) fn add(&mut self, metric: Metric) -> Result<(), String> {
        let (code, hash) = (&metric.code, hash(&metric.code));
        if let Some(other) = self.by_hash.get(&hash).map(|id| &self.metric(*id).code) {
            return Err(format!("metric {code} has the same hash as {other}: choose another code"));
        }
        let number = u16::try_from(self.metrics.len()).ok().filter(|number| *number < u16::MAX);
        let (Some(number), RESERVED_HASHES..) = (number, hash) else {
            return Err(match number {
                Some(_) => {
                    format!("metric {code} has the hash {hash}, which is reserved: choose another code")
                }
                None => format!("metric {code} is one too many: a catalogue holds {} metrics", u16::MAX),
            });
        };
        self.by_code.insert(metric.code.clone(), MetricId(number));
        self.by_hash.insert(hash, MetricId(number));
        self.metrics.push(metric);
        Ok(())
    }

    /// Puts a metric in the place of one with its code.
    pub(crate) fn replace(&mut self, id: MetricId, metric: Metric) {
        debug_assert_eq!(self.metric(id).code, metric.code, "a number keeps its code");
        self.metrics[usize::from(id.0)] = metric;
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
            assert_eq!(catalogue.by_hash.get(&hash(&metric.code)), Some(&id), "{}", metric.code);
        }
    }

    #[test]
    fn an_unknown_metric_is_kept_for_the_reader_of_a_form_without_words() {
        let read = |json: &str| serde_json::from_str::<MetricId>(json).map_err(|error| error.to_string());
        assert_eq!(read("\"room_temp\""), Ok(Catalogue::in_force().id("room_temp").unwrap()));
        assert_eq!(take_unknown(), None);
        assert!(read("\"rom_temp\"").unwrap_err().starts_with("unknown metric rom_temp"));
        assert_eq!((take_unknown().as_deref(), take_unknown()), (Some("rom_temp"), None));
    }
}
