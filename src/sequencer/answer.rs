//! Answers to submissions: an index at once, or later the head that includes it.

use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::{Published, Results, Sequenced};
use crate::merkle::{LeafIndex, TreeSize};

/// How long a sender is kept waiting for a head that too few witnesses cosign: less than the minute after
/// which clients give up. The entry stays in the log, and is published when they do.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// What became of a submission whose sender waited for a head.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// One for each entry, in order.
    pub results: Results,
    /// A published head over all entries that were taken. `None` if none were, or if no head could be
    /// published; the entries are durable anyway.
    pub head: Option<Published>,
}

/// Which head is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// One that everyone sees.
    Published,
    /// One that a quorum of witnesses has cosigned, too.
    Witnessed,
}

/// Where a submission's answer goes, and when.
pub enum Reply {
    /// When everything is durable.
    Sequenced(oneshot::Sender<Results>),
    /// When everything is in a head.
    Head(Until, oneshot::Sender<Outcome>),
}

/// A durable submission that waits for a head.
struct Waiter {
    reply: oneshot::Sender<Outcome>,
    results: Results,
    /// The smallest tree that has everything.
    size: TreeSize,
    until: Until,
    since: Instant,
}

impl Waiter {
    fn is_served_by(&self, head: &Published) -> bool {
        self.size <= head.checkpoint.size && (self.until == Until::Published || head.witnessed)
    }

    fn send(self, head: Option<Published>) {
        // The receiver may be gone; a failed send is harmless.
        let _ = self.reply.send(Outcome { results: self.results, head });
    }
}

/// Durable submissions that wait for a head. One message each, so that nobody is woken twice.
#[derive(Default)]
pub struct Waiting(Vec<Waiter>);

impl Waiting {
    /// Answers, now or when a head has everything.
    pub fn answer(&mut self, reply: Reply, results: Results, published: &Published) {
        match reply {
            Reply::Sequenced(reply) => drop(reply.send(results)),
            Reply::Head(until, reply) => {
                let last = results.iter().flatten().map(|sequenced: &Sequenced| sequenced.index).max();
                let Some(size) = last.map(LeafIndex::size_with) else {
                    return drop(reply.send(Outcome { results, head: None }));
                };
                let waiter = Waiter { reply, results, size, until, since: Instant::now() };
                if waiter.is_served_by(published) {
                    waiter.send(Some(published.clone()));
                } else {
                    self.0.push(waiter);
                }
            }
        }
    }

    /// Answers all that a head has.
    pub fn published(&mut self, head: &Published) {
        let (served, waiting) = std::mem::take(&mut self.0).into_iter().partition(|w| w.is_served_by(head));
        self.0 = waiting;
        Vec::into_iter(served).for_each(|waiter: Waiter| waiter.send(Some(head.clone())));
    }

    /// Answers everyone that no head could be published.
    pub fn give_up(&mut self) {
        self.0.drain(..).for_each(|waiter| waiter.send(None));
    }

    /// Answers those who have waited long enough that they need not wait for this.
    pub fn give_up_the_patient(&mut self, now: Instant) {
        // They stand in the order in which they came.
        let patient = self.0.iter().take_while(|waiter| waiter.since + PATIENCE <= now).count();
        self.0.drain(..patient).for_each(|waiter| waiter.send(None));
    }

    /// When the next one has waited long enough.
    pub fn next_to_give_up(&self) -> Option<Instant> {
        self.0.first().map(|waiter| waiter.since + PATIENCE)
    }
}
