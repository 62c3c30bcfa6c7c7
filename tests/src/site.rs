//! A site: topics, database, state directory and configuration that belong to one scenario.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    sync::{
        LazyLock,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use schemas::{Epoch, KafkaSettings};
use sinks::clickhouse::Settings;
use tempfile::TempDir;

use crate::{Process, bindings, store::Store, until};

/// Where the section begins that every configuration gets.
const OPERATIONS: &str = "[operations]\n";
/// What it says unless a scenario says otherwise: how full the disk of this machine is and that it stands still for a
/// while are no matter of the tests.
const CALM: [(&str, &str); 2] = [("disk_free_percent", "0.0"), ("source_seconds", "60")];

/// One scenario's own place on the services of `make up`.
pub struct Site {
    /// What the topics begin with.
    pub prefix: String,
    /// The name of the database and of the pipeline.
    pub name: String,
    /// Where it keeps its files.
    pub directory: TempDir,
    /// The address on which the HTTP connector will listen.
    pub http: String,
    /// The address on which the dataflow's metrics will be.
    pub metrics: String,
    brokers: String,
    store: Settings,
    extra: String,
}

/// A name that no other scenario has on the same services, also when the number of a process comes again.
fn unique(scenario: &str) -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    static BEGUN: LazyLock<i64> = LazyLock::new(|| jiff::Timestamp::now().as_second() % 1_000_000);
    let number = NUMBER.fetch_add(1, Ordering::SeqCst);
    format!("{scenario}_{}_{}_{number}", std::process::id(), *BEGUN)
}

/// An address of a service that `make up` started.
pub fn service(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| {
        panic!("{variable} is not set: run `make up`, then read target/dev/env into the shell")
    })
}

fn shared_store() -> Settings {
    Settings::at(&service("NUANLIU_CLICKHOUSE"))
}

impl Site {
    /// A site with further configuration: keys of `[pipeline]`, then, behind a line `---`, further sections.
    pub fn new(scenario: &str, extra: &str) -> Site {
        let name = unique(scenario);
        Site::on(service("NUANLIU_KAFKA"), name.clone(), name, shared_store(), extra)
    }

    /// As [`Site::new`] with a broker of its own.
    pub fn with_broker(broker: &crate::Service, scenario: &str, extra: &str) -> Site {
        let name = unique(scenario);
        Site::on(broker.address.clone(), name.clone(), name, shared_store(), extra)
    }

    /// As [`Site::new`] with a ClickHouse of its own, whose user it knows.
    pub fn with_store(store: &crate::Service, scenario: &str, extra: &str) -> Site {
        let name = unique(scenario);
        Site::on(service("NUANLIU_KAFKA"), name.clone(), name, store.clickhouse(), extra)
    }

    /// A second site on the topics of this one, with a database, a pipeline and a state of its own.
    pub fn beside(&self, scenario: &str, extra: &str) -> Site {
        Site::on(self.brokers.clone(), self.prefix.clone(), unique(scenario), self.store.clone(), extra)
    }

    fn on(brokers: String, prefix: String, name: String, store: Settings, extra: &str) -> Site {
        // Both are held until both are known, so that they differ.
        let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let [http, metrics] = listeners.map(|listener| listener.local_addr().unwrap().to_string());
        let directory = TempDir::new().unwrap();
        let site = Site { prefix, name, directory, http, metrics, brokers, store, extra: extra.to_owned() };
        fs::write(site.config(), site.toml()).unwrap();
        site
    }

    /// The configuration file.
    pub fn config(&self) -> PathBuf {
        self.directory.path().join("nuanliu.toml")
    }

    /// A file or directory of the site.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Replaces a text in the configuration.
    pub fn reconfigure(&self, from: &str, to: &str) {
        let text = fs::read_to_string(self.config()).unwrap();
        assert!(text.contains(from), "the configuration does not hold {from:?}:\n{text}");
        fs::write(self.config(), text.replace(from, to)).unwrap();
    }

    fn toml(&self) -> String {
        let Site { prefix, name, http, metrics, brokers: kafka, extra, .. } = self;
        let clickhouse = &self.store.url;
        let given =
            |name: &str, value: &Option<String>| value.as_ref().map(|value| format!("{name} = {value:?}\n"));
        let user = [given("user", &self.store.user), given("password", &self.store.password)];
        let user: String = user.into_iter().flatten().collect();
        let (pipeline, rest) = extra.split_once("---\n").unwrap_or((extra, ""));
        let calm = CALM.iter().filter(|(name, _)| !rest.contains(name));
        let calm: String = calm.map(|(name, value)| format!("{name} = {value}\n")).collect();
        let rest = if rest.contains(OPERATIONS) { rest.to_owned() } else { format!("{OPERATIONS}\n{rest}") };
        let rest = rest.replace(OPERATIONS, &format!("{OPERATIONS}{calm}"));
        let state = self.path("state");
        format!(
            "[kafka]\nbrokers = {kafka:?}\nprefix = {prefix:?}\n\n\
             [clickhouse]\nurl = {clickhouse:?}\ndatabase = {name:?}\n{user}\n\
             [http]\nlisten = {http:?}\naccept_received_at = true\n\n\
             [telemetry]\nlisten = {metrics:?}\n\n\
             [pipeline]\nname = {name:?}\nstate = {state:?}\n{pipeline}\n{rest}"
        )
    }

    /// Keeps a second name for every file of bindings that is there now, so that none goes when checkpoints make it
    /// dispensable.
    pub fn keep_bindings(&self) {
        bindings::keep(&self.path("state"), &self.path("bindings"));
    }

    /// Gives another site everything that this one has bound, so that it reads the same in the same epochs; gives the last of them. Where
    /// checkpoints may have removed bindings, [`Site::keep_bindings`] must have been called often enough.
    pub fn give_bindings(&self, other: &Site) -> Epoch {
        self.keep_bindings();
        bindings::join(&self.path("bindings"), &other.path("state"), &other.name)
    }

    /// The `[kafka]` section.
    pub fn kafka(&self) -> KafkaSettings {
        serde_json::from_value(serde_json::json!({ "brokers": self.brokers, "prefix": self.prefix })).unwrap()
    }

    /// Runs a command of the product to its end; gives what it printed. Panics when it fails.
    pub fn nuanliu(&self, arguments: &[&str]) -> String {
        let (code, output) = self.try_nuanliu(arguments);
        assert_eq!(code, 0, "nuanliu {arguments:?}:\n{output}");
        output
    }

    /// Runs a command of the product to its end; gives the exit code and what it printed.
    pub fn try_nuanliu(&self, arguments: &[&str]) -> (i32, String) {
        let output = self.command(arguments).output().unwrap();
        let text =
            [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
        (output.status.code().unwrap_or(-1), text)
    }

    /// Starts a long-running command of the product.
    pub fn start(&self, arguments: &[&str]) -> Process {
        Process::start(self.command(arguments), self.path("log"))
    }

    /// Waits until the platform that a process runs says that it is ready.
    pub async fn ready(&self, process: &mut Process, limit: Duration) {
        until("the platform is ready", limit, async || {
            process.must_run();
            let answer = reqwest::get(format!("http://{}/readyz", self.http)).await;
            answer.is_ok_and(|answer| answer.status().is_success())
        })
        .await;
    }

    /// Starts a long-running command of the product with an environment variable set.
    pub fn start_with(&self, arguments: &[&str], variable: (&str, &str)) -> Process {
        let mut command = self.command(arguments);
        command.env(variable.0, variable.1);
        Process::start(command, self.path("log"))
    }

    /// Starts a long-running command of the product under another program, which must become it in the end, such as
    /// `env NAME=VALUE`.
    pub fn start_under(&self, program: &[String], arguments: &[&str]) -> Process {
        let command = self.command(arguments);
        let mut under = std::process::Command::new(&program[0]);
        under.args(&program[1..]).arg(command.get_program()).args(command.get_args());
        under.current_dir(self.directory.path());
        Process::start(under, self.path("log"))
    }

    /// Starts a long-running command of the product under the supervisor of `deploy/cluster`, which starts it again when
    /// it ends; `program` must become it in the end.
    pub fn supervise(&self, program: &[&str], arguments: &[&str]) -> Process {
        let hosts = self.path("hosts");
        fs::write(&hosts, "127.0.0.1:1\n").unwrap();
        let supervisor = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/cluster/supervise");
        // A supervisor that is killed leaves nothing behind.
        let with_it = ["setpriv", "--pdeathsig", "KILL"];
        let command = [&[supervisor, hosts.to_str().unwrap(), "0", "--"], &with_it[..], program].concat();
        self.start_under(&command.into_iter().map(str::to_owned).collect::<Vec<_>>(), arguments)
    }

    /// Starts a long-running command of the product on another configuration file.
    pub fn start_on(&self, config: &Path, arguments: &[&str]) -> Process {
        Process::start(self.command_on(config, arguments), self.path("log"))
    }

    fn command(&self, arguments: &[&str]) -> std::process::Command {
        self.command_on(&self.config(), arguments)
    }

    fn command_on(&self, config: &Path, arguments: &[&str]) -> std::process::Command {
        let mut command = std::process::Command::new(crate::process::binary());
        command.args(arguments).arg("--config").arg(config).current_dir(self.directory.path());
        command
    }

    /// Where the dataflow stores its rows.
    pub fn clickhouse(&self) -> Settings {
        Settings { database: self.name.clone(), ..self.store.clone() }
    }

    /// Rows of a query on the site's database, as columns of text.
    pub async fn query(&self, sql: &str) -> Vec<Vec<String>> {
        Store::at(&self.clickhouse()).query(sql).await
    }

    /// One number of a query.
    pub async fn number(&self, sql: &str) -> f64 {
        Store::at(&self.clickhouse()).number(sql).await
    }

    /// The readings that the store accounts for: those that are there, and those that rejects of the dataflow stand for.
    pub async fn accounted(&self) -> u64 {
        let readings = self.number("SELECT count() FROM readings FINAL").await;
        let rejected = "SELECT sum(readings) FROM rejects FINAL WHERE stage = 'dataflow'";
        (readings + self.number(rejected).await) as u64
    }

    /// The states of the alarms of a rule, oldest first.
    pub async fn alarms(&self, rule: &str) -> Vec<String> {
        let sql = format!("SELECT state FROM alarms FINAL WHERE rule = '{rule}' ORDER BY raised_at");
        self.query(&sql).await.into_iter().map(|row| row[0].clone()).collect()
    }

    /// Waits until alarms of a rule were told and all are over.
    pub async fn told_and_cleared(&self, rule: &str, process: &mut Process, limit: Duration) {
        let begun = Instant::now();
        loop {
            process.must_run();
            let told = self.alarms(rule).await;
            if !told.is_empty() && told.iter().all(|state| state == "cleared") {
                return;
            }
            if begun.elapsed() >= limit {
                panic!("after {limit:?} the alarms of {rule} are {told:?}:\n{}", process.words());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until the store accounts for every reading that was accepted, to the reading.
    pub async fn stored(&self, accepted: u64, process: &mut Process, limit: Duration) {
        let begun = Instant::now();
        loop {
            process.must_run();
            let accounted = self.accounted().await;
            if accounted == accepted {
                return;
            }
            assert!(accounted < accepted, "{accounted} readings are accounted for, {accepted} were accepted");
            let log = || process.log();
            assert!(
                begun.elapsed() < limit,
                "{accounted} of {accepted} readings after {limit:?}:\n{}",
                log()
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// A metric of the running dataflow, such as `nuanliu_sink_paused{sink="clickhouse"}`.
    pub async fn metric(&self, name: &str) -> Option<f64> {
        let text = reqwest::get(format!("http://{}/metrics", self.metrics)).await.ok()?.text().await.ok()?;
        let value = |line: &str| line.strip_prefix(name)?.trim().parse().ok();
        text.lines().find_map(value)
    }
}
