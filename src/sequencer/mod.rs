//! From a pool of submissions to a signed tree head.
//!
//! ```text
//! queued -> sequenced (index assigned, durable) -> published (in a signed checkpoint)
//! ```
//!
//! One thread commits: *plan* (pure) -> *stage* in the journal -> *apply* to the tree -> *sign* ->
//! durable *checkpoint* -> *publish*. What is planned, hashed and verified beforehand is done on the
//! threads of whoever submits.

mod answer;
mod commit;
mod plan;
mod pool;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::{oneshot, watch};

use crate::checkpoint::Checkpoint;
use crate::merkle::{Hash, LeafIndex};
use crate::note::NoteSigner;
use crate::release::Facts;
use crate::store::{Store, StoreError, StoreReader};
pub use answer::Outcome;
use answer::Reply;
use commit::Committer;
pub(crate) use pool::RETRY_AFTER;
use pool::{Pool, Submission};

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
    /// The sequence number is taken by other artifacts.
    #[error(
        "the sequence number is taken: this publisher, package, channel and sequence was logged with other artifacts; use the next number"
    )]
    SequenceTaken,
    /// It could not be made durable. Whether it is nevertheless shows when it is sent again: then
    /// its first index is the answer.
    #[error("the entry could not be stored: {0}; send it again later, a duplicate gets its first index")]
    Storage(String),
}

/// The head that everyone may see: signed, and durable.
#[derive(Debug, Clone)]
pub struct Published {
    /// What it says.
    pub checkpoint: Checkpoint,
    /// The note, byte for byte.
    pub note: Arc<[u8]>,
    /// When this process published it.
    pub at: Instant,
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
}

impl Default for Options {
    fn default() -> Self {
        Self {
            publish_interval: Duration::from_millis(100),
            pool_entries: 4 * crate::store::MAX_BATCH_ENTRIES,
            pool_bytes: 2 * crate::store::MAX_BATCH_BYTES,
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
    fault: Fault,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// Why the log can't append or publish at the moment, if so. Shared with `/healthz`.
#[derive(Debug, Clone, Default)]
struct Fault(Arc<Mutex<Option<String>>>);

impl Fault {
    fn set(&self, fault: Option<String>) {
        *self.0.lock().expect("no panic while it is held") = fault;
    }

    fn get(&self) -> Option<String> {
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
    pub fn start(store: Box<dyn Store>, signer: NoteSigner, options: &Options) -> Result<Self, StartError> {
        let reader = store.reader();
        let fault = Fault::default();
        let (committer, published) =
            Committer::recover(store, signer, options.publish_interval, fault.clone())?;
        let pool = Pool::new(options.pool_entries, options.pool_bytes);
        let shared = Arc::new(Shared { pool, published, reader, fault, thread: Mutex::default() });
        let thread = {
            let (pool, fault) = (shared.pool.clone(), shared.fault.clone());
            let work = move || {
                if catch_unwind(AssertUnwindSafe(|| committer.run(&pool))).is_err() {
                    // Whoever waits is told at once: nothing will be committed before a restart.
                    fault.set(Some(
                        "the sequencer panicked: restart the log; what was acknowledged is in the journal"
                            .to_owned(),
                    ));
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
        self.shared.pool.push(Submission { candidates, reply: Reply::Sequenced(reply) })?;
        Ok(results)
    }

    /// Queues entries, all or none. The answer arrives when all of them are in a published head, or when
    /// the next one could not be published.
    ///
    /// # Errors
    /// As [`submit`](Self::submit).
    pub fn publish(&self, candidates: Vec<Candidate>) -> Result<oneshot::Receiver<Outcome>, SubmitError> {
        let (reply, outcome) = oneshot::channel();
        self.shared.pool.push(Submission { candidates, reply: Reply::Published(reply) })?;
        Ok(outcome)
    }

    /// Whether a submission of so many bytes would be taken now: who asks need not receive it otherwise.
    ///
    /// # Errors
    /// As [`submit`](Self::submit).
    pub fn has_room(&self, bytes: usize) -> Result<(), SubmitError> {
        self.shared.pool.has_room(1, bytes)
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

    /// Why the log can't append or publish at the moment, if so.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        self.shared.fault.get()
    }

    /// Refuses further submissions, commits and publishes what waits, and returns when that is done.
    ///
    /// # Errors
    /// The fault that kept it from publishing everything; what was acknowledged is durable.
    pub fn shut_down(&self) -> Result<(), String> {
        self.shared.stop();
        self.fault().map_or(Ok(()), Err)
    }
}

impl Shared {
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
