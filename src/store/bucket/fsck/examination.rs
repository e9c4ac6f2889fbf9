//! A walk over the batches, which continues after lost ones.
//!
//! ```text
//! batch/…00   <-  batch/…30  damaged   batch/…40   <-  batch/…70   <-  the signed root
//! entries 0-29            30-39        40-69           70-99
//! known tree of 30 leaves + leaves 30-39 of tile/0/000 = the root that batch/…40 states before it
//! ```

use std::collections::BTreeSet;

use super::index::IndexCheck;
use super::spare::Spare;
use super::tiles::{Tiles, cuts, first_leaf};
use super::{BucketChecked, BucketFsck, FsckScope, WrongObject};
use crate::bucket::Object;
use crate::checkpoint::{Checkpoint, LogSigned, origin_hash};
use crate::format::FormatError;
use crate::merkle::{Growth, Hash, LeafIndex, RightEdge, TILE_WIDTH, TreeSize};
use crate::store::bucket::backup::read_head;
use crate::store::bucket::walk::Walk;
use crate::store::bucket::{BatchHead, BatchObject, ChainError, Followed, HeadKind, Seal, layout};
use crate::store::{ForkSearch, StoreError};

/// A head that the batches must produce.
pub(super) struct Head {
    pub(super) name: String,
    pub(super) head: Checkpoint,
}

/// The tree up to some size.
#[derive(Clone)]
pub(super) struct Tree {
    pub(super) edge: RightEdge,
    pub(super) tiles: Tiles,
    /// Set if only the size of `edge` is known: the root that the last batch states.
    pub(super) word: Option<Hash>,
    /// Only tiles from this leaf on are compared.
    pub(super) from: u64,
    pub(super) forks: ForkSearch,
}

impl Tree {
    pub fn size(&self) -> TreeSize {
        self.edge.size()
    }

    pub fn root(&self) -> Hash {
        self.word.unwrap_or_else(|| self.edge.root())
    }
}

/// The state before the last batch, which may turn out to be the wrong batch.
pub(super) struct Last {
    pub(super) key: String,
    pub(super) tree: Tree,
    pub(super) tiles: u64,
    pub(super) damaged: u64,
    pub(super) named: usize,
}

/// A gap after the tree, whose end is not known yet.
#[derive(Clone, Copy)]
pub(super) struct Open {
    /// The first leaf index of the last lost batch in it.
    pub(super) last: TreeSize,
    /// The end of that batch, according to its own header.
    pub(super) reach: Option<TreeSize>,
}

pub(super) struct Examination<'a> {
    pub(super) fsck: &'a BucketFsck<'a>,
    /// True to stop at the first fault.
    pub(super) is_strict: bool,
    /// True for a log that moves into the bucket: the sizes near its end may have had heads.
    pub(super) is_coming: bool,
    pub(super) heads: Vec<Head>,
    /// Sizes with partial tiles.
    pub(super) tiled: BTreeSet<TreeSize>,
    /// The largest of the bucket's heads.
    pub(super) covered: Option<Checkpoint>,
    pub(super) spare: Spare,
    pub(super) tree: Tree,
    pub(super) last: Option<Last>,
    /// True while batches after the tree are missing or wrong.
    pub(super) open: Option<Open>,
    pub(super) index: IndexCheck<'a>,
    pub(super) checked: BucketChecked,
}

impl<'a> Examination<'a> {
    pub fn begin(
        fsck: &'a BucketFsck<'a>,
        scope: &'a FsckScope<'_>,
        is_strict: bool,
    ) -> Result<Self, StoreError> {
        let index = IndexCheck::begin(fsck, scope.index.as_ref())?;
        let mut faults = Vec::new();
        let [published, signed] =
            HeadKind::ALL.map(|kind| match read_head(fsck.objects.as_ref(), kind, &fsck.keys) {
                Ok(head) => Ok(head.map(|head| (kind, head))),
                Err(ChainError::HeadDamaged { key, detail }) if !is_strict => {
                    faults.push(WrongObject { key, expected: "a head of this log".to_owned(), seen: detail });
                    Ok(None)
                }
                Err(error) => Err(StoreError::from(error)),
            });
        let (published, signed) = (published?, signed?);
        let mut heads: Vec<Head> = Vec::new();
        let there = || [&published, &signed].into_iter().flatten();
        heads.extend(there().map(|(kind, head)| Head { name: kind.to_string(), head: head.get().clone() }));
        let kept = scope.kept.iter().map(LogSigned::get);
        let others = scope.coming.iter().chain(kept);
        heads.extend(
            others.map(|head| Head { name: "another head of this log".to_owned(), head: head.clone() }),
        );
        let bucket = there().map(|(_, head)| head.get()).chain(&scope.coming);
        let tiled: BTreeSet<TreeSize> = bucket.clone().map(|head| head.size).collect();
        let covered = bucket.max_by_key(|head| head.size).cloned();
        let searched: Vec<LogSigned<Checkpoint>> =
            there().map(|(_, head)| head).chain(&scope.kept).cloned().collect();
        let forks = ForkSearch::new(if is_strict { &[] } else { &searched });
        let checked = BucketChecked {
            wrong: faults,
            published: published.map(|(_, head)| head.get().clone()),
            signed: signed.map(|(_, head)| head.get().clone()),
            ..BucketChecked::default()
        };
        let size = covered.as_ref().map_or(TreeSize::ZERO, |head| head.size);
        let spare = Spare { objects: fsck.objects.clone(), covered: size, threads: fsck.threads };
        let tree = Tree { edge: RightEdge::default(), tiles: Tiles::default(), word: None, from: 0, forks };
        let is_coming = !scope.coming.is_empty();
        let (last, open) = (None, None);
        Ok(Self {
            fsck,
            is_strict,
            is_coming,
            heads,
            tiled,
            covered,
            spare,
            tree,
            last,
            open,
            index,
            checked,
        })
    }

    pub fn run(mut self) -> Result<BucketChecked, StoreError> {
        self.check_heads(&Hash::EMPTY_ROOT)?;
        let mut walk = Walk::list(self.fsck.objects.as_ref(), 2 * self.fsck.threads)?;
        let total = walk.last().map_or(0, LeafIndex::get).max(self.spare.covered.get());
        if self.covered.is_none() && walk.last().is_some() && !self.is_coming && self.checked.wrong.is_empty()
        {
            let key = HeadKind::Published.to_string();
            let (expected, seen) = ("the last head of this log".to_owned(), "none".to_owned());
            self.wrong(key.clone(), expected, seen, ChainError::HeadMissing { key })?;
        }
        while let Some((first, object)) = walk.next()? {
            self.take(first, object)?;
            let done = self.tree.size().get();
            (self.fsck.progress)(done, total.max(done));
        }
        self.finish()
    }

    /// Processes the object of a batch.
    fn take(&mut self, first: LeafIndex, object: Option<Object>) -> Result<(), StoreError> {
        let key = layout::batch(first);
        let end = size_of(first);
        if self.checked.sealed.is_some() {
            let (expected, seen) = ("nothing behind the seal of a log that was moved away", "an object");
            return self.wrong_batch(key, expected.to_owned(), seen.to_owned());
        }
        let Some(Object { bytes, .. }) = object else {
            return self.lost(&key, end, None, "none, although it was listed".to_owned());
        };
        if Seal::is_one(&bytes) {
            return self.end_by(&key, end, Seal::parse(&bytes));
        }
        let origin = origin_hash(self.fsck.origin.as_str());
        // Its header may be intact.
        let says = BatchHead::parse(&bytes).ok().filter(|head| head.first == first && head.origin == origin);
        let batch = match BatchObject::parse(bytes) {
            Ok(batch) => batch,
            Err(error) => {
                let reach = says.map(|head| head.end());
                return self.lost(&key, end, reach, format!("a damaged one: {error}"));
            }
        };
        let head = batch.head();
        if head.origin != origin {
            let seen = format!("one of the log whose origin hashes to {}, not to {origin}", head.origin);
            return self.lost(&key, end, None, seen);
        }
        if head.first != first {
            return self.lost(&key, end, None, format!("one whose first index is {}", head.first));
        }
        if self.join(&key, end, Some(head.end()), head.before)? {
            return self.follow(key, batch);
        }
        Ok(())
    }

    /// Extends the tree to the beginning of a batch, with the root that the batch states before it. Returns false if
    /// the batch is the wrong one.
    fn join(
        &mut self,
        key: &str,
        end: TreeSize,
        reach: Option<TreeSize>,
        before: Hash,
    ) -> Result<bool, StoreError> {
        let (size, mut last) = (self.tree.size(), self.last.take());
        if self.open.is_none() {
            if end == size && self.tree.root() == before {
                return Ok(true);
            }
            // The batch before it may be the wrong one, even if its length is wrong.
            let is_replaced = self.way(&self.tree, end, &before)?.is_none()
                && self.is_replaced(last.as_ref(), end, &before)?;
            if let Some(last) = last.take_if(|_| is_replaced) {
                self.take_back(last, key, &before)?;
                self.bridge(end, &before)?;
                return Ok(true);
            }
            if end <= size {
                // Ignore a batch that begins within the batch before it.
                self.last = last.filter(|_| end < size);
                self.open = (end == size).then_some(Open { last: end, reach });
                let expected = format!("a batch on top of {size} entries with root {}", self.tree.root());
                let seen = format!("one on top of {end} with root {before}");
                self.wrong_batch(key.to_owned(), expected, seen)?;
                return Ok(false);
            }
        }
        self.missing_before(key, end)?;
        self.open = None;
        self.close(last, key, end, before)?;
        Ok(true)
    }

    /// Grows the tree by a batch that continues it.
    fn follow(&mut self, key: String, object: BatchObject) -> Result<(), StoreError> {
        let leaf_hashes: Vec<Hash> = object.entries().map(Hash::leaf).collect();
        let growth = self.tree.edge.grow(&leaf_hashes);
        let (says, makes, reach) = (object.head().after, growth.edge.root(), Some(object.head().end()));
        if self.tree.word.is_none() && says != makes {
            self.open = Some(Open { last: self.tree.size(), reach });
            let seen = format!("entries that make {makes}");
            return self.wrong_batch(key, format!("entries that make the root {says}, as it says"), seen);
        }
        if let Some(root) = self.contradicted(&leaf_hashes)? {
            self.open = Some(Open { last: self.tree.size(), reach });
            let expected =
                format!("entries that make the signed root {root}, as tiles and bundles have them");
            return self.wrong_batch(key, expected, "others".to_owned());
        }
        let first = self.tree.size().get();
        if !self.is_strict {
            let (tree, named) = (self.tree.clone(), self.checked.named.len());
            self.last =
                Some(Last { key, tree, tiles: self.checked.tiles, damaged: self.checked.damaged, named });
        }
        self.checked.batches += 1;
        let followed = Followed { object, leaf_hashes, growth };
        self.index.add(&followed);
        let Followed { object, leaf_hashes, growth } = followed;
        let entries: Vec<&[u8]> = object.entries().collect();
        // Behind a gap, the roots within a batch are not known.
        let cuts =
            if self.tree.word.is_none() { cuts(first, entries.len(), &self.tiled) } else { Vec::new() };
        if cuts.is_empty() {
            return self.grow(first, &leaf_hashes, growth, Some(&entries), says);
        }
        let mut begin = 0;
        for end in cuts.into_iter().chain([entries.len()]) {
            let growth = self.tree.edge.grow(&leaf_hashes[begin..end]);
            let entries = Some(&entries[begin..end]);
            self.grow(first + begin as u64, &leaf_hashes[begin..end], growth, entries, says)?;
            begin = end;
        }
        Ok(())
    }

    /// Grows the tree by leaves, and compares the heads over them and the tiles that they make. `after` is the root that their
    /// batch says.
    pub(super) fn grow(
        &mut self,
        first: u64,
        leaf_hashes: &[Hash],
        growth: Growth,
        entries: Option<&[&[u8]]>,
        after: Hash,
    ) -> Result<(), StoreError> {
        for at in self.heads_over(leaf_hashes.len()) {
            let (name, head) = (self.heads[at].name.clone(), self.heads[at].head.clone());
            if let Some(root) = self.root_at(head.size, leaf_hashes, after) {
                self.check_head(name, &head, &root)?;
            } else {
                let size = head.size;
                let what = format!("{name} of tree size {size}: the root of the batches there is not known");
                self.checked.unchecked.push(what);
            }
        }
        let (size, covered) = (growth.edge.size(), self.spare.covered);
        let tree = &mut self.tree;
        tree.forks.add(first, leaf_hashes);
        let is_near = self.is_coming && size.get() > covered.get() / TILE_WIDTH * TILE_WIDTH;
        let entries = entries.map(|entries| entries.iter().copied());
        let mut expected = tree.tiles.grow(&growth, first, entries, self.tiled.contains(&size) || is_near);
        // A server writes the tiles of the next head shortly before that head.
        expected.retain(|(tile, _)| tile.id.width_in(covered) >= tile.width() as u64);
        expected.retain(|(tile, _)| first_leaf(tile) >= tree.from);
        tree.edge = growth.edge;
        tree.word = tree.word.map(|_| after);
        self.fsck.check(&expected, covered, &mut self.checked)
    }

    /// The heads that cover more than the tree, by at most this many leaves.
    pub(super) fn heads_over(&self, leaves: usize) -> Vec<usize> {
        let size = self.tree.size();
        let is_over = |head: &Head| head.head.size > size && head.head.size <= size.plus(leaves);
        (0..self.heads.len()).filter(|at| is_over(&self.heads[*at])).collect()
    }

    /// The root of a tree that ends within a batch.
    fn root_at(&self, size: TreeSize, leaf_hashes: &[Hash], after: Hash) -> Option<Hash> {
        let count = usize::try_from(size.get() - self.tree.size().get()).expect("within a batch");
        if self.tree.word.is_some() {
            return (count == leaf_hashes.len()).then_some(after);
        }
        let mut edge = self.tree.edge.clone();
        edge.extend(&leaf_hashes[..count]);
        Some(edge.root())
    }

    /// The signed root that a batch's entries do not make, if tiles and bundles make it: then the batch is the wrong one, not
    /// the head.
    fn contradicted(&self, leaf_hashes: &[Hash]) -> Result<Option<Hash>, StoreError> {
        if self.is_strict || self.tree.word.is_some() {
            return Ok(None);
        }
        for at in self.heads_over(leaf_hashes.len()) {
            let head = &self.heads[at].head;
            if self.root_at(head.size, leaf_hashes, head.root) != Some(head.root)
                && self.way(&self.tree, head.size, &head.root)?.is_some()
            {
                return Ok(Some(head.root));
            }
        }
        Ok(None)
    }

    /// Processes the seal of a log that was moved away.
    fn end_by(
        &mut self,
        key: &str,
        end: TreeSize,
        seal: Result<Seal, FormatError>,
    ) -> Result<(), StoreError> {
        let seal = match seal {
            Ok(seal) => seal,
            Err(error) => return self.lost(key, end, None, format!("a damaged seal: {error}")),
        };
        let origin = origin_hash(self.fsck.origin.as_str());
        if seal.origin != origin || seal.size != end {
            let seen = format!("a seal at tree size {}, or of another log", seal.size);
            return self.lost(key, end, None, seen);
        }
        if !self.join(key, end, None, seal.root)? {
            return Ok(());
        }
        self.checked.sealed = Some(seal.mover);
        Ok(())
    }

    fn finish(mut self) -> Result<BucketChecked, StoreError> {
        let size = self.tree.size();
        if let Some(head) = self.covered.clone().filter(|head| head.size > size) {
            let reach = self.open.map_or(Some(size), |open| open.reach);
            if let Some(reach) = reach.filter(|reach| *reach < head.size) {
                self.ends_early(head.size, reach)?;
            }
            if !self.bridge(head.size, &head.root)? {
                self.unknown(head.size, "the signed root");
            }
        }
        let covered = self.spare.covered.max(size);
        let is_behind = |open: Open| open.last >= covered || open.reach.is_some_and(|reach| reach > covered);
        if self.open.is_some_and(is_behind) {
            let what = format!(
                "entries from {covered} on: no signed head covers them, so nothing proves what was in them"
            );
            self.checked.unchecked.push(what);
        }
        let own = self.heads.iter().map(|head| head.head.size).max().unwrap_or_default();
        if own > self.tree.size().max(self.spare.covered) {
            self.ends_early(own, self.tree.size())?;
        }
        (self.checked.entries, self.checked.root) = (self.tree.size(), self.tree.root());
        self.checked.fork = self.tree.forks.find(&self.fsck.keys).map(Box::new);
        self.checked.index = self.index.end(self.checked.entries);
        Ok(self.checked)
    }
}

fn size_of(first: LeafIndex) -> TreeSize {
    TreeSize::new(first.get()).expect("an index is a size")
}
