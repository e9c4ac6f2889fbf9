//! Drives a sequencer on a disk store by a script, and records each promise at once.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use treehead::checkpoint::{self, Checkpoint};
use treehead::disk::{DiskError, SledIo};
use treehead::merkle::RightEdge;
use treehead::release::Facts;
use treehead::sequencer::{Candidate, Options, Results, Sequencer, SubmitError, Wait};
use treehead::store::{Batch, DiskStore, OpenOptions, Staged, Store, StoreError, StoreReader};

use super::locks::once_unlocked;
use super::log::{ORIGIN, log_signer, vkey};
use super::promises::Promises;

/// A time limit that even a busy machine keeps.
const PATIENCE: Duration = Duration::from_secs(30);

/// Is told of each promise when it is first made.
pub trait Notary: Send + Sync {
    /// The log may acknowledge these entries from now on.
    fn durable(&self, first: u64, entries: &[Vec<u8>]);
    /// The log may publish this head from now on.
    fn signed(&self, head: &Checkpoint);
}

/// The promises so far.
#[derive(Default)]
pub struct Ledger(Mutex<Promises>);

impl Ledger {
    pub fn lock(&self) -> MutexGuard<'_, Promises> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Notary for Ledger {
    fn durable(&self, first: u64, entries: &[Vec<u8>]) {
        for (index, entry) in (first..).zip(entries) {
            self.lock().acknowledge(index, entry).expect("one entry for each index");
        }
    }

    fn signed(&self, head: &Checkpoint) {
        self.lock().show(head);
    }
}

/// A disk store that reports to a notary. The sequencer answers right after `apply` succeeds, and
/// publishes a head right after the store replaced it, so no promise is older than its record.
pub struct Noted {
    pub store: DiskStore,
    pub notary: Arc<dyn Notary>,
}

impl Store for Noted {
    fn reader(&self) -> Arc<dyn StoreReader> {
        self.store.reader()
    }

    fn edge(&self) -> RightEdge {
        self.store.edge()
    }

    fn checkpoint(&self) -> Option<Vec<u8>> {
        self.store.checkpoint()
    }

    fn stage(&mut self, batch: &Batch) -> Result<Staged, StoreError> {
        self.store.stage(batch)
    }

    fn apply(&mut self, batch: &Batch, staged: Staged) -> Result<(), StoreError> {
        self.store.apply(batch, staged)?;
        self.notary.durable(batch.first.get(), &batch.entries);
        Ok(())
    }

    fn replace_checkpoint(&mut self, old: Option<&[u8]>, new: &[u8]) -> Result<(), StoreError> {
        self.store.replace_checkpoint(old, new)?;
        self.notary.signed(checkpoint::open(new, &[vkey()]).expect("signed by this log").get());
        Ok(())
    }

    fn witnessed(&self) -> Option<Vec<u8>> {
        self.store.witnessed()
    }

    fn replace_witnessed(&mut self, note: &[u8]) -> Result<(), StoreError> {
        self.store.replace_witnessed(note)
    }

    fn reload(&mut self) -> Result<(), StoreError> {
        self.store.reload()
    }
}

/// Opens a store, once its last user in this process is gone.
pub fn open_store(dir: &Path, io: &Arc<dyn SledIo>, segment_bytes: u64) -> Result<DiskStore, StoreError> {
    open_store_with(dir, || store_options(io, segment_bytes))
}

/// Like [`open_store`], with other options.
pub fn open_store_with(dir: &Path, options: impl Fn() -> OpenOptions) -> Result<DiskStore, StoreError> {
    let is_locked = |e: &StoreError| matches!(e, StoreError::Disk(DiskError::Locked { .. }));
    once_unlocked(PATIENCE, is_locked, || DiskStore::open(dir, options()))
}

/// Rows are written with their batch, so that steps come in the same order in every run.
pub fn store_options(io: &Arc<dyn SledIo>, segment_bytes: u64) -> OpenOptions {
    OpenOptions { io: io.clone(), segment_bytes, row_lag: Duration::ZERO, ..OpenOptions::new(ORIGIN) }
}

/// A running sequencer and the record of its promises.
pub struct Driver {
    pub sequencer: Sequencer,
    pub ledger: Arc<Ledger>,
}

impl Driver {
    /// # Errors
    /// The reason why the log does not start.
    pub fn start(store: Box<dyn Store>, ledger: Arc<Ledger>) -> Result<Self, String> {
        // Publish heads at once: scripts wait for each.
        let options = Options { publish_interval: Duration::from_millis(1), ..Options::default() };
        let sequencer = Sequencer::start(store, log_signer(), &options, None).map_err(|e| e.to_string())?;
        ledger.lock().show(&sequencer.published().borrow().checkpoint);
        Ok(Self { sequencer, ledger })
    }

    /// Submits entries together, and records the answers.
    ///
    /// # Errors
    /// A broken promise.
    pub fn submit(&self, entries: &[Vec<u8>]) -> Result<Results, String> {
        self.ledger.lock().sent.extend(entries.iter().cloned());
        let candidates = entries.iter().map(|entry| Candidate::new(entry.clone(), Facts::default()));
        let outcome =
            self.sequencer.submit(candidates.collect(), Wait::Sequenced).map_err(|e| e.to_string())?;
        let outcome = outcome.blocking_recv().map_err(|_| "the sequencer gave no answer".to_owned())?;
        let results = outcome.results;
        for (entry, result) in entries.iter().zip(&results) {
            match result {
                Ok(sequenced) => self.ledger.lock().acknowledge(sequenced.index.get(), entry)?,
                Err(SubmitError::Storage(_)) => {}
                Err(e) => return Err(format!("refused for another reason than its disk: {e}")),
            }
        }
        Ok(results)
    }

    /// Waits until the whole tree is published and no fault is left.
    ///
    /// # Errors
    /// If that does not happen in time.
    pub fn settle(&self) -> Result<(), String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let head = self.sequencer.published().borrow().checkpoint.clone();
            let fault = self.sequencer.fault();
            if fault.is_none() && head.size == self.sequencer.reader().size() {
                self.ledger.lock().show(&head);
                return Ok(());
            }
            // Only sled recovers without an operator.
            let needs_repair = |why: &String| {
                why.contains("is damaged") && !why.contains("in sled")
                    || why.contains("the journal lost entries")
            };
            let hopeless = fault.as_ref().is_some_and(needs_repair);
            if hopeless || Instant::now() > deadline {
                return Err(format!("it does not go on at {}: {fault:?}", head.size));
            }
            std::thread::sleep(Duration::from_micros(100));
        }
    }

    /// Checks that everything readable keeps every promise.
    ///
    /// # Errors
    /// The first broken promise.
    pub fn check(&self) -> Result<(), String> {
        // Copy the promises first: others are added meanwhile, but earlier ones must hold already.
        let head = self.sequencer.published().borrow().checkpoint.clone();
        let promises = self.ledger.lock().clone();
        promises.check(self.sequencer.reader().as_ref(), Some(&head)).map(drop)
    }

    /// Checks that the log continues: it accepts new entries, knows the old ones, and publishes.
    ///
    /// # Errors
    /// The first thing that it fails to do.
    pub fn goes_on(&self, name: &str) -> Result<(), String> {
        let size = self.sequencer.reader().size().get();
        let known = self.ledger.lock().entries.first_key_value().map(|(at, entry)| (*at, entry.clone()));
        let mut entries = vec![format!("{name} goes on").into_bytes(), format!("{name}, too").into_bytes()];
        entries.extend(known.iter().map(|(_, entry)| entry.clone()));
        let indices: Vec<Option<u64>> =
            self.submit(&entries)?.iter().map(|r| r.as_ref().ok().map(|s| s.index.get())).collect();
        let expected = [Some(size), Some(size + 1)].into_iter().chain(known.map(|(at, _)| Some(at)));
        if indices != expected.collect::<Vec<_>>() {
            return Err(format!("at {size} it does not go on: {indices:?}"));
        }
        self.settle()?;
        self.check()
    }
}

/// Checks that a directory left behind is a log that opens, keeps its promises, and continues.
/// Returns the number of entries in it.
///
/// # Errors
/// The first fault.
pub fn audit(dir: &Path, promises: &Promises, io: &Arc<dyn SledIo>, segment: u64) -> Result<u64, String> {
    let store = open_store(dir, io, segment).map_err(|e| format!("it does not open: {e}"))?;
    let found = promises.check_store(&store)?.get();
    let ledger = Arc::new(Ledger(Mutex::new(promises.clone())));
    let driver = Driver::start(Box::new(store), ledger).map_err(|e| format!("it does not start: {e}"))?;
    driver.check()?;
    driver.goes_on("after it all")?;
    driver.sequencer.shut_down()?;
    Ok(found)
}

/// `count` distinct entries with this name, of different lengths.
pub fn entries(name: &str, count: usize) -> Vec<Vec<u8>> {
    let entry = |at: usize| format!("{name} {at} {}", "x".repeat(at * 37 % 300)).into_bytes();
    (0..count).map(entry).collect()
}
