//! Errors as clients see them. Errors are mapped to statuses here and nowhere else.

use std::sync::Arc;

use axum::http::{Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};

use super::decide::Refusal;
use super::ledger::LedgerError;
use crate::checkpoint::CheckpointError;
use crate::format::{FormatError, quote};
use crate::http::admission::BodyError;
use crate::http::outcomes::Outcome;
use crate::merkle::{ProofError, TreeSize};
use crate::note::NoteError;
use crate::proof::wire::{SIZE_MEDIA_TYPE, print_size};
use crate::server::problem::render;

/// Seconds after which a busy or ill witness is asked again.
const RETRY_AFTER_SECONDS: u64 = 1;

/// Why a request was not answered as it wished.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum WitnessError {
    /// The body can't be read.
    #[error(transparent)]
    Malformed(#[from] FormatError),
    /// The body is longer than any request.
    #[error(transparent)]
    TooLarge(FormatError),
    /// The body did not arrive whole.
    #[error("the body did not arrive whole: {0}; send it again")]
    BodyCutShort(String),
    /// The body came too slowly.
    #[error("the request body arrived too slowly: {0}; send it again")]
    BodyTooSlow(String),
    /// The body is compressed or otherwise encoded.
    #[error("bodies are taken as they are: expected no Content-Encoding, saw {0}")]
    Encoded(String),
    /// The log is not known here.
    #[error("this witness does not know the log {0}: its operator adds one with `treehead witness add-log`")]
    UnknownOrigin(String),
    /// The log did not sign it.
    #[error(transparent)]
    NotSigned(CheckpointError),
    /// The log signed it, and it is not cosigned.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The subtree ends behind the checkpoint.
    #[error("the subtree is not in the checkpoint: expected an end of at most {size}, saw {end}")]
    OutOfRange {
        /// Its end.
        end: TreeSize,
        /// Size of the checkpoint.
        size: TreeSize,
    },
    /// The subtree is not shown to be one of the checkpoint.
    #[error("the subtree is not shown to be one of the checkpoint: {0}")]
    NotASubtree(ProofError),
    /// The reference checkpoint is not this witness's own.
    #[error(
        "the reference checkpoint has no valid ML-DSA-44 cosignature by this witness: {0}; send one that came from /add-checkpoint"
    )]
    NotCosigned(String),
    /// The witness has no key that signs subtrees.
    #[error("this witness signs no subtrees: it was made with --no-pq, and Ed25519 cosignatures know none")]
    NoSubtrees,
    /// No checkpoint with this origin hash was ever cosigned.
    #[error("no log whose origin has the SHA-256 {0} was ever cosigned here")]
    NeverCosigned(String),
    /// Too much is under way.
    #[error("the witness is busy: ask again in {RETRY_AFTER_SECONDS} s")]
    Busy,
    /// The clock says nothing that could be signed.
    #[error("the witness's clock is before 1970: its operator has to set it")]
    Clock,
    /// The clock was set back, or was ahead when the log was cosigned last.
    #[error(
        "the witness's clock is {seconds} s behind its own last cosignature of this log: its operator has to set it; if it is right now, it was ahead then: docs/witness.md, \"Watch it\""
    )]
    ClockBehind {
        /// By how much.
        seconds: u64,
    },
    /// What it knows can't be read or written.
    #[error("nothing was cosigned: {0}")]
    Ledger(Arc<LedgerError>),
    /// It is being stopped.
    #[error("the witness is shutting down: ask again in a moment")]
    ShuttingDown,
    /// A part of it failed in a way that it never should.
    #[error("the witness failed to answer; its operator finds the reason in its log")]
    Internal,
    /// There is no such route.
    #[error(
        "{0} is no route of a witness: expected /add-checkpoint, /sign-subtree, /<origin hash>/checkpoint, /healthz or /metrics"
    )]
    NoRoute(String),
    /// The route has other methods.
    #[error(
        "{0} is not allowed here: POST goes to /add-checkpoint and /sign-subtree, everything else is GET"
    )]
    WrongMethod(String),
}

/// How a request to be cosigned was answered with signature lines.
pub const COSIGNED: Outcome = (StatusCode::OK, "cosigned");

/// What a request to be cosigned can be answered with, for `/metrics`.
pub static OUTCOMES: [Outcome; 22] = [
    COSIGNED,
    (StatusCode::BAD_REQUEST, "malformed"),
    (StatusCode::BAD_REQUEST, "body-cut-short"),
    (StatusCode::BAD_REQUEST, "old-size"),
    (StatusCode::BAD_REQUEST, "subtree-range"),
    (StatusCode::FORBIDDEN, "log-signature"),
    (StatusCode::FORBIDDEN, "not-cosigned"),
    (StatusCode::NOT_FOUND, "unknown-origin"),
    (StatusCode::NOT_FOUND, "no-subtrees"),
    (StatusCode::REQUEST_TIMEOUT, "body-too-slow"),
    (StatusCode::CONFLICT, "conflict"),
    (StatusCode::PAYLOAD_TOO_LARGE, "too-large"),
    (StatusCode::UNSUPPORTED_MEDIA_TYPE, "encoded"),
    (StatusCode::UNPROCESSABLE_ENTITY, "unproven"),
    (StatusCode::UNPROCESSABLE_ENTITY, "proof-not-empty"),
    (StatusCode::UNPROCESSABLE_ENTITY, "empty-root"),
    (StatusCode::UNPROCESSABLE_ENTITY, "forked"),
    (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
    (StatusCode::SERVICE_UNAVAILABLE, "busy"),
    (StatusCode::SERVICE_UNAVAILABLE, "storage"),
    (StatusCode::SERVICE_UNAVAILABLE, "clock"),
    (StatusCode::SERVICE_UNAVAILABLE, "shutting-down"),
];

impl WitnessError {
    /// The one table of statuses and codes. Those of c2sp.org/tlog-witness are 400, 403, 404, 409 and 422.
    pub(super) fn table(&self) -> Outcome {
        match self {
            Self::TooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, "too-large"),
            Self::Malformed(_) => (StatusCode::BAD_REQUEST, "malformed"),
            Self::BodyCutShort(_) => (StatusCode::BAD_REQUEST, "body-cut-short"),
            Self::BodyTooSlow(_) => (StatusCode::REQUEST_TIMEOUT, "body-too-slow"),
            Self::Encoded(_) => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "encoded"),
            Self::UnknownOrigin(_) => (StatusCode::NOT_FOUND, "unknown-origin"),
            Self::NotSigned(_) => (StatusCode::FORBIDDEN, "log-signature"),
            Self::Refused(refusal) => match refusal {
                Refusal::OldTooLarge { .. } => (StatusCode::BAD_REQUEST, "old-size"),
                Refusal::Conflict { .. } => (StatusCode::CONFLICT, "conflict"),
                Refusal::EmptyRoot { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "empty-root"),
                Refusal::ProofNotEmpty { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "proof-not-empty"),
                Refusal::Forked { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "forked"),
                Refusal::Unproven(_) => (StatusCode::UNPROCESSABLE_ENTITY, "unproven"),
            },
            Self::OutOfRange { .. } => (StatusCode::BAD_REQUEST, "subtree-range"),
            Self::NotASubtree(_) => (StatusCode::UNPROCESSABLE_ENTITY, "unproven"),
            Self::NotCosigned(_) => (StatusCode::FORBIDDEN, "not-cosigned"),
            Self::NoSubtrees => (StatusCode::NOT_FOUND, "no-subtrees"),
            Self::NeverCosigned(_) => (StatusCode::NOT_FOUND, "never-cosigned"),
            Self::Busy => (StatusCode::SERVICE_UNAVAILABLE, "busy"),
            Self::Clock | Self::ClockBehind { .. } => (StatusCode::SERVICE_UNAVAILABLE, "clock"),
            Self::Ledger(_) => (StatusCode::SERVICE_UNAVAILABLE, "storage"),
            Self::ShuttingDown => (StatusCode::SERVICE_UNAVAILABLE, "shutting-down"),
            Self::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
            Self::NoRoute(_) => (StatusCode::NOT_FOUND, "no-route"),
            Self::WrongMethod(_) => (StatusCode::METHOD_NOT_ALLOWED, "wrong-method"),
        }
    }

    /// The stable code, for machines.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.table().1
    }
}

impl From<CheckpointError> for WitnessError {
    fn from(error: CheckpointError) -> Self {
        match error {
            CheckpointError::Format(e) | CheckpointError::Note(NoteError::Format(e)) => Self::Malformed(e),
            CheckpointError::Note(_) | CheckpointError::UnsignedExtensions { .. } => Self::NotSigned(error),
            CheckpointError::WrongOrigin { seen, .. } => Self::UnknownOrigin(seen),
        }
    }
}

impl From<BodyError> for WitnessError {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::TooLarge(e) => Self::TooLarge(e),
            BodyError::CutShort(why) => Self::BodyCutShort(why),
            BodyError::TooSlow(why) => Self::BodyTooSlow(why),
            BodyError::Encoded(encoding) => Self::Encoded(encoding),
            BodyError::Busy => Self::Busy,
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
        let (status, code) = self.table();
        // "The response body MUST consist of the tree size of the latest cosigned checkpoint in decimal,
        // followed by a newline": no room for a problem document.
        if let Self::Refused(Refusal::Conflict { latest, .. }) = self {
            let headers = [(header::CONTENT_TYPE, SIZE_MEDIA_TYPE), (header::CACHE_CONTROL, "no-store")];
            return (status, headers, print_size(latest)).into_response();
        }
        let retry_after = (status == StatusCode::SERVICE_UNAVAILABLE).then_some(RETRY_AFTER_SECONDS);
        render(status, code, self.to_string(), None, retry_after)
    }
}

pub async fn no_route(uri: Uri) -> WitnessError {
    WitnessError::NoRoute(quote(uri.path()))
}

pub async fn wrong_method(method: Method) -> WitnessError {
    WitnessError::WrongMethod(quote(method.as_str()))
}

#[cfg(test)]
mod tests {
    use super::OUTCOMES;
    use crate::http::outcomes::assert_whole;

    #[test]
    fn all_that_a_request_to_be_cosigned_can_be_answered_with_is_counted() {
        let others = ["never-cosigned", "no-route", "wrong-method"];
        assert_whole(&OUTCOMES[1..], include_str!("problem.rs"), &others);
    }
}
