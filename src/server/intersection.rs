//! Finds the leaves that all of several search terms point at, newest first. A term may be a group of terms, of which a
//! leaf needs one: the names that begin alike.
//!
//! Terms take turns: each skips to its newest leaf that is not newer than those of the others. The rarest term sets
//! the pace, and rows of a common term are skipped without reading their entries. So flooding the log with
//! statements about another publisher's artifact does not slow a search for that artifact in its own package.

use std::cell::Cell;
use std::collections::VecDeque;

use crate::merkle::LeafIndex;
use crate::release::Term;
use crate::store::{SearchPage, StoreError};

/// Rows of one term that are read at once.
const BLOCK: usize = 64;

/// The result of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// All terms point at this leaf. The index keeps a part of each value's hash, so the caller compares the entry.
    Found(LeafIndex),
    /// The limit of look-ups is reached; the search goes on before this leaf.
    Paused(LeafIndex),
    /// There are no older leaves.
    End,
}

/// A search for leaves that match all terms. `search` finds a page of one term's leaves before another leaf.
pub struct Intersection<S> {
    search: S,
    rows: Vec<GroupRows>,
    steps_left: usize,
}

impl<S: Fn(&Term, LeafIndex, usize) -> Result<SearchPage, StoreError>> Intersection<S> {
    /// Begins a search with about `steps` look-ups at most: a group may look up each of its terms once more. Without groups,
    /// every leaf matches.
    pub fn new(search: S, groups: impl IntoIterator<Item = Vec<Term>>, steps: usize) -> Self {
        let rows = |term| TermRows { term, block: VecDeque::new(), more: true };
        let group = |terms: Vec<Term>| GroupRows(terms.into_iter().map(rows).collect());
        Self { search, rows: groups.into_iter().map(group).collect(), steps_left: steps }
    }

    /// Finds the newest match before `end`, which must go down from one call to the next.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn next_before(&mut self, mut end: LeafIndex) -> Result<Step, StoreError> {
        let (mut agreed, terms) = (0, self.rows.len());
        for at in (0..terms).cycle() {
            if self.steps_left == 0 {
                return Ok(Step::Paused(end));
            }
            let (newest, steps) = self.rows[at].newest_before(end, &self.search)?;
            self.steps_left = self.steps_left.saturating_sub(steps);
            let Some(index) = newest else { return Ok(Step::End) };
            let same = agreed > 0 && index.plus(1) == end;
            (agreed, end) = (if same { agreed + 1 } else { 1 }, index.plus(1));
            if agreed == terms {
                return Ok(Step::Found(index));
            }
        }
        let newest = end.get().checked_sub(1).and_then(LeafIndex::new);
        Ok(newest.map_or(Step::End, Step::Found))
    }
}

/// The leaves of terms of which one is enough.
struct GroupRows(Vec<TermRows>);

impl GroupRows {
    /// The newest leaf, and the steps that it took: one for each look-up, at least one.
    fn newest_before(
        &mut self,
        end: LeafIndex,
        search: impl Fn(&Term, LeafIndex, usize) -> Result<SearchPage, StoreError>,
    ) -> Result<(Option<LeafIndex>, usize), StoreError> {
        let look_ups = Cell::new(0);
        let counted = |term: &Term, before, limit| {
            look_ups.set(look_ups.get() + 1);
            search(term, before, limit)
        };
        let mut newest = None;
        for rows in &mut self.0 {
            newest = newest.max(rows.newest_before(end, counted)?);
        }
        Ok((newest, look_ups.get().max(1)))
    }
}

/// The leaves of one term.
struct TermRows {
    term: Term,
    /// The next leaves, newest first, without a gap.
    block: VecDeque<LeafIndex>,
    /// Set if older leaves may exist.
    more: bool,
}

impl TermRows {
    fn newest_before(
        &mut self,
        end: LeafIndex,
        search: impl Fn(&Term, LeafIndex, usize) -> Result<SearchPage, StoreError>,
    ) -> Result<Option<LeafIndex>, StoreError> {
        while self.block.front().is_some_and(|index| *index >= end) {
            self.block.pop_front();
        }
        if self.block.is_empty() && self.more {
            let page = search(&self.term, end, BLOCK)?;
            (self.block, self.more) = (page.leaves.into(), page.more);
        }
        Ok(self.block.front().copied())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::release::SearchField;

    /// An index in memory that counts its look-ups.
    #[derive(Default)]
    struct Leaves {
        of: Vec<(Term, BTreeSet<u64>)>,
        asked: Cell<usize>,
    }

    impl Leaves {
        fn search(&self, term: &Term, before: LeafIndex, limit: usize) -> SearchPage {
            self.asked.set(self.asked.get() + 1);
            let leaves = &self.of.iter().find(|(known, _)| known == term).expect("a term").1;
            let mut found = leaves.range(..before.get()).rev();
            let page = found.by_ref().take(limit).map(|at| index(*at)).collect();
            SearchPage { leaves: page, more: found.next().is_some() }
        }

        fn walk(
            &self,
            steps: usize,
        ) -> Intersection<impl Fn(&Term, LeafIndex, usize) -> Result<SearchPage, StoreError>> {
            Intersection::new(
                |term, before, limit| Ok(self.search(term, before, limit)),
                (0..self.of.len()).map(|at| vec![term(at)]),
                steps,
            )
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
        Leaves { of, asked: Cell::new(0) }
    }

    /// All matches, found in pages of `steps` look-ups.
    fn matches(leaves: &Leaves, steps: usize) -> Vec<u64> {
        let (mut found, end) = (Vec::new(), Cell::new(index(10_000)));
        loop {
            let mut walk = leaves.walk(steps);
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
    fn matches_are_found_newest_first_however_often_the_search_pauses() {
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
        let mut walk = nothing.walk(0);
        assert_eq!(walk.next_before(index(2)).unwrap(), Step::Found(index(1)));
        assert_eq!(walk.next_before(index(0)).unwrap(), Step::End);
    }

    #[test]
    fn one_term_of_a_group_is_enough() {
        let every = |step: usize, first: usize| (first..2_000).step_by(step).map(|at| at as u64).collect();
        let leaves = leaves(&[every(6, 1), every(9, 0), BTreeSet::new(), every(4, 0)]);
        let groups = || [vec![term(0), term(1), term(2)], vec![term(3)]];
        let expected: Vec<u64> =
            (0..2_000).rev().filter(|at| at % 4 == 0 && (at % 6 == 1 || at % 9 == 0)).collect();
        for steps in [4, 50, 100_000] {
            let search = |term: &Term, before, limit| Ok(leaves.search(term, before, limit));
            let (mut found, mut end) = (Vec::new(), index(10_000));
            let mut walk = Intersection::new(search, groups(), steps);
            loop {
                match walk.next_before(end).unwrap() {
                    Step::Found(at) => {
                        found.push(at.get());
                        end = at;
                    }
                    Step::Paused(at) => (end, walk) = (at, Intersection::new(search, groups(), steps)),
                    Step::End => break,
                }
            }
            assert_eq!(found, expected, "{steps} steps");
        }
        // A group of no terms matches nothing: no name begins so.
        let search = |term: &Term, before, limit| Ok(leaves.search(term, before, limit));
        let mut walk = Intersection::new(search, [vec![], vec![term(3)]], 9);
        assert_eq!(walk.next_before(index(10_000)).unwrap(), Step::End);
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
            assert!(leaves.asked.get() <= 6, "{:?}", leaves.asked);
        }
    }
}
