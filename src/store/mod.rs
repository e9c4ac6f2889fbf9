//! Where the log lives: a journal that is the truth, a tree in sled that is rebuilt from it, and
//! the last signed checkpoint in a file of its own.
//!
//! [`Store`] is the contract: *stage* a batch (durable), then *apply* it (derived, replayable).
//! [`DiskStore`] is the one that runs; [`MemoryStore`] injects every fault, for tests. One
//! conformance suite holds both to the contract.

mod backup;
mod copy_error;
mod disk;
mod error;
mod export;
mod export_source;
mod fsck;
mod index;
pub mod journal;
mod memory;
mod rebuild;
mod rehash;
mod repair;
mod restore;
mod signed_head;
mod swap;
mod tree;

use std::sync::Arc;

pub use backup::{BackedUp, Backup, Companion, marker as backup_marker};
pub use copy_error::CopyError;
pub use disk::{DiskStore, Layout, OpenOptions, discard_tree, open_tree_rows};
pub use error::StoreError;
pub use export::{Export, ExportError, Exported};
pub use export_source::ExportSource;
pub use fsck::{Fsck, FsckError, SledSeen, Sound};
pub use index::{PointerSum, SearchPage};
pub use memory::{Fault, FaultPoint, MemoryStore};
pub use rebuild::{Counts, EntrySource, JournalSource};
pub use repair::{CheckpointWas, Repair, Repaired};
pub use restore::{Restore, Restored, check_backup};
pub use signed_head::{SignedHead, read_signed};
pub use tree::{TreeCheck, TreeRows};

use crate::merkle::{Growth, Hash, LeafIndex, RightEdge, Tile, TileReader, TreeSize};
use crate::release::{Facts, Term, Track};

/// Most entries that are staged with one fdatasync.
pub const MAX_BATCH_ENTRIES: usize = 4_096;
/// Most bytes of entries in one batch: what memory and one write call bear.
pub const MAX_BATCH_BYTES: usize = 32 * 1024 * 1024;

/// Computes what the indexes hold of an entry; needed again whenever they are rebuilt.
pub type Describe = Arc<dyn Fn(&[u8]) -> Facts + Send + Sync>;

/// Entries to append together, and what they make of the tree.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Index of the first entry: the tree's size before.
    pub first: LeafIndex,
    /// The entries, 1 to [`MAX_BATCH_ENTRIES`].
    pub entries: Vec<Vec<u8>>,
    /// Their leaf hashes.
    pub leaf_hashes: Vec<Hash>,
    /// What the indexes hold of each.
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

/// Proof that a batch is durable; [`Store::apply`] asks for it.
#[derive(Debug)]
pub struct Staged {
    /// Where the batch's first entry is in the journal; the memory store has no use for it.
    first_entry: journal::Position,
}

/// What the sequencer needs of a store. One thread writes; readers are shared.
///
/// After an error from any method but [`reader`](Self::reader), the caller must
/// [`reload`](Self::reload) before it appends again: what failed may or may not have become durable.
pub trait Store: Send {
    /// A view for everyone else.
    fn reader(&self) -> Arc<dyn StoreReader>;

    /// The tree over everything that was applied.
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
    /// [`StoreError::CheckpointMoved`] unless `old` is the current one; others where `new` may be
    /// durable or not.
    fn replace_checkpoint(&mut self, old: Option<&[u8]>, new: &[u8]) -> Result<(), StoreError>;

    /// The last head that a quorum of witnesses cosigned, as it was given to
    /// [`replace_witnessed`](Self::replace_witnessed). None where no quorum was asked for or reached yet.
    fn witnessed(&self) -> Option<Vec<u8>>;

    /// Keeps a head that a quorum of witnesses cosigned, durably and at once.
    ///
    /// # Errors
    /// [`StoreError`], where `note` may be durable or not.
    fn replace_witnessed(&mut self, note: &[u8]) -> Result<(), StoreError>;

    /// Forgets everything in memory and recovers from what is durable, as opening does.
    ///
    /// # Errors
    /// [`StoreError`], after which the store can be reloaded again.
    fn reload(&mut self) -> Result<(), StoreError>;
}

/// What can be read of a store while it grows. Everything that was applied is there.
pub trait StoreReader: Send + Sync {
    /// Number of leaves applied.
    fn size(&self) -> TreeSize;

    /// The same, where nothing may be concluded from a store that is just being opened anew.
    ///
    /// # Errors
    /// [`StoreError::Reloading`] then.
    fn applied(&self) -> Result<TreeSize, StoreError> {
        Ok(self.size())
    }

    /// Damage to the journal seen since it was opened, in words, with advice: nothing is appended until the log
    /// is repaired.
    fn damage(&self) -> Option<String> {
        None
    }

    /// The hashes of each tile.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] where a tile is not there that should be.
    fn tiles(&self, tiles: &[Tile]) -> Result<Vec<Vec<Hash>>, StoreError>;

    /// Entries of a bundle, as c2sp.org/tlog-tiles serves them, checked against their leaf hashes.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] where they do not hash to their leaves.
    fn bundle(&self, index: u64, width: usize) -> Result<Vec<u8>, StoreError>;

    /// One entry, checked against its leaf hash. Its neighbours, of which a bundle may have 16 MiB, are not kept
    /// in memory.
    ///
    /// # Errors
    /// As [`bundle`](Self::bundle); [`StoreError::TreeDamaged`] where the tree has no such leaf.
    fn entry(&self, index: LeafIndex) -> Result<Vec<u8>, StoreError>;

    /// First index of the leaf with this hash.
    ///
    /// # Errors
    /// [`StoreError`] where the index can't be read.
    fn find_leaf(&self, leaf: &Hash) -> Result<Option<LeafIndex>, StoreError>;

    /// The first leaf with this payload.
    ///
    /// # Errors
    /// [`StoreError`] where the index or the entry can't be read.
    fn find_payload(&self, payload: &Hash) -> Result<Option<Stored>, StoreError>;

    /// The first leaf that claimed this key, and the content that it claimed it for.
    ///
    /// # Errors
    /// [`StoreError`] where the index or the entry can't be read.
    fn find_claim(&self, key: &Hash) -> Result<Option<(Stored, Hash)>, StoreError>;

    /// The last leaf that released this [thing](crate::release::Edition::thing), and its
    /// [bytes](crate::release::Edition::bytes).
    ///
    /// # Errors
    /// [`StoreError`] where the index or the entry can't be read.
    fn find_edition(&self, thing: &Hash) -> Result<Option<(Stored, Hash)>, StoreError>;

    /// The first leaf that withdrew [these artifacts](crate::release::Edition::withdrawal).
    ///
    /// # Errors
    /// [`StoreError`] where the index or the entry can't be read.
    fn find_withdrawal(&self, key: &Hash) -> Result<Option<Stored>, StoreError>;

    /// The highest sequence number of a track below `below`. A hint, like all pointers: another track may begin alike.
    ///
    /// # Errors
    /// [`StoreError`] where the index can't be read.
    fn highest(&self, track: &Track, below: u64) -> Result<Option<u64>, StoreError>;

    /// Leaves that a term points at, newest first, below `before`, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError`] where the index can't be read.
    fn search(&self, term: &Term, before: Option<LeafIndex>, limit: usize) -> Result<SearchPage, StoreError>;
}

impl TileReader for dyn StoreReader + '_ {
    type Error = StoreError;

    fn read_tiles(&self, tiles: &[Tile]) -> Result<Vec<Vec<Hash>>, StoreError> {
        self.tiles(tiles)
    }
}

#[cfg(test)]
pub(crate) mod conformance;
