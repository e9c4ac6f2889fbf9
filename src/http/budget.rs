//! Bytes of memory that requests may take together, with a share for each network.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use super::sender::Network;

/// A number of bytes. Clones share it.
///
/// A network may hold at most `times` as many bytes as are left free. With 1, a single network gets half of all
/// bytes, two get a third each, and so on; so a newcomer always finds some.
#[derive(Debug, Clone)]
pub struct Budget(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    total: usize,
    times: usize,
    held: Mutex<Tally>,
}

#[derive(Debug, Default)]
struct Tally {
    all: usize,
    each: HashMap<Network, usize>,
}

/// What one request holds; given back when it is dropped.
#[derive(Debug)]
pub struct Held {
    budget: Budget,
    from: Option<Network>,
    bytes: usize,
}

/// Not enough bytes are left, or not for this network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

impl Budget {
    pub fn new(total: usize, times: usize) -> Self {
        Self(Arc::new(Inner { total, times, held: Mutex::default() }))
    }

    /// Nothing yet, to be grown. Without a network there is no share, only the whole.
    pub fn hold(&self, from: Option<Network>) -> Held {
        Held { budget: self.clone(), from, bytes: 0 }
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.0.held.lock().expect("no panic while it is held")
    }
}

impl Held {
    /// Takes as many bytes more, or none of them.
    pub fn grow(&mut self, bytes: usize) -> Result<(), Full> {
        let Inner { total, times, .. } = *self.budget.0;
        let mut tally = self.budget.tally();
        let all = tally.all.checked_add(bytes).filter(|all| *all <= total).ok_or(Full)?;
        if let Some(from) = self.from {
            let own = tally.each.get(&from).copied().unwrap_or_default() + bytes;
            if own > times.saturating_mul(total - all) {
                return Err(Full);
            }
            tally.each.insert(from, own);
        }
        tally.all = all;
        self.bytes += bytes;
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut tally = self.budget.tally();
        tally.all -= self.bytes;
        let Some(from) = self.from else { return };
        if let Some(own) = tally.each.get_mut(&from) {
            *own -= self.bytes;
            if *own == 0 {
                tally.each.remove(&from);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(last: u8) -> Option<Network> {
        Some(Network::from(std::net::IpAddr::from([192, 0, 2, last])))
    }

    /// As many bytes, one by one, as this network gets.
    fn all_for(budget: &Budget, from: Option<Network>) -> Held {
        let mut held = budget.hold(from);
        while held.grow(1).is_ok() {}
        held
    }

    #[test]
    fn whoever_is_alone_leaves_some_and_whoever_comes_next_too() {
        let budget = Budget::new(1_200, 1);
        let first = all_for(&budget, network(1));
        let second = all_for(&budget, network(2));
        let third = all_for(&budget, network(3));
        assert_eq!([first.bytes, second.bytes, third.bytes], [600, 300, 150]);
        assert!(budget.hold(network(1)).grow(1).is_err(), "the first gets no more by another request");
        drop(first);
        assert_eq!(all_for(&budget, network(1)).bytes, 375, "half of what the others leave");
        let budget = Budget::new(1_200, 3);
        assert_eq!(all_for(&budget, network(1)).bytes, 900);
    }

    #[test]
    fn without_a_network_there_is_no_share() {
        let budget = Budget::new(1_000, 1);
        let all = all_for(&budget, None);
        assert_eq!(all.bytes, 1_000);
        assert_eq!(budget.hold(network(1)).grow(1), Err(Full));
        drop(all);
        assert_eq!(budget.hold(network(1)).grow(500), Ok(()));
    }

    #[test]
    fn all_or_nothing_and_everything_is_given_back() {
        let budget = Budget::new(1_000, 1);
        let mut held = budget.hold(network(1));
        assert_eq!((held.grow(400), held.grow(101)), (Ok(()), Err(Full)));
        assert_eq!(held.bytes, 400);
        assert_eq!(budget.hold(None).grow(usize::MAX), Err(Full));
        drop(held);
        let tally = budget.tally();
        assert!(tally.all == 0 && tally.each.is_empty(), "{tally:?}");
    }
}
