//! The registry as changing data: every change of an entry becomes the changed profiles of the facilities it concerns.
//!
//! ```text
//! records -> upsert -+-> topology (differential: lineages, sums below, enterprises, districts) -+-> assemble -> profiles
//!                    +-> entries: facilities, devices, thresholds ------------------------------+
//!                    +-> rejects                       circles ----------------------------------------------> rejects
//! ```
//!
//! Enters: registry records, the last by (partition, offset) of an epoch counts. Leaves: one [`ProfileChange`] per
//! facility and epoch whose profile changed, and a [`Reject`] for every entry that contradicts itself or closes a
//! circle. Guarantees: the profiles after an epoch depend only on the entries after that epoch, not on their order,
//! on the batches or on the number of workers; an entry whose counterpart is unknown joins when that arrives.

use schemas::{Code, Epoch, Reason, RegistryEntry, Reject, RejectStage};
use timely::dataflow::{
    StreamVec,
    operators::{
        Concat,
        core::OkErr,
        vec::{Delay, Map},
    },
};

use crate::ProfileChange;

mod assemble;
mod kept;
mod piece;
mod topology;
mod upsert;

#[cfg(test)]
mod tests;

pub use self::kept::KeptRegistry;

/// One record of the registry topic: its key (`kind/code`), the entry (`None` removes it), and where it lies
/// (partition, offset).
pub type RegistryRecord = (Code, Option<RegistryEntry>, (i32, i64));

/// Changed profiles; those of one worker and epoch come sorted by facility.
pub type ProfileStream<'scope> = StreamVec<'scope, Epoch, ProfileChange>;

/// Entries that contradict the registry. Their order within an epoch is not defined, and `at` is 0: the receiver sorts
/// them and stamps the epoch's clock.
pub type RejectStream<'scope> = StreamVec<'scope, Epoch, Reject>;

/// Joins the registry's entries to profiles.
pub trait JoinRegistry<'scope> {
    /// The profiles that change in each epoch, and the entries that cannot be used.
    ///
    /// Everything of epoch e has been sent when the output's frontier has passed e. A profile's scopes name only what
    /// is registered. The thresholds of the catalogues lie below those of the registry. Chains of parents are cut before a
    /// code would stand twice; a circle is rejected once, under its least code.
    fn join_registry(self) -> (ProfileStream<'scope>, RejectStream<'scope>);
}

impl<'scope> JoinRegistry<'scope> for StreamVec<'scope, Epoch, RegistryRecord> {
    fn join_registry(self) -> (ProfileStream<'scope>, RejectStream<'scope>) {
        let (changes, rejects) =
            upsert::upsert(self).ok_err::<Vec<_>, _, Vec<_>, _, _>(|change| match change {
                upsert::Change::Reject(reject) => Err(*reject),
                other => Ok(other),
            });
        let (pieces, links) = changes.ok_err::<Vec<_>, _, Vec<_>, _, _>(|change| match change {
            upsert::Change::Piece(piece) => Ok(piece),
            upsert::Change::Link(link, difference) => Err((link, difference)),
            upsert::Change::Reject(_) => unreachable!("rejects were split off above"),
        });
        let (joined, circles) = topology::topology(links);
        // A message of differential may hold changes of later epochs than its own: each belongs to its own.
        let joined = joined
            .inner
            .delay(|(_, epoch, _), _| *epoch)
            .map(|((facility, joined), _, difference)| piece::Piece::Joined { facility, joined, difference });
        (assemble::assemble(pieces.concat(joined)), rejects.concat(circles))
    }
}

/// A reject of the entry under `key`.
fn conflict(key: &str, detail: String) -> Reject {
    Reject {
        at: 0,
        origin: format!("registry:{key}"),
        reason: Reason::RegistryConflict,
        detail,
        raw: Vec::new(),
        stage: RejectStage::Dataflow,
        readings: 0,
    }
}
