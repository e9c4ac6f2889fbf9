//! Checks a log in a bucket. Re-hashes all batches and compares them with their roots and the signed heads, compares
//! the tiles of the heads with the batches, and the index with the entries.

mod examination;
mod findings;
mod gap;
mod index;
mod spare;
mod tiles;

use std::path::Path;
use std::sync::Arc;

use super::WriterId;
use crate::bucket::Objects;
use crate::checkpoint::{Checkpoint, LogSigned, Origin};
use crate::merkle::{Hash, TreeSize};
use crate::note::NoteKey;
use crate::proof::fork::ProvenFork;
use crate::store::{Describe, StoreError};
use examination::Examination;
pub(super) use tiles::{Tiles, cuts};

/// A check of a log in a bucket. Servers may append meanwhile.
pub struct BucketFsck<'a> {
    /// The bucket, below the log's prefix.
    pub objects: Arc<dyn Objects>,
    /// The log.
    pub origin: Origin,
    /// The keys that sign its heads.
    pub keys: Vec<NoteKey>,
    /// True to rewrite missing and wrong tiles from the batches.
    pub repair: bool,
    /// Concurrent requests.
    pub threads: usize,
    /// Called with the number of entries read and their total.
    pub progress: &'a dyn Fn(u64, u64),
}

/// The scope of a check, in addition to the log in the bucket.
#[derive(Clone, Default)]
pub struct FsckScope<'a> {
    /// Heads that the log signed and that are not in the bucket yet. If there are any, the bucket needs no head, but it
    /// needs the tiles of every size near the end that may have had one.
    pub coming: Vec<Checkpoint>,
    /// Older heads that the caller kept. The log must continue them.
    pub kept: Vec<LogSigned<Checkpoint>>,
    /// How to check the index; `None` to skip it.
    pub index: Option<IndexScope<'a>>,
}

/// How to check the index.
#[derive(Clone)]
pub struct IndexScope<'a> {
    /// Computes the index rows of an entry.
    pub describe: Describe,
    /// A directory for its runs.
    pub dir: &'a Path,
}

/// The findings about a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketChecked {
    /// Number of entries up to the end of the batches. All of them were re-hashed, unless `wrong` has entries.
    pub entries: TreeSize,
    /// Their root, if `wrong` is empty.
    pub root: Hash,
    /// Number of batches that belong to the log.
    pub batches: u64,
    /// Number of damaged and foreign batches, and of gaps with missing batches.
    pub wrong_batches: u64,
    /// These batches and gaps, and the heads that are damaged, missing or on another chain.
    pub wrong: Vec<WrongObject>,
    /// Descriptions of the parts that could not be checked for this reason.
    pub unchecked: Vec<String>,
    /// Two heads of this log that contradict each other.
    pub fork: Option<Box<ProvenFork>>,
    /// Number of tiles and bundles of the heads that were compared.
    pub tiles: u64,
    /// Number of these that are missing or wrong, counted before any repair.
    pub damaged: u64,
    /// The first damaged tiles.
    pub named: Vec<WrongObject>,
    /// The published head.
    pub published: Option<Checkpoint>,
    /// The last head that the log signed.
    pub signed: Option<Checkpoint>,
    /// The move that ended the log in this bucket.
    pub sealed: Option<WriterId>,
    /// The state of the index.
    pub index: IndexSeen,
}

impl Default for BucketChecked {
    /// The findings before the check begins.
    fn default() -> Self {
        Self {
            entries: TreeSize::ZERO,
            root: Hash::EMPTY_ROOT,
            batches: 0,
            wrong_batches: 0,
            wrong: Vec::new(),
            unchecked: Vec::new(),
            fork: None,
            tiles: 0,
            damaged: 0,
            named: Vec::new(),
            published: None,
            signed: None,
            sealed: None,
            index: IndexSeen::NotChecked,
        }
    }
}

/// An object that is missing, damaged, or not the log's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrongObject {
    /// Its key.
    pub key: String,
    /// Description of the object that should be there.
    pub expected: String,
    /// Description of the object that is there.
    pub seen: String,
}

/// The state of the index in a bucket. The index is derived data: a server that starts without a cache rebuilds it from
/// the batches if it is missing or damaged.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum IndexSeen {
    /// The index was not checked.
    #[default]
    NotChecked,
    /// The bucket has no index.
    None,
    /// The index has the right pointers for this many entries.
    Sound(TreeSize),
    /// The index is wrong: what was expected and seen.
    Wrong(String),
    /// The index was not checked, because entries are missing.
    Incomplete,
}

impl BucketFsck<'_> {
    /// Re-hashes everything except the index, and stops at the first wrong batch or head.
    ///
    /// # Errors
    /// [`StoreError::Chain`] if a batch or a head is wrong, or the bucket fails.
    pub fn run(&self) -> Result<BucketChecked, StoreError> {
        self.run_in(&FsckScope::default())
    }

    /// Re-hashes everything in this scope, and stops at the first wrong batch or head.
    ///
    /// # Errors
    /// As [`run`](Self::run); [`ChainError::Forked`](super::ChainError::Forked) and
    /// [`ChainError::RolledBack`](super::ChainError::RolledBack) also if the batches contradict or do not reach one of the
    /// scope's heads.
    pub fn run_in(&self, scope: &FsckScope<'_>) -> Result<BucketChecked, StoreError> {
        Examination::begin(self, scope, true)?.run()
    }

    /// Re-hashes everything in this scope, and finds all that is wrong. Where a batch is lost, the tiles and bundles may
    /// have its leaves: if they make the root that the next batch or a head says, the check goes on as if the batch were
    /// there. Otherwise the batches behind it are compared with each other, and tiles with the batches that they are made
    /// of.
    ///
    /// # Errors
    /// The bucket's: then nothing is said about the log.
    pub fn examine(&self, scope: &FsckScope<'_>) -> Result<BucketChecked, StoreError> {
        Examination::begin(self, scope, false)?.run()
    }
}

#[cfg(test)]
mod tests;
