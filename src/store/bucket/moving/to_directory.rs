//! Moving a log from a bucket into its directory.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use super::{MoveError, entries_in, take_lease};
use crate::bucket::Objects;
use crate::checkpoint::{Checkpoint, Origin};
use crate::disk::{DirLock, DiskError, DiskIo, read_if_exists, replace, sync_parent};
use crate::merkle::{Hash, RightEdge, TreeSize};
use crate::note::NoteKey;
use crate::store::bucket::chain::{ChainOptions, Sealed};
use crate::store::bucket::follow::ChainReader;
use crate::store::bucket::make::recognise;
use crate::store::bucket::{Chain, ChainError, HeadKind, LeaseKeeper, WriterId};
use crate::store::derived::{BatchReader as _, StoredBatch as _};
use crate::store::disk::moving::{NewJournal, discard_derived, finish_swap, set_aside};
use crate::store::{Layout, SignedHead, StoreError};

/// The file with the name of a move, from its beginning to its end: by it, a move that was cut short recognises its seal.
const MOVE_ID: &str = "move.id";

/// A move of a log from a bucket into the directory of one of its servers.
pub struct MoveToDirectory<'a> {
    /// The directory.
    pub dir: &'a Path,
    /// The log's public keys, Ed25519 first.
    pub keys: &'a [NoteKey],
    /// The log's profile, as its file has it.
    pub profile: &'a str,
    /// True for a log with witnesses.
    pub has_witnesses: bool,
    /// The bucket, below the log's prefix. It was [probed](crate::bucket::probe).
    pub objects: Arc<dyn Objects>,
    /// Requests at once.
    pub threads: usize,
    /// The disk.
    pub io: Arc<dyn DiskIo>,
    /// A journal segment is sealed when it has grown past this.
    pub segment_bytes: u64,
    /// Told how many entries of how many are read.
    pub progress: &'a dyn Fn(u64, u64),
}

/// A log that was moved into a directory.
#[derive(Debug, Clone)]
pub struct MovedToDirectory {
    /// The last head that the log signed.
    pub signed: Checkpoint,
    /// Entries in the journal, with those that were not signed yet.
    pub entries: TreeSize,
    /// The directory that a journal which was in the way is in.
    pub aside: Option<PathBuf>,
}

impl MoveToDirectory<'_> {
    /// Makes a journal of the batches, reads it back, ends the chain in the bucket, and then lets `switch` make the settings
    /// name no bucket: with that the log has moved. Until the chain is ended, the log is where it was; from then on, the
    /// same call goes on.
    ///
    /// # Errors
    /// [`MoveError`].
    pub fn run(
        &self,
        switch: &mut dyn FnMut() -> Result<(), DiskError>,
    ) -> Result<MovedToDirectory, MoveError> {
        // 1. LOCK. No server of this directory runs; others may.
        let _lock = DirLock::acquire(&Layout::new(self.dir).lock())?;
        let origin = Origin::from(self.keys[0].name().clone());
        recognise(self.objects.as_ref(), origin.as_str(), self.profile)?;
        let mover = self.mover()?;
        // Another name than the move's: the lease of an attempt that was cut short runs out like anybody's.
        let writer = WriterId::random().map_err(ChainError::Randomness)?;
        let lease = take_lease(&self.objects, writer)?;
        // The journal of an earlier time, when the log was in the directory.
        let aside = set_aside(self.io.as_ref(), self.dir)?;
        // 2. COPY. A crash in here leaves `journal.building`, which counts for nothing.
        let options = ChainOptions::new(self.objects.clone(), origin.clone(), self.keys.to_vec(), writer);
        let mut chain =
            Chain::open(options, RightEdge::default(), |_| Ok::<_, StoreError>(Hash::EMPTY_ROOT))?;
        let mut journal = NewJournal::create(self.io.clone(), self.dir, &origin, self.segment_bytes)?;
        loop {
            let is_sealed = self.copy(&mut chain, &mut journal, &lease, mover)?;
            let heads: Vec<&Checkpoint> =
                HeadKind::ALL.into_iter().filter_map(|kind| Some(&chain.head(kind)?.head)).collect();
            journal.check(chain.edge(), &heads)?;
            // 3. SEAL. After it nobody appends to the bucket. A crash from here on leaves a log that waits for this move
            // to be begun again; the bucket has all of it, and readers go on.
            if is_sealed || chain.seal(mover)? == Sealed::Done {
                break;
            }
        }
        // 4. HEADS, as they are now: a server may have signed what was durable meanwhile.
        for kind in HeadKind::ALL {
            chain.read_head(kind, |size| journal.root_at(size))?;
        }
        let heads = HeadKind::ALL.map(|kind| chain.head(kind).cloned());
        let [published, _] = heads.clone();
        let signed = heads.into_iter().flatten().max_by_key(|head| head.head.size);
        let Some(SignedHead { head, note }) = signed else {
            return Err(ChainError::HeadMissing { key: HeadKind::Published.as_str().to_owned() }.into());
        };
        // 5. IN PLACE. The settings still name the bucket, so nothing reads it.
        discard_derived(self.dir)?;
        let witnessed = published.filter(|_| self.has_witnesses);
        journal.offer(&note, witnessed.as_ref().map(|head| head.note.as_slice()))?;
        // 6. SWITCH. A crash leaves the settings as they were, or naming no bucket.
        switch()?;
        // 7. After a crash before this line, the next start goes on.
        finish(self.io.as_ref(), self.dir)?;
        Ok(MovedToDirectory { signed: head, entries: chain.edge().size(), aside })
    }

    /// Takes the batches behind the known chain into the journal. Returns true if this move has ended the chain.
    fn copy(
        &self,
        chain: &mut Chain,
        journal: &mut NewJournal,
        lease: &LeaseKeeper,
        mover: WriterId,
    ) -> Result<bool, MoveError> {
        let origin = Origin::from(self.keys[0].name().clone());
        let entries = entries_in(self.objects.clone(), &origin, self.threads);
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
            let _ = lease.turn(Instant::now()); // whoever does not ask loses it
            let (done, total) = batches.progress();
            (self.progress)(done, total);
        }
    }

    /// The name of this move, which outlives a crash.
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

/// Returns true if a move into the directory has begun, and not ended.
#[must_use]
pub fn is_moving(dir: &Path) -> bool {
    dir.join(MOVE_ID).exists()
}

/// Ends a move into the directory whose settings name no bucket any more. The caller holds the lock.
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

/// Ends a move into the directory that was cut short after its settings were switched.
///
/// # Errors
/// [`DiskError`].
pub fn finish_move(io: &dyn DiskIo, dir: &Path) -> Result<(), DiskError> {
    let _lock = DirLock::acquire(&Layout::new(dir).lock())?;
    finish(io, dir)
}
