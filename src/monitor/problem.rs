//! Errors as those see them who push heads. Errors are mapped to statuses here and nowhere else.

use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};

use crate::checkpoint::CheckpointError;
use crate::format::{FormatError, quote};
use crate::http::admission::BodyError;
use crate::http::outcomes::Outcome;
use crate::note::NoteError;
use crate::proof::fork::EvidenceError;
use crate::server::problem::render;

/// Seconds after which a head may be pushed again.
const RETRY_AFTER_SECONDS: u64 = 10;

/// Why a request was not answered as it wished.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum GossipError {
    /// The body can't be read.
    #[error(transparent)]
    Malformed(#[from] FormatError),
    /// The body is longer than any note.
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
    /// The log is not followed here.
    #[error("this monitor does not follow the log {0}: push to one that does")]
    UnknownLog(String),
    /// The log did not sign it.
    #[error(transparent)]
    NotSigned(CheckpointError),
    /// What is pushed as evidence proves nothing.
    #[error("this proves no fork: {0}")]
    NoFork(EvidenceError),
    /// No such log is followed, or nothing of it is verified yet.
    #[error("no log whose origin has the SHA-256 {0} is followed here, or none of its heads is verified yet")]
    NotFollowed(String),
    /// Whoever pushes does so too often.
    #[error("too many heads at once: push one again in {0} s")]
    TooMany(u64),
    /// Too much is under way.
    #[error("the monitor is busy: push it again in {RETRY_AFTER_SECONDS} s")]
    Busy,
    /// A part of the monitor failed in a way that it never should.
    #[error("the monitor failed to answer; its operator finds the reason in its log")]
    Internal,
    /// There is no such route.
    #[error("{0} is no route of a monitor: see docs/monitor.md")]
    NoRoute(String),
    /// The route has other methods.
    #[error("{0} is not allowed here: POST goes to /gossip and /evidence, everything else is GET")]
    WrongMethod(String),
}

/// It will be compared.
pub const GOSSIP_QUEUED: Outcome = (StatusCode::ACCEPTED, "queued");
/// It was compared before.
pub const GOSSIP_KNOWN: Outcome = (StatusCode::OK, "known");

/// What a pushed head can be answered with, for `/metrics`.
pub static OUTCOMES: [Outcome; 13] = [
    GOSSIP_KNOWN,
    GOSSIP_QUEUED,
    (StatusCode::BAD_REQUEST, "malformed"),
    (StatusCode::BAD_REQUEST, "body-cut-short"),
    (StatusCode::FORBIDDEN, "log-signature"),
    (StatusCode::NOT_FOUND, "unknown-origin"),
    (StatusCode::REQUEST_TIMEOUT, "body-too-slow"),
    (StatusCode::PAYLOAD_TOO_LARGE, "too-large"),
    (StatusCode::UNSUPPORTED_MEDIA_TYPE, "encoded"),
    (StatusCode::UNPROCESSABLE_ENTITY, "no-fork"),
    (StatusCode::TOO_MANY_REQUESTS, "too-many"),
    (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
    (StatusCode::SERVICE_UNAVAILABLE, "busy"),
];

impl GossipError {
    /// The one table of statuses and codes.
    pub(super) fn table(&self) -> Outcome {
        match self {
            Self::Malformed(_) => (StatusCode::BAD_REQUEST, "malformed"),
            Self::BodyCutShort(_) => (StatusCode::BAD_REQUEST, "body-cut-short"),
            Self::BodyTooSlow(_) => (StatusCode::REQUEST_TIMEOUT, "body-too-slow"),
            Self::TooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, "too-large"),
            Self::Encoded(_) => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "encoded"),
            Self::UnknownLog(_) => (StatusCode::NOT_FOUND, "unknown-origin"),
            Self::NotSigned(_) => (StatusCode::FORBIDDEN, "log-signature"),
            Self::NoFork(_) => (StatusCode::UNPROCESSABLE_ENTITY, "no-fork"),
            Self::NotFollowed(_) => (StatusCode::NOT_FOUND, "not-followed"),
            Self::TooMany(_) => (StatusCode::TOO_MANY_REQUESTS, "too-many"),
            Self::Busy => (StatusCode::SERVICE_UNAVAILABLE, "busy"),
            Self::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
            Self::NoRoute(_) => (StatusCode::NOT_FOUND, "no-route"),
            Self::WrongMethod(_) => (StatusCode::METHOD_NOT_ALLOWED, "wrong-method"),
        }
    }
}

impl From<CheckpointError> for GossipError {
    fn from(error: CheckpointError) -> Self {
        match error {
            CheckpointError::Format(e) | CheckpointError::Note(NoteError::Format(e)) => Self::Malformed(e),
            CheckpointError::Note(_) | CheckpointError::UnsignedExtensions { .. } => Self::NotSigned(error),
            CheckpointError::WrongOrigin { seen, .. } => Self::UnknownLog(seen),
        }
    }
}

impl From<BodyError> for GossipError {
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

impl IntoResponse for GossipError {
    fn into_response(self) -> Response {
        let (status, code) = self.table();
        let again = match &self {
            Self::TooMany(seconds) => Some(*seconds),
            Self::Busy => Some(RETRY_AFTER_SECONDS),
            _ => None,
        };
        render(status, code, self.to_string(), None, again)
    }
}

pub async fn no_route(uri: Uri) -> GossipError {
    GossipError::NoRoute(quote(uri.path()))
}

pub async fn wrong_method(method: Method) -> GossipError {
    GossipError::WrongMethod(quote(method.as_str()))
}

#[cfg(test)]
mod tests {
    use super::OUTCOMES;
    use crate::http::outcomes::assert_whole;

    #[test]
    fn all_that_a_pushed_head_can_be_answered_with_is_counted() {
        assert_whole(
            &OUTCOMES[2..],
            include_str!("problem.rs"),
            &["not-followed", "no-route", "wrong-method"],
        );
    }
}
