//! Records faults. A strict check stops at the first one.

use super::WrongObject;
use super::examination::{Examination, Open};
use crate::checkpoint::Checkpoint;
use crate::merkle::{Hash, TreeSize};
use crate::store::StoreError;
use crate::store::bucket::{ChainError, layout};

impl Examination<'_> {
    pub(super) fn check_heads(&mut self, empty: &Hash) -> Result<(), StoreError> {
        for at in 0..self.heads.len() {
            let (name, head) = (self.heads[at].name.clone(), self.heads[at].head.clone());
            if head.size == TreeSize::ZERO {
                self.check_head(name, &head, empty)?;
            }
        }
        Ok(())
    }

    pub(super) fn check_head(
        &mut self,
        key: String,
        head: &Checkpoint,
        root: &Hash,
    ) -> Result<(), StoreError> {
        if head.root == *root {
            return Ok(());
        }
        let (expected, seen) = (head.root.to_base64(), root.to_base64());
        let error = ChainError::Forked { key: key.clone(), size: head.size, expected, seen };
        let expected = format!("the root {root} at tree size {}, which the batches make", head.size);
        self.wrong(key, expected, head.root.to_string(), error)
    }

    /// Records a damaged or foreign batch, which opens a gap.
    pub(super) fn lost(
        &mut self,
        key: &str,
        end: TreeSize,
        reach: Option<TreeSize>,
        seen: String,
    ) -> Result<(), StoreError> {
        if end < self.tree.size() {
            let seen = format!("{seen}; it begins within the batch before it");
            return self.wrong_batch(key.to_owned(), "no object".to_owned(), seen);
        }
        self.missing_before(key, end)?;
        self.open = Some(Open { last: end, reach });
        self.wrong_batch(key.to_owned(), "a batch of this log".to_owned(), seen)
    }

    /// Records the entries that are missing before a batch that begins at `end`.
    pub(super) fn missing_before(&mut self, key: &str, end: TreeSize) -> Result<(), StoreError> {
        let reach = self.open.map_or_else(|| Some(self.tree.size()), |open| open.reach);
        let Some(size) = reach.filter(|reach| *reach < end) else { return Ok(()) };
        self.open = Some(Open { last: size, reach: None });
        let missing = layout::batch(size.next_index());
        let error = ChainError::RolledBack { expected: missing.clone(), seen: format!("none, and {key}") };
        self.gap(missing, format!("a batch with entry {size}"), format!("none before {key}"), error)
    }

    /// Records that the batches end at `size`, before a signed tree ends.
    pub(super) fn ends_early(&mut self, signed: TreeSize, size: TreeSize) -> Result<(), StoreError> {
        let expected = format!("batches up to tree size {signed}, which the log signed");
        let end = if self.checked.sealed.is_some() { "a seal" } else { "an end" };
        let seen = format!("{end} at {size}");
        let error = ChainError::RolledBack { expected: expected.clone(), seen: seen.clone() };
        self.gap(layout::batch(size.next_index()), expected, seen, error)
    }

    pub(super) fn wrong_batch(
        &mut self,
        key: String,
        expected: String,
        seen: String,
    ) -> Result<(), StoreError> {
        let detail = format!("expected {expected}, saw {seen}");
        let error = ChainError::BatchDamaged { key: key.clone(), detail };
        self.gap(key, expected, seen, error)
    }

    pub(super) fn gap(
        &mut self,
        key: String,
        expected: String,
        seen: String,
        error: ChainError,
    ) -> Result<(), StoreError> {
        self.checked.wrong_batches += 1;
        self.index.give_up();
        self.wrong(key, expected, seen, error)
    }

    /// Records a fault, which ends a strict check.
    pub(super) fn wrong(
        &mut self,
        key: String,
        expected: String,
        seen: String,
        error: ChainError,
    ) -> Result<(), StoreError> {
        if self.is_strict {
            return Err(error.into());
        }
        let object = WrongObject { key, expected, seen };
        // A head is compared twice if the batch with its last leaf is dropped again.
        if !self.checked.wrong.contains(&object) {
            self.checked.wrong.push(object);
        }
        Ok(())
    }
}
