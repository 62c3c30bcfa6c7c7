//! Segments, take-over and damage.

use std::fs::OpenOptions;

use super::*;
use crate::{binding::next, place::Directory};

struct Site {
    state: tempfile::TempDir,
    checkpoint: Arc<AtomicU64>,
}

impl Site {
    fn new() -> Site {
        Site { state: tempfile::tempdir().unwrap(), checkpoint: Arc::default() }
    }

    fn fence(&self, take_over: bool) -> Result<Fence, Error> {
        let store = Directory::open(&self.state.path().join("checkpoints")).unwrap();
        Fence::take(self.state.path(), Arc::new(store), take_over)
    }

    fn open(&self, take_over: bool) -> Result<(BindingLog, Recorded), Error> {
        let fence = self.fence(take_over)?;
        BindingLog::open(self.state.path(), "city", fence, Arc::clone(&self.checkpoint))
    }

    fn files(&self) -> Vec<PathBuf> {
        segments(self.state.path()).unwrap().into_iter().map(|(.., path)| path).collect()
    }
}

fn binding(epoch: Epoch) -> Binding {
    Binding { epoch, ..next(None, &[], epoch as i64 * 250, 10, Vec::new()) }
}

fn epochs(recorded: &Recorded) -> Vec<Epoch> {
    recorded.bindings.iter().map(|binding| binding.epoch).collect()
}

#[test]
fn the_log_survives_a_torn_tail_and_refuses_a_second_process() {
    let site = Site::new();
    let (mut log, held) = site.open(false).unwrap();
    assert_eq!(held, Recorded::default());
    let refused = site.open(false).unwrap_err().to_string();
    assert!(refused.contains("held by another") && refused.contains("--take-over"), "{refused}");
    log.append(&binding(1)).unwrap();
    log.append(&binding(2)).unwrap();
    drop(log);
    let path = site.files().remove(0);
    let length = fs::metadata(&path).unwrap().len();
    OpenOptions::new().write(true).open(&path).unwrap().set_len(length - 1).unwrap();
    let (mut log, held) = site.open(false).unwrap();
    assert_eq!(held.bindings, [binding(1)]);
    log.append(&binding(2)).unwrap();
    drop(log);
    assert_eq!(site.open(false).unwrap().1.bindings, [binding(1), binding(2)]);
}

#[test]
fn what_a_zombie_appends_is_refused_and_never_read() {
    let site = Site::new();
    let (mut zombie, _) = site.open(false).unwrap();
    zombie.append(&binding(1)).unwrap();
    let (mut log, held) = site.open(true).unwrap();
    assert_eq!(epochs(&held), [1]);
    assert!(matches!(zombie.append(&binding(2)), Err(Error::Fenced { .. })));
    // It slept between the check and the write.
    let segment = zombie.segment.as_mut().unwrap();
    segment.file.write_all(&frame(&binding(2)).unwrap()).unwrap();
    let other = Binding { wall: 99_999, ..binding(2) };
    log.append(&other).unwrap();
    drop((log, zombie));
    assert_eq!(site.open(false).unwrap().1.bindings, [binding(1), other]);
}

/// It halted within a write, and its place was cut before it went on.
#[test]
fn what_a_zombie_leaves_broken_is_not_read_once_another_continues_from_before_it() {
    let site = Site::new();
    let (mut zombie, _) = site.open(false).unwrap();
    (1..=2).for_each(|epoch| zombie.append(&binding(epoch)).unwrap());
    let (mut log, _) = site.open(true).unwrap();
    log.append(&binding(3)).unwrap();
    let whole = frame(&binding(3)).unwrap();
    let segment = zombie.segment.as_mut().unwrap();
    segment.file.write_all(&[&whole[..whole.len() / 2], &whole].concat()).unwrap();
    drop((log, zombie));
    assert_eq!(epochs(&site.open(false).unwrap().1), [1, 2, 3]);

    // Where the next segment continues from what is broken, a binding is missing.
    let path = &site.files()[0];
    let mut bytes = fs::read(path).unwrap();
    let second = bytes.len() - 2 * whole.len();
    bytes[second] ^= 1;
    fs::write(path, bytes).unwrap();
    let error = site.open(false).unwrap_err().to_string();
    assert!(error.contains("is damaged at byte"), "{error}");
}

#[test]
fn a_third_start_is_refused_while_the_second_holds_what_it_took_over() {
    let site = Site::new();
    let (hanging, _) = site.open(false).unwrap();
    let second = site.open(true).unwrap();
    drop(hanging);
    assert!(matches!(site.open(false), Err(Error::Locked(_))));
    drop(second);
    site.open(false).unwrap();
}

#[test]
fn segments_follow_checkpoints_and_go_with_them() {
    let site = Site::new();
    let (mut log, _) = site.open(false).unwrap();
    for epoch in 1..=30 {
        log.append(&binding(epoch)).unwrap();
        if epoch % 10 == 2 {
            site.checkpoint.store(epoch - 2, Ordering::Relaxed);
        }
    }
    drop(log);
    // 1-12 (the checkpoint of epoch 0 is none), 13-22, 23-30.
    assert_eq!(site.files().len(), 3);
    forget(site.state.path(), 11).unwrap();
    assert_eq!(read(site.state.path(), "city").unwrap().after, 0, "epoch 12 is still needed");
    forget(site.state.path(), 20).unwrap();
    let held = read(site.state.path(), "city").unwrap();
    assert_eq!((held.after, held.last()), (12, 30));
    forget(site.state.path(), 100).unwrap();
    assert_eq!(read(site.state.path(), "city").unwrap().last(), 30, "the newest segment stays");
}

#[test]
fn a_missing_segment_is_a_gap() {
    let site = Site::new();
    let (mut log, _) = site.open(false).unwrap();
    for epoch in 1..=9 {
        log.append(&binding(epoch)).unwrap();
        site.checkpoint.store(epoch / 3 * 3, Ordering::Relaxed);
    }
    drop(log);
    fs::remove_file(&site.files()[1]).unwrap();
    let error = site.open(false).unwrap_err().to_string();
    assert!(error.contains("jumps to epoch 7 where 4 belongs"), "{error}");
}

#[test]
fn a_binding_that_is_not_the_next_is_not_taken() {
    let site = Site::new();
    let (mut log, _) = site.open(false).unwrap();
    assert!(matches!(log.append(&binding(3)), Err(Error::BindingGap { expected: 1, found: 3, .. })));
}

#[test]
fn a_flipped_bit_before_the_end_is_refused_wherever_it_is() {
    let site = Site::new();
    let (mut log, _) = site.open(false).unwrap();
    (1..=3).for_each(|epoch| log.append(&binding(epoch)).unwrap());
    drop(log);
    let path = site.files().remove(0);
    let whole = fs::read(&path).unwrap();
    let last = whole.len() - frame(&binding(3)).unwrap().len();
    for at in 0..last {
        let mut bytes = whole.clone();
        bytes[at] ^= 4;
        fs::write(&path, &bytes).unwrap();
        assert!(read(site.state.path(), "city").is_err(), "byte {at}");
    }
    for at in last..whole.len() {
        fs::write(&path, &whole[..at]).unwrap();
        assert_eq!(epochs(&read(site.state.path(), "city").unwrap()), [1, 2], "cut at byte {at}");
    }
    fs::write(&path, [&whole[..], &[0; 64]].concat()).unwrap();
    assert_eq!(epochs(&read(site.state.path(), "city").unwrap()), [1, 2, 3]);
}

#[test]
fn the_log_of_another_pipeline_is_refused() {
    let site = Site::new();
    let (mut log, _) = site.open(false).unwrap();
    log.append(&binding(1)).unwrap();
    drop(log);
    let error = read(site.state.path(), "town").unwrap_err().to_string();
    assert!(error.contains("pipeline `city`, this is `town`"), "{error}");
}
