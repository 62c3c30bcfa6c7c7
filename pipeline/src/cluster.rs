//! A cluster: one dataflow on several processes, where one machine is not enough for a city.
//!
//! Enters: how many processes there are, which one this is, where they all listen. Leaves: how the workers talk.
//! Guarantees: the first process alone mints epochs, writes to Kafka and completes checkpoints. When one process ends,
//! all end, and a supervisor starts all again together (`deploy/cluster/supervise`).

use std::{
    collections::BTreeSet,
    fs,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use clap::Args;

use crate::Error;

/// How long the processes of a cluster wait for each other.
const CONNECT_WITHIN: Duration = Duration::from_secs(60);

/// The place of this process in a cluster.
#[derive(Clone, Debug, Args)]
#[group(id = "cluster")] // Another group of arguments has the type's name.
pub struct Arguments {
    /// Processes of the cluster.
    #[arg(short = 'n', long, default_value_t = 1)]
    processes: usize,
    /// Which of them this is, from 0.
    #[arg(short = 'p', long, default_value_t = 0)]
    process: usize,
    /// File with one `host:port` per process and line, the same for all.
    #[arg(short = 'h', long, value_name = "FILE")]
    hosts: Option<PathBuf>,
}

/// A checked place in a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cluster {
    /// Which process this is, from 0.
    pub process: usize,
    /// Where every process listens; empty when there is only one process.
    pub addresses: Vec<String>,
}

impl Arguments {
    /// Reads the hosts and checks that everything fits together.
    ///
    /// # Errors
    /// [`Error::Cluster`], which says what does not fit and what to do.
    pub fn cluster(&self) -> Result<Cluster, Error> {
        let Arguments { processes, process, hosts } = self;
        if *processes <= 1 && *process == 0 {
            return Ok(Cluster::default());
        }
        let Some(path) = hosts else {
            return wrong(format!("-n {processes} needs -h FILE: one host:port per process"));
        };
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => return wrong(format!("hosts file {} is not readable: {error}", path.display())),
        };
        Cluster::parse(*processes, *process, &text)
    }
}

impl Cluster {
    fn parse(processes: usize, process: usize, hosts: &str) -> Result<Cluster, Error> {
        let lines = hosts.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let addresses: Vec<String> = lines.map(str::to_owned).collect();
        if process >= processes {
            return wrong(format!("-p {process} is not one of {processes} processes: they count from 0"));
        }
        if addresses.len() != processes {
            let found = addresses.len();
            return wrong(format!(
                "the hosts file names {found} processes, -n says {processes}: make them agree"
            ));
        }
        let mut seen = BTreeSet::new();
        for address in &addresses {
            let port = address.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
            if port.is_none_or(|port| port == 0) {
                return wrong(format!("the hosts file has {address:?}: write host:port"));
            }
            if !seen.insert(address) {
                return wrong(format!("the hosts file names {address} twice: each process needs its own"));
            }
        }
        Ok(Cluster { process, addresses })
    }

    /// How many processes there are.
    #[must_use]
    pub fn processes(&self) -> usize {
        self.addresses.len().max(1)
    }

    /// Whether this process mints epochs, writes to Kafka and completes checkpoints.
    #[must_use]
    pub fn leads(&self) -> bool {
        self.process == 0
    }

    /// Ends this process when the others have not come within [`CONNECT_WITHIN`]; the answer is told when they have.
    /// Connecting cannot be given up otherwise, and the process it waits for may have died before it came.
    #[must_use]
    pub fn await_others(&self) -> Arc<AtomicBool> {
        let connected = Arc::new(AtomicBool::new(self.addresses.len() <= 1));
        let seen = Arc::clone(&connected);
        let (process, addresses) = (self.process, self.addresses.join(", "));
        thread::spawn(move || {
            let began = Instant::now();
            while !seen.load(Ordering::Relaxed) {
                if began.elapsed() > CONNECT_WITHIN {
                    tracing::error!(
                        process,
                        addresses,
                        "the processes of the cluster did not find each other: start all of them together"
                    );
                    std::process::exit(1);
                }
                thread::sleep(Duration::from_millis(100));
            }
        });
        connected
    }

    /// How `threads` workers per process talk to each other.
    #[must_use]
    pub fn timely(&self, threads: usize) -> timely::Config {
        if self.addresses.len() <= 1 {
            return timely::Config::process(threads);
        }
        let communication = timely::CommunicationConfig::Cluster {
            threads,
            process: self.process,
            addresses: self.addresses.clone(),
            report: false,
            zerocopy: false,
        };
        timely::Config { communication, worker: timely::WorkerConfig::default() }
    }
}

fn wrong<T>(what: String) -> Result<T, Error> {
    Err(Error::Cluster(what))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[test]
    fn hosts_are_lines() {
        let cluster = Cluster::parse(2, 1, "# cluster\n a:2101 \n\nb:2101\n").unwrap();
        assert_eq!((cluster.processes(), cluster.leads()), (2, false));
        assert_eq!(cluster.addresses, ["a:2101", "b:2101"]);
    }

    #[rstest]
    #[case(2, 2, "a:1\nb:1", "-p 2 is not one of 2 processes")]
    #[case(3, 0, "a:1\nb:1", "names 2 processes, -n says 3")]
    #[case(2, 0, "a:1\nb", "\"b\": write host:port")]
    #[case(2, 0, "a:1\na:1", "names a:1 twice")]
    fn what_does_not_fit_is_said(
        #[case] processes: usize,
        #[case] process: usize,
        #[case] hosts: &str,
        #[case] says: &str,
    ) {
        let error = Cluster::parse(processes, process, hosts).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
}
