//! The error type of the object store kit.

use std::time::Duration;

use super::requests::Operation;
use crate::client::ClientError;
use crate::format::FormatError;

/// Why a request to an object store failed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum BucketError {
    /// An address, a key or a setting is malformed.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// The connection can't be set up, because of a proxy's address or a certificate.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// There are no usable credentials.
    #[error("{0}")]
    Credentials(#[from] super::CredentialsError),
    /// The outcome of a write is unknown. The caller must read the object and compare it.
    #[error("could not tell whether {operation} of {url} was done: {detail}")]
    Unclear {
        /// The request.
        operation: Operation,
        /// The object.
        url: String,
        /// Description of the failure.
        detail: String,
        /// The pause that the store asked for.
        retry_after: Option<Duration>,
    },
    /// The store is busy and did nothing.
    #[error("{url} is busy and asks for fewer requests{}: {detail}", asked(*retry_after))]
    Busy {
        /// The object.
        url: String,
        /// The store's answer.
        detail: String,
        /// The pause that the store asked for.
        retry_after: Option<Duration>,
    },
    /// The store did not answer, or its answer was useless, and it did nothing.
    #[error("no answer from {url}: {detail}")]
    Unavailable {
        /// The object.
        url: String,
        /// Description of the failure.
        detail: String,
        /// The pause that the store asked for.
        retry_after: Option<Duration>,
    },
    /// The store refuses the request, and a retry will not help.
    #[error("{url} answered {status}{}{}{}", code_in_words(code), said(detail), refusal.advice())]
    Refused {
        /// The object.
        url: String,
        /// HTTP status.
        status: u16,
        /// The store's code, such as `AccessDenied`; empty if it sent none.
        code: String,
        /// The meaning of the code.
        refusal: Refusal,
        /// The store's answer.
        detail: String,
    },
    /// An object larger than any correct one.
    #[error("{url} is too large: expected at most {limit} bytes, saw {seen}")]
    TooLarge {
        /// The object.
        url: String,
        /// The limit.
        limit: usize,
        /// The size, or as much of it as was read.
        seen: u64,
    },
    /// The probe found that the store breaks its promises.
    #[error(
        "{store} breaks a promise that a log in a bucket depends on: {findings}; use another store or a newer version (docs/bucket.md lists tested stores)"
    )]
    Lies {
        /// The store's address.
        store: String,
        /// The broken promises.
        findings: String,
    },
    /// The probe did not complete.
    #[error(
        "could not tell whether {store} keeps the promises that a log in a bucket depends on: {findings}; try again"
    )]
    Untested {
        /// The store's address.
        store: String,
        /// The checks that failed.
        findings: String,
    },
    /// The answer is not from an object store, but for example a network's sign-in page.
    #[error("{url} did not answer like an object store: {source}")]
    Malformed {
        /// The object.
        url: String,
        /// The fault.
        source: FormatError,
    },
}

/// The meaning of a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Refusal {
    /// The credentials don't permit the request.
    Denied,
    /// The store does not know the access key.
    UnknownKey,
    /// The signature is wrong: the secret key is another, or a proxy changed the request.
    Signature,
    /// The session token is expired or wrong.
    Token,
    /// The clocks of the store and of this machine differ too much.
    Clock,
    /// The bucket does not exist.
    NoBucket,
    /// The bucket is in another region, or at another address.
    Region,
    /// The store does not support the request, usually a conditional write.
    NotImplemented,
    /// The store is full, or a quota is exhausted.
    Full,
    /// Anything else.
    Other,
}

impl Refusal {
    /// The next step for the user.
    const fn advice(self) -> &'static str {
        match self {
            Self::Denied => {
                "; allow these credentials to read, list and write in the bucket, and look for a bucket policy that denies it (s3:GetObject, s3:PutObject, s3:PutObjectTagging, s3:ListBucket, s3:DeleteObject)"
            }
            Self::UnknownKey => "; check the access key, and that it belongs to this store",
            Self::Signature => {
                "; check the secret key and the region, and that no proxy changes the request's path, host or headers"
            }
            Self::Token => "; get a new session token (AWS_SESSION_TOKEN), or remove it for a long-term key",
            Self::Clock => "; set this machine's clock",
            Self::NoBucket => "; create the bucket, or correct its name, endpoint or region",
            Self::Region => {
                "; give the bucket's region with --region or AWS_REGION, or its address with --endpoint"
            }
            Self::NotImplemented => {
                "; the store may be too old for conditional writes; docs/bucket.md lists stores that support them"
            }
            Self::Full => "; free some space, or raise the quota",
            Self::Other => "",
        }
    }
}

impl BucketError {
    /// Returns true if the write may have taken effect. The caller must read the object before it writes again.
    #[must_use]
    pub const fn may_be_done(&self) -> bool {
        matches!(self, Self::Unclear { .. })
    }

    /// Returns true if a retry may succeed without any change.
    #[must_use]
    pub const fn is_temporary(&self) -> bool {
        match self {
            Self::Unclear { .. } | Self::Busy { .. } | Self::Unavailable { .. } | Self::Untested { .. } => {
                true
            }
            Self::Credentials(error) => error.is_temporary(),
            _ => false,
        }
    }

    /// The pause that the store asked for.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Unclear { retry_after, .. }
            | Self::Busy { retry_after, .. }
            | Self::Unavailable { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// The stable code, for machines: lower-case letters and hyphens.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Format(_) => "malformed",
            Self::Client(_) => "client",
            Self::Credentials(_) => "credentials",
            Self::Unclear { .. } => "unclear",
            Self::Busy { .. } => "busy",
            Self::Unavailable { .. } => "unavailable",
            Self::Refused { refusal, .. } => match refusal {
                Refusal::Denied => "denied",
                Refusal::UnknownKey => "unknown-key",
                Refusal::Signature => "signature",
                Refusal::Token => "token",
                Refusal::Clock => "clock",
                Refusal::NoBucket => "no-bucket",
                Refusal::Region => "region",
                Refusal::NotImplemented => "not-implemented",
                Refusal::Full => "full",
                Refusal::Other => "refused",
            },
            Self::Lies { .. } => "store-lies",
            Self::Untested { .. } => "store-untested",
            Self::TooLarge { .. } => "too-large",
            Self::Malformed { .. } => "not-a-store",
        }
    }
}

fn asked(pause: Option<Duration>) -> String {
    pause.map(|pause| format!(" (retry after {} s)", pause.as_secs())).unwrap_or_default()
}

/// The store's message, if it sent one.
fn said(detail: &str) -> String {
    if detail.is_empty() { String::new() } else { format!(": {detail}") }
}

fn code_in_words(code: &str) -> String {
    if code.is_empty() { String::new() } else { format!(" ({code})") }
}
