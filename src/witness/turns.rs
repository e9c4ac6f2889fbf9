//! Serves one request of each log at a time. Its checkpoints follow each other anyway, and a log that floods the
//! witness takes one processor and one place in a batch of the ledger.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::checkpoint::Origin;

/// Most requests in one queue; a log that sends one after the other has one.
const QUEUE: usize = 32;

/// The queues of all logs. Only a log that has signed a request has one.
#[derive(Debug, Default)]
pub struct Turns(Mutex<HashMap<Origin, Arc<TurnQueue>>>);

/// A queue: one request at a time, and a few that wait.
#[derive(Debug)]
pub struct TurnQueue {
    places: Arc<Semaphore>,
    turn: Arc<Semaphore>,
}

/// A place in a queue, until it is dropped.
#[derive(Debug)]
pub struct QueuePlace {
    queue: Arc<TurnQueue>,
    _place: OwnedSemaphorePermit,
}

impl Turns {
    /// A place in the queue of this log; `None` if it is full.
    pub fn queue(&self, origin: &Origin) -> Option<QueuePlace> {
        let mut queues = self.0.lock().expect("no panic while it is held");
        queues.entry(origin.clone()).or_insert_with(|| Arc::new(TurnQueue::new())).place()
    }
}

impl TurnQueue {
    /// An empty queue.
    pub fn new() -> Self {
        Self { places: Arc::new(Semaphore::new(QUEUE)), turn: Arc::new(Semaphore::new(1)) }
    }

    /// A place in the queue; `None` if it is full.
    pub fn place(self: &Arc<Self>) -> Option<QueuePlace> {
        let place = self.places.clone().try_acquire_owned().ok()?;
        Some(QueuePlace { queue: self.clone(), _place: place })
    }
}

impl QueuePlace {
    /// Waits for this request's turn, which lasts until the permit is dropped.
    pub async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        // Nobody closes the semaphore.
        self.queue.turn.clone().acquire_owned().await.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_full_queue_belongs_to_one_log_alone() {
        let turns = Turns::default();
        let (a, b) = (Origin::new("a").unwrap(), Origin::new("b").unwrap());
        let mut places: Vec<QueuePlace> = (0..QUEUE).map(|_| turns.queue(&a).unwrap()).collect();
        assert!(turns.queue(&a).is_none());
        let first = places[0].turn().await.unwrap();
        let other = turns.queue(&b).unwrap();
        let _others = other.turn().await.unwrap();
        assert_eq!(places[1].queue.turn.available_permits(), 0, "one at a time");
        drop((places.pop(), first));
        let _next = turns.queue(&a).unwrap();
        let _second = places[1].turn().await.unwrap();
    }
}
