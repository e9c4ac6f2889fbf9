//! From a pool of submissions to a signed tree head.
//!
//! ```text
//! queued -> sequenced (index assigned, durable) -> published (in a signed checkpoint)
//!                                               -> witnessed (quorum reached)
//! ```
//!
//! One thread commits: *plan* (pure) -> *stage* in the journal -> *apply* to the tree -> *sign* ->
//! durable *checkpoint* -> *cosigned* by a quorum, where the log has witnesses -> *publish*. What is planned, hashed and verified beforehand is done on the
//! threads of whoever submits.

mod answer;
mod commit;
mod cosigners;
mod figures;
mod heads;
mod plan;
mod pool;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::{oneshot, watch};

use crate::checkpoint::{Checkpoint, LogSigner};
use crate::disk::retried;
use crate::merkle::{Hash, LeafIndex};
use crate::release::Facts;
use crate::store::{Store, StoreError, StoreReader};
use answer::Reply;
pub use answer::{Outcome, Until};
use commit::Committer;
pub use cosigners::{CosignerStatus, Cosigners, Inbox, Opened, StartCosigners, Word};
use figures::Counts;
pub use figures::Figures;
pub(crate) use pool::RETRY_AFTER;
use pool::{Pool, RETRY_AFTER_SUSPICION, Submission};

/// An entry to append, with all that can be computed without the log.
#[derive(Debug, Clone)]
pub struct Candidate {
    entry: Vec<u8>,
    leaf_hash: Hash,
    facts: Facts,
}

impl Candidate {
    /// Hashes the entry.
    ///
    /// # Panics
    /// On an entry over [`MAX_ENTRY_BYTES`](crate::release::MAX_ENTRY_BYTES): callers cap first.
    #[must_use]
    pub fn new(entry: Vec<u8>, facts: Facts) -> Self {
        assert!(entry.len() <= crate::release::MAX_ENTRY_BYTES, "entries are capped when they are received");
        Self { leaf_hash: Hash::leaf(&entry), entry, facts }
    }

    /// What the indexes will hold of it.
    #[must_use]
    pub const fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Its leaf hash.
    #[must_use]
    pub const fn leaf_hash(&self) -> &Hash {
        &self.leaf_hash
    }
}

/// What became of an entry: it is durable at this index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sequenced {
    /// Its place in the log.
    pub index: LeafIndex,
    /// Whether the log had it already: then this is its first index, and nothing was appended.
    pub duplicate: bool,
    /// Leaf hash of the entry there, if it differs from the one sent: the same payload with other signatures,
    /// or another statement of the same claims.
    pub stored: Option<Hash>,
}

/// Why an entry was not appended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SubmitError {
    /// The pool is full. Nothing of the submission was taken.
    #[error("the log is busy: {waiting} entries wait already; try again in {} s", retry_after.as_secs())]
    Full {
        /// Entries that wait.
        waiting: usize,
        /// When to try again.
        retry_after: Duration,
    },
    /// Too much is being received or checked. Nothing of the submission was taken.
    #[error("the log is busy: as much is being checked as it can bear; try again in {} s", retry_after.as_secs())]
    Overloaded {
        /// When to try again.
        retry_after: Duration,
    },
    /// The log is stopping. Nothing of the submission was taken.
    #[error("the log is shutting down; try again when it is back")]
    ShuttingDown,
    /// The sequence number is taken by another release.
    #[error(
        "the sequence number is taken: the log has another release of this publisher, package, channel and sequence; to release something else, even the same artifacts as another version, use the next number"
    )]
    SequenceTaken,
    /// The log has not heard yet what its witnesses last saw. Nothing of the submission was taken.
    #[error(
        "{}; try again in {} s",
        suspicion.as_deref().unwrap_or("the log has just started and asks its witnesses what they saw last before it signs anything"),
        retry_after.as_secs()
    )]
    AskingWitnesses {
        /// What the witnesses claim, where it looks as if the log was rolled back.
        suspicion: Option<String>,
        /// When to try again.
        retry_after: Duration,
    },
    /// The log's files are older than what the world has seen, or other. Nothing of the submission was taken.
    #[error("the log accepts no entries until it is repaired: {0}")]
    RolledBack(String),
    /// The journal is not what the log wrote. None of the submission was added.
    #[error("the log accepts no entries until it is repaired: {0}")]
    Damaged(String),
    /// It could not be made durable. Whether it is nevertheless shows when it is sent again: then
    /// its first index is the answer.
    #[error("the entry could not be stored: {0}; send it again later, a duplicate gets its first index")]
    Storage(String),
}

/// The head that everyone may see: signed, and durable. A log with witnesses has none before the first one
/// that a quorum cosigned: then `note` is empty, and the tree, too.
#[derive(Debug, Clone)]
pub struct Published {
    /// What it says.
    pub checkpoint: Checkpoint,
    /// The note, byte for byte.
    pub note: Arc<[u8]>,
    /// When this process published it.
    pub at: Instant,
    /// Whether the note carries the cosignatures of a quorum of the log's witnesses.
    pub witnessed: bool,
}

/// How the sequencer works.
#[derive(Debug, Clone)]
pub struct Options {
    /// Under load, a head is signed at most this often; while few entries come, sooner.
    pub publish_interval: Duration,
    /// Most entries that wait to be sequenced: some batches' worth, so that nobody waits long.
    pub pool_entries: usize,
    /// Most bytes of entries that wait.
    pub pool_bytes: usize,
    /// Whether a log with witnesses publishes heads that too few of them cosigned in time. Whoever is shown
    /// one can't tell whether others were shown another.
    pub publish_unwitnessed: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            publish_interval: Duration::from_millis(100),
            pool_entries: 4 * crate::store::MAX_BATCH_ENTRIES,
            pool_bytes: 2 * crate::store::MAX_BATCH_BYTES,
            publish_unwitnessed: false,
        }
    }
}

/// Why a log can't start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The store has a checkpoint that this log's key did not sign.
    #[error("the last checkpoint is not this log's: {0}; is log.key the key of this directory?")]
    Checkpoint(#[from] crate::checkpoint::CheckpointError),
    /// The store can't be read, or does not hold what was signed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A running sequencer. Clones are handles to the same one.
#[derive(Clone)]
pub struct Sequencer {
    shared: Arc<Shared>,
}

struct Shared {
    pool: Pool,
    published: watch::Receiver<Published>,
    reader: Arc<dyn StoreReader>,
    cosigners: Option<Arc<dyn Cosigners>>,
    fault: Fault,
    counts: Arc<Counts>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What may be wrong with a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trouble {
    /// It panicked.
    Panic,
    /// Its files are older than what the world has seen, or other.
    Rollback,
    /// Its journal is not what it wrote.
    Damage,
    /// Witnesses say that they have cosigned more than it has, without a proof.
    RollbackSuspected,
    /// It can't write.
    Storage,
    /// Its machine's clock is wrong.
    Clock,
    /// Too few witnesses answer.
    Quorum,
}

impl Trouble {
    /// All kinds, the worst first.
    pub const ALL: [Self; 7] = [
        Self::Panic,
        Self::Rollback,
        Self::Damage,
        Self::RollbackSuspected,
        Self::Storage,
        Self::Clock,
        Self::Quorum,
    ];

    /// Its stable name, for machines.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Panic => "panic",
            Self::Rollback => "rollback",
            Self::Damage => "damage",
            Self::RollbackSuspected => "rollback-suspected",
            Self::Storage => "storage",
            Self::Clock => "clock",
            Self::Quorum => "quorum",
        }
    }
}

/// Why the log can't append or publish at the moment, the worst first. Shared with `/healthz`.
#[derive(Debug, Clone, Default)]
struct Fault(Arc<Mutex<BTreeMap<Trouble, String>>>);

impl Fault {
    /// It is tried again many times a second; the same reason is worth one line in the log.
    fn tell(&self, trouble: Trouble, why: String) {
        let mut faults = self.0.lock().expect("no panic while it is held");
        if faults.get(&trouble) != Some(&why) {
            tracing::error!("{why}");
            faults.insert(trouble, why);
        }
    }

    fn clear(&self, trouble: Trouble) {
        let cleared = self.0.lock().expect("no panic while it is held").remove(&trouble);
        if trouble == Trouble::Quorum && cleared.is_some() {
            tracing::info!("a quorum of witnesses cosigns again");
        }
    }

    fn of(&self, troubles: &[Trouble]) -> Option<String> {
        let faults = self.0.lock().expect("no panic while it is held");
        troubles.iter().find_map(|trouble| faults.get(trouble).cloned())
    }

    fn all(&self) -> BTreeMap<Trouble, String> {
        self.0.lock().expect("no panic while it is held").clone()
    }
}

/// Results of a submission, one for each entry, in order.
pub type Results = Vec<Result<Sequenced, SubmitError>>;

impl Sequencer {
    /// Checks the last checkpoint against the tree, publishes what is durable, and starts the thread
    /// that commits.
    ///
    /// # Errors
    /// [`StartError`] where the checkpoint is not ours, or the tree is no extension of it.
    ///
    /// # Panics
    /// If the system can't start a thread.
    pub fn start(
        store: Box<dyn Store>,
        signer: impl Into<LogSigner>,
        options: &Options,
    ) -> Result<Self, StartError> {
        Self::start_with(store, signer.into(), options, None)
    }

    /// As [`start`](Self::start), for a log with witnesses: nothing is signed before they were asked what
    /// they last saw, and a head is published when a quorum has cosigned it.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    ///
    /// # Panics
    /// If the system can't start a thread.
    pub fn start_with(
        store: Box<dyn Store>,
        signer: LogSigner,
        options: &Options,
        cosigners: Option<StartCosigners>,
    ) -> Result<Self, StartError> {
        let reader = store.reader();
        let fault = Fault::default();
        let pool = Pool::new(options.pool_entries, options.pool_bytes);
        let (mut committer, published) =
            Committer::recover(store, signer, options.publish_interval, fault.clone())?;
        let cosigners = cosigners.map(|start| {
            let refusal = SubmitError::AskingWitnesses { suspicion: None, retry_after: RETRY_AFTER };
            pool.refuse(Some(refusal));
            let inbox = Inbox(pool.clone());
            start(Opened { reader: reader.clone(), last_signed: committer.last_signed(), inbox })
        });
        committer.start(cosigners.clone().map(|cosigners| (cosigners, options.publish_unwitnessed)))?;
        let (counts, thread) = (committer.counts(), Mutex::default());
        let shared = Arc::new(Shared { pool, published, reader, cosigners, fault, counts, thread });
        let thread = {
            let (pool, fault) = (shared.pool.clone(), shared.fault.clone());
            let work = move || {
                if catch_unwind(AssertUnwindSafe(|| committer.run(&pool))).is_err() {
                    // Answer all waiting senders now: nothing will be committed before a restart.
                    let why =
                        "the sequencer panicked: restart the log; what was acknowledged is in the journal";
                    fault.tell(Trouble::Panic, why.to_owned());
                    pool.abandon();
                }
            };
            std::thread::Builder::new().name("sequencer".to_owned()).spawn(work)
        };
        *shared.thread.lock().expect("no panic while it is held") =
            Some(thread.expect("a thread can be started"));
        Ok(Self { shared })
    }

    /// Queues entries, all or none. The results arrive when all of them are sequenced.
    ///
    /// # Errors
    /// [`SubmitError::Full`] or [`SubmitError::ShuttingDown`]: nothing was taken.
    pub fn submit(&self, candidates: Vec<Candidate>) -> Result<oneshot::Receiver<Results>, SubmitError> {
        let (reply, results) = oneshot::channel();
        self.shared.push(Submission { candidates, reply: Reply::Sequenced(reply) })?;
        Ok(results)
    }

    /// Queues entries, all or none. The answer arrives when all of them are in a head that is published, or
    /// witnessed as well; or when it is sure, or has taken too long to be told, that there is none.
    ///
    /// # Errors
    /// As [`submit`](Self::submit).
    pub fn publish(
        &self,
        candidates: Vec<Candidate>,
        until: Until,
    ) -> Result<oneshot::Receiver<Outcome>, SubmitError> {
        let (reply, outcome) = oneshot::channel();
        self.shared.push(Submission { candidates, reply: Reply::Head(until, reply) })?;
        Ok(outcome)
    }

    /// Whether the pool has room for a submission of this many bytes. If not, the caller need not receive it.
    ///
    /// # Errors
    /// As [`submit`](Self::submit).
    pub fn has_room(&self, bytes: usize) -> Result<(), SubmitError> {
        self.shared.pool.has_room(1, bytes).map_err(|refused| self.shared.explain(refused))
    }

    /// The published head, and a way to wait for the next one.
    #[must_use]
    pub fn published(&self) -> watch::Receiver<Published> {
        self.shared.published.clone()
    }

    /// The store, for reading.
    #[must_use]
    pub fn reader(&self) -> &Arc<dyn StoreReader> {
        &self.shared.reader
    }

    /// Whoever collects cosignatures, where the log has witnesses.
    #[must_use]
    pub fn cosigners(&self) -> Option<&Arc<dyn Cosigners>> {
        self.shared.cosigners.as_ref()
    }

    /// Why the log can't append or publish as it should at the moment, the worst first.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        self.shared.faults().into_values().collect()
    }

    /// The worst of these reasons.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        self.faults().into_iter().next()
    }

    /// Refuses further submissions, commits and publishes what waits, and returns when that is done.
    ///
    /// # Errors
    /// The fault of the log itself that kept it from publishing everything; what was acknowledged is durable.
    /// That witnesses are missing is no such fault: [`faults`](Self::faults) has it.
    pub fn shut_down(&self) -> Result<(), String> {
        self.shared.stop();
        self.shared.fault.of(&[Trouble::Panic, Trouble::Damage, Trouble::Storage]).map_or(Ok(()), Err)
    }
}

impl Shared {
    fn push(&self, submission: Submission) -> Result<(), SubmitError> {
        self.pool.push(submission).map_err(|refused| self.explain(refused))
    }

    /// Adds to a refusal what the witnesses claim: then it may last until the operator does something.
    fn explain(&self, refused: SubmitError) -> SubmitError {
        if !matches!(refused, SubmitError::AskingWitnesses { .. }) {
            return refused;
        }
        let mut of_witnesses = self.cosigners.iter().flat_map(|cosigners| cosigners.troubles());
        let suspicion =
            of_witnesses.find_map(|(trouble, why)| (trouble == Trouble::RollbackSuspected).then_some(why));
        match suspicion {
            None => refused,
            suspicion => SubmitError::AskingWitnesses { suspicion, retry_after: RETRY_AFTER_SUSPICION },
        }
    }

    /// All faults, worst first: those of the committing thread, damage that a reader saw, and what the
    /// witnesses suggest.
    fn faults(&self) -> BTreeMap<Trouble, String> {
        let mut faults = self.fault.all();
        faults.values_mut().for_each(|why| *why = retried(&*why));
        if let Some(damage) = self.reader.damage() {
            faults.entry(Trouble::Damage).or_insert(damage);
        }
        let of_witnesses = self.cosigners.iter().flat_map(|cosigners| cosigners.troubles());
        for (trouble, why) in of_witnesses {
            faults.entry(trouble).or_insert(why);
        }
        faults
    }

    fn stop(&self) {
        self.pool.close();
        let thread = self.thread.lock().expect("no panic while it is held").take();
        if let Some(thread) = thread {
            // Its panics were caught and reported when they happened.
            let _ = thread.join();
        }
    }
}

impl Drop for Shared {
    /// The last handle is gone: the store is closed, and its directory free again.
    fn drop(&mut self) {
        self.stop();
    }
}

#[cfg(test)]
mod tests;
