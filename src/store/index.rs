//! Finding leaves: by hash, by claimed sequence number, by search term.
//!
//! ```text
//! "c"                                                    cursor: leaves indexed, u64
//! "l" || first 8 bytes of the leaf hash || index u64     a leaf; the tile has the whole hash
//! "q" || first 16 bytes of the claim's key               the artifacts it was first claimed for
//! "s" || term (9) || index u64                           a search row
//! ```
//!
//! Rows with random keys are what costs sled most, so a thread of its own writes them, and what it
//! has not written yet is looked up in memory.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread::JoinHandle;

use super::{Batch, StoreError};
use crate::merkle::{Hash, LeafIndex, TreeSize};
use crate::release::{Facts, Term};

const CURSOR: &[u8] = b"c";
/// Batches that may wait for the thread: bounds the memory that they take, and makes appending wait
/// for the index where it can't keep up.
const WAITING_BATCHES: usize = 16;

/// What the index holds of a run of leaves.
#[derive(Debug)]
pub struct IndexRows {
    pub first: LeafIndex,
    pub leaf_hashes: Vec<Hash>,
    pub facts: Vec<Facts>,
}

impl IndexRows {
    pub fn of(batch: &Batch) -> Self {
        Self { first: batch.first, leaf_hashes: batch.leaf_hashes.clone(), facts: batch.facts.clone() }
    }

    fn end(&self) -> u64 {
        self.first.get() + self.leaf_hashes.len() as u64
    }

    fn leaves(&self) -> impl Iterator<Item = (LeafIndex, &Hash, &Facts)> {
        self.leaf_hashes.iter().zip(&self.facts).enumerate().map(|(at, (h, f))| (self.first.plus(at), h, f))
    }
}

/// A page of search results.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchPage {
    /// Leaves that the term points at, newest first.
    pub leaves: Vec<LeafIndex>,
    /// Whether there are older ones.
    pub more: bool,
}

/// Applied, and not yet in sled.
#[derive(Debug, Default)]
struct Waiting {
    leaves: HashMap<Hash, LeafIndex>,
    claims: HashMap<Hash, Hash>,
    terms: BTreeSet<(Term, LeafIndex)>,
}

/// Readable by everybody.
#[derive(Debug, Clone)]
pub struct Index {
    rows: sled::Tree,
    waiting: Arc<RwLock<Waiting>>,
}

impl Index {
    pub fn new(rows: sled::Tree) -> Self {
        Self { rows, waiting: Arc::default() }
    }

    /// Leaves indexed. What does not parse counts as none, and is made anew.
    pub fn cursor(&self) -> TreeSize {
        let row = self.rows.get(CURSOR).ok().flatten();
        let size = row.and_then(|row| Some(u64::from_be_bytes(row.as_ref().try_into().ok()?)));
        size.and_then(TreeSize::new).unwrap_or_default()
    }

    /// Writes rows to sled, in order of their keys and the cursor last: a crash in between leaves rows
    /// that catching up writes again, the same.
    ///
    /// Row by row, because sled keeps whatever a `Batch` replaces until the whole of it is applied:
    /// thousands of random keys at once took it a gigabyte.
    pub fn write(&self, batch: &IndexRows) -> Result<(), StoreError> {
        let mut rows: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
        for (index, hash, facts) in batch.leaves() {
            rows.insert(leaf_key(hash, index), Vec::new());
            for claim in &facts.claims {
                // The first claim stands; catching up after a crash may come by the same row again.
                let key = claim_key(&claim.key).to_vec();
                if !rows.contains_key(&key) && self.rows.get(&key)?.is_none() {
                    rows.insert(key, claim.artifacts.as_bytes().to_vec());
                }
            }
            rows.extend(facts.terms.iter().map(|term| (term_key(term, index.get()), Vec::new())));
        }
        for (key, value) in rows {
            self.rows.insert(key, value)?;
        }
        self.rows.insert(CURSOR, &batch.end().to_be_bytes())?;
        Ok(())
    }

    /// Whether all rows of a leaf are there.
    pub fn check(&self, index: LeafIndex, leaf: &Hash, facts: &Facts) -> Result<(), StoreError> {
        let claims = facts.claims.iter().map(|claim| claim_key(&claim.key).to_vec());
        let terms = facts.terms.iter().map(|term| term_key(term, index.get()));
        for key in [leaf_key(leaf, index)].into_iter().chain(claims).chain(terms) {
            if !self.rows.contains_key(&key)? {
                return Err(damaged(&format!("a row {:?} for leaf {index}", char::from(key[0]))));
            }
        }
        Ok(())
    }

    /// Leaves whose hash begins like `leaf`'s: the caller compares the whole hash with the tile.
    /// A leaf that waits has its whole hash known.
    pub fn find_leaf(
        &self,
        leaf: &Hash,
        is_leaf: impl Fn(LeafIndex) -> Result<bool, StoreError>,
    ) -> Result<Option<LeafIndex>, StoreError> {
        // Waiting is read first: a row moves from there to sled, never back. What is in sled already
        // is the older leaf, and the first one counts.
        let waiting = self.waiting().leaves.get(leaf).copied();
        let prefix = &leaf_key(leaf, LeafIndex::new(0).expect("zero"))[..9];
        for row in self.rows.scan_prefix(prefix) {
            let index = last_word(&row?.0)?;
            if is_leaf(index)? {
                return Ok(Some(index));
            }
        }
        Ok(waiting)
    }

    pub fn find_claim(&self, key: &Hash) -> Result<Option<Hash>, StoreError> {
        // In this order for the same two reasons.
        let waiting = self.waiting().claims.get(key).copied();
        let Some(row) = self.rows.get(claim_key(key))? else { return Ok(waiting) };
        let bytes: [u8; 32] = row.as_ref().try_into().map_err(|_| damaged("a claim of 32 bytes"))?;
        Ok(Some(Hash::from_bytes(bytes)))
    }

    pub fn search(
        &self,
        term: &Term,
        before: Option<LeafIndex>,
        limit: usize,
    ) -> Result<SearchPage, StoreError> {
        let end = before.map_or(u64::MAX, LeafIndex::get);
        let mut found: BTreeSet<LeafIndex> = {
            let waiting = self.waiting();
            let first = LeafIndex::new(0).expect("zero");
            let rows = waiting.terms.range((*term, first)..).take_while(|(t, _)| t == term);
            rows.map(|(_, index)| *index).filter(|index| index.get() < end).collect()
        };
        for row in self.rows.range(term_key(term, 0)..term_key(term, end)).rev().take(limit + 1) {
            found.insert(last_word(&row?.0)?);
        }
        let more = found.len() > limit;
        Ok(SearchPage { leaves: found.into_iter().rev().take(limit).collect(), more })
    }

    fn waiting(&self) -> RwLockReadGuard<'_, Waiting> {
        self.waiting.read().expect("no panic while it is held")
    }

    fn waiting_mut(&self) -> RwLockWriteGuard<'_, Waiting> {
        self.waiting.write().expect("no panic while it is held")
    }

    fn remember(&self, rows: &IndexRows) {
        let mut waiting = self.waiting_mut();
        for (index, hash, facts) in rows.leaves() {
            waiting.leaves.entry(*hash).or_insert(index);
            for claim in &facts.claims {
                waiting.claims.entry(claim.key).or_insert(claim.artifacts);
            }
            waiting.terms.extend(facts.terms.iter().map(|term| (*term, index)));
        }
    }

    fn forget(&self, rows: &IndexRows) {
        let mut waiting = self.waiting_mut();
        for (index, hash, facts) in rows.leaves() {
            if waiting.leaves.get(hash) == Some(&index) {
                waiting.leaves.remove(hash);
            }
            for claim in &facts.claims {
                waiting.claims.remove(&claim.key);
            }
            for term in &facts.terms {
                waiting.terms.remove(&(*term, index));
            }
        }
    }
}

/// The thread that writes rows.
#[derive(Debug)]
pub struct Indexer {
    index: Index,
    queue: Option<SyncSender<IndexRows>>,
    failed: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Indexer {
    /// Starts it, after the index has caught up.
    pub fn start(index: Index) -> Self {
        let (queue, rows) = sync_channel(WAITING_BATCHES);
        let failed = Arc::new(AtomicBool::new(false));
        let thread = {
            let (index, failed) = (index.clone(), failed.clone());
            std::thread::Builder::new().name("index".to_owned()).spawn(move || run(&index, &rows, &failed))
        };
        Self { index, queue: Some(queue), failed, thread: Some(thread.expect("a thread can be started")) }
    }

    /// Makes rows findable at once, and hands them to the thread.
    pub fn push(&self, rows: IndexRows) -> Result<(), StoreError> {
        let gone = || damaged("the index to be written; its thread has failed");
        if self.failed.load(Ordering::Acquire) {
            return Err(gone());
        }
        self.index.remember(&rows);
        self.queue.as_ref().ok_or_else(gone)?.send(rows).map_err(|_| gone())
    }
}

impl Drop for Indexer {
    fn drop(&mut self) {
        drop(self.queue.take());
        if let Some(thread) = self.thread.take() {
            // It ends when the queue is empty; its panic was reported when it happened.
            let _ = thread.join();
        }
    }
}

fn run(index: &Index, queue: &Receiver<IndexRows>, failed: &AtomicBool) {
    for rows in queue {
        if failed.load(Ordering::Acquire) {
            continue;
        }
        match index.write(&rows) {
            Ok(()) => index.forget(&rows),
            Err(e) => {
                tracing::error!(error = %e, "the index could not be written; it will catch up from the journal");
                failed.store(true, Ordering::Release);
            }
        }
    }
}

fn leaf_key(hash: &Hash, index: LeafIndex) -> Vec<u8> {
    [b"l".as_slice(), &hash.as_bytes()[..8], &index.get().to_be_bytes()].concat()
}

fn claim_key(key: &Hash) -> [u8; 17] {
    let mut row = [b'q'; 17];
    row[1..].copy_from_slice(&key.as_bytes()[..16]);
    row
}

fn term_key(term: &Term, index: u64) -> Vec<u8> {
    [b"s".as_slice(), &term.0, &index.to_be_bytes()].concat()
}

fn last_word(key: &[u8]) -> Result<LeafIndex, StoreError> {
    let word = key.last_chunk().map(|word| u64::from_be_bytes(*word));
    word.and_then(LeafIndex::new).ok_or_else(|| damaged("an index at the end of a key"))
}

fn damaged(expected: &str) -> StoreError {
    StoreError::TreeDamaged { detail: format!("expected {expected}") }
}
