//! Plans a repair: reads all objects in the bucket, and the sources' entries for the gaps.
//!
//! The batch after a gap states the root before it, and the signed head states the root of the whole tree. So each
//! source's entries can be checked gap by gap.

use std::collections::{BTreeMap, BTreeSet};

use super::heads::sizes;
use super::{BucketRepair, NamedSource, RepairMode, THREADS, next_of};
use crate::bucket::{Object, Tag};
use crate::checkpoint::origin_hash;
use crate::merkle::{Hash, LeafIndex, RightEdge, TreeSize};
use crate::release::MAX_ENTRY_BYTES;
use crate::store::bucket::walk::Walk;
use crate::store::bucket::{BatchObject, ChainError, Seal, layout};
use crate::store::disk::rehash::Rehash;
use crate::store::{CopyError, MAX_BATCH_BYTES, MAX_BATCH_ENTRIES, SignedHead, StoreError};

/// A batch to write.
pub(super) struct Piece {
    pub count: usize,
    /// The root after it.
    pub after: Hash,
    /// The tag of the damaged version that it replaces.
    pub replaces: Option<Tag>,
}

/// Batches to write from the entries of one source.
pub(super) struct Gap {
    /// The tree before them.
    pub edge: RightEdge,
    /// The source's index in the list.
    pub source: usize,
    pub pieces: Vec<Piece>,
}

/// The batches to write, and the batches to keep.
#[derive(Default)]
pub(super) struct Plan {
    pub gaps: Vec<Gap>,
    /// Number of entries in the bucket after the repair.
    pub size: TreeSize,
    /// Number of batches that stay.
    pub kept: u64,
    pub kept_entries: u64,
    /// Indices of the sources in use.
    pub used: BTreeSet<usize>,
}

impl Plan {
    /// Plans a bucket that matches `target` and all other heads.
    pub fn make(
        repair: &BucketRepair<'_>,
        target: &SignedHead,
        heads: &[SignedHead],
        sources: &mut [NamedSource],
    ) -> Result<Self, CopyError> {
        let mut attempt = |is_careful| Self::attempt(repair, target, heads, sources, is_careful);
        if repair.mode == RepairMode::Restore {
            return attempt(true);
        }
        match attempt(false) {
            // A batch may be well-formed and continue the one before it, and still be wrong.
            Err(first) if is_damage(&first) => attempt(true).map_err(|_| first),
            planned => planned,
        }
    }

    /// Makes a plan. If `is_careful`, keeps an existing batch only if a source has the same entries.
    fn attempt(
        repair: &BucketRepair<'_>,
        target: &SignedHead,
        heads: &[SignedHead],
        sources: &mut [NamedSource],
        is_careful: bool,
    ) -> Result<Self, CopyError> {
        let (tree, plan) = (Rehash::watching(sizes(heads)), Self::default());
        let mut planner =
            Planner { repair, target, heads, sources, is_careful, tree, open: None, sealed: None, plan };
        let mut walk = Walk::list(repair.objects.as_ref(), THREADS).map_err(StoreError::from)?;
        while let Some((first, object)) = walk.next().map_err(StoreError::from)? {
            planner.take(first, object, walk.peek())?;
            let done = planner.tree.edge().size().get();
            (repair.progress)(done, target.head.size.get().max(done));
        }
        planner.finish()
    }
}

fn is_damage(error: &CopyError) -> bool {
    match error {
        CopyError::Store(error) => error.is_damage(),
        CopyError::Source { .. } => true,
        _ => false,
    }
}

/// A gap whose end is not known yet.
struct Open {
    start: Rehash,
    /// Damaged batches in the gap, by their first leaf index.
    damaged: BTreeMap<u64, Tag>,
    candidates: Vec<Candidate>,
    /// The faults of the sources that were ruled out.
    failed: Vec<String>,
}

/// The entries that a source has for a gap.
struct Candidate {
    source: usize,
    tree: Rehash,
    pieces: Vec<Piece>,
}

struct Planner<'a> {
    repair: &'a BucketRepair<'a>,
    target: &'a SignedHead,
    heads: &'a [SignedHead],
    sources: &'a mut [NamedSource],
    /// True to compare existing batches with the sources.
    is_careful: bool,
    /// The tree up to the first open gap.
    tree: Rehash,
    open: Option<Open>,
    /// The seal, if the log was moved away.
    sealed: Option<Seal>,
    plan: Plan,
}

impl Planner<'_> {
    /// Processes the object of a batch. The next batch in the bucket begins with entry `next`.
    fn take(
        &mut self,
        first: LeafIndex,
        object: Option<Object>,
        next: Option<LeafIndex>,
    ) -> Result<(), CopyError> {
        let key = layout::batch(first);
        let damaged =
            |detail: String| CopyError::from(StoreError::from(ChainError::BatchDamaged { key, detail }));
        let Some(Object { bytes, tag }) = object else {
            return Err(damaged("it was listed but is missing; run the command again".to_owned()));
        };
        if first < next_of(self.tree.edge().size()) {
            return Err(damaged("it overlaps the batch before it; delete it".to_owned()));
        }
        let origin = origin_hash(self.repair.key.name().as_str());
        if let Some(seal) = Seal::parse(&bytes).ok().filter(|seal| seal.origin == origin) {
            self.sealed = Some(seal);
            return Ok(());
        }
        let batch = match BatchObject::parse(bytes) {
            Ok(batch) if batch.head().first == first && batch.head().origin == origin => batch,
            _ if self.repair.mode == RepairMode::Restore => {
                let advice = "a restore replaces nothing; `treehead repair` does".to_owned();
                return Err(damaged(advice));
            }
            _ => {
                self.open().damaged.insert(first.get(), tag);
                return Ok(());
            }
        };
        if self.repair.mode == RepairMode::Restore && batch.head().end() > self.target.head.size {
            return Err(self.repair.newer(batch.head().end(), self.target.head.size));
        }
        if self.open.is_some() || first > next_of(self.tree.edge().size()) {
            self.open();
            if !self.close(first.get(), batch.head().before) {
                return self.suspect(first, tag);
            }
        }
        let entries: Vec<&[u8]> = batch.entries().collect();
        let growth = self.tree.growth(&entries);
        let follows =
            batch.head().before == self.tree.edge().root() && batch.head().after == growth.edge.root();
        let is_within = next.is_some_and(|next| growth.edge.size().contains(next));
        if !follows || (self.is_careful && (is_within || !self.is_confirmed(&growth.edge))) {
            self.open();
            return self.suspect(first, tag);
        }
        let mut after = self.tree.clone();
        after.grow(&entries, &growth);
        let covers = |tree: &Rehash| tree.edge().size() >= self.target.head.size;
        if covers(&after) && !covers(&self.tree) && !after.holds(self.target) {
            self.open();
            return self.suspect(first, tag);
        }
        self.tree = after;
        self.plan.kept += 1;
        self.plan.kept_entries += entries.len() as u64;
        Ok(())
    }

    /// Returns true if a source has entries that extend the current tree to this one, or if no head covers them and so
    /// nothing can confirm them.
    fn is_confirmed(&mut self, edge: &RightEdge) -> bool {
        if edge.size() > self.target.head.size {
            return true;
        }
        (0..self.sources.len()).any(|source| {
            let mut candidate = Candidate { source, tree: self.tree.clone(), pieces: Vec::new() };
            let read = extend(&mut candidate, edge.size().get(), self.heads, &BTreeMap::new(), self.sources);
            read.is_ok() && candidate.tree.edge() == edge
        })
    }

    /// Handles a well-formed batch that does not continue the tree before it.
    fn suspect(&mut self, first: LeafIndex, tag: Tag) -> Result<(), CopyError> {
        if self.repair.mode == RepairMode::Restore {
            let open = self.open.as_ref().expect("a gap is open");
            return Err(if open.candidates.is_empty() {
                self.no_source()
            } else {
                self.repair.fork(next_size(first))
            });
        }
        self.open().damaged.insert(first.get(), tag);
        Ok(())
    }

    /// The open gap; opens one if there is none.
    fn open(&mut self) -> &mut Open {
        let (start, count) = (&self.tree, self.sources.len());
        self.open.get_or_insert_with(|| Open {
            start: start.clone(),
            damaged: BTreeMap::new(),
            candidates: (0..count)
                .map(|source| Candidate { source, tree: start.clone(), pieces: Vec::new() })
                .collect(),
            failed: Vec::new(),
        })
    }

    /// Closes the gap with the first source whose entries up to `end` produce `root`. Returns false if no source has
    /// them.
    fn close(&mut self, end: u64, root: Hash) -> bool {
        let mut open = self.open.take().expect("a gap is open");
        let mut at = 0;
        while let Some(candidate) = open.candidates.get_mut(at) {
            if let Err(detail) = extend(candidate, end, self.heads, &open.damaged, self.sources) {
                open.failed.push(format!("{}: {detail}", self.sources[candidate.source].name));
                open.candidates.remove(at);
                continue;
            }
            let holds_head =
                candidate.tree.edge().size() < self.target.head.size || candidate.tree.holds(self.target);
            if candidate.tree.edge().root() == root && holds_head {
                let Candidate { source, tree, pieces } = open.candidates.swap_remove(at);
                self.plan.gaps.push(Gap { edge: open.start.edge().clone(), source, pieces });
                self.plan.used.insert(source);
                self.tree = tree;
                return true;
            }
            at += 1;
        }
        self.open = Some(open);
        false
    }

    fn finish(mut self) -> Result<Plan, CopyError> {
        let size = self.target.head.size;
        if self.tree.edge().size() < size {
            self.open();
        }
        if let Some(open) = &self.open {
            let signed = size.get();
            // Nothing proves the content of a batch that no head covers.
            if let Some(key) = open.damaged.keys().find(|first| **first >= signed) {
                let key = layout::batch(LeafIndex::new(*key).expect("it was parsed"));
                let detail = format!(
                    "no signed head covers it (the last one has {signed} leaves), so nothing proves what was in it"
                );
                return Err(StoreError::from(ChainError::BatchDamaged { key, detail }).into());
            }
            if !self.close(signed, self.target.head.root) {
                return Err(self.no_source());
            }
        }
        self.tree.check(self.target)?;
        if let Some(other) = self.heads.iter().find(|head| !self.tree.holds(head)) {
            return Err(self.repair.fork(other.head.size));
        }
        self.plan.size = self.tree.edge().size();
        match self.sealed {
            Some(Seal { size, mover, .. }) if size < self.plan.size => {
                Err(StoreError::from(ChainError::Sealed { size, mover }).into())
            }
            Some(seal) if seal.size > self.plan.size || seal.root != self.tree.edge().root() => {
                let expected = format!("batches up to tree size {}, where the log was sealed", seal.size);
                let seen = format!("an end at {}", self.plan.size);
                Err(StoreError::from(ChainError::RolledBack { expected, seen }).into())
            }
            _ => Ok(self.plan),
        }
    }

    /// The error when no source has the missing entries.
    fn no_source(&self) -> CopyError {
        let open = self.open.as_ref().expect("a gap is open");
        let first = open.start.edge().size();
        let mut names: Vec<&str> = self.sources.iter().map(|source| source.name.as_str()).collect();
        if names.is_empty() {
            names.push("nothing");
        }
        let wrong = open.candidates.iter().map(|candidate| {
            format!("{}: its entries do not produce a signed root", self.sources[candidate.source].name)
        });
        let details: Vec<String> = open.failed.iter().cloned().chain(wrong).collect();
        CopyError::Source {
            from: names.join(", "),
            detail: format!("entries are missing from {first} on; {}", details.join("; ")),
        }
    }
}

fn next_size(first: LeafIndex) -> TreeSize {
    TreeSize::new(first.get()).expect("an index is a size")
}

/// Reads a source up to `end`. Ends batches at the sizes of heads, and where damaged batches begin, so that each of
/// those is replaced under its own key.
fn extend(
    candidate: &mut Candidate,
    end: u64,
    heads: &[SignedHead],
    damaged: &BTreeMap<u64, Tag>,
    sources: &mut [NamedSource],
) -> Result<(), String> {
    loop {
        let at = candidate.tree.edge().size().get();
        if at >= end {
            return Ok(());
        }
        let stops = sizes(heads).map(TreeSize::get).chain(damaged.keys().copied()).chain([end]);
        let stop = stops.filter(|stop| *stop > at).min().expect("the end is still ahead");
        let most = usize::try_from(stop - at).map_or(MAX_BATCH_ENTRIES, |most| most.min(MAX_BATCH_ENTRIES));
        let entries = sources[candidate.source].entries.entries(at, most)?;
        let longest = entries.iter().map(Vec::len).max().unwrap_or_default();
        let all: usize = entries.iter().map(Vec::len).sum();
        if entries.is_empty() || entries.len() > most || longest > MAX_ENTRY_BYTES || all > MAX_BATCH_BYTES {
            return Err(format!(
                "expected 1 to {most} entries from {at} on, saw {} of {all} bytes",
                entries.len()
            ));
        }
        let entries: Vec<&[u8]> = entries.iter().map(Vec::as_slice).collect();
        let growth = candidate.tree.growth(&entries);
        let replaces = damaged.get(&at).cloned();
        candidate.pieces.push(Piece { count: entries.len(), after: growth.edge.root(), replaces });
        candidate.tree.grow(&entries, &growth);
    }
}
