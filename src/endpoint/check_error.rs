//! Errors and notices of a check.

use std::path::{Path, PathBuf};

use super::memory_store::{FileError, MemoryError};
use super::{CompareError, Doubt, MAX_UNPROVEN_HEADS, Refusal, VerdictCode};
use crate::checkpoint::Origin;
use crate::client::ClientError;
use crate::merkle::{Hash, ProofError, TreeSize};
use crate::note::Note;
use crate::proof::fork::{EvidenceError, ProvenFork};

/// The reason that an artifact must not be installed, or that a check could not tell.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum CheckError {
    /// A step of the verdict refuses it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// This check found that the log signed two histories.
    #[error("{fork}")]
    Forked {
        /// The log.
        origin: Origin,
        /// The proof.
        fork: Box<FoundFork>,
    },
    /// No quorum cosigned the log's newest head within the age limit.
    #[error("the log's newest head is stale: expected a quorum of cosignatures since {expected}, saw {seen}")]
    LogStale {
        /// The oldest acceptable time.
        expected: String,
        /// The newest cosignature that is not from the future.
        seen: String,
    },
    /// The log serves an older head than one that it signed.
    #[error("the log serves an older head than one it signed: expected at least size {expected}, saw {seen}")]
    LogRolledBack {
        /// The address asked.
        address: String,
        /// The largest size that it has shown.
        expected: TreeSize,
        /// The size that it serves.
        seen: TreeSize,
        /// The head that it showed, unless the memory holds it without signatures.
        shown: Option<Box<ShownHead>>,
    },
    /// Two heads that differ do not prove a fork.
    #[error(transparent)]
    NoFork(#[from] EvidenceError),
    /// The memory could not be read or written.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// The policy has no address for the log.
    #[error("the policy has no address for {origin}")]
    NoAddress {
        /// The log.
        origin: Origin,
    },
    /// The address belongs to another log.
    #[error(
        "{address} is the address of another log: expected origin {expected}, saw {seen}; ask at the address of {expected}"
    )]
    AnotherLog {
        /// The address asked.
        address: String,
        /// The log of the proof file.
        expected: Origin,
        /// The log that answered.
        seen: String,
    },
    /// The log answered with the proof of another leaf or log.
    #[error(
        "{address} answered with the proof of another {what}: expected {expected}, saw {seen}; withdrawals could not be checked: tell the log's operator"
    )]
    AnotherProof {
        /// The address asked.
        address: String,
        /// `leaf` or `log`.
        what: &'static str,
        /// The leaf or log asked for.
        expected: String,
        /// The one in the answer.
        seen: String,
    },
    /// The release may be withdrawn.
    #[error(transparent)]
    Doubt(#[from] Doubt),
    /// The log was not asked about this release.
    #[error("could not ask {origin} for withdrawals of this release")]
    NotAsked {
        /// The log.
        origin: Origin,
    },
    /// The log did not answer, or its answer failed a check.
    #[error(transparent)]
    Client(#[from] ClientError),
}

impl From<CompareError> for CheckError {
    fn from(error: CompareError) -> Self {
        match error {
            CompareError::Tiles(error) => ClientError::from(error).into(),
            CompareError::NoFork(error) => error.into(),
        }
    }
}

impl CheckError {
    /// The reason code.
    #[must_use]
    pub const fn code(&self) -> VerdictCode {
        match self {
            Self::Refused(refusal) => refusal.code(),
            Self::Forked { .. } => VerdictCode::Fork,
            Self::LogStale { .. } => VerdictCode::Stale,
            Self::LogRolledBack { .. } => VerdictCode::LogRolledBack,
            Self::NoFork(_) => VerdictCode::NoFork,
            Self::Memory(MemoryError::Damaged { .. } | MemoryError::NotAFile { .. }) => {
                VerdictCode::StateDamaged
            }
            Self::Memory(MemoryError::Newer { .. }) => VerdictCode::StateNewer,
            _ => VerdictCode::CouldNotTell,
        }
    }

    /// Returns true if the log signed two histories, found by this check or an earlier one.
    #[must_use]
    pub fn is_fork(&self) -> bool {
        self.code() == VerdictCode::Fork
    }
}

/// A fork that this check found: the log signed two histories.
#[derive(Debug, Clone, thiserror::Error)]
pub enum FoundFork {
    /// Two heads with the log's signatures, which prove the fork to anyone.
    #[error("{}", Self::in_words(fork))]
    Proven {
        /// The evidence.
        fork: Box<ProvenFork>,
        /// The file that holds it, or the error that prevented it.
        kept: Result<PathBuf, FileError>,
    },
    /// A head of the size of a remembered one, which cannot be shown to others: it was remembered without its
    /// signatures, or its key is no longer in the policy.
    #[error(transparent)]
    SameSize(Refusal),
    /// The log's tiles give a remembered head without signatures another root.
    #[error("the log's history at size {size} differs from the remembered one: {source}")]
    Prefix {
        /// Size of the remembered head.
        size: TreeSize,
        /// The two roots.
        source: ProofError,
    },
}

impl FoundFork {
    /// Both histories of a proven fork, in words.
    #[must_use]
    pub fn in_words(fork: &ProvenFork) -> String {
        let (smaller, larger) = (fork.smaller(), fork.larger());
        format!(
            "{} signed two histories: root {} at size {}, and size {}, whose tree had root {} there",
            fork.origin(),
            smaller.root.to_base64(),
            smaller.size,
            larger.size,
            fork.other_root().to_base64(),
        )
    }

    /// Name of the file that holds the evidence, if one was written.
    #[must_use]
    pub fn evidence(&self) -> Option<String> {
        match self {
            Self::Proven { fork, kept: Ok(_) } => Some(fork.file_name()),
            _ => None,
        }
    }
}

/// A head that a log no longer shows.
#[derive(Debug, Clone)]
pub struct ShownHead {
    /// The checkpoint with the log's signatures.
    pub note: Note,
    /// The file that holds it, or the error that prevented it.
    pub kept: Result<PathBuf, FileError>,
}

/// A message that a check sends at once, before its verdict.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Notice<'a> {
    /// The check waits for another process that holds the memory.
    #[error("waiting for {}, which another treehead holds", lock.display())]
    Waiting {
        /// The lock file.
        lock: &'a Path,
    },
    /// Asking the log failed, though no release of it could be accepted anyway.
    #[error("also, while asking the log: {_0}")]
    AlsoFailed(&'a CheckError),
    /// The log has no search, so withdrawals could not be checked.
    #[error("{address} has no search, so withdrawals could not be checked")]
    NoSearch {
        /// The log's address.
        address: &'a str,
    },
    /// Withdrawals of other releases of the package stay unknown: there are more than one check reads.
    #[error("{package} has more withdrawals than one run checks: older ones of other releases stay unknown")]
    MoreWithdrawals {
        /// The package.
        package: &'a str,
    },
    /// A withdrawal is ignored, such as one by an untrusted publisher.
    #[error("ignored a withdrawal ({}): {_0}", _0.code())]
    IgnoredWithdrawal(&'a Refusal),
    /// The log did not send the entry that a withdrawal names; the withdrawal counts nevertheless.
    #[error("could not fetch the withdrawn entry {}: {error}", leaf.to_hex())]
    EntryNotFetched {
        /// Its leaf hash.
        leaf: Hash,
        /// The client's error.
        error: &'a ClientError,
    },
    /// The proof of a fork could not be saved: this is the only copy.
    #[error("{_0}")]
    EvidenceNotKept(&'a ProvenFork),
    /// A fork could not be remembered.
    #[error("could not save the evidence of the fork: {_0}")]
    ForkNotRemembered(&'a MemoryError),
    /// A head was forgotten before it was compared with the log, so a fork that it shows will not be found.
    #[error(
        "more than {MAX_UNPROVEN_HEADS} heads of {origin} were never compared with the log, so the endpoint forgot one"
    )]
    HeadForgotten {
        /// The log.
        origin: &'a Origin,
    },
}
