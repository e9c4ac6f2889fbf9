//! A bound on the bytes that requests hold together, with a share for each network.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use super::client_address::Network;

/// A number of bytes to hold. Clones share it.
///
/// A network may hold at most `times` as many bytes as are left free. With 1, a single network gets half of all
/// bytes, two get a third each, and so on; a newcomer always finds some.
#[derive(Debug, Clone)]
pub struct Budget(Arc<BudgetInner>);

#[derive(Debug)]
struct BudgetInner {
    total: usize,
    times: usize,
    held: Mutex<Tally>,
}

#[derive(Debug, Default)]
struct Tally {
    all: usize,
    each: HashMap<Network, usize>,
}

/// The bytes that one request holds, until it is dropped.
#[derive(Debug)]
pub struct Reservation {
    budget: Budget,
    from: Option<Network>,
    bytes: usize,
}

/// Too few bytes are left, or too few for this network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OverBudget;

impl Budget {
    pub fn new(total: usize, times: usize) -> Self {
        Self(Arc::new(BudgetInner { total, times, held: Mutex::default() }))
    }

    /// An empty reservation, to be grown. Without a network, only the total bounds it.
    pub fn reserve(&self, from: Option<Network>) -> Reservation {
        Reservation { budget: self.clone(), from, bytes: 0 }
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.0.held.lock().expect("no panic while it is held")
    }
}

impl Reservation {
    /// Reserves `bytes` more, or none of them.
    pub fn grow(&mut self, bytes: usize) -> Result<(), OverBudget> {
        let BudgetInner { total, times, .. } = *self.budget.0;
        let mut tally = self.budget.tally();
        let all = tally.all.checked_add(bytes).filter(|all| *all <= total).ok_or(OverBudget)?;
        if let Some(from) = self.from {
            let own = tally.each.get(&from).copied().unwrap_or_default() + bytes;
            if own > times.saturating_mul(total - all) {
                return Err(OverBudget);
            }
            tally.each.insert(from, own);
        }
        tally.all = all;
        self.bytes += bytes;
        Ok(())
    }
}

impl Drop for Reservation {
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

    /// All the bytes that this network gets, one by one.
    fn all_for(budget: &Budget, from: Option<Network>) -> Reservation {
        let mut held = budget.reserve(from);
        while held.grow(1).is_ok() {}
        held
    }

    #[test]
    fn each_network_leaves_bytes_for_the_next_one() {
        let budget = Budget::new(1_200, 1);
        let first = all_for(&budget, network(1));
        let second = all_for(&budget, network(2));
        let third = all_for(&budget, network(3));
        assert_eq!([first.bytes, second.bytes, third.bytes], [600, 300, 150]);
        assert!(budget.reserve(network(1)).grow(1).is_err(), "the first gets no more by another request");
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
        assert_eq!(budget.reserve(network(1)).grow(1), Err(OverBudget));
        drop(all);
        assert_eq!(budget.reserve(network(1)).grow(500), Ok(()));
    }

    #[test]
    fn all_or_nothing_and_everything_is_given_back() {
        let budget = Budget::new(1_000, 1);
        let mut held = budget.reserve(network(1));
        assert_eq!((held.grow(400), held.grow(101)), (Ok(()), Err(OverBudget)));
        assert_eq!(held.bytes, 400);
        assert_eq!(budget.reserve(None).grow(usize::MAX), Err(OverBudget));
        drop(held);
        let tally = budget.tally();
        assert!(tally.all == 0 && tally.each.is_empty(), "{tally:?}");
    }
}
