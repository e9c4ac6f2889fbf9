//! Writing a whole new journal, or one segment.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Journal, Scan, segment_path, segments};
#[cfg(feature = "bucket")]
use super::{JournalFile, create_file};
use crate::disk::{DiskError, DiskIo, remove_dir};
use crate::merkle::{Growth, Hash, RightEdge};
#[cfg(feature = "bucket")]
use crate::proof::bundle::{self, LENGTH_BYTES};
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
        self.sync()
    }

    /// Makes durable what was appended so far.
    pub fn sync(&self) -> Result<(), StoreError> {
        for first in segments(&self.dir)? {
            let path = segment_path(&self.dir, first);
            let file = File::open(&path).map_err(DiskError::io("open", &path))?;
            self.io.sync_all(&file, &path).map_err(DiskError::io("fsync", &path))?;
        }
        Ok(self.io.sync_dir(&self.dir).map_err(DiskError::io("fsync", &self.dir))?)
    }
}

/// Writes one segment, and syncs it at the end.
#[cfg(feature = "bucket")]
pub struct SegmentWriter {
    io: Arc<dyn DiskIo>,
    path: PathBuf,
    file: JournalFile,
}

#[cfg(feature = "bucket")]
impl SegmentWriter {
    /// Creates the segment whose first entry has index `first` at `path`, in place of an earlier attempt.
    pub fn create(io: &Arc<dyn DiskIo>, path: &Path, origin: Hash, first: u64) -> Result<Self, DiskError> {
        let mut file = create_file(io, path, origin, first)?;
        file.synced = false;
        Ok(Self { io: io.clone(), path: path.to_owned(), file })
    }

    /// Appends a batch, 1 to [`MAX_BATCH_ENTRIES`](crate::store::MAX_BATCH_ENTRIES) entries, with the root after it.
    pub fn append(&mut self, entries: &[&[u8]], root: &Hash) -> Result<(), DiskError> {
        let bytes = entries.iter().map(|entry| LENGTH_BYTES + entry.len()).sum();
        let mut rest = entries.iter();
        self.file.append_parts(entries.len(), root.as_bytes(), bytes, |out| {
            let next = rest.next().map(|entry| bundle::push(out, entry));
            next.transpose().expect("entries are capped when they are submitted").is_some()
        })?;
        Ok(())
    }

    /// Makes everything durable.
    pub fn finish(self) -> Result<(), DiskError> {
        let file = File::open(&self.path).map_err(DiskError::io("open", &self.path))?;
        self.io.sync_all(&file, &self.path).map_err(DiskError::io("fsync", &self.path))
    }
}
