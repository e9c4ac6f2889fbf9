//! A store in memory that fails at chosen steps, for tests: each as "failed" and as "failed but persisted".
//!
//! Durable data (entries, checkpoint) and derived data are separate: a reload rebuilds the derived
//! part, as [`DiskStore`](crate::store::DiskStore) does.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::merkle::{Hash, LeafIndex, RightEdge, Tile, TileId, TreeSize};
use crate::proof::bundle;
use crate::release::{Facts, Term, Track};
use crate::store::{Batch, Describe, SearchPage, Staged, Store, StoreError, StoreReader, Stored};

/// A step that can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FaultPoint {
    /// [`Store::stage`].
    Stage,
    /// [`Store::apply`].
    Apply,
    /// [`Store::replace_checkpoint`].
    Checkpoint,
    /// [`Store::replace_witnessed`].
    Witnessed,
    /// [`Store::reload`].
    Reload,
}

impl FaultPoint {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Stage, Self::Apply, Self::Checkpoint, Self::Witnessed, Self::Reload];

    const fn name(self) -> &'static str {
        match self {
            Self::Stage => "stage",
            Self::Apply => "apply",
            Self::Checkpoint => "checkpoint",
            Self::Witnessed => "witnessed",
            Self::Reload => "reload",
        }
    }
}

/// How a step fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It fails, and nothing of it is kept.
    Failed,
    /// It fails, and everything of it is kept.
    FailedButPersisted,
}

/// A [`Store`] in memory. Clones are the same store, so that a test can look into one and reopen
/// it after a "crash".
#[derive(Clone)]
pub struct MemoryStore {
    inner: Arc<Inner>,
}

struct Inner {
    describe: Describe,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Survives a reload.
    durable: Vec<Vec<u8>>,
    /// Survives a reload.
    checkpoint: Option<Vec<u8>>,
    /// The checkpoint as the writer last saw it.
    known_checkpoint: Option<Vec<u8>>,
    /// Survives a reload.
    witnessed: Option<Vec<u8>>,
    derived: Derived,
    faults: HashMap<FaultPoint, Fault>,
}

#[derive(Default)]
struct Derived {
    leaves: Vec<Hash>,
    facts: Vec<Facts>,
    edge: RightEdge,
}

impl MemoryStore {
    /// An empty store whose indexes hold what `describe` says.
    #[must_use]
    pub fn new(describe: Describe) -> Self {
        Self { inner: Arc::new(Inner { describe, state: Mutex::default() }) }
    }

    /// Makes the next pass of `point` fail.
    pub fn inject(&self, point: FaultPoint, fault: Fault) {
        self.state().faults.insert(point, fault);
    }

    /// Whether an injected fault still waits for its point to be passed.
    #[must_use]
    pub fn has_pending_fault(&self) -> bool {
        !self.state().faults.is_empty()
    }

    /// The durable entries.
    #[must_use]
    pub fn durable_entries(&self) -> Vec<Vec<u8>> {
        self.state().durable.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.inner.state.lock().expect("no panic while it is held")
    }
}

impl State {
    /// Runs a step under whatever fault waits for it.
    fn step(&mut self, point: FaultPoint, step: impl FnOnce(&mut Self)) -> Result<(), StoreError> {
        match self.faults.remove(&point) {
            None => step(self),
            Some(Fault::Failed) => return Err(StoreError::Injected(point.name())),
            Some(Fault::FailedButPersisted) => {
                step(self);
                return Err(StoreError::Injected(point.name()));
            }
        }
        Ok(())
    }
}

impl Store for MemoryStore {
    fn reader(&self) -> Arc<dyn StoreReader> {
        self.inner.clone()
    }

    fn edge(&self) -> RightEdge {
        self.state().derived.edge.clone()
    }

    fn checkpoint(&self) -> Option<Vec<u8>> {
        self.state().known_checkpoint.clone()
    }

    fn stage(&mut self, batch: &Batch) -> Result<Staged, StoreError> {
        let mut state = self.state();
        assert_eq!(batch.first.get(), state.durable.len() as u64, "batches follow each other");
        state.step(FaultPoint::Stage, |state| state.durable.extend(batch.entries.iter().cloned()))?;
        Ok(Staged(()))
    }

    fn apply(&mut self, batch: &Batch, _: Staged) -> Result<(), StoreError> {
        self.state().step(FaultPoint::Apply, |state| {
            state.derived.leaves.extend(&batch.leaf_hashes);
            state.derived.facts.extend(batch.facts.iter().cloned());
            state.derived.edge = batch.growth.edge.clone();
        })
    }

    fn replace_checkpoint(&mut self, old: Option<&[u8]>, new: &[u8]) -> Result<(), StoreError> {
        let mut state = self.state();
        if state.checkpoint.as_deref() != old {
            let text = |bytes: Option<&[u8]>| bytes.map_or("none".to_owned(), crate::format::quote_bytes);
            let (expected, seen) = (text(old), text(state.checkpoint.as_deref()));
            return Err(StoreError::CheckpointMoved { expected, seen });
        }
        state.step(FaultPoint::Checkpoint, |state| state.checkpoint = Some(new.to_vec()))?;
        state.known_checkpoint = Some(new.to_vec());
        Ok(())
    }

    fn witnessed(&self) -> Option<Vec<u8>> {
        self.state().witnessed.clone()
    }

    fn replace_witnessed(&mut self, note: &[u8]) -> Result<(), StoreError> {
        self.state().step(FaultPoint::Witnessed, |state| state.witnessed = Some(note.to_vec()))
    }

    fn reload(&mut self) -> Result<(), StoreError> {
        let describe = self.inner.describe.clone();
        self.state().step(FaultPoint::Reload, |state| {
            let leaves: Vec<Hash> = state.durable.iter().map(|entry| Hash::leaf(entry)).collect();
            state.derived = Derived {
                facts: state.durable.iter().map(|entry| describe(entry)).collect(),
                edge: RightEdge::default().grow(&leaves).edge,
                leaves,
            };
            state.known_checkpoint = state.checkpoint.clone();
        })
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic while it is held")
    }

    fn first_that<T>(&self, has: impl Fn(&Facts) -> Option<T>) -> Option<(Stored, T)> {
        self.of_all(|mut all| all.find_map(|(at, facts)| Some((at, has(facts)?))))
    }

    fn last_that<T>(&self, has: impl Fn(&Facts) -> Option<T>) -> Option<(Stored, T)> {
        self.of_all(|all| all.rev().find_map(|(at, facts)| Some((at, has(facts)?))))
    }

    fn of_all<T>(
        &self,
        find: impl FnOnce(std::iter::Enumerate<std::slice::Iter<'_, Facts>>) -> Option<(usize, T)>,
    ) -> Option<(Stored, T)> {
        let derived = &self.state().derived;
        let (at, found) = find(derived.facts.iter().enumerate())?;
        let index = LeafIndex::new(at as u64).expect("memory holds fewer");
        Some((Stored { index, leaf: derived.leaves[at] }, found))
    }
}

fn absent(what: &impl std::fmt::Display) -> StoreError {
    StoreError::TreeDamaged { detail: format!("{what} is not in the store") }
}

impl StoreReader for Inner {
    fn size(&self) -> TreeSize {
        self.state().derived.edge.size()
    }

    fn tiles(&self, tiles: &[Tile]) -> Result<Vec<Vec<Hash>>, StoreError> {
        let state = self.state();
        let leaves = &state.derived.leaves;
        let read = |tile: &Tile| {
            let TileId::Hashes { level, index } = tile.id else { return Err(absent(tile)) };
            let span = 256_usize.pow(level.into());
            let first = usize::try_from(index).map_err(|_| absent(tile))? * 256;
            let node =
                |at: usize| leaves.get(at * span..(at + 1) * span).map(|l| RightEdge::default().grow(l));
            let nodes = (first..first + tile.width()).map(|at| node(at).map(|growth| growth.edge.root()));
            nodes.collect::<Option<Vec<Hash>>>().ok_or_else(|| absent(tile))
        };
        tiles.iter().map(read).collect()
    }

    fn bundle(&self, index: u64, width: usize) -> Result<Vec<u8>, StoreError> {
        let state = self.state();
        let first = usize::try_from(index * 256).map_err(|_| absent(&index))?;
        // Staged is not applied: readers see an entry only when it is in the tree.
        let applied = &state.durable[..state.derived.leaves.len()];
        let entries = applied.get(first..first + width).ok_or_else(|| absent(&index))?;
        let mut bytes = Vec::new();
        entries
            .iter()
            .for_each(|entry| bundle::push(&mut bytes, entry).expect("capped when it was submitted"));
        Ok(bytes)
    }

    fn entry(&self, index: LeafIndex) -> Result<Vec<u8>, StoreError> {
        let state = self.state();
        let applied = &state.durable[..state.derived.leaves.len()];
        let entry = usize::try_from(index.get()).ok().and_then(|at| applied.get(at));
        entry.cloned().ok_or_else(|| absent(&index))
    }

    fn find_leaves(&self, leaves: &[Hash]) -> Result<Vec<Option<LeafIndex>>, StoreError> {
        let state = self.state();
        let position = |leaf| state.derived.leaves.iter().position(|hash| hash == leaf);
        Ok(leaves.iter().map(|leaf| position(leaf).and_then(|at| LeafIndex::new(at as u64))).collect())
    }

    fn find_payload(&self, payload: &Hash) -> Result<Option<Stored>, StoreError> {
        let found = self.first_that(|facts| (facts.payload == Some(*payload)).then_some(()));
        Ok(found.map(|(stored, ())| stored))
    }

    fn find_claim(&self, key: &Hash) -> Result<Option<(Stored, Hash)>, StoreError> {
        Ok(self.first_that(|facts| {
            facts.claims.iter().find(|claim| claim.key == *key).map(|claim| claim.content)
        }))
    }

    fn find_edition(&self, thing: &Hash) -> Result<Option<(Stored, Hash)>, StoreError> {
        Ok(self.last_that(|facts| facts.edition(thing)))
    }

    fn find_withdrawal(&self, key: &Hash) -> Result<Option<Stored>, StoreError> {
        let found = self.first_that(|facts| facts.withdrawals.contains(key).then_some(()));
        Ok(found.map(|(stored, ())| stored))
    }

    fn highest(&self, track: &Track, below: u64) -> Result<Option<u64>, StoreError> {
        let state = self.state();
        let numbers = state.derived.facts.iter().flat_map(|facts| &facts.numbers);
        Ok(numbers.filter(|(of, number)| of == track && *number < below).map(|(_, number)| *number).max())
    }

    fn search(&self, term: &Term, before: Option<LeafIndex>, limit: usize) -> Result<SearchPage, StoreError> {
        let end = before.map_or(u64::MAX, LeafIndex::get);
        let state = self.state();
        let all =
            state.derived.facts.iter().enumerate().rev().filter(|(_, facts)| facts.terms.contains(term));
        let mut found = all.filter_map(|(at, _)| LeafIndex::new(at as u64)).filter(|index| index.get() < end);
        let leaves = found.by_ref().take(limit).collect();
        Ok(SearchPage { leaves, more: found.next().is_some() })
    }

    fn names(&self, prefix: &str, limit: usize) -> Result<Option<Vec<Term>>, StoreError> {
        let [low, high] = Term::of_names(prefix);
        let state = self.state();
        let terms = state.derived.facts.iter().flat_map(|facts| &facts.terms);
        let found: BTreeSet<Term> = terms.filter(|term| (low..=high).contains(term)).copied().collect();
        Ok((found.len() <= limit).then(|| found.into_iter().collect()))
    }
}
