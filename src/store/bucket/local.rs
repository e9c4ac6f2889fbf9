//! The open local tree and index of a log in a bucket.

use std::sync::Arc;

use crate::disk::{SledIo, remove_dir};
use crate::merkle::{Hash, ProofError, TreeSize, prove_prefix};
use crate::store::derived::index::IndexWriter;
use crate::store::derived::{RowWriter, Tree, tree_fault};
use crate::store::{Layout, StoreError};

/// Writes the tree and the index. Only the writing thread uses it; a reload replaces it.
pub struct Writer {
    pub rows: RowWriter,
    pub index: IndexWriter,
    pub failed: Option<Failed>,
}

impl Writer {
    /// Records how a step failed.
    pub fn fail(&mut self, error: &StoreError) {
        self.failed = match self.failed {
            Some(Failed::Apply) => Some(Failed::Apply),
            _ if tree_fault(error).is_some() => Some(Failed::Check),
            seen => seen.or(Some(Failed::Request)),
        };
    }
}

/// The step that failed, which tells a reload what to repair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failed {
    /// A request to the bucket failed, so the bucket's state is unknown. The tree covers only batches in the bucket.
    Request,
    /// An apply failed, so sled's state is unknown. A reload reopens it and catches up.
    Apply,
    /// A check of the tree in sled failed, which says nothing about the bucket. A reload rebuilds the cache.
    Check,
}

/// The opened cache.
pub struct Recovered {
    pub rows: RowWriter,
    pub index: IndexWriter,
    pub tree: Tree,
    pub db: sled::Db,
}

/// Computes the root of a smaller tree, and proves that the current tree extends it. Without the proof, a damaged tile
/// in sled could look like a bucket with a different history.
pub fn root_at(tree: &Tree) -> impl Fn(TreeSize) -> Result<Hash, StoreError> {
    |size| {
        let peaks = tree.peaks();
        let prefix = prove_prefix(tree, size, (peaks.size(), &peaks.root()))?;
        let wrong = |e: ProofError| StoreError::TreeDamaged { detail: format!("tree size {size}: {e}") };
        Ok(prefix.map_err(wrong)?.root)
    }
}

/// Deletes the cached tree and index. A crash here leaves part of them; the next start rebuilds both.
pub fn discard(layout: &Layout, io: Arc<dyn SledIo>) -> Result<(), StoreError> {
    layout.sled_dir(io).discard()?;
    Ok(remove_dir(&layout.index())?)
}
