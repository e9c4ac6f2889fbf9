//! The log's errors as clients see them, and their table of statuses and codes.

use axum::extract::rejection::PathRejection;
use axum::response::{IntoResponse, Response};

use crate::format::{FormatError, quote};
use crate::http::RequestError;
use crate::http::problem::{Particulars, log_failure, problem_table, render};
use crate::merkle::{LeafIndex, TreeSize};
use crate::release::{StatementError, WithdrawalError};
use crate::sequencer::{RETRY_AFTER, SubmitError};
use crate::store::StoreError;

/// An error that the log answers a request with.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// An error that every server of this program can answer with.
    #[error(transparent)]
    Request(RequestError),
    /// An entry of a batch was refused, and so the whole batch.
    #[error("entry {at} of the batch: {problem}; nothing of the batch was taken")]
    InBatch {
        /// Position in the batch, from zero.
        at: usize,
        /// The entry's error.
        problem: Box<Problem>,
    },
    /// The statement is well-formed, but not admitted.
    #[error("{}{}", .0, remedy(.0))]
    NotAdmitted(#[from] StatementError),
    /// A withdrawal names a leaf that does not exist.
    #[error(
        "the withdrawal names leaf {index}: expected a release that is in this log already, saw a log of {size} entries; make the withdrawal from the entry that this log has there"
    )]
    WithdrawalUnknownLeaf {
        /// The leaf that it names.
        index: LeafIndex,
        /// Number of entries.
        size: TreeSize,
    },
    /// A withdrawal does not match the leaf that it names, or its signer did not release it.
    #[error(transparent)]
    Withdrawal(#[from] WithdrawalError),
    /// A batch has too many withdrawals.
    #[error(
        "expected at most {most} withdrawals in a batch, saw another one; send the rest in further batches"
    )]
    TooManyWithdrawals {
        /// The most that a batch may have.
        most: usize,
    },
    /// The sequencer refused the entry.
    #[error(transparent)]
    Submit(#[from] SubmitError),
    /// The entry is durable, but no tree head over it could be published.
    #[error(
        "the entry is durable as leaf {index}, but no tree head over it could be published{}; send it again later for its proof", because(fault.as_deref())
    )]
    NotPublished {
        /// The entry's leaf index.
        index: LeafIndex,
        /// The fault that keeps the log from publishing, if it is known.
        fault: Option<String>,
    },
    /// The log has witnesses, and no quorum of them has cosigned a tree head yet.
    #[error("no tree head is published yet: too few witnesses have cosigned the first one; try again later")]
    NothingPublished,
    /// The index did not lead to the highest sequence number.
    #[error(
        "the log could not tell the highest sequence number: the first {tries} numbers that its index has for this channel belong to another one; continue from the last release that you know of, or find it with GET /releases"
    )]
    SequenceUnknown {
        /// Number of numbers that were looked up.
        tries: usize,
    },
    /// The log does not have the resource, or not yet.
    #[error("{what} is not in this log: {detail}")]
    NotFound {
        /// The resource.
        what: &'static str,
        /// The log's state that rules it out.
        detail: String,
    },
    /// The client accepts none of the media types on offer.
    #[error("nothing acceptable to send: expected Accept to allow {expected}, saw {seen}")]
    NotAcceptable {
        /// The media types on offer.
        expected: String,
        /// The `Accept` header, quoted.
        seen: String,
    },
    /// The store failed to read or write.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn because(fault: Option<&str>) -> String {
    fault.map(|fault| format!(": {fault}")).unwrap_or_default()
}

/// The next step for a publisher.
const fn remedy(error: &StatementError) -> &'static str {
    match error {
        StatementError::UnknownKey { .. } => "; the log's operator registers keys",
        _ => "",
    }
}

problem_table! {
    Problem {
        shared {
            Self::Request(error) => error,
            Self::InBatch { problem, .. } => problem,
        }
        counted {
            Self::NotAdmitted(StatementError::Entry(_)) => PAYLOAD_TOO_LARGE "too-large",
            Self::NotAdmitted(StatementError::Statement(_)) => UNPROCESSABLE_ENTITY "statement",
            Self::NotAdmitted(StatementError::BadSignature { .. }) => UNPROCESSABLE_ENTITY "publisher-signature",
            Self::NotAdmitted(StatementError::OtherLog { .. }) => UNPROCESSABLE_ENTITY "other-log",
            Self::NotAdmitted(StatementError::TooManyTries { .. }) => UNPROCESSABLE_ENTITY "keyid-needed",
            Self::NotAdmitted(StatementError::UnknownKey { .. }) => FORBIDDEN "unknown-publisher",
            Self::NotAdmitted(StatementError::KeyNotValid { .. }) => FORBIDDEN "key-not-valid",
            Self::NotAdmitted(StatementError::KeyRevoked { .. }) => FORBIDDEN "publisher-key-revoked",
            Self::NotAdmitted(StatementError::SignaturesMissing { .. }) => FORBIDDEN "signatures-missing",
            Self::NotAdmitted(_) => FORBIDDEN "publisher-not-permitted",
            Self::WithdrawalUnknownLeaf { .. } => UNPROCESSABLE_ENTITY "withdrawal-unknown-leaf",
            Self::Withdrawal(WithdrawalError::NotThePublisher { .. }) => FORBIDDEN "withdrawal-not-permitted",
            Self::Withdrawal(_) => UNPROCESSABLE_ENTITY "withdrawal-mismatch",
            Self::TooManyWithdrawals { .. } => UNPROCESSABLE_ENTITY "too-many-withdrawals",
            Self::Submit(SubmitError::Full { retry_after, .. } | SubmitError::Overloaded { retry_after }) =>
                TOO_MANY_REQUESTS "full" retry retry_after.as_secs().max(1),
            Self::Submit(SubmitError::SequenceTaken) => CONFLICT "sequence-taken",
            Self::Submit(SubmitError::ShuttingDown) => SERVICE_UNAVAILABLE "shutting-down" retry 5,
            Self::Submit(SubmitError::AskingWitnesses { retry_after, .. }) =>
                SERVICE_UNAVAILABLE "asking-witnesses" retry retry_after.as_secs().max(1),
            Self::Submit(SubmitError::Standby { retry_after, .. }) =>
                SERVICE_UNAVAILABLE "standby" retry retry_after.as_secs().max(1),
            Self::Submit(SubmitError::RolledBack(_)) => SERVICE_UNAVAILABLE "rolled-back",
            Self::Submit(SubmitError::Damaged(_)) | Self::Store(StoreError::Damaged { .. }) =>
                SERVICE_UNAVAILABLE "journal-damaged",
            Self::NotPublished { .. } => SERVICE_UNAVAILABLE "not-published" retry 5,
            Self::NotAcceptable { .. } => NOT_ACCEPTABLE "not-acceptable",
            Self::Submit(_) | Self::Store(_) => SERVICE_UNAVAILABLE "storage" retry 5,
        }
        uncounted {
            // The first head is there as soon as a quorum was asked.
            Self::NothingPublished => SERVICE_UNAVAILABLE "nothing-published" retry 1,
            Self::SequenceUnknown { .. } => SERVICE_UNAVAILABLE "sequence-unknown",
            Self::NotFound { .. } => NOT_FOUND "not-found",
        }
    }
}

impl Problem {
    /// The stable code, for machines.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.row().outcome.1
    }
}

impl From<RequestError> for Problem {
    fn from(error: RequestError) -> Self {
        match error {
            RequestError::Busy => Self::Submit(SubmitError::Overloaded { retry_after: RETRY_AFTER }),
            error => Self::Request(error),
        }
    }
}

impl From<FormatError> for Problem {
    fn from(error: FormatError) -> Self {
        Self::Request(match error {
            FormatError::TooLarge { .. } => RequestError::TooLarge(error),
            _ => RequestError::Malformed(error),
        })
    }
}

impl From<PathRejection> for Problem {
    fn from(rejection: PathRejection) -> Self {
        FormatError::malformed("a path", "percent-encoded UTF-8", quote(&rejection.body_text())).into()
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let row = self.row();
        // The sequencer logs once what it can't store or publish: on a full disk, a line for each request would
        // help to fill it.
        if matches!(self, Self::Store(_) | Self::SequenceUnknown { .. }) {
            log_failure(row.outcome.1, &self.to_string());
        }
        let mut particulars = Particulars::default();
        match &self {
            Self::InBatch { at, problem } => particulars.entry = Some((*at, problem.to_string())),
            Self::Submit(SubmitError::Standby { holder, .. }) => particulars.holder.clone_from(holder),
            _ => {}
        }
        render(row, self.to_string(), particulars)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::outcomes::Outcome;

    #[test]
    fn errors_of_submissions_are_counted_and_those_of_other_requests_are_not() {
        let has = |code| Problem::COUNTED.iter().any(|(_, known): &Outcome| *known == code);
        for code in ["unknown-publisher", "full", "sequence-taken", "storage", "journal-damaged"] {
            assert!(has(code), "{code}");
        }
        for code in ["not-found", "nothing-published", "sequence-unknown"] {
            assert!(!has(code), "{code}");
        }
    }
}
