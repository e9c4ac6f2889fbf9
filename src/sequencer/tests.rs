//! Helpers of the sequencer's tests.

mod any_order;
mod channel;
mod plans;
mod running;
#[cfg(feature = "bucket")]
mod shared_bucket;
mod starting;
mod turns;
#[cfg(feature = "bucket")]
mod whole;
mod witnessed;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use proptest::prelude::*;
use tempfile::TempDir;
use tokio::sync::oneshot::error::TryRecvError;

use super::commands::{NO_LINGER_ENTRIES, Term, Work};
use super::plan::{Known, plan};
use super::*;
use crate::checkpoint::{self, Checkpoint};
use crate::merkle::{Hash, LeafIndex, RightEdge, TreeSize, prove_consistency, reference};
use crate::note::{KeyName, NoteSigner, SignatureType};
use crate::store::tests::fixtures::{
    ORIGIN, append, batch_of, describe, facts_of, numbered, options as disk_options, signed, signer,
};
use crate::store::tests::{Fault as StoreFault, FaultPoint, MemoryStore};
use crate::store::{Batch, DiskStore, Layout, MAX_BATCH_BYTES, MAX_BATCH_ENTRIES, Staged, Stored};

fn candidate(entry: &[u8]) -> Candidate {
    Candidate::new(entry.to_vec(), facts_of(entry))
}

fn candidates(entries: &[&str]) -> Vec<Candidate> {
    entries.iter().map(|entry| candidate(entry.as_bytes())).collect()
}

fn fresh(index: u64) -> Result<Sequenced, SubmitError> {
    Ok(Sequenced { index: LeafIndex::new(index).unwrap(), duplicate: false, stored: None })
}

fn duplicate(index: u64) -> Result<Sequenced, SubmitError> {
    Ok(Sequenced { index: LeafIndex::new(index).unwrap(), duplicate: true, stored: None })
}

/// The log has this other entry, with the same content.
fn same_as(index: u64, stored: &str) -> Result<Sequenced, SubmitError> {
    let stored = Some(Hash::leaf(stored.as_bytes()));
    Ok(Sequenced { index: LeafIndex::new(index).unwrap(), duplicate: true, stored })
}

/// A memory store that keeps every signed head, and can refuse to reload.
#[derive(Clone)]
struct Watched {
    store: MemoryStore,
    signed: Arc<Mutex<Vec<Checkpoint>>>,
    no_reload: Arc<AtomicBool>,
}

impl Watched {
    fn new() -> Self {
        Self { store: MemoryStore::new(describe()), signed: Arc::default(), no_reload: Arc::default() }
    }

    fn durable(&self) -> Vec<Vec<u8>> {
        self.store.durable_entries()
    }
}

impl Store for Watched {
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
        self.store.apply(batch, staged)
    }

    fn replace_checkpoint(&mut self, old: Option<&[u8]>, new: &[u8]) -> Result<(), StoreError> {
        // A signed head counts, durable or not.
        let head = checkpoint::open(new, &[signer().public().clone()]).unwrap().get().clone();
        assert!(head.size.get() <= self.durable().len() as u64, "signed before it was durable");
        self.signed.lock().unwrap().push(head);
        self.store.replace_checkpoint(old, new)
    }

    fn witnessed(&self) -> Option<Vec<u8>> {
        self.store.witnessed()
    }

    fn replace_witnessed(&mut self, note: &[u8]) -> Result<(), StoreError> {
        self.store.replace_witnessed(note)
    }

    fn reload(&mut self) -> Result<(), StoreError> {
        if self.no_reload.load(Ordering::SeqCst) {
            return Err(StoreError::Injected("reload, which is held"));
        }
        self.store.reload()
    }
}

/// The steps of a log without witnesses.
const UNWITNESSED: [FaultPoint; 4] =
    [FaultPoint::Stage, FaultPoint::Apply, FaultPoint::Checkpoint, FaultPoint::Reload];

/// A running sequencer, and all of its promises.
struct Bench {
    store: Watched,
    sequencer: Arc<Sequencer>,
    /// Acknowledged entries.
    promised: BTreeMap<u64, Vec<u8>>,
    /// Heads that were seen published, in order.
    seen: Vec<Checkpoint>,
}

fn quick() -> Options {
    Options { publish_interval: Duration::from_millis(1), ..Options::default() }
}

fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        std::thread::sleep(Duration::from_micros(200));
    }
}

fn outcome_of(mut receiver: oneshot::Receiver<Outcome>) -> Outcome {
    let mut answer = None;
    wait_until("a submission is answered", || match receiver.try_recv() {
        Ok(outcome) => {
            answer = Some(outcome);
            true
        }
        Err(TryRecvError::Empty) => false,
        Err(TryRecvError::Closed) => panic!("the sequencer has dropped a submission"),
    });
    answer.unwrap()
}

fn results(receiver: oneshot::Receiver<Outcome>) -> Results {
    outcome_of(receiver).results
}

impl Bench {
    fn new() -> Self {
        Self::with(&quick())
    }

    fn with(options: &Options) -> Self {
        let store = Watched::new();
        let sequencer = Sequencer::start(Box::new(store.clone()), signer(), options, None).unwrap().into();
        Self { store, sequencer, promised: BTreeMap::new(), seen: Vec::new() }
    }

    fn submit(&mut self, entries: &[&str]) -> Results {
        let results = results(self.sequencer.submit(candidates(entries), Wait::Sequenced).unwrap());
        assert_eq!(results.len(), entries.len());
        for (entry, result) in entries.iter().zip(&results) {
            match result {
                Ok(sequenced) => {
                    let before = self.promised.insert(sequenced.index.get(), entry.as_bytes().to_vec());
                    assert!(before.is_none_or(|before| before == entry.as_bytes()), "two for one index");
                }
                Err(e) => assert!(matches!(e, SubmitError::Storage(_) | SubmitError::SequenceTaken), "{e}"),
            }
        }
        self.check();
        results
    }

    /// Checks the invariants, which hold at every moment.
    fn check(&mut self) {
        // Read the published head first: the durable entries only grow.
        let published = self.sequencer.published().borrow().clone();
        let head = checkpoint::open(&published.note, &[signer().public().clone()]).unwrap();
        assert_eq!(*head.get(), published.checkpoint, "the note says what was published, signed");
        self.seen.push(published.checkpoint);
        let signed = self.store.signed.lock().unwrap().clone();
        let durable = self.store.durable();
        for (index, entry) in &self.promised {
            assert_eq!(durable.get(usize::try_from(*index).unwrap()), Some(entry), "acknowledged at {index}");
        }
        assert_eq!(durable.iter().collect::<HashSet<_>>().len(), durable.len(), "no entry is there twice");
        let mut claims: HashMap<Hash, Hash> = HashMap::new();
        for claim in durable.iter().flat_map(|entry| facts_of(entry).claims) {
            assert_eq!(claims.insert(claim.key, claim.content), None, "one claim, one leaf");
        }
        // Heads only grow, and each is of a prefix of the durable entries, so each extends all before it.
        let leaves: Vec<Hash> = durable.iter().map(|entry| Hash::leaf(entry)).collect();
        for heads in [&signed, &self.seen] {
            assert!(heads.windows(2).all(|pair| pair[0].size <= pair[1].size), "{heads:?}");
            for head in heads {
                let size = usize::try_from(head.size.get()).unwrap();
                assert_eq!(head.root, reference::root(&leaves[..size]), "the head at {size}");
            }
        }
    }

    /// Waits until all durable entries are published, and the log reports no fault. An injected fault at a point that
    /// is not passed again stays.
    fn settle(&mut self) {
        let (sequencer, store) = (self.sequencer.clone(), self.store.clone());
        wait_until("the log has recovered", || {
            let size = sequencer.published().borrow().checkpoint.size.get();
            sequencer.fault().is_none() && size == store.durable().len() as u64
        });
        self.check();
        let reader = self.sequencer.reader();
        assert_eq!(reader.size().get(), self.store.durable().len() as u64);
    }

    /// Stops and starts again, as often as the injected faults make it fail.
    fn restart(&mut self) {
        // The start publishes the entries that a fault kept from being published.
        let _ = self.sequencer.shut_down();
        for _ in 0..10 {
            let mut store = self.store.clone();
            if store.reload().is_err() {
                continue;
            }
            match Sequencer::start(Box::new(store), signer(), &quick(), None) {
                Ok(sequencer) => {
                    self.sequencer = sequencer.into();
                    return self.check();
                }
                Err(e) => assert!(matches!(e, StartError::Store(StoreError::Injected(_))), "{e}"),
            }
        }
        panic!("no start without a fault");
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.store.no_reload.store(false, Ordering::SeqCst);
        let _ = self.sequencer.shut_down();
    }
}
