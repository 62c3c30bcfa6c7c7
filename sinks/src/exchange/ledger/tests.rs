use serde_json::json;

use super::*;

fn id(key: &str) -> RowId {
    RowId { table: Code::from("heat_station"), key: Code::from(key), window: 0 }
}

fn content(value: i64) -> Row {
    [("GRMJ".to_owned(), json!(value))].into_iter().collect()
}

fn sent(ledger: &Ledger, keys: &[&str]) -> Vec<(RowId, u64)> {
    keys.iter().map(|key| (id(key), ledger.entry(&id(key)).unwrap().noted)).collect()
}

fn owed(ledger: &Ledger) -> Vec<&str> {
    ledger.owed().map(|(row, _)| row.key.as_str()).collect()
}

fn newest(directory: &Path) -> PathBuf {
    files(directory).unwrap().pop().unwrap().1
}

fn three(directory: &Path) -> Ledger {
    let mut ledger = Ledger::open(directory).unwrap();
    let rows = ["c", "a", "b"].map(|key| (id(key), content(1)));
    assert_eq!(ledger.note(rows.into(), None, 10).unwrap(), 3);
    ledger
}

#[test]
fn rows_are_owed_in_the_order_in_which_they_were_noted_also_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    assert_eq!(owed(&three(directory.path())), ["c", "a", "b"]);
    let mut ledger = Ledger::open(directory.path()).unwrap();
    assert_eq!(owed(&ledger), ["c", "a", "b"]);
    ledger.outcome(&sent(&ledger, &["c"]), Outcome::Delivered, "0", "", 20).unwrap();
    ledger.outcome(&sent(&ledger, &["a"]), Outcome::Refused, "10001", "bad", 20).unwrap();
    drop(ledger);
    let ledger = Ledger::open(directory.path()).unwrap();
    assert_eq!(owed(&ledger), ["b"]);
    assert_eq!(ledger.entry(&id("a")).unwrap().event.detail, "bad");
}

#[test]
fn the_same_content_is_not_owed_twice_but_new_content_is() {
    let directory = tempfile::tempdir().unwrap();
    let mut ledger = three(directory.path());
    ledger.outcome(&sent(&ledger, &["c", "a", "b"]), Outcome::Delivered, "0", "", 20).unwrap();
    drop(ledger);
    let mut ledger = Ledger::open(directory.path()).unwrap();
    assert_eq!(ledger.note(vec![(id("a"), content(1))], None, 30).unwrap(), 0);
    assert!(owed(&ledger).is_empty());
    assert_eq!(ledger.note(vec![(id("a"), content(2))], None, 30).unwrap(), 1);
    assert_eq!(owed(&ledger), ["a"]);
    let twice = vec![(id("b"), content(2)), (id("b"), content(3))];
    assert_eq!(ledger.note(twice, None, 30).unwrap(), 1, "the later content of one call counts");
    assert_eq!(ledger.entry(&id("b")).unwrap().content, content(3));
}

#[test]
fn an_answer_about_earlier_content_leaves_the_new_content_owed() {
    let directory = tempfile::tempdir().unwrap();
    let mut ledger = three(directory.path());
    let under_way = sent(&ledger, &["c"]);
    ledger.note(vec![(id("c"), content(2))], None, 15).unwrap();
    ledger.outcome(&under_way, Outcome::Delivered, "0", "", 20).unwrap();
    assert_eq!(owed(&ledger), ["a", "b", "c"]);
}

#[test]
fn what_was_under_way_is_uncertain_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let mut ledger = three(directory.path());
    ledger.outcome(&sent(&ledger, &["c"]), Outcome::Attempted, "", "", 20).unwrap();
    drop(ledger);
    let ledger = Ledger::open(directory.path()).unwrap();
    let entry = ledger.entry(&id("c")).unwrap();
    assert_eq!((entry.event.outcome, entry.event.attempt), (Outcome::Uncertain, 1));
    assert_eq!(owed(&ledger), ["c", "a", "b"]);
}

/// Whatever byte the last write ends at, the rows of the writes before it are there and the rest is gone.
#[test]
fn a_torn_last_line_is_cut_off_wherever_it_ends() {
    let directory = tempfile::tempdir().unwrap();
    drop(three(directory.path()));
    let bytes = fs::read(newest(directory.path())).unwrap();
    let last = bytes[..bytes.len() - 1].iter().rposition(|byte| *byte == b'\n').unwrap() + 1;
    for end in last..bytes.len() {
        fs::write(newest(directory.path()), &bytes[..end]).unwrap();
        let mut ledger = Ledger::open(directory.path()).unwrap();
        assert_eq!(owed(&ledger), ["c", "a"], "torn at byte {end}");
        ledger.note(vec![(id("d"), content(1))], None, 30).unwrap();
        drop(ledger);
        assert_eq!(owed(&Ledger::open(directory.path()).unwrap()), ["c", "a", "d"]);
    }
}

#[test]
fn damage_elsewhere_stops_with_advice() {
    let directory = tempfile::tempdir().unwrap();
    drop(three(directory.path()));
    let path = newest(directory.path());
    let mut bytes = fs::read(&path).unwrap();
    bytes[20] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let error = Ledger::open(directory.path()).unwrap_err().to_string();
    assert!(error.contains("damaged at byte 0") && error.contains("restore"), "{error}");
    assert_eq!(fs::read(&path).unwrap(), bytes, "the damaged file is left as it is");
    assert_eq!(newest(directory.path()), path);
}

#[test]
fn a_replaced_process_attempts_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let mut zombie = three(directory.path());
    let mut ledger = Ledger::open(directory.path()).unwrap();
    let replaced = zombie.outcome(&sent(&zombie, &["a"]), Outcome::Attempted, "", "", 20).unwrap_err();
    assert!(is_replaced(&replaced) && replaced.to_string().contains("another process"), "{replaced}");
    assert!(is_replaced(&zombie.note(vec![(id("d"), content(1))], None, 20).unwrap_err()));
    assert!(is_replaced(&zombie.compact(Millis::MAX).unwrap_err()));
    ledger.outcome(&sent(&ledger, &["a"]), Outcome::Attempted, "", "", 30).unwrap();
    // Also by one that has claimed its file and not begun it.
    fs::write(directory.path().join("ledger-000009.log"), "").unwrap();
    assert!(is_replaced(
        &ledger.outcome(&sent(&ledger, &["b"]), Outcome::Attempted, "", "", 30).unwrap_err()
    ));
}

#[test]
fn what_a_replaced_process_writes_is_not_read() {
    let directory = tempfile::tempdir().unwrap();
    let mut zombie = three(directory.path());
    zombie.outcome(&sent(&zombie, &["c"]), Outcome::Attempted, "", "", 20).unwrap();
    let under_way = sent(&zombie, &["c", "a"]);
    let mut ledger = Ledger::open(directory.path()).unwrap();
    ledger.note(vec![(id("a"), content(2))], None, 30).unwrap();
    zombie.outcome(&under_way, Outcome::Delivered, "0", "", 40).unwrap_err();
    drop((zombie, ledger));
    let ledger = Ledger::open(directory.path()).unwrap();
    assert_eq!(owed(&ledger), ["c", "b", "a"]);
    assert_eq!(ledger.entry(&id("c")).unwrap().event.outcome, Outcome::Uncertain);
    assert_eq!(files(directory.path()).unwrap().len(), 1);
}

#[test]
fn an_opening_that_broke_off_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    drop(three(directory.path()));
    fs::write(directory.path().join("ledger-000004.log"), "").unwrap();
    fs::write(directory.path().join("ledger-000004.new"), "torn").unwrap();
    assert_eq!(owed(&Ledger::open(directory.path()).unwrap()), ["c", "a", "b"]);
    assert!(newest(directory.path()).ends_with("ledger-000005.log"));
    assert_eq!(files(directory.path()).unwrap().len(), 1);
}

#[test]
fn compaction_keeps_what_is_owed_and_what_is_recent() {
    let directory = tempfile::tempdir().unwrap();
    let mut ledger = Ledger::open(directory.path()).unwrap();
    assert!(!ledger.compact(500).unwrap(), "there is nothing");
    for n in 0..50 {
        let key = format!("old-{n}");
        ledger.note(vec![(id(&key), content(n))], None, 10).unwrap();
        ledger.outcome(&sent(&ledger, &[&key]), Outcome::Delivered, "0", "", 11).unwrap();
    }
    ledger.note(vec![(id("recent"), content(1)), (id("owed"), content(1))], Some(("city", 7)), 1000).unwrap();
    ledger.outcome(&sent(&ledger, &["recent"]), Outcome::Delivered, "0", "", 1001).unwrap();
    assert!(!ledger.compact(500).unwrap(), "the mirror comes first");
    ledger.mirrored(usize::MAX);
    assert!(ledger.compact(500).unwrap());
    ledger.note(vec![(id("after"), content(1))], None, 2000).unwrap();
    let sequence = ledger.sequence;
    drop(ledger);
    let ledger = Ledger::open(directory.path()).unwrap();
    assert_eq!(owed(&ledger), ["owed", "after"]);
    assert!(ledger.entry(&id("recent")).is_some() && ledger.entry(&id("old-1")).is_none());
    assert_eq!((ledger.sequence, ledger.noted("city"), ledger.noted("another")), (sequence, 7, 0));
}
