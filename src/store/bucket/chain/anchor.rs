//! The anchor of a chain: the last batch that a process already has in its cache.

use super::Chain;
use crate::bucket::MAX_LISTED;
use crate::merkle::{LeafIndex, TreeSize};
use crate::store::MAX_BATCH_ENTRIES;
use crate::store::bucket::batch_object::{BatchHead, HEAD_BYTES};
use crate::store::bucket::chain_error::ChainError;
use crate::store::bucket::layout::{self, BATCHES};

impl Chain {
    /// Checks that a batch in the bucket ends where the known tree ends, with the same root.
    pub(super) fn check_anchor(&mut self) -> Result<(), ChainError> {
        let size = self.edge.size();
        self.last = self.last_batch_before(size)?;
        let Some(first) = self.last else {
            let seen = if size == TreeSize::ZERO { return Ok(()) } else { "none near it".to_owned() };
            return Err(ChainError::RolledBack { expected: self.expected_end(), seen });
        };
        if self.check_batch(first)? {
            return Ok(());
        }
        let detail = "it was listed but is missing".to_owned();
        Err(ChainError::BatchDamaged { key: layout::batch(first), detail })
    }

    fn expected_end(&self) -> String {
        format!("a batch that ends at tree size {} with root {}", self.edge.size(), self.edge.root())
    }

    /// Checks that the batch with this first index ends where the known tree ends, with the same root. Returns false if
    /// the batch is missing.
    pub(super) fn check_batch(&self, first: LeafIndex) -> Result<bool, ChainError> {
        let (size, key) = (self.edge.size(), layout::batch(first));
        let expected = || self.expected_end();
        let damaged = |detail: String| ChainError::BatchDamaged { key: key.clone(), detail };
        let Some(object) = self.options.objects.get_range(&key, 0, HEAD_BYTES)? else { return Ok(false) };
        // The batch's header is enough, without its checksum: its root must equal the one that this process computed.
        let head = BatchHead::parse(&object.bytes).map_err(|e| damaged(e.to_string()))?;
        if head.end() < size {
            let seen = format!("{key}, which ends at {}, as the last one before it", head.end());
            return Err(ChainError::RolledBack { expected: expected(), seen });
        }
        if (head.origin, head.end(), head.after) != (self.origin_hash, size, self.edge.root()) {
            let seen = format!("one that ends at {} with root {}", head.end(), head.after);
            return Err(damaged(format!("expected {}, saw {seen}", expected())));
        }
        Ok(true)
    }

    /// The first leaf index of the last batch that begins before `size`, at most [`MAX_BATCH_ENTRIES`] entries before
    /// it.
    fn last_batch_before(&self, size: TreeSize) -> Result<Option<LeafIndex>, ChainError> {
        let begin = size.get().checked_sub(MAX_BATCH_ENTRIES as u64 + 1).and_then(LeafIndex::new);
        let mut after = begin.map(layout::batch).unwrap_or_default();
        let mut last = None;
        if size == TreeSize::ZERO {
            return Ok(None);
        }
        loop {
            let listing = self.options.objects.list(BATCHES, &after, MAX_LISTED)?;
            let firsts = listing.objects.iter().filter_map(|listed| layout::parse_batch(&listed.key));
            let (before, later): (Vec<_>, Vec<_>) = firsts.partition(|first| size.contains(*first));
            last = before.last().copied().or(last);
            match listing.objects.last() {
                Some(listed) if listing.more && later.is_empty() => after.clone_from(&listed.key),
                _ => break,
            }
        }
        Ok(last)
    }
}
