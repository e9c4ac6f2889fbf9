//! The log that a backup or an export is made of: its heads, and its batches.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::read_segment;
use crate::checkpoint::origin_hash;
use crate::disk::{DiskError, DiskIo, read_note};
use crate::merkle::TreeSize;
use crate::note::NoteKey;
use crate::store::disk::ExportError;
use crate::store::disk::journal::{Scan, segment_path, segments};
use crate::store::disk::rehash::{Rehash, rehash_journal};
use crate::store::disk::{Layout, StoreError};
use crate::store::signed_head::{SignedHead, read_signed};

/// Bytes that are copied with one write.
const COPY_BYTES: usize = 1 << 20;

/// Takes the entries of one batch.
pub type TakeBatch<'a> = dyn FnMut(&[&[u8]]) -> Result<(), ExportError> + 'a;

/// A log to back up or to export, also while it is served. This crate has all implementations.
pub trait BackupSource {
    /// The log's place, for messages.
    fn name(&self) -> String;

    /// The last head with a quorum of witnesses, if there is one, and the last signed head. The batches that are read later
    /// hold at least that.
    ///
    /// # Errors
    /// [`StoreError`] if there is no signed head, or it does not check.
    fn heads(&self, key: &NoteKey) -> Result<Heads, StoreError>;

    /// First indices of the segments of a backup up to `size`, in order, if an earlier one has those in `there`.
    ///
    /// # Errors
    /// [`StoreError`].
    fn segments(&self, size: TreeSize, there: &[u64]) -> Result<Vec<u64>, StoreError>;

    /// Whether the log may still have a sealed segment that a backup has with this length.
    fn may_have(&self, first: u64, length: u64) -> bool;

    /// Writes whole batches from `first` up to `until` into a segment `new`. `tree` is the tree before them, and `old` an
    /// earlier backup's segment, if it has one.
    ///
    /// # Errors
    /// [`StoreError`]; `new` is not to be used then.
    fn copy(
        &self,
        first: u64,
        until: TreeSize,
        tree: &Rehash,
        old: &Path,
        new: &Path,
    ) -> Result<(), StoreError>;

    /// Grows `tree`, which is empty, by all entries up to `until`.
    ///
    /// # Errors
    /// [`StoreError`] if the log does not check.
    fn rehash(&self, until: TreeSize, tree: Rehash) -> Result<Rehash, StoreError>;

    /// Calls `take` with the entries of each batch, in order, at least up to `until` if the log has so many.
    ///
    /// # Errors
    /// [`StoreError`], and those of `take`.
    fn each_batch(&self, until: TreeSize, take: &mut TakeBatch<'_>) -> Result<(), ExportError>;
}

/// The heads of a log that is backed up.
#[derive(Debug, Clone)]
pub struct Heads {
    /// The last one with a quorum of witnesses.
    pub witnessed: Option<Vec<u8>>,
    /// The last signed one, not smaller.
    pub signed: SignedHead,
}

/// A log in its directory.
pub struct JournalToCopy {
    layout: Layout,
    key: NoteKey,
    io: Arc<dyn DiskIo>,
}

impl JournalToCopy {
    /// The log in `dir`, whose key's name is the origin.
    #[must_use]
    pub fn new(dir: &Path, key: &NoteKey, io: Arc<dyn DiskIo>) -> Self {
        Self { layout: Layout::new(dir), key: key.clone(), io }
    }

    fn segment(&self, first: u64) -> PathBuf {
        segment_path(&self.layout.journal(), first)
    }

    fn copy_bytes(&self, from: &Path, to: &Path, length: u64) -> Result<(), DiskError> {
        let mut source = File::open(from).map_err(DiskError::io("open", from))?.take(length);
        let target = self.io.create(to).map_err(DiskError::io("create", to))?;
        let (mut buffer, mut offset) = (vec![0; COPY_BYTES], 0);
        loop {
            let count = source.read(&mut buffer).map_err(DiskError::io("read", from))?;
            if count == 0 {
                break;
            }
            self.io.write_at(&target, to, &buffer[..count], offset).map_err(DiskError::io("write", to))?;
            offset += count as u64;
        }
        self.io.sync_all(&target, to).map_err(DiskError::io("fsync", to))
    }
}

impl BackupSource for JournalToCopy {
    fn name(&self) -> String {
        self.layout.dir().display().to_string()
    }

    fn heads(&self, key: &NoteKey) -> Result<Heads, StoreError> {
        // First: a head with its quorum is never larger than a signed head that is read later.
        let witnessed = read_note(&self.layout.witnessed())?;
        // Then: a journal that is read later holds at least this much.
        let path = self.layout.checkpoint();
        let signed = read_signed(&path, key)?.ok_or(StoreError::CheckpointMissing { path })?;
        Ok(Heads { witnessed, signed })
    }

    fn segments(&self, size: TreeSize, _: &[u64]) -> Result<Vec<u64>, StoreError> {
        let all = segments(&self.layout.journal())?;
        Ok(all.into_iter().filter(|first| *first < size.get()).collect())
    }

    fn may_have(&self, first: u64, length: u64) -> bool {
        fs::symlink_metadata(self.segment(first)).is_ok_and(|meta| meta.is_file() && meta.len() == length)
    }

    fn copy(
        &self,
        first: u64,
        until: TreeSize,
        tree: &Rehash,
        _: &Path,
        new: &Path,
    ) -> Result<(), StoreError> {
        let (from, origin) = (self.segment(first), origin_hash(self.key.name().as_str()));
        let (_, length) = read_segment(&from, origin, first, until, tree.clone())?;
        Ok(self.copy_bytes(&from, new, length)?)
    }

    fn rehash(&self, until: TreeSize, tree: Rehash) -> Result<Rehash, StoreError> {
        let origin = origin_hash(self.key.name().as_str());
        rehash_journal(&self.layout.journal(), origin, Some(until), tree, &|_, _| ())
    }

    fn each_batch(&self, until: TreeSize, take: &mut TakeBatch<'_>) -> Result<(), ExportError> {
        let mut scan = Scan::new(&self.layout.journal(), origin_hash(self.key.name().as_str()), None)?;
        while scan.size() < until {
            let Some(record) = scan.next_record()? else { break };
            take(&record.entries())?;
        }
        Ok(())
    }
}
