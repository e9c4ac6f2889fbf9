//! The witness: remembers one tree head for each log, and cosigns only heads that are proven to continue it:
//! c2sp.org/tlog-witness.
//!
//! ```text
//! http -> parse -> verify the log's signature -> decide (pure) -> sign -> ledger (durable) -> answer
//!                                                   ^ one at a time for each log
//! ```
//!
//! A cosignature leaves only after its head is durable: after a crash at any moment, the witness knows every head
//! that anybody can have seen cosigned, and perhaps some that nobody has seen.
//!
//! `cosign` is the way of a request; `decide` is pure; `ledger` and `logs` are the state; `forks` deals with logs
//! that show two histories.

mod cosign;
mod decide;
mod forks;
mod http;
mod ledger;
mod logs;
mod metrics;
mod problem;
mod subtree;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use tokio::sync::Semaphore;

use crate::clock::{self, Clock};
use crate::http::RequestError;
use crate::http::admission::Admission;
use crate::http::outcomes::Outcomes;
use crate::http::watched_file::WatchError;
use crate::note::{KeyName, NoteKey, NoteSigner, SignatureType};

pub use decide::{ClockError, Question, Refusal, decide};
pub use forks::EVIDENCE_DIR;
pub use http::run;
pub use ledger::{Head, JOURNAL, Ledger, LedgerError, NotReplaced, Record};
pub use logs::{AppendError, LOGS_FILE, Logs, MAX_LOGS_BYTES, MAX_LOGS_KEYS};
pub use problem::WitnessError;

use cosign::{TurnQueue, Turns};
use forks::{Evidence, Reports};
use logs::LogBook;
use problem::COSIGNED;

/// A witness that can't be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The ledger can't tell for sure what the witness cosigned.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// `logs.policy` can't be read, or is malformed.
    #[error(transparent)]
    Logs(#[from] WatchError),
}

/// An open witness. Clones are handles to the same one.
#[derive(Clone)]
pub struct Witness {
    inner: Arc<WitnessInner>,
}

struct WitnessInner {
    name: KeyName,
    /// The cosigner keys, at least one; each answer has a cosignature by each.
    keys: Vec<NoteSigner>,
    logs: LogBook,
    ledger: Ledger,
    clock: Clock,
    reports: Reports,
    turns: Turns,
    /// The queue for subtrees. Anybody may ask for them, so they are signed one at a time.
    subtrees: Arc<TurnQueue>,
    admission: Admission,
    /// Bounds the work of a millisecond, such as an ML-DSA-44 signature, to the number of processors.
    computing: Arc<Semaphore>,
    /// The outcomes of `/add-checkpoint` and `/sign-subtree`.
    outcomes: Outcomes,
    /// Number of requests that showed a second history of a log.
    forks: AtomicU64,
    /// The files that prove them.
    evidence: Evidence,
}

impl Witness {
    /// Opens the witness in `dir`. It signs with `keys`: at least one, all cosigner keys of one name.
    ///
    /// # Errors
    /// [`OpenError`] if the ledger can't be trusted, or `logs.policy` can't be read.
    ///
    /// # Panics
    /// If there are no keys, or they are not cosigner keys of one name.
    pub fn open(dir: &Path, keys: Vec<NoteSigner>) -> Result<Self, OpenError> {
        let ledger = Ledger::open(dir, &name_of(&keys))?;
        Self::open_at(dir, keys, ledger, clock::system())
    }

    /// Like [`open`](Self::open), with an open ledger and a clock: tests have their own.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    ///
    /// # Panics
    /// As [`open`](Self::open).
    pub fn open_at(
        dir: &Path,
        keys: Vec<NoteSigner>,
        ledger: Ledger,
        clock: Clock,
    ) -> Result<Self, OpenError> {
        let name = name_of(&keys);
        let own = keys.iter().map(|key| key.public().clone()).collect();
        let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        let inner = WitnessInner {
            name,
            keys,
            logs: LogBook::open(dir, own)?,
            ledger,
            clock,
            reports: Reports::default(),
            turns: Turns::default(),
            subtrees: Arc::new(TurnQueue::new()),
            admission: Admission::default(),
            computing: Arc::new(Semaphore::new(cores)),
            outcomes: Outcomes::new(&[&[COSIGNED], WitnessError::COUNTED, RequestError::COUNTED]),
            forks: AtomicU64::new(0),
            evidence: Evidence::open(dir),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The faults that keep the witness from cosigning.
    fn faults(&self) -> Vec<String> {
        let WitnessInner { ledger, logs, clock, .. } = self.inner.as_ref();
        let now = clock();
        let newest = ledger.heads().into_iter().max_by_key(|(_, head)| head.time);
        let behind = newest.and_then(|(origin, head)| {
            let error = decide::next_time(Some(&head), now).err()?;
            Some(format!("{origin} is not cosigned: {error}"))
        });
        ledger.faults().into_iter().chain(logs.fault()).chain(behind).collect()
    }

    /// Conditions that need attention although the witness cosigns.
    fn warnings(&self) -> Vec<String> {
        self.inner.logs.warning().into_iter().collect()
    }

    /// Reads the list of logs at once.
    pub fn reload(&self) {
        self.inner.logs.reload();
    }

    /// The witness's name, which is that of its keys.
    #[must_use]
    pub fn name(&self) -> &KeyName {
        &self.inner.name
    }

    /// The witness's public keys.
    pub fn keys(&self) -> impl Iterator<Item = &NoteKey> {
        self.inner.keys.iter().map(NoteSigner::public)
    }

    /// The heads that the witness has cosigned.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.inner.ledger
    }
}

fn name_of(keys: &[NoteSigner]) -> KeyName {
    let name = keys.first().expect("a witness has a key").public().name();
    for key in keys {
        assert_ne!(key.public().kind(), SignatureType::Ed25519, "a log's key cosigns nothing");
        assert_eq!(key.public().name(), name, "a witness has one name");
    }
    name.clone()
}

#[cfg(test)]
mod tests;
