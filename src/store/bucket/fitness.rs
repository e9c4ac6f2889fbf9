//! Decides whether a server should hold the lease. A server that can't append must leave it to others.

use std::time::{Duration, Instant};

/// The observed ability of a server to apply batches and to write them.
pub struct Fitness {
    lease: Duration,
    /// The time since which the store has needed a reload; `None` if it does not.
    unsound: Option<Instant>,
    /// The first and the last failure of a series of failed writes; `None` if the last write succeeded.
    failing: Option<(Instant, Instant)>,
    /// The time until which this server leaves the lease to others, after a long series of failed writes.
    rests_until: Option<Instant>,
}

impl Fitness {
    /// Number of lease lengths for which a server keeps the lease although it can't append.
    const PATIENCE: u32 = 2;
    /// Number of lease lengths for which it leaves the lease to others. Then it may take a free lease again.
    const REST: u32 = 3;

    /// Starts with a lease of this length; zero if there is no lease.
    pub const fn new(lease: Duration) -> Self {
        Self { lease, unsound: None, failing: None, rests_until: None }
    }

    /// Records the outcome of a write that began at `begun`. Reads may work when writes do not: because of permissions,
    /// a full store, or a network that loses large requests.
    pub fn wrote(&mut self, begun: Instant, now: Instant, is_done: bool) {
        if is_done || self.lease.is_zero() {
            self.failing = None;
            return;
        }
        // An older series says nothing about today: its last write may have been done by another server, or after all.
        let series = self.failing.filter(|(_, last)| begun < *last + Self::PATIENCE * self.lease);
        let since = series.map_or(begun, |(since, _)| since);
        self.failing = Some((since, now));
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
        // One hanging write is enough.
        fitness.wrote(at(70), at(76), false);
        assert!(!fitness.wants_lease(true, at(76)));
        // A store that needs a reload.
        assert!(fitness.wants_lease(false, at(90)) && fitness.wants_lease(false, at(95)));
        assert!(!fitness.wants_lease(false, at(96)));
        assert!(fitness.wants_lease(true, at(97)));
        // Two failures that are far apart are no series.
        fitness.wrote(at(100), at(101), false);
        fitness.wrote(at(3_600), at(3_601), false);
        assert!(fitness.wants_lease(true, at(3_601)));
    }
}
