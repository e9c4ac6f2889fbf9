//! Reads the batches after the known chain, several at once.

use std::collections::VecDeque;

use super::batch_object::MAX_OBJECT_BYTES;
use super::chain::Followed;
use super::reader::BucketEntries;
use super::{Chain, ChainError, layout, parallel};
use crate::bucket::MAX_LISTED;
use crate::merkle::{Hash, LeafIndex, TreeSize};
use crate::store::StoreError;
use crate::store::derived::{BatchReader, StoredBatch};

/// Most bytes of batches to read ahead. A single batch may be larger.
pub const AHEAD_BYTES: u64 = 128 * 1024 * 1024;

/// Reads the batches after the known chain, up to its end.
pub struct ChainReader<'a> {
    chain: &'a mut Chain,
    entries: &'a BucketEntries,
    /// Batches that are listed but not read.
    ahead: VecDeque<(LeafIndex, u64)>,
    /// Batches that are read but not checked.
    read: VecDeque<Vec<u8>>,
    /// A lower bound on the size of the chain.
    target: TreeSize,
    /// True once a batch was found, because more may follow.
    is_behind: bool,
}

impl<'a> ChainReader<'a> {
    /// Begins after the known chain. The chain in the bucket has at least `target` leaves.
    pub fn new(chain: &'a mut Chain, entries: &'a BucketEntries, target: TreeSize) -> Self {
        let is_behind = target > chain.edge().size();
        Self { chain, entries, ahead: VecDeque::new(), read: VecDeque::new(), target, is_behind }
    }

    /// Reads the next few batches, if there are several.
    fn read_ahead(&mut self) -> Result<(), ChainError> {
        if self.ahead.is_empty() {
            self.ahead = self.chain.ahead(MAX_LISTED)?.into();
            if self.ahead.len() < 2 {
                self.ahead.clear();
                return Ok(());
            }
            // There may be more batches.
            let last = self.ahead.back().map_or(0, |(last, _)| last.get());
            self.target = TreeSize::new(last).map_or(self.target, |last| self.target.max(last));
        }
        let mut bytes = 0;
        let fits = |(at, (_, length)): &(usize, &(LeafIndex, u64))| {
            bytes += *length;
            *at == 0 || bytes <= AHEAD_BYTES
        };
        let some = self.ahead.iter().take(2 * self.entries.threads).enumerate();
        let count = some.take_while(fits).count();
        let next: Vec<LeafIndex> = self.ahead.drain(..count).map(|(first, _)| first).collect();
        let objects = &self.entries.objects;
        let read = parallel::map(&next, self.entries.threads, |first| {
            objects.get(&layout::batch(*first), MAX_OBJECT_BYTES)
        })?;
        // Stop at a missing batch; the chain reports it.
        self.read.extend(read.into_iter().map_while(|object| Some(object?.bytes)));
        Ok(())
    }
}

impl BatchReader for ChainReader<'_> {
    type Batch = Followed;

    fn next_batch(&mut self) -> Result<Option<Followed>, StoreError> {
        // Usually there is no batch, and a listing costs more than a read of the next key.
        if self.read.is_empty() && self.is_behind {
            self.read_ahead()?;
        }
        let next = match self.read.pop_front() {
            Some(bytes) => Some(self.chain.accept(bytes)?),
            None => self.chain.next_batch()?,
        };
        self.is_behind = next.is_some();
        Ok(next)
    }

    fn progress(&self) -> (u64, u64) {
        let done = self.chain.edge().size();
        (done.get(), done.max(self.target).get())
    }
}

impl StoredBatch for Followed {
    fn entries(&self) -> Vec<&[u8]> {
        self.object.entries().collect()
    }

    fn first(&self) -> u64 {
        self.object.head().first.get()
    }

    fn count(&self) -> usize {
        self.object.head().count
    }

    fn body_bytes(&self) -> usize {
        self.object.as_bytes().len()
    }

    fn leaf_hashes(&self) -> Option<&[Hash]> {
        Some(&self.leaf_hashes)
    }
}
