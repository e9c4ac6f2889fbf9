//! Leaves whose batch is lost. They come from tiles and bundles if these produce the next root, and are unknown
//! otherwise.

use super::examination::{Examination, Last, Tree};
use super::spare::Prefer;
use super::tiles::Tiles;
use crate::merkle::{Hash, RightEdge, TreeSize};
use crate::store::StoreError;

impl Examination<'_> {
    /// Closes the gap after the tree, up to a batch that states this root before it.
    pub(super) fn close(
        &mut self,
        last: Option<Last>,
        key: &str,
        end: TreeSize,
        before: Hash,
    ) -> Result<(), StoreError> {
        if self.bridge(end, &before)? {
            return Ok(());
        }
        // The batch before the gap may be the wrong one.
        let is_replaced = self.is_replaced(last.as_ref(), end, &before)?;
        if let Some(last) = last.filter(|_| is_replaced) {
            self.take_back(last, key, &before)?;
            self.bridge(end, &before)?;
            return Ok(());
        }
        if let Some(head) = self.covered.clone().filter(|head| head.size < end) {
            self.bridge(head.size, &head.root)?;
        }
        self.lose(key, end, before)
    }

    /// Continues after leaves that no object has.
    pub(super) fn lose(&mut self, key: &str, end: TreeSize, before: Hash) -> Result<(), StoreError> {
        let edge = self.spare.edge(end)?.filter(|edge| edge.root() == before);
        self.unknown(end, &format!("the root that {key} stands on"));
        let unchecked = &mut self.checked.unchecked;
        unchecked
            .push(format!("tiles and bundles with these entries, or hashes of them, behind entry {end}"));
        if edge.is_none() {
            unchecked.push(format!(
                "the entries from {end} on against a signed root: each batch from {key} on was compared with the one before it"
            ));
        }
        let (from, tiles, forks) = (end.get(), Tiles::behind(end), self.tree.forks.clone());
        let word = edge.is_none().then_some(before);
        let peaks = || vec![Hash::EMPTY_ROOT; end.get().count_ones() as usize];
        let edge = edge.unwrap_or_else(|| RightEdge::new(end, peaks()).expect("one peak for each bit"));
        self.tree = Tree { edge, tiles, word, from, forks };
        Ok(())
    }

    /// Records that the leaves up to `end` are unknown.
    pub(super) fn unknown(&mut self, end: TreeSize, root: &str) {
        let what = entries(self.tree.size().get(), end.get());
        self.checked
            .unchecked
            .push(format!("{what}: neither tiles nor bundles have leaves that make {root}"));
    }

    /// Tells whether the last batch is the wrong one: without it, tiles and bundles make the root that a later batch says.
    pub(super) fn is_replaced(
        &self,
        last: Option<&Last>,
        end: TreeSize,
        before: &Hash,
    ) -> Result<bool, StoreError> {
        last.map_or(Ok(false), |last| Ok(self.way(&last.tree, end, before)?.is_some()))
    }

    /// How tiles and bundles make a root of `end` leaves, on top of a tree; `None` if they do not.
    pub(super) fn way(&self, tree: &Tree, end: TreeSize, root: &Hash) -> Result<Option<Prefer>, StoreError> {
        if self.is_strict || tree.word.is_some() || end > self.spare.covered || end <= tree.size() {
            return Ok(None);
        }
        for prefer in Prefer::ALL {
            let mut edge = tree.edge.clone();
            let is_whole = self.spare.leaves(tree.size().get(), end, prefer, |leaves| {
                edge.extend(leaves);
                Ok(())
            })?;
            if is_whole && edge.root() == *root {
                return Ok(Some(prefer));
            }
        }
        Ok(None)
    }

    /// Takes the leaves up to `end` from tiles and bundles. Returns false if those do not make this root.
    pub(super) fn bridge(&mut self, end: TreeSize, root: &Hash) -> Result<bool, StoreError> {
        let Some(prefer) = self.way(&self.tree, end, root)? else { return Ok(false) };
        let (spare, first) = (self.spare.clone(), self.tree.size().get());
        spare.leaves(first, end, prefer, |leaves| self.pass(leaves))?;
        if self.tree.root() == *root {
            return Ok(true);
        }
        let detail = format!("tiles from entry {first} on changed while they were read");
        Err(StoreError::Overtaken { detail })
    }

    /// Applies leaves whose batch is lost.
    pub(super) fn pass(&mut self, mut leaf_hashes: &[Hash]) -> Result<(), StoreError> {
        while !leaf_hashes.is_empty() {
            // Tiles are compared where heads end.
            let size = self.tree.size();
            let ends = self.tiled.iter().map(|head| head.get().saturating_sub(size.get()));
            let next = ends.filter(|count| *count > 0).min().and_then(|count| usize::try_from(count).ok());
            let (some, rest) = leaf_hashes.split_at(next.unwrap_or(usize::MAX).min(leaf_hashes.len()));
            let growth = self.tree.edge.grow(some);
            let after = growth.edge.root();
            self.grow(size.get(), some, growth, None, after)?;
            leaf_hashes = rest;
        }
        Ok(())
    }

    /// Drops the last batch, because batch `key` does not continue it.
    pub(super) fn take_back(&mut self, last: Last, key: &str, before: &Hash) -> Result<(), StoreError> {
        let makes = self.tree.root();
        self.tree = last.tree;
        (self.checked.tiles, self.checked.damaged) = (last.tiles, last.damaged);
        self.checked.named.truncate(last.named);
        self.checked.batches -= 1;
        let expected = format!("entries that make the root {before}, which {key} and the tiles have");
        self.wrong_batch(last.key, expected, format!("others, which make {makes}"))
    }
}

/// Names the entries from `first` up to `end`.
fn entries(first: u64, end: u64) -> String {
    if first + 1 == end { format!("entry {first}") } else { format!("entries {first} to {}", end - 1) }
}
