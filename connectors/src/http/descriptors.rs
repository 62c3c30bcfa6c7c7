//! Descriptors: what a process may have open, and what of it connections leave to state and sinks.
//!
//! Enters: the limit of the system (RLIMIT_NOFILE). Leaves: how many connections may be open at once. Guarantees: so
//! many descriptors as are reserved stay free for files, Kafka and the sinks, whoever connects.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::Error;

/// Raises the limit of open files to what the system allows this process; gives the limit that holds then.
///
/// # Errors
/// When the system refuses.
pub fn raise_limit() -> std::io::Result<u64> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?;
    Ok(limit())
}

/// The limit of open files that holds now; no limit is the greatest number.
pub(super) fn limit() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// How many connections may be open: those that are wanted, as far as the limit leaves the reserve.
///
/// # Errors
/// [`Error::Setting`] when the limit leaves no connection at all.
pub(super) fn connections(wanted: usize, reserved: usize, limit: u64) -> Result<usize, Error> {
    let left = usize::try_from(limit).unwrap_or(usize::MAX).saturating_sub(reserved);
    if left == 0 {
        return Err(Error::Setting {
            name: "http.descriptors_reserved".to_owned(),
            detail: format!(
                "the process may open {limit} files, {reserved} are reserved for state and sinks, none is left for \
                 connections: raise the limit (LimitNOFILE, ulimit -n)"
            ),
        });
    }
    if left < wanted {
        tracing::warn!(
            limit,
            reserved,
            connections = left,
            "fewer connections are taken than http.max_connections says: raise the limit of open files (LimitNOFILE, ulimit -n)"
        );
    }
    Ok(wanted.min(left))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case(4_096, 256, u64::MAX, 4_096)]
    #[case(4_096, 256, 1_024, 768)]
    #[case(100, 256, 1_024, 100)]
    #[case(4_096, 256, 257, 1)]
    fn the_reserve_stays_free(
        #[case] wanted: usize,
        #[case] reserved: usize,
        #[case] limit: u64,
        #[case] most: usize,
    ) {
        assert_eq!(connections(wanted, reserved, limit).unwrap(), most);
    }

    #[test]
    fn a_limit_that_leaves_none_is_told() {
        let error = connections(4_096, 256, 256).unwrap_err().to_string();
        assert!(
            error.contains("may open 256 files, 256 are reserved") && error.contains("LimitNOFILE"),
            "{error}"
        );
    }
}
