//! The monitor's errors as clients see them, and their table of statuses and codes.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use crate::checkpoint::CheckpointError;
use crate::format::FormatError;
use crate::http::RequestError;
use crate::http::outcomes::Outcome;
use crate::http::problem::{Particulars, problem_table, render};
use crate::note::NoteError;
use crate::proof::fork::EvidenceError;

/// Seconds after which a client may push again to a busy monitor.
const RETRY_AFTER_SECONDS: u64 = 10;

/// An error that the monitor answers a request with.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum GossipError {
    /// An error that every server of this program can answer with.
    #[error(transparent)]
    Request(RequestError),
    /// The monitor does not follow this log.
    #[error("this monitor does not follow the log {0}: push to one that does")]
    UnknownLog(String),
    /// The checkpoint has no valid signature of its log.
    #[error(transparent)]
    NotSigned(CheckpointError),
    /// The evidence proves no fork.
    #[error("this proves no fork: {0}")]
    NoFork(EvidenceError),
    /// The monitor follows no log with this origin hash, or has verified nothing of it yet.
    #[error("no log whose origin has the SHA-256 {0} is followed here, or none of its heads is verified yet")]
    NotFollowed(String),
    /// The client pushes too often.
    #[error("too many heads at once: push one again in {0} s")]
    TooMany(u64),
    /// Too many requests are waiting.
    #[error("the monitor is busy: push it again in {RETRY_AFTER_SECONDS} s")]
    Busy,
}

/// The outcome of a head or evidence that will be compared.
pub const GOSSIP_QUEUED: Outcome = (StatusCode::ACCEPTED, "queued");
/// The outcome of a head that was compared before.
pub const GOSSIP_KNOWN: Outcome = (StatusCode::OK, "known");

problem_table! {
    GossipError {
        shared { Self::Request(error) => error, }
        counted {
            Self::UnknownLog(_) => NOT_FOUND "unknown-origin",
            Self::NotSigned(_) => FORBIDDEN "log-signature",
            Self::NoFork(_) => UNPROCESSABLE_ENTITY "no-fork",
            Self::TooMany(seconds) => TOO_MANY_REQUESTS "too-many" retry *seconds,
            Self::Busy => SERVICE_UNAVAILABLE "busy" retry RETRY_AFTER_SECONDS,
        }
        uncounted {
            Self::NotFollowed(_) => NOT_FOUND "not-followed",
        }
    }
}

impl From<RequestError> for GossipError {
    fn from(error: RequestError) -> Self {
        match error {
            RequestError::Busy => Self::Busy,
            error => Self::Request(error),
        }
    }
}

impl From<FormatError> for GossipError {
    fn from(error: FormatError) -> Self {
        Self::Request(error.into())
    }
}

impl From<CheckpointError> for GossipError {
    fn from(error: CheckpointError) -> Self {
        match error {
            CheckpointError::Format(e) | CheckpointError::Note(NoteError::Format(e)) => e.into(),
            CheckpointError::Note(_) | CheckpointError::UnsignedExtensions { .. } => Self::NotSigned(error),
            CheckpointError::WrongOrigin { seen, .. } => Self::UnknownLog(seen),
        }
    }
}

impl IntoResponse for GossipError {
    fn into_response(self) -> Response {
        render(self.row(), self.to_string(), Particulars::default())
    }
}
