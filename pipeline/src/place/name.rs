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
    /// What the states of one process of a cluster saved.
    Changes(Id, usize),
    /// What the states of one process have sealed.
    Volume(Id, usize),
}

impl Name {
    /// Reads a name; `None` when the file is none of ours.
    #[must_use]
    pub fn parse(name: &str) -> Option<Name> {
        if let Some(number) = name.strip_prefix("generation-") {
            return number.parse().ok().map(Name::Generation);
        }
        let (kind, rest) = name.split_once('-')?;
        let (epoch, rest) = rest.split_once('-')?;
        let (generation, process) = match rest.split_once('-') {
            Some((generation, process)) => (generation, Some(process.parse().ok()?)),
            None => (rest, None),
        };
        let id = Id { epoch: epoch.parse().ok()?, generation: generation.parse().ok()? };
        match (kind, process) {
            ("part", None) => Some(Name::Part(id)),
            ("MANIFEST", None) => Some(Name::Manifest(id)),
            ("changes", Some(process)) => Some(Name::Changes(id, process)),
            ("volume", Some(process)) => Some(Name::Volume(id, process)),
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
            Name::Changes(Id { epoch, generation }, process) => {
                write!(f, "changes-{epoch:012}-{generation:06}-{process}")
            }
            Name::Volume(Id { epoch, generation }, process) => {
                write!(f, "volume-{epoch:012}-{generation:06}-{process}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        let id = Id { epoch: 79, generation: 3 };
        let names = [Name::Part(id), Name::Manifest(id), Name::Changes(id, 2), Name::Volume(id, 0)];
        for name in names.into_iter().chain([Name::Generation(12)]) {
            assert_eq!(Name::parse(&name.to_string()), Some(name));
        }
        for other in
            ["part-1-2.new", "skips.jsonl", "stored-1", "part-1", "PART-1-2", "part-1-2-3", "generation-x"]
        {
            assert_eq!(Name::parse(other), None, "{other}");
        }
    }
}
