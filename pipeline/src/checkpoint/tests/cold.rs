//! What states have sealed: found while it waits, when it is durable and after a restart; and when it is damaged.

use operators::cold::{Batch, ColdTier};
use schemas::Millis;

use super::*;

/// A batch of `window` with a record of each of many facilities, which says in which epoch it was put.
fn batch(epoch: Epoch, until: Millis) -> Batch {
    let record =
        |number: usize| (format!("ST-{number:04}").into(), format!("{number} in {epoch}").into_bytes());
    let records = (0..3_000).map(record).collect();
    Batch { state: "window", form: 3, epoch, until, records }
}

/// The epochs of the records of a facility in batches that reach beyond a time, newest first.
fn found(cold: &ColdFiles, facility: usize, from: Millis) -> Vec<Epoch> {
    let mut found = Vec::new();
    cold.find("window", &format!("ST-{facility:04}"), from, &mut |found_one| {
        let record = std::str::from_utf8(found_one.record).unwrap();
        let epoch = record.strip_prefix(&format!("{facility} in ")).unwrap();
        assert_eq!((found_one.form, found_one.until), (3, 10 * epoch.parse::<i64>().unwrap()));
        found.push(epoch.parse().unwrap());
        true
    });
    found
}

/// Runs to an epoch and waits until its checkpoint is complete.
fn complete(flow: &mut Flow, state: &Path, epoch: Epoch) {
    flow.run_to(epoch);
    wait_for(|| committed(state) == Some(epoch));
}

/// A state with batches of epochs 2, 6 and 9, the last of which is in no checkpoint.
fn sealed() -> tempfile::TempDir {
    let state = tempfile::tempdir().unwrap();
    let mut flow = Flow::start(state.path(), Start::default()).unwrap();
    let cold = flow.opened.checkpoints.cold().clone();
    cold.put(batch(2, 20));
    complete(&mut flow, state.path(), 3);
    cold.put(batch(6, 60));
    for facility in [0, 1_234, 2_999] {
        assert_eq!(found(&cold, facility, 0), [6, 2], "one waits in memory, the other is durable");
    }
    complete(&mut flow, state.path(), 7);
    cold.put(batch(9, 90));
    assert_eq!(found(&cold, 7, 0), [9, 6, 2]);
    assert_eq!(found(&cold, 7, 20), [9, 6]);
    assert_eq!(found(&cold, 3_000, 0), Vec::<Epoch>::new());
    flow.finish();
    state
}

#[test]
fn what_was_sealed_is_found_again() {
    let state = sealed();
    assert_eq!(files(state.path(), "volume").len(), 2);
    let mut flow = Flow::start(state.path(), Start::default()).unwrap();
    let cold = flow.opened.checkpoints.cold().clone();
    assert_eq!(found(&cold, 7, 0), [6, 2], "what no checkpoint holds is sealed again");
    let mut first = Vec::new();
    cold.find("window", "ST-0007", 0, &mut |found| {
        first.push(found.record.to_vec());
        false
    });
    assert_eq!(first, [b"7 in 6".to_vec()]);
    // Whoever goes back finds what was there then.
    complete(&mut flow, state.path(), 11);
    flow.finish();
    let flow = Flow::start(state.path(), Start { from: Some(7), ..Start::default() }).unwrap();
    assert_eq!(found(flow.opened.checkpoints.cold(), 7, 0), [6, 2]);
}

#[test]
fn what_is_forgotten_goes_with_the_last_checkpoint_that_names_it() {
    let state = sealed();
    let mut flow = Flow::start(state.path(), Start::default()).unwrap();
    let cold = flow.opened.checkpoints.cold().clone();
    cold.forget("window", 10, 20);
    assert_eq!(found(&cold, 7, 0), [6]);
    complete(&mut flow, state.path(), 11);
    assert_eq!(files(state.path(), "volume").len(), 2, "the checkpoint of epoch 7 is kept");
    complete(&mut flow, state.path(), 15);
    wait_for(|| files(state.path(), "volume").len() == 1);
    flow.finish();
    let flow = Flow::start(state.path(), Start::default()).unwrap();
    assert_eq!(found(flow.opened.checkpoints.cold(), 7, 0), [6]);
}

#[test]
fn what_is_not_written_waits_in_memory() {
    let state = tempfile::tempdir().unwrap();
    let mut flow = Flow::start(state.path(), Start::default()).unwrap();
    let cold = flow.opened.checkpoints.cold().clone();
    cold.put(batch(2, 20));
    let place = state.path().join("checkpoints");
    // Not even root can write where a directory stands in the way.
    let id = Id { epoch: 3, generation: flow.opened.log.generation() };
    let in_the_way = place.join(format!("{}.new", Name::Volume(id, 0)));
    fs::create_dir_all(in_the_way.join("x")).unwrap();
    flow.run_to(3);
    wait_for(|| flow.opened.checkpoints.problem().is_some());
    let problem = flow.opened.checkpoints.problem().unwrap();
    assert!(problem.contains("volume-") && problem.contains("is not written"), "{problem}");
    assert_eq!(found(&cold, 7, 0), [2]);
    fs::remove_dir_all(in_the_way).unwrap();
    complete(&mut flow, state.path(), 7);
    flow.finish();
    let flow = Flow::start(state.path(), Start::default()).unwrap();
    assert_eq!(found(flow.opened.checkpoints.cold(), 7, 0), [2]);
}

#[rstest::rstest]
#[case::missing(None)]
#[case::cut_off(Some(100))]
fn a_volume_that_is_not_whole_is_noticed_before_the_start(#[case] length: Option<u64>) {
    let state = sealed();
    let newest = files(state.path(), "volume").remove(1);
    match length {
        None => fs::remove_file(&newest).unwrap(),
        Some(length) => fs::File::options().write(true).open(&newest).unwrap().set_len(length).unwrap(),
    }
    let flow = Flow::start(state.path(), Start::default()).unwrap();
    assert_eq!(
        (flow.epoch, found(flow.opened.checkpoints.cold(), 7, 0)),
        (3, vec![2]),
        "the one before it is right"
    );
    drop(flow.finish());
    fs::remove_file(files(state.path(), "volume").remove(0)).unwrap();
    let refused = refused(state.path(), Start::default());
    assert!(refused.contains("volume-000000000003") && refused.contains("is missing"), "{refused}");
    let flow = Flow::start(state.path(), Start { accept_loss: true, ..Start::default() }).unwrap();
    assert_eq!((flow.epoch, found(flow.opened.checkpoints.cold(), 7, 0)), (3, vec![]));
}

#[test]
fn a_flipped_bit_ends_the_process_and_nothing_is_made_up() {
    let state = sealed();
    let newest = files(state.path(), "volume").remove(1);
    let mut bytes = fs::read(&newest).unwrap();
    bytes[40] ^= 4;
    fs::write(&newest, bytes).unwrap();
    let flow = Flow::start(state.path(), Start::default()).unwrap();
    let cold = flow.opened.checkpoints.cold();
    assert_eq!(found(cold, 2_999, 0), [6, 2], "another block is right");
    assert!(!cold.failed());
    assert_eq!(found(cold, 0, 0), Vec::<Epoch>::new(), "nothing behind the damage is taken for all there is");
    assert!(cold.failed() && flow.control.finished());
    let why = flow.control.failure().unwrap().to_string();
    assert!(why.contains("volume-000000000007") && why.contains("bring the file back"), "{why}");
    let place = inspect::CheckpointPlace::open(&settings(), state.path()).unwrap();
    let problems = place.verify().unwrap();
    assert!(
        problems.iter().any(|(epoch, problems)| *epoch == 7 && problems[0].contains("checksum")),
        "{problems:?}"
    );
    drop(flow.finish());
    let flow = Flow::start(state.path(), Start { accept_loss: true, ..Start::default() }).unwrap();
    assert_eq!((flow.epoch, found(flow.opened.checkpoints.cold(), 0, 0)), (7, vec![2]));
}

#[test]
fn a_manifest_of_the_first_version_names_no_volumes() {
    let (state, ..) = two_checkpoints();
    let store = Directory::open(&state.path().join("checkpoints")).unwrap();
    let id = Listing::read(&store).unwrap().manifests[0];
    let manifest = open::read_manifest(&store, id).unwrap().unwrap();
    let body = postcard::to_extend(&manifest, 1_u32.to_le_bytes().to_vec()).unwrap();
    let first = [&b"nuanliu manifest"[..], &sinks::disk::sealed(&body)].concat();
    assert_eq!(Manifest::decode(&first).unwrap(), manifest);
}
