//! Bringing sled up to the journal.

use super::hashing::hash_ahead;
use super::index::{IndexRows, IndexWriter};
use super::journal::{Cursor, Record, Scan};
use super::layout::Opened;
use super::reader::{partial_leaves, read_bundle, split};
use super::tree::Tree;
use super::{DiskStore, check_holds};
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
    pub(super) fn catch_up(&self, origin: Hash) -> Result<(sled::Db, Tree, IndexWriter, Scan), StoreError> {
        let dir = self.layout.journal();
        let Opened { db, tree: tree_rows, index: index_rows } =
            self.layout.sled_dir(self.options.io.clone()).open(self.options.cache_bytes, Opened::new)?;
        let tail = |tree: &Tree, cursor: &Cursor| partial_leaves(&dir, tree, cursor.size);
        let (tree, cursor) = Tree::open(tree_rows, tail).map_err(disagrees_with_journal)?;
        let scan = Scan::new(&dir, origin, cursor);
        let mut scan = if cursor.is_some() { scan.map_err(disagrees_with_journal)? } else { scan? };
        let (mut index, indexed) = IndexWriter::open(index_rows)?;
        if indexed > tree.peaks().size() {
            return Err(StoreError::TreeDamaged { detail: "its index is ahead of its tree".to_owned() });
        }
        self.index_applied(&tree, &mut index, indexed)?;
        self.apply_records(&tree, &mut index, &mut scan)?;
        self.check_checkpoint(&tree)?;
        Ok((db, tree, index, scan))
    }

    /// Indexes the leaves of the tree that the index lacks.
    fn index_applied(
        &self,
        tree: &Tree,
        index: &mut IndexWriter,
        indexed: TreeSize,
    ) -> Result<(), StoreError> {
        let size = tree.peaks().size().get();
        let mut next = indexed.get();
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
            index.push(IndexRows {
                first: LeafIndex::new(next).expect("below the tree's size"),
                leaf_hashes: &leaf_hashes,
                facts: &facts,
                bytes: bytes.len(),
            })?;
            next += entries.len() as u64;
        }
        Ok(())
    }

    /// Applies the batches that are left in a scan, several small ones at once.
    fn apply_records(&self, tree: &Tree, index: &mut IndexWriter, scan: &mut Scan) -> Result<(), StoreError> {
        hash_ahead(scan, &self.options.describe, |group| {
            let (first, last) = group.records.first().zip(group.records.last()).expect("at least one batch");
            let first = LeafIndex::new(first.first).expect("checked by the scan");
            let growth = tree.peaks().grow(&group.leaf_hashes);
            last.check_root(&last.path_in(&self.layout.journal()), &growth.edge.root())?;
            let starts: Vec<_> = group.records.iter().flat_map(Record::bundle_starts).collect();
            tree.apply(&growth, &starts, last.first_entry, last.end)?;
            let (leaf_hashes, facts, bytes) = (&group.leaf_hashes, &group.facts, group.bytes);
            index.push(IndexRows { first, leaf_hashes, facts, bytes })?;
            let (done, total) = group.progress;
            (self.options.progress)(done, total);
            Ok(())
        })
    }

    /// Checks that the tree holds what was signed.
    fn check_checkpoint(&self, tree: &Tree) -> Result<(), StoreError> {
        let Some(bytes) = &self.checkpoint else { return Ok(()) };
        let path = self.layout.checkpoint();
        let (signed, _) = checkpoint::read_unverified(bytes)
            .map_err(|e| StoreError::CheckpointDamaged { path, detail: e.to_string() })?;
        check_holds(&signed, tree.peaks().size(), || Ok(read_root(tree, signed.size)?.root()))
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
