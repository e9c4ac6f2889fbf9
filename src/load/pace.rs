//! Schedules the requests of a run.
//!
//! Without a rate a writer sends its next request as soon as it has an answer (a closed loop). A log that stalls then
//! gets fewer requests, and its latencies look better than those that a new caller would see. With a rate the moments
//! are fixed beforehand (an open loop): the next free writer takes the next one, and latency counts from that moment,
//! whether the request is sent late or not.

use std::cell::Cell;
use std::time::Duration;

use tokio::time::Instant;

/// The moments at which one run sends.
#[derive(Debug)]
pub struct Pace {
    start: Instant,
    /// Time when sending ends; earlier than planned if the run is stopped.
    end: Cell<Instant>,
    /// `None` if each request follows an answer.
    rate: Option<Rate>,
    taken: Cell<u64>,
}

/// Entries a second, in requests of `batch` each.
#[derive(Debug, Clone, Copy)]
struct Rate {
    entries: u32,
    batch: usize,
}

/// A request's turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Send now; latency counts from then.
    Now,
    /// Send at this moment, or at once if it has passed; latency counts from it.
    At(Instant),
}

impl Turn {
    /// The moment from which the latency of a request counts that was sent at `sent`.
    pub const fn latency_start(self, sent: Instant) -> Instant {
        match self {
            Self::Now => sent,
            Self::At(due) => due,
        }
    }
}

impl Pace {
    /// `rate` entries a second in requests of `batch` entries each, from `start` for `duration`.
    pub fn new(start: Instant, duration: Duration, rate: Option<u32>, batch: usize) -> Self {
        let rate = rate.map(|entries| Rate { entries, batch });
        Self { start, end: Cell::new(start + duration), rate, taken: Cell::new(0) }
    }

    /// The next turn; `None` once the run is over.
    pub fn next(&self) -> Option<Turn> {
        if Instant::now() >= self.end.get() {
            return None;
        }
        let Some(rate) = self.rate else { return Some(Turn::Now) };
        let at = self.start + rate.offset(self.taken.get());
        if at >= self.end.get() {
            return None;
        }
        self.taken.set(self.taken.get() + 1);
        Some(Turn::At(at))
    }

    /// Ends the run now.
    pub fn stop(&self) {
        self.end.set(self.end.get().min(Instant::now()));
    }

    /// Time when the run ends.
    pub fn end(&self) -> Instant {
        self.end.get()
    }

    /// Time when the run began.
    pub const fn start(&self) -> Instant {
        self.start
    }

    /// Number of requests that were due before the end and not sent, because no writer was free.
    pub fn unsent(&self) -> u64 {
        let Some(rate) = self.rate else { return 0 };
        let length = self.end.get().saturating_duration_since(self.start);
        rate.due_within(length).saturating_sub(self.taken.get())
    }
}

impl Rate {
    /// Time at which request `n` is due, counted from the start.
    fn offset(self, n: u64) -> Duration {
        let nanos = u128::from(n) * self.batch as u128 * NANOS / u128::from(self.entries);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// Number of requests that are due before `length` has passed.
    fn due_within(self, length: Duration) -> u64 {
        let due = (length.as_nanos() * u128::from(self.entries)).div_ceil(self.batch as u128 * NANOS);
        u64::try_from(due).unwrap_or(u64::MAX)
    }
}

/// Nanoseconds in a second.
const NANOS: u128 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn turns_come_at_the_rate_and_end_with_the_run() {
        let start = Instant::now();
        let pace = Pace::new(start, Duration::from_secs(60), Some(4), 2);
        let turns: Vec<Turn> = std::iter::from_fn(|| pace.next()).collect();
        assert_eq!(turns.len(), 120, "two requests of two entries a second");
        assert_eq!(turns[0], Turn::At(start));
        assert_eq!(turns[3], Turn::At(start + Duration::from_millis(1_500)));
        assert_eq!(pace.unsent(), 0);
    }

    #[test]
    fn what_nobody_was_free_to_send_is_told() {
        let start = Instant::now().checked_sub(Duration::from_secs(10)).unwrap();
        let pace = Pace::new(start, Duration::from_secs(60), Some(100), 1);
        assert_eq!(pace.next(), Some(Turn::At(start)), "late, but its turn");
        pace.stop();
        assert_eq!(pace.next(), None);
        assert!(pace.unsent() >= 999, "{}", pace.unsent());
        assert!(pace.end() >= start + Duration::from_secs(10));
    }

    #[test]
    fn without_a_rate_it_is_always_now_until_the_end() {
        let pace = Pace::new(Instant::now(), Duration::from_secs(60), None, 1);
        assert_eq!(pace.next(), Some(Turn::Now));
        pace.stop();
        assert_eq!((pace.next(), pace.unsent()), (None, 0));
    }

    #[test]
    fn a_batch_larger_than_the_rate_is_sent_less_than_once_a_second() {
        let pace = Pace::new(Instant::now(), Duration::from_secs(4_096), Some(1), 4_096);
        assert_eq!(std::iter::from_fn(|| pace.next()).count(), 1);
    }

    proptest! {
        #[test]
        fn as_many_are_due_as_have_come(seconds in 1..5_000_u64, entries in 1..1_000_000_u32, batch in 1..4_096_usize) {
            let (length, rate) = (Duration::from_secs(seconds), Rate { entries, batch });
            let due = rate.due_within(length);
            prop_assert!(rate.offset(due - 1) < length, "the last one is before the end");
            prop_assert!(rate.offset(due) + Duration::from_nanos(1) >= length, "the next is not");
        }
    }
}
