//! Figures for who watches a log: counted by the one thread that commits, read by anybody.

use std::sync::atomic::{AtomicU64, Ordering};

use super::{Sequencer, Trouble};

/// A log's figures now. What is counted is counted since this process opened the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Figures {
    /// Entries that wait to be sequenced.
    pub waiting: usize,
    /// Most entries that may wait.
    pub most_waiting: usize,
    /// Whether submissions are taken and heads signed: not before the witnesses were heard, not after they
    /// have shown that the files are old, and not once the log stops.
    pub may_sign: bool,
    /// Size of the last head that was signed and is durable, shown or not.
    pub signed_size: u64,
    /// Entries appended; duplicates are not.
    pub appended: u64,
    /// Heads shown. A head that is shown again with other cosignatures is the same one.
    pub published: u64,
    /// Heads shown without the quorum that the log's settings name.
    pub published_unwitnessed: u64,
}

/// One thread writes, and no figure rests on another: nothing has to be seen in any order.
#[derive(Debug, Default)]
pub struct Counts {
    pub signed_size: AtomicU64,
    pub appended: AtomicU64,
    pub published: AtomicU64,
    pub published_unwitnessed: AtomicU64,
}

impl Counts {
    pub fn add(counter: &AtomicU64, more: usize) {
        counter.fetch_add(more as u64, Ordering::Relaxed);
    }
}

impl Sequencer {
    /// The log's figures now.
    #[must_use]
    pub fn figures(&self) -> Figures {
        let (pool, counts) = (&self.shared.pool, &self.shared.counts);
        let (waiting, may_sign) = pool.load();
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Figures {
            waiting,
            most_waiting: pool.most_entries(),
            may_sign,
            signed_size: read(&counts.signed_size),
            appended: read(&counts.appended),
            published: read(&counts.published),
            published_unwitnessed: read(&counts.published_unwitnessed),
        }
    }

    /// The kinds of [`faults`](Self::faults), in the same order.
    #[must_use]
    pub fn troubles(&self) -> Vec<Trouble> {
        self.shared.faults().into_keys().collect()
    }
}
