//! How the state of validation is saved and read back.
//!
//! Enters and leaves: facilities with their recent reports, as they are held. What follows from the registry (profile,
//! limits) is not written. Guarantees: metrics are written by their codes and with the decimals that their packed
//! values count, so that another version's catalogue reads the same values; cells that do not match their rows are
//! refused, as is a metric that the catalogue lacks.

use schemas::{Code, MetricId, Millis};
use serde::{Deserialize, Serialize, Serializer};

use super::{
    Validate,
    counter::Apart,
    mark::Mark,
    neighbours::Point,
    object::ReportHistory,
    rows::{Near, Row},
};
use crate::durable::{Durable, GLOBAL, RestoreError, Saved, known_form, read_section};

/// The key of [`Validate::swept`] among what all workers know.
const SWEPT: &str = "swept";

impl Durable for Validate {
    const STATE: &'static str = "validate";
    const FORM: u16 = 2;

    fn begin(&mut self) {
        self.facilities.begin();
        self.saving_swept = Some(self.swept);
    }

    fn save(&mut self, entries: usize, out: &mut Saved) -> bool {
        if let Some(swept) = self.saving_swept.take() {
            out.put(GLOBAL, SWEPT, Some(&swept));
        }
        self.facilities.save(entries, out)
    }

    fn restore(&mut self, shard: u16, form: u16, section: &[u8]) -> Result<(), RestoreError> {
        known_form(Self::STATE, form, Self::FORM)?;
        if shard != GLOBAL {
            return self.facilities.restore(Self::STATE, section);
        }
        let swept = &mut self.swept;
        let mut unknown = None;
        read_section(Self::STATE, section, |key: String, value: Option<Millis>| match value {
            Some(value) if key == SWEPT => *swept = value,
            _ => unknown = Some(key),
        })?;
        let detail = |key| format!("nothing that all workers know is called {key:?}");
        let unreadable = |key| RestoreError::Unreadable { state: Self::STATE, detail: detail(key) };
        unknown.map(unreadable).map_or(Ok(()), Err)
    }
}

impl Serialize for ReportHistory {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.saved().serialize(serializer)
    }
}

/// What is restored of a facility.
#[derive(Debug, Default, Deserialize)]
pub struct RestoredFacility {
    pub(super) series: Vec<SavedSeries>,
}

/// An object's recent reports as they are saved. Its facility is the key.
#[derive(Debug, Serialize, Deserialize)]
#[serde(try_from = "AnySeries")]
pub struct SavedSeries {
    pub(super) device: Code,
    pub(super) rows: SavedRows,
    pub(super) columns: Vec<SavedColumn>,
    pub(super) forgotten: Millis,
    pub(super) touched: Millis,
}

/// The same before it is known whether its parts match.
#[derive(Deserialize)]
struct AnySeries {
    device: Code,
    rows: SavedRows,
    columns: Vec<SavedColumn>,
    forgotten: Millis,
    touched: Millis,
}

impl TryFrom<AnySeries> for SavedSeries {
    type Error = String;

    fn try_from(any: AnySeries) -> Result<SavedSeries, String> {
        let AnySeries { device, rows, columns, forgotten, touched } = any;
        for column in &columns {
            let (cells, marks) = (column.values.len(), column.marks.len());
            if cells != rows.len() || marks != 0 && marks != cells {
                let (metric, rows) = (column.metric.code(), rows.len());
                return Err(format!("{metric} has {cells} values and {marks} marks in {rows} reports"));
            }
        }
        Ok(SavedSeries { device, rows, columns, forgotten, touched })
    }
}

/// The rows of an object, in their order.
#[derive(Debug, Serialize, Deserialize)]
pub enum SavedRows {
    /// Distances from a base.
    Near { base: Millis, cells: Vec<Near> },
    /// As they are.
    Far(Vec<Row>),
}

impl SavedRows {
    fn len(&self) -> usize {
        match self {
            SavedRows::Near { cells, .. } => cells.len(),
            SavedRows::Far(rows) => rows.len(),
        }
    }
}

/// One metric of an object.
#[derive(Debug, Serialize, Deserialize)]
pub struct SavedColumn {
    /// Written as its code.
    pub(super) metric: MetricId,
    /// The decimals that its packed values count.
    pub(super) decimals: u8,
    pub(super) states: Option<Box<SavedStates>>,
    pub(super) values: SavedValues,
    pub(super) marks: Vec<Mark>,
}

/// Where the tests of neighbours stand, before the remembered readings and before the newest of them.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct SavedStates {
    pub(super) settled: SavedState,
    pub(super) latest: SavedState,
}

/// What the readings of a metric leave behind for the next one.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub enum SavedState {
    /// Nothing was read yet.
    Empty,
    /// A quantity that goes up and down.
    Gauge {
        /// The last reading.
        last: Point,
        /// Since when the value has not changed.
        since: Millis,
        /// Least and greatest value since then.
        span: (f64, f64),
    },
    /// A counter as form 1 wrote it: the last reading that was believed, and where it had stood since it fell. That does
    /// not say whether it counts on there as the object can carry it, so it is judged anew.
    FormerCounter { believed: Point, _fallen: Option<(Point, f64)> },
    /// A counter.
    Counter {
        /// The last reading that was believed.
        believed: Point,
        /// Where the counter stands apart from it.
        apart: Option<Apart>,
    },
}

/// The values of a metric, in the order of the rows.
#[derive(Debug, Serialize, Deserialize)]
pub enum SavedValues {
    /// Distances of 2 bytes.
    Two(SavedPacked<i16>),
    /// Distances of 4 bytes.
    Four(SavedPacked<i32>),
    /// Values; empty cells are NaN.
    Eight(Vec<f64>),
}

/// Distances from a base.
#[derive(Debug, Serialize, Deserialize)]
pub struct SavedPacked<T> {
    pub(super) base: i64,
    pub(super) cells: Vec<T>,
}

impl SavedValues {
    fn len(&self) -> usize {
        match self {
            SavedValues::Two(packed) => packed.cells.len(),
            SavedValues::Four(packed) => packed.cells.len(),
            SavedValues::Eight(cells) => cells.len(),
        }
    }
}
