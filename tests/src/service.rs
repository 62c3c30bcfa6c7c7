//! A service of one scenario's own, to kill, halt and start again while the others go on with theirs.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, SystemTime},
};

use sinks::clickhouse::Settings;
use tempfile::TempDir;

use crate::{process, until};

/// The one user of a ClickHouse of one's own.
const USER: &str = "heating";

/// A running service; stopped and removed when dropped.
pub struct Service {
    directory: TempDir,
    service: &'static str,
    /// What ClickHouse's user must say to be let in.
    password: Option<&'static str>,
    /// Its `host:port`, kept across restarts.
    pub address: String,
}

impl Service {
    /// Starts Kafka on a free port.
    pub fn kafka() -> Service {
        Service::of("kafka", "NUANLIU_KAFKA", None)
    }

    /// Starts Mosquitto on a free port.
    pub fn mosquitto() -> Service {
        Service::of("mosquitto", "NUANLIU_MQTT", None)
    }

    /// Starts ClickHouse on a free port, with one user and its password.
    pub fn store(password: &'static str) -> Service {
        Service::of("clickhouse", "NUANLIU_CLICKHOUSE", Some(password))
    }

    fn of(service: &'static str, variable: &str, password: Option<&'static str>) -> Service {
        let directory = TempDir::new().unwrap();
        // Made first, so that what is started goes also when it is never ready.
        let mut started = Service { directory, service, password, address: String::new() };
        started.up();
        let env = fs::read_to_string(started.directory.path().join("env")).unwrap();
        let line = env.lines().find_map(|line| line.strip_prefix(&format!("export {variable}=")));
        started.address = line.unwrap().trim_matches('\'').split("//").last().unwrap().to_owned();
        started
    }

    /// Kills it with SIGKILL.
    pub fn kill(&self) {
        self.control("kill");
    }

    /// Starts it again on its data.
    pub fn up(&self) {
        self.control("up");
    }

    /// Stops it and starts it again on its data with another password of its user.
    pub fn change_password(&mut self, password: &'static str) {
        self.control("down");
        self.password = Some(password);
        self.up();
    }

    fn control(&self, action: &str) {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let tools =
            std::env::var_os("NUANLIU_DEV_TOOLS").unwrap_or_else(|| root.join("target/dev/tools").into());
        let output = Command::new(Path::new(&tools).join("venv/bin/python"))
            .arg(root.join("deploy/dev/services.py"))
            .args([action, self.service])
            .env("NUANLIU_DEV_DIR", self.directory.path())
            .env("NUANLIU_DEV_TOOLS", &tools)
            .envs(self.password.into_iter().flat_map(|password| {
                [("NUANLIU_DEV_CLICKHOUSE_USER", USER), ("CLICKHOUSE_PASSWORD", password)]
            }))
            .output()
            .unwrap();
        assert!(output.status.success(), "{action}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Halts it: it accepts connections and answers nothing.
    pub fn pause(&self) {
        self.control("pause");
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.control("resume");
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

    /// How its user reaches it, when it is ClickHouse.
    pub fn clickhouse(&self) -> Settings {
        Settings {
            user: Some(USER.to_owned()),
            password: self.password.map(str::to_owned),
            ..Settings::at(&format!("http://{}", self.address))
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

impl Drop for Service {
    fn drop(&mut self) {
        self.control("down");
    }
}
