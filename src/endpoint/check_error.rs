//! Why a check accepts nothing, and what it tells besides.

use std::path::{Path, PathBuf};

use super::memory_store::{FileError, MemoryError};
use super::{MAX_UNPROVEN_HEADS, Refusal, VerdictCode};
use crate::checkpoint::Origin;
use crate::client::{ClientError, MAX_PAGES};
use crate::merkle::{Hash, ProofError, TreeSize};
use crate::note::Note;
use crate::proof::fork::{EvidenceError, ProvenFork};

/// Why an artifact must not be installed, or why a check could not tell.
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
        /// The largest size that it showed.
        expected: TreeSize,
        /// The size that it serves.
        seen: TreeSize,
        /// The head that it showed, unless that was remembered without its signatures.
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
    /// The address is another log's.
    #[error(
        "{address} is the address of another log: expected origin {expected}, saw {seen}; ask at the address of {expected}"
    )]
    AnotherLog {
        /// The address asked.
        address: String,
        /// The log that the proof file is of.
        expected: Origin,
        /// The log that answered.
        seen: String,
    },
    /// The log answered with a proof that was not asked for.
    #[error(
        "{address} answered with the proof of another {what}: expected {expected}, saw {seen}; nothing is known of withdrawals: tell the log's operator"
    )]
    AnotherProof {
        /// The address asked.
        address: String,
        /// `leaf` or `log`.
        what: &'static str,
        /// The leaf or log asked for.
        expected: String,
        /// The one that came.
        seen: String,
    },
    /// There are more withdrawals than one check looks at. With a memory the next check goes on.
    #[error(
        "{address} has more withdrawals of {purl} than one run checks ({most} new ones, out of {found} statements), and none so far is of this release"
    )]
    TooManyWithdrawals {
        /// The log's address.
        address: String,
        /// Package and version.
        purl: String,
        /// Most new ones in one check.
        most: usize,
        /// Statements that the search found.
        found: usize,
    },
    /// The log's search goes on and on.
    #[error(
        "the search of {address} for withdrawals of {purl} did not end: {found} statements in {MAX_PAGES} pages or 32 MiB, and more to come; none so far is of this release; tell the log's operator"
    )]
    EndlessSearch {
        /// The log's address.
        address: String,
        /// Package and version.
        purl: String,
        /// Statements that the search found.
        found: usize,
    },
    /// The log has a withdrawal by a publisher who, by the publishers file, did not sign the release.
    #[error(
        "the log has a withdrawal of this very release by {seen}, who did not sign it: expected {expected}; the log takes one only from a signer, so it knows that key under another name"
    )]
    OtherSigner {
        /// The release's signers.
        expected: String,
        /// Who withdrew it.
        seen: String,
    },
    /// The log has a withdrawal by a publisher whom the publishers file does not trust.
    #[error(
        "the log has a withdrawal of this very release, but its publisher is not trusted here ({}): {_0}", _0.code()
    )]
    UntrustedWithdrawal(Refusal),
    /// The log was asked before this release was known to be the one to ask about.
    #[error("could not ask {origin} for withdrawals of this release")]
    NotAsked {
        /// The log.
        origin: Origin,
    },
    /// The log did not answer, or its answer cannot be believed.
    #[error(transparent)]
    Client(#[from] ClientError),
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

    /// Whether the log signed two histories, found by this check or an earlier one.
    #[must_use]
    pub fn is_fork(&self) -> bool {
        self.code() == VerdictCode::Fork
    }
}

/// What shows that a log signed two histories.
#[derive(Debug, Clone, thiserror::Error)]
pub enum FoundFork {
    /// Two heads with the log's signatures, which convince anybody.
    #[error("{}", Self::in_words(fork))]
    Proven {
        /// The evidence.
        fork: Box<ProvenFork>,
        /// The file that holds it, or why it was not kept.
        kept: Result<PathBuf, FileError>,
    },
    /// A head of the size of a remembered one, which cannot be shown to others: it was remembered without its
    /// signatures, or its key is no longer in the policy.
    #[error(transparent)]
    SameSize(Refusal),
    /// The log's tiles give a remembered head without signatures another root.
    #[error("the log has another history at size {size} than was remembered: {source}")]
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

/// A head that a log showed and shows no longer.
#[derive(Debug, Clone)]
pub struct ShownHead {
    /// The checkpoint with the log's signatures.
    pub note: Note,
    /// The file that holds it, or why it was not kept.
    pub kept: Result<PathBuf, FileError>,
}

/// A message of a check besides its verdict, sent at once.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Notice<'a> {
    /// The check waits for another process that holds the memory.
    #[error("waiting for {}, which another treehead holds", lock.display())]
    Waiting {
        /// The lock file.
        lock: &'a Path,
    },
    /// No release of this log could be accepted anyway, and asking the log failed as well.
    #[error("also, while asking the log: {_0}")]
    AlsoFailed(&'a CheckError),
    /// The log has no search, so nothing is known of withdrawals.
    #[error("{address} has no search, so nothing is known of withdrawals")]
    NoSearch {
        /// The log's address.
        address: &'a str,
    },
    /// Withdrawals of other releases of the package stay unknown: there are more than one check looks at.
    #[error("{package} has more withdrawals than one run checks: older ones of other releases stay unknown")]
    MoreWithdrawals {
        /// The package.
        package: &'a str,
    },
    /// A withdrawal does not count, such as one by a publisher who is not trusted here.
    #[error("ignored a withdrawal ({}): {_0}", _0.code())]
    IgnoredWithdrawal(&'a Refusal),
    /// The log did not send the entry that a withdrawal names; the withdrawal counts all the same.
    #[error("could not fetch the withdrawn entry {}: {error}", leaf.to_hex())]
    EntryNotFetched {
        /// Its leaf hash.
        leaf: Hash,
        /// Why.
        error: &'a ClientError,
    },
    /// The proof of a fork could not be kept: this is the only copy.
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
