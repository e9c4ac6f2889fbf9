//! What the threads of a monitor tell each other of a log, and its server tells the world.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::checkpoint::Origin;
use crate::checkpoint::{Checkpoint, LogSigned};
use crate::merkle::{Hash, TreeSize};
use crate::proof::fork::ProvenFork;

/// Heads that wait to be compared. A log signs a few in a minute; who has more waits.
const MAX_INBOX: usize = 64;
/// Those of them that anybody pushed: peers and witnesses find room all the same.
const MAX_PUSHED: usize = MAX_INBOX / 2;
/// Who showed a head that was pushed.
pub const PUSHED: &str = "gossip";
/// Forks that somebody proved and that wait to be told: one is enough to convict a log.
const MAX_ACCUSATIONS: usize = 4;
/// Heads that are kept of each peer.
const MAX_HISTORY: usize = 32;
/// Peers whose heads are kept.
const MAX_SOURCES: usize = 256;
/// Heads that are known to be parts of the tree, so that they need no proof again.
const MAX_KNOWN: usize = 4_096;

/// What became of a head that somebody showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It waits for a comparison.
    Pending,
    /// It is a part of the tree, or the tree is a part of it.
    Consistent,
    /// It contradicts the tree.
    Forked,
}

impl Verdict {
    /// The name, for the page and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Consistent => "consistent",
            Self::Forked => "forked",
        }
    }
}

/// A head that somebody showed.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Size of its tree.
    pub size: TreeSize,
    /// Its root.
    pub root: Hash,
    /// When it was last shown, seconds since 1970.
    pub last: u64,
    /// What became of it.
    pub verdict: Verdict,
}

/// How a peer fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// It said what can't be so.
    Lie,
    /// It did not answer.
    Silence,
    /// It has no head of this log: it does not follow it, has none yet, or is something else altogether.
    NoHead,
}

/// What is wrong with a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// How it fails.
    pub kind: FaultKind,
    /// In words.
    pub words: String,
}

/// What one peer showed.
#[derive(Debug, Clone, Default)]
pub struct Source {
    /// Its latest heads, oldest first.
    pub heads: VecDeque<Seen>,
    /// What is wrong with it now.
    pub fault: Option<Fault>,
}

/// A head on its way to be compared.
#[derive(Debug, Clone)]
pub struct Letter {
    /// Who showed it.
    pub source: String,
    /// The head; a key of the log's signed it.
    pub head: LogSigned<Checkpoint>,
}

/// Whether a head was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It is known, and consistent.
    Known,
    /// It will be compared.
    Queued,
    /// Too many are waiting.
    Full,
}

/// The head that this monitor vouches for.
#[derive(Debug, Clone)]
pub struct Vouched {
    /// The note, with the signatures that were checked.
    pub note: String,
    /// Size of its tree.
    pub size: TreeSize,
    /// Its root.
    pub root: Hash,
}

/// How far it is.
#[derive(Debug, Clone, Default)]
pub struct Progress {
    /// Entries re-hashed.
    pub cursor: TreeSize,
    /// Entries below were never looked at.
    pub start: TreeSize,
    /// Entries that the log has signed.
    pub target: TreeSize,
    /// When the log was last asked with success, seconds since 1970.
    pub asked: Option<u64>,
    /// When it last gave a sign of life.
    pub alive: u64,
    /// What is wrong with it now.
    pub fault: Option<String>,
    /// Entries re-hashed since the start of the program.
    pub entries: u64,
    /// Forks found since then.
    pub forks: u64,
    /// The latest cosignature of each witness.
    pub witnesses: BTreeMap<String, u64>,
}

#[derive(Debug, Default)]
struct Inner {
    vouched: Option<Vouched>,
    progress: Progress,
    sources: BTreeMap<String, Source>,
    inbox: VecDeque<Letter>,
    accusations: VecDeque<ProvenFork>,
    known: VecDeque<(TreeSize, Hash)>,
    stopped: bool,
}

/// One log.
#[derive(Debug)]
pub struct Board {
    /// Its identity.
    pub origin: Origin,
    /// SHA-256 of that, as paths have it.
    pub hash: Hash,
    inner: Mutex<Inner>,
    wake: Condvar,
}

impl Board {
    /// Nothing is known.
    pub fn new(origin: Origin) -> Self {
        let hash = Hash::digest(origin.as_str().as_bytes());
        Self { origin, hash, inner: Mutex::default(), wake: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no panic while it is held")
    }

    /// The head that is vouched for.
    pub fn vouched(&self) -> Option<Vouched> {
        self.lock().vouched.clone()
    }

    /// Vouches for a head; whether it is another tree than before.
    pub fn vouch(&self, head: Vouched) -> bool {
        let size = head.size;
        self.lock().vouched.replace(head).is_none_or(|before| before.size != size)
    }

    /// How far it is.
    pub fn progress(&self) -> Progress {
        self.lock().progress.clone()
    }

    /// Changes that.
    pub fn report(&self, change: impl FnOnce(&mut Progress)) {
        change(&mut self.lock().progress);
    }

    /// What each peer showed.
    pub fn sources(&self) -> BTreeMap<String, Source> {
        self.lock().sources.clone()
    }

    /// Says what is wrong with a peer, or that nothing is.
    pub fn blame(&self, source: &str, fault: Option<Fault>) {
        if let Some(source) = self.lock().source(source) {
            source.fault = fault;
        }
    }

    /// Takes a head that a key of the log signed.
    pub fn take(&self, source: &str, head: LogSigned<Checkpoint>, now: u64) -> Taken {
        let mut inner = self.lock();
        let key = (head.get().size, head.get().root);
        if inner.known.contains(&key) {
            inner.note(source, key, now, Verdict::Consistent);
            return Taken::Known;
        }
        let waiting = |letter: &Letter| (letter.head.get().size, letter.head.get().root) == key;
        if inner.inbox.iter().any(waiting) {
            inner.note(source, key, now, Verdict::Pending);
            return Taken::Queued;
        }
        let pushed = inner.inbox.iter().filter(|letter| letter.source == PUSHED).count();
        if inner.inbox.len() >= MAX_INBOX || (source == PUSHED && pushed >= MAX_PUSHED) {
            return Taken::Full;
        }
        inner.note(source, key, now, Verdict::Pending);
        inner.inbox.push_back(Letter { source: source.to_owned(), head });
        self.wake.notify_all();
        Taken::Queued
    }

    /// Whether anything waits to be compared, or told.
    pub fn has_mail(&self) -> bool {
        self.lock().has_mail()
    }

    /// What waits to be compared.
    pub fn letters(&self) -> Vec<Letter> {
        self.lock().inbox.drain(..).collect()
    }

    /// Takes what proves that the log forked, unless enough of that waits.
    pub fn accuse(&self, fork: ProvenFork) -> bool {
        let mut inner = self.lock();
        if inner.accusations.len() >= MAX_ACCUSATIONS {
            return false;
        }
        inner.accusations.push_back(fork);
        self.wake.notify_all();
        true
    }

    /// The next fork that is to be told.
    pub fn accusation(&self) -> Option<ProvenFork> {
        self.lock().accusations.pop_front()
    }

    /// Says what became of a head, whoever showed it.
    pub fn settle(&self, head: &Checkpoint, verdict: Verdict) {
        let mut inner = self.lock();
        let key = (head.size, head.root);
        for source in inner.sources.values_mut() {
            for seen in source.heads.iter_mut().filter(|seen| (seen.size, seen.root) == key) {
                seen.verdict = verdict;
            }
        }
        if verdict == Verdict::Consistent && !inner.known.contains(&key) {
            if inner.known.len() == MAX_KNOWN {
                inner.known.pop_front();
            }
            inner.known.push_back(key);
        }
    }

    /// Waits until a head or a proven fork came in, the time is over or the monitor stops; whether it goes on.
    pub fn wait(&self, most: Duration) -> bool {
        let until = Instant::now() + most;
        let mut inner = self.lock();
        while !inner.has_mail() && !inner.stopped {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            inner = self.wake.wait_timeout(inner, left).expect("no panic while it is held").0;
        }
        !inner.stopped
    }

    /// Ends the waiting.
    pub fn stop(&self) {
        self.lock().stopped = true;
        self.wake.notify_all();
    }
}

impl Inner {
    fn has_mail(&self) -> bool {
        !self.inbox.is_empty() || !self.accusations.is_empty()
    }

    fn source(&mut self, name: &str) -> Option<&mut Source> {
        if !self.sources.contains_key(name) && self.sources.len() >= MAX_SOURCES {
            return None;
        }
        Some(self.sources.entry(name.to_owned()).or_default())
    }

    fn note(&mut self, source: &str, (size, root): (TreeSize, Hash), now: u64, verdict: Verdict) {
        let Some(source) = self.source(source) else { return };
        source.fault = None;
        if let Some(seen) = source.heads.iter_mut().find(|seen| (seen.size, seen.root) == (size, root)) {
            seen.last = now;
            // What was settled stays so.
            if seen.verdict == Verdict::Pending {
                seen.verdict = verdict;
            }
            return;
        }
        if source.heads.len() == MAX_HISTORY {
            source.heads.pop_front();
        }
        source.heads.push_back(Seen { size, root, last: now, verdict });
    }
}
