//! Leaves that all of several search terms point at, newest first.
//!
//! Terms take turns: each skips to its newest leaf that is not newer than what the others have. So the rarest term
//! sets the pace, and rows of a common one are skipped without reading their entries: whoever floods the log with
//! statements about somebody else's artifact is no hindrance to who asks for that artifact in its own package.

use std::collections::VecDeque;

use crate::merkle::LeafIndex;
use crate::release::Term;
use crate::store::{StoreError, StoreReader};

/// Pointers of one term that are read at once.
const BLOCK: usize = 64;

/// Where a walk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// All terms point at this leaf. A term keeps a part of its value's hash, so whoever reads the entry compares.
    Found(LeafIndex),
    /// As many look-ups as are allowed were made: what is left is before this leaf.
    Paused(LeafIndex),
    /// There is nothing older.
    End,
}

/// A walk over the leaves that match all terms.
pub struct Intersection<'a> {
    rows: Vec<Rows<'a>>,
    steps_left: usize,
}

impl<'a> Intersection<'a> {
    /// With so many look-ups in all. Without terms, every leaf matches.
    pub fn new(reader: &'a dyn StoreReader, terms: impl Iterator<Item = Term>, steps: usize) -> Self {
        let rows = terms.map(|term| Rows { reader, term, block: VecDeque::new(), more: true });
        Self { rows: rows.collect(), steps_left: steps }
    }

    /// The newest match before `end`, which goes down from one call to the next.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn next_before(&mut self, mut end: LeafIndex) -> Result<Step, StoreError> {
        let mut agreed = 0;
        for at in (0..self.rows.len()).cycle() {
            let Some(left) = self.steps_left.checked_sub(1) else { return Ok(Step::Paused(end)) };
            self.steps_left = left;
            let Some(index) = self.rows[at].newest_before(end)? else { return Ok(Step::End) };
            let same = agreed > 0 && index.plus(1) == end;
            (agreed, end) = (if same { agreed + 1 } else { 1 }, index.plus(1));
            if agreed == self.rows.len() {
                return Ok(Step::Found(index));
            }
        }
        let newest = end.get().checked_sub(1).and_then(LeafIndex::new);
        Ok(newest.map_or(Step::End, Step::Found))
    }
}

/// The leaves of one term.
struct Rows<'a> {
    reader: &'a dyn StoreReader,
    term: Term,
    /// The next of them, newest first, without a gap.
    block: VecDeque<LeafIndex>,
    /// Whether there are older ones.
    more: bool,
}

impl Rows<'_> {
    fn newest_before(&mut self, end: LeafIndex) -> Result<Option<LeafIndex>, StoreError> {
        while self.block.front().is_some_and(|index| *index >= end) {
            self.block.pop_front();
        }
        if self.block.is_empty() && self.more {
            let page = self.reader.search(&self.term, Some(end), BLOCK)?;
            (self.block, self.more) = (page.leaves.into(), page.more);
        }
        Ok(self.block.front().copied())
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::collections::BTreeSet;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::merkle::{Hash, Tile, TreeSize};
    use crate::release::SearchField;
    use crate::store::SearchPage;

    /// Leaves by term, and how often the index was asked.
    #[derive(Default)]
    struct Leaves {
        of: Vec<(Term, BTreeSet<u64>)>,
        asked: AtomicUsize,
    }

    impl StoreReader for Leaves {
        fn size(&self) -> TreeSize {
            unreachable!("the tree is not looked at")
        }
        fn applied(&self) -> Result<TreeSize, StoreError> {
            unreachable!("the tree is not looked at")
        }
        fn tiles(&self, _: &[Tile]) -> Result<Vec<Vec<Hash>>, StoreError> {
            unreachable!("the tree is not looked at")
        }
        fn bundle(&self, _: u64, _: usize) -> Result<Vec<u8>, StoreError> {
            unreachable!("entries are not looked at")
        }
        fn find_leaf(&self, _: &Hash) -> Result<Option<LeafIndex>, StoreError> {
            unreachable!("hashes are not looked for")
        }
        fn find_claim(&self, _: &Hash) -> Result<Option<Hash>, StoreError> {
            unreachable!("claims are not looked for")
        }
        fn search(
            &self,
            term: &Term,
            before: Option<LeafIndex>,
            limit: usize,
        ) -> Result<SearchPage, StoreError> {
            self.asked.fetch_add(1, Ordering::Relaxed);
            let leaves = &self.of.iter().find(|(known, _)| known == term).expect("a term").1;
            let mut found = leaves.range(..before.map_or(u64::MAX, LeafIndex::get)).rev();
            let page = found.by_ref().take(limit).map(|at| LeafIndex::new(*at).unwrap()).collect();
            Ok(SearchPage { leaves: page, more: found.next().is_some() })
        }
    }

    fn index(at: u64) -> LeafIndex {
        LeafIndex::new(at).unwrap()
    }

    fn term(at: usize) -> Term {
        Term::new(SearchField::Package, &at.to_string())
    }

    fn leaves(of: &[BTreeSet<u64>]) -> Leaves {
        let of = of.iter().enumerate().map(|(at, leaves)| (term(at), leaves.clone())).collect();
        Leaves { of, asked: AtomicUsize::new(0) }
    }

    /// All matches, by pages of so many look-ups.
    fn matches(leaves: &Leaves, steps: usize) -> Vec<u64> {
        let (mut found, end) = (Vec::new(), Cell::new(index(10_000)));
        loop {
            let terms = (0..leaves.of.len()).map(term);
            let mut walk = Intersection::new(leaves, terms, steps);
            loop {
                match walk.next_before(end.get()).unwrap() {
                    Step::Found(at) => {
                        found.push(at.get());
                        end.set(at);
                    }
                    Step::Paused(at) => {
                        end.set(at);
                        break;
                    }
                    Step::End => return found,
                }
            }
        }
    }

    #[test]
    fn what_all_terms_have_is_found_newest_first_however_often_it_pauses() {
        let every = |step: usize| (0..2_000).step_by(step).collect::<BTreeSet<u64>>();
        for of in [
            vec![every(1)],
            vec![every(2), every(3)],
            vec![every(7), every(1), every(5)],
            vec![every(4), every(6), every(9), every(10)],
            vec![every(2), every(2).into_iter().map(|at| at + 1).collect()],
            vec![every(3), BTreeSet::new()],
            vec![BTreeSet::from([0]), every(1)],
        ] {
            let all = |at: &u64| of.iter().all(|leaves| leaves.contains(at));
            let expected: Vec<u64> = of[0].iter().rev().copied().filter(all).collect();
            let leaves = leaves(&of);
            for steps in [2 * of.len(), 17, 100_000] {
                assert_eq!(matches(&leaves, steps), expected, "{} terms, {steps} steps", of.len());
            }
        }
        let none: [BTreeSet<u64>; 0] = [];
        let nothing = leaves(&none);
        let mut walk = Intersection::new(&nothing, std::iter::empty(), 0);
        assert_eq!(walk.next_before(index(2)).unwrap(), Step::Found(index(1)));
        assert_eq!(walk.next_before(index(0)).unwrap(), Step::End);
    }

    #[test]
    fn the_rarest_term_sets_the_pace() {
        let flood: BTreeSet<u64> = (10..9_000).collect();
        let rare = BTreeSet::from([3, 9_500]);
        let both = |mut leaves: BTreeSet<u64>| {
            leaves.insert(3);
            leaves
        };
        for of in [[both(flood.clone()), rare.clone()], [rare, both(flood)]] {
            let leaves = leaves(&of);
            assert_eq!(matches(&leaves, 16), [3]);
            assert!(leaves.asked.load(Ordering::Relaxed) <= 6, "{:?}", leaves.asked);
        }
    }
}
