//! Bringing sled up to the journal.

use std::sync::Arc;

use super::entries::JournalEntries;
use super::journal::{Cursor, Record, Scan};
use super::leaves::{self, FRAME_TILES, LeafFile};
use super::{DiskStore, OpenOptions, check_holds};
use crate::checkpoint;
use crate::merkle::{Hash, read_root};
use crate::store::StoreError;
use crate::store::derived::index::{IndexOptions, IndexWriter};
use crate::store::derived::{CatchUp, Opened, RowWriter, Tree, partial_leaves};

impl DiskStore {
    /// Opens sled and applies what the journal has beyond it.
    ///
    /// # Errors
    /// [`StoreError`]; [`tree_fault`](crate::store::derived::tree_fault) says whether sled may be at fault.
    pub(super) fn catch_up(&self, origin: Hash) -> Result<Recovered, StoreError> {
        let dir = self.layout.journal();
        let Opened { db, tree: tree_rows } =
            self.layout.sled_dir(self.options.io.clone()).open(self.options.cache_bytes, Opened::new)?;
        if tree_rows.is_empty() {
            self.load_leaves(origin, &tree_rows)?;
        }
        let entries = JournalEntries::new(dir.clone());
        let tail = |tree: &Tree, size| partial_leaves(&entries, tree, size);
        let (tree, cursor) = Tree::empty(tree_rows)
            .open(|tree, cursor| tail(tree, cursor.size))
            .map_err(disagrees_with_journal)?;
        let scan = Scan::new(&dir, origin, cursor.map(Cursor::from));
        let mut scan = if cursor.is_some() { scan.map_err(disagrees_with_journal)? } else { scan? };
        let OpenOptions { io, row_lag, describe, progress, .. } = &self.options;
        let mut index = CatchUp::open(self.index_options(), &tree, &entries, describe)?;
        let on_rows = leaves::follow(self.leaf_file(origin), &tree, row_lag.is_zero())?;
        let rows = RowWriter::new(tree.clone(), io.clone(), *row_lag, on_rows)?;
        index.apply(&rows, &mut scan, |group, growth| {
            let last = group.batches.last().expect("at least one batch");
            last.check_root(&last.path_in(&dir), &growth.edge.root())?;
            let (done, total) = group.progress;
            progress(done, total);
            Ok((group.batches.iter().flat_map(Record::bundle_places).collect(), last.place()))
        })?;
        let index = index.finish()?;
        // Earlier versions had the index in sled.
        db.drop_tree("index")?;
        self.check_checkpoint(&tree)?;
        Ok(Recovered { rows, index, tree, db, scan })
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
        let rows = RowWriter::new(tree.clone(), io.clone(), *row_lag, Arc::new(|| ()))?;
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

    /// Checks that the tree holds what was signed.
    fn check_checkpoint(&self, tree: &Tree) -> Result<(), StoreError> {
        let Some(bytes) = self.checkpoint.note() else { return Ok(()) };
        let path = self.layout.checkpoint();
        let (signed, _) = checkpoint::read_unverified(bytes)
            .map_err(|e| StoreError::CheckpointDamaged { path, detail: e.to_string() })?;
        check_holds(&signed, tree.peaks().size(), || Ok(read_root(tree, signed.size)?.root()))
    }
}

/// The opened tree and index, caught up with the journal.
pub(super) struct Recovered {
    pub rows: RowWriter,
    pub index: IndexWriter,
    pub tree: Tree,
    pub db: sled::Db,
    pub scan: Scan,
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
