//! The wall clock of a process, to set forward and back while it runs; the clock that only runs is left alone.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

/// The clock of the processes that are started under it.
pub struct WallClock {
    /// Holds by how many seconds it is off.
    offset: PathBuf,
    library: PathBuf,
}

impl WallClock {
    /// A clock that is right, kept in a directory.
    pub fn right(directory: &Path) -> WallClock {
        let (library, source) =
            (directory.join("clock.so"), concat!(env!("CARGO_MANIFEST_DIR"), "/src/clock.c"));
        let built = Command::new("cc").args(["-shared", "-fPIC", "-O1", source, "-o"]).arg(&library).status();
        assert!(built.is_ok_and(|status| status.success()), "{source} is not built: is there a C compiler?");
        let clock = WallClock { offset: directory.join("clock"), library };
        clock.set_right();
        clock
    }

    /// Sets it right.
    pub fn set_right(&self) {
        self.set_off(0);
    }

    /// Sets it forward.
    pub fn set_ahead(&self, by: Duration) {
        self.set_off(by.as_secs() as i64);
    }

    /// Sets it back.
    pub fn set_back(&self, by: Duration) {
        self.set_off(-(by.as_secs() as i64));
    }

    fn set_off(&self, seconds: i64) {
        // Whole or not at all: it is read all the time.
        let fresh = self.offset.with_extension("new");
        fs::write(&fresh, seconds.to_string()).unwrap();
        fs::rename(fresh, &self.offset).unwrap();
    }

    /// The program under which a process has this clock.
    pub fn program(&self) -> Vec<String> {
        let (library, offset) = (self.library.display(), self.offset.display());
        vec!["env".to_owned(), format!("LD_PRELOAD={library}"), format!("TEST_CLOCK={offset}")]
    }
}
