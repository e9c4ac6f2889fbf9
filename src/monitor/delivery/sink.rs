//! What a sink is.

use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// One event on its way to a sink.
#[derive(Debug, Clone, Copy)]
pub struct Notification<'a> {
    /// Names what is told, so that a repeat can be dropped: the `id` in the line. For reminders, and for what
    /// ended or began again, it is the alert's with a word and the time of that behind it.
    pub key: &'a str,
    /// One JSON object, without a newline.
    pub line: &'a str,
    /// Unix seconds of this try.
    pub now: u64,
    /// Set when the desk is being closed: what takes long may give up.
    pub stop: &'a AtomicBool,
}

/// Why a delivery did not succeed. It is tried again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotDelivered {
    /// For everybody: `http-status`, `exit-code` and so on. Anybody may read the monitor's health.
    pub code: &'static str,
    /// For the operator alone: what was expected, and what was seen. A command's words may hold secrets.
    pub why: String,
    /// How long the receiver asked to wait.
    pub retry_after: Option<Duration>,
    /// Whether it is there and did not take this event: it may never, and take others.
    pub refused: bool,
}

impl NotDelivered {
    /// A failure after which the desk says when to try again.
    pub fn because(code: &'static str, why: impl Into<String>) -> Self {
        Self { code, why: why.into(), retry_after: None, refused: false }
    }
}

/// Somewhere that events go. Each has a thread of its own, and gets one event after the other.
pub trait Sink: Send + Sync {
    /// Delivers one event, within some seconds.
    ///
    /// # Errors
    /// [`NotDelivered`]: the same event comes again.
    fn send(&self, notification: &Notification<'_>) -> Result<(), NotDelivered>;
}
