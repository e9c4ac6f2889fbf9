//! The [`Store`] implementation for a log in a bucket.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::cache::BundleCache;
use super::chain::{Appended, ChainOptions, HeadReplaced};
use super::fitness::Fitness;
use super::follow::ChainReader;
use super::index_objects::IndexUploader;
use super::local::{Failed, Recovered, Writer, discard, root_at};
use super::options::BucketOptions;
use super::reader::BucketEntries;
use super::tail::Tail;
use super::uploader::TileUploader;
use super::{Chain, ChainError, HeadKind, LeaseKeeper, cold, tiles};
use crate::checkpoint::{self, Origin, origin_hash};
use crate::disk::{DirLock, DiskError, remove_dir};
use crate::merkle::{Hash, RightEdge, TreeSize};
use crate::note::KeyName;
use crate::store::derived::index::{IndexOptions, IndexRows};
use crate::store::derived::{
    BatchReader as _, CatchUp, Opened, Place, Reader, RowWriter, Tree, Views, tree_fault,
};
use crate::store::{Batch, Layout, OpenOptions, Staged, Store, StoreError, StoreReader, Turn};

/// Interval between rewrites of the partial tiles, far shorter than the expiry that `treehead store-policy` sets.
const REFRESH: Duration = Duration::from_secs(24 * 60 * 60);

/// An append first checks that the bucket has the end of the chain, if the last evidence of that is older than this.
/// The next head detects a more recent rollback.
const UNHEARD: Duration = Duration::from_secs(2);

/// A log in a bucket: the chain of batches in the bucket, and a disposable local directory with the tree and the index.
pub struct BucketStore {
    layout: Layout,
    options: BucketOptions,
    reader: Arc<Reader<BucketEntries>>,
    chain: Chain,
    writer: Option<Writer>,
    /// The bucket has all tiles for a head of this size.
    tiled: TreeSize,
    /// Uploads full tiles before a head needs them.
    uploader: TileUploader,
    lease: Option<Arc<LeaseKeeper>>,
    fitness: Fitness,
    /// The time of the last evidence that the bucket has the end of the chain.
    heard: Instant,
    /// Whether an empty cache may be loaded from the tiles and the index in the bucket. Cleared after the first load,
    /// so that a cache which fails its checks is rebuilt from the batches instead.
    may_load: bool,
    /// Time of the next rewrite of the heads' partial tiles.
    refresh: Instant,
    /// True while this process appends.
    appends: Arc<AtomicBool>,
    _index_uploader: IndexUploader,
    /// The last field, so that it drops after everything that writes.
    _lock: DirLock,
}

impl BucketStore {
    /// Opens the log with its cache in `dir`, which may be empty, and applies all batches in the bucket.
    ///
    /// # Errors
    /// [`StoreError`], for instance if another process holds the directory, if the bucket is unreachable, or if it has
    /// fewer batches than the cache covers.
    pub fn open(dir: &Path, options: BucketOptions) -> Result<Self, StoreError> {
        let layout = Layout::new(dir);
        fs::create_dir_all(dir).map_err(DiskError::io("create", dir))?;
        let lock = DirLock::acquire(&layout.lock())?;
        let name = KeyName::new(&options.open.origin)
            .map_err(|e| StoreError::Damaged { what: "the origin".to_owned(), detail: e.to_string() })?;
        let origin = Origin::from(name);
        let entries = BucketEntries {
            objects: options.objects.clone(),
            origin: origin_hash(&options.open.origin),
            tail: Tail::default(),
            cache: BundleCache::new(dir.join("bundles"), options.bundle_bytes),
            threads: options.threads,
            tree_damaged: AtomicBool::new(false),
        };
        let keys = options.open.log_key.iter().cloned().collect();
        let chain = ChainOptions::new(options.objects.clone(), origin, keys, options.writer);
        // Read the heads first: they give a lower bound on the size of the log.
        let chain = Chain::open(chain, RightEdge::default(), |_| Ok::<_, StoreError>(Hash::EMPTY_ROOT))?;
        let reader = Arc::new(Reader::new(entries, options.open.describe.clone()));
        let appends = Arc::<AtomicBool>::default();
        let index_uploader = IndexUploader::start(options.objects.clone(), layout.index(), appends.clone())?;
        let uploader = TileUploader::new(options.objects.clone(), reader.clone(), options.threads);
        let (writer, tiled, lease) = (None, TreeSize::ZERO, None);
        let fitness = Fitness::new(Duration::from_secs(options.lease_seconds.unwrap_or_default().into()));
        let mut store = Self {
            layout,
            options,
            reader,
            chain,
            writer,
            tiled,
            uploader,
            lease,
            fitness,
            heard: Instant::now(),
            may_load: true,
            refresh: Instant::now(),
            appends,
            _index_uploader: index_uploader,
            _lock: lock,
        };
        store.recover()?;
        // Ask for the lease only after the cache has caught up. Earlier, it would only block the other servers.
        store.lease = LeaseKeeper::of(&store.options)?.map(Arc::new);
        Ok(store)
    }

    /// The lease, for metrics. Dropping the store releases it.
    #[must_use]
    pub fn lease(&self) -> Option<Weak<LeaseKeeper>> {
        self.lease.as_ref().map(Arc::downgrade)
    }

    fn recover(&mut self) -> Result<(), StoreError> {
        self.may_load = true;
        let (layout, io) = (self.layout.clone(), self.options.open.io.clone());
        // sled may panic on damaged pages, also after it has opened.
        let mut catch_up = || {
            catch_unwind(AssertUnwindSafe(|| self.catch_up())).unwrap_or_else(|_| {
                Err(StoreError::TreeDamaged { detail: "sled panicked while it was read".to_owned() })
            })
        };
        let mut attempts = 1;
        let caught_up = loop {
            match catch_up() {
                // Three attempts: the existing cache, a cache from the bucket's tiles and index, a cache from the
                // batches.
                Err(error) if attempts < 3 => {
                    let Some(why) = tree_fault(&error) else { return Err(error) };
                    tracing::warn!(%why, "rebuilding the tree from the bucket");
                    discard(&layout, io.clone())?;
                    attempts += 1;
                }
                caught_up => break caught_up?,
            }
        };
        let Recovered { rows, index, tree, db } = caught_up;
        self.reader.show(Some(Views { tree, index: index.index().clone(), db }));
        self.writer = Some(Writer { rows, index, failed: None });
        self.note_tiles();
        Ok(())
    }

    /// Opens the cache and applies the batches that it lacks.
    fn catch_up(&mut self) -> Result<Recovered, StoreError> {
        let OpenOptions { io, cache_bytes, .. } = &self.options.open;
        let Opened { db, tree: tree_rows } =
            self.layout.sled_dir(io.clone()).open(*cache_bytes, Opened::new)?;
        if Tree::empty(tree_rows.clone()).cursor()?.is_none() {
            // An interrupted start leaves rows without a cursor.
            tree_rows.clear()?;
            if std::mem::take(&mut self.may_load) {
                self.load_cold(&tree_rows)?;
            }
        }
        let OpenOptions { io, describe, progress, row_lag, .. } = &self.options.open;
        let entries = self.reader.entries();
        let tree = Tree::empty(tree_rows).keeping_partial();
        let (tree, _) = tree.open(|tree, cursor| tree.partial_leaves(cursor.size))?;
        // This also compares the cache with the bucket.
        self.chain.restart(tree.peaks(), root_at(&tree))?;
        let (begin, target) = (self.covered(), self.covered());
        entries.tail.restart(begin);
        let (begin, size) = (entries.tail.begin(), tree.peaks().size().get());
        for batch in entries.batches(begin.min(size)..size)? {
            entries.tail.push(batch.head().first.get(), batch.entries());
        }
        let mut index = CatchUp::open(self.index_options(), &tree, entries, describe)?;
        let rows = RowWriter::new(tree.clone(), io.clone(), *row_lag, Arc::new(|| ()))?;
        let mut batches = ChainReader::new(&mut self.chain, entries, target);
        index.apply(&rows, &mut batches, |group, _| {
            let batches = group.batches.iter();
            batches
                .for_each(|batch| entries.tail.push(batch.object.head().first.get(), batch.object.entries()));
            let (done, total) = group.progress;
            progress(done, total);
            Ok((Vec::new(), Place::default()))
        })?;
        // The index may be ahead of the tree: its manifest survives a power cut that the tree's last rows do not.
        let indexed = index.indexed().size;
        if indexed > tree.peaks().size() {
            let expected = format!("batches up to tree size {indexed}, which the local index covers");
            let seen = format!("an end at {}", tree.peaks().size());
            return Err(ChainError::RolledBack { expected, seen }.into());
        }
        let index = index.finish()?;
        Ok(Recovered { rows, index, tree, db })
    }

    /// Loads an empty cache from the tiles and the index in the bucket. Leaves it empty if they fail their checks.
    fn load_cold(&self, tree_rows: &sled::Tree) -> Result<(), StoreError> {
        let heads = HeadKind::ALL.into_iter().filter_map(|kind| Some(&self.chain.head(kind)?.head));
        let Some(head) = heads.max_by_key(|head| head.size) else { return Ok(()) };
        let (tree, index) = (Tree::empty(tree_rows.clone()).keeping_partial(), self.index_options());
        if cold::load(&tree, head, self.reader.entries(), &self.options.open, &index)? {
            return Ok(());
        }
        remove_dir(&index.dir)?;
        Ok(tree_rows.clear()?)
    }

    fn index_options(&self) -> IndexOptions {
        let OpenOptions { io, index_bytes, seal_pointers, .. } = &self.options.open;
        let (dir, io) = (self.layout.index(), io.clone());
        IndexOptions { dir, io, filter_bytes: *index_bytes, seal_pointers: *seal_pointers }
    }

    /// The size of the largest head in the bucket.
    fn covered(&self) -> TreeSize {
        let sizes = HeadKind::ALL.into_iter().filter_map(|kind| Some(self.chain.head(kind)?.head.size));
        sizes.max().unwrap_or_default()
    }

    /// Records that the bucket has the tiles of its heads: tiles precede heads.
    fn note_tiles(&mut self) {
        self.tiled = self.tiled.max(self.covered());
        self.reader.entries().tail.release(self.tiled);
        self.uploader.release(self.tiled);
    }

    fn writer(&mut self) -> Result<&mut Writer, StoreError> {
        self.writer.as_mut().filter(|writer| writer.failed.is_none()).ok_or(StoreError::Reloading)
    }

    /// Marks `failed` as the failed step until [`succeeded`](Self::succeeded) clears it.
    fn begin(&mut self, failed: Failed) -> Result<&mut Writer, StoreError> {
        let is_damaged = self.reader.entries().tree_damaged.swap(false, Ordering::Relaxed);
        let writer = self.writer()?;
        if is_damaged {
            writer.failed = Some(Failed::Check);
            return Err(StoreError::TreeDamaged {
                detail: "a reader found a tile that does not match the tree".to_owned(),
            });
        }
        writer.failed = Some(failed);
        Ok(writer)
    }

    fn succeeded(&mut self) {
        self.writer.iter_mut().for_each(|writer| writer.failed = None);
    }

    /// Records how a step failed, so that a reload knows what to repair.
    fn failed(&mut self, error: &StoreError) {
        let is_failure = !matches!(error, StoreError::Overtaken { .. });
        self.writer.iter_mut().filter(|_| is_failure).for_each(|writer| writer.fail(error));
    }

    /// Applies a batch of the chain to the cache, which makes it readable.
    fn ingest(&mut self, batch: &Batch) -> Result<(), StoreError> {
        let reader = self.reader.clone();
        let writer = self.begin(Failed::Apply)?;
        reader.entries().tail.push(batch.first.get(), batch.entries.iter().map(Vec::as_slice));
        let applied = writer.rows.apply(&batch.growth, &[], Place::default()).map_err(StoreError::from);
        if let Err(e) = applied.and_then(|()| writer.index.push(IndexRows::of(batch))) {
            // sled does not always report a full disk as such, so ask the disk.
            let room = self.layout.check_room(self.options.open.io.as_ref());
            return Err(room.err().map_or(e, StoreError::from));
        }
        writer.failed = None;
        Ok(())
    }

    /// Applies all further batches of the chain.
    fn ingest_all(&mut self) -> Result<(), StoreError> {
        loop {
            let reader = self.reader.clone();
            let mut batches = ChainReader::new(&mut self.chain, reader.entries(), TreeSize::ZERO);
            let Some(followed) = batches.next_batch()? else { break };
            let batch = followed.into_batch(&self.options.open.describe);
            self.ingest(&batch)?;
        }
        self.heard = Instant::now();
        self.note_tiles();
        Ok(())
    }

    /// Resumes from the tree in the cache after a failed request.
    fn restart(&mut self) -> Result<(), StoreError> {
        let views = self.reader.views()?;
        self.chain.restart(views.tree.peaks(), root_at(&views.tree))?;
        self.succeeded();
        self.ingest_all()
    }

    /// Reads the heads. The caller reads the batches afterwards, and so finds every batch that these heads cover.
    fn follow_heads(&mut self) -> Result<(), StoreError> {
        let views = self.reader.views()?;
        self.chain.read_head(HeadKind::Published, root_at(&views.tree))?;
        if self.options.has_witnesses {
            self.chain.read_head(HeadKind::Signed, root_at(&views.tree))?;
        }
        self.succeeded();
        Ok(())
    }

    /// The head that the log itself replaces when it signs.
    const fn signed_kind(&self) -> HeadKind {
        if self.options.has_witnesses { HeadKind::Signed } else { HeadKind::Published }
    }

    /// Rewrites the partial tiles of the heads in the bucket. The bucket's lifecycle rule deletes old partial tiles,
    /// and a quiet log still needs its old ones.
    fn refresh_partial(&self) -> Result<(), StoreError> {
        let views = self.reader.views()?;
        let BucketOptions { objects, threads, .. } = &self.options;
        let heads = HeadKind::ALL.into_iter().filter_map(|kind| Some(self.chain.head(kind)?.head.size));
        let known = heads.filter(|size| *size <= views.tree.peaks().size());
        for size in known {
            let partial = tiles::partial(size);
            tiles::upload(objects.as_ref(), &views.tree, self.reader.entries(), &partial, *threads)?;
        }
        Ok(())
    }

    /// Writes the tiles of a head, then the head.
    fn replace_head(&mut self, kind: HeadKind, note: &[u8]) -> Result<(), StoreError> {
        let begun = Instant::now();
        let replaced = self.write_head(kind, note);
        let is_done = matches!(replaced, Ok(()) | Err(StoreError::Overtaken { .. }));
        self.fitness.wrote(begun, Instant::now(), is_done);
        replaced.inspect_err(|error| self.failed(error))
    }

    fn write_head(&mut self, kind: HeadKind, note: &[u8]) -> Result<(), StoreError> {
        self.begin(Failed::Request)?;
        let views = self.reader.views()?;
        // The chain rejects a note that does not parse.
        let size = checkpoint::read_unverified(note).map_or(TreeSize::ZERO, |(head, _)| head.size);
        if size <= views.tree.peaks().size() {
            // TILES. A crash leaves some of them. Nobody reads them before a head covers them, and the next server
            // rewrites them.
            self.uploader.finish(&views.tree, size, tiles::growth(self.tiled, size))?;
            self.tiled = self.tiled.max(size);
        }
        // HEAD. A crash leaves the old head or the new one.
        let replaced = self.chain.replace_head(kind, note, root_at(&views.tree))?;
        self.note_tiles();
        self.succeeded();
        match replaced {
            HeadReplaced::Done => Ok(()),
            HeadReplaced::Overtaken => {
                let size = self.chain.head(kind).map_or(TreeSize::ZERO, |head| head.head.size);
                let detail = format!("expected to replace the head in {kind}, saw one of {size} leaves");
                Err(StoreError::Overtaken { detail })
            }
        }
    }
}

impl Drop for BucketStore {
    /// Closes sled cleanly, so that the next start can trust it even after a power cut.
    fn drop(&mut self) {
        let doubtful = [Some(Failed::Apply), Some(Failed::Check)];
        let failed = self.writer.as_ref().is_none_or(|writer| doubtful.contains(&writer.failed));
        self.writer = None; // its threads write what is queued
        self.uploader.discard();
        let Ok(views) = self.reader.views() else { return };
        if failed {
            return;
        }
        if let Err(error) = self.layout.sled_dir(self.options.open.io.clone()).close(&views.db) {
            tracing::warn!(%error, "sled was not closed; should the power fail, it is rebuilt");
        }
    }
}

impl Store for BucketStore {
    fn reader(&self) -> Arc<dyn StoreReader> {
        self.reader.clone()
    }

    fn edge(&self) -> RightEdge {
        self.reader.views().map(|views| views.tree.peaks()).unwrap_or_default()
    }

    fn checkpoint(&self) -> Option<Vec<u8>> {
        // Witnesses may have been added or removed since the last head was signed.
        let other = if self.options.has_witnesses { HeadKind::Published } else { HeadKind::Signed };
        let heads = [other, self.signed_kind()].map(|kind| self.chain.head(kind));
        Some(heads.into_iter().flatten().max_by_key(|head| head.head.size)?.note.clone())
    }

    fn stage(&mut self, batch: &Batch) -> Result<Staged, StoreError> {
        self.reader.undamaged()?;
        self.begin(Failed::Request)?;
        let begun = Instant::now();
        let is_heard = self.heard + UNHEARD > begun;
        let chain = if is_heard { Ok(()) } else { self.chain.check_end() };
        let appended = chain.and_then(|()| self.chain.append(batch)).map_err(StoreError::from);
        self.fitness.wrote(begun, Instant::now(), appended.is_ok());
        match appended.inspect_err(|error| self.reader.notice(error))? {
            Appended::Done => {
                self.succeeded();
                self.heard = Instant::now();
                self.appends.store(true, Ordering::Relaxed);
                Ok(Staged(()))
            }
            Appended::Overtaken { by } => {
                self.succeeded();
                self.appends.store(false, Ordering::Relaxed);
                let detail = format!("writer {by} has already written {}", super::layout::batch(batch.first));
                Err(StoreError::Overtaken { detail })
            }
        }
    }

    fn apply(&mut self, batch: &Batch, _: Staged) -> Result<(), StoreError> {
        self.ingest(batch)?;
        // The batch is in the bucket, so the next head needs these tiles, whichever server signs it. A crash leaves
        // some of them.
        self.uploader.begin(self.tiled, batch.growth.edge.size());
        Ok(())
    }

    fn replace_checkpoint(&mut self, old: Option<&[u8]>, new: &[u8]) -> Result<(), StoreError> {
        self.writer()?;
        let current = self.checkpoint();
        if current.as_deref() != old {
            let text = |bytes: Option<&[u8]>| bytes.map_or("none".to_owned(), crate::format::quote_bytes);
            return Err(StoreError::CheckpointMoved { expected: text(old), seen: text(current.as_deref()) });
        }
        self.replace_head(self.signed_kind(), new)
    }

    fn witnessed(&self) -> Option<Vec<u8>> {
        let published = self.chain.head(HeadKind::Published).filter(|_| self.options.has_witnesses);
        published.map(|head| head.note.clone())
    }

    fn replace_witnessed(&mut self, note: &[u8]) -> Result<(), StoreError> {
        self.writer()?;
        self.replace_head(HeadKind::Published, note)
    }

    fn reload(&mut self) -> Result<(), StoreError> {
        self.reader.undamaged()?;
        let failed = self.writer.as_ref().and_then(|writer| writer.failed);
        if self.writer.is_some() && matches!(failed, None | Some(Failed::Request)) {
            // The tree in memory covers only batches that are in the bucket, so reads continue meanwhile.
            return self.restart().inspect_err(|error| self.failed(error));
        }
        if failed.is_some() {
            self.layout.check_room(self.options.open.io.as_ref())?;
        }
        // Join the writer's threads and close sled before reopening. Meanwhile readers get the error that the tree is
        // being reloaded.
        self.writer = None;
        self.uploader.discard();
        self.reader.show(None);
        if failed == Some(Failed::Check) {
            tracing::warn!("the tree in sled is damaged; rebuilding it from the bucket");
            discard(&self.layout, self.options.open.io.clone())?;
            // Tiles of the next head that it made are written again.
            self.tiled = TreeSize::ZERO;
        }
        self.recover()
    }

    fn may_be_overtaken(&self) -> bool {
        true
    }

    fn follow(&mut self) -> Result<(), StoreError> {
        self.begin(Failed::Request)?;
        self.follow_heads().and_then(|()| self.ingest_all()).inspect_err(|error| self.failed(error))
    }

    fn turn(&mut self) -> Result<Turn, StoreError> {
        let now = Instant::now();
        if let Some(lease) = &self.lease {
            // A process that can't append, because its disk is full or damaged, must not keep the lease.
            let is_sound =
                self.reader.undamaged().is_ok() && self.writer.as_ref().is_some_and(|w| w.failed.is_none());
            lease.want(self.fitness.wants_lease(is_sound, now));
        }
        let turn = self.lease.as_ref().map_or(Turn::Hold, |lease| lease.turn(now));
        if turn == Turn::Hold && self.refresh <= now {
            self.refresh = now + REFRESH;
            if let Err(error) = self.refresh_partial() {
                tracing::warn!(%error, "could not rewrite the partial tiles; will retry in an hour");
                self.refresh = now + REFRESH / 24;
            }
        }
        Ok(turn)
    }
}

#[cfg(test)]
mod tests;
