//! Files of our own that outlive the process: what the sinks keep, and the ways of keeping that the whole product shares.
//!
//! Enters: bytes. Leaves: files. Guarantees: a file that is replaced is there as it was or as it shall be, never in part,
//! also after a loss of power; bytes that are sealed come back as they were or not at all.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

pub mod numbered;
pub mod spool;

/// Puts a file in the place of one of its name, durably: `write` fills `<name>.new`, which is synced and renamed.
///
/// # Errors
/// What the system says, or `write`; the file is then as it was, unless the directory alone could not be synced.
pub fn replace(path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let fresh = fresh(path);
    let written = File::create(&fresh).and_then(|mut file| {
        write(&mut file)?;
        file.sync_all()
    });
    let renamed = written.and_then(|()| fs::rename(&fresh, path)).and_then(|()| sync_parent(path));
    if renamed.is_err() {
        // Room on a full disk; that it fails too changes nothing.
        let _ = fs::remove_file(&fresh);
    }
    renamed
}

/// As [`replace`], for what may be lost with the power, and that no one shall wait for: the file may then be empty.
///
/// # Errors
/// What the system says; the file is then as it was.
pub fn replace_unsynced(path: &Path, content: &[u8]) -> io::Result<()> {
    let fresh = fresh(path);
    File::create(&fresh)?.write_all(content)?;
    fs::rename(&fresh, path)
}

/// Makes the name of a file durable: that it was created, renamed or removed.
///
/// # Errors
/// What the system says.
pub fn sync_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
}

fn fresh(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    name.into()
}

/// Bytes behind their checksum: `CRC-32 u32, little-endian | payload`.
#[must_use]
pub fn sealed(payload: &[u8]) -> Vec<u8> {
    [&crc32fast::hash(payload).to_le_bytes(), payload].concat()
}

/// The payload of sealed bytes; `None` when they were cut or changed.
#[must_use]
pub fn unsealed(bytes: &[u8]) -> Option<&[u8]> {
    let (crc, payload) = bytes.split_first_chunk()?;
    (u32::from_le_bytes(*crc) == crc32fast::hash(payload)).then_some(payload)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_as_a_whole_or_not_at_all() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a-1.log");
        replace(&path, |file| file.write_all(b"one")).unwrap();
        let failed = replace(&path, |file| {
            file.write_all(b"half")?;
            Err(io::Error::other("the disk is full"))
        });
        assert!(failed.is_err());
        assert_eq!(fs::read(&path).unwrap(), b"one");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "nothing else is left");
        replace_unsynced(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
    }

    #[test]
    fn sealed_bytes_come_back_and_changed_ones_do_not() {
        let bytes = sealed(b"payload");
        assert_eq!(bytes[..4], crc32fast::hash(b"payload").to_le_bytes());
        assert_eq!(unsealed(&bytes), Some(&b"payload"[..]));
        for place in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[place] ^= 8;
            assert_eq!((unsealed(&changed), unsealed(&bytes[..place])), (None, None), "byte {place}");
        }
    }
}
