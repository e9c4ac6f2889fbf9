//! The entries that a sender hands in, and their outcome.

use std::sync::Arc;
use std::time::Duration;

use super::Published;
use crate::merkle::{Hash, LeafIndex};
use crate::release::Facts;

/// An entry to append, with everything that can be computed without the log.
#[derive(Debug, Clone)]
pub struct Candidate {
    pub(super) entry: Vec<u8>,
    pub(crate) leaf_hash: Hash,
    /// The rows that the indexes will hold for the entry.
    pub(crate) facts: Facts,
}

impl Candidate {
    /// Hashes the entry.
    ///
    /// # Panics
    /// If the entry is longer than [`MAX_ENTRY_BYTES`](crate::release::MAX_ENTRY_BYTES): callers check that
    /// first.
    #[must_use]
    pub fn new(entry: Vec<u8>, facts: Facts) -> Self {
        assert!(entry.len() <= crate::release::MAX_ENTRY_BYTES, "callers bound the length of entries");
        Self { leaf_hash: Hash::leaf(&entry), entry, facts }
    }
}

/// The place of an entry that is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sequenced {
    /// The entry's leaf index.
    pub index: LeafIndex,
    /// True if the log had the entry already: then `index` is its first index, and nothing was appended.
    pub duplicate: bool,
    /// The leaf hash at `index`, if it differs from the hash of the entry that was sent: the same payload with
    /// other signatures, or another statement of the same claims.
    pub stored: Option<Hash>,
}

/// Why an entry was not appended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SubmitError {
    /// Too many entries wait. Nothing of the submission was accepted.
    #[error("the log is busy: {waiting} entries wait already; try again in {} s", retry_after.as_secs())]
    Full {
        /// Number of entries that wait.
        waiting: usize,
        /// When to try again.
        retry_after: Duration,
    },
    /// Too much is being received or checked. Nothing of the submission was accepted.
    #[error(
        "the log is busy: it is receiving and checking as much as it can hold; try again in {} s",
        retry_after.as_secs()
    )]
    Overloaded {
        /// When to try again.
        retry_after: Duration,
    },
    /// The log is stopping. Nothing of the submission was accepted.
    #[error("the log is shutting down; try again when it is back")]
    ShuttingDown,
    /// Another release has the sequence number.
    #[error(
        "the sequence number is taken: the log has another release of this publisher, package, channel and sequence; to release something else, even the same artifacts as another version, use the next number"
    )]
    SequenceTaken,
    /// The log does not know yet what its witnesses last saw. Nothing of the submission was accepted.
    #[error(
        "{}; try again in {} s",
        suspicion.as_deref().unwrap_or("the log has just started and asks its witnesses what they saw last before it signs anything"),
        retry_after.as_secs()
    )]
    AskingWitnesses {
        /// The witnesses' claim, if they suggest that the log was rolled back.
        suspicion: Option<String>,
        /// When to try again.
        retry_after: Duration,
    },
    /// Another process appends to this log at the moment. Nothing of the submission was accepted.
    #[error(
        "this server stands by: another one appends to the log{}; send the entry there, or try again in {} s",
        holder.as_deref().map(|url| format!(", at {url}")).unwrap_or_default(),
        retry_after.as_secs()
    )]
    Standby {
        /// The URL at which the other one takes entries, if it said so.
        holder: Option<String>,
        /// When to try again.
        retry_after: Duration,
    },
    /// The log's files are older than what it published before, or differ from it. Nothing of the submission
    /// was added.
    #[error("the log accepts no entries until it is repaired: {0}")]
    RolledBack(String),
    /// The journal is not what the log wrote. Nothing of the submission was added.
    #[error("the log accepts no entries until it is repaired: {0}")]
    Damaged(String),
    /// The batch could not be made durable; part of it may be durable all the same. Sending the entry again
    /// settles that: a duplicate gets its first index.
    #[error("the entry could not be stored: {0}; send it again later, a duplicate gets its first index")]
    Storage(String),
}

/// The results of a submission, one for each entry, in order.
pub type Results = Vec<Result<Sequenced, SubmitError>>;

/// The answer to a submission.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// One result for each entry, in order.
    pub results: Results,
    /// A published head over all entries that were appended, if the sender waits for more than
    /// [`Wait::Sequenced`](super::Wait::Sequenced). `None` if none were appended, or if no such head could be published in time; the
    /// entries are durable all the same.
    pub head: Option<Arc<Published>>,
}
