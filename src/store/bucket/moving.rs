//! Moving a log between a directory and a bucket.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::BucketStore;
use super::cache::BundleCache;
use super::reader::BucketEntries;
use super::tail::Tail;
use crate::bucket::Objects;
use crate::checkpoint::{Origin, origin_hash};
use crate::disk::DirLock;
use crate::merkle::{Hash, LeafIndex, RightEdge, TreeSize, read_root};
use crate::note::NoteKey;
use crate::store::{
    Batch, Describe, EntrySource, Layout, Scan, SignedHead, Store as _, StoreError, check_holds, read_signed,
};

/// Copies a log from its directory into a bucket. The directory is left as it is.
pub struct CopyToBucket<'a> {
    /// The log's directory, which no server has open.
    pub dir: &'a Path,
    /// The key that signs its heads, Ed25519.
    pub key: &'a NoteKey,
    /// Computes what the indexes hold of an entry.
    pub describe: Describe,
    /// Told how many bytes of how many are read.
    pub progress: &'a dyn Fn(u64, u64),
}

impl CopyToBucket<'_> {
    /// Appends the journal's batches to a log in a bucket, which has none or the first ones of an attempt that was cut
    /// short, and then writes the signed head: before that, the bucket has no log. Returns the head's size.
    ///
    /// # Errors
    /// [`StoreError`]: if the journal does not check, if the bucket has something else, or if one of them fails.
    pub fn run(&self, store: &mut BucketStore) -> Result<TreeSize, StoreError> {
        let layout = Layout::new(self.dir);
        let _lock = DirLock::acquire(&layout.lock())?;
        let path = layout.checkpoint();
        let signed = read_signed(&path, self.key)?;
        let SignedHead { head, note } = signed.ok_or(StoreError::CheckpointMissing { path })?;
        let mut scan = Scan::new(&layout.journal(), origin_hash(self.key.name().as_str()), None)?;
        let mut edge = RightEdge::default();
        while let Some(record) = scan.next_record()? {
            let entries: Vec<Vec<u8>> = record.entries().into_iter().map(<[u8]>::to_vec).collect();
            let leaf_hashes: Vec<Hash> = entries.iter().map(|entry| Hash::leaf(entry)).collect();
            let growth = edge.grow(&leaf_hashes);
            record.check_root(&record.path_in(&layout.journal()), &growth.edge.root())?;
            if growth.edge.size() > store.edge().size() {
                let first = LeafIndex::new(record.first).expect("checked when it was read");
                check_same(store, &edge)?;
                let facts = entries.iter().map(|entry| (self.describe)(entry)).collect();
                let batch = Batch { first, entries, leaf_hashes, facts, growth: growth.clone() };
                let staged = store.stage(&batch)?;
                store.apply(&batch, staged)?;
            }
            edge = growth.edge;
            let (done, total) = scan.progress();
            (self.progress)(done, total);
        }
        check_same(store, &edge)?;
        // The whole log is in the bucket, and hashes to the signed root. A crash before the next line leaves batches without
        // a head; the next attempt finds them.
        check_holds(&head, edge.size(), || Ok(read_root(store.reader().as_ref(), head.size)?.root()))?;
        let old = store.checkpoint();
        if old.as_deref() != Some(&note) {
            store.replace_checkpoint(old.as_deref(), &note)?;
        }
        Ok(head.size)
    }
}

/// Checks that the bucket has the entries that the journal has.
fn check_same(store: &BucketStore, edge: &RightEdge) -> Result<(), StoreError> {
    let there = store.edge();
    if there == *edge {
        return Ok(());
    }
    let expected = format!("the journal's {} entries with root {}", edge.size(), edge.root());
    let detail = format!("expected {expected}, saw {} with root {}", there.size(), there.root());
    Err(StoreError::Overtaken { detail: format!("{detail}; choose another prefix") })
}

/// The entries of a log in a bucket, for a repair of a log in a directory, or a restore.
pub struct BucketSource(BucketEntries);

impl BucketSource {
    /// The log of this origin in `objects`.
    #[must_use]
    pub fn new(objects: Arc<dyn Objects>, origin: &Origin) -> Self {
        Self(BucketEntries {
            objects,
            origin: origin_hash(origin.as_str()),
            tail: Tail::default(),
            cache: BundleCache::new(PathBuf::new(), 0),
            threads: 1,
            tree_damaged: AtomicBool::new(false),
        })
    }
}

impl EntrySource for BucketSource {
    fn entries(&mut self, first: u64, most: usize) -> Result<Vec<Vec<u8>>, String> {
        let batches = self.0.batches(first..first + 1).map_err(|e| e.to_string())?;
        let batch = batches.first().expect("one has the entry");
        let skip = usize::try_from(first - batch.head().first.get()).expect("within a batch");
        Ok(batch.entries().skip(skip).take(most).map(<[u8]>::to_vec).collect())
    }
}
