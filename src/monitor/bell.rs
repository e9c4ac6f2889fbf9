//! Rung when a monitor vouches for another head: whoever asks peers does so now rather than in a while.

use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

#[derive(Debug, Default)]
struct Inner {
    /// How often it rang.
    rung: u64,
    stopped: bool,
}

/// What ended the waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// It rang, once or more often.
    Ring,
    /// The time is over.
    Nothing,
    /// The monitor stops.
    Stop,
}

/// A bell that many hear. Nobody misses a ring for being busy: each counts those that it has heard.
#[derive(Debug, Default)]
pub struct Bell {
    inner: Mutex<Inner>,
    wake: Condvar,
}

impl Bell {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no panic while it is held")
    }

    /// Rings.
    pub fn ring(&self) {
        self.lock().rung += 1;
        self.wake.notify_all();
    }

    /// Ends all waiting.
    pub fn stop(&self) {
        self.lock().stopped = true;
        self.wake.notify_all();
    }

    /// Waits until it has rung more often than `heard`, which is set to how often it has, at most so long.
    pub fn wait(&self, heard: &mut u64, most: Duration) -> Heard {
        let until = Instant::now() + most;
        let mut inner = self.lock();
        loop {
            if inner.stopped {
                return Heard::Stop;
            }
            if inner.rung != *heard {
                *heard = inner.rung;
                return Heard::Ring;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Heard::Nothing;
            }
            inner = self.wake.wait_timeout(inner, left).expect("no panic while it is held").0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(3_600);

    #[test]
    fn a_ring_is_heard_by_all_even_later_and_once() {
        let bell = Bell::default();
        bell.ring();
        bell.ring();
        for _ in 0..2 {
            let mut heard = 0;
            assert_eq!(bell.wait(&mut heard, LONG), Heard::Ring);
            assert_eq!(bell.wait(&mut heard, Duration::ZERO), Heard::Nothing);
        }
    }

    #[test]
    fn who_waits_is_woken_by_a_ring_and_by_the_end() {
        let bell = Bell::default();
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| {
                let mut heard = 0;
                [bell.wait(&mut heard, LONG), bell.wait(&mut heard, LONG)]
            });
            bell.ring();
            while !waits.is_finished() {
                // Whenever it comes, the end is the last that is heard.
                std::thread::sleep(Duration::from_millis(5));
                bell.stop();
            }
            let heard = waits.join().unwrap();
            assert!(matches!(heard, [Heard::Ring | Heard::Stop, Heard::Stop]), "{heard:?}");
        });
    }
}
