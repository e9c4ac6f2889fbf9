//! Maps a store's status and code to an error: the request may have been done, was refused, or can be retried.

use std::time::Duration;

use super::error::{BucketError, Refusal};
use super::requests::Operation;
use super::xml::{self, StoreError};
use crate::client::printable;
use crate::format::{FormatError, quote_bytes};

/// An answer that is neither successful nor the outcome of a condition.
pub(super) struct Unwelcome<'a> {
    pub operation: Operation,
    pub url: &'a str,
    pub status: u16,
    pub body: &'a [u8],
    pub retry_after: Option<Duration>,
    /// The region that the store named in a header, or the location that it redirects to.
    pub elsewhere: Option<String>,
    /// The store's time, from the answer's `Date` header.
    pub date: Option<String>,
}

impl Unwelcome<'_> {
    /// Converts the answer to an error.
    pub fn error(self) -> BucketError {
        let error = xml::store_error(self.body);
        let detail = self.detail(&error);
        let (url, operation, retry_after) = (self.url.to_owned(), self.operation, self.retry_after);
        let said =
            |detail: String| format!("it answered {}{}: {detail}", self.status, in_brackets(&error.code));
        match (self.status, error.code.as_str()) {
            // The store limits requests before it processes them.
            (429, _) | (503, "SlowDown" | "SlowDownRead" | "SlowDownWrite" | "TooManyRequests") => {
                BucketError::Busy { url, detail, retry_after }
            }
            // The body arrived damaged, and the store did not keep it.
            (400, "BadDigest" | "XAmzContentSHA256Mismatch" | "IncompleteBody") => {
                BucketError::Unavailable { url, detail: said(detail), retry_after }
            }
            (501 | 507, _) => self.refused(&error, detail),
            // Another request for the same object was in progress, or the store failed partway.
            (408 | 409 | 500..=599, _) | (400, "RequestTimeout") => {
                let detail = said(detail);
                if operation.is_write() {
                    BucketError::Unclear { operation, url, detail, retry_after }
                } else {
                    BucketError::Unavailable { url, detail, retry_after }
                }
            }
            // Proxies and sign-in pages can answer with any status.
            (404, "") if operation.is_write() => {
                BucketError::Unclear { operation, url, detail: said(detail), retry_after }
            }
            (404, "") => self.malformed(),
            _ => self.refused(&error, detail),
        }
    }

    fn detail(&self, error: &StoreError) -> String {
        let mut detail = match (&*error.message, self.body) {
            ("", []) => "no message".to_owned(),
            ("", body) if error.code.is_empty() => quote_bytes(body),
            (message, _) => printable(message.chars().take(500).collect::<String>().trim_end_matches('.')),
        };
        let region = Some(&error.region).filter(|region| !region.is_empty());
        if let Some(place) = region.or(self.elsewhere.as_ref()) {
            detail += &format!(" (the bucket is at {})", printable(&crate::format::quote(place)));
        }
        detail
    }

    fn malformed(&self) -> BucketError {
        let expected = "an error in XML with a Code";
        let seen = format!("status {} and {}", self.status, quote_bytes(self.body));
        let source = FormatError::malformed("the answer", expected, seen);
        BucketError::Malformed { url: self.url.to_owned(), source }
    }

    fn refused(&self, error: &StoreError, mut detail: String) -> BucketError {
        let refusal = meaning(self.status, &error.code);
        if let (Refusal::Clock, Some(date)) = (refusal, &self.date) {
            let own = crate::release::format_time(crate::clock::now());
            detail += &format!(" (the store's clock says {}, this machine's {own})", printable(date));
        }
        let (url, code, status) = (self.url.to_owned(), error.code.clone(), self.status);
        BucketError::Refused { url, status, code, refusal, detail }
    }
}

/// The meaning of a refusal.
fn meaning(status: u16, code: &str) -> Refusal {
    match code {
        "RequestTimeTooSkewed" | "RequestExpired" => Refusal::Clock,
        "InvalidAccessKeyId" | "XAdminUserNotFound" => Refusal::UnknownKey,
        "SignatureDoesNotMatch" => Refusal::Signature,
        "ExpiredToken" | "InvalidToken" | "TokenRefreshRequired" => Refusal::Token,
        "NoSuchBucket" => Refusal::NoBucket,
        "PermanentRedirect"
        | "TemporaryRedirect"
        | "Redirect"
        | "AuthorizationHeaderMalformed"
        | "IllegalLocationConstraintException" => Refusal::Region,
        "NotImplemented" => Refusal::NotImplemented,
        "QuotaExceeded" | "InsufficientStorage" | "XMinioStorageFull" => Refusal::Full,
        "AccessDenied" | "AllAccessDisabled" | "AccountProblem" => Refusal::Denied,
        _ => match status {
            301 | 307 | 308 => Refusal::Region,
            401 | 403 => Refusal::Denied,
            501 => Refusal::NotImplemented,
            507 => Refusal::Full,
            _ => Refusal::Other,
        },
    }
}

fn in_brackets(code: &str) -> String {
    if code.is_empty() { String::new() } else { format!(" ({code})") }
}
