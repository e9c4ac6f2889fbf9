//! A value that threads wait on until it changes or the monitor stops.

use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Woken {
    Ready,
    TimedOut,
    Stopped,
}

#[derive(Debug, Default)]
struct Guarded<T> {
    value: T,
    stopped: bool,
}

/// A value behind a lock, and a way to wait for its changes.
#[derive(Debug, Default)]
pub struct Signal<T> {
    guarded: Mutex<Guarded<T>>,
    changed: Condvar,
}

impl<T> Signal<T> {
    pub const fn new(value: T) -> Self {
        Self { guarded: Mutex::new(Guarded { value, stopped: false }), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Guarded<T>> {
        self.guarded.lock().expect("no panic while the lock is held")
    }

    /// Reads or changes the value, without waking anybody.
    pub fn with<R>(&self, step: impl FnOnce(&mut T) -> R) -> R {
        step(&mut self.lock().value)
    }

    /// Changes the value and wakes all who wait.
    pub fn change<R>(&self, step: impl FnOnce(&mut T) -> R) -> R {
        let result = step(&mut self.lock().value);
        self.changed.notify_all();
        result
    }

    /// Wakes all who wait, within a step that changed the value.
    pub fn notify(&self) {
        self.changed.notify_all();
    }

    /// Ends all waits, those that begin later too.
    pub fn stop(&self) {
        self.lock().stopped = true;
        self.changed.notify_all();
    }

    /// Waits until the condition holds, for `most` at the longest.
    pub fn wait(&self, most: Duration, mut is_ready: impl FnMut(&T) -> bool) -> Woken {
        let ready = self.wait_for(Some(most), |value| is_ready(value).then_some(()));
        ready.map_or_else(|woken| woken, |()| Woken::Ready)
    }

    /// Waits until `step` returns something, for `most` at the longest if it is given. Otherwise says why there is nothing.
    pub fn wait_for<R>(
        &self,
        most: Option<Duration>,
        mut step: impl FnMut(&mut T) -> Option<R>,
    ) -> Result<R, Woken> {
        let until = most.map(|most| Instant::now() + most);
        let mut guarded = self.lock();
        loop {
            if guarded.stopped {
                return Err(Woken::Stopped);
            }
            if let Some(result) = step(&mut guarded.value) {
                return Ok(result);
            }
            guarded = match until.map(|until| until.saturating_duration_since(Instant::now())) {
                Some(Duration::ZERO) => return Err(Woken::TimedOut),
                Some(left) => self.changed.wait_timeout(guarded, left).map(|(guarded, _)| guarded).ok(),
                None => self.changed.wait(guarded).ok(),
            }
            .expect("no panic while the lock is held");
        }
    }

    /// Sleeps for `most`; returns early, with false, if the monitor stops.
    pub fn sleep(&self, most: Duration) -> bool {
        self.wait(most, |_| false) != Woken::Stopped
    }
}

impl Signal<u64> {
    /// Counts one up, and wakes all who wait for a higher count.
    pub fn raise(&self) {
        self.change(|count| *count += 1);
    }

    /// Waits until the count differs from `seen`, which is set to the new count. Nobody misses a change because
    /// they were busy when it came.
    pub fn wait_for_more(&self, seen: &mut u64, most: Duration) -> Woken {
        self.wait(most, |count| std::mem::replace(seen, *count) != *count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(3_600);

    #[test]
    fn a_raise_is_seen_once_by_each_who_waits_even_if_it_came_before() {
        let signal = Signal::<u64>::default();
        signal.raise();
        signal.raise();
        for _ in 0..2 {
            let mut seen = 0;
            assert_eq!(signal.wait_for_more(&mut seen, LONG), Woken::Ready);
            assert_eq!(signal.wait_for_more(&mut seen, Duration::ZERO), Woken::TimedOut);
        }
    }

    #[test]
    fn a_raise_and_a_stop_wake_who_waits() {
        let signal = Signal::<u64>::default();
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| {
                let mut seen = 0;
                [signal.wait_for_more(&mut seen, LONG), signal.wait_for_more(&mut seen, LONG)]
            });
            signal.raise();
            while !waits.is_finished() {
                // The stop may come before the first wait; the last wait always ends with it.
                std::thread::sleep(Duration::from_millis(5));
                signal.stop();
            }
            let woken = waits.join().unwrap();
            assert!(matches!(woken, [Woken::Ready | Woken::Stopped, Woken::Stopped]), "{woken:?}");
        });
        assert!(!signal.sleep(LONG), "a stopped monitor does not sleep");
    }
}
