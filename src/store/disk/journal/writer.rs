//! Writing a whole new journal.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Journal, Scan, segment_path, segments};
use crate::disk::{DiskError, DiskIo, remove_dir};
use crate::merkle::{Growth, Hash, RightEdge};
use crate::release::Facts;
use crate::store::{Batch, StoreError};

/// Appends batches to a new journal, and syncs them all at the end: nobody reads them before, so the batches
/// need not be durable one by one.
pub struct JournalWriter {
    io: Arc<dyn DiskIo>,
    dir: PathBuf,
    journal: Journal,
    edge: RightEdge,
}

impl JournalWriter {
    /// Creates a journal in `dir`, in place of an earlier attempt.
    pub fn create(
        io: &Arc<dyn DiskIo>,
        dir: &Path,
        origin: Hash,
        segment_bytes: u64,
    ) -> Result<Self, StoreError> {
        remove_dir(dir)?;
        fs::create_dir(dir).map_err(DiskError::io("create", dir))?;
        let scan = Scan::new(dir, origin, None)?;
        let mut journal = Journal::open(io.clone(), dir, origin, &scan)?;
        (journal.segment_bytes, journal.tail.1.synced) = (segment_bytes, false);
        Ok(Self { io: io.clone(), dir: dir.to_owned(), journal, edge: RightEdge::default() })
    }

    /// Appends a batch of entries whose growth of the tree is known; there must be at least one.
    pub fn append(&mut self, entries: &[&[u8]], growth: Growth) -> Result<(), StoreError> {
        let batch = Batch {
            first: self.edge.next_index(),
            entries: entries.iter().map(|entry| entry.to_vec()).collect(),
            leaf_hashes: Vec::new(),
            facts: Vec::<Facts>::new(),
            growth,
        };
        self.journal.append(&batch)?;
        self.edge = batch.growth.edge;
        Ok(())
    }

    /// Makes everything durable.
    pub fn finish(self) -> Result<(), StoreError> {
        for first in segments(&self.dir)? {
            let path = segment_path(&self.dir, first);
            let file = File::open(&path).map_err(DiskError::io("open", &path))?;
            self.io.sync_all(&file, &path).map_err(DiskError::io("fsync", &path))?;
        }
        Ok(self.io.sync_dir(&self.dir).map_err(DiskError::io("fsync", &self.dir))?)
    }
}
