//! The measurements of a run, counted as the answers come.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Serialize, Serializer};

use super::latencies::Histogram;
use crate::client::is_code;

/// Most kinds of errors that are told apart: a server could invent a new one for every answer.
const MAX_KINDS: usize = 64;

/// A kind of error.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct ErrorKind {
    /// HTTP status; `None` if there was no answer, or if one entry of a batch was refused.
    pub status: Option<u16>,
    /// `code` of the problem document, or `http` without one. Without an answer `connect`, `connection-closed` or
    /// `timeout`.
    pub code: String,
}

impl std::fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(status) = self.status {
            write!(f, "{status} ")?;
        }
        f.write_str(&self.code)
    }
}

/// The number of errors of each kind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Errors(BTreeMap<ErrorKind, u64>);

impl Errors {
    /// Counts an error; a malformed `code` counts as `http`.
    pub(super) fn count(&mut self, status: Option<u16>, code: Option<&str>) {
        let code = code.filter(|code| is_code(code)).unwrap_or("http").to_owned();
        let mut kind = ErrorKind { status, code };
        if self.0.len() >= MAX_KINDS && !self.0.contains_key(&kind) {
            kind = ErrorKind { status: None, code: "others".to_owned() };
        }
        *self.0.entry(kind).or_default() += 1;
    }

    /// Number of errors of all kinds.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.values().sum()
    }

    /// Each kind, with its number.
    pub fn kinds(&self) -> impl Iterator<Item = (&ErrorKind, u64)> {
        self.0.iter().map(|(kind, count)| (kind, *count))
    }
}

impl Serialize for Errors {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Row<'a> {
            #[serde(flatten)]
            kind: &'a ErrorKind,
            count: u64,
        }
        serializer.collect_seq(self.kinds().map(|(kind, count)| Row { kind, count }))
    }
}

/// The measurements of a run.
#[derive(Debug, Clone, Default)]
pub struct Measured {
    /// Requests answered with 200.
    pub answered: u64,
    /// Entries in them.
    pub entries: u64,
    /// Bytes of these entries.
    pub bytes: u64,
    /// Latencies of the answers with status 200; with a rate, from when the request was due.
    pub latency: Histogram,
    /// Latencies of the answers with status 429, from when the request was sent.
    pub busy: Histogram,
    /// All other answers, and requests without one.
    pub errors: Errors,
    /// Requests that were due before the end and not sent, because no writer was free.
    pub unsent: u64,
    /// Number of entries that were not signed yet when they were due.
    pub signing_waits: u64,
    /// From the start to the planned end, or to the last answer after it.
    pub elapsed: Duration,
    /// Share of that time for which the sending thread was at work, 0 to 1. Close to 1 the generator is the limit, not
    /// the log.
    pub generator_busy: f64,
}

impl Measured {
    /// Entries acknowledged per second.
    #[must_use]
    pub fn per_second(&self) -> f64 {
        self.over_time(self.entries)
    }

    /// Bytes of these entries per second.
    #[must_use]
    pub fn bytes_per_second(&self) -> f64 {
        self.over_time(self.bytes)
    }

    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    fn over_time(&self, count: u64) -> f64 {
        let seconds = self.elapsed.as_secs_f64();
        if seconds > 0.0 { count as f64 / seconds } else { 0.0 }
    }
}

/// The progress of a run.
#[derive(Debug, Clone, Copy, Default)]
pub struct Progress {
    /// Since the start.
    pub elapsed: Duration,
    /// Entries acknowledged.
    pub entries: u64,
    /// Entries acknowledged over the last second.
    pub last_second: u64,
    /// 99 % of the answers took at most this.
    pub p99: Duration,
    /// Answers with status 429.
    pub busy: u64,
    /// Errors.
    pub errors: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::connection::ConnectionError;

    #[test]
    fn errors_are_counted_by_status_and_code_and_no_server_can_invent_too_many() {
        let mut errors = Errors::default();
        errors.count(Some(503), Some("storage"));
        errors.count(Some(503), Some("storage"));
        errors.count(Some(502), Some("\u{1b}[31m"));
        errors.count(None, Some(ConnectionError::Timeout.code()));
        let told: Vec<String> = errors.kinds().map(|(kind, count)| format!("{kind} {count}")).collect();
        assert_eq!(told, ["timeout 1", "502 http 1", "503 storage 2"]);
        let json = serde_json::to_value(&errors).unwrap();
        assert_eq!(json[2], serde_json::json!({ "status": 503, "code": "storage", "count": 2 }));
        (0..1_000).for_each(|n| errors.count(Some(n), None));
        assert_eq!(errors.kinds().count(), MAX_KINDS + 1);
        assert_eq!(errors.total(), 1_004);
    }
}
