//! How the threads of a monitor are told to end.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// A signal that is given once. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    given: Arc<AtomicBool>,
    wake: Arc<(Mutex<()>, Condvar)>,
}

impl Stop {
    /// Gives it.
    pub fn give(&self) {
        let _held = self.wake.0.lock().expect("no panic while it is held");
        self.given.store(true, Ordering::Relaxed);
        self.wake.1.notify_all();
    }

    /// Whether it was given.
    pub fn is_given(&self) -> bool {
        self.given.load(Ordering::Relaxed)
    }

    /// The flag, for who looks at it between two requests.
    pub fn flag(&self) -> Arc<AtomicBool> {
        self.given.clone()
    }

    /// Rests so long; false where it was given.
    pub fn rest(&self, most: Duration) -> bool {
        let until = Instant::now() + most;
        let mut held = self.wake.0.lock().expect("no panic while it is held");
        while !self.is_given() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            held = self.wake.1.wait_timeout(held, left).expect("no panic while it is held").0;
        }
        false
    }
}
