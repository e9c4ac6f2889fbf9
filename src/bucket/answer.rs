//! Requests to a store, and the parsing of their answers.

use std::time::{Duration, SystemTime};

use ureq::http::{HeaderMap, Response};

use super::error::BucketError;
use super::objects::Tag;
use super::refusal::Unwelcome;
use super::requests::Operation;
use super::xml;
use crate::client::{ClientError, NetworkFault, network, read_capped, retry_after};
use crate::format::FormatError;
use crate::merkle::Hash;

/// Size limit of an error's body. The rest is not read.
pub(super) const MAX_ERROR_BYTES: usize = 64 * 1024;

/// A request before it is signed.
pub(super) struct Call<'a> {
    pub operation: Operation,
    pub method: &'static str,
    /// The key in the bucket, with the prefix; empty for the bucket itself.
    pub key: String,
    pub parameters: &'a [(&'a str, &'a str)],
    pub headers: Vec<(&'static str, String)>,
    pub body: &'a [u8],
    /// SHA-256 of the body, if it is known.
    pub sha256: Option<Hash>,
    /// Size limit of a successful answer's body.
    pub limit: usize,
}

/// A successful answer, or the outcome of a condition.
pub(super) struct Answer {
    pub url: String,
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

/// Reads an answer. Returns an error unless it is successful or the outcome of a condition.
pub(super) fn receive(
    call: &Call<'_>,
    url: String,
    mut response: Response<ureq::Body>,
    received: &mut usize,
    secrets: &[&str],
) -> Result<Answer, BucketError> {
    let status = response.status().as_u16();
    let is_wanted = (200..300).contains(&status);
    let limit = if is_wanted { call.limit } else { MAX_ERROR_BYTES };
    let too_large = |seen| BucketError::TooLarge { url: url.clone(), limit, seen };
    let promised = response.body().content_length().filter(|length| *length > limit as u64);
    if let Some(promised) = promised.filter(|_| is_wanted && !call.operation.is_write()) {
        return Err(too_large(promised));
    }
    // Read one byte more than allowed, to detect a body that is too large.
    let body = read_capped(&mut response, limit.saturating_add(1));
    let body = match body {
        Ok(body) => body,
        // The status is enough for errors and writes.
        Err(_) if !is_wanted || call.operation.is_write() => Vec::new(),
        Err(e) => return Err(no_answer(call, &url, &e.into())),
    };
    *received = body.len();
    let body = if is_wanted { body } else { hide(body, secrets) };
    let headers = response.headers();
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let is_outcome = match status {
        200..=299 | 304 | 412 | 416 => true,
        404 => matches!(xml::store_error(&body).code.as_str(), "NoSuchKey" | "NoSuchVersion"),
        _ => false,
    };
    if !is_outcome {
        let retry_after = retry_after(headers, SystemTime::now()).map(Duration::from_secs);
        let elsewhere = text("x-amz-bucket-region").or_else(|| text("location"));
        let (operation, date) = (call.operation, text("date"));
        return Err(
            Unwelcome { operation, url: &url, status, body: &body, retry_after, elsewhere, date }.error()
        );
    }
    if is_wanted && !call.operation.is_write() && body.len() > limit {
        return Err(too_large(body.len() as u64));
    }
    let answer = Answer { url, status, headers: response.headers().clone(), body };
    if is_wanted && call.method == "PUT" {
        answer.tag_of_write(call.operation)?;
    }
    Ok(answer)
}

/// Removes secrets from an error's body: gateways exist that show what they were sent, and errors are logged and shown.
fn hide(body: Vec<u8>, secrets: &[&str]) -> Vec<u8> {
    let text = String::from_utf8_lossy(&body);
    if !secrets.iter().any(|secret| text.contains(secret)) {
        return body;
    }
    let hidden = secrets.iter().fold(text.into_owned(), |text, secret| text.replace(secret, "(hidden)"));
    hidden.into_bytes()
}

pub(super) const fn method(operation: Operation) -> &'static str {
    match operation {
        Operation::Get | Operation::List => "GET",
        Operation::Create | Operation::Replace | Operation::Put => "PUT",
        Operation::Delete => "DELETE",
    }
}

/// The error of a request without an answer. The outcome of a write is unclear unless there was no connection to send
/// it on.
pub(super) fn no_answer(call: &Call<'_>, url: &str, error: &ureq::Error) -> BucketError {
    use std::io::ErrorKind as Kind;
    let cause = network(url, error);
    let is_refused_thread = matches!(cause, ClientError::Threads(_));
    let detail = match cause {
        // The certificate is wrong, so the client sent no request.
        error @ ClientError::Network { fault: NetworkFault::Certificate, .. } => {
            return BucketError::Client(error);
        }
        ClientError::Network { detail, .. } => detail,
        other => other.to_string(),
    };
    let not_sent = match error {
        ureq::Error::HostNotFound
        | ureq::Error::ConnectionFailed
        | ureq::Error::ConnectProxyFailed(_)
        | ureq::Error::Timeout(ureq::Timeout::Resolve | ureq::Timeout::Connect) => true,
        // HostUnreachable and NetworkUnreachable are not in this list: they can also end a connection after the request
        // was sent.
        ureq::Error::Io(e) => {
            is_refused_thread || matches!(e.kind(), Kind::ConnectionRefused | Kind::AddrNotAvailable)
        }
        _ => false,
    };
    let url = url.to_owned();
    if call.operation.is_write() && !not_sent {
        BucketError::Unclear { operation: call.operation, url, detail, retry_after: None }
    } else {
        BucketError::Unavailable { url, detail, retry_after: None }
    }
}

impl Answer {
    pub fn malformed(&self, expected: &str, seen: impl Into<String>) -> BucketError {
        BucketError::Malformed {
            url: self.url.clone(),
            source: FormatError::malformed("the answer", expected, seen),
        }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    pub fn tag(&self) -> Result<Tag, BucketError> {
        let header = self.header("etag").ok_or_else(|| self.malformed("a header ETag", "none"))?;
        Tag::parse(header).map_err(|source| BucketError::Malformed { url: self.url.clone(), source })
    }

    /// The tag of the version that a write made. An answer without a tag is not from an object store, so the outcome is
    /// unclear.
    pub fn tag_of_write(&self, operation: Operation) -> Result<Tag, BucketError> {
        self.tag().map_err(|e| BucketError::Unclear {
            operation,
            url: self.url.clone(),
            detail: format!("it answered {}, but {e}", self.status),
            retry_after: None,
        })
    }

    /// The error of an unexpected status. After a write, the outcome is unclear.
    pub fn unexpected(&self, operation: Operation, expected: &str) -> BucketError {
        if operation.is_write() {
            let detail = format!("expected {expected}, saw status {}", self.status);
            return BucketError::Unclear { operation, url: self.url.clone(), detail, retry_after: None };
        }
        self.malformed(expected, format!("status {}", self.status))
    }
}
