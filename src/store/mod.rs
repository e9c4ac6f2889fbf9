//! A log's storage: a journal that is the truth, a tree in sled that is rebuilt from it, and the last
//! signed checkpoint in a file of its own.
//!
//! [`Store`] is the contract: *stage* a batch (durable), then *apply* it (derived, replayable). Logs run on
//! [`DiskStore`], or in a bucket; in tests, a store in memory injects faults. One conformance suite holds all of them to
//! the contract.

#[cfg(feature = "bucket")]
pub mod bucket;
mod derived;
mod disk;
mod error;
mod fork_search;
mod signed_head;

use std::sync::Arc;
use std::time::Instant;

pub use derived::index::{IndexUse, SearchPage};
pub use disk::{
    BackedUp, Backup, BackupSource, CheckpointWas, Companion, CopyError, Counts, DiskStore, EntrySource,
    Export, ExportDirectory, ExportError, ExportPlace, ExportSource, Exported, Fsck, FsckError, Heads,
    INDEX_BYTES, JournalSource, JournalToCopy, Layout, OpenOptions, Record, Repair, Repaired, Restore,
    Restored, Scan, SledSeen, Sound, TakeBatch, backup_marker, check_backup, discard_tree,
};
pub use error::StoreError;
pub(crate) use fork_search::ForkSearch;
pub use signed_head::{SignedHead, check_holds, read_signed};

use crate::merkle::{Growth, Hash, LeafIndex, RightEdge, Tile, TileReader, TreeSize};
use crate::release::{Facts, Term, Track};

/// Most entries that are staged with one fdatasync.
pub const MAX_BATCH_ENTRIES: usize = 4_096;
/// Most bytes of entries in one batch.
pub const MAX_BATCH_BYTES: usize = 32 * 1024 * 1024;

/// Computes what the indexes hold of an entry, also whenever they are rebuilt.
pub type Describe = Arc<dyn Fn(&[u8]) -> Facts + Send + Sync>;

/// Entries to append together, and the growth of the tree by them.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Index of the first entry: the tree's size before.
    pub first: LeafIndex,
    /// The entries, 1 to [`MAX_BATCH_ENTRIES`].
    pub entries: Vec<Vec<u8>>,
    /// Their leaf hashes.
    pub leaf_hashes: Vec<Hash>,
    /// The index facts of each entry.
    pub facts: Vec<Facts>,
    /// The tree afterwards.
    pub growth: Growth,
}

/// A leaf that was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stored {
    /// Its place.
    pub index: LeafIndex,
    /// Its hash.
    pub leaf: Hash,
}

/// Proof that the batch that was [staged](Store::stage) last is durable; [`Store::apply`] asks for it.
#[derive(Debug)]
pub struct Staged(());

/// A store, as the sequencer uses it. One thread writes; readers are shared.
///
/// After an error of any method, the caller must [`reload`](Self::reload) before it appends again: what
/// failed may be durable or not.
pub trait Store: Send {
    /// A reader of what was applied, for other threads.
    fn reader(&self) -> Arc<dyn StoreReader>;

    /// Right edge of the tree over everything that was applied.
    fn edge(&self) -> RightEdge;

    /// The last signed checkpoint, as it was given to [`replace_checkpoint`](Self::replace_checkpoint).
    fn checkpoint(&self) -> Option<Vec<u8>>;

    /// Makes a batch durable. When this returns, the entries survive a power cut.
    ///
    /// # Errors
    /// [`StoreError`]; the batch may be durable nevertheless.
    fn stage(&mut self, batch: &Batch) -> Result<Staged, StoreError>;

    /// Makes a staged batch readable.
    ///
    /// # Errors
    /// [`StoreError`]; the batch stays durable, and a reload applies it.
    fn apply(&mut self, batch: &Batch, staged: Staged) -> Result<(), StoreError>;

    /// Replaces the checkpoint `old` by `new`, durably and at once.
    ///
    /// # Errors
    /// [`StoreError::CheckpointMoved`] unless `old` is the current one. After any other error `new` may be
    /// durable or not.
    fn replace_checkpoint(&mut self, old: Option<&[u8]>, new: &[u8]) -> Result<(), StoreError>;

    /// The last head that a quorum of witnesses cosigned, as it was given to
    /// [`replace_witnessed`](Self::replace_witnessed). `None` if no quorum was asked for or reached yet.
    fn witnessed(&self) -> Option<Vec<u8>>;

    /// Keeps a head that a quorum of witnesses cosigned, durably and at once.
    ///
    /// # Errors
    /// [`StoreError`]; `note` may be durable or not.
    fn replace_witnessed(&mut self, note: &[u8]) -> Result<(), StoreError>;

    /// Forgets everything in memory and recovers from what is durable, as opening does.
    ///
    /// # Errors
    /// [`StoreError`], after which the store can be reloaded again.
    fn reload(&mut self) -> Result<(), StoreError>;

    /// True if other processes may append to the same log, so that [`stage`](Self::stage) and the replacements of heads
    /// may fail with [`StoreError::Overtaken`]. The caller then keeps what it wanted to append until it is durable.
    fn may_be_overtaken(&self) -> bool {
        false
    }

    /// Takes in the batches and heads that another process wrote, and makes them readable. A store of one process has
    /// none.
    ///
    /// # Errors
    /// [`StoreError`].
    fn follow(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Says whether this process should append now. It is advice: only [`stage`](Self::stage) decides.
    ///
    /// # Errors
    /// [`StoreError`]; then the caller does not append.
    fn turn(&mut self) -> Result<Turn, StoreError> {
        Ok(Turn::Hold)
    }
}

/// The turn of a process among those that serve one log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Turn {
    /// This process holds the lease, or no other process can have it.
    Hold,
    /// Another process holds the lease.
    Stand {
        /// The URL at which it takes entries, if it said so.
        holder: Option<String>,
        /// When to [ask](Store::turn) again, at the latest.
        again: Instant,
    },
}

/// Reads what was applied to a store, while it grows.
pub trait StoreReader: Send + Sync {
    /// Number of leaves applied.
    fn size(&self) -> TreeSize;

    /// Like [`size`](Self::size), but fails while the store is reloading.
    ///
    /// # Errors
    /// [`StoreError::Reloading`].
    fn applied(&self) -> Result<TreeSize, StoreError> {
        Ok(self.size())
    }

    /// Damage to the journal that was seen since it was opened, in words, with advice. Nothing is appended
    /// until the log is repaired.
    fn damage(&self) -> Option<String> {
        None
    }

    /// Files and memory of the index.
    fn index_use(&self) -> IndexUse {
        IndexUse::default()
    }

    /// The hashes of each tile.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if a tile is missing.
    fn tiles(&self, tiles: &[Tile]) -> Result<Vec<Vec<Hash>>, StoreError>;

    /// Entries of a bundle, as c2sp.org/tlog-tiles serves them, checked against their leaf hashes.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if they do not hash to their leaves.
    fn bundle(&self, index: u64, width: usize) -> Result<Vec<u8>, StoreError>;

    /// One entry, checked against its leaf hash. The rest of its bundle, up to 16 MiB, is not kept in memory.
    ///
    /// # Errors
    /// As [`bundle`](Self::bundle); [`StoreError::TreeDamaged`] if the tree has no such leaf.
    fn entry(&self, index: LeafIndex) -> Result<Vec<u8>, StoreError>;

    /// First index of the leaf with each of these hashes.
    ///
    /// # Errors
    /// [`StoreError`] if the index can't be read.
    fn find_leaves(&self, leaves: &[Hash]) -> Result<Vec<Option<LeafIndex>>, StoreError>;

    /// First index of the leaf with this hash.
    ///
    /// # Errors
    /// As [`find_leaves`](Self::find_leaves).
    fn find_leaf(&self, leaf: &Hash) -> Result<Option<LeafIndex>, StoreError> {
        Ok(self.find_leaves(std::slice::from_ref(leaf))?.pop().flatten())
    }

    /// The first leaf with this payload.
    ///
    /// # Errors
    /// [`StoreError`] if the index or the entry can't be read.
    fn find_payload(&self, payload: &Hash) -> Result<Option<Stored>, StoreError>;

    /// The first leaf that claimed this key, and the content that it claimed it for.
    ///
    /// # Errors
    /// [`StoreError`] if the index or the entry can't be read.
    fn find_claim(&self, key: &Hash) -> Result<Option<(Stored, Hash)>, StoreError>;

    /// The last leaf that released this [thing](crate::release::Edition::thing), and its
    /// [bytes](crate::release::Edition::bytes).
    ///
    /// # Errors
    /// [`StoreError`] if the index or the entry can't be read.
    fn find_edition(&self, thing: &Hash) -> Result<Option<(Stored, Hash)>, StoreError>;

    /// The first leaf that withdrew [these artifacts](crate::release::Edition::withdrawal).
    ///
    /// # Errors
    /// [`StoreError`] if the index or the entry can't be read.
    fn find_withdrawal(&self, key: &Hash) -> Result<Option<Stored>, StoreError>;

    /// The highest sequence number of a track below `below`. A hint, like all pointers: another track's key
    /// may begin with the same bytes.
    ///
    /// # Errors
    /// [`StoreError`] if the index can't be read.
    fn highest(&self, track: &Track, below: u64) -> Result<Option<u64>, StoreError>;

    /// Leaves that match a term, newest first, below `before`, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError`] if the index can't be read.
    fn search(&self, term: &Term, before: Option<LeafIndex>, limit: usize) -> Result<SearchPage, StoreError>;

    /// The terms of package names that begin with the last segment of `prefix`, lowest first. `None` if there are more
    /// than `limit`. A term may stand for several names, of which some begin differently.
    ///
    /// # Errors
    /// [`StoreError`] if the index can't be read.
    fn names(&self, prefix: &str, limit: usize) -> Result<Option<Vec<Term>>, StoreError>;
}

impl TileReader for dyn StoreReader + '_ {
    type Error = StoreError;

    fn read_tiles(&self, tiles: &[Tile]) -> Result<Vec<Vec<Hash>>, StoreError> {
        self.tiles(tiles)
    }
}

#[cfg(test)]
pub(crate) mod tests;
