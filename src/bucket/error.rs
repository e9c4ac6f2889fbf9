//! The one error of the bucket kit.

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
    /// The connection can't be set up: a proxy's address, certificates.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// There are no credentials, or they can't be used.
    #[error("{0}")]
    Credentials(#[from] super::CredentialsError),
    /// A write that may or may not have happened. Read the object and compare it.
    #[error("could not tell whether {operation} of {url} was done: {detail}")]
    Unclear {
        /// The request.
        operation: Operation,
        /// The object.
        url: String,
        /// The failure, in words.
        detail: String,
        /// The pause that the store asked for.
        retry_after: Option<Duration>,
    },
    /// The store refuses for a while, and has done nothing.
    #[error("{url} is busy, and asks to send fewer requests{}: {detail}", asked(*retry_after))]
    Busy {
        /// The object.
        url: String,
        /// The store's answer.
        detail: String,
        /// The pause that it asked for.
        retry_after: Option<Duration>,
    },
    /// No answer, or none that can be used; nothing was done.
    #[error("no answer from {url}: {detail}")]
    Unavailable {
        /// The object.
        url: String,
        /// The failure, in words.
        detail: String,
        /// The pause that the store asked for.
        retry_after: Option<Duration>,
    },
    /// The store refuses, and will refuse again until somebody changes something.
    #[error("{url} answered {status}{}{}{}", code_in_words(code), said(detail), refusal.advice())]
    Refused {
        /// The object.
        url: String,
        /// HTTP status.
        status: u16,
        /// The store's code, as `AccessDenied`; empty if it sent none.
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
        "{store} does not keep what a log in a bucket rests on: {findings}; use another store, or a newer version (docs/bucket.md lists those that were tested)"
    )]
    Lies {
        /// The store's address.
        store: String,
        /// The broken promises.
        findings: String,
    },
    /// The probe was not completed.
    #[error(
        "could not find out whether {store} keeps what a log in a bucket rests on: {findings}; try again"
    )]
    Untested {
        /// The store's address.
        store: String,
        /// The checks that failed.
        findings: String,
    },
    /// An answer that no object store gives, such as a network's sign-in page.
    #[error("{url} sent an answer that no object store gives: {source}")]
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
    /// The credentials do not permit it.
    Denied,
    /// The store does not know the access key.
    UnknownKey,
    /// The signature is wrong: another secret key, or a proxy that changes requests.
    Signature,
    /// The session token is expired or wrong.
    Token,
    /// The clocks differ too much.
    Clock,
    /// There is no such bucket.
    NoBucket,
    /// The bucket is in another region, or at another address.
    Region,
    /// The store can't do it; most often, it knows no conditional writes.
    NotImplemented,
    /// No room is left.
    Full,
    /// Anything else.
    Other,
}

impl Refusal {
    /// The next step for the user.
    const fn advice(self) -> &'static str {
        match self {
            Self::Denied => {
                "; allow these credentials to read, list and write in the bucket, and look for a rule of the bucket that denies it (s3:GetObject, s3:PutObject, s3:ListBucket, s3:DeleteObject)"
            }
            Self::UnknownKey => "; check the access key, and that it is for this store",
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
                "; the store may be too old for conditional writes: docs/bucket.md lists which ones have them"
            }
            Self::Full => "; free some space, or raise the quota",
            Self::Other => "",
        }
    }
}

impl BucketError {
    /// Returns true if the write may have been done: the caller must read the object before it writes again.
    #[must_use]
    pub const fn may_be_done(&self) -> bool {
        matches!(self, Self::Unclear { .. })
    }

    /// Returns true if a later try may succeed with nothing changed.
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
    pause.map(|pause| format!(" (not before {} s have passed)", pause.as_secs())).unwrap_or_default()
}

/// The store's words, if it sent any.
fn said(detail: &str) -> String {
    if detail.is_empty() { String::new() } else { format!(": {detail}") }
}

fn code_in_words(code: &str) -> String {
    if code.is_empty() { String::new() } else { format!(" ({code})") }
}
