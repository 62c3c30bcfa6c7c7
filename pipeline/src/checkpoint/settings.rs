//! How often checkpoints are taken, where they go and how many stay.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Deserialize;

/// The `[checkpoint]` section.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Epochs between two checkpoints; a multiple of `pipeline.block_epochs`.
    pub every_epochs: u64,
    /// How many checkpoints stay; the older ones are removed when a new one is complete.
    pub keep: usize,
    /// Where checkpoints go: a directory, or `s3://bucket/prefix`. Without it the directory `checkpoints` under
    /// `pipeline.state`. The keys of an object store come from the environment, as its other tools take them
    /// (`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`).
    pub url: Option<String>,
    /// Endpoint of an object store that is not Amazon's.
    pub endpoint: Option<String>,
    /// Region of an object store.
    pub region: Option<String>,
    /// Sections of one shard after which they are rewritten as one.
    pub compact_after: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { every_epochs: 40, keep: 5, url: None, endpoint: None, region: None, compact_after: 8 }
    }
}

impl Settings {
    /// What no type can say, as `key must …`; pure.
    #[must_use]
    pub fn validate(&self, block_epochs: u64) -> Vec<String> {
        let mut problems = Vec::new();
        if self.every_epochs == 0 || !self.every_epochs.is_multiple_of(block_epochs.max(1)) {
            problems.push(format!(
                "every_epochs must be a multiple of pipeline.block_epochs ({block_epochs}) and not 0"
            ));
        }
        if self.keep == 0 {
            problems.push("keep must be at least 1: a restart needs a checkpoint to go back to".to_owned());
        }
        if !(2..=1000).contains(&self.compact_after) {
            problems.push("compact_after must be between 2 and 1000".to_owned());
        }
        if let Some((scheme, _)) = self.url.as_deref().and_then(|url| url.split_once("://"))
            && !["s3", "file"].contains(&scheme)
        {
            problems.push(format!(
                "url begins with `{scheme}://`, which is not known: give a directory or s3://bucket/prefix"
            ));
        }
        problems
    }

    /// The directory that holds the checkpoints, unless they are in an object store.
    #[must_use]
    pub fn directory(&self, state: &Path) -> Option<PathBuf> {
        match self.url.as_deref() {
            None => Some(state.join("checkpoints")),
            Some(url) if url.starts_with("s3://") => None,
            Some(url) => Some(PathBuf::from(url.strip_prefix("file://").unwrap_or(url))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case(Settings { every_epochs: 6, ..Settings::default() }, "multiple of pipeline.block_epochs (4)")]
    #[case(Settings { every_epochs: 0, ..Settings::default() }, "not 0")]
    #[case(Settings { keep: 0, ..Settings::default() }, "keep must be")]
    #[case(Settings { compact_after: 1, ..Settings::default() }, "compact_after must be")]
    #[case(Settings { url: Some("ftp://x".to_owned()), ..Settings::default() }, "`ftp://`")]
    fn impossible_settings_are_named(#[case] settings: Settings, #[case] problem: &str) {
        assert!(settings.validate(4).iter().any(|p| p.contains(problem)), "{:?}", settings.validate(4));
    }

    #[test]
    fn checkpoints_lie_beside_the_bindings_unless_told_otherwise() {
        let at = |url: Option<&str>| {
            Settings { url: url.map(str::to_owned), ..Settings::default() }.directory(Path::new("state"))
        };
        assert_eq!(at(None), Some(PathBuf::from("state/checkpoints")));
        assert_eq!(at(Some("/data/c")), Some(PathBuf::from("/data/c")));
        assert_eq!(at(Some("file:///data/c")), Some(PathBuf::from("/data/c")));
        assert_eq!(at(Some("s3://bucket/c")), None);
        assert!(Settings::default().validate(4).is_empty());
    }
}
