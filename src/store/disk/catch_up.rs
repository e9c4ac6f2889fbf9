//! Bringing sled up to the journal.

use super::index::{IndexRows, IndexWriter};
use super::journal::{self, Cursor, Scan};
use super::layout::Opened;
use super::reader::{partial_leaves, read_bundle, split};
use super::tree::{Tree, TreeCheck};
use super::{DiskStore, check_holds};
use crate::checkpoint;
use crate::merkle::{Hash, LeafIndex, TILE_WIDTH, TreeSize, read_root};
use crate::release::Facts;
use crate::store::{MAX_BATCH_ENTRIES, StoreError};

/// A larger tree takes more than a second or two to index, which the program then tells.
const TELL_LEAVES: u64 = 100_000;

impl DiskStore {
    /// Opens sled and applies what the journal has beyond it. The inner error says why sled has to be
    /// rebuilt.
    #[expect(clippy::type_complexity, reason = "taken apart at once by the only caller")]
    pub(super) fn catch_up(
        &self,
        origin: Hash,
    ) -> Result<Result<(sled::Db, Tree, IndexWriter, Scan), TreeCheck>, StoreError> {
        let dir = self.layout.journal();
        let Opened { db, tree: tree_rows, index: index_rows } =
            self.layout.sled_dir(self.options.io.clone()).open(self.options.cache_bytes, Opened::new)?;
        let tail = |tree: &Tree, cursor: &Cursor| partial_leaves(&dir, tree, cursor.size);
        let (tree, cursor) = match Tree::open(tree_rows, tail) {
            Ok(Ok(opened)) => opened,
            Ok(Err(why)) => return Ok(Err(why)),
            Err(e) => return disagrees_with_journal(e).map(Err),
        };
        let mut scan = match Scan::new(&dir, origin, cursor) {
            Err(e) if cursor.is_some() => return disagrees_with_journal(e).map(Err),
            other => other?,
        };
        let (mut index, indexed) = IndexWriter::open(index_rows)?;
        if indexed > tree.peaks().size() {
            return Ok(Err(TreeCheck("its index is ahead of its tree".to_owned())));
        }
        self.index_applied(&tree, &mut index, indexed)?;
        self.apply_records(&tree, &mut index, &mut scan)?;
        self.check_checkpoint(&tree)?;
        Ok(Ok((db, tree, index, scan)))
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
        loop {
            let mut group = Vec::new();
            let mut count = 0;
            while count < MAX_BATCH_ENTRIES {
                let Some(record) = scan.next_record()? else { break };
                count += record.entries().len();
                group.push(record);
            }
            let (Some(first), Some(last)) = (group.first(), group.last()) else { return Ok(()) };
            let first = LeafIndex::new(first.first).expect("checked by the scan");
            let entries: Vec<&[u8]> = group.iter().flat_map(journal::Record::entries).collect();
            let leaf_hashes: Vec<Hash> = entries.iter().map(|entry| Hash::leaf(entry)).collect();
            let growth = tree.peaks().grow(&leaf_hashes);
            last.check_root(&last.path_in(&self.layout.journal()), &growth.edge.root())?;
            let starts: Vec<_> = group.iter().flat_map(journal::Record::bundle_starts).collect();
            tree.apply(&growth, &starts, last.first_entry, last.end)?;
            let facts: Vec<Facts> = entries.iter().map(|entry| (self.options.describe)(entry)).collect();
            let bytes = entries.iter().map(|entry| entry.len()).sum();
            index.push(IndexRows { first, leaf_hashes: &leaf_hashes, facts: &facts, bytes })?;
            let (done, total) = scan.progress();
            (self.options.progress)(done, total);
        }
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
fn disagrees_with_journal(error: StoreError) -> Result<TreeCheck, StoreError> {
    match &error {
        StoreError::Damaged { .. } => Ok(error.into()),
        StoreError::Disk(e) if e.is_not_found() => Ok(error.into()),
        _ => Err(error),
    }
}

/// Opening a tree re-hashes only its right edge: if anything else in it does not check, the tree is rebuilt
/// before the journal is blamed.
pub(super) fn tree_may_be_wrong<T>(error: StoreError) -> Result<Result<T, TreeCheck>, StoreError> {
    match error {
        StoreError::TreeDamaged { .. } | StoreError::JournalForked { .. } => Ok(Err(error.into())),
        _ => Err(error),
    }
}
