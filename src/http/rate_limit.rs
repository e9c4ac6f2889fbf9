//! Limits the rate of requests: a token bucket for all clients together, and one for each network.
//!
//! A bucket fills evenly until it is full; each request takes a token out of both buckets, or out of neither.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::time::Duration;

use super::client_address::Network;

/// Networks that are remembered. Beyond that, the ones that asked longest ago are forgotten, and have a full bucket
/// again: the common bucket holds up a client with that many networks.
const MAX_NETWORKS: usize = 4_096;

/// The size of a bucket, and how fast it fills.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Tokens of a full bucket, at least one.
    pub burst: u32,
    /// Time in which a token is added, not zero.
    pub every: Duration,
}

/// The buckets of a server.
#[derive(Debug)]
pub struct RateLimits {
    everybody: (Rate, Bucket),
    each: Rate,
    networks: HashMap<Network, (Bucket, u64)>,
    /// The networks by their last request.
    order: BTreeMap<u64, Network>,
    /// Number of requests so far.
    turn: u64,
}

/// A bucket, as the time at which it will be full.
#[derive(Debug, Clone, Copy, Default)]
struct Bucket {
    full_at: Duration,
}

impl Bucket {
    /// Returns the bucket with a token less, or the time until it has one.
    fn take(self, rate: Rate, now: Duration) -> Result<Self, Duration> {
        let full_at = self.full_at.max(now) + rate.every;
        let most = now + rate.every * rate.burst;
        let over = full_at.saturating_sub(most);
        if over.is_zero() { Ok(Self { full_at }) } else { Err(over) }
    }
}

impl RateLimits {
    /// Starts with full buckets.
    ///
    /// # Panics
    /// If a rate has no token or takes no time.
    #[must_use]
    pub fn new(everybody: Rate, each: Rate) -> Self {
        for rate in [everybody, each] {
            assert!(rate.burst > 0 && !rate.every.is_zero(), "a rate that lets something through: {rate:?}");
        }
        let (networks, order) = (HashMap::new(), BTreeMap::new());
        Self { everybody: (everybody, Bucket::default()), each, networks, order, turn: 0 }
    }

    /// Takes a token for a request. `now` is the time since some moment in the past, the same for all calls, and
    /// never goes back.
    ///
    /// # Errors
    /// The time until there is a token, if no other client takes it.
    pub fn admit(&mut self, from: IpAddr, now: Duration) -> Result<(), Duration> {
        let network = Network::from(from);
        let own = self.networks.get(&network).map_or_else(Bucket::default, |(bucket, _)| *bucket);
        // The network's own bucket first: one that asks too often takes nothing from the others.
        let own_left = own.take(self.each, now)?;
        let (rate, bucket) = self.everybody;
        self.everybody.1 = bucket.take(rate, now)?;
        self.remember(network, own_left);
        Ok(())
    }

    fn remember(&mut self, network: Network, bucket: Bucket) {
        self.turn += 1;
        if let Some((_, turn)) = self.networks.insert(network, (bucket, self.turn)) {
            self.order.remove(&turn);
        }
        self.order.insert(self.turn, network);
        if self.networks.len() > MAX_NETWORKS {
            let (_, oldest) = self.order.pop_first().expect("an entry for each network");
            self.networks.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(burst: u32, seconds: u64) -> Rate {
        Rate { burst, every: Duration::from_secs(seconds) }
    }

    fn limits(everybody: u32, each: u32) -> RateLimits {
        RateLimits::new(rate(everybody, 1), rate(each, 10))
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_burst_is_let_through_and_then_one_each_time_that_a_token_is_there() {
        let mut limits = limits(1_000, 3);
        let a = ip("192.0.2.1");
        assert_eq!([0; 4].map(|_| limits.admit(a, at(100)).err()), [None, None, None, Some(at(10))]);
        assert_eq!(limits.admit(a, at(104)), Err(at(6)));
        assert_eq!(limits.admit(a, at(110)), Ok(()), "what was refused took nothing");
        assert_eq!(limits.admit(a, at(110)), Err(at(10)));
        assert_eq!(limits.admit(ip("192.0.2.2"), at(110)), Ok(()), "another one");
        // Full is full.
        assert_eq!([0; 4].map(|_| limits.admit(a, at(9_999)).err()), [None, None, None, Some(at(10))]);
    }

    #[test]
    fn all_together_are_bounded_and_one_alone_takes_nothing_from_the_others() {
        let mut limits = limits(5, 2);
        let (a, b, c) = (ip("192.0.2.1"), ip("192.0.2.2"), ip("192.0.2.3"));
        let admitted = (0..100).filter(|_| limits.admit(a, at(0)).is_ok()).count();
        assert_eq!(admitted, 2);
        for from in [b, b, c] {
            limits.admit(from, at(0)).unwrap();
        }
        assert_eq!(limits.admit(c, at(0)), Err(at(1)), "the common bucket is empty");
        limits.admit(c, at(1)).unwrap();
        assert_eq!(limits.admit(c, at(1)), Err(at(9)), "what everybody lacked took nothing of its own");
    }

    #[test]
    fn an_address_is_what_one_customer_has() {
        let mut limits = limits(1_000, 1);
        for (first, second, same) in [
            ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", true),
            ("2001:db8:1:3::1", "2001:db8:1:4::1", false),
            ("192.0.2.1", "::ffff:192.0.2.1", true),
            ("192.0.2.2", "192.0.2.3", false),
        ] {
            limits.admit(ip(first), at(0)).unwrap();
            assert_eq!(limits.admit(ip(second), at(0)).is_err(), same, "{first} {second}");
        }
    }

    #[test]
    fn of_very_many_networks_the_ones_that_asked_longest_ago_are_forgotten() {
        let many = u32::try_from(MAX_NETWORKS).unwrap();
        let mut limits = limits(10 * many, 2);
        let address = |number: u32| IpAddr::from(number.to_be_bytes());
        for number in 0..many {
            limits.admit(address(number), at(0)).unwrap();
        }
        limits.admit(address(0), at(0)).unwrap();
        limits.admit(address(many), at(0)).unwrap();
        assert_eq!((limits.networks.len(), limits.order.len()), (MAX_NETWORKS, MAX_NETWORKS));
        assert!(limits.admit(address(0), at(0)).is_err(), "it asked again lately");
        limits.admit(address(1), at(0)).unwrap();
        limits.admit(address(1), at(0)).unwrap();
        assert!(limits.admit(address(1), at(0)).is_err(), "it was forgotten, and is known again");
    }

    /// Compares the limits with a bucket that gets a token at a time, by a clock that ticks each second.
    #[test]
    fn it_admits_what_a_simulated_bucket_admits() {
        let (mut limits, a) = (limits(u32::MAX, 4), ip("192.0.2.1"));
        let (mut tokens, mut since) = (4_u64, 0_u64);
        let mut seed = 7_u64;
        for second in 1..5_000 {
            if tokens < 4 {
                since += 1;
                if since == 10 {
                    (tokens, since) = (tokens + 1, 0);
                }
            }
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            for _ in 0..(seed >> 61) / 3 {
                let admitted = limits.admit(a, at(second)).is_ok();
                assert_eq!(admitted, tokens > 0, "second {second}");
                tokens = tokens.saturating_sub(1);
            }
        }
    }
}
