//! One request of a log at a time: its checkpoints follow each other anyway, and so one that floods the
//! witness takes a single place at the processors and in a batch of the ledger, whatever it sends.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::checkpoint::Origin;

/// Requests of one queue that wait; a log that sends one after the other has one.
const QUEUE: usize = 32;

/// The queues of all logs. Only a log that signed a request has one.
#[derive(Debug, Default)]
pub struct Turns(Mutex<HashMap<Origin, Arc<Queue>>>);

/// One at a time, and a few that wait.
#[derive(Debug)]
pub struct Queue {
    places: Arc<Semaphore>,
    turn: Arc<Semaphore>,
}

/// A place in a queue, until it is dropped.
#[derive(Debug)]
pub struct Place {
    queue: Arc<Queue>,
    _place: OwnedSemaphorePermit,
}

impl Turns {
    /// A place in the queue of this log; `None` where it is full.
    pub fn queue(&self, origin: &Origin) -> Option<Place> {
        let mut queues = self.0.lock().expect("no panic while it is held");
        queues.entry(origin.clone()).or_insert_with(|| Arc::new(Queue::new())).place()
    }
}

impl Queue {
    /// An empty one.
    pub fn new() -> Self {
        Self { places: Arc::new(Semaphore::new(QUEUE)), turn: Arc::new(Semaphore::new(1)) }
    }

    /// A place in it; `None` where it is full.
    pub fn place(self: &Arc<Self>) -> Option<Place> {
        let place = self.places.clone().try_acquire_owned().ok()?;
        Some(Place { queue: self.clone(), _place: place })
    }
}

impl Place {
    /// Waits until it is this request's turn, which lasts until the answer is dropped.
    pub async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        // Nobody closes it.
        self.queue.turn.clone().acquire_owned().await.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_full_queue_is_of_one_log_alone() {
        let turns = Turns::default();
        let (a, b) = (Origin::new("a").unwrap(), Origin::new("b").unwrap());
        let mut places: Vec<Place> = (0..QUEUE).map(|_| turns.queue(&a).unwrap()).collect();
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
