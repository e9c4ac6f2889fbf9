//! Finding leaves: by hash, by payload, by claimed sequence number, by search term; and the highest number of
//! a track.
//!
//! ```text
//! recent (memory) -> sealed, being written (memory) -> runs of level 0 in files -> runs of level 1 -> ...
//! ```
//!
//! A run of [`SEAL_POINTERS`] goes to its file at once and is never written again; eight runs of a level are
//! merged into one of the next. Whether an appended leaf is new, a filter in memory for each run mostly
//! answers without reading the run. Pointers that are only in memory are made again from the journal at the
//! next start.
//!
//! The directory is derived: it may be deleted while no server runs. What its manifest names is durable, so it
//! outlives a power cut.

mod filter;
mod manifest;
mod pointer;
mod recent;
mod run;
mod sealer;

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};

pub use manifest::Indexed;
#[cfg(feature = "bucket")]
pub use manifest::{FILE_NAME, manifest_size, runs_of};
pub use pointer::{CLAIM, EDITION, LEAF, PAYLOAD, Pointer, PointerSum, WITHDRAWAL, Wanted};
#[cfg(feature = "bucket")]
pub use run::file_name as run_file_name;
pub use sealer::IndexWriter;

use crate::disk::DiskIo;
use crate::merkle::{Hash, LeafIndex, RightEdge};
use crate::release::{Facts, Term, Track};
use crate::store::{Batch, StoreError};
use manifest::Manifest;
use pointer::TRACK;
use recent::Recent;
use run::Run;

/// Pointers that are sealed into one run: a megabyte.
pub const SEAL_POINTERS: usize = 65_536;
/// Bytes of entries after which the recent pointers are sealed: a start may have to read so many again.
const SEAL_ENTRY_BYTES: usize = 128 * 1024 * 1024;

/// The place of an index, and its sizes.
#[derive(Clone)]
pub struct IndexOptions {
    /// Its directory.
    pub dir: PathBuf,
    /// The disk, or what a test puts in its place.
    pub io: Arc<dyn DiskIo>,
    /// Memory for filters, in bytes. While runs are merged, the new run's filter comes on top.
    pub filter_bytes: u64,
    /// Pointers that are sealed into one run.
    pub seal_pointers: usize,
}

/// The index's part for consecutive leaves.
#[derive(Debug, Clone, Copy)]
pub struct IndexRows<'a> {
    pub first: LeafIndex,
    pub leaf_hashes: &'a [Hash],
    pub facts: &'a [Facts],
    /// The tree that ends with them.
    pub edge: &'a RightEdge,
    /// Bytes of the entries.
    pub bytes: usize,
}

impl<'a> IndexRows<'a> {
    pub fn of(batch: &'a Batch) -> Self {
        Self {
            first: batch.first,
            leaf_hashes: &batch.leaf_hashes,
            facts: &batch.facts,
            edge: &batch.growth.edge,
            bytes: batch.entries.iter().map(Vec::len).sum(),
        }
    }

    /// The part for the leaves beyond the first `count`.
    pub fn skip(self, count: usize) -> Self {
        let (leaf_hashes, facts) = (&self.leaf_hashes[count..], &self.facts[count..]);
        Self { first: self.first.plus(count), leaf_hashes, facts, ..self }
    }

    fn end(&self) -> Indexed {
        Indexed { size: self.edge.size(), root: self.edge.root() }
    }

    fn pointers(self) -> impl Iterator<Item = Pointer> + 'a {
        let leaves = self.leaf_hashes.iter().zip(self.facts).enumerate();
        leaves.flat_map(move |(at, (hash, facts))| Pointer::of_leaf(self.first.plus(at), hash, facts))
    }
}

/// A page of search results.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchPage {
    /// Leaves that match, newest first.
    pub leaves: Vec<LeafIndex>,
    /// Whether older leaves match, too.
    pub more: bool,
}

/// The index, for reading. Clones share one state.
#[derive(Debug, Clone)]
pub struct Index {
    state: Arc<RwLock<State>>,
    damage: Arc<Damage>,
}

/// Makes the next opening rebuild an index in which something did not check: until then, its pages are not looked at.
struct Damage {
    seen: AtomicBool,
    manifest: PathBuf,
    io: Arc<dyn DiskIo>,
}

impl std::fmt::Debug for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Damage").field("seen", &self.seen).finish_non_exhaustive()
    }
}

impl Damage {
    fn notice<T>(&self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        result.inspect_err(|error| {
            if matches!(error, StoreError::TreeDamaged { .. }) && !self.seen.swap(true, Ordering::SeqCst) {
                tracing::error!(%error, "the next start makes the index anew");
                self.forget();
            }
        })
    }

    /// Removes the manifest. Should that fail, the damage is seen again after the next start.
    fn forget(&self) {
        let _ = self.io.remove(&self.manifest);
    }
}

/// The parts of the index, oldest leaves first.
#[derive(Debug)]
struct State {
    runs: Arc<Vec<Arc<Run>>>,
    sealing: Vec<Arc<Sealing>>,
    recent: Recent,
}

impl State {
    /// Pointers in memory, oldest leaves first.
    fn in_memory(&self) -> impl DoubleEndedIterator<Item = &Recent> {
        self.sealing.iter().map(|sealing| &sealing.recent).chain([&self.recent])
    }
}

/// Pointers that are being written to a run.
#[derive(Debug)]
struct Sealing {
    recent: Recent,
    /// Leaves that are indexed once it is written.
    end: Indexed,
}

/// The options of an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct IndexUse {
    /// Files of pointers that a lookup may have to ask.
    pub runs: usize,
    /// Bytes of memory for their filters and fences.
    pub memory: usize,
}

impl Index {
    /// Leaves that may match, lowest first. The caller compares them.
    pub fn find(&self, wanted: Wanted) -> Result<Vec<LeafIndex>, StoreError> {
        Ok(self.find_each(&[wanted])?.remove(0))
    }

    /// For each of several lookups, the leaves that may match, lowest first.
    pub fn find_each(&self, wanted: &[Wanted]) -> Result<Vec<Vec<LeafIndex>>, StoreError> {
        let mut found = vec![Vec::new(); wanted.len()];
        // Runs are read without the lock: nobody who appends waits for a reader's disk.
        let runs = {
            let state = self.state();
            // All lookups ask one filter after the other, which stays in the processor's cache meanwhile.
            for recent in state.in_memory() {
                let each = found.iter_mut().zip(wanted);
                each.for_each(|(found, wanted)| found.extend(recent.find(*wanted)));
            }
            state.runs.clone()
        };
        for run in runs.iter().rev() {
            for (found, wanted) in found.iter_mut().zip(wanted) {
                let older = self.damage.notice(run.find(*wanted))?;
                if !older.is_empty() {
                    found.splice(..0, older);
                }
            }
        }
        found.into_iter().map(|found| found.into_iter().map(Pointer::leaf).collect()).collect()
    }

    /// The highest number of a track below `below`.
    pub fn highest(&self, track: &Track, below: u64) -> Result<Option<u64>, StoreError> {
        let wanted = Wanted::hash(TRACK, &track.0);
        let (low, high) = (wanted.at(0), wanted.at(below));
        let (mut highest, runs) = {
            let state = self.state();
            let highest = state.in_memory().filter_map(|recent| recent.highest(low, high)).max();
            (highest, state.runs.clone())
        };
        for run in runs.iter().filter(|run| run.knows(low)) {
            let last = self.damage.notice(run.find_last(wanted, below, 1))?;
            highest = highest.max(last.first().copied());
        }
        Ok(highest.map(Pointer::number))
    }

    /// Leaves that match a term, newest first.
    pub fn search(
        &self,
        term: &Term,
        before: Option<LeafIndex>,
        limit: usize,
    ) -> Result<SearchPage, StoreError> {
        let (wanted, before) = (Wanted::term(term), before.map_or(u64::MAX, LeafIndex::get));
        let (low, high, most) = (wanted.at(0), wanted.at(before), limit + 1);
        let (mut found, runs) = {
            let state = self.state();
            let newest = state.in_memory().rev().flat_map(|recent| recent.newest(low, high));
            let found: Vec<Pointer> = newest.take(most).collect();
            (found, state.runs.clone())
        };
        for run in runs.iter().rev() {
            if found.len() < most {
                let limit = most - found.len();
                found.extend(self.damage.notice(run.find_last(wanted, before, limit))?);
            }
        }
        let leaves = found.iter().take(limit).map(|pointer| pointer.leaf()).collect::<Result<_, _>>()?;
        Ok(SearchPage { leaves, more: found.len() > limit })
    }

    /// The terms of names that begin with the last segment of `prefix`, lowest first. `None` if there are more than
    /// `limit`.
    pub fn names(&self, prefix: &str, limit: usize) -> Result<Option<Vec<Term>>, StoreError> {
        let [low, high] = Term::of_names(prefix).map(|term| Wanted::term(&term));
        let keys = low..=high;
        let (mut found, runs) = {
            let (state, mut found) = (self.state(), BTreeSet::new());
            for recent in state.in_memory() {
                found.extend(different(&keys, limit + 1, |from| Ok(recent.first_from(from)))?);
            }
            (found, state.runs.clone())
        };
        for run in runs.iter() {
            found.extend(self.damage.notice(different(&keys, limit + 1, |from| run.first_from(from)))?);
        }
        Ok((found.len() <= limit).then(|| found.into_iter().map(Wanted::to_term).collect()))
    }

    /// Runs and memory.
    pub fn usage(&self) -> IndexUse {
        let runs = self.state().runs.clone();
        IndexUse { runs: runs.len(), memory: runs.iter().map(|run| run.bytes()).sum() }
    }

    fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().expect("no panic while it is held")
    }

    fn state_mut(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().expect("no panic while it is held")
    }
}

/// The lowest `most` different lookup keys in a range. `first_from` finds the first pointer from another one on.
fn different(
    keys: &RangeInclusive<Wanted>,
    most: usize,
    first_from: impl Fn(Pointer) -> Result<Option<Pointer>, StoreError>,
) -> Result<Vec<Wanted>, StoreError> {
    let (mut found, mut next) = (Vec::new(), Some(*keys.start()));
    while let Some(from) = next.filter(|_| found.len() < most) {
        let key = first_from(from.at(0))?.map(Pointer::wanted).filter(|key| keys.contains(key));
        next = key.and_then(Wanted::next);
        found.extend(key);
    }
    Ok(found)
}

/// Leaves that the runs in `dir` cover.
///
/// # Errors
/// [`StoreError::TreeDamaged`] if the manifest does not check.
pub fn indexed(dir: &Path) -> Result<Indexed, StoreError> {
    Ok(Manifest::read(dir)?.indexed)
}

/// Sums up all pointers in the runs, for fsck.
///
/// # Errors
/// [`StoreError::TreeDamaged`] if pages do not check or are out of order.
pub fn sum_up(dir: &Path) -> Result<PointerSum, StoreError> {
    let mut sum = PointerSum::default();
    for run in Manifest::read(dir)?.open(dir)? {
        let (mut last, id) = (None, run.facts.id);
        for pointer in run.read() {
            let pointer = pointer?;
            if last >= Some(pointer) {
                return Err(pointer::damaged(&format!("sorted pointers in run {id}")));
            }
            if !run.knows(pointer) {
                return Err(pointer::damaged(&format!("a filter that knows what is in run {id}")));
            }
            last = Some(pointer);
            sum.add(pointer);
        }
    }
    Ok(sum)
}

#[cfg(test)]
mod tests;
