//! One server of the log: the real sequencer over the real store, in a process that ends and restarts.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::super::witnessed::{policy, witness};
use super::super::{quick, signer};
use super::Mutant;
use super::wild::{Process, Shared, Wild};
use crate::bucket::Objects;
use crate::checkpoint::cosignature::cosign;
use crate::checkpoint::{self, Checkpoint, LogSigned};
use crate::merkle::{RightEdge, TreeSize};
use crate::note::Note;
use crate::sequencer::{
    CosignerEvent, CosignerEvents, CosignerStatus, Cosigners, CosignersFactory, OpenedLog, Sequencer, Trouble,
};
use crate::store::bucket::{BucketOptions, BucketStore};
use crate::store::tests::MemoryStore;
use crate::store::tests::fixtures::{batch_of, copy_dir, describe, options, unlocked};
use crate::store::{Batch, SignedHead, Staged, Store, StoreError, StoreReader, Turn};

/// The last head of the witness that all servers ask.
pub type Witness = Arc<Mutex<TreeSize>>;

/// A store whose turns the simulation decides.
struct Turns {
    inner: BucketStore,
    shared: Arc<Shared>,
    process: Arc<Process>,
    /// The batch that was appended instead of the planned one.
    kept: Option<Batch>,
}

/// A forged proof of staging, for mutants.
fn token() -> Staged {
    MemoryStore::new(describe()).stage(&batch_of(&RightEdge::default(), vec![b"x".to_vec()])).unwrap()
}

impl Store for Turns {
    fn reader(&self) -> Arc<dyn StoreReader> {
        self.inner.reader()
    }

    fn edge(&self) -> RightEdge {
        self.inner.edge()
    }

    fn checkpoint(&self) -> Option<Vec<u8>> {
        self.inner.checkpoint()
    }

    fn stage(&mut self, batch: &Batch) -> Result<Staged, StoreError> {
        let mut staged = self.inner.stage(batch);
        if self.shared.is(Mutant::KeepsItsPlan) {
            // Append the same entries after the other server's batch.
            while matches!(staged, Err(StoreError::Overtaken { .. })) {
                self.inner.follow()?;
                let batch = batch_of(&self.inner.edge(), batch.entries.clone());
                staged = self.inner.stage(&batch);
                self.kept = Some(batch);
            }
        }
        if self.shared.is(Mutant::AnswersBeforeStaging) && matches!(staged, Err(StoreError::Overtaken { .. }))
        {
            return Ok(token());
        }
        staged
    }

    fn apply(&mut self, batch: &Batch, staged: Staged) -> Result<(), StoreError> {
        if self.shared.is(Mutant::AnswersBeforeStaging) && batch.first < self.inner.edge().next_index() {
            return Ok(());
        }
        let kept = self.kept.take();
        if self.shared.is(Mutant::AnswersBeforeStaging) {
            let _ = self.inner.apply(batch, staged);
            return Ok(());
        }
        self.inner.apply(kept.as_ref().unwrap_or(batch), staged)
    }

    fn replace_checkpoint(&mut self, old: Option<&[u8]>, new: &[u8]) -> Result<(), StoreError> {
        let head = checkpoint::open(new, &[signer().public().clone()]).unwrap().get().clone();
        self.shared.judge().head("a server signed", &head);
        self.inner.replace_checkpoint(old, new)
    }

    fn witnessed(&self) -> Option<Vec<u8>> {
        self.inner.witnessed()
    }

    fn replace_witnessed(&mut self, note: &[u8]) -> Result<(), StoreError> {
        self.inner.replace_witnessed(note)
    }

    fn reload(&mut self) -> Result<(), StoreError> {
        self.inner.reload()
    }

    fn may_be_overtaken(&self) -> bool {
        true
    }

    fn follow(&mut self) -> Result<(), StoreError> {
        if self.shared.is(Mutant::DoesNotFollow) { Ok(()) } else { self.inner.follow() }
    }

    fn turn(&mut self) -> Result<Turn, StoreError> {
        if self.process.holds.load(Ordering::SeqCst) {
            return Ok(Turn::Hold);
        }
        Ok(Turn::Stand { holder: None, again: Instant::now() + Duration::from_millis(3) })
    }
}

/// Asks the witness, which cosigns every head that is not smaller than its last.
struct Asking {
    last: Witness,
    shared: Arc<Shared>,
    events: CosignerEvents,
}

impl Cosigners for Asking {
    fn ask(&self, head: &SignedHead) {
        self.shared.judge().head("a witness was asked", &head.head);
        let mut last = self.last.lock().unwrap();
        if head.head.size < *last {
            self.events.report(CosignerEvent::MustNotSign(format!("the witness saw {last}")));
            return;
        }
        *last = head.head.size;
        let mut note = Note::parse(&head.note).unwrap();
        note.push(cosign(&head.head, &witness(), 1_700_000_000));
        let note = note.to_string().into_bytes();
        self.events.report(CosignerEvent::Cosigned(SignedHead { head: head.head.clone(), note }));
    }

    fn is_quorum(&self, head: &LogSigned<Checkpoint>) -> bool {
        policy().check(head).is_ok()
    }

    fn quorum(&self) -> String {
        "the one".to_owned()
    }

    fn status(&self) -> Vec<CosignerStatus> {
        Vec::new()
    }
}

/// A server: its directory, and the process that runs in it.
pub struct Server {
    pub name: String,
    shared: Arc<Shared>,
    witness: Option<Witness>,
    dir: TempDir,
    pub process: Arc<Process>,
    pub running: Arc<Mutex<Option<Arc<Sequencer>>>>,
    processes: u64,
    seed: u64,
}

impl Server {
    pub fn start(name: String, shared: &Arc<Shared>, witness: Option<Witness>, seed: u64) -> Self {
        let (process, dir) = (Arc::new(Process::new(true)), TempDir::new().unwrap());
        let (running, shared) = (Arc::default(), shared.clone());
        let mut server = Self { name, shared, witness, dir, process, running, processes: 0, seed };
        server.open(true);
        server
    }

    /// Starts a process, and retries until it runs.
    pub fn open(&mut self, holds: bool) {
        let until = Instant::now() + Duration::from_secs(20);
        while self.shared.judge().broken.is_none() {
            self.processes += 1;
            self.process = Arc::new(Process::new(holds));
            let seed = self.seed.wrapping_mul(1_000).wrapping_add(self.processes);
            let wild = Wild::new(self.shared.clone(), self.process.clone(), seed);
            let why = match self.try_open(Arc::new(wild)) {
                Ok(sequencer) => {
                    *self.running.lock().unwrap() = Some(Arc::new(sequencer));
                    return;
                }
                Err(why) => why,
            };
            if Instant::now() > until {
                self.shared.judge().note(Err(format!("{} does not start: {why}", self.name)));
            }
        }
    }

    fn try_open(&self, objects: Arc<dyn Objects>) -> Result<Sequencer, String> {
        let open = || {
            let mut options = BucketOptions::new(objects.clone(), options()).unwrap();
            (options.threads, options.has_witnesses) = (2, self.witness.is_some());
            options.open.log_key = Some(signer().public().clone());
            BucketStore::open(self.dir.path(), options)
        };
        let inner = unlocked(open).map_err(|error| {
            if error.is_damage() {
                self.shared.judge().note(Err(format!("{} sees damage: {error}", self.name)));
            }
            error.to_string()
        })?;
        let (shared, process) = (self.shared.clone(), self.process.clone());
        let store = Turns { inner, shared, process, kept: None };
        let cosigners = self.witness.clone().map(|last| {
            let shared = self.shared.clone();
            let start = move |OpenedLog { reader, events, .. }: OpenedLog| {
                let seen = *last.lock().unwrap();
                events.report(if seen > reader.size() {
                    CosignerEvent::MustNotSign(format!("the witness saw {seen}"))
                } else {
                    CosignerEvent::MaySign
                });
                let asking: Arc<dyn Cosigners> =
                    Arc::new(Asking { last: last.clone(), shared: shared.clone(), events });
                Ok(asking)
            };
            CosignersFactory::new(|head: &LogSigned<Checkpoint>| policy().check(head).is_ok(), start)
        });
        Sequencer::start(Box::new(store), signer(), &quick(), cosigners).map_err(|e| e.to_string())
    }

    /// Shuts the process down cleanly.
    pub fn stop(&mut self) {
        let sequencer = self.running.lock().unwrap().take();
        self.check_faults(sequencer.as_deref());
        // Senders and readers drop their references soon.
        if let Some(sequencer) = sequencer {
            let _ = sequencer.shut_down();
            let until = Instant::now() + Duration::from_secs(5);
            while Arc::strong_count(&sequencer) > 1 && Instant::now() < until {
                std::thread::sleep(Duration::from_micros(100));
            }
        }
    }

    /// Kills the process after some requests, and keeps or deletes its cache.
    pub fn kill(&mut self, requests: u64, keeps_cache: bool) {
        self.process.kill_after(requests);
        let until = Instant::now() + Duration::from_millis(30);
        while !self.process.is_dead.load(Ordering::SeqCst) && Instant::now() < until {
            std::thread::sleep(Duration::from_micros(200));
        }
        self.process.is_dead.store(true, Ordering::SeqCst);
        let left = TempDir::new().unwrap();
        if keeps_cache {
            copy_dir(self.dir.path(), left.path());
        }
        self.stop();
        self.dir = left;
    }

    /// Checks that no server reports damage or a rollback of the sound bucket, and that none panics.
    pub fn check_faults(&self, sequencer: Option<&Sequencer>) {
        let Some(sequencer) = sequencer else { return };
        for trouble in [Trouble::Panic, Trouble::Damage, Trouble::Rollback] {
            if let Some(why) = sequencer.faults().get(&trouble) {
                self.shared.judge().note(Err(format!("{} reports {trouble:?}: {why}", self.name)));
            }
        }
    }
}
