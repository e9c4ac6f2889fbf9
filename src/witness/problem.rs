//! The witness's errors as clients see them, and their table of statuses and codes.

use std::sync::Arc;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::decide::{ClockError, Refusal};
use super::ledger::LedgerError;
use crate::checkpoint::CheckpointError;
use crate::format::FormatError;
use crate::http::outcomes::Outcome;
use crate::http::problem::{Particulars, problem_table, render};
use crate::http::{RequestError, cache};
use crate::merkle::{ProofError, TreeSize};
use crate::note::NoteError;
use crate::proof::wire::{SIZE_MEDIA_TYPE, print_size};

/// Seconds after which a client may ask a busy or failing witness again.
const RETRY_AFTER_SECONDS: u64 = 1;

/// An error that the witness answers a request with.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum WitnessError {
    /// An error that every server of this program can answer with.
    #[error(transparent)]
    Request(RequestError),
    /// The witness does not cosign for this log.
    #[error("this witness does not know the log {0}: its operator has to add it")]
    UnknownOrigin(String),
    /// The checkpoint has no valid signature of its log.
    #[error(transparent)]
    NotSigned(CheckpointError),
    /// The log signed the checkpoint, but the witness does not cosign it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The subtree ends beyond the checkpoint.
    #[error("the subtree is not in the checkpoint: expected an end of at most {size}, saw {end}")]
    OutOfRange {
        /// End of the subtree.
        end: TreeSize,
        /// Size of the checkpoint.
        size: TreeSize,
    },
    /// The proof does not show that the subtree belongs to the checkpoint.
    #[error("the subtree is not shown to be one of the checkpoint: {0}")]
    NotASubtree(ProofError),
    /// The reference checkpoint has no valid cosignature of this witness.
    #[error(
        "the reference checkpoint has no valid ML-DSA-44 cosignature by this witness: {0}; send one that came from /add-checkpoint"
    )]
    NotCosigned(String),
    /// The witness has no key that signs subtrees.
    #[error("this witness signs no subtrees: it has no ML-DSA-44 key, and Ed25519 cosignatures know none")]
    NoSubtrees,
    /// The witness never cosigned for a log with this origin hash.
    #[error("no log whose origin has the SHA-256 {0} was ever cosigned here")]
    NeverCosigned(String),
    /// Too many requests are waiting.
    #[error("the witness is busy: ask again in {RETRY_AFTER_SECONDS} s")]
    Busy,
    /// The clock can't date a cosignature.
    #[error(transparent)]
    Clock(#[from] ClockError),
    /// The ledger failed to read or write.
    #[error("nothing was cosigned: {0}")]
    Ledger(Arc<LedgerError>),
    /// The witness is shutting down.
    #[error("the witness is shutting down: ask again in a moment")]
    ShuttingDown,
}

/// The outcome of a request that was answered with cosignatures.
pub const COSIGNED: Outcome = (StatusCode::OK, "cosigned");

// Statuses by c2sp.org/tlog-witness: 400, 403, 404, 409 and 422.
problem_table! {
    WitnessError {
        shared { Self::Request(error) => error, }
        counted {
            Self::UnknownOrigin(_) => NOT_FOUND "unknown-origin",
            Self::NotSigned(_) => FORBIDDEN "log-signature",
            Self::Refused(Refusal::OldTooLarge { .. }) => BAD_REQUEST "old-size",
            Self::Refused(Refusal::Conflict { .. }) => CONFLICT "conflict",
            Self::Refused(Refusal::EmptyRoot { .. }) => UNPROCESSABLE_ENTITY "empty-root",
            Self::Refused(Refusal::ProofNotEmpty { .. }) => UNPROCESSABLE_ENTITY "proof-not-empty",
            Self::Refused(Refusal::Forked { .. }) => UNPROCESSABLE_ENTITY "forked",
            Self::Refused(Refusal::Unproven(_)) | Self::NotASubtree(_) => UNPROCESSABLE_ENTITY "unproven",
            Self::OutOfRange { .. } => BAD_REQUEST "subtree-range",
            Self::NotCosigned(_) => FORBIDDEN "not-cosigned",
            Self::NoSubtrees => NOT_FOUND "no-subtrees",
            Self::Busy => SERVICE_UNAVAILABLE "busy" retry RETRY_AFTER_SECONDS,
            Self::Clock(_) => SERVICE_UNAVAILABLE "clock" retry RETRY_AFTER_SECONDS,
            Self::Ledger(_) => SERVICE_UNAVAILABLE "storage" retry RETRY_AFTER_SECONDS,
            Self::ShuttingDown => SERVICE_UNAVAILABLE "shutting-down" retry RETRY_AFTER_SECONDS,
        }
        uncounted {
            Self::NeverCosigned(_) => NOT_FOUND "never-cosigned",
        }
    }
}

impl WitnessError {
    /// The stable code, for machines.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.row().outcome.1
    }
}

impl From<RequestError> for WitnessError {
    fn from(error: RequestError) -> Self {
        match error {
            RequestError::Busy => Self::Busy,
            error => Self::Request(error),
        }
    }
}

impl From<FormatError> for WitnessError {
    fn from(error: FormatError) -> Self {
        Self::Request(error.into())
    }
}

impl From<CheckpointError> for WitnessError {
    fn from(error: CheckpointError) -> Self {
        match error {
            CheckpointError::Format(e) | CheckpointError::Note(NoteError::Format(e)) => e.into(),
            CheckpointError::Note(_) | CheckpointError::UnsignedExtensions { .. } => Self::NotSigned(error),
            CheckpointError::WrongOrigin { seen, .. } => Self::UnknownOrigin(seen),
        }
    }
}

impl From<LedgerError> for WitnessError {
    fn from(error: LedgerError) -> Self {
        Self::Ledger(Arc::new(error))
    }
}

impl IntoResponse for WitnessError {
    fn into_response(self) -> Response {
        let row = self.row();
        // "The response body MUST consist of the tree size of the latest cosigned checkpoint in decimal,
        // followed by a newline": no room for a problem document.
        if let Self::Refused(Refusal::Conflict { latest, .. }) = self {
            let answer = cache::answer(SIZE_MEDIA_TYPE, cache::NEVER, print_size(latest));
            return (row.outcome.0, answer).into_response();
        }
        render(row, self.to_string(), Particulars::default())
    }
}
