//! What a pipeline said on its topics, compared byte for byte.

use std::collections::BTreeMap;

use crate::{
    Site,
    consume::{self, Raw},
};
use schemas::{Epoch, Topic};

/// The topics on which a pipeline says something.
pub const TOPICS: [Topic; 3] = [Topic::Alarms, Topic::Kpis, Topic::Rejects];

/// The ends of the topics, by topic.
pub type Ends = BTreeMap<Topic, BTreeMap<i32, i64>>;

/// Where the topics of a site end now.
pub fn ends(site: &Site) -> Ends {
    TOPICS.into_iter().map(|topic| (topic, consume::ends(&site.kafka(), topic))).collect()
}

/// What pipelines of a site have said on a topic behind some offsets in the epochs until `last`: records that carry an
/// epoch, in the order of each partition.
pub fn said(site: &Site, topic: Topic, from: &Ends, last: Epoch) -> Vec<Raw> {
    let start = from.get(&topic).cloned().unwrap_or_default();
    let records = consume::raw(&site.kafka(), topic, &start).into_iter();
    records
        .filter(|record| record.number("epoch").is_some_and(|epoch| epoch <= last))
        .map(Raw::content)
        .collect()
}

/// Asserts that two pipelines said the same, byte for byte.
pub fn assert_same(topic: Topic, one: &[Raw], other: &[Raw]) {
    let differs = one.iter().zip(other).position(|(one, other)| one != other);
    if let Some(place) = differs.or((one.len() != other.len()).then(|| one.len().min(other.len()))) {
        let shown = |records: &[Raw]| records.get(place).map(show).unwrap_or_else(|| "nothing".to_owned());
        panic!(
            "{}: {} against {} records; the first difference is\n{}\nagainst\n{}",
            topic.name(),
            one.len(),
            other.len(),
            shown(one),
            shown(other)
        );
    }
}

fn show(record: &Raw) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let headers: Vec<String> =
        record.headers.iter().map(|(name, value)| format!("{name}={}", text(value))).collect();
    let value = record.value.as_deref().map(text);
    format!("partition {} {} {} {value:?}", record.partition, headers.join(" "), text(&record.key))
}
