//! Answers: to who waits for an index at once, to who waits for a head with that head.

use tokio::sync::oneshot;

use super::{Published, Results, Sequenced};
use crate::merkle::{LeafIndex, TreeSize};

/// What became of a submission whose sender waited for a head.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// One for each entry, in order.
    pub results: Results,
    /// A published head over all entries that were taken. None where none were, or where no head could be
    /// published: the entries are durable all the same.
    pub head: Option<Published>,
}

/// Where a submission's answer goes, and when.
pub enum Reply {
    /// When everything is durable.
    Sequenced(oneshot::Sender<Results>),
    /// When everything is in a published head.
    Published(oneshot::Sender<Outcome>),
}

/// Durable submissions that wait for a head. One message each, so that nobody is woken twice.
#[derive(Default)]
pub struct Waiting(Vec<(oneshot::Sender<Outcome>, Results, TreeSize)>);

impl Waiting {
    /// Answers, now or when a head has everything. Who does not wait any more does not need the answer:
    /// that it can't be sent is nothing.
    pub fn answer(&mut self, reply: Reply, results: Results, published: &Published) {
        match reply {
            Reply::Sequenced(reply) => drop(reply.send(results)),
            Reply::Published(reply) => {
                let last = results.iter().flatten().map(|sequenced: &Sequenced| sequenced.index).max();
                match last.map(LeafIndex::size_with) {
                    Some(size) if size > published.checkpoint.size => self.0.push((reply, results, size)),
                    Some(_) => drop(reply.send(Outcome { results, head: Some(published.clone()) })),
                    None => drop(reply.send(Outcome { results, head: None })),
                }
            }
        }
    }

    /// Answers all that a head has.
    pub fn published(&mut self, head: &Published) {
        for (reply, results, size) in std::mem::take(&mut self.0) {
            if size <= head.checkpoint.size {
                let _ = reply.send(Outcome { results, head: Some(head.clone()) });
            } else {
                self.0.push((reply, results, size));
            }
        }
    }

    /// Answers everyone that no head could be published.
    pub fn give_up(&mut self) {
        for (reply, results, _) in self.0.drain(..) {
            let _ = reply.send(Outcome { results, head: None });
        }
    }
}
