//! A sink in memory, for tests: it records blocks and fails as it is told to.
//!
//! Enters: blocks. Leaves: nothing. Guarantees: a block that is written again is recorded once.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};

use crate::{Block, Error, Sink, compliance::Counts};

const NAME: &str = "memory";

/// How an attempt to write is to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Not writable for now, nothing was written.
    Retry,
    /// Written, but the answer was lost.
    LostAnswer,
    /// The rows are refused.
    Reject,
    /// Going on would lose data.
    Stop,
}

#[derive(Debug, Default)]
struct Content {
    blocks: BTreeMap<String, Block>,
    attempts: usize,
    failures: VecDeque<Failure>,
}

/// The sink; clones share their content.
#[derive(Clone, Debug, Default)]
pub struct Memory(Arc<Mutex<Content>>);

impl Memory {
    /// An empty sink that never fails.
    #[must_use]
    pub fn new() -> Self {
        Memory::default()
    }

    /// An empty sink whose first attempts fail as listed.
    #[must_use]
    pub fn failing(failures: Vec<Failure>) -> Self {
        let memory = Memory::new();
        memory.fail(failures);
        memory
    }

    /// Lets the next attempts fail as listed.
    pub fn fail(&self, failures: Vec<Failure>) {
        self.content().failures.extend(failures);
    }

    /// The recorded blocks, by token.
    #[must_use]
    pub fn blocks(&self) -> BTreeMap<String, Block> {
        self.content().blocks.clone()
    }

    /// How often a write was attempted.
    #[must_use]
    pub fn attempts(&self) -> usize {
        self.content().attempts
    }

    /// The rows by table, as [`crate::compliance`] counts them.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts::of(self.content().blocks.values())
    }

    fn content(&self) -> std::sync::MutexGuard<'_, Content> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sink for Memory {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn write(&self, blocks: Arc<Vec<Block>>) -> Result<(), Error> {
        let mut content = self.content();
        content.attempts += 1;
        let failure = content.failures.pop_front();
        let detail = "told to fail".to_owned();
        match failure {
            Some(Failure::Retry) => return Err(Error::Retry { sink: NAME, detail }),
            Some(Failure::Reject) => return Err(Error::Reject { sink: NAME, detail }),
            Some(Failure::Stop) => return Err(Error::Stop { sink: NAME, detail }),
            Some(Failure::LostAnswer) | None => {}
        }
        for block in blocks.iter() {
            content.blocks.insert(block.to_string(), block.clone());
        }
        match failure {
            Some(Failure::LostAnswer) => Err(Error::Retry { sink: NAME, detail: "answer lost".to_owned() }),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn complies() {
        let memory = Memory::new();
        crate::compliance::check(&memory, async || memory.counts()).await;
    }

    #[tokio::test]
    async fn a_lost_answer_leaves_the_rows() {
        let memory = Memory::failing(vec![Failure::LostAnswer]);
        let blocks = Arc::new(crate::compliance::blocks(1));
        assert!(memory.write(Arc::clone(&blocks)).await.is_err());
        assert!(memory.write(blocks).await.is_ok());
        assert_eq!(memory.counts(), Counts::of(crate::compliance::blocks(1).iter()));
    }
}
