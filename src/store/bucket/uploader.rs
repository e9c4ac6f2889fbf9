//! Uploads full tiles and bundles in the background, before a head needs them.
//!
//! Their bytes depend only on batches that are already in the bucket, so a late upload is correct even after another
//! server has taken over. A head relies only on tiles that the bucket has acknowledged: it waits for the uploads in
//! flight, and writes the remaining tiles itself.

use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;

use super::reader::BucketEntries;
use super::{parallel, tiles};
use crate::bucket::Objects;
use crate::merkle::{Tile, TreeSize};
use crate::store::StoreError;
use crate::store::derived::{Reader, Tree};
use crate::threads;

/// Longest queue, in tiles. The head that needs further tiles writes them itself.
const MOST_QUEUED: usize = 4_096;

/// The threads that upload tiles in the background.
pub struct TileUploader {
    shared: Arc<Shared>,
    /// Concurrent requests. Below two, there are no background uploads.
    at_once: usize,
    /// Started with the first tile, because a standby needs no threads.
    threads: Vec<JoinHandle<()>>,
    /// All full tiles of a tree of this size were queued, or belong to a head in the bucket.
    queued: TreeSize,
}

struct Shared {
    objects: Arc<dyn Objects>,
    reader: Arc<Reader<BucketEntries>>,
    state: Mutex<State>,
    /// Signalled when a tile is queued, and when the threads should stop.
    work: Condvar,
    /// Signalled when nothing is queued or in flight.
    idle: Condvar,
}

#[derive(Default)]
struct State {
    queue: VecDeque<(Tile, TreeSize)>,
    under_way: usize,
    /// Tiles that the bucket has acknowledged, with the tree size at which each was queued.
    written: BTreeMap<Tile, TreeSize>,
    stopped: bool,
}

impl TileUploader {
    /// Makes an uploader that has no threads yet.
    pub fn new(objects: Arc<dyn Objects>, reader: Arc<Reader<BucketEntries>>, at_once: usize) -> Self {
        let (state, work, idle) = (Mutex::default(), Condvar::new(), Condvar::new());
        let shared = Arc::new(Shared { objects, reader, state, work, idle });
        Self { shared, at_once, threads: Vec::new(), queued: TreeSize::ZERO }
    }

    /// Queues the full tiles of the applied tree of `size` leaves, except those that the bucket already has for a head
    /// of `tiled` leaves.
    pub fn begin(&mut self, tiled: TreeSize, size: TreeSize) {
        self.queued = self.queued.max(tiled);
        let grown: Vec<Tile> =
            tiles::growth(self.queued, size).into_iter().filter(|tile| tile.is_full()).collect();
        if self.at_once < 2 || grown.is_empty() || !self.start_threads() {
            return;
        }
        let mut state = self.shared.lock();
        if state.queue.len() + grown.len() > MOST_QUEUED {
            return;
        }
        let woken = grown.len().min(self.threads.len());
        state.queue.extend(grown.into_iter().map(|tile| (tile, size)));
        drop(state);
        self.queued = size;
        // Wake one thread per tile. More threads would wake for nothing, on cores that the next batch needs.
        (0..woken).for_each(|_| self.shared.work.notify_one());
    }

    /// Returns false if not even one thread can be started. Heads then write all their tiles themselves.
    fn start_threads(&mut self) -> bool {
        while self.threads.len() < self.at_once {
            let shared = self.shared.clone();
            let Ok(thread) = threads::start("tiles", move || shared.run()) else { break };
            self.threads.push(thread);
        }
        !self.threads.is_empty()
    }

    /// Writes the partial tiles, waits for the queued and in-flight ones, then writes each full one of `tiles` that is still
    /// missing. `tiles` belong to `tree` at `size` leaves.
    ///
    /// # Errors
    /// [`StoreError`]. A retry skips the tiles that the background threads have written.
    pub fn finish(&self, tree: &Tree, size: TreeSize, tiles: Vec<Tile>) -> Result<(), StoreError> {
        if tiles.is_empty() {
            return Ok(());
        }
        let write = |tile: &Tile| {
            tiles::put(
                self.shared.objects.as_ref(),
                tile,
                &tiles::bytes(tree, self.shared.reader.entries(), tile)?,
            )?;
            self.shared.lock().written.insert(*tile, size);
            Ok(())
        };
        let (full, partial): (Vec<Tile>, Vec<Tile>) = tiles.into_iter().partition(|tile| tile.is_full());
        // Only this call writes the partial tiles. The full tiles in flight continue meanwhile.
        self.write_left(partial, write)?;
        drop(self.shared.wait_until_idle(self.shared.lock()));
        self.write_left(full, write)
    }

    /// Writes each of `tiles` that is not in the bucket yet.
    fn write_left(
        &self,
        mut tiles: Vec<Tile>,
        write: impl Fn(&Tile) -> Result<(), StoreError> + Sync,
    ) -> Result<(), StoreError> {
        let state = self.shared.lock();
        tiles.retain(|tile| !state.written.contains_key(tile));
        drop(state);
        parallel::map(&tiles, self.at_once, write).map(drop)
    }

    /// Forgets the tiles of a head of this size: the bucket has them all.
    pub fn release(&self, tiled: TreeSize) {
        self.shared.lock().written.retain(|_, size| *size > tiled);
    }

    /// Drops the queue and waits for the uploads in flight, because the tree is about to be reopened. Forgets which tiles were
    /// written: a damaged tree may have made them.
    pub fn discard(&mut self) {
        let mut state = self.shared.lock();
        state.queue.clear();
        state = self.shared.wait_until_idle(state);
        state.written.clear();
        drop(state);
        self.queued = TreeSize::ZERO;
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic while it is held")
    }

    fn wait_until_idle<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let is_busy = |state: &mut State| !state.queue.is_empty() || state.under_way > 0;
        self.idle.wait_while(state, is_busy).expect("no panic while it is held")
    }

    /// Writes queued tiles, one at a time, until told to stop.
    fn run(&self) {
        let mut state = self.lock();
        while !state.stopped {
            let Some((tile, size)) = state.queue.pop_front() else {
                state = self.work.wait(state).expect("no panic while it is held");
                continue;
            };
            state.under_way += 1;
            drop(state);
            // sled may panic on damaged pages.
            let written = catch_unwind(AssertUnwindSafe(|| self.write(&tile)));
            state = self.lock();
            state.under_way -= 1;
            match written {
                Ok(Ok(())) => drop(state.written.insert(tile, size)),
                // The head that needs these tiles retries them and reports the error. The rest of the queue would only
                // delay it.
                Ok(Err(_)) | Err(_) => state.queue.clear(),
            }
            if state.queue.is_empty() && state.under_way == 0 {
                self.idle.notify_all();
            }
        }
    }

    fn write(&self, tile: &Tile) -> Result<(), StoreError> {
        let views = self.reader.views()?;
        let bytes = tiles::bytes(&views.tree, self.reader.entries(), tile)?;
        // Let the tree be reopened during the upload.
        drop(views);
        tiles::put(self.objects.as_ref(), tile, &bytes)
    }
}

impl Drop for TileUploader {
    /// Waits for the uploads in flight.
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.stopped = true;
        state.queue.clear();
        drop(state);
        self.shared.work.notify_all();
        // The threads catch their own panics.
        self.threads.drain(..).for_each(|thread| drop(thread.join()));
    }
}
