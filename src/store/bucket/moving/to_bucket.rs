//! Moves a log from its directory into a bucket.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use super::{MoveError, has_log, set_journal_aside, take_lease, to_directory};
use crate::bucket::Objects;
use crate::checkpoint::policy::Policy;
use crate::checkpoint::{Checkpoint, Origin, origin_hash};
use crate::disk::{DirLock, DiskError, DiskIo};
use crate::merkle::{Hash, RightEdge, TILE_WIDTH, TreeSize};
use crate::note::NoteKey;
use crate::store::bucket::backup::read_head;
use crate::store::bucket::chain::{Appended, ChainOptions, HeadReplaced};
use crate::store::bucket::follow::ChainReader;
use crate::store::bucket::make;
use crate::store::bucket::reader::BucketEntries;
use crate::store::bucket::{
    BucketChecked, BucketFsck, Chain, ChainError, FsckScope, HeadKind, LeaseKeeper, WriterId,
};
use crate::store::derived::BatchReader as _;
use crate::store::disk::moving::{discard_derived, set_aside};
use crate::store::disk::{Rehash, rehash_journal, shown_head};
use crate::store::{
    Batch, ExportError, JournalToCopy, Layout, MAX_BATCH_BYTES, MAX_BATCH_ENTRIES, Scan, SignedHead,
    StoreError, read_signed,
};

/// A move of a log from its directory into a bucket.
pub struct MoveToBucket<'a> {
    /// The log's directory.
    pub dir: &'a Path,
    /// The log's public keys, Ed25519 first.
    pub keys: &'a [NoteKey],
    /// The witnesses of the log, if it has any.
    pub witnesses: Option<&'a Policy>,
    /// True if the log publishes heads without a quorum of witnesses.
    pub publish_unwitnessed: bool,
    /// The log's profile, as in the file `profile`.
    pub profile: &'a str,
    /// The bucket, below a prefix with no other log. The caller has [probed](crate::bucket::probe) it.
    pub objects: Arc<dyn Objects>,
    /// Concurrent requests.
    pub threads: usize,
    /// The disk.
    pub io: Arc<dyn DiskIo>,
    /// Called with the number of steps done and their total.
    pub progress: &'a dyn Fn(u64, u64),
}

/// A log that was moved into a bucket.
#[derive(Debug, Clone)]
pub struct MovedToBucket {
    /// The last head that the log signed.
    pub signed: Checkpoint,
    /// Number of entries in the bucket, including those that no head covers yet.
    pub entries: TreeSize,
    /// Number of batches that hold them.
    pub batches: u64,
    /// Number of tiles and bundles of the heads.
    pub tiles: u64,
    /// The directory that holds the old journal and heads.
    pub aside: Option<PathBuf>,
}

/// The log in its directory.
struct Source {
    /// The tree over the whole journal, with its roots at the heads' sizes.
    tree: Rehash,
    signed: SignedHead,
    /// The published head. A log with witnesses has none before its first quorum.
    published: Option<SignedHead>,
}

impl MoveToBucket<'_> {
    /// Copies the log and reads all of it back, then calls `switch`, which makes the settings name the bucket. That
    /// moves the log. `run` then writes the log's name and heads, without which no server accepts the bucket, and sets
    /// the journal aside. If `run` fails before the switch, the log remains in the directory, and calling `run` again
    /// resumes the move. After the switch, [`finish`](Self::finish) resumes it.
    ///
    /// # Errors
    /// [`MoveError`].
    pub fn run(&self, switch: &mut dyn FnMut() -> Result<(), DiskError>) -> Result<MovedToBucket, MoveError> {
        // 1. LOCK. No server has the directory open.
        let _lock = DirLock::acquire(&Layout::new(self.dir).lock())?;
        to_directory::finish(self.io.as_ref(), self.dir)?;
        // 2. READ the whole journal, including entries that no head covers yet: the next start would sign them.
        let source = self.read()?;
        // 3. CHECK that the bucket has no other log.
        make::is_free(self.objects.as_ref(), self.origin().as_str(), self.profile)?;
        let writer = WriterId::random().map_err(ChainError::Randomness)?;
        let lease = take_lease(&self.objects, writer)?;
        // 4. BATCHES. A crash here leaves some of them; the next attempt appends the rest.
        self.copy(source.tree.edge(), writer, &lease)?;
        // 5. TILES, computed from the batches in the bucket, and read back.
        let checked = self.read_back(&source, &lease)?;
        // 6. CACHE. Delete the data derived from the journal, so that the bucket's cache starts empty.
        discard_derived(self.dir)?;
        // 7. SWITCH. A crash leaves the old settings, or settings that name the bucket. Until here no server accepts the
        // copy in the bucket; if the log in the directory grows, the next attempt extends the copy. From here on no
        // server accepts the directory.
        switch()?;
        // 8. NAME and HEADS. Now servers accept the bucket. After a crash here they refuse to start
        // until `finish` has been called.
        make::name(self.objects.as_ref(), self.origin().as_str(), self.profile)?;
        self.write_heads(&source, writer)?;
        // 9. ASIDE. After a crash before this step, the next start or `finish` does it.
        let aside = set_aside(self.io.as_ref(), self.dir)?;
        Ok(MovedToBucket {
            signed: source.signed.head,
            entries: checked.entries,
            batches: checked.batches,
            tiles: checked.tiles,
            aside,
        })
    }

    /// Ends a move that was cut short after the settings were switched. Returns the directory that the old journal and heads
    /// are in; `None` if they were set aside before.
    ///
    /// # Errors
    /// [`MoveError`]; the same call goes on.
    pub fn finish(&self) -> Result<Option<PathBuf>, MoveError> {
        if self.lacks_heads()? {
            return Ok(self.run(&mut || Ok(()))?.aside);
        }
        Ok(set_journal_aside(self.io.as_ref(), self.dir, self.objects.as_ref(), self.keys)?)
    }

    /// Returns true if heads of the log in the directory are not in the bucket. A move that was cut short there left
    /// none: servers refuse a bucket without them, so nobody has replaced any.
    fn lacks_heads(&self) -> Result<bool, MoveError> {
        let layout = Layout::new(self.dir);
        if !has_log(self.dir) {
            return Ok(false);
        }
        let lacks = |kind| Ok::<_, ChainError>(read_head(self.objects.as_ref(), kind, self.keys)?.is_none());
        let signed = if self.witnesses.is_some() { HeadKind::Signed } else { HeadKind::Published };
        Ok(lacks(signed)? || (layout.witnessed().exists() && lacks(HeadKind::Published)?))
    }

    fn key(&self) -> &NoteKey {
        &self.keys[0]
    }

    fn origin(&self) -> Origin {
        Origin::from(self.key().name().clone())
    }

    fn read(&self) -> Result<Source, MoveError> {
        let path = Layout::new(self.dir).checkpoint();
        let signed = read_signed(&path, self.key())?.ok_or(StoreError::CheckpointMissing { path })?;
        let from = JournalToCopy::new(self.dir, self.key(), self.io.clone());
        let published = match shown_head(&from, self.keys, self.witnesses, self.publish_unwitnessed) {
            Ok(head) => Some(head),
            // The empty tree has no quorum of cosignatures yet.
            Err(ExportError::NeverWitnessed { .. }) if signed.head.size == TreeSize::ZERO => None,
            Err(ExportError::Store(error)) => return Err(error.into()),
            Err(error) => return Err(MoveError::Head(error)),
        };
        let sizes = [&signed].into_iter().chain(&published).map(|head| head.head.size);
        let tree = self.rehash(None, Rehash::watching(sizes))?;
        [&signed].into_iter().chain(&published).try_for_each(|head| tree.check(head))?;
        Ok(Source { tree, signed, published })
    }

    fn rehash(&self, until: Option<TreeSize>, tree: Rehash) -> Result<Rehash, StoreError> {
        let journal = Layout::new(self.dir).journal();
        if !journal.exists() {
            return Ok(tree); // the log was never served
        }
        rehash_journal(&journal, origin_hash(self.origin().as_str()), until, tree, &|_, _| ())
    }

    /// Appends the journal's batches that the bucket lacks. Joins small batches. Keeps the batches near the end as they
    /// are: heads were signed where they end, and readers need the partial tiles of those sizes.
    fn copy(&self, end: &RightEdge, writer: WriterId, lease: &LeaseKeeper) -> Result<(), MoveError> {
        let origin = self.origin();
        // The bucket has no heads yet, so the chain gets no keys.
        let options = ChainOptions::new(self.objects.clone(), origin.clone(), Vec::new(), writer);
        let mut chain =
            Chain::open(options, RightEdge::default(), |_| Ok::<_, StoreError>(Hash::EMPTY_ROOT))?;
        let entries = BucketEntries::uncached(self.objects.clone(), origin.as_str(), self.threads);
        let mut there = ChainReader::new(&mut chain, &entries, TreeSize::ZERO);
        loop {
            match there.next_batch() {
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(StoreError::Chain(ChainError::Sealed { size, .. })) => {
                    return Err(MoveError::Left { store: self.objects.name(), size });
                }
                Err(error) => return Err(error.into()),
            }
        }
        if chain.edge().size() > end.size() {
            return Err(self.other_entries(end, chain.edge()));
        }
        let mut joined = Joined { chain, entries: Vec::new(), bytes: 0, seen: RightEdge::default() };
        let journal = Layout::new(self.dir).journal();
        let near = end.size().get() / TILE_WIDTH * TILE_WIDTH;
        let mut scan = Scan::new(&journal, origin_hash(origin.as_str()), None)?;
        while let Some(record) = scan.next_record()? {
            let entries = record.entries();
            let of_bucket = joined.pass(&entries);
            if joined.seen.size() == joined.chain.edge().size() && joined.seen != *joined.chain.edge() {
                return Err(self.other_entries(&joined.seen, joined.chain.edge()));
            }
            joined.push(&entries[of_bucket..])?;
            if record.first + entries.len() as u64 > near {
                joined.flush()?;
            }
            let _ = lease.turn(Instant::now()); // the keeper stops renewing the lease if nobody asks
            let (done, total) = scan.progress();
            (self.progress)(done.saturating_mul(1_000) / total.max(1), 2_000);
        }
        joined.flush()?;
        if joined.chain.edge() == end { Ok(()) } else { Err(self.other_entries(end, joined.chain.edge())) }
    }

    fn other_entries(&self, here: &RightEdge, there: &RightEdge) -> MoveError {
        let words = |edge: &RightEdge| format!("{} with root {}", edge.size(), edge.root());
        MoveError::OtherEntries { store: self.objects.name(), expected: words(here), seen: words(there) }
    }

    /// Re-hashes the batches in the bucket up to the heads, writes missing tiles, and reads every tile back.
    fn read_back(&self, source: &Source, lease: &LeaseKeeper) -> Result<BucketChecked, MoveError> {
        let check = BucketFsck {
            objects: self.objects.clone(),
            origin: self.origin(),
            keys: self.keys.to_vec(),
            repair: true,
            threads: self.threads,
            progress: &|done, total| {
                let _ = lease.turn(Instant::now());
                (self.progress)(1_000 + done.saturating_mul(1_000) / total.max(1), 2_000);
            },
        };
        let coming = [&source.signed].into_iter().chain(&source.published);
        let coming = coming.map(|head| head.head.clone()).collect();
        let checked = check.run_in(&FsckScope { coming, ..FsckScope::default() })?;
        let end = source.tree.edge();
        if (checked.entries, checked.root) == (end.size(), end.root()) {
            return Ok(checked);
        }
        let words = |size: TreeSize, root: Hash| format!("{size} with root {root}");
        let (expected, seen) = (words(end.size(), end.root()), words(checked.entries, checked.root));
        Err(MoveError::OtherEntries { store: self.objects.name(), expected, seen })
    }

    fn write_heads(&self, source: &Source, writer: WriterId) -> Result<(), MoveError> {
        let root_at = |size| {
            if let Some(root) = source.tree.root_at(size) {
                return Ok(root);
            }
            // An earlier attempt wrote this head.
            let tree = self.rehash(Some(size), Rehash::watching([size]))?;
            Ok::<_, StoreError>(tree.root_at(size).unwrap_or(Hash::EMPTY_ROOT))
        };
        let options = ChainOptions::new(self.objects.clone(), self.origin(), self.keys.to_vec(), writer);
        let mut chain = Chain::open(options, source.tree.edge().clone(), root_at)?;
        let signed = self.witnesses.map(|_| (HeadKind::Signed, &source.signed));
        let published = source.published.as_ref().map(|head| (HeadKind::Published, head));
        // The published one first. A server that starts after a crash in between sets the log in the directory aside only if
        // the bucket's largest head covers what was signed.
        for (kind, head) in published.into_iter().chain(signed) {
            if chain.head(kind).is_some_and(|there| there.note == head.note) {
                continue;
            }
            if chain.replace_head(kind, &head.note, root_at)? == HeadReplaced::Overtaken {
                let detail = format!("another process replaced {kind} in {} meanwhile", self.objects.name());
                return Err(StoreError::Overtaken { detail }.into());
            }
        }
        Ok(())
    }
}

/// Joins the journal's batches and appends them to the bucket.
struct Joined {
    chain: Chain,
    /// Entries that are not in the chain yet.
    entries: Vec<Vec<u8>>,
    bytes: usize,
    /// The journal's tree over the entries that the bucket already had.
    seen: RightEdge,
}

impl Joined {
    /// Skips the leading entries that the bucket already has. Returns their number.
    fn pass(&mut self, entries: &[&[u8]]) -> usize {
        let left = self.chain.edge().size().get().saturating_sub(self.seen.size().get());
        let is_new = self.entries.is_empty() && left > 0;
        let count = if is_new { usize::try_from(left).unwrap_or(usize::MAX).min(entries.len()) } else { 0 };
        self.seen.extend(&entries[..count].iter().map(|entry| Hash::leaf(entry)).collect::<Vec<_>>());
        count
    }

    fn push(&mut self, entries: &[&[u8]]) -> Result<(), MoveError> {
        let bytes: usize = entries.iter().map(|entry| entry.len()).sum();
        if self.entries.len() + entries.len() > MAX_BATCH_ENTRIES || self.bytes + bytes > MAX_BATCH_BYTES {
            self.flush()?;
        }
        self.entries.extend(entries.iter().map(|entry| entry.to_vec()));
        self.bytes += bytes;
        Ok(())
    }

    fn flush(&mut self) -> Result<(), MoveError> {
        let entries = std::mem::take(&mut self.entries);
        self.bytes = 0;
        if entries.is_empty() {
            return Ok(());
        }
        let leaf_hashes: Vec<Hash> = entries.iter().map(|entry| Hash::leaf(entry)).collect();
        let growth = self.chain.edge().grow(&leaf_hashes);
        let first = self.chain.edge().next_index();
        let batch = Batch { first, entries, leaf_hashes, facts: Vec::new(), growth };
        match self.chain.append(&batch)? {
            Appended::Done => {
                self.seen = self.chain.edge().clone();
                Ok(())
            }
            Appended::Overtaken { by } => {
                let detail = format!("writer {by} has already written a batch at entry {first}");
                Err(StoreError::Overtaken { detail }.into())
            }
        }
    }
}
