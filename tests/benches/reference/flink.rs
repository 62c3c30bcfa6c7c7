//! The other side: Flink in a Java process that stays, so that its later passes are warm.

use std::{
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use schemas::{KafkaSettings, Report, Topic, avro::Codec};
use tempfile::TempDir;

use super::Pass;

/// A heap with room for the young, the collector that costs least, and large pages: Flink's best here.
const JAVA: &[&str] =
    &["-Xms4g", "-Xmx4g", "-Xmn2500m", "-XX:+UseParallelGC", "-XX:+UseTransparentHugePages"];

/// How the job is written; see `peers/README.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// With Flink's state, timers and checkpoints.
    Keyed,
    /// With a plain map that is lost at a failure.
    Unkept,
}

/// A Java process for one variant.
pub struct Flink {
    variant: Variant,
    child: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
    _checkpoints: TempDir,
}

impl Flink {
    pub fn start(kafka: &KafkaSettings, variant: Variant) -> Flink {
        let target = built();
        let checkpoints = TempDir::new().unwrap();
        let mut child = Command::new("java")
            .args(JAVA)
            .arg("-cp")
            .arg(format!("{0}/flink-peer-1.jar:{0}/lib/*", target.display()))
            .args(["peers.Main", &kafka.brokers, &kafka.topic(Topic::Reports), &header()])
            .arg(format!("file://{}", checkpoints.path().display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (commands, answers) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Flink { variant, child, commands, answers, _checkpoints: checkpoints }
    }

    /// One pass over a share of the topic, with checkpoints every ten seconds where there is state to keep.
    pub fn pass(&mut self, window_seconds: u32, workers: usize, share: f64) -> Pass {
        let (name, checkpoint_seconds) = match self.variant {
            Variant::Keyed => ("keyed", 10),
            Variant::Unkept => ("unkept", 0),
        };
        writeln!(self.commands, "{name} {window_seconds} {workers} {checkpoint_seconds} {share}").unwrap();
        let mut answer = String::new();
        self.answers.read_line(&mut answer).unwrap();
        Pass::read(&format!("flink {name}"), &answer)
    }
}

impl Drop for Flink {
    fn drop(&mut self) {
        // Both fail when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What every value on the topic begins with, in hex.
fn header() -> String {
    let empty = Report {
        facility: "".into(),
        device: None,
        observed_at: 0,
        received_at: 0,
        origin: String::new().into(),
        sequence: None,
        readings: [].into_iter().collect(),
    };
    Codec::single_object().encode(&empty).unwrap()[..10].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Builds the Maven project; gives where its jars are.
fn built() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    let target = tests.parent().unwrap().join("target/peers");
    let status = Command::new("mvn")
        .args(["-q", "-B", "package"])
        .arg(format!("-Dtarget={}", target.display()))
        .current_dir(tests.join("benches/peers"))
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success(), "the Flink side is not built: run mvn package in tests/benches/peers");
    target
}
