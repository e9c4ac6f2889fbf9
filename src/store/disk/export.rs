//! The log as plain files, c2sp.org/tlog-tiles, for any web server, CDN or object store.

use std::path::Path;

use super::export_place::ExportPlace;
use super::{BackupSource, check_holds};
use crate::checkpoint::policy::{Policy, QuorumError};
use crate::checkpoint::{self, CheckpointError};
use crate::disk::DiskError;
use crate::merkle::{Hash, PartialTiles, RightEdge, TILE_WIDTH, Tile, TileId, TreeSize, hashes_to_bytes};
use crate::note::NoteKey;
use crate::proof::bundle;
use crate::store::{SignedHead, StoreError, signed_head};

/// Name of the head that readers begin with.
const CHECKPOINT: &str = "checkpoint";
/// Most tiles that are written together.
const TOGETHER: usize = 128;
/// Bytes of tiles after which they are written.
const BYTES_TOGETHER: usize = 16 * 1024 * 1024;

/// Why a log could not be exported.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The log's own files can't be read, or do not check.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The export can't be read or written.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// No head of the log has reached its quorum of witnesses.
    #[error("no tree head of this log has reached its quorum of witnesses yet: expected {expected}")]
    NeverWitnessed {
        /// The quorum, in words.
        expected: String,
    },
    /// The witnesses of the log's last published head are no quorum.
    #[error("the last head of {log}: {source}")]
    NoQuorum {
        /// The log's place.
        log: String,
        /// Expected and seen.
        source: QuorumError,
    },
    /// The log's last published head is not signed by the log.
    #[error(transparent)]
    Head(CheckpointError),
    /// The bucket can't be read or written.
    #[cfg(feature = "bucket")]
    #[error(transparent)]
    Bucket(Box<crate::bucket::BucketError>),
    /// The place holds something other than an export.
    #[error("{place} is {what}: expected a new or empty {kind}, or an earlier export")]
    NotAnExport {
        /// The place.
        place: String,
        /// What it seems to be.
        what: &'static str,
        /// The kind of place: a directory or a prefix.
        kind: &'static str,
    },
    /// The place holds the export of another log.
    #[error("{checkpoint} is not a checkpoint of {origin}: {source}")]
    OtherLog {
        /// The exported checkpoint.
        checkpoint: String,
        /// The log's origin.
        origin: String,
        /// Why it is not one of this log.
        source: Box<CheckpointError>,
    },
    /// The export is newer than the log.
    #[error("{checkpoint} has tree size {there}, this log only {here}")]
    Newer {
        /// The exported checkpoint.
        checkpoint: String,
        /// Its tree size.
        there: TreeSize,
        /// The log's tree size.
        here: TreeSize,
    },
    /// A tile was exported before, with other content, or a head of another tree.
    #[error("{file} is there already, with other content")]
    Differs {
        /// The tile or the checkpoint.
        file: String,
    },
    /// Another export replaced the checkpoint while this one ran.
    #[error("{checkpoint} was replaced by another export meanwhile")]
    Overtaken {
        /// The exported checkpoint.
        checkpoint: String,
    },
}

#[cfg(feature = "bucket")]
impl From<crate::bucket::BucketError> for ExportError {
    fn from(error: crate::bucket::BucketError) -> Self {
        Self::Bucket(Box::new(error))
    }
}

/// An export of a log, also while it is served.
pub struct Export<'a> {
    /// The log's batches and heads: those in its directory, or in a bucket.
    pub from: &'a dyn BackupSource,
    /// The log's public keys, Ed25519 first.
    pub keys: &'a [NoteKey],
    /// The witnesses of the log, if it has any.
    pub witnesses: Option<&'a Policy>,
    /// Whether the log publishes heads without its quorum of witnesses.
    pub publish_unwitnessed: bool,
    /// The place to write to.
    pub out: &'a dyn ExportPlace,
    /// Told how many entries of how many are written.
    pub progress: &'a dyn Fn(u64, u64),
}

/// The result of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exported {
    /// Tree size of the exported head.
    pub size: TreeSize,
    /// Files written.
    pub written: u64,
    /// Files that were there already.
    pub kept: u64,
}

impl Export<'_> {
    /// Writes every tile of the newest head that may be shown, and then that head.
    ///
    /// # Errors
    /// [`ExportError`]; what was exported before is as it was.
    pub fn run(&self) -> Result<Exported, ExportError> {
        self.out.check()?;
        let SignedHead { head, note } =
            shown_head(self.from, self.keys, self.witnesses, self.publish_unwitnessed)?;
        let there = self.exported(head.size)?;
        let old = there.as_ref().map(|there| &there.head);
        let covered = old.filter(|_| !self.out.compares_all()).map_or(TreeSize::ZERO, |old| old.size);
        let mut tree = TreeWriter::new(self.out, head.size, covered);
        self.from.each_batch(head.size, &mut |entries| {
            let entries = &entries[..places(tree.edge.size(), head.size).min(entries.len())];
            // The exported head is compared before anything beyond it is written.
            let at = old.map_or(0, |old| places(tree.edge.size(), old.size)).min(entries.len());
            for part in [&entries[..at], &entries[at..]] {
                tree.append(part)?;
                if old.is_some_and(|old| old.size == tree.edge.size() && old.root != tree.edge.root()) {
                    return Err(ExportError::Differs { file: self.out.name_of(CHECKPOINT) });
                }
            }
            // Tree heads end where batches do, so clients with a head of this size ask for these.
            tree.write_partial()?;
            (self.progress)(tree.edge.size().get(), head.size.get());
            Ok(())
        })?;
        check_holds(&head, tree.edge.size(), || Ok(tree.edge.root()))?;
        tree.flush()?;
        // Last: whoever reads the checkpoint finds every tile that it promises.
        if !self.out.replace_checkpoint(there.as_ref().map(|there| &*there.note), &note)? {
            self.exported(head.size)?;
            return Err(ExportError::Overtaken { checkpoint: self.out.name_of(CHECKPOINT) });
        }
        Ok(Exported { size: head.size, written: tree.written, kept: tree.kept })
    }

    fn key(&self) -> &NoteKey {
        &self.keys[0]
    }

    /// Reads the exported head. It must be this log's, and no larger than `size`: readers would see the log shrink.
    fn exported(&self, size: TreeSize) -> Result<Option<SignedHead>, ExportError> {
        let Some(note) = self.out.checkpoint()? else { return Ok(None) };
        let checkpoint = self.out.name_of(CHECKPOINT);
        let head = match checkpoint::open(&note, &self.keys[..1]) {
            Ok(there) => there.get().clone(),
            Err(source) => {
                let (origin, source) = (self.key().name().to_string(), Box::new(source));
                return Err(ExportError::OtherLog { checkpoint, origin, source });
            }
        };
        if head.size > size {
            return Err(ExportError::Newer { checkpoint, there: head.size, here: size });
        }
        Ok(Some(SignedHead { head, note }))
    }
}

/// The number of entries from one tree size to another, at least 0.
fn places(from: TreeSize, to: TreeSize) -> usize {
    usize::try_from(to.get().saturating_sub(from.get())).unwrap_or(usize::MAX)
}

/// Reads the head that may be shown: the last one with a quorum where the log has witnesses, unless it publishes without.
pub fn shown_head(
    from: &dyn BackupSource,
    keys: &[NoteKey],
    witnesses: Option<&Policy>,
    publish_unwitnessed: bool,
) -> Result<SignedHead, ExportError> {
    let heads = from.heads(&keys[0])?;
    let Some(policy) = witnesses else { return Ok(heads.signed) };
    let open =
        |note| signed_head::open(&Path::new(&from.name()).join("checkpoint.witnessed"), note, &keys[0]);
    let witnessed = heads.witnessed.map(open).transpose()?;
    if publish_unwitnessed {
        // With its cosignatures, if they are on the newest head.
        let bare = heads.signed;
        return Ok(witnessed.filter(|witnessed| witnessed.head.size >= bare.head.size).unwrap_or(bare));
    }
    let Some(head) = witnessed else {
        return Err(ExportError::NeverWitnessed { expected: policy.quorum_in_words() });
    };
    let signed = checkpoint::open(&head.note, keys).map_err(ExportError::Head)?;
    match policy.check(&signed) {
        Ok(_) => Ok(head),
        Err(source) => Err(ExportError::NoQuorum { log: from.name(), source }),
    }
}

struct TreeWriter<'a> {
    out: &'a dyn ExportPlace,
    /// Size of the exported tree.
    end: TreeSize,
    /// The tiles of the trees up to this size are there.
    covered: TreeSize,
    edge: RightEdge,
    partial: PartialTiles,
    /// The bundle that is not full yet, and its number of entries.
    bundle: (Vec<u8>, u64),
    /// The partial tiles that were written last, at most one for each level.
    last: Vec<Tile>,
    /// Tiles to be written together.
    pending: Vec<(Tile, Vec<u8>)>,
    written: u64,
    kept: u64,
}

impl<'a> TreeWriter<'a> {
    fn new(out: &'a dyn ExportPlace, end: TreeSize, covered: TreeSize) -> Self {
        let (edge, partial) = (RightEdge::default(), PartialTiles::default());
        let (bundle, last, pending) = ((Vec::new(), 0), Vec::new(), Vec::new());
        Self { out, end, covered, edge, partial, bundle, last, pending, written: 0, kept: 0 }
    }

    fn append(&mut self, entries: &[&[u8]]) -> Result<(), ExportError> {
        let first = self.edge.size().get();
        let end = first + entries.len() as u64;
        for (index, entry) in (first..).zip(entries) {
            bundle::push(&mut self.bundle.0, entry).expect("read from a bundle");
            self.bundle.1 += 1;
            if self.bundle.1 == TILE_WIDTH {
                let (bytes, width) = std::mem::take(&mut self.bundle);
                let id = TileId::Entries { index: index / TILE_WIDTH };
                self.write(Tile::new(id, width).expect("256 is a width"), bytes, end)?;
            }
        }
        let leaf_hashes: Vec<Hash> = entries.iter().map(|entry| Hash::leaf(entry)).collect();
        let growth = self.edge.grow(&leaf_hashes);
        let mut full = Vec::new();
        let collect = |id, hashes: &[Hash]| {
            full.push((Tile::new(id, TILE_WIDTH).expect("256 is a width"), hashes_to_bytes(hashes)));
            Ok::<(), ExportError>(())
        };
        self.partial.grow(&growth, collect)?;
        for (tile, bytes) in full {
            self.write(tile, bytes, end)?;
        }
        self.edge = growth.edge;
        Ok(())
    }

    /// Writes the partial tiles and the partial bundle of this size, as far as the exported tree has no full
    /// ones of them: c2sp.org/tlog-tiles, "Logs MUST serve partial tiles corresponding to tree sizes for
    /// which a checkpoint was produced, but MAY delete any partial tile once the corresponding full tile is
    /// available".
    fn write_partial(&mut self) -> Result<(), ExportError> {
        let size = self.edge.size();
        let is_full = |id| Tile::in_tree(id, self.end).is_none_or(Tile::is_full);
        let partial: Vec<(Tile, Vec<u8>)> = self
            .partial
            .tiles(size)
            .filter(|(tile, _)| !is_full(tile.id) && !self.last.contains(tile))
            .map(|(tile, hashes)| (tile, hashes_to_bytes(hashes)))
            .collect();
        let bundle = Tile::in_tree(TileId::Entries { index: size.get() / TILE_WIDTH }, size);
        let bundle = bundle.filter(|tile| !is_full(tile.id));
        for (tile, bytes) in partial {
            self.write(tile, bytes, size.get())?;
            self.last.retain(|last| last.id != tile.id);
            self.last.push(tile);
        }
        if let Some(tile) = bundle {
            self.write(tile, self.bundle.0.clone(), size.get())?;
        }
        Ok(())
    }

    /// Writes a tile of the tree of `size` leaves, soon.
    fn write(&mut self, tile: Tile, bytes: Vec<u8>, size: u64) -> Result<(), ExportError> {
        if size <= self.covered.get() {
            self.kept += 1;
            return Ok(());
        }
        self.pending.push((tile, bytes));
        let bytes: usize = self.pending.iter().map(|(_, bytes)| bytes.len()).sum();
        if self.pending.len() >= TOGETHER || bytes >= BYTES_TOGETHER { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), ExportError> {
        let pending = std::mem::take(&mut self.pending);
        let written = self.out.write(&pending)?;
        self.written += written;
        self.kept += pending.len() as u64 - written;
        Ok(())
    }
}
