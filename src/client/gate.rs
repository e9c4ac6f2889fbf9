//! How many requests one client has under way at once.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Shared by the clones of a client: who follows a log checks a window of entries while the next one is being
/// fetched, and the log's operator was promised a number.
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
    /// A count is right whoever panicked.
    fn free(&self) -> MutexGuard<'_, usize> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Gate {
    /// For so many at once, one at least.
    pub fn new(most: usize) -> Self {
        Self { inner: Arc::new(Inner { free: Mutex::new(most.max(1)), changed: Condvar::new() }) }
    }

    /// Waits for its turn. To be held until the answer was read; nobody waits for anything else meanwhile.
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
