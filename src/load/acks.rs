//! Remembers, in bounded memory, what the log acknowledged.

use std::time::Duration;

use super::entries::Noise;
use crate::merkle::{Hash, LeafIndex};

/// Most acknowledgements that are remembered: 40 MB. A run with more keeps a random sample of all of them (a
/// reservoir).
pub const MAX_REMEMBERED: usize = 1_000_000;

/// An entry that the log says it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ack {
    /// The index that the log named.
    pub index: LeafIndex,
    /// The leaf hash that must be there.
    pub leaf: Hash,
}

/// The acknowledgements of a run.
#[derive(Debug)]
pub struct Acks {
    kept: Vec<Ack>,
    cap: usize,
    seen: u64,
    /// The lowest and the highest index, kept or not.
    range: Option<(LeafIndex, LeafIndex)>,
    sampled_since: Option<Duration>,
    noise: Noise,
}

impl Acks {
    /// Starts empty; keeps at most `cap`.
    #[must_use]
    pub const fn new(cap: usize, seed: u64) -> Self {
        Self { kept: Vec::new(), cap, seen: 0, range: None, sampled_since: None, noise: Noise(seed) }
    }

    /// Adds one that came `elapsed` after the start; `leaf` is only called if it is kept.
    pub fn push(&mut self, index: LeafIndex, elapsed: Duration, leaf: impl FnOnce() -> Hash) {
        let (lowest, highest) = self.range.unwrap_or((index, index));
        self.range = Some((lowest.min(index), highest.max(index)));
        self.seen += 1;
        if self.kept.len() < self.cap {
            self.kept.push(Ack { index, leaf: leaf() });
            return;
        }
        self.sampled_since.get_or_insert(elapsed);
        // Algorithm R: the n-th takes a place with probability cap / n. The modulus prefers low
        // numbers by less than one in 2^40.
        let place = usize::try_from(self.noise.next() % self.seen).unwrap_or(usize::MAX);
        if let Some(kept) = self.kept.get_mut(place) {
            *kept = Ack { index, leaf: leaf() };
        }
    }

    /// Number of acknowledgements, kept or not.
    #[must_use]
    pub const fn seen(&self) -> u64 {
        self.seen
    }

    /// Lowest and highest index of all acknowledgements.
    #[must_use]
    pub const fn range(&self) -> Option<(LeafIndex, LeafIndex)> {
        self.range
    }

    /// Time since the start of the run at which it first had more than are kept.
    #[must_use]
    pub const fn sampled_since(&self) -> Option<Duration> {
        self.sampled_since
    }

    /// The kept ones, by index.
    pub fn sorted(&mut self) -> &[Ack] {
        self.kept.sort_unstable();
        &self.kept
    }

    /// `count` of the kept ones at random, by index.
    pub fn sample(&mut self, count: usize) -> Vec<Ack> {
        if count >= self.kept.len() {
            return self.sorted().to_vec();
        }
        // The first `count` steps of Fisher-Yates.
        for at in 0..count {
            let left = (self.kept.len() - at) as u64;
            let other = usize::try_from(self.noise.next() % left).expect("below the length");
            self.kept.swap(at, at + other);
        }
        let mut sample = self.kept[..count].to_vec();
        sample.sort_unstable();
        sample
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acks(cap: usize, count: u64) -> Acks {
        let mut acks = Acks::new(cap, 42);
        for n in 0..count {
            let index = LeafIndex::new(n).unwrap();
            acks.push(index, Duration::from_secs(n), || Hash::leaf(&n.to_be_bytes()));
        }
        acks
    }

    #[test]
    fn all_are_kept_up_to_the_cap() {
        let mut all = acks(10, 10);
        assert_eq!((all.seen(), all.sampled_since()), (10, None));
        let indices: Vec<u64> = all.sorted().iter().map(|ack| ack.index.get()).collect();
        assert_eq!(indices, (0..10).collect::<Vec<u64>>());
        assert_eq!(all.sample(10).len(), 10);
    }

    #[test]
    fn beyond_the_cap_each_has_the_same_chance() {
        let mut many = acks(1_000, 100_000);
        assert_eq!((many.seen(), many.sampled_since()), (100_000, Some(Duration::from_secs(1_000))));
        assert_eq!(many.range().map(|(low, high)| (low.get(), high.get())), Some((0, 99_999)));
        let kept = many.sorted();
        assert_eq!(kept.len(), 1_000);
        assert!(kept.iter().all(|ack| ack.leaf == Hash::leaf(&ack.index.get().to_be_bytes())));
        for quarter in 0..4 {
            let part = quarter * 25_000..(quarter + 1) * 25_000;
            let count = kept.iter().filter(|ack| part.contains(&ack.index.get())).count();
            assert!((180..320).contains(&count), "quarter {quarter} of the run has {count} of 1,000");
        }
    }

    #[test]
    fn a_sample_has_each_at_most_once() {
        let mut many = acks(1_000, 1_000);
        let sample = many.sample(200);
        assert_eq!(sample.len(), 200);
        assert!(sample.windows(2).all(|pair| pair[0].index < pair[1].index));
        assert!(sample[199].index.get() > 800, "from all of the run");
    }
}
