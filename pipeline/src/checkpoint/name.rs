//! Names of the files of checkpoints: they carry the epoch and the generation that wrote them.

use std::fmt;

use schemas::Epoch;
use serde::{Deserialize, Serialize};

/// The number of a start of the pipeline: each start takes the next one, and only the greatest may write.
pub type Generation = u64;

/// Names a part or a manifest. Generations never share a name, so none overwrites what another wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Id {
    /// The epoch at the end of which it was taken.
    pub epoch: Epoch,
    /// Which start wrote it.
    pub generation: Generation,
}

/// What a file of a checkpoint directory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Name {
    /// Sections.
    Part(Id),
    /// What a checkpoint consists of.
    Manifest(Id),
    /// That a start has taken over.
    Generation(Generation),
}

impl Name {
    /// Reads a name; `None` when the file is none of ours.
    #[must_use]
    pub fn parse(name: &str) -> Option<Name> {
        if let Some(number) = name.strip_prefix("generation-") {
            return number.parse().ok().map(Name::Generation);
        }
        let (kind, rest) = name.split_once('-')?;
        let (epoch, generation) = rest.split_once('-')?;
        let id = Id { epoch: epoch.parse().ok()?, generation: generation.parse().ok()? };
        match kind {
            "part" => Some(Name::Part(id)),
            "MANIFEST" => Some(Name::Manifest(id)),
            _ => None,
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Name::Part(Id { epoch, generation }) => write!(f, "part-{epoch:012}-{generation:06}"),
            Name::Manifest(Id { epoch, generation }) => write!(f, "MANIFEST-{epoch:012}-{generation:06}"),
            Name::Generation(number) => write!(f, "generation-{number:06}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        let id = Id { epoch: 79, generation: 3 };
        for name in [Name::Part(id), Name::Manifest(id), Name::Generation(12)] {
            assert_eq!(Name::parse(&name.to_string()), Some(name));
        }
        for other in ["part-1-2.new", "bindings.log", "lock", "part-1", "PART-1-2", "generation-x"] {
            assert_eq!(Name::parse(other), None, "{other}");
        }
    }
}
