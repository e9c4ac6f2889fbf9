//! Reads the entries of a log in a bucket: the newest from memory, older ones from full bundles or from their batches.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::batch_object::{BatchObject, MAX_OBJECT_BYTES};
use super::cache::BundleCache;
use super::layout::{self, BATCHES, IMMUTABLE};
use super::tail::Tail;
use super::{ChainError, parallel};
use crate::bucket::{BucketError, MAX_LISTED, Objects};
use crate::checkpoint::origin_hash;
use crate::merkle::{Hash, LeafIndex, TILE_WIDTH, Tile, TileId, TreeSize};
use crate::proof::bundle::{self, LENGTH_BYTES};
use crate::release::MAX_ENTRY_BYTES;
use crate::store::derived::{EntryStorage, Tree, leaf_hashes};
use crate::store::{MAX_BATCH_ENTRIES, StoreError};

const FULL: usize = 256;
/// Length of the largest bundle.
pub const MAX_BUNDLE_BYTES: usize = FULL * (LENGTH_BYTES + MAX_ENTRY_BYTES);

/// The entries of a log in a bucket, for readers. An entry from the cache or from a bundle that does not hash to its
/// leaf is read again from its batch.
pub struct BucketEntries {
    pub objects: Arc<dyn Objects>,
    /// SHA-256 of the log's origin.
    pub origin: Hash,
    /// The newest entries.
    pub tail: Tail,
    pub cache: BundleCache,
    /// Concurrent requests.
    pub threads: usize,
    /// Set by a reader that finds the tree in sled damaged.
    pub tree_damaged: AtomicBool,
}

impl BucketEntries {
    /// The log of this origin, for readers without a cache.
    #[must_use]
    pub fn uncached(objects: Arc<dyn Objects>, origin: &str, threads: usize) -> Self {
        let (tail, cache) = (Tail::default(), BundleCache::new(PathBuf::new(), 0));
        Self {
            objects,
            origin: origin_hash(origin),
            tail,
            cache,
            threads,
            tree_damaged: AtomicBool::new(false),
        }
    }

    /// Reads the batches with the entries of this range, in order.
    ///
    /// # Errors
    /// [`ChainError`]: [`ChainError::RolledBack`] if some are missing.
    pub fn batches(&self, entries: Range<u64>) -> Result<Vec<BatchObject>, ChainError> {
        if entries.is_empty() {
            return Ok(Vec::new());
        }
        let firsts = self.list(&entries)?;
        let batches = parallel::map(&firsts, self.threads, |first| self.batch(*first))?;
        let mut next = entries.start;
        for batch in &batches {
            let (first, end) = (batch.head().first.get(), batch.head().end().get());
            if first > next || end <= next {
                break;
            }
            next = end;
        }
        if next < entries.end {
            let expected = format!("batches with entries {} to {}", entries.start, entries.end - 1);
            return Err(ChainError::RolledBack { expected, seen: format!("none with entry {next}") });
        }
        Ok(batches)
    }

    /// The first leaf indices of the batches that may have some of the entries.
    fn list(&self, entries: &Range<u64>) -> Result<Vec<LeafIndex>, ChainError> {
        // The batch with the first entry begins at most the length of the longest batch before it.
        let begin = entries.start.checked_sub(MAX_BATCH_ENTRIES as u64).and_then(LeafIndex::new);
        let (mut after, mut firsts) = (begin.map(layout::batch).unwrap_or_default(), Vec::new());
        loop {
            let listing = self.objects.list(BATCHES, &after, MAX_LISTED)?;
            firsts.extend(listing.objects.iter().filter_map(|listed| layout::parse_batch(&listed.key)));
            match listing.objects.last() {
                Some(last) if listing.more && firsts.last().is_some_and(|last| last.get() < entries.end) => {
                    after.clone_from(&last.key);
                }
                _ => break,
            }
        }
        let begin = firsts.partition_point(|first| first.get() <= entries.start).saturating_sub(1);
        let end = firsts.partition_point(|first| first.get() < entries.end).max(begin);
        Ok(firsts[begin..end].to_vec())
    }

    fn batch(&self, first: LeafIndex) -> Result<BatchObject, ChainError> {
        let key = layout::batch(first);
        let damaged = |detail: String| ChainError::BatchDamaged { key: key.clone(), detail };
        let object = self.objects.get(&key, MAX_OBJECT_BYTES)?;
        let object = object.ok_or_else(|| damaged("it was listed but is missing".to_owned()))?;
        let batch = BatchObject::parse(object.bytes).map_err(|e| damaged(e.to_string()))?;
        if batch.head().first != first || batch.head().origin != self.origin {
            return Err(damaged("expected this log's batch, saw another batch or another log's".to_owned()));
        }
        Ok(batch)
    }

    /// Reads entries from their batches, in the format of a bundle.
    ///
    /// # Errors
    /// As [`batches`](Self::batches).
    pub fn bundle_of_batches(&self, entries: Range<u64>) -> Result<Vec<u8>, ChainError> {
        let mut bytes = Vec::new();
        for batch in self.batches(entries.clone())? {
            let (first, end) = (batch.head().first.get(), batch.head().end().get());
            let place = |at: u64| usize::try_from(at.clamp(first, end) - first).expect("within a batch");
            let (from, to) = (place(entries.start), place(entries.end));
            bytes.extend_from_slice(batch.bundle(from, to - from).expect("within the batch"));
        }
        Ok(bytes)
    }

    /// Reads a full bundle from the cache, else from the bucket, else from its batches.
    fn full_bundle(&self, tree: &Tree, index: u64) -> Result<Vec<u8>, StoreError> {
        let expected = leaf_hashes(tree, index, FULL)?;
        let is_right = |bytes: &[u8]| {
            bundle::split(bytes, FULL).is_ok_and(|entries| {
                entries.len() == FULL
                    && entries.iter().zip(&expected).all(|(entry, hash)| Hash::leaf(entry) == *hash)
            })
        };
        if let Some(bytes) = self.cache.get(index).filter(|bytes| is_right(bytes)) {
            return Ok(bytes);
        }
        let tile = Tile::new(TileId::Entries { index }, TILE_WIDTH).expect("256 is a width");
        let object = self.objects.get(&layout::tile(tile), MAX_BUNDLE_BYTES).map_err(ChainError::from);
        let seen = match object {
            Ok(Some(object)) if is_right(&object.bytes) => {
                self.cache.put(index, &object.bytes);
                return Ok(object.bytes);
            }
            Ok(Some(_)) => "does not have the log's entries",
            Err(ChainError::Bucket(BucketError::TooLarge { .. })) => "is too large",
            // The bundle may be written later, together with a head that covers it.
            Ok(None) => "is not there",
            Err(error) => return Err(error.into()),
        };
        let bytes = self.bundle_of_batches(index * TILE_WIDTH..(index + 1) * TILE_WIDTH)?;
        if !is_right(&bytes) {
            // The caller finds out whether the tree is wrong.
            return Ok(bytes);
        }
        tracing::warn!(object = %tile, "the bundle {seen}; reading it from the batches and rewriting it");
        if let Err(error) = self.objects.put(&layout::tile(tile), &bytes, &IMMUTABLE) {
            tracing::warn!(object = %tile, %error, "could not rewrite the bundle; readers of the bucket can't use it");
        }
        self.cache.put(index, &bytes);
        Ok(bytes)
    }
}

impl EntryStorage for BucketEntries {
    fn read_bundle(&self, tree: &Tree, index: u64, width: usize) -> Result<Vec<u8>, StoreError> {
        if let Some(bytes) = self.tail.bundle(index, width) {
            return Ok(bytes);
        }
        let first = index * TILE_WIDTH;
        if TreeSize::new(first + TILE_WIDTH).is_none_or(|end| end > tree.peaks().size()) {
            return Ok(self.bundle_of_batches(first..first + width as u64)?);
        }
        let mut bytes = self.full_bundle(tree, index)?;
        if width < FULL {
            let spans = bundle::spans(&bytes, FULL).map_err(|e| self.damaged("a bundle", e.to_string()))?;
            bytes.truncate(spans.get(width - 1).map_or(bytes.len(), |span| span.end));
        }
        Ok(bytes)
    }

    fn read_bundles(&self, tree: &Tree, bundles: Range<u64>) -> Result<Vec<Vec<u8>>, StoreError> {
        let bundles: Vec<u64> = bundles.collect();
        parallel::map(&bundles, self.threads, |index| self.read_bundle(tree, *index, FULL))
    }

    fn bundles_at_once(&self) -> u64 {
        4 * self.threads as u64
    }

    fn read_entry(&self, tree: &Tree, index: LeafIndex) -> Result<Vec<u8>, StoreError> {
        if let Some(entry) = self.tail.entry(index.get()) {
            return Ok(entry);
        }
        let place = usize::try_from(index.get() % TILE_WIDTH).expect("below 256");
        let bundle = index.get() / TILE_WIDTH;
        let bytes = self.read_bundle(tree, bundle, place + 1)?;
        let entries = bundle::split(&bytes, FULL).ok();
        let entry = entries.and_then(|entries| entries.get(place).map(|entry| entry.to_vec()));
        entry.ok_or_else(|| self.damaged(&format!("entry {index}"), "it can't be read".to_owned()))
    }

    fn damaged(&self, what: &str, detail: String) -> StoreError {
        StoreError::Damaged { what: format!("{what} in the bucket {}", self.objects.name()), detail }
    }

    fn tree_is_damaged(&self) {
        self.tree_damaged.store(true, Ordering::Relaxed);
    }

    fn damage_in(&self, error: &StoreError) -> Option<(String, String)> {
        match error {
            StoreError::Damaged { what, detail } => Some((what.clone(), detail.clone())),
            StoreError::Chain(error) if error.is_damage() => {
                Some((format!("the bucket {}", self.objects.name()), error.to_string()))
            }
            _ => None,
        }
    }
}
