//! Sinks: receivers of events.

use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// One event on its way to a sink.
#[derive(Debug, Clone, Copy)]
pub struct Notification<'a> {
    /// The `id` in the line, by which receivers drop repeats. For a condition that ended or began again, it is the
    /// id of its first event, a word and the time.
    pub key: &'a str,
    /// One JSON object, without a newline.
    pub line: &'a str,
    /// Unix seconds of this try.
    pub now: u64,
    /// Set when the delivery is being closed: a sink that takes long may give up.
    pub stop: &'a AtomicBool,
}

/// Why a sink did not take an event. The event comes again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotDelivered {
    /// `http-status`, `exit-code` and so on. `/healthz` shows it to everybody.
    pub code: &'static str,
    /// The expected and the actual value. For the operator only: a command's output may contain secrets.
    pub why: String,
    /// How long the receiver asked to wait.
    pub retry_after: Option<Duration>,
    /// Whether the receiver refused this event: it may refuse it for ever, and accept others.
    pub refused: bool,
}

impl NotDelivered {
    /// A failure after which the delivery says when to try again.
    pub fn because(code: &'static str, why: impl Into<String>) -> Self {
        Self { code, why: why.into(), retry_after: None, refused: false }
    }
}

/// A receiver of events. Each has a thread of its own, and gets one event after the other.
pub trait Sink: Send + Sync {
    /// Delivers one event, within some seconds.
    ///
    /// # Errors
    /// [`NotDelivered`]: the same event comes again.
    fn send(&self, notification: &Notification<'_>) -> Result<(), NotDelivered>;
}
