//! A crash campaign: the pipeline works on a load that goes on coming, and is ended again and again, each time somewhere
//! else, until the load is through.
//!
//! Enters: a site, a load, a seed and a number of crashes. Leaves: the site with every output complete, and a tally of where
//! the process really ended. Guarantees: the seed decides places, hits, worker counts and times; what it cannot decide
//! is how far the machine got by then, so that every outcome must be right.

use std::{
    collections::BTreeMap,
    os::unix::process::ExitStatusExt,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    Process, Proxy, Site,
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
    ("manifest.before", 4),
    ("manifest.after", 4),
    ("clean_up.before", 6),
    ("clean_up.after", 4),
];

/// Of a thousand crashes so many are a SIGKILL at any moment.
const ANY_MOMENT: u64 = 250;
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
    /// By place; SIGKILL is `kill`.
    pub tally: BTreeMap<&'static str, Count>,
}

impl<'a> Campaign<'a> {
    /// A campaign on a site whose configuration says `workers = 1`; from now on it reaches ClickHouse through a proxy.
    pub async fn of(site: &'a Site, seed: u64) -> Campaign<'a> {
        let service = site::service("NUANLIU_CLICKHOUSE");
        let clickhouse = Arc::new(Proxy::before(&service).await);
        site.reconfigure(&service, &clickhouse.url);
        Campaign { site, clickhouse, seed, dice: Dice::of(seed), workers: 1, tally: BTreeMap::new() }
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
        let mut process = self.start(None);
        self.site.stored(load.readings, &mut process, Duration::from_secs(180)).await;
        assert_eq!(process.terminate(Duration::from_secs(60)), 0, "a clean stop");
    }

    /// What befalls ClickHouse in the next round, and for how long it is away; only then anything is spooled.
    fn weather(&mut self, blow: &Blow) -> (&'static str, Duration) {
        let spooled = matches!(blow, Blow::Place(place, _) if place.starts_with("spool."));
        let number = 1 + self.dice.below(3) as u32;
        self.clickhouse.fair();
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
        let &(place, hits) = self.dice.pick(PLACES);
        // Low numbers are as likely as high ones are far apart.
        let most = 1 + self.dice.below(hits);
        Blow::Place(place, 1 + self.dice.below(most))
    }

    fn start(&mut self, failpoint: Option<&str>) -> Process {
        let workers = 1 + self.dice.below(3);
        self.site.reconfigure(&format!("workers = {}", self.workers), &format!("workers = {workers}"));
        self.workers = workers;
        match failpoint {
            Some(text) => self.site.start_with(&["run"], ("NUANLIU_FAILPOINT", text)),
            None => self.site.start(&["run"]),
        }
    }

    /// Starts the process and sees it end; says how.
    async fn round(&mut self, blow: &Blow) -> String {
        let begun = Instant::now();
        let (place, process, patience) = match blow {
            Blow::Place(place, hit) => (*place, self.start(Some(&format!("{place}:{hit}"))), PATIENCE),
            Blow::Kill(after) => ("kill", self.start(None), *after),
        };
        self.tally.entry(place).or_default().aimed += 1;
        let (told, itself) = end(process, patience, &format!("failpoint {place}:")).await;
        let ended = if itself || place == "kill" { place } else { "kill" };
        self.tally.entry(ended).or_default().ended += 1;
        format!("{blow:?} with {} workers: {told} after {:.1} s", self.workers, begun.elapsed().as_secs_f64())
    }

    /// The tally as lines.
    pub fn summary(&self) -> String {
        let line =
            |(place, Count { aimed, ended }): (&&str, &Count)| format!("  {place}: {ended} of {aimed}");
        self.tally.iter().map(line).collect::<Vec<_>>().join("\n")
    }
}

/// Waits until a process ends itself where it should, and kills it when it does not; says how it ended, and whether by
/// itself.
async fn end(mut process: Process, patience: Duration, place: &str) -> (&'static str, bool) {
    let begun = Instant::now();
    loop {
        match process.ended() {
            // A panic aborts too; the last words tell them apart.
            Some(status) if status.signal() == Some(ABORTED) && process.words().contains(place) => {
                return ("ended there", true);
            }
            Some(status) => panic!("nuanliu ended with {status} and not by a blow:\n{}", process.log()),
            None if begun.elapsed() > patience => {
                process.kill();
                return ("killed", false);
            }
            None => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}
