//! Errors as clients see them: RFC 9457 problem+json with a stable `code`. Errors are mapped to
//! statuses here and nowhere else.

use axum::extract::rejection::PathRejection;
use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::submit::MAX_BATCH_WITHDRAWALS;
use crate::format::{FormatError, quote, to_json};
use crate::http::admission::BodyError;
use crate::http::outcomes::Outcome;
use crate::merkle::{LeafIndex, TreeSize};
use crate::release::{SpeakError, WithdrawalError};
use crate::sequencer::{RETRY_AFTER, SubmitError};
use crate::store::StoreError;

/// Why a request was not answered as it wished.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// Path, query, header or body can't be read.
    #[error(transparent)]
    Malformed(#[from] FormatError),
    /// The body did not arrive whole.
    #[error("the body did not arrive whole: {0}; send it again")]
    BodyCutShort(String),
    /// The body came too slowly.
    #[error("the request body arrived too slowly: {0}; send it again")]
    BodyTooSlow(String),
    /// An entry of a batch is wrong; nothing of the batch was taken.
    #[error("entry {at} of the batch: {problem}; nothing of the batch was taken")]
    InBatch {
        /// Place in the batch, from zero.
        at: usize,
        /// What is wrong with it.
        problem: Box<Problem>,
    },
    /// The statement is well-formed, and not admitted.
    #[error(transparent)]
    NotAdmitted(#[from] SpeakError),
    /// A withdrawal names a leaf that is not there.
    #[error(
        "the withdrawal names leaf {index}: expected a release that is in this log already, saw a log of {size} entries; `treehead withdraw` fetches what it withdraws"
    )]
    WithdrawalUnknownLeaf {
        /// The leaf named.
        index: LeafIndex,
        /// How many there are.
        size: TreeSize,
    },
    /// A withdrawal does not match the leaf that it names, or its signer did not release it.
    #[error(transparent)]
    Withdrawal(#[from] WithdrawalError),
    /// A batch withdraws too much at once.
    #[error(
        "expected at most {MAX_BATCH_WITHDRAWALS} withdrawals in a batch, saw another one; send the rest in further batches"
    )]
    TooManyWithdrawals,
    /// The sequencer did not take it.
    #[error(transparent)]
    Submit(#[from] SubmitError),
    /// It is durable, and no head over it could be published.
    #[error(
        "the entry is durable as leaf {index}, but no tree head over it could be published{}; send it again later for its proof", because(fault.as_deref())
    )]
    NotPublished {
        /// Its place in the log.
        index: LeafIndex,
        /// What keeps the log from publishing, where it knows.
        fault: Option<String>,
    },
    /// The log has witnesses, and no quorum of them has cosigned any head yet.
    #[error("no tree head is published yet: too few witnesses have cosigned the first one; try again later")]
    NothingPublished,
    /// A part of the log failed in a way that it never should.
    #[error("the log failed to answer; its operator finds the reason in its log")]
    Internal,
    /// The index did not lead to the highest sequence number.
    #[error(
        "the log could not tell the highest sequence number: the first {tries} numbers that its index has for this channel belong to another one; continue from the last release that you know of, or find it with GET /releases"
    )]
    SequenceUnknown {
        /// Numbers that were looked up.
        tries: usize,
    },
    /// There is no such thing (yet).
    #[error("{what} is not in this log: {detail}")]
    NotFound {
        /// What was asked for.
        what: &'static str,
        /// What there is.
        detail: String,
    },
    /// There is no such route.
    #[error("{0} is no route of this log: see docs/http.md")]
    NoRoute(String),
    /// The route has other methods.
    #[error("{0} is not allowed here: POST goes to /add and /add-batch, everything else is GET")]
    WrongMethod(String),
    /// None of the offered types is accepted.
    #[error("nothing acceptable to send: expected Accept to allow {expected}, saw {seen}")]
    NotAcceptable {
        /// What is offered.
        expected: String,
        /// The header.
        seen: String,
    },
    /// The body is compressed or otherwise encoded.
    #[error("bodies are taken as they are: expected no Content-Encoding, saw {0}")]
    Encoded(String),
    /// The body is encoded for the transfer, by more than chunks.
    #[error("expected no Transfer-Encoding other than chunked, saw {0}")]
    TransferCoding(String),
    /// Answers take too much memory until they are read.
    #[error("too many answers are waiting for their clients to read them; ask again in a moment")]
    TooManyAnswers,
    /// The store can't read or write.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a submission can be refused with, for `/metrics`.
pub static REFUSALS: [Outcome; 27] = [
    (StatusCode::BAD_REQUEST, "malformed"),
    (StatusCode::BAD_REQUEST, "body-cut-short"),
    (StatusCode::FORBIDDEN, "unknown-publisher"),
    (StatusCode::FORBIDDEN, "key-not-valid"),
    (StatusCode::FORBIDDEN, "publisher-key-revoked"),
    (StatusCode::FORBIDDEN, "publisher-not-permitted"),
    (StatusCode::FORBIDDEN, "withdrawal-not-permitted"),
    (StatusCode::NOT_ACCEPTABLE, "not-acceptable"),
    (StatusCode::REQUEST_TIMEOUT, "body-too-slow"),
    (StatusCode::CONFLICT, "sequence-taken"),
    (StatusCode::PAYLOAD_TOO_LARGE, "too-large"),
    (StatusCode::UNSUPPORTED_MEDIA_TYPE, "encoded"),
    (StatusCode::UNPROCESSABLE_ENTITY, "statement"),
    (StatusCode::UNPROCESSABLE_ENTITY, "publisher-signature"),
    (StatusCode::UNPROCESSABLE_ENTITY, "keyid-needed"),
    (StatusCode::UNPROCESSABLE_ENTITY, "other-log"),
    (StatusCode::UNPROCESSABLE_ENTITY, "withdrawal-unknown-leaf"),
    (StatusCode::UNPROCESSABLE_ENTITY, "withdrawal-mismatch"),
    (StatusCode::UNPROCESSABLE_ENTITY, "too-many-withdrawals"),
    (StatusCode::TOO_MANY_REQUESTS, "full"),
    (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
    (StatusCode::SERVICE_UNAVAILABLE, "shutting-down"),
    (StatusCode::SERVICE_UNAVAILABLE, "asking-witnesses"),
    (StatusCode::SERVICE_UNAVAILABLE, "rolled-back"),
    (StatusCode::SERVICE_UNAVAILABLE, "journal-damaged"),
    (StatusCode::SERVICE_UNAVAILABLE, "not-published"),
    (StatusCode::SERVICE_UNAVAILABLE, "storage"),
];

fn because(fault: Option<&str>) -> String {
    fault.map(|fault| format!(": {fault}")).unwrap_or_default()
}

impl Problem {
    /// The one table of statuses and codes.
    pub(super) fn table(&self) -> Outcome {
        match self {
            Self::Malformed(FormatError::TooLarge { .. }) | Self::NotAdmitted(SpeakError::Entry(_)) => {
                (StatusCode::PAYLOAD_TOO_LARGE, "too-large")
            }
            Self::Malformed(_) => (StatusCode::BAD_REQUEST, "malformed"),
            Self::BodyCutShort(_) => (StatusCode::BAD_REQUEST, "body-cut-short"),
            Self::BodyTooSlow(_) => (StatusCode::REQUEST_TIMEOUT, "body-too-slow"),
            Self::InBatch { problem, .. } => problem.table(),
            Self::NotAdmitted(SpeakError::Statement(_)) => (StatusCode::UNPROCESSABLE_ENTITY, "statement"),
            Self::NotAdmitted(SpeakError::BadSignature { .. }) => {
                (StatusCode::UNPROCESSABLE_ENTITY, "publisher-signature")
            }
            Self::NotAdmitted(SpeakError::OtherLog { .. }) => (StatusCode::UNPROCESSABLE_ENTITY, "other-log"),
            Self::NotAdmitted(SpeakError::TooManyTries { .. }) => {
                (StatusCode::UNPROCESSABLE_ENTITY, "keyid-needed")
            }
            Self::NotAdmitted(SpeakError::UnknownKey { .. }) => (StatusCode::FORBIDDEN, "unknown-publisher"),
            Self::NotAdmitted(SpeakError::KeyNotValid { .. }) => (StatusCode::FORBIDDEN, "key-not-valid"),
            Self::NotAdmitted(SpeakError::KeyRevoked { .. }) => {
                (StatusCode::FORBIDDEN, "publisher-key-revoked")
            }
            Self::NotAdmitted(_) => (StatusCode::FORBIDDEN, "publisher-not-permitted"),
            Self::WithdrawalUnknownLeaf { .. } => {
                (StatusCode::UNPROCESSABLE_ENTITY, "withdrawal-unknown-leaf")
            }
            Self::Withdrawal(WithdrawalError::NotThePublisher { .. }) => {
                (StatusCode::FORBIDDEN, "withdrawal-not-permitted")
            }
            Self::Withdrawal(_) => (StatusCode::UNPROCESSABLE_ENTITY, "withdrawal-mismatch"),
            Self::TooManyWithdrawals => (StatusCode::UNPROCESSABLE_ENTITY, "too-many-withdrawals"),
            Self::Submit(SubmitError::Full { .. } | SubmitError::Overloaded { .. }) => {
                (StatusCode::TOO_MANY_REQUESTS, "full")
            }
            Self::Submit(SubmitError::ShuttingDown) => (StatusCode::SERVICE_UNAVAILABLE, "shutting-down"),
            Self::Submit(SubmitError::SequenceTaken) => (StatusCode::CONFLICT, "sequence-taken"),
            Self::Submit(SubmitError::AskingWitnesses { .. }) => {
                (StatusCode::SERVICE_UNAVAILABLE, "asking-witnesses")
            }
            Self::Submit(SubmitError::RolledBack(_)) => (StatusCode::SERVICE_UNAVAILABLE, "rolled-back"),
            Self::Submit(SubmitError::Damaged(_)) | Self::Store(StoreError::Damaged { .. }) => {
                (StatusCode::SERVICE_UNAVAILABLE, "journal-damaged")
            }
            Self::NothingPublished => (StatusCode::SERVICE_UNAVAILABLE, "nothing-published"),
            Self::SequenceUnknown { .. } => (StatusCode::SERVICE_UNAVAILABLE, "sequence-unknown"),
            Self::NotPublished { .. } => (StatusCode::SERVICE_UNAVAILABLE, "not-published"),
            Self::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
            Self::NotFound { .. } => (StatusCode::NOT_FOUND, "not-found"),
            Self::NoRoute(_) => (StatusCode::NOT_FOUND, "no-route"),
            Self::WrongMethod(_) => (StatusCode::METHOD_NOT_ALLOWED, "wrong-method"),
            Self::NotAcceptable { .. } => (StatusCode::NOT_ACCEPTABLE, "not-acceptable"),
            Self::Encoded(_) => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "encoded"),
            Self::TransferCoding(_) => (StatusCode::NOT_IMPLEMENTED, "transfer-coding"),
            Self::TooManyAnswers => (StatusCode::SERVICE_UNAVAILABLE, "busy"),
            Self::Submit(_) | Self::Store(_) => (StatusCode::SERVICE_UNAVAILABLE, "storage"),
        }
    }

    /// The stable code, for machines.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.table().1
    }

    fn retry_after(&self) -> Option<u64> {
        match self {
            Self::Submit(
                SubmitError::Full { retry_after, .. }
                | SubmitError::Overloaded { retry_after }
                | SubmitError::AskingWitnesses { retry_after, .. },
            ) => Some(retry_after.as_secs().max(1)),
            // The first head is there as soon as a quorum was asked.
            Self::NothingPublished | Self::TooManyAnswers => Some(1),
            // Waiting does not help.
            Self::Store(StoreError::Damaged { .. }) => None,
            Self::Submit(SubmitError::ShuttingDown | SubmitError::Storage(_))
            | Self::Store(_)
            | Self::NotPublished { .. } => Some(5),
            _ => None,
        }
    }
}

impl From<BodyError> for Problem {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::TooLarge(e) => Self::Malformed(e),
            BodyError::CutShort(why) => Self::BodyCutShort(why),
            BodyError::TooSlow(why) => Self::BodyTooSlow(why),
            BodyError::Encoded(encoding) => Self::Encoded(encoding),
            BodyError::Busy => Self::Submit(SubmitError::Overloaded { retry_after: RETRY_AFTER }),
        }
    }
}

impl From<PathRejection> for Problem {
    fn from(rejection: PathRejection) -> Self {
        FormatError::malformed("a path", "percent-encoded UTF-8", quote(&rejection.body_text())).into()
    }
}

#[derive(Serialize)]
struct Body<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    code: &'a str,
    detail: String,
    /// Place of the entry in a batch that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    entry: Option<usize>,
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (status, code) = self.table();
        // What can't be stored or published is told once by the sequencer, not once a request: on a full disk
        // the log of errors must not be what fills it.
        // Clients that don't read, or encode oddly, are not a fault of the log.
        let told = matches!(
            self,
            Self::Submit(_)
                | Self::NotPublished { .. }
                | Self::NothingPublished
                | Self::TooManyAnswers
                | Self::TransferCoding(_)
        );
        if status.is_server_error() && !told {
            tracing::error!(code, error = %self, "a request failed");
        }
        let entry = match &self {
            Self::InBatch { at, .. } => Some(*at),
            _ => None,
        };
        render(status, code, self.to_string(), entry, self.retry_after())
    }
}

/// The problem document itself, the same for everything that this program serves.
pub fn render(
    status: StatusCode,
    code: &str,
    detail: String,
    entry: Option<usize>,
    retry_after: Option<u64>,
) -> Response {
    let body = Body {
        r#type: format!("urn:treehead:problem:{code}"),
        title: status.canonical_reason().unwrap_or("Error"),
        status: status.as_u16(),
        code,
        detail,
        entry,
    };
    let json = to_json(&body);
    let mut response = (status, [(header::CONTENT_TYPE, "application/problem+json")], json).into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(seconds) = retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

pub async fn no_route(uri: Uri) -> Problem {
    Problem::NoRoute(quote(uri.path()))
}

pub async fn wrong_method(method: Method) -> Problem {
    Problem::WrongMethod(quote(method.as_str()))
}

#[cfg(test)]
mod tests {
    use super::REFUSALS;
    use crate::http::outcomes::assert_whole;

    #[test]
    fn all_that_a_submission_can_be_refused_with_is_counted() {
        let others = [
            "not-found",
            "no-route",
            "wrong-method",
            "nothing-published",
            "sequence-unknown",
            "transfer-coding",
            "busy",
        ];
        assert_whole(&REFUSALS, include_str!("problem.rs"), &others);
    }
}
