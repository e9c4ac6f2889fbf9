//! Pointers that are in memory alone, until they are in a run.

use std::sync::Arc;

use super::filter::Filter;
use super::pointer::{Pointer, Wanted};

/// Pointers of consecutive leaves: in sorted parts, oldest leaves first, and with a filter over all of them. Nearly
/// every lookup of an append asks for what is not there, and looks at the filter alone.
#[derive(Debug)]
pub struct Recent {
    /// Few: each is much larger than the next, as [`with_part`] makes them.
    parts: Vec<Arc<Vec<Pointer>>>,
    filter: Filter,
}

impl Recent {
    /// None yet, and a filter for so many.
    pub fn new(pointers: usize) -> Self {
        Self { parts: Vec::new(), filter: Filter::new(pointers as u64, u64::MAX) }
    }

    /// Number of pointers.
    pub fn len(&self) -> usize {
        self.parts.iter().map(|part| part.len()).sum()
    }

    /// The parts.
    pub fn parts(&self) -> &[Arc<Vec<Pointer>>] {
        &self.parts
    }

    /// Replaces the parts by others that also have the `new` pointers.
    pub fn set(&mut self, parts: Vec<Arc<Vec<Pointer>>>, new: &[Pointer]) {
        self.parts = parts;
        let filtered = new.iter().filter(|pointer| pointer.is_filtered());
        filtered.for_each(|pointer| self.filter.insert(pointer.wanted()));
    }

    /// All pointers, sorted.
    pub fn sorted(&self) -> Vec<Pointer> {
        merge(&self.parts, &[])
    }

    /// Matching pointers, lowest leaf first.
    pub fn find(&self, wanted: Wanted) -> impl Iterator<Item = Pointer> {
        let (low, high) = (wanted.at(0), wanted.at(u64::MAX));
        let parts = if self.knows(low) { self.parts.as_slice() } else { &[] };
        parts.iter().flat_map(move |part| {
            let first = part.partition_point(|pointer| *pointer < low);
            part[first..].iter().copied().take_while(move |pointer| *pointer <= high)
        })
    }

    /// The highest pointer from `low` on below `high`.
    pub fn highest(&self, low: Pointer, high: Pointer) -> Option<Pointer> {
        let parts = if self.knows(low) { self.parts.as_slice() } else { &[] };
        let last = |part: &Arc<Vec<Pointer>>| {
            let end = part.partition_point(|pointer| *pointer < high);
            part[..end].last().filter(|last| **last >= low).copied()
        };
        parts.iter().filter_map(last).max()
    }

    /// Pointers from `low` on below `high`, highest leaf first.
    pub fn newest(&self, low: Pointer, high: Pointer) -> impl Iterator<Item = Pointer> {
        self.parts.iter().rev().flat_map(move |part| {
            let end = part.partition_point(|pointer| *pointer < high);
            part[..end].iter().rev().copied().take_while(move |pointer| *pointer >= low)
        })
    }

    /// The first pointer from another one on.
    pub fn first_from(&self, from: Pointer) -> Option<Pointer> {
        let first =
            |part: &Arc<Vec<Pointer>>| part.get(part.partition_point(|pointer| *pointer < from)).copied();
        self.parts.iter().filter_map(first).min()
    }

    fn knows(&self, pointer: Pointer) -> bool {
        !pointer.is_filtered() || self.filter.may_have(pointer.wanted())
    }
}

/// Adds sorted pointers to parts. A part is merged with what comes after it unless its length has more binary digits:
/// so there are at most as many parts as digits, and a pointer is copied at most so often.
pub fn with_part(parts: &[Arc<Vec<Pointer>>], new: &[Pointer]) -> Vec<Arc<Vec<Pointer>>> {
    let (mut kept, mut count) = (parts.len(), new.len());
    while kept > 0 && parts[kept - 1].len().checked_ilog2() <= count.checked_ilog2() {
        kept -= 1;
        count += parts[kept].len();
    }
    let mut parts = parts.to_vec();
    let last = Arc::new(merge(&parts[kept..], new));
    parts.truncate(kept);
    parts.push(last);
    parts
}

/// Merges sorted parts. A pointer that several leaves share is kept once.
fn merge(parts: &[Arc<Vec<Pointer>>], new: &[Pointer]) -> Vec<Pointer> {
    let parts = || parts.iter().map(|part| part.as_slice()).chain([new]);
    let mut merged = Vec::with_capacity(parts().map(<[Pointer]>::len).sum());
    parts().for_each(|part| merged.extend_from_slice(part));
    // This sort merges what is sorted already.
    merged.sort();
    merged.dedup();
    merged
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merkle::Hash;
    use crate::store::derived::index::LEAF;

    fn pointer(key: u64, leaf: u64) -> Pointer {
        Wanted::hash(LEAF, &Hash::digest(&key.to_be_bytes())).at(leaf)
    }

    #[test]
    fn parts_are_few_and_sorted_and_have_each_pointer_once() {
        let mut recent = Recent::new(1_000);
        let mut expected = Vec::new();
        for leaf in 0..1_000 {
            // Every third leaf repeats the pointer before it.
            let new = [pointer(leaf % 90, leaf - u64::from(leaf % 3 == 2))];
            let parts = with_part(recent.parts(), &new);
            recent.set(parts, &new);
            expected.extend(new);
            assert!(recent.parts().is_sorted_by(|a, b| a.len() > b.len()) && recent.parts().len() <= 10);
        }
        expected.sort_unstable();
        expected.dedup();
        assert_eq!(recent.sorted(), expected);
        for key in 0..90 {
            let (low, high) = (pointer(key, 300), pointer(key, 700));
            let of_key = expected.iter().copied().filter(|found| found.wanted() == low.wanted());
            assert!(recent.find(low.wanted()).eq(of_key.clone()), "lowest leaf first");
            let between = of_key.filter(|found| (low..high).contains(found));
            assert_eq!(recent.highest(low, high), between.clone().next_back());
            assert!(recent.newest(low, high).eq(between.collect::<Vec<_>>().into_iter().rev()));
            for from in [low, high] {
                assert_eq!(recent.first_from(from), expected.iter().copied().find(|found| *found >= from));
            }
        }
        assert_eq!(recent.find(pointer(90, 0).wanted()).count(), 0);
    }
}
