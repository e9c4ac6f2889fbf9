//! One followed log, as the threads of the monitor share it.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use super::delivery::Delivery;
use super::error::FollowError;
use super::event::{Code, Event};
use super::inbox::Inbox;
use super::settings::{LogSettings, OnProgress};
use super::signal::Signal;
use crate::checkpoint::Origin;
use crate::client::{LogClient, RemoteTiles};
use crate::clock::Clock;
use crate::disk::DiskIo;
use crate::disk::evidence_dir::EvidenceDir;
use crate::merkle::{Hash, TreeSize};

/// SHA-256 of an origin, which paths contain.
#[must_use]
pub fn origin_hash(origin: &Origin) -> Hash {
    Hash::digest(origin.as_str().as_bytes())
}

/// A head all of whose entries this monitor re-hashed, and which it serves to others.
#[derive(Debug, Clone)]
pub struct Vouched {
    /// The note, with only the signatures that were checked.
    pub note: String,
    /// Size of its tree.
    pub size: TreeSize,
    /// Its root.
    pub root: Hash,
}

/// How far the monitor has come with a log.
#[derive(Debug, Clone, Default)]
pub struct LogProgress {
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
    /// Entries re-hashed since the start of the program.
    pub entries: u64,
    /// Forks found since the start of the program.
    pub forks: u64,
    /// The latest cosignature of each witness, seconds since 1970.
    pub witnesses: BTreeMap<String, u64>,
}

#[derive(Debug, Default)]
struct Status {
    vouched: Option<Vouched>,
    progress: LogProgress,
    own_fault: Option<String>,
}

/// A followed log: its settings, what the monitor found, and what others sent.
#[derive(Debug)]
pub struct FollowedLog {
    /// Its settings.
    pub settings: Arc<LogSettings>,
    /// SHA-256 of its origin, which paths contain.
    pub hash: Hash,
    /// Heads and forks that others sent.
    pub inbox: Inbox,
    status: Mutex<Status>,
}

impl FollowedLog {
    /// A log of which nothing is known yet.
    pub fn new(settings: Arc<LogSettings>) -> Self {
        let hash = origin_hash(&settings.origin);
        Self { settings, hash, inbox: Inbox::default(), status: Mutex::default() }
    }

    /// Its origin.
    pub fn origin(&self) -> &str {
        self.settings.origin.as_str()
    }

    fn status(&self) -> MutexGuard<'_, Status> {
        self.status.lock().expect("no panic while the lock is held")
    }

    /// The head that the monitor vouches for.
    pub fn vouched(&self) -> Option<Vouched> {
        self.status().vouched.clone()
    }

    /// Vouches for a head. Returns whether its size differs from that of the head before.
    pub fn vouch(&self, head: Vouched) -> bool {
        let size = head.size;
        self.status().vouched.replace(head).is_none_or(|before| before.size != size)
    }

    /// How far the monitor has come.
    pub fn progress(&self) -> LogProgress {
        self.status().progress.clone()
    }

    /// Changes the progress.
    pub fn report(&self, change: impl FnOnce(&mut LogProgress)) {
        change(&mut self.status().progress);
    }

    /// The fault of the monitor that keeps it from following or judging the log.
    pub fn own_fault(&self) -> Option<String> {
        self.status().own_fault.clone()
    }

    /// Sets or clears the fault of the monitor.
    pub fn set_own_fault(&self, fault: Option<String>) {
        self.status().own_fault = fault;
    }
}

/// The tools that a follower's parts share.
pub struct Tools {
    /// The log.
    pub log: Arc<FollowedLog>,
    /// A client for it.
    pub client: LogClient,
    /// Most requests at once.
    pub parallel: usize,
    /// Delivers events.
    pub delivery: Arc<Delivery>,
    /// Raised when the monitor vouches for a head of another size.
    pub vouched: Arc<Signal<u64>>,
    /// Labels of the peers that are asked.
    pub peers: Vec<String>,
    /// Forks on the disk.
    pub evidence: EvidenceDir,
    /// The state file.
    pub path: PathBuf,
    /// Makes writes durable.
    pub io: Arc<dyn DiskIo>,
    /// The time of day.
    pub clock: Clock,
    /// Set when the monitor stops.
    pub stop: Arc<AtomicBool>,
    /// Told of each window of entries.
    pub progress: OnProgress,
}

impl Tools {
    /// The log's settings.
    pub fn settings(&self) -> &LogSettings {
        &self.log.settings
    }

    /// The log's origin.
    pub fn origin(&self) -> &str {
        self.log.origin()
    }

    /// The log's tiles.
    pub const fn tiles(&self) -> RemoteTiles<'_> {
        RemoteTiles(&self.client)
    }

    /// Seconds since 1970.
    pub fn now(&self) -> u64 {
        (self.clock)()
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
