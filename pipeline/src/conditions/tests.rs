use schemas::Topic;

use super::{presence::Presence, *};
use crate::binding::{Binding, Range, Watermark, next};

/// Seconds since the start, and what happens then.
type Script<'a> = &'a [(u64, Sight<'a>)];

fn limits() -> Limits {
    Limits { lag_records: 100, lag_seconds: 60, no_data_seconds: 300, ..Limits::default() }
}

/// Every change of a script as `second kind/subject +` or `-`.
fn told(conditions: &mut Conditions, active: &mut Vec<Condition>, script: Script<'_>) -> Vec<String> {
    let mut told = Vec::new();
    for (second, sight) in script {
        for condition in conditions.observe(Duration::from_secs(*second), sight, active) {
            let (kind, subject) = condition.about();
            let sign = if condition.active { '+' } else { '-' };
            told.push(format!("{second} {}/{subject} {sign}", kind.code));
            active.retain(|known| known.subject != condition.subject);
            if condition.active {
                active.push(condition);
            }
        }
    }
    told
}

fn fresh(script: Script<'_>) -> Vec<String> {
    told(&mut Conditions::new(limits(), true), &mut Vec::new(), script)
}

fn sink(wrong: Option<&str>) -> Sight<'static> {
    Sight { sinks: vec![("clickhouse".to_owned(), wrong.map(str::to_owned))], ..Sight::default() }
}

#[test]
fn a_sink_is_told_at_once_and_cleared_after_a_while_of_peace() {
    let script = [
        (0, sink(None)),
        (1, sink(Some("503"))),
        (2, sink(None)),
        (3, sink(Some("504"))),
        (4, sink(None)),
        (8, sink(None)),
        (9, sink(None)),
        (10, sink(None)),
    ];
    assert_eq!(fresh(&script), ["1 sink_down/clickhouse +", "9 sink_down/clickhouse -"]);
}

#[test]
fn what_is_well_when_the_process_stops_is_over() {
    let stopping = |sight: Sight<'static>| Sight { stopping: true, ..sight };
    let script = [(1, sink(Some("503"))), (2, stopping(sink(Some("503")))), (3, stopping(sink(None)))];
    assert_eq!(fresh(&script), ["1 sink_down/clickhouse +", "3 sink_down/clickhouse -"]);
}

#[test]
fn what_the_bindings_say_stands_until_it_is_seen_to_be_over() {
    let mut conditions = Conditions::new(limits(), true);
    let mut active = vec![
        recorded("sink_down/clickhouse", "503"),
        recorded("exchange", "no longer configured"),
        recorded("no_data/reports", "no record"),
    ];
    let marks = [mark(0, 50)];
    let sight = |wrong| Sight { input: &marks, ..sink(wrong) };
    let script =
        [(0, sight(Some("503"))), (4, sight(Some("503"))), (5, sight(Some("503"))), (30, sight(None))];
    assert_eq!(told(&mut conditions, &mut active, &script), ["5 sink_down/exchange -"]);
    assert_eq!(active.len(), 2, "neither the sink nor the silence is over: {active:?}");
}

fn mark(low: i64, high: i64) -> Watermark {
    Watermark { topic: Topic::Reports, partition: 0, low, high }
}

fn bound(upto: i64, caught_up: bool) -> Binding {
    let mut binding = next(None, &[], 0, 1, Vec::new());
    binding.ranges = vec![Range { topic: Topic::Reports, partition: 0, from: 0, upto, caught_up }];
    binding
}

#[test]
fn who_sends_too_late_is_told_in_steps_until_it_has_been_quiet() {
    let late = |readings| Sight {
        late: vec![("EN-1".to_owned(), readings), ("EN-2".to_owned(), 0)],
        ..Sight::default()
    };
    let script =
        [(0, late(0)), (1, late(3)), (2, late(4)), (3, late(60)), (4, late(0)), (13, late(0)), (14, late(0))];
    assert_eq!(fresh(&script), ["1 late_data/EN-1 +", "3 late_data/EN-1 +", "14 late_data/EN-1 -"]);
    let mut replayed = Conditions::new(limits(), false);
    assert_eq!(told(&mut replayed, &mut Vec::new(), &script), Vec::<String>::new());
}

#[test]
fn lag_counts_records_and_time() {
    let marks = [mark(0, 500)];
    let bindings = [bound(399, false), bound(430, false), bound(460, false), bound(500, true)];
    let sight = |n: usize| Sight { input: &marks, previous: Some(&bindings[n]), ..Sight::default() };
    let many = [
        (0, sight(0)),
        (9, sight(0)),
        (10, sight(0)),
        (20, sight(1)),
        (60, sight(1)),
        (61, sight(3)),
        (91, sight(3)),
    ];
    assert_eq!(fresh(&many), ["10 lag/reports +", "91 lag/reports -"]);
    let long =
        [(0, sight(2)), (60, sight(2)), (61, sight(2)), (71, sight(2)), (72, sight(3)), (102, sight(3))];
    assert_eq!(fresh(&long), ["71 lag/reports +", "102 lag/reports -"]);
    let short = [(0, sight(2)), (59, sight(2)), (60, sight(3)), (61, sight(2)), (90, sight(3))];
    assert_eq!(fresh(&short), Vec::<String>::new());
}

#[test]
fn silence_is_told_only_of_a_source_that_spoke_and_that_is_read_to_its_end() {
    let (none, some, more) = ([mark(0, 0)], [mark(0, 9)], [mark(0, 10)]);
    let (all, part, rest) = (bound(9, true), bound(5, false), bound(10, true));
    let sight = |input, previous| Sight { input, previous: Some(previous), ..Sight::default() };
    let empty = bound(0, true);
    assert_eq!(fresh(&[(0, sight(&none, &empty)), (999, sight(&none, &empty))]), Vec::<String>::new());
    let silent = [
        (0, sight(&some, &all)),
        (299, sight(&some, &all)),
        (300, sight(&some, &all)),
        (400, sight(&more, &rest)),
    ];
    assert_eq!(fresh(&silent), ["300 no_data/reports +", "400 no_data/reports -"]);
    let backlog = [(0, sight(&some, &part)), (50, sight(&some, &part)), (301, sight(&some, &part))];
    assert!(!fresh(&backlog).iter().any(|line| line.contains("no_data")));
}

#[test]
fn while_the_brokers_are_away_the_source_is_down_and_not_silent() {
    let (marks, all) = ([mark(0, 9)], bound(9, true));
    let sight = |silent| Sight {
        input: &marks,
        previous: Some(&all),
        silent: Duration::from_secs(silent),
        ..Sight::default()
    };
    let script = [
        (0, sight(0)),
        (14, sight(14)),
        (15, sight(15)),
        (600, sight(600)),
        (601, sight(0)),
        (611, sight(0)),
        (899, sight(0)),
    ];
    assert_eq!(fresh(&script), ["15 source_down/kafka +", "611 source_down/kafka -"]);
}

#[test]
fn time_in_which_the_process_did_not_run_makes_nobody_silent() {
    let seconds = Duration::from_secs;
    let mut presence = Presence::new(Duration::ZERO);
    let mut looks = |script: &[(u64, u64)]| {
        let told = script.iter().map(|(after, age)| presence.look(seconds(*after), seconds(*age)));
        told.map(|(now, silent)| (now.as_secs(), silent.as_secs())).collect::<Vec<_>>()
    };
    assert_eq!(looks(&[(1, 0), (1, 1), (1, 2), (1, 0)]), [(1, 0), (2, 1), (3, 2), (4, 0)]);
    let stopped_for_an_hour = [(1, 1), (3_600, 3_601), (1, 3_602), (1, 0)];
    assert_eq!(looks(&stopped_for_an_hour), [(5, 1), (7, 3), (8, 4), (9, 0)]);
    assert_eq!(looks(&[(600, 599), (1, 600), (1, 0)]), [(11, 2), (12, 3), (13, 0)], "answered before");
}

#[test]
fn a_disk_around_its_limit_does_not_flap() {
    let sight = |free| Sight { disk_free_percent: Some(free), ..Sight::default() };
    let frees = [
        (0, 4.9),
        (9, 5.1),
        (10, 4.9),
        (20, 4.9),
        (30, 5.5),
        (200, 5.9),
        (201, 6.0),
        (260, 5.9),
        (261, 6.1),
        (321, 6.1),
    ];
    let script = frees.map(|(second, free)| (second, sight(free)));
    assert_eq!(fresh(&script), ["20 disk_nearly_full/state +", "321 disk_nearly_full/state -"]);
}

#[test]
fn other_conditions_follow_what_is_said() {
    let sight = |wrong: Option<&str>, lost: bool| Sight {
        checkpoint: wrong.map(str::to_owned),
        clock: wrong.map(str::to_owned),
        lost: if lost { vec![("heating.reports/3".to_owned(), "gone".to_owned())] } else { Vec::new() },
        ..Sight::default()
    };
    let script = [
        (0, sight(Some("x"), true)),
        (10, sight(Some("x"), true)),
        (11, sight(None, true)),
        (41, sight(None, true)),
    ];
    assert_eq!(
        fresh(&script),
        [
            "0 checkpoint_failing/checkpoints +",
            "0 data_lost/heating.reports/3 +",
            "10 clock_skew/clock +",
            "41 checkpoint_failing/checkpoints -",
            "41 clock_skew/clock -"
        ]
    );
    let replayed = told(&mut Conditions::new(limits(), false), &mut Vec::new(), &script);
    assert!(!replayed.iter().any(|line| line.contains("clock_skew")), "a replay has no live clock");
}

fn recorded(subject: &str, detail: &str) -> Condition {
    Condition { subject: subject.to_owned(), active: true, detail: detail.to_owned() }
}

#[rstest::rstest]
#[case("sink_down/clickhouse", "sink_down", "clickhouse")]
#[case("lag/reports", "lag", "reports")]
#[case("data_lost/heating.reports/3", "data_lost", "heating.reports/3")]
#[case::of_the_first_version("clickhouse", "sink_down", "clickhouse")]
#[case::of_no_known_kind("unheard/of", "sink_down", "unheard/of")]
fn the_subject_carries_the_kind(#[case] subject: &str, #[case] code: &str, #[case] about: &str) {
    let recorded = recorded(subject, "x");
    let (kind, name) = recorded.about();
    assert_eq!((kind.code, name), (code, about));
    let anew = Condition::of(kind, name, Some("x".to_owned()));
    assert_eq!(anew.subject, format!("{code}/{about}"));
    assert_eq!(anew.fact(), recorded.fact(), "the alarm is the same");
    assert_eq!((anew.fact().level, anew.fact().advice), (kind.level, kind.advice));
}

#[test]
fn a_plain_subject_is_cleared_as_it_was_recorded() {
    let mut conditions = Conditions::new(limits(), true);
    let active = [recorded("clickhouse", "503")];
    let mut told = Vec::new();
    for second in [1, 6] {
        told.extend(conditions.observe(Duration::from_secs(second), &sink(None), &active));
    }
    assert_eq!(told, [Condition { active: false, detail: String::new(), ..recorded("clickhouse", "") }]);
    let mut left = active.to_vec();
    crate::binding::apply(&mut left, &told);
    assert_eq!(left, []);
    let anew = conditions.observe(Duration::from_secs(7), &sink(Some("504")), &left);
    assert_eq!(anew, [recorded("sink_down/clickhouse", "504")]);
}

#[test]
fn settings_that_cannot_work_are_named() {
    assert_eq!(Limits::default().validate(), Vec::<String>::new());
    let wrong = Limits {
        lag_records: 0,
        disk_free_percent: 95.0,
        clock_skew_seconds: 1,
        watchdog_seconds: 3,
        ..limits()
    };
    assert_eq!(wrong.validate().len(), 4);
}
