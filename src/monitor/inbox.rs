//! Heads and forks that others send about one log, and the verdicts on them.

use std::collections::{BTreeMap, VecDeque};

use crate::checkpoint::{Checkpoint, LogSigned};
use crate::merkle::{Hash, TreeSize};
use crate::proof::fork::ProvenFork;

/// Most heads that wait to be compared. A log signs a few in a minute.
const MAX_WAITING: usize = 64;
/// Most of them that strangers pushed, so that peers and witnesses find room all the same.
const MAX_PUSHED: usize = MAX_WAITING / 2;
/// The source of a head that a stranger pushed.
pub const PUSHED: &str = "gossip";
/// Most proven forks that wait to be reported: one is enough to convict a log.
const MAX_FORKS: usize = 4;
/// Most heads that are kept of each source.
const MAX_HISTORY: usize = 32;
/// Most sources whose heads are kept.
const MAX_SOURCES: usize = 256;
/// Most heads that are remembered as consistent, so that they need no second proof.
const MAX_CONSISTENT: usize = 4_096;

/// The outcome of a comparison with the log's tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadVerdict {
    Pending,
    /// One of the two trees continues the other.
    Consistent,
    /// The trees contradict each other.
    Forked,
}

impl HeadVerdict {
    /// The name on the page and in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Consistent => "consistent",
            Self::Forked => "forked",
        }
    }
}

#[derive(Debug, Clone)]
pub struct SourceHead {
    pub size: TreeSize,
    pub root: Hash,
    /// When it was last shown, seconds since 1970.
    pub last: u64,
    pub verdict: HeadVerdict,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerFaultKind {
    /// It shows what the log did not sign.
    Lie,
    Silence,
    /// It has no head of this log: it does not follow the log, has none yet, or is no peer at all.
    NoHead,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerFault {
    pub kind: PeerFaultKind,
    pub words: String,
}

/// A peer, a witness, or all strangers together.
#[derive(Debug, Clone, Default)]
pub struct HeadSource {
    /// Its latest heads, oldest first.
    pub heads: VecDeque<SourceHead>,
    pub fault: Option<PeerFault>,
}

#[derive(Debug, Clone)]
pub struct ReceivedHead {
    pub source: String,
    pub head: LogSigned<Checkpoint>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admitted {
    /// It was compared before, and is consistent.
    Known,
    Queued,
    Full,
}

/// The heads and forks that others sent about one log.
#[derive(Debug, Default)]
pub struct Inbox {
    /// The sources of heads, by name.
    pub sources: BTreeMap<String, HeadSource>,
    pub heads: VecDeque<ReceivedHead>,
    /// Proven forks that wait to be reported, oldest first.
    pub forks: VecDeque<ProvenFork>,
    consistent: VecDeque<(TreeSize, Hash)>,
}

impl Inbox {
    pub fn set_fault(&mut self, peer: &str, fault: Option<PeerFault>) {
        if let Some(source) = self.source(peer) {
            source.fault = fault;
        }
    }

    /// Accepts a proven fork. Returns false if too many wait.
    pub fn add_fork(&mut self, fork: ProvenFork) -> bool {
        let has_room = self.forks.len() < MAX_FORKS;
        if has_room {
            self.forks.push_back(fork);
        }
        has_room
    }

    pub fn has_any(&self) -> bool {
        !self.heads.is_empty() || !self.forks.is_empty()
    }

    fn source(&mut self, name: &str) -> Option<&mut HeadSource> {
        if !self.sources.contains_key(name) && self.sources.len() >= MAX_SOURCES {
            return None;
        }
        Some(self.sources.entry(name.to_owned()).or_default())
    }

    /// Accepts a head that the log signed.
    pub fn add_head(&mut self, source: &str, head: LogSigned<Checkpoint>, now: u64) -> Admitted {
        let key = (head.get().size, head.get().root);
        if self.consistent.contains(&key) {
            self.record(source, key, now, HeadVerdict::Consistent);
            return Admitted::Known;
        }
        if !self.heads.iter().any(|waiting| (waiting.head.get().size, waiting.head.get().root) == key) {
            let pushed = self.heads.iter().filter(|waiting| waiting.source == PUSHED).count();
            if self.heads.len() >= MAX_WAITING || (source == PUSHED && pushed >= MAX_PUSHED) {
                return Admitted::Full;
            }
            self.heads.push_back(ReceivedHead { source: source.to_owned(), head });
        }
        self.record(source, key, now, HeadVerdict::Pending);
        Admitted::Queued
    }

    fn record(&mut self, source: &str, (size, root): (TreeSize, Hash), now: u64, verdict: HeadVerdict) {
        let Some(source) = self.source(source) else { return };
        source.fault = None;
        if let Some(shown) = source.heads.iter_mut().find(|shown| (shown.size, shown.root) == (size, root)) {
            shown.last = now;
            // A verdict is final.
            if shown.verdict == HeadVerdict::Pending {
                shown.verdict = verdict;
            }
            return;
        }
        if source.heads.len() == MAX_HISTORY {
            source.heads.pop_front();
        }
        source.heads.push_back(SourceHead { size, root, last: now, verdict });
    }

    /// Records the verdict on a head for all who showed it.
    pub fn settle(&mut self, head: &Checkpoint, verdict: HeadVerdict) {
        let key = (head.size, head.root);
        for source in self.sources.values_mut() {
            for shown in source.heads.iter_mut().filter(|shown| (shown.size, shown.root) == key) {
                shown.verdict = verdict;
            }
        }
        if verdict == HeadVerdict::Consistent && !self.consistent.contains(&key) {
            if self.consistent.len() == MAX_CONSISTENT {
                self.consistent.pop_front();
            }
            self.consistent.push_back(key);
        }
    }
}
