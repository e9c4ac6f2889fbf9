//! The client's error.

use super::response::is_code;
use crate::checkpoint::CheckpointError;
use crate::format::FormatError;
use crate::merkle::{Hash, ProofError, TreeSize};
use crate::note::NoteError;
use crate::threads::ThreadError;

/// A log's answer that could not be fetched, or failed a check.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The address is malformed.
    #[error("not the address of a log: expected http://HOST[:PORT][/PREFIX] or https://..., saw {0}")]
    Address(String),
    /// The contact cannot be sent in a header.
    #[error(
        "not a contact: expected 1 to 200 characters of printable ASCII, such as an e-mail address, saw {0}"
    )]
    Contact(String),
    /// The environment names a malformed proxy address.
    #[error(
        "the environment variable {variable} is not a proxy address: expected http://HOST:PORT, https://... or socks5://...; correct it, or list the host in no_proxy"
    )]
    Proxy {
        /// The variable that applies to the address.
        variable: &'static str,
    },
    /// There are no trusted certificates, so no `https` server can be checked.
    #[error(
        "no trusted certificates were found, so https servers can't be checked{}: install the system's (package ca-certificates), or name a file with --cacert or SSL_CERT_FILE",
        because(why)
    )]
    NoCertificates {
        /// The system's error, if there is one.
        why: String,
    },
    /// No answer, or not all of it.
    #[error("no answer from {url}: {detail}; {}", fault.advice())]
    Network {
        /// The URL asked.
        url: String,
        /// The kind of fault.
        fault: NetworkFault,
        /// The fault, in words.
        detail: String,
    },
    /// An answer that is a refusal.
    #[error("{url} answered {status}{}{}", code.as_ref().map(|c| format!(" ({})", c.as_str())).unwrap_or_default(), said(detail))]
    Status {
        /// The URL asked.
        url: String,
        /// HTTP status.
        status: u16,
        /// `code` of the problem document, if it was one.
        code: Option<ProblemCode>,
        /// `detail` of the problem document, or the beginning of the body; empty if there is neither.
        detail: String,
        /// Seconds in the log's `Retry-After`.
        retry_after: Option<u64>,
        /// The entry of a batch that the problem is about.
        entry: Option<Box<RefusedEntry>>,
    },
    /// An answer larger than any correct one.
    #[error("{url} sent an unreadable answer: {source}")]
    TooLarge {
        /// The URL asked.
        url: String,
        /// The limit, and the size seen.
        source: FormatError,
    },
    /// The answer is for a smaller tree than the known head: a cache served an old one.
    #[error(
        "{url} answered for an older tree: expected at least the {expected} entries of the head fetched before, saw {seen}; a cache in front of the log stores answers that it must not (docs/http.md lists what it may store): ask again later, or bypass the cache"
    )]
    Older {
        /// The URL asked.
        url: String,
        /// Size of the tree of the known head.
        expected: TreeSize,
        /// Size of the tree that the answer is for.
        seen: u64,
    },
    /// A malformed answer.
    #[error("{url} sent an unreadable answer: {source}")]
    Malformed {
        /// The URL asked.
        url: String,
        /// The error.
        source: FormatError,
    },
    /// A tile or bundle whose length does not match its path.
    #[error("{url} is not what its path says: {source}")]
    Length {
        /// The URL asked.
        url: String,
        /// Set for an entry bundle, unset for a tile.
        is_bundle: bool,
        /// Set if it is too short, unset if it is too long.
        is_short: bool,
        /// Expected and seen.
        source: FormatError,
    },
    /// The answer is not a tree head signed by a trusted log. Anyone on the path can have made it, such as a network's
    /// sign-in page, so it proves nothing about the log.
    #[error("{url} has no tree head signed by a trusted log: {source}{came}")]
    Head {
        /// The URL asked.
        url: String,
        /// Media type, length and first bytes of an answer that is not a note, in words.
        came: String,
        /// The error.
        source: Box<CheckpointError>,
    },
    /// Tiles or proofs that do not hash to the signed root.
    #[error("the log's tiles do not hash to the root that it signed: {0}")]
    Proof(#[from] ProofError),
    /// Entries that do not hash to the signed root.
    #[error(
        "the log's entries do not hash to the root that it signed at tree size {size}: expected {expected}, saw {seen}"
    )]
    Entries {
        /// The signed size.
        size: TreeSize,
        /// The signed root.
        expected: Hash,
        /// The root computed from the entries.
        seen: Hash,
    },
    /// The system has no more threads.
    #[error(transparent)]
    Threads(#[from] ThreadError),
    /// The caller stopped the stream.
    #[error("stopped before everything was fetched")]
    Stopped,
}

fn because(why: &str) -> String {
    if why.is_empty() { String::new() } else { format!(" ({why})") }
}

fn said(detail: &str) -> String {
    if detail.is_empty() { String::new() } else { format!(": {detail}") }
}

/// The `code` of a problem document. Codes that need an answer of their own have a variant.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProblemCode {
    /// The log waits for its operator.
    RolledBack,
    /// The log has another release with this sequence number.
    SequenceTaken,
    /// The log does not know the publisher's key.
    UnknownPublisher,
    /// The server stands by while another one appends to the log.
    Standby {
        /// The URL at which the other one takes entries, as the server says.
        holder: Option<String>,
    },
    /// Any other code: lower-case letters and hyphens.
    Other(String),
}

impl ProblemCode {
    /// Parses a code; `None` if it has other characters than a code may have.
    pub(crate) fn parse(text: String) -> Option<Self> {
        Some(match text.as_str() {
            "rolled-back" => Self::RolledBack,
            "sequence-taken" => Self::SequenceTaken,
            "unknown-publisher" => Self::UnknownPublisher,
            "standby" => Self::Standby { holder: None },
            other if is_code(other) => Self::Other(text),
            _ => return None,
        })
    }

    /// The code as the log writes it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::RolledBack => "rolled-back",
            Self::SequenceTaken => "sequence-taken",
            Self::UnknownPublisher => "unknown-publisher",
            Self::Standby { .. } => "standby",
            Self::Other(code) => code,
        }
    }
}

/// The entry for which a log refused a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedEntry {
    /// Its position in the batch, from zero.
    pub at: usize,
    /// Its problem, without the rest of the batch.
    pub detail: String,
}

/// The kind of failure of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum NetworkFault {
    /// No connection: the name is unknown, or nothing listens there.
    Unreachable,
    /// The server's certificate is not trusted, or is for another name or time.
    Certificate,
    /// The time limit passed.
    Timeout,
    /// The connection ended before the answer did.
    Closed,
    /// The answer is not HTTP/1.1, is not compressed as its header says, or has an endless header.
    Garbled,
}

impl ClientError {
    /// Returns true if a later try may succeed. It can't if the log waits for its operator.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        match self {
            // Someone has to repair a log that was rolled back, or to install certificates.
            Self::Status { code: Some(ProblemCode::RolledBack), .. }
            | Self::Network { fault: NetworkFault::Certificate, .. } => false,
            // Proxies send 520 to 524 if they get no answer from the log. A server that sends `Retry-After` expects to
            // have recovered by then, whatever its fault.
            Self::Status { status: 408 | 429 | 502..=504 | 520..=524, .. }
            | Self::Status { status: 500..=599, retry_after: Some(_), .. }
            | Self::Network { .. }
            | Self::Threads(_) => true,
            _ => false,
        }
    }

    /// The log's own code for its refusal, if it gave one.
    #[must_use]
    pub const fn problem_code(&self) -> Option<&ProblemCode> {
        match self {
            Self::Status { code, .. } => code.as_ref(),
            _ => None,
        }
    }

    /// The stable code, for machines: lower-case letters and hyphens.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Address(_) => "address",
            Self::Contact(_) => "contact",
            Self::Proxy { .. } => "proxy",
            Self::NoCertificates { .. } => "no-certificates",
            Self::Network { fault, .. } => fault.code(),
            Self::Status { status, .. } => match status {
                300..=399 => "redirect",
                404 | 410 => "not-found",
                408 | 429 | 503 => "busy",
                500..=599 => "server-error",
                _ => "refused",
            },
            Self::TooLarge { .. } => "too-large",
            Self::Malformed { .. } => "malformed",
            Self::Older { .. } => "older-answer",
            Self::Length { is_bundle, is_short, .. } => match (is_bundle, is_short) {
                (true, true) => "truncated-bundle",
                (true, false) => "oversized-bundle",
                (false, true) => "truncated-tile",
                (false, false) => "oversized-tile",
            },
            Self::Head { source, .. } => match **source {
                CheckpointError::Format(_) | CheckpointError::Note(NoteError::Format(_)) => {
                    "not-a-checkpoint"
                }
                // As a verdict names them.
                CheckpointError::Note(_) | CheckpointError::UnsignedExtensions { .. } => {
                    "checkpoint-signature"
                }
                CheckpointError::WrongOrigin { .. } => "unknown-log",
            },
            Self::Proof(_) => "wrong-tile",
            Self::Entries { .. } => "wrong-bundle",
            Self::Stopped => "stopped",
            Self::Threads(_) => "no-threads",
        }
    }
}

impl NetworkFault {
    /// The [`ClientError::code`] of the fault.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Certificate => "certificate",
            Self::Timeout => "timeout",
            Self::Closed => "closed",
            Self::Garbled => "garbled",
        }
    }

    /// The next step for the user.
    const fn advice(self) -> &'static str {
        match self {
            Self::Certificate => {
                "the server's certificate is not trusted: give the certificate of its authority with --cacert or SSL_CERT_FILE, or check the address and this machine's clock"
            }
            Self::Timeout => {
                "is a server running there? A log that waits for its witnesses answers late: ask its /healthz"
            }
            _ => "is a server running there, and is the address right?",
        }
    }
}
