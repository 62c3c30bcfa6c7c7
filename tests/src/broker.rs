//! A broker of one scenario's own, Kafka or Mosquitto, to kill, halt and start again while the others go on with theirs.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, SystemTime},
};

use tempfile::TempDir;

use crate::{process, until};

/// A running broker; stopped and removed when dropped.
pub struct Broker {
    directory: TempDir,
    service: &'static str,
    /// Its `host:port`, kept across restarts.
    pub address: String,
}

impl Broker {
    /// Starts Kafka on a free port.
    pub fn start() -> Broker {
        Broker::of("kafka", "NUANLIU_KAFKA")
    }

    /// Starts Mosquitto on a free port.
    pub fn mosquitto() -> Broker {
        Broker::of("mosquitto", "NUANLIU_MQTT")
    }

    fn of(service: &'static str, variable: &str) -> Broker {
        let directory = TempDir::new().unwrap();
        control(directory.path(), "up", service);
        let env = fs::read_to_string(directory.path().join("env")).unwrap();
        let line = env.lines().find_map(|line| line.strip_prefix(&format!("export {variable}=")));
        let address = line.unwrap().trim_matches('\'').trim_start_matches("mqtt://").to_owned();
        Broker { directory, service, address }
    }

    /// Kills it with SIGKILL.
    pub fn kill(&self) {
        control(self.directory.path(), "kill", self.service);
    }

    /// Starts it again on its data.
    pub fn up(&self) {
        control(self.directory.path(), "up", self.service);
    }

    /// Halts it: it accepts connections and answers nothing.
    pub fn pause(&self) {
        control(self.directory.path(), "pause", self.service);
    }

    /// Lets it go on.
    pub fn resume(&self) {
        control(self.directory.path(), "resume", self.service);
    }

    /// Makes it slow: so many times it is halted for a while and then runs for a while.
    pub async fn limp(&self, times: u32, halted: Duration, running: Duration) {
        let record = fs::read_to_string(self.directory.path().join(format!("run/{}.json", self.service)));
        let record: serde_json::Value = serde_json::from_str(&record.unwrap()).unwrap();
        let id = record["pid"].as_u64().unwrap() as u32;
        for _ in 0..times {
            process::signal(id, "STOP");
            tokio::time::sleep(halted).await;
            process::signal(id, "CONT");
            tokio::time::sleep(running).await;
        }
    }

    /// Where it keeps its data.
    pub fn data(&self) -> PathBuf {
        self.directory.path().join("data").join(self.service)
    }

    /// Waits until Mosquitto has saved what it holds now: what it took since its last save goes when it is killed.
    pub async fn saved(&self) {
        let (path, now) = (self.data().join("mosquitto.db"), SystemTime::now());
        until("mosquitto saves what it holds", Duration::from_secs(60), async || {
            fs::metadata(&path).is_ok_and(|data| data.modified().unwrap() > now)
        })
        .await;
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        control(self.directory.path(), "down", self.service);
    }
}

fn control(directory: &Path, action: &str, service: &str) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let tools = std::env::var_os("NUANLIU_DEV_TOOLS").unwrap_or_else(|| root.join("target/dev/tools").into());
    let output = Command::new(Path::new(&tools).join("venv/bin/python"))
        .arg(root.join("deploy/dev/services.py"))
        .args([action, service])
        .env("NUANLIU_DEV_DIR", directory)
        .env("NUANLIU_DEV_TOOLS", &tools)
        .output()
        .unwrap();
    assert!(output.status.success(), "{action}: {}", String::from_utf8_lossy(&output.stderr));
}
