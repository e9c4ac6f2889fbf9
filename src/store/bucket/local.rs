//! The local tree and index of a log in a bucket, while they are open.

use std::sync::Arc;

use crate::disk::{SledIo, remove_dir};
use crate::merkle::{Hash, ProofError, TreeSize, prove_prefix};
use crate::store::derived::index::IndexWriter;
use crate::store::derived::{RowWriter, Tree};
use crate::store::{Layout, StoreError};

/// Used by the writing thread alone; a reload replaces it.
pub struct Writer {
    pub rows: RowWriter,
    pub index: IndexWriter,
    pub failed: Option<Failed>,
}

/// The step that failed, which a reload makes good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failed {
    /// A request to the bucket: nobody knows what it has. The tree is that of batches that are there.
    Request,
    /// An apply: nobody knows what sled has. It is opened again, and catches up.
    Apply,
    /// A check of the tree in sled, whose error says nothing about the bucket: the cache is made anew.
    Check,
}

/// The opened cache.
pub struct Recovered {
    pub rows: RowWriter,
    pub index: IndexWriter,
    pub tree: Tree,
    pub db: sled::Db,
}

/// Computes the root of a smaller tree, which the tree proves to be its beginning: a damaged tile in sled must not pass for
/// a bucket with another history.
pub fn root_at(tree: &Tree) -> impl Fn(TreeSize) -> Result<Hash, StoreError> {
    |size| {
        let peaks = tree.peaks();
        let prefix = prove_prefix(tree, size, (peaks.size(), &peaks.root()))?;
        let wrong = |e: ProofError| StoreError::TreeDamaged { detail: format!("tree size {size}: {e}") };
        Ok(prefix.map_err(wrong)?.root)
    }
}

/// Removes the cache of tree and index. A crash in here leaves none or a part of it: both are made anew.
pub fn discard(layout: &Layout, io: Arc<dyn SledIo>) -> Result<(), StoreError> {
    layout.sled_dir(io).discard()?;
    Ok(remove_dir(&layout.index())?)
}
