//! Finding leaves: by hash, by payload, by claimed sequence number, by search term; and the highest number of
//! a track.
//!
//! ```text
//! recent (memory) -> sealed, being written (memory) -> runs of level 0 in sled -> runs of level 1 -> ...
//! ```
//!
//! A run of [`SEAL_POINTERS`] goes to sled at once and is never written again; eight runs of a level are
//! merged into one of the next. Whether an appended leaf is new, a filter in memory for each run mostly
//! answers without reading the run. Pointers that are only in memory are made again from the journal at the
//! next start.

mod filter;
mod manifest;
mod pointer;
mod run;
mod sealer;

use std::collections::BTreeSet;
use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};

pub use pointer::{CLAIM, EDITION, LEAF, PAYLOAD, Pointer, PointerSum, WITHDRAWAL, Wanted};
pub use sealer::IndexWriter;

use crate::merkle::{Hash, LeafIndex, TreeSize};
use crate::release::{Facts, Term, Track};
use crate::store::{Batch, StoreError};
use manifest::Manifest;
use pointer::TRACK;
use run::Run;

/// Pointers that are sealed into one run: a megabyte. Few in unit tests, so that a small log has many runs.
const SEAL_POINTERS: usize = if cfg!(test) { 100 } else { 65_536 };
/// Bytes of entries after which the recent pointers are sealed: a start may have to read so many again.
const SEAL_ENTRY_BYTES: usize = 128 * 1024 * 1024;

/// The index's part for consecutive leaves.
#[derive(Debug, Clone, Copy)]
pub struct IndexRows<'a> {
    pub first: LeafIndex,
    pub leaf_hashes: &'a [Hash],
    pub facts: &'a [Facts],
    /// Bytes of the entries.
    pub bytes: usize,
}

impl<'a> IndexRows<'a> {
    pub fn of(batch: &'a Batch) -> Self {
        Self {
            first: batch.first,
            leaf_hashes: &batch.leaf_hashes,
            facts: &batch.facts,
            bytes: batch.entries.iter().map(Vec::len).sum(),
        }
    }

    fn end(&self) -> TreeSize {
        self.first.plus(self.leaf_hashes.len() - 1).size_with()
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
    rows: sled::Tree,
    state: Arc<RwLock<State>>,
}

/// The parts of the index, oldest leaves first.
#[derive(Debug, Default)]
struct State {
    runs: Vec<Arc<Run>>,
    sealing: Vec<Arc<Sealing>>,
    recent: BTreeSet<Pointer>,
}

/// Sorted pointers that are being written to sled.
#[derive(Debug)]
struct Sealing {
    pointers: Vec<Pointer>,
    /// Leaves that are indexed once it is written.
    end: TreeSize,
}

impl Index {
    /// Leaves that may match, lowest first. The caller compares them.
    pub fn find(&self, wanted: Wanted) -> Result<Vec<LeafIndex>, StoreError> {
        let (low, high) = (wanted.at(0), wanted.at(u64::MAX));
        let state = self.state();
        let mut found = Vec::new();
        for run in &state.runs {
            found.extend(run.find(&self.rows, wanted)?);
        }
        for sealing in &state.sealing {
            let first = sealing.pointers.partition_point(|pointer| *pointer < low);
            found.extend(sealing.pointers[first..].iter().take_while(|pointer| **pointer <= high));
        }
        found.extend(state.recent.range(low..=high));
        found.into_iter().map(Pointer::leaf).collect()
    }

    /// The highest number of a track below `below`.
    pub fn highest(&self, track: &Track, below: u64) -> Result<Option<u64>, StoreError> {
        let wanted = Wanted::hash(TRACK, &track.0);
        let (low, high) = (wanted.at(0), wanted.at(below));
        let state = self.state();
        let mut highest = state.recent.range(low..high).next_back().copied();
        for sealing in &state.sealing {
            let end = sealing.pointers.partition_point(|pointer| *pointer < high);
            highest = highest.max(sealing.pointers[..end].last().filter(|last| **last >= low).copied());
        }
        for run in state.runs.iter().filter(|run| run.knows(low)) {
            highest = highest.max(run.find_last(&self.rows, wanted, below, 1)?.first().copied());
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
        let state = self.state();
        let mut found: Vec<Pointer> = state.recent.range(low..high).rev().take(most).copied().collect();
        for sealing in state.sealing.iter().rev() {
            let end = sealing.pointers.partition_point(|pointer| *pointer < high);
            found.extend(
                sealing.pointers[..end].iter().rev().take_while(|pointer| **pointer >= low).take(most),
            );
        }
        for run in state.runs.iter().rev() {
            if found.len() < most {
                found.extend(run.find_last(&self.rows, wanted, before, most - found.len())?);
            }
        }
        let leaves = found.iter().take(limit).map(|pointer| pointer.leaf()).collect::<Result<_, _>>()?;
        Ok(SearchPage { leaves, more: found.len() > limit })
    }

    fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().expect("no panic while it is held")
    }

    fn state_mut(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().expect("no panic while it is held")
    }
}

/// Leaves that the runs in sled cover.
///
/// # Errors
/// [`StoreError::TreeDamaged`] if the manifest can't be read.
pub fn indexed(rows: &sled::Tree) -> Result<TreeSize, StoreError> {
    Ok(Manifest::read(rows)?.indexed)
}

/// Sums up all pointers in sled, for fsck.
///
/// # Errors
/// [`StoreError::TreeDamaged`] if rows are missing or out of order.
pub fn sum_up(rows: &sled::Tree) -> Result<PointerSum, StoreError> {
    let mut sum = PointerSum::default();
    for run in Manifest::read(rows)?.open(rows)? {
        let mut last = None;
        for pointer in run.read(rows) {
            let pointer = pointer?;
            if last >= Some(pointer) {
                return Err(pointer::damaged(&format!("sorted pointers in run {}", run.id)));
            }
            if !run.knows(pointer) {
                return Err(pointer::damaged(&format!("a filter that knows what is in run {}", run.id)));
            }
            last = Some(pointer);
            sum.add(pointer);
        }
    }
    Ok(sum)
}

#[cfg(test)]
mod tests;
