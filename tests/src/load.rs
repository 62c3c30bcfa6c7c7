//! The load of a crash campaign: a simulated district with faults, and among its reports everything else that the input
//! topics may hold.
//!
//! Enters: a seed. Leaves: records in the order of their arrival. Guarantees: the same seed gives the same records; there
//! are repetitions, corrections, unknown objects, bytes that no schema knows, registry changes, events and what connectors
//! have turned away, so that every output has rows.

use std::{collections::BTreeMap, collections::VecDeque, time::Duration};

use connectors::{
    Outgoing, Publisher,
    simulator::{self, Intervals, Plan, Simulator, Size, plan_faults},
};
use rdkafka::{
    ClientConfig,
    producer::{BaseProducer, BaseRecord, Producer},
};
use schemas::{
    Event, Millis, RawValue, Reason, RegistryEntry, Reject, RejectStage, Report, Topic, time::MINUTE,
};

use crate::{Site, dice::Dice};

/// Reports that may be repeated or corrected.
const RECENT: usize = 200;
/// States that are alarms, each holding for some minutes out of every so many, so that alarms come and go all the time.
const STATES: [&str; 3] = ["flooding", "power_lost", "vfd_fault"];
const HOLDS: i64 = 7;
const EVERY: i64 = 60;

/// One record on its way to a topic.
#[derive(Clone, Debug)]
pub enum Item {
    /// As a connector would write it.
    Record(Box<Outgoing>),
    /// Bytes on the topic of reports that are no report.
    Garbage(Vec<u8>),
}

impl Item {
    fn record(record: Outgoing) -> Item {
        Item::Record(Box::new(record))
    }
}

/// Everything that a campaign puts onto the topics.
#[derive(Clone, Debug)]
pub struct Load {
    /// The registry, before anything else.
    pub registry: Vec<Outgoing>,
    /// The rest, in its order.
    pub items: Vec<Item>,
    /// Readings in the reports.
    pub readings: u64,
}

impl Load {
    /// The load of a seed: so many hours of a small district.
    pub fn of(seed: u64, hours: u32) -> Load {
        let size = Size { plants: 1, branches: 1, boiler_houses: 0, stations: 3, rooms: 4, clean_devices: 3 };
        let intervals = Intervals { clean_device: 5, source: 5, ..Intervals::default() };
        let plan = Plan { hours, seed, faults_per_kind: 3, intervals, ..Plan::of(size) };
        let entries = simulator::registry(&plan);
        let mut extras = Extras { dice: Dice::of(seed), recent: VecDeque::new(), entries };
        let mut items = Vec::new();
        for minute in Simulator::new(&plan, plan_faults(&plan)).unwrap() {
            for mut report in minute.reports {
                let now = report.received_at;
                disturb(&mut report);
                extras.remember(&report);
                items.push(Item::record(Outgoing::Report(report)));
                items.extend(extras.after(now));
            }
        }
        let readings = |item: &Item| match item {
            Item::Record(record) => match &**record {
                Outgoing::Report(report) => report.readings.len() as u64,
                _ => 0,
            },
            Item::Garbage(_) => 0,
        };
        let readings = items.iter().map(readings).sum();
        Load { registry: simulator::registry_records(&plan), items, readings }
    }
}

/// Lets the states of a report hold when it is their time.
fn disturb(report: &mut Report) {
    let minute = report.observed_at / MINUTE;
    for reading in &mut report.readings {
        let state = STATES.iter().position(|state| *state == reading.metric);
        if state.is_some_and(|place| (minute + 19 * place as i64) % EVERY < HOLDS) {
            reading.value = RawValue::Number(1.0);
        }
    }
}

/// What stands among the reports.
struct Extras {
    dice: Dice,
    recent: VecDeque<Report>,
    entries: Vec<RegistryEntry>,
}

impl Extras {
    fn remember(&mut self, report: &Report) {
        self.recent.push_back(report.clone());
        if self.recent.len() > RECENT {
            self.recent.pop_front();
        }
    }

    fn after(&mut self, now: Millis) -> Vec<Item> {
        let mut items = Vec::new();
        if self.dice.per_mille(15) {
            items.push(Item::record(Outgoing::Report(self.repeated(now))));
        }
        if self.dice.per_mille(15) {
            items.push(Item::record(Outgoing::Report(self.corrected(now))));
        }
        if self.dice.per_mille(4) {
            let mut stranger = self.repeated(now);
            stranger.facility = "ST-9999".into();
            items.push(Item::record(Outgoing::Report(stranger)));
        }
        if self.dice.per_mille(4) {
            items.push(Item::Garbage(self.dice.bits().to_le_bytes().to_vec()));
        }
        if self.dice.per_mille(4) {
            items.push(Item::record(Outgoing::Event(self.event(now))));
        }
        if self.dice.per_mille(4) {
            items.push(Item::record(Outgoing::Reject(self.turned_away(now))));
        }
        if self.dice.per_mille(4) {
            items.push(Item::record(self.registry_change()));
        }
        items
    }

    fn repeated(&mut self, now: Millis) -> Report {
        let place = self.dice.below(self.recent.len() as u64) as usize;
        Report { received_at: now, ..self.recent[place].clone() }
    }

    fn corrected(&mut self, now: Millis) -> Report {
        let mut report = self.repeated(now);
        for reading in &mut report.readings {
            if let RawValue::Number(value) = &mut reading.value {
                *value += 0.25;
            }
        }
        report
    }

    fn event(&mut self, now: Millis) -> Event {
        if self.dice.below(2) == 0 {
            return self.repair(now);
        }
        let fields = BTreeMap::from([("text".to_owned(), "cold radiator".to_owned())]);
        Event {
            id: format!("E-{}", self.dice.below(1_000_000)),
            kind: "complaint".to_owned(),
            facility: "ST-0001".into(),
            at: now,
            received_at: now,
            origin: "test".to_owned(),
            fields,
        }
    }

    /// One of a few repairs, which begins, ends, or did otherwise than was said.
    fn repair(&mut self, now: Millis) -> Event {
        let at = now - self.dice.below(120) as Millis * MINUTE;
        let area = (self.dice.below(4) * 700_000).to_string();
        let mut fields = BTreeMap::from([("stopped_area".to_owned(), area)]);
        if self.dice.below(2) == 0 {
            fields.insert("ended_at".to_owned(), now.to_string());
        }
        Event {
            id: format!("R-{}", self.dice.below(4)),
            kind: schemas::event::REPAIR.to_owned(),
            facility: "ST-0001".into(),
            at,
            received_at: now,
            origin: "test".to_owned(),
            fields,
        }
    }

    fn turned_away(&mut self, at: Millis) -> Reject {
        Reject {
            at,
            origin: format!("http:198.51.100.{}", self.dice.below(250)),
            reason: Reason::NotANumber,
            detail: "secondary_supply_temp: `warm` is no number".to_owned(),
            raw: b"{\"secondary_supply_temp\":\"warm\"}".to_vec(),
            stage: RejectStage::Connector,
            readings: 1,
        }
    }

    /// Some facility is a little larger or smaller than the registry said.
    fn registry_change(&mut self) -> Outgoing {
        let with_area = |entry: &&RegistryEntry| match entry {
            RegistryEntry::Facility(facility) => facility.heated_area.is_some(),
            _ => false,
        };
        let with_area: Vec<RegistryEntry> = self.entries.iter().filter(with_area).cloned().collect();
        let mut entry = self.dice.pick(&with_area).clone();
        if let RegistryEntry::Facility(facility) = &mut entry {
            let share = 0.9 + self.dice.below(200) as f64 / 1_000.0;
            facility.heated_area = facility.heated_area.map(|area| (area * share).round());
        }
        Outgoing::RegistryEntry(entry.key(), Some(Box::new(entry)))
    }
}

/// Puts records onto the topics of a site.
pub struct Feeder {
    publisher: Publisher,
    raw: BaseProducer,
    reports: String,
}

impl Feeder {
    /// A feeder of a site.
    pub fn of(site: &Site) -> Feeder {
        let kafka = site.kafka();
        let raw = ClientConfig::new().set("bootstrap.servers", &kafka.brokers).create().unwrap();
        Feeder { publisher: site.publisher(), raw, reports: kafka.topic(Topic::Reports) }
    }

    /// Puts records there in their order and returns when the brokers have them.
    pub async fn feed(&self, items: &[Item]) {
        let mut batch = Vec::new();
        for item in items {
            match item {
                Item::Record(record) => batch.push(Outgoing::clone(record)),
                Item::Garbage(bytes) => {
                    let record = BaseRecord::<[u8], [u8]>::to(&self.reports).key(b"ST-0001").payload(bytes);
                    self.raw.send(record).map_err(|(error, _)| error).unwrap();
                }
            }
        }
        if !batch.is_empty() {
            self.publisher.publish(batch).await.unwrap();
        }
        self.raw.flush(Duration::from_secs(30)).unwrap();
    }
}

#[test]
fn a_load_is_the_same_for_the_same_seed_and_has_everything() {
    let (load, again) = (Load::of(3, 12), Load::of(3, 12));
    assert_eq!(format!("{:?}", load.items), format!("{:?}", again.items));
    let garbage = load.items.iter().filter(|item| matches!(item, Item::Garbage(_))).count();
    let records = |is: fn(&Outgoing) -> bool| {
        load.items.iter().filter(|item| matches!(item, Item::Record(record) if is(record))).count()
    };
    assert!(garbage > 2);
    assert!(records(|record| matches!(record, Outgoing::RegistryEntry(..))) > 2);
    assert!(records(|record| matches!(record, Outgoing::Reject(_))) > 2);
    assert!(load.readings > 10_000, "{} readings", load.readings);
}
