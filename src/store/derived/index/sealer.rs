//! Writing the index: the appending thread writes to memory, a thread of the index to files.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::ffi::OsString;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::sync::{Arc, Mutex, RwLock};
use std::thread::JoinHandle;

use super::manifest::{self, Manifest};
use super::pointer::{Pointer, damaged};
use super::recent::{self, Recent};
use super::run::{self, Run, RunId, RunWriter};
use super::{Damage, Index, IndexOptions, IndexRows, Indexed, SEAL_ENTRY_BYTES, Sealing, State};
use crate::disk::{DiskError, list_dir};
use crate::store::StoreError;
use crate::threads;

/// Sealed runs that may wait for the thread. This bounds their memory; if the index can't keep up, appends
/// wait.
const WAITING_RUNS: usize = 8;
/// Runs of one level that are merged into one of the next: at ten million leaves a lookup asks at most twenty
/// filters, and a pointer was written three times.
const FAN_IN: usize = 8;
/// Pointers merged between two looks at the queue.
const MERGE_STEP: usize = 65_536;
/// Runs that are sealed before merging is tried again, where the disk had no room for it.
const REST_SEALS: usize = 8;

/// The index, for the one thread that appends.
pub struct IndexWriter {
    index: Index,
    seal_pointers: usize,
    /// Bytes of the entries that the recent pointers are of.
    recent_bytes: usize,
    queue: Option<SyncSender<Arc<Sealing>>>,
    /// Why the thread ended, if it did.
    failure: Arc<Mutex<Option<StoreError>>>,
    thread: Option<JoinHandle<()>>,
}

impl IndexWriter {
    /// Opens the index, and starts the thread. Also returns the leaves that are indexed: the caller compares
    /// them with the tree, and pushes the later ones next.
    ///
    /// # Errors
    /// [`StoreError::TreeDamaged`] if files are missing or don't check; [`StoreError::Threads`].
    pub fn open(options: IndexOptions) -> Result<(Self, Indexed), StoreError> {
        let (dir, seal_pointers) = (&options.dir, options.seal_pointers);
        // Its name need not be durable: an index that is gone is made anew.
        std::fs::create_dir_all(dir).map_err(DiskError::io("create", dir))?;
        let manifest = Manifest::read(dir)?;
        let indexed = manifest.indexed;
        let runs = Arc::new(manifest.open(dir)?.into_iter().map(Arc::new).collect());
        let state = State { runs, sealing: Vec::new(), recent: Recent::new(seal_pointers) };
        let state = Arc::new(RwLock::new(state));
        let (seen, manifest_path) = (AtomicBool::new(false), dir.join(manifest::FILE_NAME));
        let damage = Arc::new(Damage { seen, manifest: manifest_path, io: options.io.clone() });
        let index = Index { state, damage };
        let (queue, sealed) = sync_channel(WAITING_RUNS);
        let failure = Arc::<Mutex<Option<StoreError>>>::default();
        let mut sealer =
            Sealer { options, index: index.clone(), manifest, queue: sealed, rest: 0, sound: true };
        sealer.clean_up()?;
        let damage = index.damage.clone();
        let told = failure.clone();
        let thread = threads::start("index", move || {
            if let Err(error) = damage.notice(sealer.run()) {
                tracing::error!(%error, "the index could not be written; it will catch up from the journal");
                *told.lock().expect("no panic while it is held") = Some(error);
            }
        });
        let thread = Some(thread?);
        let queue = Some(queue);
        Ok((Self { index, seal_pointers, recent_bytes: 0, queue, failure, thread }, indexed))
    }

    /// The index, for readers.
    pub const fn index(&self) -> &Index {
        &self.index
    }

    /// Makes rows findable at once. Seals the recent pointers when there are enough.
    pub fn push(&mut self, rows: IndexRows<'_>) -> Result<(), StoreError> {
        if let Some(error) = self.failure() {
            return Err(error);
        }
        self.recent_bytes += rows.bytes;
        let mut pointers: Vec<Pointer> = rows.pointers().collect();
        pointers.sort_unstable();
        // Merged without the lock, by the only thread that changes them.
        let before = self.index.state().recent.parts().to_vec();
        let parts = recent::with_part(&before, &pointers);
        let sealing = {
            let mut state = self.index.state_mut();
            state.recent.set(parts, &pointers);
            if state.recent.len() < self.seal_pointers && self.recent_bytes < SEAL_ENTRY_BYTES {
                return Ok(());
            }
            let recent = std::mem::replace(&mut state.recent, Recent::new(self.seal_pointers));
            let sealing = Arc::new(Sealing { recent, end: rows.end() });
            state.sealing.push(sealing.clone());
            sealing
        };
        self.recent_bytes = 0;
        let sent = self.queue.as_ref().is_some_and(|queue| queue.send(sealing).is_ok());
        let gone = || StoreError::TreeDamaged { detail: "the index writer thread panicked".to_owned() };
        if sent { Ok(()) } else { Err(self.failure().unwrap_or_else(gone)) }
    }

    /// The error that ended the thread; returned once.
    fn failure(&self) -> Option<StoreError> {
        self.failure.lock().expect("no panic while it is held").take()
    }
}

impl Drop for IndexWriter {
    fn drop(&mut self) {
        drop(self.queue.take());
        if let Some(thread) = self.thread.take() {
            // The thread writes what is sealed, and leaves the rest. `push` reports a panic.
            let _ = thread.join();
        }
    }
}

/// The thread that writes runs.
struct Sealer {
    options: IndexOptions,
    index: Index,
    manifest: Manifest,
    queue: Receiver<Arc<Sealing>>,
    /// Runs to seal before the next merge.
    rest: usize,
    /// Whether what was sealed is in runs, or waits: a seal that failed ends the thread.
    sound: bool,
}

impl Sealer {
    fn run(&mut self) -> Result<(), StoreError> {
        while let Ok(sealing) = self.queue.recv() {
            self.seal(&sealing)?;
            if !self.merge_ripe(u8::MAX)? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Removes what a crash left of unfinished and of merged runs, and an index of another version.
    fn clean_up(&self) -> Result<(), StoreError> {
        let IndexOptions { io, dir, .. } = &self.options;
        let is_named = |name: &OsString| {
            name == manifest::FILE_NAME || self.manifest.runs.iter().any(|run| *name == *run.file_name())
        };
        let unwanted: Vec<OsString> = list_dir(dir)?.into_iter().filter(|name| !is_named(name)).collect();
        if !unwanted.is_empty() {
            // A power cut could still take back the manifest's rename, if its fsync failed.
            io.sync_dir(dir).map_err(DiskError::io("fsync", dir))?;
            for name in unwanted {
                let path = dir.join(name);
                // A crash in here, or a failure, leaves some of them for the next time.
                let _ = io.remove(&path);
            }
        }
        Ok(())
    }

    /// Takes the name of a new run.
    fn next_id(&mut self) -> RunId {
        self.manifest.next += 1;
        self.manifest.next - 1
    }

    fn seal(&mut self, sealing: &Arc<Sealing>) -> Result<(), StoreError> {
        self.sound = false; // until it has succeeded
        let pointers = sealing.recent.sorted();
        let keys = pointers.iter().filter(|pointer| pointer.is_filtered()).count() as u64;
        let (id, filter_bytes) = (self.next_id(), self.filter_bytes(&[]));
        let IndexOptions { io, dir, .. } = &self.options;
        let mut writer = RunWriter::new(io.as_ref(), dir, id, keys, filter_bytes)?;
        pointers.iter().try_for_each(|pointer| writer.push(*pointer))?;
        let run = writer.finish(0)?;
        let mut manifest = self.manifest.clone();
        manifest.runs.push(run.facts);
        manifest.indexed = sealing.end;
        self.write(manifest)?;
        self.rest = self.rest.saturating_sub(1);
        let mut state = self.index.state_mut();
        Arc::make_mut(&mut state.runs).push(Arc::new(run));
        state.sealing.remove(0);
        self.sound = true;
        Ok(())
    }

    fn write(&mut self, manifest: Manifest) -> Result<(), StoreError> {
        let damage = &self.index.damage;
        if !damage.seen.load(Ordering::SeqCst) {
            manifest.write(self.options.io.as_ref(), &self.options.dir)?;
            self.manifest = manifest;
        }
        // It may have been seen meanwhile.
        if damage.seen.load(Ordering::SeqCst) {
            damage.forget();
            return Err(damaged("files that all check"));
        }
        Ok(())
    }

    /// Most bytes for the filter of a new run: half of what other runs leave. Without the other half, the
    /// smaller runs that come later would have none.
    fn filter_bytes(&self, inputs: &[Arc<Run>]) -> u64 {
        let total = |runs: &[Arc<Run>]| runs.iter().map(|run| run.filter_bytes() as u64).sum::<u64>();
        let others = total(&self.index.state().runs) - total(inputs);
        self.options.filter_bytes.saturating_sub(others) / 2
    }

    /// Merges all neighbours below a level that are to be merged. False if the log is closed meanwhile.
    fn merge_ripe(&mut self, below: u8) -> Result<bool, StoreError> {
        while self.rest == 0 {
            let Some(inputs) = self.ripe(below) else { break };
            match self.merge(&inputs) {
                Ok(true) => {}
                Ok(false) => return Ok(false),
                // More runs cost time, and nothing else.
                Err(StoreError::Disk(error)) if self.sound => {
                    tracing::warn!(%error, "runs of the index could not be merged; trying again later");
                    self.rest = REST_SEALS;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Neighbouring runs of one level that are to be merged.
    fn ripe(&self, below: u8) -> Option<Vec<Arc<Run>>> {
        let runs = self.index.state().runs.clone();
        let levels = 0..=runs.iter().map(|run| run.facts.level).filter(|level| *level < below).max()?;
        let mut of_level = levels.map(|level| runs.iter().filter(move |run| run.facts.level == level));
        of_level.find_map(|runs| {
            let runs: Vec<Arc<Run>> = runs.take(FAN_IN).cloned().collect();
            (runs.len() == FAN_IN).then_some(runs)
        })
    }

    /// Merges runs into one of the next level. False if the log is closed meanwhile: the merge is given up,
    /// and begun again later.
    fn merge(&mut self, inputs: &[Arc<Run>]) -> Result<bool, StoreError> {
        let (id, filter_bytes) = (self.next_id(), self.filter_bytes(inputs));
        let merged = self.write_merged(inputs, id, filter_bytes);
        if let Ok(Some(run)) = merged {
            return self.replace(inputs, run).map(|()| true);
        }
        // The disk may be full. Should this fail, the next opening removes it.
        let _ = self.options.io.remove(&self.options.dir.join(run::file_name(id)));
        merged.map(|_| false)
    }

    fn write_merged(
        &mut self,
        inputs: &[Arc<Run>],
        id: RunId,
        filter_bytes: u64,
    ) -> Result<Option<Run>, StoreError> {
        let keys = inputs.iter().map(|run| run.facts.keys).fold(0, u64::saturating_add);
        let IndexOptions { io, dir, .. } = self.options.clone();
        let mut writer = RunWriter::new(io.as_ref(), &dir, id, keys, filter_bytes)?;
        let mut readers: Vec<_> = inputs.iter().map(|run| run.read()).collect();
        let mut heap: BinaryHeap<Reverse<(Pointer, usize)>> = BinaryHeap::new();
        for (at, reader) in readers.iter_mut().enumerate() {
            heap.extend(reader.next().transpose()?.map(|pointer| Reverse((pointer, at))));
        }
        let (mut since_look, mut last) = (0, None);
        while let Some(mut top) = heap.peek_mut() {
            let Reverse((pointer, at)) = *top;
            match readers[at].next().transpose()? {
                Some(next) => *top = Reverse((next, at)),
                None => drop(PeekMut::pop(top)),
            }
            // A pointer that several leaves share is written once.
            if last.replace(pointer) != Some(pointer) {
                writer.push(pointer)?;
            }
            since_look += 1;
            if since_look == MERGE_STEP {
                since_look = 0;
                if !self.keep_up(inputs[0].facts.level)? {
                    return Ok(None);
                }
            }
        }
        writer.finish(inputs[0].facts.level + 1).map(Some)
    }

    /// Seals what waits, so that appends don't wait for a long merge, and merges smaller runs, so that lookups
    /// never ask many. False if the log is closed.
    fn keep_up(&mut self, level: u8) -> Result<bool, StoreError> {
        loop {
            match self.queue.try_recv() {
                Ok(sealing) => self.seal(&sealing)?,
                Err(TryRecvError::Empty) => return self.merge_ripe(level),
                Err(TryRecvError::Disconnected) => return Ok(false),
            }
        }
    }

    fn replace(&mut self, inputs: &[Arc<Run>], merged: Run) -> Result<(), StoreError> {
        let is_input = |id: RunId| inputs.iter().any(|run| run.facts.id == id);
        let mut manifest = self.manifest.clone();
        let at = manifest.runs.iter().position(|run| is_input(run.id)).expect("they are in it");
        manifest.runs.retain(|run| !is_input(run.id));
        manifest.runs.insert(at, merged.facts);
        // Should this fail, either manifest may be there: the files of both stay.
        self.write(manifest)?;
        {
            let mut state = self.index.state_mut();
            let runs = Arc::make_mut(&mut state.runs);
            runs.retain(|run| !is_input(run.facts.id));
            runs.insert(at, Arc::new(merged));
        }
        let IndexOptions { io, dir, .. } = &self.options;
        for run in inputs {
            let path = dir.join(run.facts.file_name());
            // Lookups that have it open go on reading. A crash in here, or a failure, leaves it to the next
            // opening.
            let _ = io.remove(&path);
        }
        Ok(())
    }
}
