//! The store that runs: journal, sled and checkpoint file in one directory.

mod reader;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::index::{IndexRows, IndexWriter};
use super::journal::{self, Cursor, Journal, Scan, bundle_starts};
use super::tree::{Tree, TreeCheck, TreeRows};
use super::{Batch, Describe, MAX_BATCH_ENTRIES, Staged, Store, StoreError, StoreReader, signed_head, swap};
use crate::checkpoint;
use crate::checkpoint::origin_hash;
use crate::disk::{DirLock, DiskError, DiskIo, RealDisk, SledDir, SledIo, read_if_exists, replace};
use crate::merkle::{Hash, LeafIndex, RightEdge, TILE_WIDTH, TreeSize, read_root};
use crate::note::NoteKey;
use crate::release::Facts;
use reader::{DiskReader, Views, partial_leaves, read_bundle, split};

/// Where the parts of a log are in its directory.
#[derive(Debug, Clone)]
pub struct Layout(PathBuf);

impl Layout {
    /// The layout of the log in `dir`.
    #[must_use]
    pub fn new(dir: &Path) -> Self {
        Self(dir.to_owned())
    }

    /// The directory itself.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.0
    }

    /// Held by the one process that writes.
    #[must_use]
    pub fn lock(&self) -> PathBuf {
        self.0.join("lock")
    }

    /// Segment files: the truth.
    #[must_use]
    pub fn journal(&self) -> PathBuf {
        self.0.join("journal")
    }

    /// Derived from the journal: may be deleted while no server runs.
    #[must_use]
    pub fn sled(&self) -> PathBuf {
        self.0.join("sled")
    }

    /// There while sled is open, naming the boot of the machine.
    #[must_use]
    pub fn sled_mark(&self) -> PathBuf {
        self.0.join("sled.open")
    }

    /// The last signed checkpoint.
    #[must_use]
    pub fn checkpoint(&self) -> PathBuf {
        self.0.join("checkpoint")
    }

    /// The last head that a quorum of witnesses cosigned: what the world is shown. It is no larger than the
    /// checkpoint, and may be lost: the witnesses are asked again.
    #[must_use]
    pub fn witnessed(&self) -> PathBuf {
        self.0.join("checkpoint.witnessed")
    }

    /// Written and removed again, to see whether the disk takes anything.
    fn room(&self) -> PathBuf {
        self.0.join("room")
    }

    /// Reads the checkpoint. A rename whose fsync failed shows a file that a power cut could still
    /// take back, so its name is made durable before it is believed.
    fn read_checkpoint(&self, io: &dyn DiskIo) -> Result<Option<Vec<u8>>, DiskError> {
        io.sync_dir(&self.0).map_err(DiskError::io("fsync", &self.0))?;
        read_if_exists(&self.checkpoint())
    }
}

/// What opening sled again may write at once, amply.
const ROOM_BYTES: usize = 1024 * 1024;

/// Leaves that are indexed within a second or two; more are worth a word at a start.
const TELL_LEAVES: u64 = 100_000;

/// How to open a store.
pub struct OpenOptions {
    /// The log's origin; segments of another log are refused.
    pub origin: String,
    /// What the indexes hold of an entry.
    pub describe: Describe,
    /// Told how many bytes of the journal were read, of how many, while the tree catches up.
    pub progress: Arc<dyn Fn(u64, u64) + Send + Sync>,
    /// sled's cache in bytes. It does not bound sled's memory, only guides it.
    pub cache_bytes: u64,
    /// What writes: the disk, or what a test puts before it.
    pub io: Arc<dyn SledIo>,
    /// A journal segment is sealed when it has grown past this.
    pub segment_bytes: u64,
    /// The key that signs the log's checkpoints: one that it did not sign is refused, and so are
    /// entries without any. Without a key, the store alone is opened, and nothing is ever signed.
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
            io: Arc::new(RealDisk),
            segment_bytes: journal::SEGMENT_BYTES,
            log_key: None,
        }
    }
}

/// Journal first, sled as the tree and indexes derived from it, the checkpoint on its own.
pub struct DiskStore {
    layout: Layout,
    options: OpenOptions,
    reader: Arc<DiskReader>,
    writer: Option<Writer>,
    checkpoint: Option<Vec<u8>>,
    witnessed: Option<Vec<u8>>,
    /// Last field: dropped after everything that writes.
    _lock: DirLock,
}

/// What only the one writing thread uses; taken down and made anew by a reload.
struct Writer {
    journal: Journal,
    index: IndexWriter,
    failed: Option<Failed>,
}

/// What a reload has to repair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Failed {
    /// The journal's end has to be cut before it is trusted; the tree was not touched.
    Append,
    /// Nobody knows what sled took: it is opened again, and catches up.
    Apply,
    /// A checkpoint file may be the old one or the new one: both are read again.
    Checkpoint,
}

impl DiskStore {
    /// Opens the log in `dir`, or makes an empty one there, and recovers: drops a torn last batch,
    /// lets sled catch up with the journal, and makes it anew where it is damaged or gone.
    ///
    /// # Errors
    /// [`StoreError`], in particular where another process has the directory, the journal does not
    /// check, or does not reach the last signed checkpoint.
    pub fn open(dir: &Path, options: OpenOptions) -> Result<Self, StoreError> {
        let layout = Layout::new(dir);
        fs::create_dir_all(dir).map_err(DiskError::io("create", dir))?;
        let lock = DirLock::acquire(&layout.lock())?;
        swap::finish(options.io.as_ref(), &layout)?;
        fs::create_dir_all(layout.journal()).map_err(DiskError::io("create", layout.journal()))?;
        options.io.sync_dir(dir).map_err(DiskError::io("fsync", dir))?;
        let reader = Arc::new(DiskReader::new(layout.journal(), options.describe.clone()));
        let mut store =
            Self { layout, options, reader, writer: None, checkpoint: None, witnessed: None, _lock: lock };
        store.recover()?;
        Ok(store)
    }

    fn read_heads(&mut self) -> Result<(), StoreError> {
        self.checkpoint = self.layout.read_checkpoint(self.options.io.as_ref())?;
        self.witnessed = read_if_exists(&self.layout.witnessed())?;
        Ok(())
    }

    fn recover(&mut self) -> Result<(), StoreError> {
        self.read_heads()?;
        self.check_signature()?;
        let origin = origin_hash(&self.options.origin);
        // sled may panic on pages that it did not expect, and not only while it opens.
        let caught_up = catch_unwind(AssertUnwindSafe(|| self.catch_up(origin)))
            .unwrap_or_else(|_| Ok(Err(TreeCheck("sled panicked while it was read".to_owned()))));
        let (db, tree, index, scan) = match caught_up.or_else(tree_may_be_wrong)? {
            Ok(opened) => opened,
            Err(why) => {
                tracing::warn!(%why, "making the tree anew from the journal");
                // A crash in here leaves no sled or an incomplete one: both are made anew again.
                self.sled().discard()?;
                self.catch_up(origin)?
                    .map_err(|again| StoreError::TreeDamaged { detail: again.to_string() })?
            }
        };
        let mut journal = Journal::open(self.options.io.clone(), &self.layout.journal(), origin, &scan)?;
        journal.segment_bytes = self.options.segment_bytes;
        self.reader.show(Some(Views { tree, index: index.index().clone(), db }));
        self.writer = Some(Writer { journal, index, failed: None });
        Ok(())
    }

    /// Opens sled and applies what the journal has beyond it. The inner error says why sled has to
    /// be made anew.
    #[expect(clippy::type_complexity, reason = "taken apart at once by the only caller")]
    fn catch_up(
        &self,
        origin: Hash,
    ) -> Result<Result<(sled::Db, Tree, IndexWriter, Scan), TreeCheck>, StoreError> {
        let dir = self.layout.journal();
        let Opened { db, tree: tree_rows, index: index_rows } =
            self.sled().open(self.options.cache_bytes, Opened::new)?;
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
        self.check_against_checkpoint(&tree)?;
        Ok(Ok((db, tree, index, scan)))
    }

    /// Indexes what the tree has and the index has not.
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

    /// Applies the batches that a scan has left, several small ones at once.
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

    /// Before anything is cut off or compared: what the checkpoint says counts only if it was signed.
    fn check_signature(&self) -> Result<(), StoreError> {
        let Some(key) = &self.options.log_key else { return Ok(()) };
        let path = self.layout.checkpoint();
        match &self.checkpoint {
            Some(note) => signed_head::open(&path, note.clone(), key).map(drop),
            // The first head is signed before the first entry is taken.
            None if journal::has_entries(&self.layout.journal())? => {
                Err(StoreError::CheckpointMissing { path })
            }
            None => Ok(()),
        }
    }

    /// What was signed has to be a prefix of what the journal holds.
    fn check_against_checkpoint(&self, tree: &Tree) -> Result<(), StoreError> {
        let Some(bytes) = &self.checkpoint else { return Ok(()) };
        let path = self.layout.checkpoint();
        let (signed, _) = checkpoint::read_unverified(bytes)
            .map_err(|e| StoreError::CheckpointDamaged { path, detail: e.to_string() })?;
        let seen = tree.peaks().size();
        if signed.size > seen {
            return Err(StoreError::JournalShort { signed: signed.size, seen });
        }
        let root = read_root(tree, signed.size)?.root();
        if root != signed.root {
            let (expected, seen) = (signed.root.to_base64(), root.to_base64());
            return Err(StoreError::JournalForked { size: signed.size, expected, seen });
        }
        Ok(())
    }

    fn sled(&self) -> SledDir {
        SledDir::new(self.layout.sled(), self.layout.sled_mark(), self.options.io.clone())
    }

    /// Whether the disk takes anything: why not, if not.
    fn has_room(&self) -> Result<(), DiskError> {
        let (io, path) = (self.options.io.as_ref(), self.layout.room());
        let file = io.create(&path).map_err(DiskError::io("create", &path))?;
        let written = io
            .write_at(&file, &path, &vec![0; ROOM_BYTES], 0)
            .map_err(DiskError::io("write", &path))
            .and_then(|()| io.sync_all(&file, &path).map_err(DiskError::io("fsync", &path)));
        // A crash before this line leaves the file until somebody asks again.
        io.remove(&path).map_err(DiskError::io("remove", &path)).and(written)
    }

    fn writer(&mut self) -> Result<&mut Writer, StoreError> {
        self.writer.as_mut().filter(|writer| writer.failed.is_none()).ok_or(StoreError::Reloading)
    }
}

/// Opens the tree of the log in `dir` for fsck, with the lock that keeps servers away meanwhile.
///
/// # Errors
/// [`StoreError::Disk`] while the log is served; [`StoreError::TreeDamaged`] where sled does not
/// open.
pub fn open_tree_rows(dir: &Path) -> Result<(TreeRows, DirLock), StoreError> {
    let layout = Layout::new(dir);
    let lock = DirLock::acquire(&layout.lock())?;
    let sled = SledDir::new(layout.sled(), layout.sled_mark(), Arc::new(RealDisk));
    let Opened { db, tree, index } = sled.open_sound(64 * 1024 * 1024, Opened::new)?;
    Ok((TreeRows::new(sled, db, tree, index), lock))
}

/// An open sled and its two trees.
struct Opened {
    db: sled::Db,
    tree: sled::Tree,
    index: sled::Tree,
}

impl Opened {
    fn new(db: &sled::Db) -> sled::Result<Self> {
        Ok(Self { db: db.clone(), tree: db.open_tree("tree")?, index: db.open_tree("index")? })
    }
}

/// Throws the tree away; the next opening makes it anew from the journal.
///
/// # Errors
/// [`StoreError::Disk`] while the log is served.
pub fn discard_tree(dir: &Path) -> Result<(), StoreError> {
    let layout = Layout::new(dir);
    let _lock = DirLock::acquire(&layout.lock())?;
    SledDir::new(layout.sled(), layout.sled_mark(), Arc::new(RealDisk)).discard_marked()?;
    Ok(())
}

impl Drop for DiskStore {
    /// Closes sled, so that the next opening need not ask what a power cut took of it.
    fn drop(&mut self) {
        let failed = self.writer.as_ref().is_none_or(|writer| writer.failed.is_some());
        self.writer = None; // its thread writes what is sealed
        let Ok(views) = self.reader.views() else { return };
        if failed {
            return;
        }
        if let Err(error) = self.sled().close(&views.db) {
            tracing::warn!(%error, "sled was not closed; should the power fail, it is made anew");
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
        self.checkpoint.clone()
    }

    fn stage(&mut self, batch: &Batch) -> Result<Staged, StoreError> {
        self.reader.undamaged()?;
        let reader = self.reader.clone();
        let writer = self.writer()?;
        match writer.journal.append(batch) {
            Ok(first_entry) => Ok(Staged { first_entry }),
            Err(e) => {
                reader.notice(&e);
                writer.failed = Some(Failed::Append);
                Err(e)
            }
        }
    }

    fn apply(&mut self, batch: &Batch, staged: Staged) -> Result<(), StoreError> {
        let views = self.reader.views()?;
        let io = self.options.io.clone();
        let writer = self.writer()?;
        writer.failed = Some(Failed::Apply); // until it has succeeded
        let lengths = batch.entries.iter().map(Vec::len);
        let starts = bundle_starts(batch.first, lengths, staged.first_entry);
        let end = writer.journal.end();
        let applied = io
            .write_rows(&mut || views.tree.apply(&batch.growth, &starts, staged.first_entry, end))
            .map_err(StoreError::from)
            .and_then(|()| writer.index.push(IndexRows::of(batch)));
        if let Err(e) = applied {
            // sled does not always say what it failed for. The disk does.
            return Err(self.has_room().err().map_or(e, StoreError::from));
        }
        writer.failed = None;
        Ok(())
    }

    fn replace_checkpoint(&mut self, old: Option<&[u8]>, new: &[u8]) -> Result<(), StoreError> {
        let path = self.layout.checkpoint();
        self.writer()?;
        let current = read_if_exists(&path)?;
        if current.as_deref() != old {
            let text = |bytes: Option<&[u8]>| bytes.map_or("none".to_owned(), crate::format::quote_bytes);
            return Err(StoreError::CheckpointMoved { expected: text(old), seen: text(current.as_deref()) });
        }
        self.writer()?.failed = Some(Failed::Checkpoint); // until it has succeeded
        replace(self.options.io.as_ref(), &path, new)?;
        self.checkpoint = Some(new.to_vec());
        self.writer.iter_mut().for_each(|writer| writer.failed = None);
        Ok(())
    }

    fn witnessed(&self) -> Option<Vec<u8>> {
        self.witnessed.clone()
    }

    fn replace_witnessed(&mut self, note: &[u8]) -> Result<(), StoreError> {
        self.writer()?.failed = Some(Failed::Checkpoint); // until it has succeeded
        replace(self.options.io.as_ref(), &self.layout.witnessed(), note)?;
        self.witnessed = Some(note.to_vec());
        self.writer.iter_mut().for_each(|writer| writer.failed = None);
        Ok(())
    }

    fn reload(&mut self) -> Result<(), StoreError> {
        // Nothing is cut off, and nothing taken for torn, in files that somebody else has changed.
        self.reader.undamaged()?;
        let failed = self.writer.as_ref().and_then(|writer| writer.failed);
        if let (Some(Failed::Append | Failed::Checkpoint), Some(writer)) = (failed, &mut self.writer) {
            if failed == Some(Failed::Append) {
                let reader = &self.reader;
                writer.journal.cut_failed_append().inspect_err(|error| reader.notice(error))?;
            }
            // The tree in memory is the tree of what is durable once a failed append is cut off, so
            // reads go on meanwhile, on a full disk too. But sled never forgets an error of its own.
            if self.reader.views().is_ok_and(|views| views.db.flush().is_ok()) {
                writer.failed = None;
                return self.read_heads();
            }
        }
        // Reads go on from the sled that is open, even if it can't write, until another can be opened.
        if failed.is_some() {
            self.has_room()?;
        }
        // The index's thread is joined and sled closed before they are opened again. Readers that come by
        // meanwhile are told that the tree is being reloaded.
        self.writer = None;
        self.reader.show(None);
        self.recover()
    }
}

/// The cursor may point at what the journal lost or never had: then sled is made anew, and the scan
/// from the beginning says what the journal lacks.
fn disagrees_with_journal(error: StoreError) -> Result<TreeCheck, StoreError> {
    match &error {
        StoreError::Damaged { .. } => Ok(error.into()),
        StoreError::Disk(DiskError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            Ok(error.into())
        }
        _ => Err(error),
    }
}

/// Only the right edge of a tree is re-hashed when it is opened: where something else in it does not
/// check, the tree is made anew before the journal is blamed.
fn tree_may_be_wrong<T>(error: StoreError) -> Result<Result<T, TreeCheck>, StoreError> {
    match error {
        StoreError::TreeDamaged { .. } | StoreError::JournalForked { .. } => Ok(Err(error.into())),
        _ => Err(error),
    }
}

#[cfg(test)]
mod tests;
