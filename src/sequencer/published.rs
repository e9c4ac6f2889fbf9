//! The published head, and the senders who wait for one over their entries.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{oneshot, watch};

use super::{Outcome, Results, SubmitError};
use crate::checkpoint::Checkpoint;
use crate::format::Wait;
use crate::merkle::{Hash, LeafIndex, TreeSize};
use crate::note::KeyName;
use crate::store::SignedHead;

/// The longest time that a sender waits for a head that too few witnesses cosign: less than the minute after which
/// clients give up. The entry stays in the log, and is published once they cosign.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The head that everybody may see: signed and durable. A log with witnesses has none before a quorum has
/// cosigned its first head: then `note` is empty, and so is the tree.
#[derive(Debug, Clone)]
pub struct Published {
    /// The tree head.
    pub checkpoint: Checkpoint,
    /// The signed note, byte for byte.
    pub note: Arc<[u8]>,
    /// When this process published it.
    pub at: Instant,
    /// True if the note carries the cosignatures of a quorum of the log's witnesses.
    pub witnessed: bool,
}

impl Published {
    /// The head, published now.
    pub(super) fn new(head: SignedHead, witnessed: bool) -> Self {
        Self { checkpoint: head.head, note: head.note.into(), at: Instant::now(), witnessed }
    }

    /// Returns true if no head was published yet.
    pub(super) fn is_none(&self) -> bool {
        self.note.is_empty()
    }

    /// Returns true if the head answers a sender whose last entry completes a tree of `size`.
    fn serves(&self, wait: Wait, size: TreeSize) -> bool {
        size <= self.checkpoint.size && (wait < Wait::Witnessed || self.witnessed)
    }
}

/// The sender of a submission, who waits for its outcome.
pub struct Sender {
    wait: Wait,
    reply: oneshot::Sender<Outcome>,
    since: Instant,
}

impl Sender {
    /// A sender who waits from now on, and where its outcome arrives.
    pub fn new(wait: Wait) -> (Self, oneshot::Receiver<Outcome>) {
        let (reply, outcome) = oneshot::channel();
        (Self { wait, reply, since: Instant::now() }, outcome)
    }

    /// Refuses all of its entries for the same reason.
    pub fn refuse(self, entries: usize, why: &SubmitError) {
        self.answer(vec![Err(why.clone()); entries], None);
    }

    fn answer(self, results: Results, head: Option<Arc<Published>>) {
        // The receiver may be gone; a failed send is harmless.
        let _ = self.reply.send(Outcome { results, head });
    }
}

/// A sender whose entries are durable.
struct Waiter {
    sender: Sender,
    results: Results,
    /// The smallest tree that has all of the entries.
    size: TreeSize,
}

impl Waiter {
    fn answer(self, head: Option<Arc<Published>>) {
        self.sender.answer(self.results, head);
    }
}

/// Publishes heads, and answers each sender once, with the first head that it waits for.
pub struct Publication {
    head: watch::Sender<Published>,
    /// In the order in which they came.
    waiters: Vec<Waiter>,
}

impl Publication {
    /// Nothing is published yet.
    pub fn new(origin: KeyName) -> Self {
        let (head, _) = watch::channel(Published {
            checkpoint: Checkpoint::new(origin, TreeSize::ZERO, Hash::EMPTY_ROOT),
            note: Arc::default(),
            at: Instant::now(),
            witnessed: false,
        });
        Self { head, waiters: Vec::new() }
    }

    /// A receiver of every head from now on.
    pub fn subscribe(&self) -> watch::Receiver<Published> {
        self.head.subscribe()
    }

    /// The published head.
    pub fn current(&self) -> watch::Ref<'_, Published> {
        self.head.borrow()
    }

    /// Publishes a head and answers all who waited for it.
    pub fn publish(&mut self, head: &Published) {
        self.head.send_replace(head.clone());
        self.answer_with(head);
    }

    /// Answers all who wait for this head or an older one.
    pub fn answer_with(&mut self, head: &Published) {
        // One copy for all of them.
        let head = Arc::new(head.clone());
        let serves = |waiter: &mut Waiter| head.serves(waiter.sender.wait, waiter.size);
        self.waiters.extract_if(.., serves).for_each(|waiter| waiter.answer(Some(head.clone())));
    }

    /// Answers a sender whose submission was committed: now, or with the head that it waits for.
    pub fn answer(&mut self, sender: Sender, results: Results) {
        let last = results.iter().flatten().map(|sequenced| sequenced.index).max();
        let Some(last) = last.filter(|_| sender.wait > Wait::Sequenced) else {
            return sender.answer(results, None);
        };
        let waiter = Waiter { sender, results, size: LeafIndex::size_with(last) };
        let current = self.head.borrow();
        if current.serves(waiter.sender.wait, waiter.size) {
            waiter.answer(Some(Arc::new(current.clone())));
        } else {
            drop(current);
            self.waiters.push(waiter);
        }
    }

    /// Number of entries that a head is waited for.
    pub fn waiting(&self) -> usize {
        self.waiters.iter().map(|waiter| waiter.results.len()).sum()
    }

    /// Tells everybody who waits that no head could be published.
    pub fn give_up(&mut self) {
        self.waiters.drain(..).for_each(|waiter| waiter.answer(None));
    }

    /// Tells the same to those who have waited for [`PATIENCE`].
    pub fn give_up_overdue(&mut self, now: Instant) {
        let overdue = self.waiters.iter().take_while(|waiter| waiter.sender.since + PATIENCE <= now).count();
        self.waiters.drain(..overdue).for_each(|waiter| waiter.answer(None));
    }

    /// When the next sender has waited for [`PATIENCE`].
    pub fn next_overdue(&self) -> Option<Instant> {
        self.waiters.first().map(|waiter| waiter.sender.since + PATIENCE)
    }
}
