//! Re-hashes a log's directory: the journal against its own roots and the signed ones, sled against the
//! journal.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use super::journal::Scan;
use super::{Layout, PointerSum, TreeRows, check_holds, open_tree_rows};
use crate::checkpoint::{Checkpoint, LogSigned, origin_hash};
use crate::disk::{DirLock, DiskError};
use crate::merkle::{Growth, Hash, LeafIndex, PartialTiles, RightEdge, TreeSize};
use crate::note::NoteKey;
use crate::proof::fork::ProvenFork;
use crate::store::{Describe, ForkSearch, StoreError};

/// Why a log's directory is not sound.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FsckError {
    /// The files can't be read, or do not check.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The log signed two histories.
    #[error("{} signed two histories", .0.origin())]
    Fork(Box<ProvenFork>),
}

/// A check of a log's directory, also while it is served.
pub struct Fsck<'a> {
    /// The log's directory.
    pub dir: &'a Path,
    /// The log's public keys, Ed25519 first.
    pub keys: &'a [NoteKey],
    /// Tree heads that the log signed: all of them have to be of the journal's tree.
    pub heads: &'a [LogSigned<Checkpoint>],
    /// Computes what the indexes hold of an entry.
    pub describe: Describe,
    /// Told how many bytes of how many are read.
    pub progress: &'a dyn Fn(u64, u64),
}

/// State of sled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SledSeen {
    /// There is none; the next start makes it.
    None,
    /// The log is served, so sled could not be opened.
    InUse,
    /// It holds so many leaves, and all of them check.
    Leaves(TreeSize),
}

/// A sound log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sound {
    /// Entries that were re-hashed.
    pub entries: TreeSize,
    /// Tiles that they make.
    pub tiles: u64,
    /// State of sled.
    pub sled: SledSeen,
}

impl Fsck<'_> {
    /// Re-hashes everything.
    ///
    /// # Errors
    /// [`FsckError`]: the first thing that is wrong.
    pub fn run(&self) -> Result<Sound, FsckError> {
        let (rows, sled) = match self.open_rows() {
            Ok(Some(rows)) => (Some(rows), None),
            Ok(None) => (None, Some(SledSeen::None)),
            Err(StoreError::Disk(DiskError::Locked { .. })) => (None, Some(SledSeen::InUse)),
            Err(e) => return Err(e.into()),
        };
        // sled may panic on pages that it did not expect, also when it is closed.
        let checked = catch_unwind(AssertUnwindSafe(|| {
            let rows = rows;
            self.rehash(rows.as_ref().map(|(rows, _)| rows), sled)
        }));
        let checked = checked.unwrap_or_else(|_| {
            let detail = "sled panicked while it was read".to_owned();
            Err(StoreError::TreeDamaged { detail })
        });
        checked.map_err(|error| match error {
            StoreError::JournalForked { .. } => self.fork().unwrap_or(FsckError::Store(error)),
            error => error.into(),
        })
    }

    /// Opens sled if it is there: opening would make it, and a backup has none.
    fn open_rows(&self) -> Result<Option<(TreeRows, DirLock)>, StoreError> {
        let layout = Layout::new(self.dir);
        if layout.sled().exists() {
            return open_tree_rows(self.dir).map(Some);
        }
        // The lock tells whether the log is served.
        Ok(DirLock::acquire(&layout.lock()).map(|_| None)?)
    }

    fn origin(&self) -> Hash {
        origin_hash(self.keys[0].name().as_str())
    }

    fn rehash(&self, rows: Option<&TreeRows>, sled: Option<SledSeen>) -> Result<Sound, StoreError> {
        let journal = Layout::new(self.dir).journal();
        let mut scan = Scan::new(&journal, self.origin(), None)?;
        // sled may be behind the journal; it catches up at the next start.
        let applied = rows.map(TreeRows::size).transpose()?.unwrap_or_default();
        let indexed = rows.map(TreeRows::indexed).transpose()?.unwrap_or_default().size;
        let (mut edge, mut partial, mut tiles) = (RightEdge::default(), PartialTiles::default(), 0);
        let mut pointers = PointerSum::default();
        let is_past = |edge: &RightEdge| self.heads.iter().all(|head| head.get().size <= edge.size());
        loop {
            let record = match scan.next_record() {
                // While it is served, the batch that is being written may look like anything.
                Err(StoreError::Damaged { .. }) if sled == Some(SledSeen::InUse) && is_past(&edge) => break,
                other => other?,
            };
            let Some(record) = record else { break };
            let leaf_hashes: Vec<Hash> = record.entries().iter().map(|entry| Hash::leaf(entry)).collect();
            self.heads.iter().try_for_each(|head| check_signed(&edge, &leaf_hashes, head.get()))?;
            let growth = edge.grow(&leaf_hashes);
            record.check_root(&record.path_in(&journal), &growth.edge.root())?;
            tiles += check_rows(rows, applied, &growth, &mut partial)?;
            if let Some(rows) = rows {
                let mut known =
                    record.bundle_places().into_iter().filter(|(index, _)| index * 256 < applied.get());
                known.try_for_each(|(index, start)| rows.check_bundle(index, start))?;
                let leaves =
                    (record.first..).filter_map(LeafIndex::new).zip(record.entries()).zip(&leaf_hashes);
                for ((index, entry), leaf) in leaves.take_while(|((index, _), _)| indexed.contains(*index)) {
                    pointers.add_leaf(index, leaf, &(self.describe)(entry));
                }
            }
            edge = growth.edge;
            let (done, total) = scan.progress();
            (self.progress)(done, total);
        }
        // The roots were compared on the way.
        self.heads
            .iter()
            .map(LogSigned::get)
            .try_for_each(|head| check_holds(head, edge.size(), || Ok(head.root)))?;
        if let Some(rows) = rows {
            rows.check_index(&pointers)?;
        }
        if applied > edge.size() {
            let detail = format!("sled has {applied} leaves, the journal {}", edge.size());
            return Err(StoreError::TreeDamaged { detail });
        }
        tiles += partial.tiles(edge.size()).count() as u64;
        Ok(Sound { entries: edge.size(), tiles, sled: sled.unwrap_or(SledSeen::Leaves(applied)) })
    }

    /// Looks for two heads that contradict each other: a journal that is not the tree of one of them may be
    /// that of another.
    fn fork(&self) -> Option<FsckError> {
        let mut search = ForkSearch::new(self.heads);
        let mut scan = Scan::new(&Layout::new(self.dir).journal(), self.origin(), None).ok()?;
        // Read as much as possible.
        while let Ok(Some(record)) = scan.next_record() {
            let leaves: Vec<Hash> = record.entries().iter().map(|entry| Hash::leaf(entry)).collect();
            search.add(record.first, &leaves);
        }
        search.find(self.keys).map(|fork| FsckError::Fork(Box::new(fork)))
    }
}

/// Compares the roots where the tree passes the signed size.
fn check_signed(edge: &RightEdge, leaf_hashes: &[Hash], head: &Checkpoint) -> Result<(), StoreError> {
    let (before, after) = (edge.size(), edge.size().plus(leaf_hashes.len()));
    if head.size <= before || head.size > after {
        return Ok(());
    }
    let count = usize::try_from(head.size.get() - before.get()).expect("at most a batch");
    check_holds(head, after, || Ok(edge.grow(&leaf_hashes[..count]).edge.root()))
}

/// Compares the tiles that a batch completes with those in sled; returns their number.
fn check_rows(
    rows: Option<&TreeRows>,
    applied: TreeSize,
    growth: &Growth,
    partial: &mut PartialTiles,
) -> Result<u64, StoreError> {
    let mut tiles = 0;
    partial.grow(growth, |id, hashes| {
        tiles += 1;
        match rows {
            Some(rows) if id.width_in(applied) == 256 => rows.check_tile(id, hashes),
            _ => Ok(()),
        }
    })?;
    Ok(tiles)
}
