//! The pace of tree heads: as often as there is something to sign, within bounds.

use std::time::{Duration, Instant};

/// Signing may take one part in this many of one core.
const SHARE: u32 = 10;
/// A signature costs the least of this many: the others were interrupted.
const REMEMBERED: usize = 4;

/// The pauses between heads. Pure.
pub struct Pace {
    /// The shortest pause from the beginning of one head to the next one's.
    least: Duration,
    /// The longest pause that the cost of signatures makes.
    most: Duration,
    begun: Instant,
    costs: [Duration; REMEMBERED],
    signatures: usize,
}

impl Pace {
    pub fn new(least: Duration, most: Duration, now: Instant) -> Self {
        Self { least, most, begun: now, costs: [Duration::ZERO; REMEMBERED], signatures: 0 }
    }

    /// Notes that work on a head began, signed or not.
    pub const fn begin(&mut self, now: Instant) {
        self.begun = now;
    }

    /// Notes the time that a head's signatures took.
    pub const fn signed(&mut self, cost: Duration) {
        self.costs[self.signatures % REMEMBERED] = cost;
        self.signatures += 1;
    }

    /// When the last head was begun.
    pub const fn begun(&self) -> Instant {
        self.begun
    }

    /// When the next head may be begun, at least `linger` after the last one.
    pub fn next(&self, linger: Duration) -> Instant {
        let known = &self.costs[..self.signatures.min(REMEMBERED)];
        let cost = known.iter().min().copied().unwrap_or_default();
        self.begun + self.least.max(linger).max((cost * SHARE).min(self.most))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn signing_takes_at_most_a_tenth_of_a_core() {
        let start = Instant::now();
        let mut pace = Pace::new(ms(2), ms(100), start);
        assert_eq!(pace.next(Duration::ZERO), start + ms(2), "no signature was measured yet");
        for (cost, pause) in [(ms(3), 30), (ms(1), 10), (ms(4), 10), (ms(900), 10), (ms(5), 10), (ms(6), 40)]
        {
            let begun = pace.next(Duration::ZERO);
            pace.begin(begun);
            pace.signed(cost);
            assert_eq!(
                (pace.begun(), pace.next(Duration::ZERO)),
                (begun, begun + ms(pause)),
                "after {cost:?}"
            );
        }
        (0..4).for_each(|_| pace.signed(ms(900)));
        assert_eq!(pace.next(Duration::ZERO), pace.begun() + ms(100), "the settings bound the pause");
        (0..4).for_each(|_| pace.signed(Duration::from_micros(10)));
        assert_eq!(
            pace.next(Duration::ZERO),
            pace.begun() + ms(2),
            "quick signatures leave the shortest pause"
        );
        assert_eq!(pace.next(ms(50)), pace.begun() + ms(50));
    }
}
