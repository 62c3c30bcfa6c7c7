//! The product as a process.

use std::{
    fs::{self, File},
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

/// A running process of the product; killed when dropped.
pub struct Process {
    child: Child,
    log: PathBuf,
    /// Where in the log its own words begin.
    begins: usize,
}

/// The product's binary: `NUANLIU_BIN`, or the one built beside the tests.
pub fn binary() -> PathBuf {
    let beside = || {
        let tests = std::env::current_exe().unwrap();
        tests.ancestors().nth(2).unwrap().join("nuanliu")
    };
    let binary = std::env::var_os("NUANLIU_BIN").map_or_else(beside, PathBuf::from);
    assert!(binary.exists(), "{} is not built: run `cargo build --package pipeline`", binary.display());
    binary
}

/// Sends a signal, such as `STOP`, to a process that runs.
pub(crate) fn signal(id: u32, name: &str) {
    let sent = Command::new("kill").args([&format!("-{name}"), &id.to_string()]).status();
    assert!(sent.unwrap().success(), "SIG{name} does not reach process {id}");
}

impl Process {
    pub(crate) fn start(mut command: Command, log: PathBuf) -> Process {
        let file = File::options().create(true).append(true).open(&log).unwrap();
        command.stdout(file.try_clone().unwrap()).stderr(file).stdin(Stdio::null());
        let begins = fs::metadata(&log).unwrap().len() as usize;
        Process { child: command.spawn().unwrap(), log, begins }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has logged so far, with what earlier processes of the site logged.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// How it ended, when it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Sends it a signal, such as `STOP`.
    pub fn signal(&self, name: &str) {
        signal(self.child.id(), name);
    }

    /// Whether it is halted, as by SIGSTOP.
    pub fn is_halted(&self) -> bool {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        status.lines().any(|line| line.starts_with("State:\tT"))
    }

    /// What this process itself has logged so far.
    pub fn words(&self) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(log.get(self.begins..).unwrap_or_default()).into_owned()
    }

    /// Whether it is still running; panics with its log when it has ended.
    pub fn must_run(&mut self) {
        if let Some(status) = self.child.try_wait().unwrap() {
            panic!("nuanliu ended with {status}:\n{}", self.log());
        }
    }

    /// Sends SIGTERM and waits for the end; gives the exit code.
    pub fn terminate(mut self, limit: Duration) -> i32 {
        self.signal("TERM");
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code().unwrap_or(-1);
            }
            assert!(begun.elapsed() < limit, "nuanliu does not end within {limit:?}:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until it ends by itself; panics with its log when it does not.
    pub async fn end(&mut self, limit: Duration) -> ExitStatus {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.ended() {
                return status;
            }
            assert!(begun.elapsed() < limit, "nuanliu goes on after {limit:?}:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Kills it with SIGKILL.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
