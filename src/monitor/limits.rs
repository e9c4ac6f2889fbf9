//! How often heads may be pushed: so many a second by everybody together, and so many by one address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Heads at once, and in a second, by everybody: each costs a signature check, a third of a millisecond at
/// most.
const ALL: Rate = Rate { burst: 200.0, each_second: 50.0 };
/// The same by one address. Endpoints push after an update; a whole office may be behind one address.
const ONE: Rate = Rate { burst: 20.0, each_second: 1.0 };
/// Addresses that are remembered.
const MAX_ADDRESSES: usize = 4_096;

#[derive(Debug, Clone, Copy)]
struct Rate {
    burst: f64,
    each_second: f64,
}

/// What is left to somebody.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    left: f64,
    filled: Instant,
}

impl Bucket {
    const fn full(rate: Rate, now: Instant) -> Self {
        Self { left: rate.burst, filled: now }
    }

    fn fill(&mut self, rate: Rate, now: Instant) {
        let since = now.saturating_duration_since(self.filled).as_secs_f64();
        self.left = (since.mul_add(rate.each_second, self.left)).min(rate.burst);
        self.filled = now;
    }
}

/// What is left to everybody.
#[derive(Debug, Default)]
pub struct Limits {
    all: Option<Bucket>,
    one: HashMap<IpAddr, Bucket>,
}

impl Limits {
    /// Takes the right to push a head, if there is one.
    pub fn take(&mut self, from: IpAddr, now: Instant) -> bool {
        let all = self.all.get_or_insert(Bucket::full(ALL, now));
        all.fill(ALL, now);
        if self.one.len() >= MAX_ADDRESSES && !self.one.contains_key(&from) {
            // Those that are full again need not be remembered; then the one that was quiet longest goes.
            let full = Duration::from_secs_f64(ONE.burst / ONE.each_second);
            self.one.retain(|_, bucket| now.saturating_duration_since(bucket.filled) < full);
            if self.one.len() >= MAX_ADDRESSES
                && let Some(oldest) =
                    self.one.iter().min_by_key(|(_, bucket)| bucket.filled).map(|(from, _)| *from)
            {
                self.one.remove(&oldest);
            }
        }
        let one = self.one.entry(from).or_insert(Bucket::full(ONE, now));
        one.fill(ONE, now);
        // Who has none left takes none from the others.
        if one.left < 1.0 || all.left < 1.0 {
            return false;
        }
        one.left -= 1.0;
        all.left -= 1.0;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(n: u32) -> IpAddr {
        IpAddr::V4(n.into())
    }

    #[test]
    fn one_address_has_its_burst_then_its_rate() {
        let (mut limits, start) = (Limits::default(), Instant::now());
        let taken = (0..100).filter(|_| limits.take(address(1), start)).count();
        assert_eq!(taken, 20);
        assert!(limits.take(address(2), start), "another one has its own");
        assert!(!limits.take(address(1), start + Duration::from_millis(900)));
        assert!(limits.take(address(1), start + Duration::from_millis(2_000)));
    }

    #[test]
    fn all_together_have_a_rate_and_the_table_is_bounded() {
        let (mut limits, start) = (Limits::default(), Instant::now());
        let taken = (0..10_000).filter(|n| limits.take(address(*n), start)).count();
        assert_eq!((taken, limits.one.len()), (200, MAX_ADDRESSES));
        let later = start + Duration::from_secs(2);
        let taken = (20_000..30_000).filter(|n| limits.take(address(*n), later)).count();
        assert_eq!((taken, limits.one.len()), (100, MAX_ADDRESSES));
        let much_later = start + Duration::from_secs(100);
        assert!(limits.take(address(1), much_later));
        assert_eq!(limits.one.len(), 1, "who has all again is forgotten");
    }
}
