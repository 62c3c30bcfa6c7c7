//! Signals that ask for a clean stop.
//!
//! Enters: SIGTERM, SIGINT, and SIGHUP, which comes when a terminal or a session ends; there is nothing to reload. Leaves:
//! a drain. Guarantees: what was read is finished before the process ends.

use std::{future::pending, sync::Arc};

use tokio::signal::unix::{SignalKind, signal};

use crate::control::Control;

/// Whether whoever started this process had it ignore SIGHUP, as nohup does.
fn ignores_hangup(status: &str) -> bool {
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
}

/// Asks for a clean stop at the first signal that wants one.
pub async fn stop(control: Arc<Control>) {
    let hangup_ignored = std::fs::read_to_string("/proc/self/status").is_ok_and(|s| ignores_hangup(&s));
    let (Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return tracing::warn!("signals are not handled: stop with SIGKILL");
    };
    let hangup = async {
        // Under nohup the process outlives its terminal: to listen would undo that.
        match signal(SignalKind::hangup()).ok().filter(|_| !hangup_ignored) {
            Some(mut hangup) => drop(hangup.recv().await),
            None => pending().await,
        }
    };
    let asked_by = tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
        () = hangup => "SIGHUP",
    };
    tracing::info!(signal = asked_by, "stopping: what was read is finished first");
    control.drain();
}

#[cfg(test)]
mod tests {
    use super::ignores_hangup;

    #[rstest::rstest]
    #[case("Name:\tnuanliu\nSigIgn:\t0000000000001001\nSigCgt:\t0\n", true)]
    #[case("Name:\tnuanliu\nSigIgn:\t0000000000001000\nSigCgt:\t1\n", false)]
    #[case("Name:\tnuanliu\n", false)]
    fn a_process_that_outlives_its_terminal_is_told_by_its_mask(#[case] status: &str, #[case] ignores: bool) {
        assert_eq!(ignores_hangup(status), ignores);
    }
}
