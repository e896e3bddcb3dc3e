//! Whether the process is ready: it is when nothing blocks it any more. A block has a name, so
//! that who asks hears what is missing, and ends when it is dropped.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What still blocks readiness. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<Mutex<Vec<&'static str>>>);

/// Keeps the process from being ready until it is dropped.
#[derive(Debug)]
#[must_use = "the block ends when this is dropped"]
pub struct Block {
    name: &'static str,
    readiness: Readiness,
}

impl Readiness {
    /// Blocks readiness in the name of what is still to come.
    pub fn block(&self, name: &'static str) -> Block {
        self.lock().push(name);
        let readiness = self.clone();
        Block { name, readiness }
    }

    /// The names of the blocks, oldest first; ready when there are none.
    pub fn blocks(&self) -> Vec<&'static str> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<&'static str>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        let mut blocks = self.readiness.lock();
        if let Some(place) = blocks.iter().position(|name| *name == self.name) {
            blocks.remove(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_ready_when_the_last_block_is_dropped() {
        let readiness = Readiness::default();
        let first = readiness.block("certificate");
        let again = readiness.block("certificate");
        let other = readiness.block("discovery");
        drop(first);
        assert_eq!(readiness.blocks(), ["certificate", "discovery"]);
        drop((again, other));
        assert!(readiness.blocks().is_empty());
    }
}
