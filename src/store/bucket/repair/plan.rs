//! The plan of a repair, made by reading everything that is there, and what sources have for the gaps.
//!
//! The batch behind a gap says the root before it, and the signed head that of the whole, so it shows at once which source has
//! the right entries for which gap.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::heads::sizes;
use super::{BucketRepair, Mending, NamedSource, THREADS, bucket, next_of};
use crate::bucket::{BucketError, MAX_LISTED, Object, Objects, Tag};
use crate::checkpoint::origin_hash;
use crate::merkle::{Hash, LeafIndex, RightEdge, TreeSize};
use crate::release::MAX_ENTRY_BYTES;
use crate::store::bucket::layout::{self, BATCHES};
use crate::store::bucket::{BatchObject, ChainError, HEAD_BYTES, MAX_OBJECT_BYTES, Seal, parallel};
use crate::store::disk::rehash::Rehash;
use crate::store::{CopyError, MAX_BATCH_BYTES, MAX_BATCH_ENTRIES, SignedHead, StoreError};

/// A batch to make, after the one before it.
pub(super) struct Piece {
    pub count: usize,
    /// The root after it.
    pub after: Hash,
    /// The damaged version that is in its place.
    pub replaces: Option<Tag>,
}

/// Batches to make from entries of one source.
pub(super) struct Gap {
    /// The tree before them.
    pub edge: RightEdge,
    /// The source's place in the list.
    pub source: usize,
    pub pieces: Vec<Piece>,
}

/// The objects to write, and those that are there.
#[derive(Default)]
pub(super) struct Plan {
    pub gaps: Vec<Gap>,
    /// Entries in the bucket when it is done.
    pub size: TreeSize,
    /// Batches that stay.
    pub kept: u64,
    pub kept_entries: u64,
    /// The sources that are used.
    pub used: BTreeSet<usize>,
}

impl Plan {
    /// Finds a way to a bucket that holds `target` and all other heads.
    pub fn make(
        repair: &BucketRepair<'_>,
        target: &SignedHead,
        heads: &[SignedHead],
        sources: &mut [NamedSource],
    ) -> Result<Self, CopyError> {
        let mut attempt = |is_careful| Self::attempt(repair, target, heads, sources, is_careful);
        if repair.mending == Mending::Restore {
            return attempt(true);
        }
        match attempt(false) {
            // A batch may be whole, and follow the one before it, and be wrong all the same.
            Err(first) if is_damage(&first) => attempt(true).map_err(|_| first),
            planned => planned,
        }
    }

    /// Plans; if `is_careful`, what is there stays only if a source has the same.
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
        let mut walk = Walk::list(repair.objects.as_ref())?;
        while let Some((first, object)) = walk.next()? {
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

/// The batches in a bucket, in order.
struct Walk<'a> {
    objects: &'a dyn Objects,
    ahead: VecDeque<LeafIndex>,
    read: VecDeque<(LeafIndex, Option<Object>)>,
}

impl<'a> Walk<'a> {
    fn list(objects: &'a dyn Objects) -> Result<Self, CopyError> {
        let (mut ahead, mut after) = (VecDeque::new(), String::new());
        loop {
            let listing = objects.list(BATCHES, &after, MAX_LISTED).map_err(bucket)?;
            ahead.extend(listing.objects.iter().filter_map(|listed| layout::parse_batch(&listed.key)));
            match listing.objects.last() {
                Some(last) if listing.more => after.clone_from(&last.key),
                _ => return Ok(Self { objects, ahead, read: VecDeque::new() }),
            }
        }
    }

    /// The first index of the batch after those that were read.
    fn peek(&self) -> Option<LeafIndex> {
        self.read.front().map(|(first, _)| first).or(self.ahead.front()).copied()
    }

    fn next(&mut self) -> Result<Option<(LeafIndex, Option<Object>)>, CopyError> {
        if self.read.is_empty() {
            let count = self.ahead.len().min(THREADS);
            let firsts: Vec<LeafIndex> = self.ahead.drain(..count).collect();
            let read = parallel::map(&firsts, THREADS, |first| {
                let key = layout::batch(*first);
                match self.objects.get(&key, MAX_OBJECT_BYTES) {
                    // Its beginning is no batch either, and has the tag.
                    Err(BucketError::TooLarge { .. }) => self.objects.get_range(&key, 0, HEAD_BYTES),
                    object => object,
                }
            });
            self.read.extend(firsts.into_iter().zip(read.map_err(bucket)?));
        }
        Ok(self.read.pop_front())
    }
}

/// A gap whose end is not found yet.
struct Open {
    start: Rehash,
    /// Damaged batches in it, by their first index.
    damaged: BTreeMap<u64, Tag>,
    tries: Vec<Try>,
    /// The faults of sources that are out of the race.
    failed: Vec<String>,
}

/// The entries that a source has for a gap.
struct Try {
    source: usize,
    tree: Rehash,
    pieces: Vec<Piece>,
}

struct Planner<'a> {
    repair: &'a BucketRepair<'a>,
    target: &'a SignedHead,
    heads: &'a [SignedHead],
    sources: &'a mut [NamedSource],
    /// Set to compare what is there with the sources.
    is_careful: bool,
    /// The tree up to the first open gap.
    tree: Rehash,
    open: Option<Open>,
    /// The end of a log that was moved away.
    sealed: Option<Seal>,
    plan: Plan,
}

impl Planner<'_> {
    /// Takes in the object of a batch, after which there is one that begins with the entry `next`.
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
            return Err(damaged("it was listed, and is missing; run the command again".to_owned()));
        };
        if first < next_of(self.tree.edge().size()) {
            return Err(damaged("it begins within the batch before it; delete it".to_owned()));
        }
        let origin = origin_hash(self.repair.key.name().as_str());
        if let Some(seal) = Seal::parse(&bytes).ok().filter(|seal| seal.origin == origin) {
            self.sealed = Some(seal);
            return Ok(());
        }
        let batch = match BatchObject::parse(bytes) {
            Ok(batch) if batch.head().first == first && batch.head().origin == origin => batch,
            _ if self.repair.mending == Mending::Restore => {
                let advice = "a restore replaces nothing; `treehead repair` does".to_owned();
                return Err(damaged(advice));
            }
            _ => {
                self.open().damaged.insert(first.get(), tag);
                return Ok(());
            }
        };
        if self.repair.mending == Mending::Restore && batch.head().end() > self.target.head.size {
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

    /// Tells whether a source has entries that make this tree, on top of the present one. Nothing is known of those that no head
    /// covers.
    fn is_confirmed(&mut self, edge: &RightEdge) -> bool {
        if edge.size() > self.target.head.size {
            return true;
        }
        (0..self.sources.len()).any(|source| {
            let mut one = Try { source, tree: self.tree.clone(), pieces: Vec::new() };
            let read = extend(&mut one, edge.size().get(), self.heads, &BTreeMap::new(), self.sources);
            read.is_ok() && one.tree.edge() == edge
        })
    }

    /// A batch that is whole, and does not follow what is before it.
    fn suspect(&mut self, first: LeafIndex, tag: Tag) -> Result<(), CopyError> {
        if self.repair.mending == Mending::Restore {
            let open = self.open.as_ref().expect("a gap is open");
            return Err(if open.tries.is_empty() {
                self.no_source()
            } else {
                self.repair.fork(next_size(first))
            });
        }
        self.open().damaged.insert(first.get(), tag);
        Ok(())
    }

    /// The open gap; a new one, if none is.
    fn open(&mut self) -> &mut Open {
        let (start, count) = (&self.tree, self.sources.len());
        self.open.get_or_insert_with(|| Open {
            start: start.clone(),
            damaged: BTreeMap::new(),
            tries: (0..count).map(|source| Try { source, tree: start.clone(), pieces: Vec::new() }).collect(),
            failed: Vec::new(),
        })
    }

    /// Closes the gap with the first source whose entries up to `end` make `root`. Returns false if none has them.
    fn close(&mut self, end: u64, root: Hash) -> bool {
        let mut open = self.open.take().expect("a gap is open");
        let mut at = 0;
        while let Some(one) = open.tries.get_mut(at) {
            if let Err(detail) = extend(one, end, self.heads, &open.damaged, self.sources) {
                open.failed.push(format!("{}: {detail}", self.sources[one.source].name));
                open.tries.remove(at);
                continue;
            }
            let holds_head = one.tree.edge().size() < self.target.head.size || one.tree.holds(self.target);
            if one.tree.edge().root() == root && holds_head {
                let Try { source, tree, pieces } = open.tries.swap_remove(at);
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
            // Nobody can say what was in a batch that no head covers.
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

    /// No source has what is missing.
    fn no_source(&self) -> CopyError {
        let open = self.open.as_ref().expect("a gap is open");
        let first = open.start.edge().size();
        let mut names: Vec<&str> = self.sources.iter().map(|source| source.name.as_str()).collect();
        if names.is_empty() {
            names.push("nothing");
        }
        let wrong = open.tries.iter().map(|one| {
            format!("{}: its entries do not make a root that was signed", self.sources[one.source].name)
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

/// Reads a source up to `end`. Batches end where heads do and where damaged batches begin, which are to be replaced.
fn extend(
    one: &mut Try,
    end: u64,
    heads: &[SignedHead],
    damaged: &BTreeMap<u64, Tag>,
    sources: &mut [NamedSource],
) -> Result<(), String> {
    loop {
        let at = one.tree.edge().size().get();
        if at >= end {
            return Ok(());
        }
        let stops = sizes(heads).map(TreeSize::get).chain(damaged.keys().copied()).chain([end]);
        let stop = stops.filter(|stop| *stop > at).min().expect("the end is behind it");
        let most = usize::try_from(stop - at).map_or(MAX_BATCH_ENTRIES, |most| most.min(MAX_BATCH_ENTRIES));
        let entries = sources[one.source].entries.entries(at, most)?;
        let longest = entries.iter().map(Vec::len).max().unwrap_or_default();
        let all: usize = entries.iter().map(Vec::len).sum();
        if entries.is_empty() || entries.len() > most || longest > MAX_ENTRY_BYTES || all > MAX_BATCH_BYTES {
            return Err(format!(
                "expected 1 to {most} entries from {at} on, saw {} of {all} bytes",
                entries.len()
            ));
        }
        let entries: Vec<&[u8]> = entries.iter().map(Vec::as_slice).collect();
        let growth = one.tree.growth(&entries);
        let replaces = damaged.get(&at).cloned();
        one.pieces.push(Piece { count: entries.len(), after: growth.edge.root(), replaces });
        one.tree.grow(&entries, &growth);
    }
}
