use super::*;

const AT: Millis = 1_705_305_600_000;
const NO_LIMIT: u64 = u64::MAX;

fn insert(epoch: Epoch) -> Insert {
    Insert {
        table: "readings".to_owned(),
        statement: "INSERT INTO readings (`value`) FORMAT Native".to_owned(),
        token: format!("readings/{epoch}/0"),
        compressed: true,
        rows: epoch,
        body: vec![epoch as u8; 300].into(),
    }
}

fn open(directory: &Path, has: Epoch) -> Spool {
    Spool::open(directory, NO_LIMIT, has).unwrap()
}

fn append(spool: &Spool, epoch: Epoch) {
    spool.append((epoch, epoch), AT, &[&insert(epoch)]).unwrap();
}

/// Takes, reads and settles everything.
fn drain(spool: &Spool) -> Vec<Insert> {
    let mut inserts = Vec::new();
    while let Some(waiting) = spool.take() {
        inserts.extend(spool.read(&waiting).unwrap());
        spool.settle(&waiting);
    }
    inserts
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn what_was_taken_comes_back_in_order_and_leaves_nothing_behind() {
    let directory = tempfile::tempdir().unwrap();
    let spool = open(directory.path(), 0);
    assert!(!spool.in_use() && files(directory.path()).is_empty());
    (1..=5).for_each(|epoch| append(&spool, epoch));
    assert!(spool.in_use());
    assert_eq!(spool.inserts(), 5);
    assert_eq!(drain(&spool), (1..=5).map(insert).collect::<Vec<_>>());
    assert!(!spool.in_use() && files(directory.path()).is_empty());
    append(&spool, 6);
    assert_eq!(drain(&spool), [insert(6)], "it goes on after it was empty");
}

#[test]
fn what_is_not_settled_is_there_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let spool = open(directory.path(), 0);
    (1..=3).for_each(|epoch| append(&spool, epoch));
    let first = spool.take().unwrap();
    spool.take().unwrap();
    spool.settle(&first);
    drop(spool);
    let spool = open(directory.path(), 3);
    assert_eq!(drain(&spool), [1, 2, 3].map(insert), "a segment goes as a whole");
    assert!(files(directory.path()).is_empty());
}

#[test]
fn what_is_offered_again_is_not_taken_twice() {
    let directory = tempfile::tempdir().unwrap();
    (1..=3).for_each(|epoch| append(&open(directory.path(), 0), epoch));
    let spool = open(directory.path(), 1);
    (2..=4).for_each(|epoch| append(&spool, epoch));
    assert_eq!(drain(&spool), [1, 2, 3, 4].map(insert));
}

#[test]
fn a_record_cut_anywhere_is_removed_when_it_will_be_offered_again() {
    let directory = tempfile::tempdir().unwrap();
    let spool = open(directory.path(), 0);
    append(&spool, 1);
    let path = files(directory.path()).remove(0);
    let whole = fs::metadata(&path).unwrap().len();
    append(&spool, 2);
    let bytes = fs::read(&path).unwrap();
    for cut in whole..bytes.len() as u64 {
        fs::write(&path, &bytes[..cut as usize]).unwrap();
        let spool = open(directory.path(), 1);
        append(&spool, 2);
        let taken: Vec<Insert> =
            std::iter::from_fn(|| spool.take()).flat_map(|waiting| spool.read(&waiting).unwrap()).collect();
        assert_eq!(taken, [1, 2].map(insert), "cut at {cut}");
        for extra in files(directory.path()).iter().skip(1) {
            fs::remove_file(extra).unwrap();
        }
    }
    let mut zeros = bytes[..whole as usize].to_vec();
    zeros.resize(bytes.len(), 0);
    fs::write(&path, zeros).unwrap();
    assert_eq!(drain(&open(directory.path(), 1)), [insert(1)]);
}

#[test]
fn the_rest_of_a_record_from_a_replaced_process_is_not_read() {
    let directory = tempfile::tempdir().unwrap();
    let spool = open(directory.path(), 0);
    append(&spool, 1);
    let (_, record) = record::write((2, 2), AT, &[&insert(2)]);
    let (half, rest) = record.split_at(record.len() / 2);
    let mut held = spool.lock().file.take().unwrap();
    held.write_all(half).unwrap();
    let other = open(directory.path(), 1);
    append(&other, 2);
    held.write_all(rest).unwrap();
    drop((spool, other));
    assert_eq!(drain(&open(directory.path(), 2)), [1, 2].map(insert));
}

#[test]
fn a_segment_that_was_only_begun_is_removed() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(path(directory.path(), 7), b"nuanliu").unwrap();
    let spool = open(directory.path(), 0);
    assert!(!spool.in_use() && files(directory.path()).is_empty());
    append(&spool, 1);
    assert_eq!(files(directory.path()), [path(directory.path(), 8)]);
}

/// Changes one byte of a spool of two records and says what opening, or else reading, answers.
fn after_change(place_in_second: bool, offset: usize, has: Epoch) -> String {
    let directory = tempfile::tempdir().unwrap();
    let spool = open(directory.path(), 0);
    append(&spool, 1);
    let file = files(directory.path()).remove(0);
    let first = fs::metadata(&file).unwrap().len() as usize;
    append(&spool, 2);
    let mut bytes = fs::read(&file).unwrap();
    let begin = if place_in_second { first } else { VERSION.len() };
    bytes[begin + offset] ^= 1;
    fs::write(&file, bytes).unwrap();
    let read = |spool: Spool| {
        let mut read = 0;
        while let Some(waiting) = spool.take() {
            read += spool.read(&waiting)?.len();
        }
        Ok(format!("{read} read"))
    };
    Spool::open(directory.path(), NO_LIMIT, has)
        .and_then(read)
        .unwrap_or_else(|error: Error| error.to_string())
}

#[rstest::rstest]
#[case::body_of_the_first(false, 100, 2, "at byte 16 (1 rows of epochs 1 to 1)")]
#[case::head_of_the_first(false, 20, 2, "at byte 16 (its rows are not known)")]
#[case::body_of_the_last(true, 100, 2, "(2 rows of epochs 2 to 2): restore the file")]
#[case::head_of_the_last(true, 5, 2, "(its rows are not known)")]
#[case::body_of_what_is_offered_again(true, 100, 1, "1 read")]
#[case::first_though_the_last_is_offered_again(false, 100, 1, "at byte 16")]
fn a_changed_byte_is_never_skipped(
    #[case] second: bool,
    #[case] offset: usize,
    #[case] has: Epoch,
    #[case] answer: &str,
) {
    let said = after_change(second, offset, has);
    assert!(said.contains(answer), "{said}");
}

#[test]
fn another_version_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(path(directory.path(), 1), b"nuanliu spool 9\nwhatever").unwrap();
    let error = Spool::open(directory.path(), NO_LIMIT, 0).unwrap_err().to_string();
    assert!(error.contains("run the version that wrote it"), "{error}");
    fs::rename(path(directory.path(), 1), directory.path().join("copy.spool")).unwrap();
    let error = Spool::open(directory.path(), NO_LIMIT, 0).unwrap_err().to_string();
    assert!(error.contains("not the name of a segment"), "{error}");
}

#[test]
fn a_full_spool_takes_nothing_until_there_is_room() {
    let directory = tempfile::tempdir().unwrap();
    let spool = Spool::open(directory.path(), 1000, 0).unwrap();
    append(&spool, 1);
    append(&spool, 2);
    let error = spool.append((3, 3), AT, &[&insert(3)]).unwrap_err();
    assert!(
        matches!(&error, Error::Retry { detail, .. } if detail.contains("spool_bytes allows 1000")),
        "{error}"
    );
    assert_eq!(drain(&spool).len(), 2);
    append(&spool, 3);
}

#[test]
fn a_disk_that_fails_takes_nothing_and_leaves_no_rest() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("spool");
    fs::write(&place, "a file where the directory belongs").unwrap();
    let spool = Spool { directory: place.clone(), ..open(directory.path(), 0) };
    let error = spool.append((1, 1), AT, &[&insert(1)]).unwrap_err();
    assert!(matches!(error, Error::Retry { .. }), "{error}");
    assert!(!spool.in_use() && spool.take().is_none());
    fs::remove_file(&place).unwrap();
    append(&spool, 1);
    assert_eq!(drain(&spool), [insert(1)]);
}
