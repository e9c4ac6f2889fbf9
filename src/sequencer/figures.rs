//! Figures for operators: counted by the commit thread, read by anybody.

use std::sync::atomic::{AtomicU64, Ordering};

use super::commands::CommandSender;

/// A log's figures. Counts begin when this process opened the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Figures {
    /// Entries that wait to be sequenced.
    pub waiting: usize,
    /// Most entries that may wait.
    pub most_waiting: usize,
    /// True if the log accepts submissions and signs heads: not before it has heard its witnesses, not after they
    /// have shown that its files are old, and not once it stops.
    pub may_sign: bool,
    /// Size of the last head that was signed and is durable, published or not.
    pub signed_size: u64,
    /// Entries appended, without duplicates.
    pub appended: u64,
    /// Heads published. A head that is published again with other cosignatures counts once.
    pub published: u64,
    /// Heads published without the quorum that the log's settings name.
    pub published_unwitnessed: u64,
}

impl Figures {
    pub(super) fn new(commands: &CommandSender, counts: &Counts) -> Self {
        let (waiting, may_sign) = commands.load();
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Self {
            waiting,
            most_waiting: commands.most_entries(),
            may_sign,
            signed_size: read(&counts.signed_size),
            appended: read(&counts.appended),
            published: read(&counts.published),
            published_unwitnessed: read(&counts.published_unwitnessed),
        }
    }
}

/// The counters. One thread writes them, and none depends on another, so no memory ordering is needed.
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
