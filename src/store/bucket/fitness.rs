//! Whether a server should hold the lease: one that can't append keeps nobody else from it.

use std::time::{Duration, Instant};

/// The observed ability of a server to take in batches, and to write them.
pub struct Fitness {
    lease: Duration,
    /// Since when the store can't be used without a reload.
    unsound: Option<Instant>,
    /// Since when no write succeeds, although some were tried.
    failing: Option<Instant>,
    /// Until when the lease is left to others, because writes failed for so long.
    rests_until: Option<Instant>,
}

impl Fitness {
    /// Lengths of the lease for which a server keeps it although it can't append.
    const PATIENCE: u32 = 2;
    /// Lengths of the lease for which others may take it. Then this server may try again, if nobody has.
    const REST: u32 = 3;

    /// For a lease of this length; zero if there is none.
    pub const fn new(lease: Duration) -> Self {
        Self { lease, unsound: None, failing: None, rests_until: None }
    }

    /// Notes the outcome of a write that was begun at `begun`. Reads may work where writes do not: with other rights, a full
    /// store, or a network that loses large requests.
    pub fn wrote(&mut self, begun: Instant, now: Instant, is_done: bool) {
        if is_done || self.lease.is_zero() {
            self.failing = None;
            return;
        }
        let since = *self.failing.get_or_insert(begun);
        if now.saturating_duration_since(since) >= Self::PATIENCE * self.lease {
            let seconds = now.saturating_duration_since(since).as_secs();
            tracing::warn!("no write has succeeded for {seconds} s: this server leaves the lease to others");
            self.failing = None;
            self.rests_until = Some(now + Self::REST * self.lease);
        }
    }

    /// Returns true if this server should hold the lease. `is_sound` is false while its store can't be used.
    pub fn wants_lease(&mut self, is_sound: bool, now: Instant) -> bool {
        let since = self.unsound.take().unwrap_or(now);
        self.unsound = (!is_sound).then_some(since);
        self.rests_until = self.rests_until.filter(|until| *until > now);
        self.rests_until.is_none() && (is_sound || now < since + Self::PATIENCE * self.lease)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lease_is_left_to_others_for_a_time_where_no_write_succeeds() {
        let (begun, lease) = (Instant::now(), Duration::from_secs(3));
        let at = |seconds: u64| begun + Duration::from_secs(seconds);
        let mut fitness = Fitness::new(lease);
        fitness.wrote(at(0), at(1), false);
        fitness.wrote(at(4), at(5), false);
        assert!(fitness.wants_lease(true, at(50)), "what was not tried did not fail");
        fitness.wrote(at(50), at(51), true);
        fitness.wrote(at(52), at(53), false);
        fitness.wrote(at(57), at(57), false);
        assert!(fitness.wants_lease(true, at(57)));
        fitness.wrote(at(57), at(58), false);
        assert!(!fitness.wants_lease(true, at(58)) && !fitness.wants_lease(true, at(66)));
        assert!(fitness.wants_lease(true, at(67)), "perhaps nobody else can");
        // One write that hangs is enough.
        fitness.wrote(at(70), at(76), false);
        assert!(!fitness.wants_lease(true, at(76)));
        // A store that can't be used.
        assert!(fitness.wants_lease(false, at(90)) && fitness.wants_lease(false, at(95)));
        assert!(!fitness.wants_lease(false, at(96)));
        assert!(fitness.wants_lease(true, at(97)));
    }
}
