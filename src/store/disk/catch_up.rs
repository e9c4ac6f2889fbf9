//! Bringing sled up to the journal.

use super::hashing::hash_ahead;
use super::index::{IndexOptions, IndexRows, IndexWriter, Indexed};
use super::journal::{Cursor, Record, Scan};
use super::layout::Opened;
use super::leaves::{FRAME_TILES, LeafFile};
use super::reader::{partial_leaves, read_bundle, split};
use super::rows::RowWriter;
use super::tree::Tree;
use super::{DiskStore, OpenOptions, check_holds};
use crate::checkpoint;
use crate::merkle::{Hash, LeafIndex, TILE_WIDTH, TreeSize, read_root};
use crate::release::Facts;
use crate::store::StoreError;

/// A larger tree takes more than a second or two to index, which the program then tells.
const TELL_LEAVES: u64 = 100_000;

impl DiskStore {
    /// Opens sled and applies what the journal has beyond it.
    ///
    /// # Errors
    /// [`StoreError`]; [`tree_fault`] says whether sled may be at fault.
    pub(super) fn catch_up(&self, origin: Hash) -> Result<Recovered, StoreError> {
        let dir = self.layout.journal();
        let Opened { db, tree: tree_rows } =
            self.layout.sled_dir(self.options.io.clone()).open(self.options.cache_bytes, Opened::new)?;
        if tree_rows.is_empty() {
            self.load_leaves(origin, &tree_rows)?;
        }
        let tail = |tree: &Tree, cursor: &Cursor| partial_leaves(&dir, tree, cursor.size);
        let (tree, cursor) = Tree::open(tree_rows, tail).map_err(disagrees_with_journal)?;
        let scan = Scan::new(&dir, origin, cursor);
        let mut scan = if cursor.is_some() { scan.map_err(disagrees_with_journal)? } else { scan? };
        let (writer, indexed) = IndexWriter::open(self.index_options())?;
        let mut index = Behind { writer, indexed, compared: false };
        self.index_applied(&tree, &mut index)?;
        let OpenOptions { io, row_lag, .. } = &self.options;
        let leaves = Some(self.leaf_file(origin));
        let rows = RowWriter::new(tree.clone(), io.clone(), *row_lag, leaves);
        self.apply_records(&tree, &rows, &mut index, &mut scan)?;
        if index.indexed.size > tree.peaks().size() {
            return Err(StoreError::TreeDamaged { detail: "its index is ahead of its tree".to_owned() });
        }
        index.compare(&tree)?;
        // Earlier versions had the index in sled.
        db.drop_tree("index")?;
        self.check_checkpoint(&tree)?;
        Ok(Recovered { db, tree, rows, index: index.writer, scan })
    }

    fn leaf_file(&self, origin: Hash) -> LeafFile {
        let OpenOptions { io, leaf_tiles, .. } = &self.options;
        let (path, journal, io) = (self.layout.leaves(), self.layout.journal(), io.clone());
        LeafFile { path, journal, origin, io, frame_tiles: (*leaf_tiles).clamp(1, FRAME_TILES) }
    }

    /// Grows the tree from the file of leaf hashes, up to the signed size, into rows that are empty. Whether it is
    /// the signed tree is checked at the end of catching up.
    fn load_leaves(&self, origin: Hash, tree_rows: &sled::Tree) -> Result<(), StoreError> {
        let Some(bytes) = self.checkpoint.note() else { return Ok(()) };
        let Ok((signed, _)) = checkpoint::read_unverified(bytes) else { return Ok(()) };
        let tree = Tree::empty(tree_rows.clone());
        let OpenOptions { io, row_lag, progress, .. } = &self.options;
        let rows = RowWriter::new(tree.clone(), io.clone(), *row_lag, None);
        let read = self.leaf_file(origin).read(signed.size, |tiles| {
            let growth = tree.peaks().grow(&tiles.leaf_hashes);
            // A crash in here leaves a smaller tree, which goes on from the journal.
            rows.apply_rows(&growth, &tiles.bundles, tiles.cursor)?;
            progress(tiles.progress.0, tiles.progress.1);
            Ok(())
        });
        match read {
            Err(StoreError::Disk(error)) => {
                tracing::warn!(%error, "leaf hashes can't be read; hashing the journal instead");
                Ok(())
            }
            read => read,
        }
    }

    fn index_options(&self) -> IndexOptions {
        let OpenOptions { io, index_bytes, seal_pointers, .. } = &self.options;
        let (dir, io) = (self.layout.index(), io.clone());
        IndexOptions { dir, io, filter_bytes: *index_bytes, seal_pointers: *seal_pointers }
    }

    /// Indexes the leaves of the tree that the index lacks.
    fn index_applied(&self, tree: &Tree, index: &mut Behind) -> Result<(), StoreError> {
        let size = tree.peaks().size().get();
        let mut next = index.indexed.size.get();
        if next == 0 && size > TELL_LEAVES {
            tracing::info!(leaves = size, "rebuilding the index from the journal");
        }
        while next < size {
            let (number, skip) = (next / TILE_WIDTH, usize::try_from(next % TILE_WIDTH).expect("below 256"));
            let count = usize::try_from((size - number * TILE_WIDTH).min(TILE_WIDTH)).expect("at most 256");
            let bytes = read_bundle(&self.layout.journal(), tree, number, count)?;
            let entries = split(&bytes, number, count)?;
            let entries = &entries[skip..];
            let leaf_hashes: Vec<Hash> = entries.iter().map(|entry| Hash::leaf(entry)).collect();
            let facts: Vec<Facts> = entries.iter().map(|entry| (self.options.describe)(entry)).collect();
            let first = LeafIndex::new(next).expect("below the tree's size");
            next += entries.len() as u64;
            let edge = &read_root(tree, TreeSize::new(next).expect("at most the tree's size"))?;
            let bytes = bytes.len();
            let rows = IndexRows { first, leaf_hashes: &leaf_hashes, facts: &facts, edge, bytes };
            index.push(tree, rows)?;
        }
        Ok(())
    }

    /// Applies the batches that are left in a scan, several small ones at once.
    fn apply_records(
        &self,
        tree: &Tree,
        rows: &RowWriter,
        index: &mut Behind,
        scan: &mut Scan,
    ) -> Result<(), StoreError> {
        hash_ahead(scan, &self.options.describe, |group| {
            let (first, last) = group.records.first().zip(group.records.last()).expect("at least one batch");
            let first = LeafIndex::new(first.first).expect("checked by the scan");
            let growth = tree.peaks().grow(&group.leaf_hashes);
            last.check_root(&last.path_in(&self.layout.journal()), &growth.edge.root())?;
            let starts: Vec<_> = group.records.iter().flat_map(Record::bundle_starts).collect();
            rows.apply(&growth, &starts, last.first_entry, last.end)?;
            if growth.edge.size() > index.indexed.size {
                let (edge, leaf_hashes) = (&growth.edge, &group.leaf_hashes);
                let rows = IndexRows { first, leaf_hashes, facts: &group.facts, edge, bytes: group.bytes };
                index.push(tree, rows)?;
            }
            let (done, total) = group.progress;
            (self.options.progress)(done, total);
            Ok(())
        })
    }

    /// Checks that the tree holds what was signed.
    fn check_checkpoint(&self, tree: &Tree) -> Result<(), StoreError> {
        let Some(bytes) = self.checkpoint.note() else { return Ok(()) };
        let path = self.layout.checkpoint();
        let (signed, _) = checkpoint::read_unverified(bytes)
            .map_err(|e| StoreError::CheckpointDamaged { path, detail: e.to_string() })?;
        check_holds(&signed, tree.peaks().size(), || Ok(read_root(tree, signed.size)?.root()))
    }
}

/// What was opened, with everything in it that the journal has.
pub(super) struct Recovered {
    pub rows: RowWriter,
    pub index: IndexWriter,
    pub tree: Tree,
    pub db: sled::Db,
    pub scan: Scan,
}

/// An index that may have some leaves already.
struct Behind {
    writer: IndexWriter,
    /// Leaves that it had when it was opened.
    indexed: Indexed,
    /// Whether they are leaves of this tree.
    compared: bool,
}

impl Behind {
    /// Checks that it is of this tree, which has all of its leaves.
    fn compare(&mut self, tree: &Tree) -> Result<(), StoreError> {
        let Indexed { size, root } = self.indexed;
        if !self.compared && read_root(tree, size)?.root() != root {
            return Err(StoreError::TreeDamaged { detail: "its index is another tree's".to_owned() });
        }
        self.compared = true;
        Ok(())
    }

    /// Pushes the rows that it lacks. The tree has them already.
    fn push(&mut self, tree: &Tree, rows: IndexRows<'_>) -> Result<(), StoreError> {
        self.compare(tree)?;
        let known = self.indexed.size.get().saturating_sub(rows.first.get());
        let known = usize::try_from(known).unwrap_or(usize::MAX);
        if known < rows.leaf_hashes.len() { self.writer.push(rows.skip(known)) } else { Ok(()) }
    }
}

/// The cursor may point at what the journal lost or never had: then sled is rebuilt, and the scan from the
/// beginning says what the journal lacks.
pub(super) fn disagrees_with_journal(error: StoreError) -> StoreError {
    match error {
        StoreError::Damaged { what, detail } => {
            StoreError::TreeDamaged { detail: format!("{what}: {detail}") }
        }
        StoreError::Disk(e) if e.is_not_found() => StoreError::TreeDamaged { detail: e.to_string() },
        error => error,
    }
}

/// Why the tree has to be rebuilt before anything else is blamed, without advice to operators; `None` for an error
/// that has another cause. Opening a tree re-hashes only its right edge: if anything else in it does not check, the
/// journal may seem to be at fault.
pub(super) fn tree_fault(error: &StoreError) -> Option<String> {
    match error {
        StoreError::TreeDamaged { detail } => Some(detail.clone()),
        StoreError::JournalForked { size, expected, seen } => {
            Some(format!("expected root {expected} at tree size {size}, computed {seen}"))
        }
        _ => None,
    }
}
