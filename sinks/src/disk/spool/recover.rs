//! Reading what an earlier process left in a spool.
//!
//! Enters: a directory. Leaves: the records that wait. Guarantees: a record at the end of a segment that is not whole is
//! removed when its epochs will be offered again; anything else that is not readable is an error.

use super::{
    Bytes, Epoch, Error, File, Head, NAME, Path, PathBuf, Read, Seek, SeekFrom, VERSION, Waiting, fs, io,
    record::{self, HEAD},
    stop,
};
use crate::disk;

/// What a segment holds.
pub(super) struct Found {
    pub(super) length: u64,
    pub(super) waiting: Vec<Waiting>,
    /// Tokens of epochs that will be offered again.
    pub(super) held: Vec<String>,
}

/// The segments of a directory by number. Segments may be settled out of order, so gaps are no loss.
pub(super) fn segments(directory: &Path) -> Result<Vec<(u64, PathBuf)>, Error> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(stop(directory, &error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| stop(directory, &error))?.path();
        if path.extension().is_some_and(|extension| extension == "spool") {
            let number = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok());
            let number = number.ok_or_else(|| {
                let detail = format!("{}: not the name of a segment: move the file away", path.display());
                Error::Stop { sink: NAME, detail }
            })?;
            found.push((number, path));
        }
    }
    found.sort();
    Ok(found)
}

/// Reads the heads of a segment's records and cuts off what was not accepted.
pub(super) fn read(segment: u64, path: &Path, has: Epoch) -> Result<Found, Error> {
    let failed = |error: io::Error| stop(path, &error);
    let mut file = File::open(path).map_err(failed)?;
    let length = file.metadata().map_err(failed)?.len();
    let mut found = Found { length, waiting: Vec::new(), held: Vec::new() };
    if length < VERSION.len() as u64 {
        // Its first record was never written.
        return Ok(found);
    }
    check_version(path, &mut file)?;
    let mut offset = VERSION.len() as u64;
    while offset < length {
        let rest = length - offset;
        match head(&mut file, offset, rest).map_err(failed)? {
            Some(head) if head.whole() <= rest => {
                let waiting = Waiting { segment, offset, head };
                let last = head.whole() == rest;
                if last || head.epochs.1 > has {
                    let body = body(path, &waiting).map_err(failed)?;
                    if !head.fits(&body) {
                        if last && head.epochs.0 > has {
                            break;
                        }
                        return Err(damaged(path, offset, Some(&head)));
                    }
                    if head.epochs.1 > has {
                        let inserts = record::read(&head, body);
                        let inserts = inserts.ok_or_else(|| damaged(path, offset, Some(&head)))?;
                        found.held.extend(inserts.into_iter().map(|insert| insert.token));
                    }
                }
                found.waiting.push(waiting);
                offset += head.whole();
            }
            Some(head) if head.epochs.0 > has => break,
            None if rest < HEAD as u64 || only_zeros(&mut file, offset).map_err(failed)? => break,
            head => return Err(damaged(path, offset, head.as_ref())),
        }
    }
    if offset < length {
        tracing::info!(path = %path.display(), offset, "the spool ends in a record that was cut short: removed");
        cut(path, offset).map_err(failed)?;
        found.length = offset;
    }
    Ok(found)
}

/// Leaves the first bytes of a segment, in another file of its name: a process that was taken over from may still write
/// the rest of its record into the one that it holds.
fn cut(path: &Path, length: u64) -> io::Result<()> {
    disk::replace(path, |file| io::copy(&mut File::open(path)?.take(length), file).map(drop))
}

fn check_version(path: &Path, file: &mut File) -> Result<(), Error> {
    let mut version = [0; VERSION.len()];
    file.read_exact(&mut version).map_err(|error| stop(path, &error))?;
    if version == *VERSION {
        return Ok(());
    }
    let detail = format!(
        "{} begins with {:?}, which this program does not read: run the version that wrote it until its spool is empty",
        path.display(),
        String::from_utf8_lossy(&version)
    );
    Err(Error::Stop { sink: NAME, detail })
}

fn head(file: &mut File, offset: u64, rest: u64) -> io::Result<Option<Head>> {
    if rest < HEAD as u64 {
        return Ok(None);
    }
    let mut bytes = [0; HEAD];
    file.seek(SeekFrom::Start(offset))?;
    file.read_exact(&mut bytes)?;
    Ok(Head::read(&bytes))
}

/// A file that grew before its data came has zeros at its end.
fn only_zeros(file: &mut File, offset: u64) -> io::Result<bool> {
    file.seek(SeekFrom::Start(offset))?;
    let mut chunk = vec![0; 1 << 16];
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok(true),
            read if chunk[..read].iter().any(|byte| *byte != 0) => return Ok(false),
            _ => {}
        }
    }
}

/// The bytes of a record behind its head.
pub(super) fn body(path: &Path, waiting: &Waiting) -> io::Result<Bytes> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(waiting.offset + HEAD as u64))?;
    let mut body = vec![0; waiting.head.length as usize];
    file.read_exact(&mut body)?;
    Ok(body.into())
}

/// Says what is lost and what to do.
pub(super) fn damaged(path: &Path, offset: u64, head: Option<&Head>) -> Error {
    let what = head.map_or_else(
        || "its rows are not known".to_owned(),
        |head| format!("{} rows of epochs {} to {}", head.rows, head.epochs.0, head.epochs.1),
    );
    let detail = format!(
        "{} is damaged at byte {offset} ({what}): restore the file from a copy; without one, move it away and offer its \
         epochs again with `nuanliu run --from` a checkpoint before them",
        path.display()
    );
    Error::Stop { sink: NAME, detail }
}
