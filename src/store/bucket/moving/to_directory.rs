//! Moves a log from a bucket into its directory.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use super::{MoveError, check_heads, has_log, take_lease};
use crate::bucket::Objects;
use crate::checkpoint::{Checkpoint, Origin};
use crate::disk::{DirLock, DiskError, DiskIo, read_if_exists, replace, sync_parent};
use crate::merkle::{Hash, RightEdge, TreeSize};
use crate::note::NoteKey;
use crate::store::bucket::chain::{ChainOptions, Sealed};
use crate::store::bucket::follow::ChainReader;
use crate::store::bucket::make::recognise;
use crate::store::bucket::reader::BucketEntries;
use crate::store::bucket::{Chain, ChainError, HeadKind, LeaseKeeper, WriterId};
use crate::store::derived::{BatchReader as _, StoredBatch as _};
use crate::store::disk::moving::{NewJournal, discard_derived, finish_swap, set_aside};
use crate::store::{Layout, SignedHead, StoreError};

/// The file with the id of a move, which exists until the move ends. After an interruption, the move recognises its own
/// seal by this id.
const MOVE_ID: &str = "move.id";

/// A move of a log from a bucket into the directory of one of its servers.
pub struct MoveToDirectory<'a> {
    /// The directory.
    pub dir: &'a Path,
    /// The log's public keys, Ed25519 first.
    pub keys: &'a [NoteKey],
    /// The log's profile, as in the file `profile`.
    pub profile: &'a str,
    /// True for a log with witnesses.
    pub has_witnesses: bool,
    /// The bucket, below the log's prefix. The caller has [probed](crate::bucket::probe) it.
    pub objects: Arc<dyn Objects>,
    /// Concurrent requests.
    pub threads: usize,
    /// The disk.
    pub io: Arc<dyn DiskIo>,
    /// Size past which a journal segment is closed and a new one begun.
    pub segment_bytes: u64,
    /// Called with the number of entries read and their total.
    pub progress: &'a dyn Fn(u64, u64),
}

/// A log that was moved into a directory.
#[derive(Debug, Clone)]
pub struct MovedToDirectory {
    /// The last head that the log signed.
    pub signed: Checkpoint,
    /// Number of entries in the journal, including those that no head covers yet.
    pub entries: TreeSize,
    /// The directory that holds an old journal, if the move found one in its way.
    pub aside: Option<PathBuf>,
}

impl MoveToDirectory<'_> {
    /// Writes the batches into a journal, reads it back, seals the chain in the bucket, then calls `switch`, which
    /// removes the bucket from the settings. Until the chain is sealed, the log remains in the bucket. After that,
    /// calling `run` again completes the move.
    ///
    /// # Errors
    /// [`MoveError`].
    pub fn run(
        &self,
        switch: &mut dyn FnMut() -> Result<(), DiskError>,
    ) -> Result<MovedToDirectory, MoveError> {
        // 1. LOCK. No server uses this directory. Servers with other directories may still run.
        let _lock = DirLock::acquire(&Layout::new(self.dir).lock())?;
        let origin = Origin::from(self.keys[0].name().clone());
        recognise(self.objects.as_ref(), origin.as_str(), self.profile)?;
        // A move into the bucket may have been interrupted before it wrote the heads. They are only here then.
        if has_log(self.dir) {
            check_heads(self.dir, self.objects.as_ref(), self.keys)?;
        }
        let mover = self.mover()?;
        // Don't reuse the move's id: the lease of an interrupted attempt has to expire like any other.
        let writer = WriterId::random().map_err(ChainError::Randomness)?;
        let lease = take_lease(&self.objects, writer)?;
        // A journal may remain from before the log was moved into the bucket.
        let aside = set_aside(self.io.as_ref(), self.dir)?;
        // 2. COPY. A crash here leaves `journal.building`, which nothing reads.
        let options = ChainOptions::new(self.objects.clone(), origin.clone(), self.keys.to_vec(), writer);
        let mut chain =
            Chain::open(options, RightEdge::default(), |_| Ok::<_, StoreError>(Hash::EMPTY_ROOT))?;
        let mut journal = NewJournal::create(self.io.clone(), self.dir, &origin, self.segment_bytes)?;
        loop {
            let is_sealed = self.copy(&mut chain, &mut journal, &lease, mover)?;
            let heads: Vec<&Checkpoint> =
                HeadKind::ALL.into_iter().filter_map(|kind| Some(&chain.head(kind)?.head)).collect();
            journal.check(chain.edge(), &heads)?;
            // A seal is for good, so it must not end a log that can't be signed any more.
            if heads.is_empty() {
                return Err(ChainError::HeadMissing { key: HeadKind::Published.as_str().to_owned() }.into());
            }
            // 3. SEAL. From here on no server can append to the bucket. After a crash, the operator has to repeat the
            // move. The bucket still has the whole log, so readers are not affected.
            if is_sealed || chain.seal(mover)? == Sealed::Done {
                break;
            }
        }
        // 4. HEADS. Read them again: a server may have signed the last durable batches meanwhile.
        for kind in HeadKind::ALL {
            chain.read_head(kind, |size| journal.root_at(size))?;
        }
        let heads = HeadKind::ALL.map(|kind| chain.head(kind).cloned());
        let [published, _] = heads.clone();
        let signed = heads.into_iter().flatten().max_by_key(|head| head.head.size);
        let Some(SignedHead { head, note }) = signed else {
            return Err(ChainError::HeadMissing { key: HeadKind::Published.as_str().to_owned() }.into());
        };
        // 5. IN PLACE. The settings still name the bucket, so nothing reads the journal yet.
        discard_derived(self.dir)?;
        let witnessed = published.filter(|_| self.has_witnesses);
        journal.offer(&note, witnessed.as_ref().map(|head| head.note.as_slice()))?;
        // 6. SWITCH. A crash leaves the old settings, or settings without a bucket.
        switch()?;
        // 7. FINISH. After a crash before this step, the next start does it.
        finish(self.io.as_ref(), self.dir)?;
        Ok(MovedToDirectory { signed: head, entries: chain.edge().size(), aside })
    }

    /// Copies the batches after the known chain into the journal. Returns true if this move has already sealed the
    /// chain.
    fn copy(
        &self,
        chain: &mut Chain,
        journal: &mut NewJournal,
        lease: &LeaseKeeper,
        mover: WriterId,
    ) -> Result<bool, MoveError> {
        let origin = Origin::from(self.keys[0].name().clone());
        let entries = BucketEntries::uncached(self.objects.clone(), origin.as_str(), self.threads);
        let covered = HeadKind::ALL.into_iter().filter_map(|kind| Some(chain.head(kind)?.head.size)).max();
        let mut batches = ChainReader::new(chain, &entries, covered.unwrap_or_default());
        loop {
            match batches.next_batch() {
                Ok(Some(batch)) => {
                    let growth = batch.growth.clone();
                    journal.append(&batch.entries(), growth)?;
                }
                Ok(None) => return Ok(false),
                Err(StoreError::Chain(ChainError::Sealed { mover: by, .. })) if by == mover => {
                    return Ok(true);
                }
                Err(StoreError::Chain(ChainError::Sealed { size, .. })) => {
                    return Err(MoveError::Left { store: self.objects.name(), size });
                }
                Err(error) => return Err(error.into()),
            }
            let _ = lease.turn(Instant::now()); // the keeper stops renewing the lease if nobody asks
            let (done, total) = batches.progress();
            (self.progress)(done, total);
        }
    }

    /// The id of this move, stored in a file so that it survives a crash.
    fn mover(&self) -> Result<WriterId, MoveError> {
        let path = self.dir.join(MOVE_ID);
        if let Some(bytes) = read_if_exists(&path)? {
            let id = std::str::from_utf8(&bytes).ok().and_then(|text| WriterId::parse(text.trim_end()));
            return id.ok_or_else(|| {
                let (what, detail) = (path.display().to_string(), "expected 32 hex digits".to_owned());
                StoreError::Damaged { what, detail }.into()
            });
        }
        let id = WriterId::random().map_err(ChainError::Randomness)?;
        replace(self.io.as_ref(), &path, format!("{id}\n").as_bytes())?;
        Ok(id)
    }
}

/// Returns true if a move into the directory has begun and not ended.
#[must_use]
pub fn is_moving(dir: &Path) -> bool {
    dir.join(MOVE_ID).exists()
}

/// Completes a move into a directory whose settings no longer name the bucket. The caller holds the lock.
///
/// # Errors
/// [`DiskError`].
pub(super) fn finish(io: &dyn DiskIo, dir: &Path) -> Result<(), DiskError> {
    finish_swap(io, dir)?;
    let path = dir.join(MOVE_ID);
    if path.exists() {
        io.remove(&path).map_err(DiskError::io("remove", &path))?;
        sync_parent(io, &path)?;
    }
    Ok(())
}

/// Completes a move into the directory that was interrupted after the switch of the settings.
///
/// # Errors
/// [`DiskError`].
pub fn finish_move(io: &dyn DiskIo, dir: &Path) -> Result<(), DiskError> {
    let _lock = DirLock::acquire(&Layout::new(dir).lock())?;
    finish(io, dir)
}
