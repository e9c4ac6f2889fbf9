//! The one error of the client.

use crate::checkpoint::CheckpointError;
use crate::format::FormatError;
use crate::merkle::ProofError;

/// Why the log's answer is not to be had, or not to be believed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The address is not one.
    #[error("not the address of a log: expected http://HOST[:PORT][/PREFIX] or https://..., saw {0}")]
    Address(String),
    /// No answer.
    #[error("no answer from {url}: {detail}; is the log running, and the address right?")]
    Network {
        /// What was asked for.
        url: String,
        /// What went wrong.
        detail: String,
    },
    /// An answer that is a refusal.
    #[error("{url} answered {status}{}: {detail}", code.as_ref().map(|c| format!(" ({c})")).unwrap_or_default())]
    Status {
        /// What was asked for.
        url: String,
        /// HTTP status.
        status: u16,
        /// `code` of the problem document, if it was one.
        code: Option<String>,
        /// `detail` of the problem document, or the beginning of the body.
        detail: String,
        /// Seconds that the log asks to wait.
        retry_after: Option<u64>,
        /// Place of the entry in a batch that the problem is about.
        entry: Option<usize>,
    },
    /// An answer that can't be read.
    #[error("{url} answered what can't be read: {source}")]
    Malformed {
        /// What was asked for.
        url: String,
        /// What is wrong with it.
        source: FormatError,
    },
    /// A checkpoint that is not the log's.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// Tiles or proofs that don't make the signed root.
    #[error("the log's tiles do not make the root that it signed: {0}")]
    Proof(#[from] ProofError),
}

impl ClientError {
    /// Whether asking again later may help.
    #[must_use]
    pub const fn is_temporary(&self) -> bool {
        matches!(self, Self::Status { status: 408 | 429 | 502..=504, .. } | Self::Network { .. })
    }
}
