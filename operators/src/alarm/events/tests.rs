use std::collections::BTreeMap;

use proptest::prelude::*;
use schemas::{
    Epoch, Event, Facility, FacilityKind, RecordPlace, Topic, Transition,
    time::{HOUR, MINUTE},
};

use serde_json::Value;

use super::*;
use crate::durable::restarts::{Divided, Told, events as interruptions, hex, never_show, unhex, with};

const START: Millis = 1_768_003_200_000;

fn profile(code: &str, households: u32) -> Arc<Profile> {
    Arc::new(Profile {
        facility: Facility::new(code, FacilityKind::Station),
        devices: [].into(),
        scopes: [].into(),
        thresholds: [].into(),
        households_below: households,
        area_below: 1e5,
    })
}

fn registered(code: &str) -> ProfileChange {
    ProfileChange { facility: code.into(), profile: Some(profile(code, 100)) }
}

/// A repair that began and ended so many minutes after the start.
fn repair(facility: &str, id: &str, from: i64, until: Option<i64>, area: f64) -> CheckedEvent {
    let at = |minutes: i64| START + minutes * MINUTE;
    let fields = [("stopped_area", Some(area.to_string())), ("ended_at", until.map(|m| at(m).to_string()))];
    let fields = fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    let event = Event {
        id: id.to_owned(),
        kind: schemas::event::REPAIR.to_owned(),
        facility: facility.into(),
        at: at(from),
        received_at: at(from.max(until.unwrap_or(from))),
        origin: String::new(),
        fields: fields.collect(),
    };
    let place = RecordPlace { topic: Topic::Events, partition: 0, offset: from };
    CheckedEvent { event, place, profile: profile(facility, 100) }
}

fn epoch(number: Epoch, minutes: i64, events: Vec<CheckedEvent>) -> CheckedEpoch {
    let profiles =
        if number == 0 { (0..4).map(|n| registered(&format!("ST-{n}"))).collect() } else { vec![] };
    let clock = START + minutes * MINUTE;
    CheckedEpoch { epoch: number, clock, profiles, events, ..CheckedEpoch::default() }
}

/// What is told of events that come one epoch after the other, ten minutes apart.
fn told(stage: &mut EventAlarms, events: Vec<CheckedEvent>) -> Vec<AlarmTransition> {
    let epochs = (0..).zip(events).map(|(n, event)| epoch(n, n as i64 * 10, vec![event]));
    epochs.flat_map(|epoch| stage.apply(&epoch).transitions).collect()
}

fn brief(told: &AlarmTransition) -> (Transition, u8, f64, Millis, &str) {
    (told.transition, told.level, told.current_value, (told.at - START) / MINUTE, told.cause.as_str())
}

#[test]
fn repairs_that_stop_the_supply_make_one_alarm_by_their_area() {
    let mut stage = EventAlarms::default();
    let told = told(
        &mut stage,
        vec![
            repair("ST-1", "R-1", 0, None, 6e5),
            repair("ST-1", "R-2", 8, None, 5e5),
            repair("ST-1", "R-2", 8, Some(19), 5e5),
            repair("ST-1", "R-1", 0, Some(30), 6e5),
            repair("ST-1", "R-1", 0, Some(30), 6e5),
            repair("ST-1", "R-3", 12, Some(15), 5e6),
        ],
    );
    use Transition::{Cleared, Deescalated, Escalated, Raised};
    assert_eq!(
        told.iter().map(brief).collect::<Vec<_>>(),
        [
            (Raised, 3, 6e5, 0, "data"),
            (Escalated, 2, 11e5, 8, "data"),
            (Deescalated, 3, 6e5, 19, "data"),
            (Cleared, 3, 0.0, 30, "data"),
            // It had been graver while the third repair, told late, went on.
            (Transition::Updated, 3, 0.0, 30, "late data"),
        ]
    );
    assert_eq!(told[4].peak_value, 61e5);
    assert_eq!((told[4].peak_level, told[4].sequence), (1, 5));
    assert!(told.iter().all(|t| t.alarm_id == told[0].alarm_id && t.affected_households == 100));
    let evidence: Value = serde_json::from_str(&told[1].evidence).unwrap();
    assert_eq!(evidence["events"][0]["event"], "repair/R-1");
    assert_eq!(evidence["events"][1]["value"], 5e5);
    assert_eq!(evidence["rule"]["code"], "supply_stopped");
}

#[rstest::rstest]
#[case::area_of_one_million(1e6, 3)]
#[case::more(1_000_001.0, 2)]
#[case::five(5e6, 2)]
#[case::more_than_five(5_000_001.0, 1)]
#[case::the_least(1.0, 3)]
fn levels_follow_the_classes_of_faults(#[case] area: f64, #[case] level: u8) {
    let told = told(&mut EventAlarms::default(), vec![repair("ST-1", "R", 0, None, area)]);
    assert_eq!(told.iter().map(|t| t.level).collect::<Vec<_>>(), [level]);
}

#[test]
fn what_was_said_wrongly_is_retracted_and_said_anew_with_the_next_number() {
    let told = told(
        &mut EventAlarms::default(),
        vec![
            repair("ST-1", "R", 0, None, 5.0),
            repair("ST-1", "R", 0, None, 0.0),
            repair("ST-1", "R", 0, None, 5.0),
            repair("ST-1", "R", -5, None, 5.0),
        ],
    );
    use Transition::{Raised, Retracted};
    let seen: Vec<_> = told.iter().map(|t| (t.transition, t.sequence, t.cause.as_str())).collect();
    let want = [
        (Raised, 1, "data"),
        (Retracted, 2, "correction"),
        (Raised, 3, "data"),
        (Retracted, 4, "correction"),
        (Raised, 1, "correction"),
    ];
    assert_eq!(seen[..3], want[..3]);
    assert!(seen.len() == 5 && want[3..].iter().all(|step| seen[3..].contains(step)), "{seen:?}");
}

#[test]
fn the_registry_ends_repeats_and_never_invents() {
    let mut stage = EventAlarms::default();
    stage.apply(&epoch(0, 0, vec![repair("ST-1", "R", 0, None, 5.0)]));
    let change = |households: Option<u32>| CheckedEpoch {
        clock: START + HOUR,
        profiles: vec![ProfileChange {
            facility: "ST-1".into(),
            profile: households.map(|households| profile("ST-1", households)),
        }],
        ..CheckedEpoch::default()
    };
    assert_eq!(stage.apply(&change(Some(100))).transitions, []);
    let told = stage.apply(&change(Some(120))).transitions;
    assert_eq!((told[0].transition, told[0].affected_households), (Transition::Updated, 120));
    let told = stage.apply(&change(None)).transitions;
    assert_eq!((told[0].transition, told[0].cause.as_str()), (Transition::Cleared, "registry"));
    assert_eq!((stage.apply(&change(Some(9))).transitions, stage.entries()), (vec![], 0));
}

#[test]
fn what_is_long_over_is_forgotten_and_comes_too_late() {
    let mut stage = EventAlarms::default();
    let days = |days: i64| days * 24 * 60;
    stage.apply(&epoch(0, 0, vec![repair("ST-1", "old", -60, Some(-30), 5.0)]));
    stage.apply(&epoch(1, 1, vec![repair("ST-2", "lasts", -60, None, 5.0)]));
    assert_eq!(stage.entries(), 2);
    let late = || vec![repair("ST-1", "old", -60, Some(-40), 5.0)];
    let corrected = stage.apply(&epoch(2, days(44), late()));
    assert_eq!((corrected.too_late, corrected.transitions.len()), (0, 1));
    assert_eq!(stage.apply(&epoch(3, days(47), vec![])).transitions, []);
    assert_eq!(stage.entries(), 1, "what lasts is remembered");
    assert_eq!(stage.apply(&epoch(4, days(47), late())).too_late, 1);
    let ended = stage.apply(&epoch(5, days(60), vec![repair("ST-2", "lasts", -60, Some(days(60)), 5.0)]));
    assert_eq!(ended.transitions[0].sequence, 2);
    let many = (0..=MATTERS).map(|n| repair("ST-3", &n.to_string(), days(60), None, 1.0)).collect();
    assert_eq!(stage.apply(&epoch(6, days(60), many)).too_late, 1);
}

#[derive(Clone, Debug)]
struct Said {
    facility: u8,
    id: u8,
    from: i64,
    lasts: Option<i64>,
    area: f64,
}

fn said() -> impl Strategy<Value = Vec<Said>> {
    let lasts = prop::option::weighted(0.7, 0..180_i64);
    let area = prop::sample::select(vec![0.0, 1.0, 7e5, 2e6, 6e6]);
    let said = (0..4_u8, 0..4_u8, -300..300_i64, lasts, area)
        .prop_map(|(facility, id, from, lasts, area)| Said { facility, id, from, lasts, area });
    prop::collection::vec(said, 1..40)
}

fn event(said: &Said) -> CheckedEvent {
    let until = said.lasts.map(|minutes| said.from + minutes);
    repair(&format!("ST-{}", said.facility), &said.id.to_string(), said.from, until, said.area)
}

/// The times, minute by minute, at which something is the matter, by facility: onset, end and the most at a time.
fn oracle(said: &[Said]) -> BTreeMap<(u8, i64), (Option<i64>, f64)> {
    let mut last: BTreeMap<(u8, u8), &Said> = BTreeMap::new();
    last.extend(said.iter().map(|said| ((said.facility, said.id), said)));
    let mut episodes = BTreeMap::new();
    for facility in 0..4 {
        let (mut onset, mut most) = (None, 0.0_f64);
        for minute in -300..=600 {
            let matters = last.iter().filter(|((of, _), _)| *of == facility).map(|(_, said)| said);
            let holds = |s: &&&Said| s.from <= minute && s.lasts.is_none_or(|lasts| minute < s.from + lasts);
            let sum: f64 = matters.filter(holds).map(|said| said.area).sum();
            match (onset, sum > 0.0) {
                (None, true) => (onset, most) = (Some(minute), sum),
                (Some(_), true) => most = most.max(sum),
                (Some(began), false) => {
                    episodes.insert((facility, began), (Some(minute), most));
                    (onset, most) = (None, 0.0);
                }
                (None, false) => {}
            }
        }
        if let Some(began) = onset {
            episodes.insert((facility, began), (None, most));
        }
    }
    episodes
}

impl Divided for CheckedEpoch {
    fn share(&self, holds: &dyn Fn(&str) -> bool) -> CheckedEpoch {
        let events = self.events.iter().filter(|checked| holds(&checked.event.facility));
        let profiles = self.profiles.iter().filter(|change| holds(&change.facility));
        CheckedEpoch {
            epoch: self.epoch,
            clock: self.clock,
            profiles: profiles.cloned().collect(),
            events: events.cloned().collect(),
            ..CheckedEpoch::default()
        }
    }

    fn profiles(&self) -> &[ProfileChange] {
        &self.profiles
    }

    fn again(&self, profiles: Vec<ProfileChange>) -> CheckedEpoch {
        CheckedEpoch { epoch: self.epoch, clock: self.clock, profiles, ..CheckedEpoch::default() }
    }
}

fn of_output(output: &AlarmedEpoch) -> Told {
    output.transitions.iter().map(|t| (t.facility.to_string(), format!("{t:?}"))).collect()
}

proptest! {
    #[test]
    fn the_last_words_make_the_episodes(said in said()) {
        let mut stage = EventAlarms::default();
        let mut last: BTreeMap<String, AlarmTransition> = BTreeMap::new();
        for told in told(&mut stage, said.iter().map(event).collect()) {
            let number = last.get(&told.alarm_id).map_or(0, |before| before.sequence);
            prop_assert_eq!(told.sequence, number + 1);
            last.insert(told.alarm_id.clone(), told);
        }
        let minute = |at: Millis| (at - START) / MINUTE;
        let standing = last.into_values().filter(|told| told.transition != Transition::Retracted);
        let found: BTreeMap<_, _> = standing
            .map(|told| {
                let facility = told.facility.as_bytes()[3] - b'0';
                ((facility, minute(told.raised_at)), (told.cleared_at.map(minute), told.peak_value))
            })
            .collect();
        prop_assert_eq!(found, oracle(&said));
    }

    #[test]
    fn interruptions_never_show(said in said(), days in 1..4_i64, interruptions in interruptions()) {
        let epochs: Vec<CheckedEpoch> = (0..)
            .zip(&said)
            .map(|(n, said)| epoch(n, n as i64 * days * 24 * 60, vec![event(said)]))
            .collect();
        never_show(&EventAlarms::default, &epochs, &interruptions, of_output);
    }
}

/// A repair that lasts, and one that is over, as form 1 writes them.
const FORM_1: &str = "\
    050000000453542d31120100000103020a7265706169722f522d3180909fd3f4660000000000804f22410a7265706169722f\
    522d3280f98bcef4660180d6e7cff46600000000000029400100010101010080909fd3f46680909fd3f4660000000000804f\
    224100000000804f224100000000804f224180909fd3f466030380909fd3f46680909fd3f4660000000000804f2241000000\
    00804f224100000000804f224180909fd3f4660303020480d6e7cff4660280f98bcef46680f98bcef4660180d6e7cff46600\
    000000000029400000000000000000000000000000294080f98bcef4660303010080909fd3f4660180909fd3f46680909fd3\
    f4660000000000804f224100000000804f224100000000804f224180909fd3f466030300";

fn example() -> (EventAlarms, Vec<u8>) {
    let mut stage = EventAlarms::default();
    let events = vec![repair("ST-1", "R-1", 0, None, 6e5), repair("ST-1", "R-2", -90, Some(-60), 12.5)];
    told(&mut stage, events);
    let mut saved = Saved::default();
    stage.begin();
    assert!(stage.save(usize::MAX, &mut saved));
    let section = saved.into_sections().remove(&shard("ST-1")).unwrap();
    (stage, section)
}

#[test]
fn form_1_is_read_and_written() {
    let (mut whole, section) = example();
    assert_eq!(hex(&section), FORM_1, "a changed form needs a new number");
    let mut restored = EventAlarms::default();
    restored.restore(shard("ST-1"), 1, &unhex(FORM_1)).unwrap();
    assert_eq!(restored.apply(&epoch(0, 30, vec![])).transitions, []);
    let end = || epoch(9, 40, vec![repair("ST-1", "R-1", 0, Some(35), 6e5)]);
    let told = restored.apply(&end()).transitions;
    assert_eq!((told.len(), &told), (1, &whole.apply(&end()).transitions));
}

#[test]
fn an_unknown_kind_is_refused_with_what_to_do() {
    let (_, section) = example();
    // One signal, its kind, two events.
    let changed = with(&section, &[1, kind::supply_stopped::KIND.id as u8, 2], &[1, 77, 2]);
    let refused = EventAlarms::default().restore(shard("ST-1"), 1, &changed).unwrap_err().to_string();
    assert!(
        refused.contains("alarm kind with the id 77") && refused.contains("run the version"),
        "{refused}"
    );
    let newer = EventAlarms::default().restore(0, 2, &[]).unwrap_err();
    assert_eq!(newer, RestoreError::UnknownForm { state: "events", found: 2, known: 1 });
}
