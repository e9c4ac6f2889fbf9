//! How often strangers may post: a bucket of tokens for everybody together, and one for each address.
//!
//! A bucket fills up evenly until it is full; each request takes a token out of both buckets or out of none.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::time::Duration;

use crate::http::Network;

/// Addresses that are remembered. Of more, those that asked longest ago are forgotten, and have a full bucket
/// again: whoever has so many addresses is held up by the common bucket.
const MAX_ADDRESSES: usize = 4_096;

/// How a bucket fills.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Tokens of a full bucket, at least one.
    pub burst: u32,
    /// Time for one token, not zero.
    pub every: Duration,
}

/// Requests that are let through.
#[derive(Debug)]
pub struct Limits {
    everybody: (Rate, Bucket),
    each: Rate,
    addresses: HashMap<Network, (Bucket, u64)>,
    /// By when they asked last.
    order: BTreeMap<u64, Network>,
    /// Counts requests.
    turn: u64,
}

/// What is missing of a full bucket, as the time when it will be full: until then it fills.
#[derive(Debug, Clone, Copy, Default)]
struct Bucket {
    full_at: Duration,
}

impl Bucket {
    /// The bucket with a token less, or how long until there is one.
    fn take(self, rate: Rate, now: Duration) -> Result<Self, Duration> {
        let full_at = self.full_at.max(now) + rate.every;
        let most = now + rate.every * rate.burst;
        let over = full_at.saturating_sub(most);
        if over.is_zero() { Ok(Self { full_at }) } else { Err(over) }
    }
}

impl Limits {
    /// Full buckets.
    ///
    /// # Panics
    /// If a rate has no token or takes no time.
    #[must_use]
    pub fn new(everybody: Rate, each: Rate) -> Self {
        for rate in [everybody, each] {
            assert!(rate.burst > 0 && !rate.every.is_zero(), "a rate that lets something through: {rate:?}");
        }
        let (addresses, order) = (HashMap::new(), BTreeMap::new());
        Self { everybody: (everybody, Bucket::default()), each, addresses, order, turn: 0 }
    }

    /// Lets a request through, or says when it may come again. `now` is the time since any moment in the past,
    /// the same for all calls, and never goes back.
    ///
    /// # Errors
    /// How long until there will be a token, if nobody else takes it.
    pub fn admit(&mut self, from: IpAddr, now: Duration) -> Result<(), Duration> {
        let network = Network::from(from);
        let own = self.addresses.get(&network).map_or_else(Bucket::default, |(bucket, _)| *bucket);
        // The address first: one that asks too often takes nothing from the others.
        let own_left = own.take(self.each, now)?;
        let (rate, bucket) = self.everybody;
        self.everybody.1 = bucket.take(rate, now)?;
        self.remember(network, own_left);
        Ok(())
    }

    fn remember(&mut self, network: Network, bucket: Bucket) {
        self.turn += 1;
        if let Some((_, turn)) = self.addresses.insert(network, (bucket, self.turn)) {
            self.order.remove(&turn);
        }
        self.order.insert(self.turn, network);
        if self.addresses.len() > MAX_ADDRESSES {
            let (_, oldest) = self.order.pop_first().expect("as many as addresses");
            self.addresses.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(burst: u32, seconds: u64) -> Rate {
        Rate { burst, every: Duration::from_secs(seconds) }
    }

    fn limits(everybody: u32, each: u32) -> Limits {
        Limits::new(rate(everybody, 1), rate(each, 10))
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
    fn everybody_together_is_bounded_and_one_alone_takes_nothing_from_the_others() {
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
    fn very_many_addresses_are_forgotten_those_first_that_asked_longest_ago() {
        let many = u32::try_from(MAX_ADDRESSES).unwrap();
        let mut limits = limits(10 * many, 2);
        let address = |number: u32| IpAddr::from(number.to_be_bytes());
        for number in 0..many {
            limits.admit(address(number), at(0)).unwrap();
        }
        limits.admit(address(0), at(0)).unwrap();
        limits.admit(address(many), at(0)).unwrap();
        assert_eq!((limits.addresses.len(), limits.order.len()), (MAX_ADDRESSES, MAX_ADDRESSES));
        assert!(limits.admit(address(0), at(0)).is_err(), "it asked again lately");
        limits.admit(address(1), at(0)).unwrap();
        limits.admit(address(1), at(0)).unwrap();
        assert!(limits.admit(address(1), at(0)).is_err(), "it was forgotten, and is known again");
    }

    /// A token at a time, by a clock that ticks each second.
    #[test]
    fn it_lets_through_what_a_bucket_that_is_filled_by_hand_does() {
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
