//! Health: whether what comes in goes out, told by a way that does not lead through the sinks.
//!
//! Enters: for how long the oldest epoch has been waiting, and the condition of every sink. Leaves: readiness (`/readyz`),
//! the gauge `nuanliu_delivering` and one line of the log. Guarantees: a stuck sink is told though the alarms that say so
//! wait behind it; nothing here changes an output.

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use crate::{control::Control, progress::Progress, sink_tasks::SinkTasks, telemetry};

/// How often it looks.
const LOOK: Duration = Duration::from_secs(1);

/// Starts the thread that looks.
///
/// # Errors
/// When the thread cannot be started.
pub fn start(
    limit: Duration,
    progress: Arc<Progress>,
    sink_tasks: SinkTasks,
    control: Arc<Control>,
) -> std::io::Result<()> {
    telemetry::DELIVERING.set(1);
    thread::Builder::new().name("health".to_owned()).spawn(move || {
        let mut looked = Instant::now();
        while !control.finished() {
            thread::sleep(LOOK);
            // A look that comes late says that the process itself was not running: that is nobody's fault.
            let suspended = std::mem::replace(&mut looked, Instant::now()).elapsed() > 5 * LOOK;
            if !suspended {
                tell(&control, held(limit, progress.waiting(), &sink_tasks.conditions()));
            }
        }
    })?;
    Ok(())
}

fn tell(control: &Control, why: Option<String>) {
    match (control.held(), &why) {
        (None, Some(why)) => tracing::error!(
            why,
            "nothing is delivered: the process is not ready, and alarms wait; see `When something fails` of the README"
        ),
        (Some(_), None) => tracing::info!("epochs are delivered again"),
        _ => {}
    }
    telemetry::DELIVERING.set(i64::from(why.is_none()));
    control.hold(why);
}

/// Why nothing is delivered, if an epoch has been waiting for too long.
fn held(limit: Duration, waiting: Duration, conditions: &[(String, Option<String>)]) -> Option<String> {
    (waiting >= limit).then(|| {
        let wrong =
            conditions.iter().filter_map(|(sink, wrong)| Some(format!("{sink}: {}", wrong.as_ref()?)));
        let wrong: Vec<String> = wrong.collect();
        let wrong = if wrong.is_empty() { "no sink says why".to_owned() } else { wrong.join("; ") };
        format!("no epoch was delivered for {} s: {wrong}", waiting.as_secs())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_too_long_is_held_and_says_by_whom() {
        let limit = Duration::from_secs(60);
        let conditions = [("kafka".to_owned(), Some("away".to_owned())), ("clickhouse".to_owned(), None)];
        assert_eq!(held(limit, Duration::from_secs(59), &conditions), None);
        let why = held(limit, Duration::from_secs(61), &conditions);
        assert_eq!(why.as_deref(), Some("no epoch was delivered for 61 s: kafka: away"));
        let why = held(limit, limit, &conditions[1..]);
        assert_eq!(why.as_deref(), Some("no epoch was delivered for 60 s: no sink says why"));
    }

    #[test]
    fn what_holds_is_told_until_it_is_over() {
        let control = Control::default();
        tell(&control, Some("kafka: away".to_owned()));
        assert_eq!(control.held().as_deref(), Some("kafka: away"));
        assert_eq!(telemetry::DELIVERING.get(), 0);
        tell(&control, None);
        assert_eq!((control.held(), telemetry::DELIVERING.get()), (None, 1));
    }
}
