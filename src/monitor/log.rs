//! One followed log, as the threads of the monitor share it.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use super::delivery::Delivery;
use super::error::FollowError;
use super::event::{Code, Event};
use super::inbox::Inbox;
use super::settings::{LogSettings, MonitorSettings, OnProgress};
use super::signal::Signal;
use crate::checkpoint::origin_hash;
use crate::client::LogClient;
use crate::merkle::{Hash, TreeSize};

/// A head all of whose entries this monitor re-hashed, and which it serves to others.
#[derive(Debug, Clone)]
pub struct Vouched {
    /// The note, with only the signatures that were checked.
    pub note: String,
    pub size: TreeSize,
    pub root: Hash,
}

/// The state of a followed log, for the page, the metrics and `/healthz`.
#[derive(Debug, Clone, Default)]
pub struct LogStatus {
    /// The head that the monitor vouches for.
    pub vouched: Option<Vouched>,
    /// Entries re-hashed.
    pub cursor: TreeSize,
    /// Entries below this index were never looked at.
    pub start: TreeSize,
    /// Entries that the log has signed.
    pub target: TreeSize,
    /// When the log last answered, seconds since 1970.
    pub asked: Option<u64>,
    /// When it last grew or was cosigned, seconds since 1970.
    pub alive: u64,
    /// Why it could not be followed when it was last asked.
    pub fault: Option<String>,
    /// The fault of the monitor that keeps it from following or judging the log.
    pub own_fault: Option<String>,
    /// Entries re-hashed since the start of the program.
    pub entries: u64,
    /// Forks found since the start of the program.
    pub forks: u64,
    /// The latest cosignature of each witness, seconds since 1970.
    pub witnesses: BTreeMap<String, u64>,
}

/// A followed log: its settings, what the monitor found, and what others sent.
#[derive(Debug)]
pub struct FollowedLog {
    pub settings: Arc<LogSettings>,
    /// SHA-256 of its origin, which paths contain.
    pub hash: Hash,
    /// Heads and forks that others sent.
    pub inbox: Signal<Inbox>,
    status: Mutex<LogStatus>,
}

impl FollowedLog {
    pub fn new(settings: Arc<LogSettings>) -> Self {
        let hash = origin_hash(&settings.origin);
        Self { settings, hash, inbox: Signal::default(), status: Mutex::default() }
    }

    pub fn origin(&self) -> &str {
        self.settings.origin.as_str()
    }

    pub fn status(&self) -> LogStatus {
        self.report(|status| status.clone())
    }

    pub fn report<R>(&self, change: impl FnOnce(&mut LogStatus) -> R) -> R {
        change(&mut self.status.lock().expect("no panic while the lock is held"))
    }
}

/// The tools that a follower's parts share.
pub struct Tools {
    pub log: Arc<FollowedLog>,
    pub monitor: Arc<MonitorSettings>,
    pub client: LogClient,
    pub delivery: Arc<Delivery>,
    /// Raised when the monitor vouches for a head of another size.
    pub vouched: Arc<Signal<u64>>,
    /// Set when the monitor stops.
    pub stop: Arc<AtomicBool>,
    /// Told of each window of entries.
    pub progress: OnProgress,
}

impl Tools {
    pub fn settings(&self) -> &LogSettings {
        &self.log.settings
    }

    pub fn origin(&self) -> &str {
        self.log.origin()
    }

    pub fn state_file(&self) -> PathBuf {
        self.monitor.dir.join("logs").join(format!("{}.json", self.log.hash.to_hex()))
    }

    pub const fn tiles(&self) -> &LogClient {
        &self.client
    }

    pub fn now(&self) -> u64 {
        (self.monitor.clock)()
    }

    /// An event about the log. `subject` are the fields that tell it from other events with this code, as in
    /// [`EventId::of`](super::event::EventId::of).
    pub fn event(&self, code: Code, subject: &[&dyn Display], message: impl Into<String>) -> Event {
        let subject: Vec<String> = subject.iter().map(ToString::to_string).collect();
        let subject: Vec<&str> = subject.iter().map(String::as_str).collect();
        Event::new(code, Some(self.origin()), &subject, self.now(), message)
    }

    /// Fails once the monitor stops.
    pub fn check_stop(&self) -> Result<(), FollowError> {
        if self.stop.load(Ordering::Relaxed) { Err(FollowError::Stopped) } else { Ok(()) }
    }
}
