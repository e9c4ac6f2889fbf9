//! Pauses between tries.

use core::time::Duration;

/// Pauses that double after each failure in a row, up to a longest one.
///
/// ```
/// use std::time::Duration;
/// use treehead::client::Backoff;
///
/// let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(5));
/// let pauses: Vec<u64> = (0..5).map(|_| backoff.pause().as_secs()).collect();
/// assert_eq!(pauses, [1, 2, 4, 5, 5]);
/// backoff.reset();
/// assert_eq!(backoff.pause().as_secs(), 1);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    failures: u32,
}

impl Backoff {
    /// Starts at `first`; no pause exceeds `longest`.
    #[must_use]
    pub const fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, failures: 0 }
    }

    /// Counts a failure and returns the pause after it.
    #[must_use = "a failure that is followed by no pause hammers the other side"]
    pub fn pause(&mut self) -> Duration {
        self.failures = self.failures.saturating_add(1);
        self.pause_after(self.failures)
    }

    /// The pause after `failures` failures in a row, for callers that keep the count; zero after none.
    #[must_use]
    pub fn pause_after(&self, failures: u32) -> Duration {
        let Some(doublings) = failures.checked_sub(1) else { return Duration::ZERO };
        self.first.saturating_mul(1 << doublings.min(31)).min(self.longest)
    }

    /// Starts again at the first pause, after a success.
    pub const fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        let backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(300));
        let pauses: Vec<u64> = (0..12).map(|failures| backoff.pause_after(failures).as_secs()).collect();
        assert_eq!(pauses, [0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
    }

    #[test]
    fn no_count_and_no_pause_overflows() {
        for failures in [33, 34, 1_000, u32::MAX] {
            let longest = |first| Backoff::new(first, Duration::MAX).pause_after(failures);
            assert_eq!(longest(Duration::from_millis(200)), Duration::from_millis(200 << 31), "{failures}");
            assert_eq!(longest(Duration::MAX), Duration::MAX);
            assert_eq!(longest(Duration::ZERO), Duration::ZERO);
        }
        let first = Duration::from_secs(1);
        let mut backoff = Backoff { failures: u32::MAX, ..Backoff::new(first, 3 * first) };
        assert_eq!(backoff.pause(), 3 * first);
        backoff.reset();
        assert_eq!(backoff.pause(), first);
    }
}
