//! A log in a temporary directory with three witnesses, two of which have to cosign.

use std::time::{Duration, Instant};

use tempfile::TempDir;
use treehead::checkpoint::policy::{Cosigned, Policy};
use treehead::checkpoint::{self, Checkpoint, LogSigned, LogSigner};
use treehead::feeder::Feeder;
use treehead::merkle::{Hash, LeafIndex, RightEdge, TreeSize};
use treehead::note::{KeyName, NoteKey, NoteSigner, SignatureType};
use treehead::release::Facts;
use treehead::sequencer::{Candidate, CosignerStatus, Options, Outcome, Sequencer, SubmitError, Wait};
use treehead::store::{DiskStore, OpenOptions};

use crate::common::toy_witness::ToyWitness;

pub const ORIGIN: &str = "log.example.com/releases";
/// A time limit that even a busy machine keeps.
const PATIENCE: Duration = Duration::from_secs(30);

pub fn log_signer() -> LogSigner {
    let key = |kind| NoteSigner::from_seed(KeyName::new(ORIGIN).expect("a name"), kind, &[100; 32]);
    LogSigner::new(key(SignatureType::Ed25519), Some(key(SignatureType::CosignatureMlDsa44)))
}

pub fn log_keys() -> Vec<NoteKey> {
    log_signer().keys()
}

pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The log's tree over the first `size` of its numbered entries.
pub fn head_of(count: u64, entry: impl Fn(u64) -> String) -> Checkpoint {
    let leaves: Vec<Hash> = (0..count).map(|i| Hash::leaf(entry(i).as_bytes())).collect();
    let edge = RightEdge::default().grow(&leaves).edge;
    Checkpoint::new(KeyName::new(ORIGIN).expect("a name"), TreeSize::new(count).expect("small"), edge.root())
}

pub fn numbered(index: u64) -> String {
    format!("entry {index}")
}

pub struct World {
    pub witnesses: Vec<ToyWitness>,
    pub policy: Policy,
    pub store: TempDir,
    pub sequencer: Sequencer,
}

pub fn three() -> Vec<ToyWitness> {
    (1..=3).map(|at| ToyWitness::start(&format!("w{at}.example.com"), at, log_keys())).collect()
}

pub fn two_of(witnesses: &[ToyWitness]) -> Policy {
    let names: Vec<String> = (1..=witnesses.len()).map(|at| format!("w{at}")).collect();
    let lines: String =
        witnesses.iter().zip(&names).map(|(witness, name)| witness.policy_lines(name)).collect();
    let text = format!("{lines}group two 2 {}\nquorum two\n", names.join(" "));
    Policy::parse(text.as_bytes()).expect("a policy")
}

/// A directory for a log that has no entries yet.
pub fn store() -> TempDir {
    tempfile::tempdir().expect("a directory")
}

impl World {
    pub fn new() -> Self {
        Self::start(three(), store())
    }

    pub fn start(witnesses: Vec<ToyWitness>, store: TempDir) -> Self {
        let policy = two_of(&witnesses);
        Self::start_with(witnesses, store, policy)
    }

    pub fn start_with(witnesses: Vec<ToyWitness>, store: TempDir, policy: Policy) -> Self {
        Self::start_as(witnesses, store, policy, false)
    }

    /// A log that publishes without a quorum after a while.
    pub fn start_impatient(witnesses: Vec<ToyWitness>, store: TempDir) -> Self {
        let policy = two_of(&witnesses);
        Self::start_as(witnesses, store, policy, true)
    }

    fn start_as(
        witnesses: Vec<ToyWitness>,
        store: TempDir,
        policy: Policy,
        publish_unwitnessed: bool,
    ) -> Self {
        let cosigners =
            Feeder::prepare(policy.clone(), log_keys(), publish_unwitnessed).expect("good addresses");
        let publish_interval = Duration::from_millis(1);
        let options = Options { publish_interval, publish_unwitnessed, ..Options::default() };
        let disk = DiskStore::open(store.path(), OpenOptions::new(ORIGIN)).expect("a store that opens");
        let sequencer = Sequencer::start(Box::new(disk), log_signer(), &options, Some(cosigners))
            .expect("a log that starts");
        Self { witnesses, policy, store, sequencer }
    }

    /// Closes the log: another one may open its store then.
    pub fn close(self) -> (Vec<ToyWitness>, TempDir) {
        self.sequencer.shut_down().expect("closed");
        (self.witnesses, self.store)
    }

    /// Waits until the log has answers of its witnesses and accepts entries.
    pub fn wait_open(&self) {
        wait_until("the log takes entries", || self.sequencer.has_room(1).is_ok());
    }

    pub fn submit(&self, entry: &str) -> Result<tokio::sync::oneshot::Receiver<Outcome>, SubmitError> {
        let candidate = Candidate::new(entry.as_bytes().to_vec(), Facts::default());
        self.sequencer.submit(vec![candidate], Wait::Witnessed)
    }

    /// Appends the next of the numbered entries and waits until it is witnessed.
    pub fn append(&self, index: u64) -> Cosigned<Checkpoint> {
        let outcome = self.submit(&numbered(index)).expect("taken").blocking_recv().expect("answered");
        let sequenced = outcome.results[0].clone().expect("sequenced");
        assert_eq!(sequenced.index, LeafIndex::new(index).expect("small"));
        let head = outcome.head.expect("a witnessed head");
        assert_eq!(head.checkpoint, head_of(head.checkpoint.size.get(), numbered));
        self.check(&head.note)
    }

    /// Checks a head as every endpoint does.
    pub fn check(&self, note: &[u8]) -> Cosigned<Checkpoint> {
        self.policy.check(&open(note)).expect("a quorum")
    }

    /// The published note, if there is one.
    pub fn published(&self) -> Option<Vec<u8>> {
        let published = self.sequencer.published().borrow().clone();
        (!published.note.is_empty()).then(|| published.note.to_vec())
    }

    pub fn status(&self) -> Vec<CosignerStatus> {
        self.sequencer.cosigners().expect("it has witnesses").status()
    }

    /// Waits until the log reports this fault of a witness.
    pub fn wait_fault(&self, witness: usize, expected: &str) {
        let fault = || self.status()[witness].fault.clone();
        let deadline = Instant::now() + PATIENCE;
        while !fault().is_some_and(|fault| fault.contains(expected)) {
            assert!(Instant::now() < deadline, "expected {expected:?}, saw {:?}", fault());
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

pub fn open(note: &[u8]) -> LogSigned<Checkpoint> {
    checkpoint::open(note, &log_keys()).expect("signed by the log")
}
