//! How the state of validation is saved and read back.
//!
//! Enters and leaves: facilities with their recent reports, as they are held. What follows from the registry (profile,
//! limits) is not written. Guarantees: metrics are written by their codes and with the decimals that their packed
//! values count, so that another version's catalogue reads the same values; cells that do not match their rows are
//! refused.

use std::{collections::VecDeque, fmt, marker::PhantomData, rc::Rc};

use schemas::{Code, MetricId, Millis};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{SeqAccess, Visitor},
};

use super::{Validate, column::States, mark::Mark, rows::Rows, values::Values};
use crate::{
    durable::{Durable, GLOBAL, RestoreError, Saved, known_form, read_section},
    flow::Object,
};

/// The key of [`Validate::swept`] among what all workers know.
const SWEPT: &str = "swept";

impl Durable for Validate {
    const STATE: &'static str = "validate";
    const FORM: u16 = 1;

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

/// What is restored of a facility.
#[derive(Debug, Default, Deserialize)]
pub struct RestoredPlace {
    pub(super) series: Vec<RestoredSeries>,
}

/// What is restored of an object's recent reports.
#[derive(Debug, Deserialize)]
#[serde(try_from = "AnySeries")]
pub struct RestoredSeries {
    pub(super) device: Code,
    pub(super) rows: Rows,
    pub(super) columns: Vec<RestoredColumn>,
    pub(super) forgotten: Millis,
    pub(super) touched: Millis,
}

/// The same before it is known whether its parts match.
#[derive(Deserialize)]
struct AnySeries {
    device: Code,
    rows: Rows,
    columns: Vec<RestoredColumn>,
    forgotten: Millis,
    touched: Millis,
}

impl TryFrom<AnySeries> for RestoredSeries {
    type Error = String;

    fn try_from(any: AnySeries) -> Result<RestoredSeries, String> {
        let AnySeries { device, rows, columns, forgotten, touched } = any;
        for column in &columns {
            let (cells, marks) = (column.values.len(), column.marks.len());
            if cells != rows.len() || marks != 0 && marks != cells {
                let (metric, rows) = (&column.metric, rows.len());
                return Err(format!("{metric} has {cells} values and {marks} marks in {rows} reports"));
            }
        }
        Ok(RestoredSeries { device, rows, columns, forgotten, touched })
    }
}

/// What is restored of one metric of an object.
#[derive(Debug, Deserialize)]
pub struct RestoredColumn {
    /// Code, as the catalogue that it was written with has it.
    pub(super) metric: Code,
    /// The decimals that its packed values count.
    pub(super) decimals: u8,
    pub(super) states: Option<Box<States>>,
    pub(super) values: Values,
    pub(super) marks: Vec<Mark>,
}

/// Writes an object as its device: its facility is the key.
pub(super) fn device<S: Serializer>(object: &Rc<Object>, serializer: S) -> Result<S::Ok, S::Error> {
    object.device.serialize(serializer)
}

/// Writes a metric with the decimals that its packed values count.
pub(super) fn metric<S: Serializer>(metric: &MetricId, serializer: S) -> Result<S::Ok, S::Error> {
    (metric.code(), metric.metric().decimals).serialize(serializer)
}

/// Reads cells, with the room that they have when they grew one by one: without it the next report would double it.
pub(super) fn cells<'de, T, D>(deserializer: D) -> Result<VecDeque<T>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    deserializer.deserialize_seq(Cells(PhantomData))
}

/// More cells than this are not believed before they are read.
const MOST_ROOM: usize = 4096;

/// Cells that grow begin with this room.
const LEAST_ROOM: usize = 4;

struct Cells<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Cells<T> {
    type Value = VecDeque<T>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("cells")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<VecDeque<T>, A::Error> {
        let room = sequence.size_hint().unwrap_or(0).min(MOST_ROOM);
        let room = if room == 0 { 0 } else { (room + 1).next_power_of_two().max(LEAST_ROOM) };
        let mut cells = VecDeque::with_capacity(room);
        while let Some(cell) = sequence.next_element()? {
            cells.push_back(cell);
        }
        Ok(cells)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct Read(#[serde(deserialize_with = "cells")] VecDeque<i16>);

    #[test]
    fn cells_that_are_read_have_the_room_of_those_that_grew() {
        let mut grown: VecDeque<i16> = VecDeque::new();
        for length in 0..200 {
            let Read(mut read) = postcard::from_bytes(&postcard::to_stdvec(&grown).unwrap()).unwrap();
            assert_eq!(read, grown);
            grown.push_back(length);
            read.push_back(length);
            assert_eq!(read.capacity(), grown.capacity(), "{length} cells and one more");
        }
    }
}
