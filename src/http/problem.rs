//! Errors as clients see them: RFC 9457 `application/problem+json` with a stable `code`.
//!
//! Each server has its own error enum and one [`problem_table!`] that gives each variant its status, code and
//! pause. Errors that every server of this program can answer with are in [`RequestError`].

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::cache;
use super::outcomes::Outcome;
use crate::format::{FormatError, to_json};

/// A row of a server's problem table: the answer to an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// The status, and the code that tells the error from others with that status.
    pub outcome: Outcome,
    /// Seconds after which the same request may succeed; `None` where waiting does not help.
    pub retry_after: Option<u64>,
}

/// Gives an error enum its table: `row`, and `COUNTED`, the outcomes that `/metrics` counts.
///
/// `shared` variants wrap an error with a table of its own. The other rows read
/// `pattern => STATUS "code" retry seconds`, where `retry` may be left out. The first match counts.
macro_rules! problem_table {
    (
        $error:ty {
            shared { $($wrapping:pat => $wrapped:expr,)* }
            counted { $($pattern:pat => $status:ident $code:literal $(retry $seconds:expr)?,)* }
            uncounted { $($pattern2:pat => $status2:ident $code2:literal $(retry $seconds2:expr)?,)* }
        }
    ) => {
        impl $error {
            /// The outcomes of its own that `/metrics` counts; some stand here more than once.
            pub(crate) const COUNTED: &[$crate::http::outcomes::Outcome] =
                &[$((axum::http::StatusCode::$status, $code)),*];

            /// The only place that maps errors to statuses, codes and pauses.
            pub(crate) fn row(&self) -> $crate::http::problem::Row {
                match self {
                    $($wrapping => $wrapped.row(),)*
                    $($pattern => problem_table!(@row $status $code $($seconds)?),)*
                    $($pattern2 => problem_table!(@row $status2 $code2 $($seconds2)?),)*
                }
            }
        }
    };
    (@row $status:ident $code:literal) => {
        $crate::http::problem::Row { outcome: (axum::http::StatusCode::$status, $code), retry_after: None }
    };
    (@row $status:ident $code:literal $seconds:expr) => {
        $crate::http::problem::Row {
            outcome: (axum::http::StatusCode::$status, $code),
            retry_after: Some($seconds),
        }
    };
}
pub(crate) use problem_table;

/// Errors that any server of this program can answer with.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The path, the query, a header or the body is malformed.
    #[error(transparent)]
    Malformed(#[from] FormatError),
    /// The body is larger than the route allows.
    #[error(transparent)]
    TooLarge(FormatError),
    /// The connection ended before the body did.
    #[error("the request body is incomplete: {0}; send it again")]
    CutShort(String),
    /// The body arrived too slowly.
    #[error("the request body arrived too slowly: {0}; send it again")]
    TooSlow(String),
    /// The body is compressed or otherwise encoded.
    #[error("request bodies must not be encoded: expected no Content-Encoding, saw {0}")]
    Encoded(String),
    /// The body has a transfer coding besides chunked.
    #[error("expected no Transfer-Encoding other than chunked, saw {0}")]
    TransferCoding(String),
    /// Too many bodies are being received or checked. Servers answer it with an error of their own.
    #[error("too many requests are being received; try again in a moment")]
    Busy,
    /// Answers that clients have not read yet take too much memory.
    #[error("too many answers are waiting for their clients to read them; ask again in a moment")]
    TooManyAnswers,
    /// An internal error.
    #[error("the server failed to answer; its operator finds the reason in its log")]
    Internal,
    /// No route has this path.
    #[error("{path} is not a route of {hint}")]
    NoRoute {
        /// The path of the request, quoted.
        path: String,
        /// The server, and where its routes are listed.
        hint: &'static str,
    },
    /// The route exists, but not for this method.
    #[error("{method} is not allowed here: {hint}")]
    WrongMethod {
        /// The method of the request, quoted.
        method: String,
        /// The methods of the server's routes.
        hint: &'static str,
    },
}

problem_table! {
    RequestError {
        shared {}
        counted {
            Self::Malformed(_) => BAD_REQUEST "malformed",
            Self::CutShort(_) => BAD_REQUEST "body-cut-short",
            Self::TooSlow(_) => REQUEST_TIMEOUT "body-too-slow",
            Self::TooLarge(_) => PAYLOAD_TOO_LARGE "too-large",
            Self::Encoded(_) => UNSUPPORTED_MEDIA_TYPE "encoded",
            Self::Internal => INTERNAL_SERVER_ERROR "internal",
        }
        uncounted {
            Self::TransferCoding(_) => NOT_IMPLEMENTED "transfer-coding",
            Self::Busy | Self::TooManyAnswers => SERVICE_UNAVAILABLE "busy" retry 1,
            Self::NoRoute { .. } => NOT_FOUND "no-route",
            Self::WrongMethod { .. } => METHOD_NOT_ALLOWED "wrong-method",
        }
    }
}

impl IntoResponse for RequestError {
    fn into_response(self) -> Response {
        render(self.row(), self.to_string(), Particulars::default())
    }
}

#[derive(Serialize)]
struct ProblemDocument<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    code: &'a str,
    detail: String,
    /// Position in the batch of the entry that the problem is about, from zero.
    #[serde(skip_serializing_if = "Option::is_none")]
    entry: Option<usize>,
    /// The problem of that entry, without the rest of the batch.
    #[serde(skip_serializing_if = "Option::is_none")]
    entry_detail: Option<String>,
    /// The server that takes the request instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    holder: Option<String>,
}

/// What only some problems say besides the rest.
#[derive(Debug, Default)]
pub struct Particulars {
    /// The entry of a batch that the problem is about, and the problem of that entry alone.
    pub entry: Option<(usize, String)>,
    /// The URL of the server that takes the request instead.
    pub holder: Option<String>,
}

/// Renders an error as a problem document, and logs it if it is internal.
pub fn render(row: Row, detail: String, particulars: Particulars) -> Response {
    let (entry, entry_detail) = particulars.entry.unzip();
    let (status, code) = row.outcome;
    if status == StatusCode::INTERNAL_SERVER_ERROR {
        log_failure(code, &detail);
    }
    let document = ProblemDocument {
        r#type: format!("urn:treehead:problem:{code}"),
        title: status.canonical_reason().unwrap_or("Error"),
        status: status.as_u16(),
        code,
        detail,
        entry,
        entry_detail,
        holder: particulars.holder,
    };
    let answer = cache::answer("application/problem+json", cache::NEVER, to_json(&document));
    let mut answer = (status, answer).into_response();
    if let Some(seconds) = row.retry_after {
        answer.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    answer
}

/// Logs a request that failed by the server's own fault.
pub fn log_failure(code: &str, error: &str) {
    tracing::error!(code, error, "a request failed");
}

/// Runs work that reads files or hashes much, off the threads that serve connections.
///
/// # Errors
/// [`RequestError::Internal`] if the work panics: sled may, on files that it did not expect.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, RequestError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| RequestError::Internal)
}
