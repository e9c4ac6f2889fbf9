//! Writing the index: the appending thread writes to memory, a thread of the index to sled.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::sync::{Arc, Mutex, RwLock};
use std::thread::JoinHandle;

use super::manifest::Manifest;
use super::pointer::Pointer;
use super::run::{self, Run, RunId, RunWriter};
use super::{Index, IndexRows, SEAL_ENTRY_BYTES, SEAL_POINTERS, Sealing, State};
use crate::merkle::TreeSize;
use crate::store::StoreError;

/// Sealed runs that may wait for the thread. This bounds their memory; if the index can't keep up, appends
/// wait.
const WAITING_RUNS: usize = 8;
/// Runs of one level that are merged into one of the next: at ten million leaves a lookup asks at most twenty
/// filters, and a pointer was written three times.
const FAN_IN: usize = 8;
/// Pointers merged between two looks at the queue.
const MERGE_STEP: usize = 65_536;

/// The index, for the one thread that appends.
pub struct IndexWriter {
    index: Index,
    /// Bytes of the entries that the recent pointers are of.
    recent_bytes: usize,
    queue: Option<SyncSender<Arc<Sealing>>>,
    /// Why the thread ended, if it did.
    failure: Arc<Mutex<Option<StoreError>>>,
    thread: Option<JoinHandle<()>>,
}

impl IndexWriter {
    /// Opens the index in sled, and starts the thread. Also returns the number of indexed leaves: the caller
    /// pushes the later ones next.
    ///
    /// # Errors
    /// [`StoreError::TreeDamaged`] if rows are missing or don't parse.
    pub fn open(rows: sled::Tree) -> Result<(Self, TreeSize), StoreError> {
        let manifest = Manifest::read(&rows)?;
        let indexed = manifest.indexed;
        let runs = manifest.open(&rows)?.into_iter().map(Arc::new).collect();
        let state = Arc::new(RwLock::new(State { runs, ..State::default() }));
        let index = Index { rows, state };
        let (queue, sealed) = sync_channel(WAITING_RUNS);
        let failure = Arc::<Mutex<Option<StoreError>>>::default();
        let mut sealer = Sealer { index: index.clone(), manifest, queue: sealed };
        let told = failure.clone();
        let thread = std::thread::Builder::new().name("index".to_owned()).spawn(move || {
            if let Err(error) = sealer.run() {
                tracing::error!(%error, "the index could not be written; it will catch up from the journal");
                *told.lock().expect("no panic while it is held") = Some(error);
            }
        });
        let thread = Some(thread.expect("a thread can be started"));
        Ok((Self { index, recent_bytes: 0, queue: Some(queue), failure, thread }, indexed))
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
        let sealing = {
            let mut state = self.index.state_mut();
            state.recent.extend(rows.pointers());
            if state.recent.len() < SEAL_POINTERS && self.recent_bytes < SEAL_ENTRY_BYTES {
                return Ok(());
            }
            let pointers = std::mem::take(&mut state.recent).into_iter().collect();
            let sealing = Arc::new(Sealing { pointers, end: rows.end() });
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

/// The thread that writes to sled.
struct Sealer {
    index: Index,
    manifest: Manifest,
    queue: Receiver<Arc<Sealing>>,
}

impl Sealer {
    fn run(&mut self) -> Result<(), StoreError> {
        self.clean_up()?;
        while let Ok(sealing) = self.queue.recv() {
            self.seal(&sealing)?;
            while let Some(inputs) = self.ripe() {
                if !self.merge(&inputs)? {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Removes what a crash left of unfinished and of merged runs, and an index of an earlier version.
    fn clean_up(&mut self) -> Result<(), StoreError> {
        Manifest::remove_old(&self.index.rows)?;
        run::remove(&self.index.rows, self.manifest.next..=RunId::MAX)?;
        for id in std::mem::take(&mut self.manifest.unwanted) {
            run::remove(&self.index.rows, id..=id)?;
        }
        Ok(())
    }

    /// Takes the name of a new run.
    fn next_id(&mut self) -> RunId {
        self.manifest.next += 1;
        self.manifest.next - 1
    }

    fn seal(&mut self, sealing: &Arc<Sealing>) -> Result<(), StoreError> {
        let id = self.next_id();
        let mut writer = RunWriter::new(&self.index.rows, id, sealing.pointers.len() as u64);
        sealing.pointers.iter().try_for_each(|pointer| writer.push(*pointer))?;
        let run = writer.finish(0)?;
        self.manifest.runs.push((run.id, run.level, run.pointers));
        self.manifest.indexed = sealing.end;
        self.manifest.write(&self.index.rows)?;
        let mut state = self.index.state_mut();
        state.runs.push(Arc::new(run));
        state.sealing.remove(0);
        Ok(())
    }

    /// Neighbouring runs that are to be merged.
    fn ripe(&self) -> Option<Vec<Arc<Run>>> {
        let state = self.index.state();
        let levels = 0..=state.runs.iter().map(|run| run.level).max()?;
        let mut of_level = levels.map(|level| state.runs.iter().filter(move |run| run.level == level));
        of_level.find_map(|runs| {
            let runs: Vec<Arc<Run>> = runs.take(FAN_IN).cloned().collect();
            (runs.len() == FAN_IN).then_some(runs)
        })
    }

    /// Merges runs into one of the next level. False if the log is closed meanwhile: the merge is given up,
    /// and begun again later.
    fn merge(&mut self, inputs: &[Arc<Run>]) -> Result<bool, StoreError> {
        let id = self.next_id();
        // A manifest that is written before the run is finished says so.
        self.manifest.unwanted.push(id);
        let rows = self.index.rows.clone();
        let mut writer = RunWriter::new(&rows, id, inputs.iter().map(|run| run.pointers).sum());
        let mut readers: Vec<_> = inputs.iter().map(|run| run.read(&rows)).collect();
        let mut heap: BinaryHeap<Reverse<(Pointer, usize)>> = BinaryHeap::new();
        for (at, reader) in readers.iter_mut().enumerate() {
            heap.extend(reader.next().transpose()?.map(|pointer| Reverse((pointer, at))));
        }
        let (mut since_look, mut last) = (0, None);
        while let Some(Reverse((pointer, at))) = heap.pop() {
            // A pointer that several leaves share is written once.
            if last.replace(pointer) != Some(pointer) {
                writer.push(pointer)?;
            }
            heap.extend(readers[at].next().transpose()?.map(|pointer| Reverse((pointer, at))));
            since_look += 1;
            if since_look == MERGE_STEP {
                since_look = 0;
                if !self.seal_waiting()? {
                    return Ok(false);
                }
            }
        }
        self.replace(inputs, writer.finish(inputs[0].level + 1)?)?;
        Ok(true)
    }

    /// Seals what waits, so that appends don't wait for a long merge. False if the log is closed.
    fn seal_waiting(&mut self) -> Result<bool, StoreError> {
        loop {
            match self.queue.try_recv() {
                Ok(sealing) => self.seal(&sealing)?,
                Err(TryRecvError::Empty) => return Ok(true),
                Err(TryRecvError::Disconnected) => return Ok(false),
            }
        }
    }

    fn replace(&mut self, inputs: &[Arc<Run>], merged: Run) -> Result<(), StoreError> {
        let is_input = |id: RunId| inputs.iter().any(|run| run.id == id);
        let at = self.manifest.runs.iter().position(|(id, ..)| is_input(*id)).expect("they are in it");
        self.manifest.runs.retain(|(id, ..)| !is_input(*id));
        self.manifest.runs.insert(at, (merged.id, merged.level, merged.pointers));
        self.manifest.unwanted = inputs.iter().map(|run| run.id).collect();
        self.manifest.write(&self.index.rows)?;
        {
            let mut state = self.index.state_mut();
            state.runs.retain(|run| !is_input(run.id));
            state.runs.insert(at, Arc::new(merged));
        }
        // No lookup reads them: lookups hold the state while they read.
        for id in std::mem::take(&mut self.manifest.unwanted) {
            run::remove(&self.index.rows, id..=id)?;
        }
        Ok(())
    }
}
