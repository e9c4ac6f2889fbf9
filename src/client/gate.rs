//! Limits the requests that one client has under way at once.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Shared by the clones of a client. A monitor checks a window of entries while it fetches the next, and both count
/// towards the number that the log's operator was promised.
#[derive(Debug, Clone)]
pub(super) struct Gate {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    free: Mutex<usize>,
    changed: Condvar,
}

/// A request under way.
#[derive(Debug)]
pub(super) struct Pass<'a>(&'a Inner);

impl Inner {
    /// The count is right even if a holder panicked.
    fn free(&self) -> MutexGuard<'_, usize> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Gate {
    /// Allows `most` requests at once, at least one.
    pub fn new(most: usize) -> Self {
        Self { inner: Arc::new(Inner { free: Mutex::new(most.max(1)), changed: Condvar::new() }) }
    }

    /// Waits for a turn. The caller holds the pass until it has read the answer, and waits for nothing else
    /// meanwhile.
    pub fn pass(&self) -> Pass<'_> {
        let mut free = self.inner.free();
        while *free == 0 {
            free = self.inner.changed.wait(free).unwrap_or_else(PoisonError::into_inner);
        }
        *free -= 1;
        Pass(&self.inner)
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        *self.0.free() += 1;
        self.0.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_pass_and_the_next_when_one_is_done() {
        let gate = Gate::new(2);
        let first = gate.pass();
        let _second = gate.pass();
        let other = gate.clone();
        let third = std::thread::spawn(move || drop(other.pass()));
        std::thread::sleep(std::time::Duration::from_millis(50));
        assert!(!third.is_finished());
        drop(first);
        third.join().unwrap();
        assert_eq!(*Gate::new(0).inner.free(), 1, "none would wait for ever");
    }
}
