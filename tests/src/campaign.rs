//! A crash campaign: the pipeline works on a load that goes on coming, and is ended again and again, each time somewhere
//! else, until the load is through.
//!
//! Enters: a site, a load, a seed and a number of crashes. Leaves: the site with every output complete, and a tally of where
//! the process really ended. Guarantees: the seed decides places, hits, worker counts and times; what it cannot decide
//! is how far the machine got by then, so that every outcome must be right.

use std::{
    collections::BTreeMap,
    fs,
    net::TcpListener,
    os::unix::process::ExitStatusExt,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    Process, Province, Proxy, Site,
    dice::Dice,
    load::{Feeder, Load},
    site,
};

/// The places of the product at which a test may end it, and how often each is reached in a second or two.
pub const PLACES: &[(&str, u64)] = &[
    ("bind.before", 20),
    ("bind.torn", 20),
    ("bind.after", 20),
    ("read.before", 60),
    ("read.after", 60),
    ("kafka.begun", 8),
    ("kafka.before_commit", 8),
    ("kafka.after_commit", 8),
    ("clickhouse.before_insert", 60),
    ("clickhouse.before_end", 60),
    ("clickhouse.after_insert", 60),
    ("progress.before", 2),
    ("progress.after", 2),
    ("fence.taken", 1),
    ("bind.begun", 2),
    ("spool.before", 3),
    ("spool.torn", 3),
    ("spool.after", 3),
    ("part.before", 4),
    ("store.torn", 6),
    ("store.before_rename", 6),
    ("part.after", 4),
    ("volume.before", 2),
    ("volume.after", 2),
    ("manifest.before", 4),
    ("manifest.after", 4),
    ("clean_up.before", 6),
    ("clean_up.after", 4),
];

/// Of a thousand crashes so many are a SIGKILL at any moment.
const ANY_MOMENT: u64 = 250;
/// So many are a SIGTERM, and of those at a place so many only halt there.
const STOPPED: u64 = 60;
const HALTED: u64 = 120;
/// A place that is not reached by then is not waited for: the process is killed.
const PATIENCE: Duration = Duration::from_secs(4);
/// Of a thousand rounds so many begin while ClickHouse is away.
const AWAY: u64 = 150;
/// How long ClickHouse is away.
const ABSENCE: Duration = Duration::from_millis(2_500);
/// Parts in which the records of a round arrive.
const PARTS: usize = 6;
const PAUSE: Duration = Duration::from_millis(120);
/// Signal of a process that ended itself at a place.
const ABORTED: i32 = 6;

/// How a round ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Blow {
    /// At the n-th hit of a place.
    Place(&'static str, u64),
    /// At any moment.
    Kill(Duration),
    /// With SIGTERM at any moment: a clean stop.
    Stop(Duration),
    /// At the n-th hit of a place it halts, another process takes over, and when that one has ended it wakes up.
    Halt(&'static str, u64),
}

/// How often a place was aimed at, and how often the process really ended there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Aimed at.
    pub aimed: u32,
    /// Ended there.
    pub ended: u32,
}

/// A running campaign.
pub struct Campaign<'a> {
    site: &'a Site,
    clickhouse: Arc<Proxy>,
    seed: u64,
    dice: Dice,
    workers: u64,
    /// A halted process that others believe dead.
    sleeper: Option<Process>,
    /// What stands before the province, where there is one.
    province: Option<Arc<Proxy>>,
    /// Where the processes of a cluster listen; empty when there is only one process.
    hosts: Vec<String>,
    /// By place; SIGKILL is `kill`.
    pub tally: BTreeMap<&'static str, Count>,
}

/// The processes of one round: that which is struck, and another one of its cluster, which must end with it.
struct Round {
    struck: Process,
    other: Option<Process>,
}

impl<'a> Campaign<'a> {
    /// A campaign on a site whose configuration says `workers = 1`; from now on it reaches ClickHouse through a proxy.
    pub async fn of(site: &'a Site, seed: u64) -> Campaign<'a> {
        let service = site::service("NUANLIU_CLICKHOUSE");
        let clickhouse = Arc::new(Proxy::before(&service).await);
        site.reconfigure(&service, &clickhouse.url);
        // A halted process keeps its port.
        site.reconfigure(&format!("listen = {:?}", site.metrics), "listen = \"127.0.0.1:0\"");
        Campaign {
            site,
            clickhouse,
            seed,
            dice: Dice::of(seed),
            workers: 1,
            sleeper: None,
            province: None,
            hosts: Vec::new(),
            tally: BTreeMap::new(),
        }
    }

    /// Lets answers of the province be lost too.
    pub fn with(self, province: &Province) -> Campaign<'a> {
        Campaign { province: Some(Arc::clone(&province.proxy)), ..self }
    }

    /// Runs the dataflow as a cluster of two processes; none of them is halted.
    pub fn on_a_cluster(self) -> Campaign<'a> {
        let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let hosts = listeners.map(|listener| listener.local_addr().unwrap().to_string());
        fs::write(self.site.path("hosts"), hosts.join("\n")).unwrap();
        Campaign { hosts: hosts.to_vec(), ..self }
    }

    /// Lets the load arrive over so many crashes; afterwards the pipeline takes the rest undisturbed and stops. All
    /// bindings are kept (see [`Site::keep_bindings`]).
    pub async fn run(&mut self, load: &Load, crashes: usize) {
        let site = self.site;
        let keeping = async {
            loop {
                site.keep_bindings();
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::select! {
            () = self.crash(load, crashes) => {}
            () = keeping => {}
        }
        site.keep_bindings();
    }

    async fn crash(&mut self, load: &Load, crashes: usize) {
        let feeder = Feeder::of(self.site);
        self.site.publish(&load.registry).await;
        let share = load.items.len().div_ceil(crashes.max(1));
        let mut shares = load.items.chunks(share.max(1));
        for number in 1..=crashes {
            let items = shares.next().unwrap_or_default();
            let feeding = async {
                for part in items.chunks(items.len().div_ceil(PARTS).max(1)) {
                    feeder.feed(part).await;
                    tokio::time::sleep(PAUSE).await;
                }
            };
            let blow = self.blow();
            let (weather, absence) = self.weather(&blow);
            let clickhouse = Arc::clone(&self.clickhouse);
            let clearing = async {
                tokio::time::sleep(absence).await;
                clickhouse.set_down(false);
            };
            let (ended, (), ()) = tokio::join!(self.round(&blow), feeding, clearing);
            eprintln!("seed {} crash {number}/{crashes}: {ended}{weather}", self.seed);
        }
        for items in shares {
            feeder.feed(items).await;
        }
        self.clickhouse.fair();
        self.province.iter().for_each(|province| province.fair());
        let sleeping = self.sleeper.take();
        if let Some(sleeping) = sleeping {
            // Nobody has taken over from it.
            sleeping.kill();
        }
        let Round { struck: mut process, other } = self.start(None, true);
        self.site.stored(load.readings, &mut process, Duration::from_secs(180)).await;
        stop(process, other).await;
    }

    /// What befalls ClickHouse in the next round, and for how long it is away; only then anything is spooled.
    fn weather(&mut self, blow: &Blow) -> (&'static str, Duration) {
        let spooled = matches!(blow, Blow::Place(place, _) if place.starts_with("spool."));
        let number = 1 + self.dice.below(3) as u32;
        self.clickhouse.fair();
        if let Some(province) = &self.province {
            province.fair();
            match self.dice.below(1_000) {
                0..200 => province.lose_answers(number),
                200..400 => province.cut_answers(number),
                400..500 => province.set_down(true),
                _ => {}
            }
        }
        if spooled || self.dice.per_mille(AWAY) {
            self.clickhouse.set_down(true);
            return (", ClickHouse being away", ABSENCE);
        }
        let weather = match self.dice.below(1_000) {
            0..100 => {
                self.clickhouse.lose_answers(number);
                ", answers of ClickHouse being lost"
            }
            100..200 => {
                self.clickhouse.cut_bodies(number);
                ", bodies to ClickHouse being cut"
            }
            200..250 => {
                self.clickhouse.cut_answers(number);
                ", answers of ClickHouse being cut"
            }
            _ => "",
        };
        (weather, Duration::ZERO)
    }

    /// The next blow.
    fn blow(&mut self) -> Blow {
        if self.dice.per_mille(ANY_MOMENT) {
            return Blow::Kill(Duration::from_millis(200 + self.dice.below(2_300)));
        }
        if self.dice.per_mille(STOPPED) {
            return Blow::Stop(Duration::from_millis(200 + self.dice.below(2_300)));
        }
        let &(place, hits) = self.dice.pick(PLACES);
        // Low numbers are as likely as high ones are far apart.
        let most = 1 + self.dice.below(hits);
        let hit = 1 + self.dice.below(most);
        // While one sleeps no other falls asleep.
        if self.dice.per_mille(HALTED) && self.sleeper.is_none() && self.hosts.is_empty() {
            Blow::Halt(place, hit)
        } else {
            Blow::Place(place, hit)
        }
    }

    /// Starts a process, or those of a cluster; of these any may be struck, unless it must be the first.
    fn start(&mut self, failpoint: Option<&str>, first: bool) -> Round {
        let workers = 1 + self.dice.below(3);
        self.site.reconfigure(&format!("workers = {}", self.workers), &format!("workers = {workers}"));
        self.workers = workers;
        let mut arguments = vec!["run"];
        if self.sleeper.is_some() {
            arguments.push("--take-over");
        }
        let struck = |arguments: &[&str]| match failpoint {
            Some(text) => self.site.start_with(arguments, ("NUANLIU_FAILPOINT", text)),
            None => self.site.start(arguments),
        };
        if self.hosts.is_empty() {
            return Round { struck: struck(&arguments), other: None };
        }
        let place = if first { 0 } else { self.dice.below(2) };
        let hosts = self.site.path("hosts");
        let process = |number: &'static str| ["run", "-n", "2", "-p", number, "-h", hosts.to_str().unwrap()];
        let numbers = if place == 0 { ["0", "1"] } else { ["1", "0"] };
        Round { struck: struck(&process(numbers[0])), other: Some(self.site.start(&process(numbers[1]))) }
    }

    /// Starts the process and sees it end; says how.
    async fn round(&mut self, blow: &Blow) -> String {
        let begun = Instant::now();
        let sleeper = self.sleeper.is_some();
        let (place, failpoint, patience) = match blow {
            Blow::Place(place, hit) => (*place, Some(format!("{place}:{hit}")), PATIENCE),
            Blow::Halt(place, hit) => (*place, Some(format!("{place}:{hit}:halt")), PATIENCE),
            Blow::Kill(after) => ("kill", None, *after),
            Blow::Stop(after) => ("stop", None, *after),
        };
        let Round { struck, mut other } = self.start(failpoint.as_deref(), matches!(blow, Blow::Stop(_)));
        let sleeping = self.sleeper.take();
        self.tally.entry(place).or_default().aimed += 1;
        let how = end(struck, patience, blow, place, &mut other).await;
        if let Some(mut other) = other {
            // One that has not found the struck one yet waits for it; a supervisor does not.
            let begun = Instant::now();
            while other.ended().is_none() && begun.elapsed() < PATIENCE {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            other.kill();
        }
        let told = match how {
            End::There => "ended there",
            End::Killed => "killed",
            End::Stopped => "stopped",
            End::Halted(process) => {
                self.sleeper = Some(process);
                "halted there"
            }
        };
        let ended = if told == "killed" { "kill" } else { place };
        self.tally.entry(ended).or_default().ended += 1;
        if let Some(sleeping) = sleeping {
            wake(sleeping).await;
        }
        let seconds = begun.elapsed().as_secs_f64();
        let taken = if sleeper { ", having taken over from a halted one" } else { "" };
        format!("{blow:?} with {} workers: {told} after {seconds:.1} s{taken}", self.workers)
    }

    /// The tally as lines.
    pub fn summary(&self) -> String {
        let line =
            |(place, Count { aimed, ended }): (&&str, &Count)| format!("  {place}: {ended} of {aimed}");
        self.tally.iter().map(line).collect::<Vec<_>>().join("\n")
    }
}

/// How a process ended, or that it sleeps.
enum End {
    There,
    Killed,
    Stopped,
    Halted(Process),
}

/// Stops a process, and sees the other one of its cluster end with it.
async fn stop(process: Process, other: Option<Process>) {
    assert_eq!(process.terminate(Duration::from_secs(60)), 0, "a clean stop");
    if let Some(mut other) = other {
        assert!(other.end(Duration::from_secs(60)).await.success(), "a clean stop");
    }
}

/// Waits until a process ends itself where it should, and ends it when it does not.
async fn end(
    mut process: Process,
    patience: Duration,
    blow: &Blow,
    place: &str,
    other: &mut Option<Process>,
) -> End {
    let begun = Instant::now();
    let place = format!("failpoint {place}:");
    loop {
        match process.ended() {
            // A panic aborts too; the last words tell them apart.
            Some(status) if status.signal() == Some(ABORTED) && process.words().contains(&place) => {
                return End::There;
            }
            Some(status) => panic!("nuanliu ended with {status} and not by a blow:\n{}", process.log()),
            None if matches!(blow, Blow::Halt(..)) && process.is_halted() => return End::Halted(process),
            None if begun.elapsed() > patience => {
                if matches!(blow, Blow::Stop(_)) {
                    stop(process, other.take()).await;
                    return End::Stopped;
                }
                process.kill();
                return End::Killed;
            }
            None => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}

/// Lets a process go on that another one has replaced: it must end, and not as if all were well.
async fn wake(mut sleeper: Process) {
    sleeper.signal("CONT");
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(60) {
        if let Some(status) = sleeper.ended() {
            assert!(!status.success(), "a replaced process ends well:\n{}", sleeper.words());
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("a replaced process goes on:\n{}", sleeper.words());
}
