//! A Kafka broker of one scenario's own, to kill, halt and start again while the others go on with theirs.

use std::{fs, path::Path, process::Command};

use tempfile::TempDir;

/// A running broker; stopped and removed when dropped.
pub struct Broker {
    directory: TempDir,
    /// Its `host:port`, kept across restarts.
    pub address: String,
}

impl Broker {
    /// Starts a broker on a free port.
    pub fn start() -> Broker {
        let directory = TempDir::new().unwrap();
        control(directory.path(), "up");
        let env = fs::read_to_string(directory.path().join("env")).unwrap();
        let line = env.lines().find_map(|line| line.strip_prefix("export NUANLIU_KAFKA="));
        let address = line.unwrap().trim_matches('\'').to_owned();
        Broker { directory, address }
    }

    /// Kills it with SIGKILL.
    pub fn kill(&self) {
        control(self.directory.path(), "kill");
    }

    /// Starts it again on its data.
    pub fn up(&self) {
        control(self.directory.path(), "up");
    }

    /// Halts it: it accepts connections and answers nothing.
    pub fn pause(&self) {
        control(self.directory.path(), "pause");
    }

    /// Lets it go on.
    pub fn resume(&self) {
        control(self.directory.path(), "resume");
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        control(self.directory.path(), "down");
    }
}

fn control(directory: &Path, action: &str) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let tools = std::env::var_os("NUANLIU_DEV_TOOLS").unwrap_or_else(|| root.join("target/dev/tools").into());
    let output = Command::new(Path::new(&tools).join("venv/bin/python"))
        .arg(root.join("deploy/dev/services.py"))
        .args([action, "kafka"])
        .env("NUANLIU_DEV_DIR", directory)
        .env("NUANLIU_DEV_TOOLS", &tools)
        .output()
        .unwrap();
    assert!(output.status.success(), "{action}: {}", String::from_utf8_lossy(&output.stderr));
}
