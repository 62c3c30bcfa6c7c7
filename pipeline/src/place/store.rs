//! Where the files of checkpoints lie.
//!
//! Enters: names and bytes. Leaves: the same bytes, later. Guarantees: what was written is durable when `write`
//! returns and is there as a whole or not at all; of two that create the same name exactly one is told that it did.

use std::{
    fmt::Debug,
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use bytes::Bytes;
use sinks::{disk, failpoint};

/// A file and how long it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Name, without the place.
    pub name: String,
    /// Length in bytes.
    pub bytes: u64,
}

/// A place for files that are written once and read as a whole or in ranges. Names are plain, without directories.
pub trait Store: Debug + Send + Sync {
    /// What messages call the place.
    fn place(&self) -> String;

    /// All files, sorted by name.
    ///
    /// # Errors
    /// What the system says.
    fn list(&self) -> io::Result<Vec<Object>>;

    /// A file.
    ///
    /// # Errors
    /// What the system says.
    fn read(&self, name: &str) -> io::Result<Vec<u8>>;

    /// A part of a file.
    ///
    /// # Errors
    /// What the system says, also when the file ends before.
    fn read_range(&self, name: &str, offset: u64, length: u64) -> io::Result<Vec<u8>>;

    /// Writes a file from its pieces, in place of one of that name.
    ///
    /// # Errors
    /// What the system says; nothing is left behind then.
    fn write(&self, name: &str, pieces: Vec<Bytes>) -> io::Result<()>;

    /// Creates an empty file; answers false when it is there already.
    ///
    /// # Errors
    /// What the system says.
    fn create(&self, name: &str) -> io::Result<bool>;

    /// Whether a file is there.
    ///
    /// # Errors
    /// What the system says.
    fn has(&self, name: &str) -> io::Result<bool>;

    /// Removes a file; one that is not there counts as removed.
    ///
    /// # Errors
    /// What the system says.
    fn remove(&self, name: &str) -> io::Result<()>;
}

/// A directory of the local system.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
}

impl Directory {
    /// The directory of that path, made where it is absent.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(path: &Path) -> io::Result<Directory> {
        fs::create_dir_all(path)?;
        Ok(Directory { path: path.to_owned() })
    }
}

impl Store for Directory {
    fn place(&self) -> String {
        self.path.display().to_string()
    }

    fn list(&self) -> io::Result<Vec<Object>> {
        let mut objects = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            match (entry.file_name().into_string(), entry.metadata()) {
                (Ok(name), Ok(data)) if data.is_file() => objects.push(Object { name, bytes: data.len() }),
                // Removed since, or none of ours.
                _ => {}
            }
        }
        objects.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(objects)
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        fs::read(self.path.join(name))
    }

    fn read_range(&self, name: &str, offset: u64, length: u64) -> io::Result<Vec<u8>> {
        let mut file = File::open(self.path.join(name))?;
        if file.metadata()?.len() < offset.saturating_add(length) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        file.seek(SeekFrom::Start(offset))?;
        let mut bytes = Vec::with_capacity(length as usize);
        file.take(length).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn write(&self, name: &str, pieces: Vec<Bytes>) -> io::Result<()> {
        disk::replace(&self.path.join(name), |file| {
            let mut pieces = pieces.iter();
            failpoint::write_halfway("store.torn", file, pieces.next().map_or(&[], |piece| &piece[..]))?;
            pieces.try_for_each(|piece| file.write_all(piece))?;
            failpoint::reached("store.before_rename");
            Ok(())
        })
    }

    fn create(&self, name: &str) -> io::Result<bool> {
        let path = self.path.join(name);
        match OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(file) => file.sync_all().and_then(|()| disk::sync_parent(&path)).map(|()| true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn has(&self, name: &str) -> io::Result<bool> {
        fs::exists(self.path.join(name))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        match fs::remove_file(self.path.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}
