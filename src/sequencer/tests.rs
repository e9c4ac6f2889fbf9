use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};

use std::time::Instant;

use proptest::prelude::*;
use tempfile::TempDir;
use tokio::sync::oneshot::error::TryRecvError;

use super::commands::Work;
use super::plan::{Known, plan};
use super::*;
use crate::checkpoint::{self, Checkpoint};
use crate::merkle::{Hash, LeafIndex, RightEdge, TreeSize, prove_consistency, reference};
use crate::note::{KeyName, NoteSigner, SignatureType};
use crate::store::conformance::{
    ORIGIN, append, batch_of, describe, facts_of, numbered, options as disk_options, signed, signer,
};
use crate::store::{
    Batch, DiskStore, Fault as StoreFault, FaultPoint, Layout, MAX_BATCH_BYTES, MAX_BATCH_ENTRIES,
    MemoryStore, Staged, Stored,
};

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

/// The log has this other entry, which says the same.
fn same_as(index: u64, stored: &str) -> Result<Sequenced, SubmitError> {
    let stored = Some(Hash::leaf(stored.as_bytes()));
    Ok(Sequenced { index: LeafIndex::new(index).unwrap(), duplicate: true, stored })
}

// -- plan ----------------------------------------------------------------------------------------

/// What a log has, as plain maps.
#[derive(Default)]
struct Had {
    leaves: HashMap<Hash, LeafIndex>,
    payloads: HashMap<Hash, Stored>,
    claims: HashMap<Hash, (Stored, Hash)>,
    fails: bool,
}

impl Had {
    fn of(entries: &[&str]) -> (Self, RightEdge) {
        let mut had = Self::default();
        for (at, entry) in entries.iter().enumerate() {
            let index = LeafIndex::new(at as u64).unwrap();
            let stored = Stored { index, leaf: Hash::leaf(entry.as_bytes()) };
            had.leaves.entry(stored.leaf).or_insert(index);
            let facts = facts_of(entry.as_bytes());
            facts.payload.map(|payload| had.payloads.entry(payload).or_insert(stored));
            for claim in facts.claims {
                had.claims.entry(claim.key).or_insert((stored, claim.content));
            }
        }
        let leaves: Vec<Hash> = entries.iter().map(|entry| Hash::leaf(entry.as_bytes())).collect();
        (had, RightEdge::default().grow(&leaves).edge)
    }
}

impl Known for Had {
    fn leaf(&self, leaf: &Hash) -> Result<Option<LeafIndex>, StoreError> {
        if self.fails { Err(StoreError::Injected("look-up")) } else { Ok(self.leaves.get(leaf).copied()) }
    }

    fn payload(&self, payload: &Hash) -> Result<Option<Stored>, StoreError> {
        Ok(self.payloads.get(payload).copied())
    }

    fn claim(&self, key: &Hash) -> Result<Option<(Stored, Hash)>, StoreError> {
        Ok(self.claims.get(key).copied())
    }
}

#[test]
fn a_plan_appends_what_is_new_in_order() {
    let (had, edge) = Had::of(&["old 0", "old 1", "old 2"]);
    let submissions = vec![candidates(&["a", "b"]), Vec::new(), candidates(&["c"])];
    let plan = plan(&edge, submissions, &had).unwrap();
    assert_eq!(plan.results, [vec![fresh(3), fresh(4)], vec![], vec![fresh(5)]]);
    let batch = plan.batch.unwrap();
    let expected = batch_of(&edge, ["a", "b", "c"].map(|e| e.as_bytes().to_vec()).to_vec());
    assert_eq!((batch.first.get(), &batch.entries), (3, &expected.entries));
    assert_eq!((&batch.leaf_hashes, &batch.facts), (&expected.leaf_hashes, &expected.facts));
    assert_eq!(batch.growth.edge, expected.growth.edge);
}

#[test]
fn a_duplicate_gets_its_first_index_and_no_second_leaf() {
    let (had, edge) = Had::of(&["old 0", "old 1"]);
    // In the log, within a submission, and across submissions of one batch.
    let submissions =
        vec![candidates(&["a", "old 1", "a"]), candidates(&["old 0"]), candidates(&["b", "a", "b"])];
    let plan = plan(&edge, submissions, &had).unwrap();
    let expected = [
        vec![fresh(2), duplicate(1), duplicate(2)],
        vec![duplicate(0)],
        vec![fresh(3), duplicate(2), duplicate(3)],
    ];
    assert_eq!(plan.results, expected);
    assert_eq!(plan.batch.unwrap().entries, [b"a", b"b"]);
}

#[test]
fn nothing_new_is_no_batch() {
    let (had, edge) = Had::of(&["old claim:k:x"]);
    let submissions = vec![candidates(&["old claim:k:x"]), candidates(&["new claim:k:y"]), Vec::new()];
    let plan = plan(&edge, submissions, &had).unwrap();
    assert!(plan.batch.is_none());
    assert_eq!(plan.results, [vec![duplicate(0)], vec![Err(SubmitError::SequenceTaken)], vec![]]);
}

#[test]
fn a_sequence_number_is_taken_once() {
    let cases: [(&[&str], _); 5] = [
        // Against the log.
        (&["new claim:k:y", "other"], vec![Err(SubmitError::SequenceTaken), fresh(1)]),
        // Within the batch; the first one stands.
        (&["a claim:n:1", "b claim:n:2", "c"], vec![fresh(1), Err(SubmitError::SequenceTaken), fresh(2)]),
        // One of several claims is enough to refuse.
        (&["a claim:free:1 claim:k:y"], vec![Err(SubmitError::SequenceTaken)]),
        // What was refused has taken nothing.
        (&["a claim:free:1 claim:k:y", "b claim:free:2"], vec![Err(SubmitError::SequenceTaken), fresh(1)]),
        // A duplicate is answered as one, although its number is taken, by itself.
        (&["old claim:k:x", "a claim:n:1", "a claim:n:1"], vec![duplicate(0), fresh(1), duplicate(1)]),
    ];
    check_plans(&["old claim:k:x"], &cases);
}

/// Each list against a log of `old` entries, in one submission and one by one.
fn check_plans(old: &[&str], cases: &[(&[&str], Vec<Result<Sequenced, SubmitError>>)]) {
    let (had, edge) = Had::of(old);
    for (entries, expected) in cases {
        let planned = plan(&edge, vec![candidates(entries)], &had).unwrap();
        assert_eq!(planned.results, std::slice::from_ref(expected), "{entries:?}");
        let one_by_one = entries.iter().map(|entry| candidates(&[entry])).collect();
        let planned = plan(&edge, one_by_one, &had).unwrap();
        assert_eq!(planned.results.concat(), *expected, "{entries:?} in submissions of their own");
        let appended = planned.batch.map_or(0, |batch| batch.entries.len());
        assert_eq!(appended, expected.iter().flatten().filter(|s| !s.duplicate).count());
    }
}

#[test]
fn a_payload_gets_one_leaf_under_whatever_signatures() {
    let cases: [(&[&str], _); 4] = [
        // Against the log, which may have several leaves of one payload: the first counts.
        (&["signed anew payload:p"], vec![same_as(1, "first payload:p")]),
        // Within the batch.
        (
            &["a payload:q", "b payload:q", "a payload:q"],
            vec![fresh(3), same_as(3, "a payload:q"), duplicate(3)],
        ),
        // The payload says more than its claims, so it comes first: no conflict with the log's later entries.
        (&["c payload:p claim:k:y"], vec![same_as(1, "first payload:p")]),
        // Entries of an opaque log have none: they are never the same for that.
        (&["a", "b"], vec![fresh(3), fresh(4)]),
    ];
    check_plans(&["opaque claim:k:x", "first payload:p", "second payload:p"], &cases);
}

#[test]
fn a_claim_gets_one_leaf_however_it_is_spelled() {
    let old = "old payload:o claim:k:x";
    let cases: [(&[&str], _); 6] = [
        (&["respelled payload:p claim:k:x"], vec![same_as(0, old)]),
        // Within the batch.
        (
            &["a payload:a claim:n:1", "b payload:b claim:n:1"],
            vec![fresh(2), same_as(2, "a payload:a claim:n:1")],
        ),
        // Who repeats another's claim and makes one of its own says something new.
        (&["both payload:p claim:k:x claim:other:x"], vec![fresh(2)]),
        // All of them were made before, at different leaves: the first counts.
        (&["both payload:p claim:rival:x claim:k:x"], vec![same_as(0, old)]),
        // One of them was made for something else.
        (&["both payload:p claim:k:x claim:rival:y"], vec![Err(SubmitError::SequenceTaken)]),
        // What is no release claims nothing, and is never the same for that.
        (&["payload:p", "payload:q"], vec![fresh(2), fresh(3)]),
    ];
    check_plans(&[old, "by a rival payload:r claim:rival:x"], &cases);
}

#[test]
fn a_duplicate_is_no_conflict_even_where_the_log_has_one() {
    // A log whose rules were once laxer may hold two claims of one number: both are duplicates.
    let (had, edge) = Had::of(&["x claim:k:x", "y claim:k:y"]);
    let plan = plan(&edge, vec![candidates(&["y claim:k:y", "x claim:k:x"])], &had).unwrap();
    assert_eq!(plan.results, [[duplicate(1), duplicate(0)]]);
}

#[test]
fn a_look_up_that_fails_plans_nothing() {
    let (had, edge) = Had::of(&[]);
    let failing = Had { fails: true, ..had };
    assert!(plan(&edge, vec![candidates(&["a"])], &failing).is_err());
}

// -- pool ----------------------------------------------------------------------------------------

fn push(commands: &CommandSender, candidates: Vec<Candidate>) -> Result<(), SubmitError> {
    let (reply, _) = oneshot::channel();
    commands.add(Submission { candidates, wait: Wait::Sequenced, reply })
}

/// Numbers of entries in the submissions that are taken next.
fn take(commands: &mut CommandReceiver) -> Option<Vec<usize>> {
    match commands.next(Some(Instant::now())) {
        Work::Commit(taken) => Some(taken.iter().map(|submission| submission.candidates.len()).collect()),
        Work::Event(_) | Work::Deadline | Work::Stop => None,
    }
}

#[test]
fn a_full_pool_takes_a_submission_whole_or_not_at_all() {
    let (pool, mut taken) = channel(5, 100);
    push(&pool, candidates(&["a", "b", "c"])).unwrap();
    let full = push(&pool, candidates(&["d", "e", "f"])).unwrap_err();
    assert_eq!(full, SubmitError::Full { waiting: 3, retry_after: Duration::from_secs(1) });
    assert_eq!(full.to_string(), "the log is busy: 3 entries wait already; try again in 1 s");
    push(&pool, candidates(&["d", "e"])).unwrap();
    assert!(matches!(push(&pool, candidates(&["f"])), Err(SubmitError::Full { waiting: 5, .. })));
    assert_eq!(take(&mut taken), Some(vec![3, 2]), "nothing of what was refused is in it");
    assert_eq!(take(&mut taken), None);
    // Bytes count too, and are given back.
    for _ in 0..3 {
        push(&pool, vec![candidate(&[0; 60])]).unwrap();
        assert!(matches!(push(&pool, vec![candidate(&[0; 41])]), Err(SubmitError::Full { waiting: 1, .. })));
        push(&pool, vec![candidate(&[0; 40])]).unwrap();
        assert_eq!(take(&mut taken), Some(vec![1, 1]));
    }
}

#[test]
fn a_closed_pool_hands_out_what_waits_and_takes_no_more() {
    let (pool, mut taken) = channel(10, 100);
    push(&pool, candidates(&["a"])).unwrap();
    pool.stop();
    assert_eq!(push(&pool, candidates(&["b"])), Err(SubmitError::ShuttingDown));
    assert_eq!(take(&mut taken), Some(vec![1]));
    assert!(matches!(taken.next(None), Work::Stop));
    assert_eq!(push(&pool, candidates(&["b"])), Err(SubmitError::ShuttingDown));
    assert!(matches!(taken.next(None), Work::Stop));
}

#[test]
fn a_batch_holds_no_more_than_a_batch_may() {
    let (pool, mut taken) = channel(usize::MAX, usize::MAX);
    let many = |count: usize| (0..count).map(|i| candidate(&i.to_be_bytes())).collect::<Vec<_>>();
    for count in [MAX_BATCH_ENTRIES - 1, 1, 1, MAX_BATCH_ENTRIES, 2] {
        push(&pool, many(count)).unwrap();
    }
    assert_eq!(take(&mut taken), Some(vec![MAX_BATCH_ENTRIES - 1, 1]));
    assert_eq!(take(&mut taken), Some(vec![1]), "the next one does not fit, and order is kept");
    assert_eq!(take(&mut taken), Some(vec![MAX_BATCH_ENTRIES]));
    assert_eq!(take(&mut taken), Some(vec![2]));
    let large = vec![candidate(&[0; 65_535]); MAX_BATCH_BYTES / 65_535];
    push(&pool, large.clone()).unwrap();
    push(&pool, large).unwrap();
    assert_eq!(take(&mut taken), Some(vec![512]));
    assert_eq!(take(&mut taken), Some(vec![512]));
}

#[test]
fn waiting_ends_with_a_submission_a_deadline_or_the_end() {
    let (pool, mut taken) = channel(10, 100);
    let before = Instant::now();
    assert!(matches!(taken.next(Some(before + Duration::from_millis(20))), Work::Deadline));
    assert!(before.elapsed() >= Duration::from_millis(20));
    let mut wait_while = |then: &dyn Fn()| {
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| taken.next(None));
            then();
            waiting.join().unwrap()
        })
    };
    let work = wait_while(&|| push(&pool, candidates(&["a"])).unwrap());
    assert!(matches!(work, Work::Commit(taken) if taken.len() == 1));
    assert!(matches!(wait_while(&|| pool.stop()), Work::Stop));
}

// -- the sequencer -------------------------------------------------------------------------------

/// A memory store that keeps every head that was signed, and can be kept from reloading.
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
        // Signed is signed, whether it becomes durable or not.
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

/// A running sequencer, and all that was ever promised of it.
struct Bench {
    store: Watched,
    sequencer: Sequencer,
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
        let sequencer = Sequencer::start(Box::new(store.clone()), signer(), options).unwrap();
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

    /// What must hold at every moment.
    fn check(&mut self) {
        // Published first: the durable entries only grow.
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
        // Heads only grow, and each is of a prefix of what is durable: so each extends all before it.
        let leaves: Vec<Hash> = durable.iter().map(|entry| Hash::leaf(entry)).collect();
        for heads in [&signed, &self.seen] {
            assert!(heads.windows(2).all(|pair| pair[0].size <= pair[1].size), "{heads:?}");
            for head in heads {
                let size = usize::try_from(head.size.get()).unwrap();
                assert_eq!(head.root, reference::root(&leaves[..size]), "the head at {size}");
            }
        }
    }

    /// Waits until all that is durable is published, and the log reports no fault. A fault that
    /// waits for a point that is not passed again stays.
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
        // What a fault kept from being published is published by the start.
        let _ = self.sequencer.shut_down();
        for _ in 0..10 {
            let mut store = self.store.clone();
            if store.reload().is_err() {
                continue;
            }
            match Sequencer::start(Box::new(store), signer(), &quick()) {
                Ok(sequencer) => {
                    self.sequencer = sequencer;
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

#[test]
fn every_fault_loses_nothing_that_was_acknowledged_and_passes() {
    for point in UNWITNESSED {
        for fault in [StoreFault::Failed, StoreFault::FailedButPersisted] {
            one_fault(point, fault);
        }
    }
}

fn one_fault(point: FaultPoint, fault: StoreFault) {
    let what = format!("{fault:?} at {point:?}");
    let mut bench = Bench::new();
    assert_eq!(bench.submit(&["before 0", "before 1"]), [fresh(0), fresh(1)]);
    bench.settle();
    assert_eq!(bench.sequencer.fault(), None);

    bench.store.no_reload.store(true, Ordering::SeqCst);
    bench.store.store.inject(point, fault);
    if point == FaultPoint::Reload {
        // Nobody reloads without need.
        bench.store.store.inject(FaultPoint::Stage, StoreFault::Failed);
    }
    let with = bench.submit(&["with 0", "with 1"]);
    if point == FaultPoint::Checkpoint {
        assert_eq!(with, [fresh(2), fresh(3)], "durable is all that an index promises");
    } else {
        assert!(with.iter().all(|r| matches!(r, Err(SubmitError::Storage(_)))), "{what}: {with:?}");
    }
    let sequencer = bench.sequencer.clone();
    wait_until("the fault is reported", || sequencer.fault().is_some());
    let while_broken = bench.submit(&["while 0"]);
    let Err(SubmitError::Storage(said)) = &while_broken[0] else { panic!("{what}: {while_broken:?}") };
    assert!(said.contains("injected fault at reload"), "{what}: {said}");
    assert!(bench.sequencer.fault().unwrap().contains("injected fault at"), "{what}");
    assert_eq!(bench.sequencer.published().borrow().checkpoint.size.get(), 2, "{what}");

    bench.store.no_reload.store(false, Ordering::SeqCst);
    bench.settle();
    assert!(!bench.store.store.has_pending_fault(), "{what} was met");
    // Applied and staged are the same to who was refused: durable or not shows when they ask again.
    let persisted = match point {
        FaultPoint::Stage => fault == StoreFault::FailedButPersisted,
        FaultPoint::Apply | FaultPoint::Checkpoint => true,
        FaultPoint::Reload => false,
        FaultPoint::Witnessed => unreachable!("this log has no witnesses"),
    };
    assert_eq!(bench.store.durable().len(), if persisted { 4 } else { 2 }, "{what}");
    let expected = if persisted { [duplicate(2), duplicate(3)] } else { [fresh(2), fresh(3)] };
    assert_eq!(bench.submit(&["with 0", "with 1"]), expected, "{what}");
    assert_eq!(bench.submit(&["while 0", "after 0"]), [fresh(4), fresh(5)], "{what}");
    assert_eq!(bench.submit(&["before 1", "with 1", "after 0"]), [duplicate(1), duplicate(3), duplicate(5)]);
    bench.settle();
    bench.restart();
    assert_eq!(bench.sequencer.published().borrow().checkpoint.size.get(), 6, "{what}");
}

#[test]
fn published_heads_are_proven_consistent_with_all_earlier_ones() {
    let mut bench = Bench::new();
    for round in 0..40 {
        if round % 7 == 3 {
            let point = UNWITNESSED[round % 4];
            bench.store.store.inject(point, StoreFault::FailedButPersisted);
        }
        bench.submit(&[&format!("{round} a"), &format!("{round} b")]);
        if round % 3 == 0 {
            bench.settle();
        }
    }
    bench.settle();
    let reader = bench.sequencer.reader().clone();
    let heads = bench.store.signed.lock().unwrap().clone();
    let last = heads.last().unwrap();
    assert!(heads.len() > 10 && last.size.get() >= 70, "{}", heads.len());
    for head in &heads {
        let (old, new) = ((head.size, &head.root), (last.size, &last.root));
        prove_consistency(reader.as_ref(), old, new).unwrap().unwrap();
    }
}

#[test]
fn a_head_that_became_durable_in_a_failed_write_is_published_without_another_entry() {
    // The reload may come with a submission that appends nothing, and finds all that is durable
    // signed already. Whoever waits for the head waits for this one.
    let options = Options { publish_interval: Duration::from_millis(100), ..Options::default() };
    let mut bench = Bench::with(&options);
    bench.store.store.inject(FaultPoint::Checkpoint, StoreFault::FailedButPersisted);
    assert_eq!(bench.submit(&["a"]), [fresh(0)]);
    let sequencer = bench.sequencer.clone();
    wait_until("the write has failed", || sequencer.fault().is_some());
    assert_eq!(bench.submit(&["a"]), [duplicate(0)]);
    assert_eq!(bench.sequencer.fault(), None, "it was reloaded for this submission");
    bench.settle();
    assert_eq!(bench.store.signed.lock().unwrap().len(), 2, "the empty tree's and this one, signed once");
}

fn outcome(receiver: oneshot::Receiver<Outcome>) -> (Results, Option<u64>) {
    let outcome = receiver.blocking_recv().unwrap();
    (outcome.results, outcome.head.map(|head| head.checkpoint.size.get()))
}

#[test]
fn who_waits_for_a_head_is_answered_once_it_is_shown() {
    let store = Watched::new();
    let sequencer = Sequencer::start(Box::new(store.clone()), signer(), &quick()).unwrap();
    let first = sequencer.submit(candidates(&["a", "b claim:k:x"]), Wait::Published).unwrap();
    let (results, head) = outcome(first);
    assert_eq!(results, [fresh(0), fresh(1)]);
    assert!(head >= Some(2));
    assert!(sequencer.published().borrow().checkpoint.size.get() >= 2, "shown before it was answered");
    // Nothing new to wait for: the head that is there has it.
    assert_eq!(
        outcome(sequencer.submit(candidates(&["a"]), Wait::Published).unwrap()),
        (vec![duplicate(0)], Some(2))
    );
    // Nothing taken, nothing to wait for.
    let refused = (vec![Err(SubmitError::SequenceTaken)], None);
    assert_eq!(outcome(sequencer.submit(candidates(&["c claim:k:y"]), Wait::Published).unwrap()), refused);
    assert_eq!(outcome(sequencer.submit(Vec::new(), Wait::Published).unwrap()), (vec![], None));
}

#[test]
fn who_waits_for_a_head_that_can_t_be_published_learns_it_with_the_index() {
    for fault in [StoreFault::Failed, StoreFault::FailedButPersisted] {
        let bench = Bench::new();
        bench.store.store.inject(FaultPoint::Checkpoint, fault);
        assert_eq!(
            outcome(bench.sequencer.submit(candidates(&["a"]), Wait::Published).unwrap()),
            (vec![fresh(0)], None)
        );
        let (results, head) = outcome(bench.sequencer.submit(candidates(&["a"]), Wait::Published).unwrap());
        assert_eq!((results, head), (vec![duplicate(0)], Some(1)), "the next head has it");
        bench.store.store.inject(FaultPoint::Stage, fault);
        let (results, head) = outcome(bench.sequencer.submit(candidates(&["b"]), Wait::Published).unwrap());
        assert!(matches!(results[..], [Err(SubmitError::Storage(_))]) && head.is_none());
    }
}

#[test]
fn a_shutdown_answers_who_waits_for_a_head() {
    let options = Options { publish_interval: Duration::from_secs(3_600), ..Options::default() };
    let store = Watched::new();
    let sequencer = Sequencer::start(Box::new(store), signer(), &options).unwrap();
    let waiting: Vec<_> =
        (0..50).map(|i| sequencer.submit(candidates(&[&i.to_string()]), Wait::Published).unwrap()).collect();
    sequencer.shut_down().unwrap();
    for (i, receiver) in waiting.into_iter().enumerate() {
        assert_eq!(outcome(receiver), (vec![fresh(i as u64)], Some(50)));
    }
}

#[test]
fn nothing_is_half_accepted() {
    let store = Watched::new();
    let options = Options { pool_entries: 10, pool_bytes: 1_000, ..quick() };
    let sequencer = Sequencer::start(Box::new(store.clone()), signer(), &options).unwrap();
    let eleven: Vec<String> = (0..11).map(|i| i.to_string()).collect();
    let eleven: Vec<&str> = eleven.iter().map(String::as_str).collect();
    assert!(matches!(sequencer.submit(candidates(&eleven), Wait::Sequenced), Err(SubmitError::Full { .. })));
    assert!(matches!(
        sequencer.submit(vec![candidate(&[0; 1_001])], Wait::Sequenced),
        Err(SubmitError::Full { .. })
    ));
    assert_eq!(results(sequencer.submit(candidates(&eleven[..1]), Wait::Sequenced).unwrap()), [fresh(0)]);
    assert_eq!(results(sequencer.submit(Vec::new(), Wait::Sequenced).unwrap()), []);
    sequencer.shut_down().unwrap();
    assert_eq!(store.durable(), [b"0"]);
}

#[test]
fn shutting_down_publishes_all_that_was_accepted() {
    let store = Watched::new();
    // So rarely that only the shutdown can have published the end of it.
    let options = Options { publish_interval: Duration::from_secs(3_600), ..Options::default() };
    let sequencer = Sequencer::start(Box::new(store.clone()), signer(), &options).unwrap();
    let waiting: Vec<_> = (0..200)
        .map(|i| {
            sequencer.submit(candidates(&[&format!("{i} a"), &format!("{i} b")]), Wait::Sequenced).unwrap()
        })
        .collect();
    sequencer.shut_down().unwrap();
    let published = sequencer.published().borrow().clone();
    assert_eq!(published.checkpoint.size.get(), 400);
    for (i, receiver) in waiting.into_iter().enumerate() {
        assert_eq!(results(receiver), [fresh(2 * i as u64), fresh(2 * i as u64 + 1)]);
    }
    assert_eq!(store.store.checkpoint().unwrap(), *published.note, "durable, too");
    assert!(matches!(
        sequencer.submit(candidates(&["late"]), Wait::Sequenced),
        Err(SubmitError::ShuttingDown)
    ));
    sequencer.shut_down().unwrap();
    assert_eq!(store.durable().len(), 400);
}

#[test]
fn a_busy_log_signs_no_more_often_than_it_was_told() {
    let store = Watched::new();
    let options = Options { publish_interval: Duration::from_millis(50), ..Options::default() };
    let sequencer = Sequencer::start(Box::new(store.clone()), signer(), &options).unwrap();
    let begin = Instant::now();
    for i in 0..10_u64 {
        // A thousand at once are busy.
        let many: Vec<String> = (0..1_000).map(|n| format!("{i} {n}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(
            results(sequencer.submit(candidates(&many), Wait::Sequenced).unwrap())[0],
            fresh(i * 1_000)
        );
    }
    let most = begin.elapsed().as_millis() / 50 + 2;
    sequencer.shut_down().unwrap();
    let signed = store.signed.lock().unwrap().len();
    assert!((signed as u128) <= most + 1, "{signed} heads, expected at most {most} and the last");
}

#[test]
fn few_entries_are_published_long_before_the_interval_is_over() {
    let store = Watched::new();
    let options = Options { publish_interval: Duration::from_secs(3_600), ..Options::default() };
    let sequencer = Sequencer::start(Box::new(store.clone()), signer(), &options).unwrap();
    let begin = Instant::now();
    results(sequencer.submit(candidates(&["one"]), Wait::Sequenced).unwrap());
    while sequencer.published().borrow().checkpoint.size.get() == 0 {
        assert!(begin.elapsed() < Duration::from_secs(60), "a thousandth of the interval is four seconds");
        std::thread::sleep(Duration::from_millis(5));
    }
}

// -- starting ------------------------------------------------------------------------------------

fn start(store: MemoryStore) -> Result<Sequencer, StartError> {
    Sequencer::start(Box::new(store), signer(), &quick())
}

fn stored(entries: Vec<Vec<u8>>) -> MemoryStore {
    let mut store = MemoryStore::new(describe());
    append(&mut store, entries);
    store
}

#[test]
fn a_start_publishes_what_is_durable_and_signs_nothing_twice() {
    let mut store = Watched { store: stored(numbered(0, 5)), ..Watched::new() };
    for (appended, signatures) in [(0, 1), (0, 1), (2, 2), (0, 2)] {
        // As by a process that ended before it could sign.
        if appended > 0 {
            append(&mut store, numbered(5, appended));
        }
        let sequencer = Sequencer::start(Box::new(store.clone()), signer(), &quick()).unwrap();
        let published = sequencer.published().borrow().clone();
        assert_eq!(published.checkpoint.size, store.edge().size());
        assert_eq!(published.checkpoint.root, store.edge().root());
        assert_eq!(store.checkpoint().unwrap(), *published.note);
        sequencer.shut_down().unwrap();
        assert_eq!(store.signed.lock().unwrap().len(), signatures);
    }
}

#[test]
fn an_empty_log_publishes_the_empty_tree() {
    let sequencer = start(MemoryStore::new(describe())).unwrap();
    let published = sequencer.published().borrow().clone();
    assert_eq!((published.checkpoint.size, published.checkpoint.root), (TreeSize::ZERO, Hash::EMPTY_ROOT));
    assert!(checkpoint::open(&published.note, &[signer().public().clone()]).is_ok());
    sequencer.shut_down().unwrap();
}

#[test]
fn a_checkpoint_of_another_key_or_origin_is_refused() {
    let other_key = NoteSigner::from_seed(KeyName::new(ORIGIN).unwrap(), SignatureType::Ed25519, &[8; 32]);
    let other_origin =
        NoteSigner::from_seed(KeyName::new("example.com/other").unwrap(), SignatureType::Ed25519, &[7; 32]);
    for stranger in [other_key, other_origin] {
        let mut store = stored(numbered(0, 5));
        let edge = store.edge();
        let head = Checkpoint::new(stranger.public().name().clone(), edge.size(), edge.root());
        let note = head.sign(&stranger).to_string().into_bytes();
        store.replace_checkpoint(None, &note).unwrap();
        let refused = start(store.clone()).err().unwrap();
        assert!(matches!(refused, StartError::Checkpoint(_)), "{refused}");
        assert!(refused.to_string().ends_with("is log.key the key of this directory?"), "{refused}");
        assert_eq!(store.checkpoint(), Some(note), "and is still there");
    }
}

#[test]
fn a_store_that_lost_or_changed_what_was_signed_is_refused() {
    let of = |entries: Vec<Vec<u8>>| signed(&batch_of(&RightEdge::default(), entries).growth.edge);
    let mut short = stored(numbered(0, 5));
    short.replace_checkpoint(None, &of(numbered(0, 6))).unwrap();
    let refused = start(short).err().unwrap();
    let StartError::Store(StoreError::JournalShort { signed, seen }) = refused else { panic!("{refused}") };
    assert_eq!((signed.get(), seen.get()), (6, 5));
    for size in [1, 4, 5] {
        let mut forked = stored(numbered(0, 5));
        forked.replace_checkpoint(None, &of(numbered(1, size))).unwrap();
        let refused = start(forked).err().unwrap();
        assert!(matches!(refused, StartError::Store(StoreError::JournalForked { .. })), "{refused}");
    }
    let mut sound = stored(numbered(0, 5));
    sound.replace_checkpoint(None, &of(numbered(0, 4))).unwrap();
    start(sound).unwrap().shut_down().unwrap();
}

#[test]
fn a_log_whose_checkpoint_was_replaced_signs_nothing_until_it_is_its_own_again() {
    let dir = TempDir::new().unwrap();
    let store = DiskStore::open(dir.path(), disk_options()).unwrap();
    let sequencer = Sequencer::start(Box::new(store), signer(), &quick()).unwrap();
    assert_eq!(results(sequencer.submit(candidates(&["a"]), Wait::Sequenced).unwrap()), [fresh(0)]);
    wait_until("a is published", || sequencer.published().borrow().checkpoint.size.get() == 1);
    let path = Layout::new(dir.path()).checkpoint();
    let own = std::fs::read(&path).unwrap();
    // By this log's key, of another history: as when a backup of one part was put back.
    let forked = signed(&batch_of(&RightEdge::default(), numbered(0, 1)).growth.edge);
    std::fs::write(&path, &forked).unwrap();
    assert_eq!(results(sequencer.submit(candidates(&["b"]), Wait::Sequenced).unwrap()), [fresh(1)]);
    let fault = || sequencer.fault().unwrap_or_default();
    wait_until("it is noticed", || fault().contains("the journal is not what was signed"));
    let refused = results(sequencer.submit(candidates(&["c"]), Wait::Sequenced).unwrap());
    assert!(matches!(&refused[0], Err(SubmitError::Storage(_))), "{refused:?}");
    assert_eq!(sequencer.published().borrow().checkpoint.size.get(), 1);
    assert_eq!(std::fs::read(&path).unwrap(), forked, "it is not overwritten either");
    std::fs::write(&path, own).unwrap();
    wait_until("it goes on by itself", || sequencer.published().borrow().checkpoint.size.get() == 2);
    wait_until("the fault is over", || sequencer.fault().is_none());
    assert_eq!(
        results(sequencer.submit(candidates(&["c", "b", "a"]), Wait::Sequenced).unwrap()),
        [fresh(2), duplicate(1), duplicate(0)]
    );
    sequencer.shut_down().unwrap();
}

// -- on disk, with everybody at once -------------------------------------------------------------

#[test]
fn many_writers_of_the_same_entries_get_the_same_indices() {
    let dir = TempDir::new().unwrap();
    let store = DiskStore::open(dir.path(), disk_options()).unwrap();
    let sequencer = Sequencer::start(Box::new(store), signer(), &quick()).unwrap();
    let answers: Vec<Vec<(String, Sequenced)>> = std::thread::scope(|scope| {
        let writer = |seed: usize| {
            let sequencer = &sequencer;
            move || {
                let mut answers = Vec::new();
                for round in 0..150 {
                    // Each writer in an order of its own, two at a time.
                    let pick = |step: usize| format!("entry {}", (round * step + seed * 31) % 150);
                    let entries = [pick(7), pick(11)];
                    let entries: Vec<&str> = entries.iter().map(String::as_str).collect();
                    let results = results(sequencer.submit(candidates(&entries), Wait::Sequenced).unwrap());
                    for (entry, result) in entries.iter().zip(results) {
                        answers.push(((*entry).to_owned(), result.unwrap()));
                    }
                }
                answers
            }
        };
        let writers: Vec<_> = (0..4).map(|seed| scope.spawn(writer(seed))).collect();
        writers.into_iter().map(|writer| writer.join().unwrap()).collect()
    });
    let mut indices: HashMap<String, LeafIndex> = HashMap::new();
    let mut fresh = 0;
    for (entry, sequenced) in answers.into_iter().flatten() {
        assert_eq!(*indices.entry(entry).or_insert(sequenced.index), sequenced.index);
        fresh += usize::from(!sequenced.duplicate);
    }
    assert_eq!((fresh, indices.len()), (150, 150), "each was new once");
    for (entry, index) in &indices {
        let read = sequencer.reader().entry(*index).unwrap();
        assert_eq!(read, entry.as_bytes());
    }
    sequencer.shut_down().unwrap();
    assert_eq!(sequencer.published().borrow().checkpoint.size.get(), 150);
}

// -- any order of anything -----------------------------------------------------------------------

#[derive(Debug, Clone)]
enum Step {
    Submit(Vec<u8>),
    Inject(FaultPoint, StoreFault),
    Settle,
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let point = prop::sample::select(UNWITNESSED.to_vec());
    let fault = prop::sample::select(vec![StoreFault::Failed, StoreFault::FailedButPersisted]);
    prop_oneof![
        6 => prop::collection::vec(0..60_u8, 0..6).prop_map(Step::Submit),
        3 => (point, fault).prop_map(|(point, fault)| Step::Inject(point, fault)),
        1 => Just(Step::Settle),
        1 => Just(Step::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn whatever_happens_what_was_promised_holds(steps in prop::collection::vec(step(), 1..40)) {
        let mut bench = Bench::new();
        // Entries 0 to 59; some take a sequence number that others of them want, too.
        let entry = |id: &u8| match id % 3 {
            0 => format!("{id} claim:{}:{id}", id % 9),
            _ => format!("{id}"),
        };
        for step in steps {
            match step {
                Step::Submit(ids) => {
                    let entries: Vec<String> = ids.iter().map(entry).collect();
                    let entries: Vec<&str> = entries.iter().map(String::as_str).collect();
                    bench.submit(&entries);
                }
                Step::Inject(point, fault) => bench.store.store.inject(point, fault),
                Step::Settle => bench.settle(),
                Step::Restart => bench.restart(),
            }
            bench.check();
        }
        // Whoever asks again is told the first index, once the last faults have passed.
        for (index, entry) in bench.promised.clone() {
            let mut again = bench.submit(&[std::str::from_utf8(&entry).unwrap()]);
            for _ in UNWITNESSED {
                if again[0].is_err() {
                    again = bench.submit(&[std::str::from_utf8(&entry).unwrap()]);
                }
            }
            prop_assert_eq!(again, [duplicate(index)]);
        }
        bench.settle();
    }
}

mod witnessed;
