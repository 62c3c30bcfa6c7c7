//! Places at which a test ends or halts the process: before, in the middle of and after every durable step.
//!
//! Enters: the names of the places as they are reached, and the environment variable `NUANLIU_FAILPOINT`, for example
//! `kafka.before_commit:3`: the process aborts when it is there for the third time, as if its machine had failed. With
//! `kafka.before_commit:3:halt` it halts as SIGSTOP does and goes on when it is sent SIGCONT: a process that others believe
//! dead; with `read.before:3:hang` the thread that is there stays for ever, and the others go on. Leaves: one line on
//! standard error. Guarantees: without the variable a place costs one atomic load.

use std::{
    io::{self, Write},
    process,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

/// Names the place, the number of the hit and what to do there.
const VARIABLE: &str = "NUANLIU_FAILPOINT";

/// What shall happen, and where.
#[derive(Debug)]
struct Plan {
    place: String,
    hit: u64,
    deed: Deed,
    hits: AtomicU64,
}

/// What happens at the place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deed {
    /// The process ends.
    Abort,
    /// The process halts, as with SIGSTOP.
    Halt,
    /// The thread stays there for ever; the others go on.
    Hang,
}

impl Plan {
    /// Reads `place:hit`, `place:hit:halt` or `place:hit:hang`.
    fn parse(text: &str) -> Result<Plan, String> {
        let wrong = || {
            format!(
                "{VARIABLE}={text}: give place:hit, place:hit:halt or place:hit:hang, such as bind.after:2"
            )
        };
        let mut parts = text.split(':');
        let place = parts.next().filter(|place| !place.is_empty()).ok_or_else(wrong)?.to_owned();
        let hit = parts.next().and_then(|hit| hit.parse().ok()).filter(|hit| *hit > 0).ok_or_else(wrong)?;
        let deed = match (parts.next(), parts.next()) {
            (None, _) => Deed::Abort,
            (Some("halt"), None) => Deed::Halt,
            (Some("hang"), None) => Deed::Hang,
            _ => return Err(wrong()),
        };
        Ok(Plan { place, hit, deed, hits: AtomicU64::new(0) })
    }

    /// Whether being at `place` now is what the plan waits for.
    fn is_due(&self, place: &str) -> bool {
        self.place == place && self.hits.fetch_add(1, Ordering::SeqCst) + 1 == self.hit
    }

    fn carry_out(&self) {
        eprintln!("failpoint {}:{} is reached", self.place, self.hit);
        match self.deed {
            Deed::Abort => process::abort(),
            Deed::Hang => loop {
                thread::park();
            },
            Deed::Halt => {}
        }
        // The standard library sends no signals; a program that cannot halt itself must not go on as if it had.
        let halted = process::Command::new("kill").args(["-STOP", &process::id().to_string()]).status();
        if !halted.is_ok_and(|status| status.success()) {
            process::abort();
        }
    }
}

fn plan() -> Option<&'static Plan> {
    static PLAN: OnceLock<Option<Plan>> = OnceLock::new();
    let read = || {
        let text = std::env::var(VARIABLE).ok()?;
        Plan::parse(&text).map_err(|wrong| eprintln!("{wrong}")).ok()
    };
    PLAN.get_or_init(read).as_ref()
}

/// Says that the process is at a place. Returns, unless the plan ends the process here.
#[inline]
pub fn reached(place: &str) {
    let _halted = halfway(place, || ());
}

/// As [`reached`] for a place in the middle of a step: when the process is to end here, `half` does the half that is
/// still done, such as writing the first bytes of a record. Answers whether it was done: a process that only halted goes
/// on with the rest.
#[inline]
pub fn halfway(place: &str, half: impl FnOnce()) -> bool {
    let due = plan().filter(|plan| plan.is_due(place));
    if let Some(plan) = due {
        half();
        plan.carry_out();
    }
    due.is_some()
}

/// Writes a record, with a place of this name in its middle.
///
/// # Errors
/// What the system says.
pub fn write_halfway(place: &str, file: &mut impl Write, record: &[u8]) -> io::Result<()> {
    let (half, rest) = record.split_at(record.len() / 2);
    // A half that the disk does not take is the business of what follows.
    let halved = halfway(place, || drop(file.write_all(half)));
    file.write_all(if halved { rest } else { record })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_waits_for_its_hit_of_its_place() {
        let plan = Plan::parse("bind.after:2").unwrap();
        let due = ["bind.after", "bind.before", "bind.after", "bind.after"].map(|place| plan.is_due(place));
        assert_eq!(due, [false, false, true, false]);
        let deeds =
            ["", ":halt", ":hang"].map(|deed| Plan::parse(&format!("bind.after:1{deed}")).unwrap().deed);
        assert_eq!(deeds, [Deed::Abort, Deed::Halt, Deed::Hang]);
    }

    #[rstest::rstest]
    #[case("")]
    #[case("bind.after")]
    #[case("bind.after:0")]
    #[case("bind.after:x")]
    #[case(":1")]
    #[case("bind.after:1:stop")]
    #[case("bind.after:1:halt:1")]
    fn a_plan_that_says_nothing_is_refused_with_an_example(#[case] text: &str) {
        let wrong = Plan::parse(text).unwrap_err();
        assert!(wrong.contains("bind.after:2"), "{wrong}");
    }

    #[test]
    fn without_a_plan_nothing_happens() {
        reached("sinks.tests");
        assert!(!halfway("sinks.tests", || panic!("no half is done without a plan")));
        let mut written = Vec::new();
        write_halfway("sinks.tests", &mut written, b"whole").unwrap();
        assert_eq!(written, b"whole");
    }
}
