//! The store that runs: journal, sled and checkpoint file in one directory, and the tools that copy and
//! repair it.

mod backup;
mod catch_up;
mod copy_error;
mod entries;
mod export;
mod export_place;
mod export_source;
mod fsck;
pub(super) mod journal;
mod layout;
mod leaves;
#[cfg(feature = "bucket")]
pub(super) mod moving;
mod rebuild;
pub(super) mod rehash;
mod repair;
mod restore;
mod swap;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::{Batch, Describe, Staged, Store, StoreError, StoreReader};
use crate::checkpoint::origin_hash;
use crate::disk::{DirLock, DiskError, RealDisk, SledIo, SlotFile, read_note, remove_dir};
use crate::merkle::RightEdge;
use crate::note::NoteKey;
use crate::release::Facts;
use crate::store::derived::index::{self, IndexRows, IndexWriter, PointerSum};
use crate::store::derived::{Reader, RowWriter, TreeRows, Views, tree_fault};
use crate::store::signed_head::{self, check_holds};
pub use backup::{
    BackedUp, Backup, BackupSource, Companion, Heads, JournalToCopy, TakeBatch, marker as backup_marker,
};
use catch_up::Recovered;
pub use copy_error::CopyError;
use entries::JournalEntries;
#[cfg(feature = "bucket")]
pub(super) use export::shown_head;
pub use export::{Export, ExportError, Exported};
pub use export_place::{ExportDirectory, ExportPlace};
pub use export_source::ExportSource;
pub use fsck::{Fsck, FsckError, SledSeen, Sound};
use journal::{Cursor, Journal, Position, bundle_places};
pub use journal::{Record, Scan};
use layout::open_tree_rows;
pub use layout::{Layout, discard_tree};
pub use rebuild::{Counts, EntrySource, JournalSource};
#[cfg(feature = "bucket")]
pub(super) use rehash::{Rehash, rehash_journal};
pub use repair::{CheckpointWas, Repair, Repaired};
pub use restore::{Restore, Restored, check_backup};

/// Memory for the filters of 250 million lookup keys.
pub const INDEX_BYTES: u64 = 512 * 1024 * 1024;

/// How to open a store.
pub struct OpenOptions {
    /// The log's origin; segments of another log are refused.
    pub origin: String,
    /// Computes what the indexes hold of an entry.
    pub describe: Describe,
    /// Called with the bytes of the journal read and in all, while the tree catches up.
    pub progress: Arc<dyn Fn(u64, u64) + Send + Sync>,
    /// sled's cache in bytes. It does not bound sled's memory, only guides it.
    pub cache_bytes: u64,
    /// Memory for the filters of the index, in bytes: two bytes a lookup key. Beyond it, lookups read more.
    pub index_bytes: u64,
    /// Pointers of the index that are sealed into one file.
    pub seal_pointers: usize,
    /// The longest time until the tree's newest rows are in sled, after a kill read again from the journal. If
    /// it is zero, they are written before a batch is applied.
    pub row_lag: Duration,
    /// Full tiles whose leaf hashes are written out together, 1 to 256.
    pub leaf_tiles: usize,
    /// The disk, or what a test puts in its place.
    pub io: Arc<dyn SledIo>,
    /// A journal segment is sealed when it has grown past this.
    pub segment_bytes: u64,
    /// The key that signs the log's checkpoints: a checkpoint of another key is refused, and so are entries
    /// without a checkpoint. Without a key, the store alone is opened, and nothing is ever signed.
    pub log_key: Option<NoteKey>,
}

impl OpenOptions {
    /// For an opaque log, with a small cache and no progress reports.
    #[must_use]
    pub fn new(origin: &str) -> Self {
        Self {
            origin: origin.to_owned(),
            describe: Arc::new(|_| Facts::default()),
            progress: Arc::new(|_, _| ()),
            cache_bytes: 64 * 1024 * 1024,
            index_bytes: INDEX_BYTES,
            seal_pointers: index::SEAL_POINTERS,
            row_lag: Duration::from_millis(100),
            leaf_tiles: leaves::FRAME_TILES,
            io: Arc::new(RealDisk),
            segment_bytes: journal::SEGMENT_BYTES,
            log_key: None,
        }
    }
}

/// A log in a directory: the journal, sled with tree and index derived from it, and the checkpoint in a file
/// of its own.
pub struct DiskStore {
    layout: Layout,
    options: OpenOptions,
    reader: Arc<Reader<JournalEntries>>,
    writer: Option<Writer>,
    checkpoint: SlotFile,
    witnessed: SlotFile,
    /// Last field: dropped after everything that writes.
    _lock: DirLock,
}

/// Used by the writing thread alone; a reload replaces it.
struct Writer {
    journal: Journal,
    rows: RowWriter,
    index: IndexWriter,
    /// The first entry of the batch that was staged last.
    staged: Option<Position>,
    failed: Option<Failed>,
}

/// The step that failed, which a reload makes good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Failed {
    /// An append: its remains have to be cut off. The tree was not touched.
    Append,
    /// An apply: nobody knows what sled has. It is opened again, and catches up.
    Apply,
    /// A replacement of a checkpoint: both checkpoint files are read again.
    Checkpoint,
}

impl DiskStore {
    /// Opens the log in `dir`, or makes an empty one there, and recovers: drops a torn last batch, lets sled
    /// catch up with the journal, and rebuilds it if it is damaged or gone.
    ///
    /// # Errors
    /// [`StoreError`], for instance if another process holds the directory, or the journal does not check or
    /// does not reach the last signed checkpoint.
    pub fn open(dir: &Path, options: OpenOptions) -> Result<Self, StoreError> {
        let layout = Layout::new(dir);
        fs::create_dir_all(dir).map_err(DiskError::io("create", dir))?;
        let lock = DirLock::acquire(&layout.lock())?;
        swap::finish(options.io.as_ref(), &layout)?;
        fs::create_dir_all(layout.journal()).map_err(DiskError::io("create", layout.journal()))?;
        options.io.sync_dir(dir).map_err(DiskError::io("fsync", dir))?;
        let reader = Reader::new(JournalEntries::new(layout.journal()), options.describe.clone());
        let reader = Arc::new(reader);
        let checkpoint = SlotFile::open(options.io.clone(), layout.checkpoint())?;
        let witnessed = SlotFile::open(options.io.clone(), layout.witnessed())?;
        let mut store = Self { layout, options, reader, writer: None, checkpoint, witnessed, _lock: lock };
        store.recover()?;
        Ok(store)
    }

    fn read_heads(&mut self) -> Result<(), StoreError> {
        self.checkpoint = SlotFile::open(self.options.io.clone(), self.layout.checkpoint())?;
        self.witnessed = SlotFile::open(self.options.io.clone(), self.layout.witnessed())?;
        Ok(())
    }

    fn recover(&mut self) -> Result<(), StoreError> {
        self.check_signature()?;
        let origin = origin_hash(&self.options.origin);
        // sled may panic on pages that it did not expect, and not only while it opens.
        let caught_up = catch_unwind(AssertUnwindSafe(|| self.catch_up(origin))).unwrap_or_else(|_| {
            Err(StoreError::TreeDamaged { detail: "sled panicked while it was read".to_owned() })
        });
        let again = |error: StoreError, keep_leaves: bool| {
            let Some(why) = tree_fault(&error) else { return Err(error) };
            tracing::warn!(%why, "rebuilding the tree from the journal");
            // A crash in here leaves no sled or an incomplete one: both are rebuilt. What is left of the index
            // lacks its files, or is believed for the leaves that it was made of.
            self.layout.sled_dir(self.options.io.clone()).discard()?;
            remove_dir(&self.layout.index())?;
            if !keep_leaves {
                self.layout.discard_leaves(self.options.io.as_ref())?;
            }
            self.catch_up(origin)
        };
        // First sled may be wrong, then the leaf hashes that it is made of.
        let caught_up = caught_up.or_else(|error| again(error, true)).or_else(|error| again(error, false));
        let Recovered { db, tree, rows, index, scan } = caught_up?;
        let mut journal = Journal::open(self.options.io.clone(), &self.layout.journal(), origin, &scan)?;
        journal.segment_bytes = self.options.segment_bytes;
        self.reader.show(Some(Views { tree, index: index.index().clone(), db }));
        self.writer = Some(Writer { journal, rows, index, staged: None, failed: None });
        Ok(())
    }

    /// Checks the checkpoint's signature, before anything is cut off or compared with it.
    fn check_signature(&self) -> Result<(), StoreError> {
        let Some(key) = &self.options.log_key else { return Ok(()) };
        let path = self.layout.checkpoint();
        match self.checkpoint.note() {
            Some(note) => signed_head::open(&path, note.to_vec(), key).map(drop),
            // The first head is signed before the first entry is taken.
            None if journal::has_entries(&self.layout.journal())? => {
                Err(StoreError::CheckpointMissing { path })
            }
            None => Ok(()),
        }
    }

    fn writer(&mut self) -> Result<&mut Writer, StoreError> {
        self.writer.as_mut().filter(|writer| writer.failed.is_none()).ok_or(StoreError::Reloading)
    }
}

impl Drop for DiskStore {
    /// Closes sled, so that the next opening need not ask what a power cut took of it.
    fn drop(&mut self) {
        let failed = self.writer.as_ref().is_none_or(|writer| writer.failed.is_some());
        self.writer = None; // its threads write what waits
        let Ok(views) = self.reader.views() else { return };
        if failed {
            return;
        }
        if let Err(error) = self.layout.sled_dir(self.options.io.clone()).close(&views.db) {
            tracing::warn!(%error, "sled was not closed; should the power fail, it is rebuilt");
        }
    }
}

impl Store for DiskStore {
    fn reader(&self) -> Arc<dyn StoreReader> {
        self.reader.clone()
    }

    fn edge(&self) -> RightEdge {
        self.reader.views().map(|views| views.tree.peaks()).unwrap_or_default()
    }

    fn checkpoint(&self) -> Option<Vec<u8>> {
        self.checkpoint.note().map(<[u8]>::to_vec)
    }

    fn stage(&mut self, batch: &Batch) -> Result<Staged, StoreError> {
        self.reader.undamaged()?;
        let reader = self.reader.clone();
        let writer = self.writer()?;
        match writer.journal.append(batch) {
            Ok(first_entry) => {
                writer.staged = Some(first_entry);
                Ok(Staged(()))
            }
            Err(e) => {
                reader.notice(&e);
                writer.failed = Some(Failed::Append);
                Err(e)
            }
        }
    }

    fn apply(&mut self, batch: &Batch, _: Staged) -> Result<(), StoreError> {
        let writer = self.writer()?;
        let first_entry = writer.staged.take().expect("it was staged");
        writer.failed = Some(Failed::Apply); // until it has succeeded
        let lengths = batch.entries.iter().map(Vec::len);
        let bundles = bundle_places(batch.first, lengths, first_entry);
        let place = Cursor::place(first_entry, writer.journal.end());
        let applied = writer
            .rows
            .apply(&batch.growth, &bundles, place)
            .map_err(StoreError::from)
            .and_then(|()| writer.index.push(IndexRows::of(batch)));
        if let Err(e) = applied {
            // sled does not always name the cause. The disk does.
            return Err(self.layout.check_room(self.options.io.as_ref()).err().map_or(e, StoreError::from));
        }
        writer.failed = None;
        Ok(())
    }

    fn replace_checkpoint(&mut self, old: Option<&[u8]>, new: &[u8]) -> Result<(), StoreError> {
        let path = self.layout.checkpoint();
        self.writer()?;
        let current = read_note(&path)?;
        if current.as_deref() != old {
            let text = |bytes: Option<&[u8]>| bytes.map_or("none".to_owned(), crate::format::quote_bytes);
            return Err(StoreError::CheckpointMoved { expected: text(old), seen: text(current.as_deref()) });
        }
        self.writer()?.failed = Some(Failed::Checkpoint); // until it has succeeded
        self.checkpoint.replace(new)?;
        self.writer.iter_mut().for_each(|writer| writer.failed = None);
        Ok(())
    }

    fn witnessed(&self) -> Option<Vec<u8>> {
        self.witnessed.note().map(<[u8]>::to_vec)
    }

    fn replace_witnessed(&mut self, note: &[u8]) -> Result<(), StoreError> {
        self.writer()?.failed = Some(Failed::Checkpoint); // until it has succeeded
        self.witnessed.replace(note)?;
        self.writer.iter_mut().for_each(|writer| writer.failed = None);
        Ok(())
    }

    fn reload(&mut self) -> Result<(), StoreError> {
        // Nothing is cut off, or taken for torn, in files that another process changed.
        self.reader.undamaged()?;
        let failed = self.writer.as_ref().and_then(|writer| writer.failed);
        if let (Some(Failed::Append | Failed::Checkpoint), Some(writer)) = (failed, &mut self.writer) {
            if failed == Some(Failed::Append) {
                let reader = &self.reader;
                writer.journal.cut_failed_append().inspect_err(|error| reader.notice(error))?;
            }
            // Once a failed append is cut off, the tree in memory is the tree of what is durable. So reads go
            // on meanwhile, on a full disk too. But sled never forgets an error of its own.
            if self.reader.views().is_ok_and(|views| views.db.flush().is_ok()) {
                self.read_heads()?;
                // Only here: should reading fail, the next reload tries this way again, and sled stays open.
                self.writer.iter_mut().for_each(|writer| writer.failed = None);
                return Ok(());
            }
        }
        // Reads go on from the sled that is open, even if it can't write, until another can be opened.
        if failed.is_some() {
            self.layout.check_room(self.options.io.as_ref())?;
        }
        // The writer's threads are joined and sled closed before they are opened again. Readers are told
        // meanwhile that the tree is being reloaded.
        self.writer = None;
        self.reader.show(None);
        self.read_heads()?;
        self.recover()
    }
}

#[cfg(test)]
mod tests;
