//! Moves a log between a directory and a bucket.
//!
//! Nothing may append to the old copy after the move: two copies would sign different entries at the same indices. A
//! move into a bucket sets the journal aside once the settings name the bucket. A move out of a bucket, which other
//! servers may be using, [seals](super::seal) it: from then on the chain itself refuses appends.

mod to_bucket;
mod to_directory;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::backup::read_head;
use super::lease::{Lease, MAX_SECONDS};
use super::reader::BucketEntries;
use super::{ChainError, Decision, HeadKind, LeaseKeeper, MakeError, WriterId};
use crate::bucket::{BucketError, Objects};
use crate::checkpoint::Origin;
use crate::disk::{DirLock, DiskError, DiskIo};
use crate::merkle::TreeSize;
use crate::note::NoteKey;
use crate::store::disk::moving::{discard_derived, has_journal, set_aside};
use crate::store::{EntrySource, ExportError, Layout, StoreError, read_signed};
pub use to_bucket::{MoveToBucket, MovedToBucket};
pub use to_directory::{MoveToDirectory, MovedToDirectory, finish_move, is_moving};

/// Length of a move's lease, in seconds. A move reads and writes for longer than a server before it checks its lease.
const LEASE_SECONDS: u32 = 10;

/// Why a log was not moved. Repeating the command resumes the move.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MoveError {
    /// The log, the bucket or the directory failed or is damaged.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The bucket has another log, or no log.
    #[error(transparent)]
    Make(#[from] MakeError),
    /// The log has no head that may be published.
    #[error(transparent)]
    Head(ExportError),
    /// A server uses the bucket.
    #[error(
        "a server appends to the log in {store}{}: stop all servers that use this bucket; the lease of a killed server expires by itself",
        holder.as_ref().map(|holder| format!(" ({holder})")).unwrap_or_default()
    )]
    Served {
        /// The bucket and the prefix.
        store: String,
        /// The server's address, if it stated one.
        holder: Option<String>,
    },
    /// The bucket has entries that the directory lacks.
    #[error("{store} has other entries: expected at most {expected}, saw {seen}")]
    OtherEntries {
        /// The bucket and the prefix.
        store: String,
        /// The directory's size and root.
        expected: String,
        /// The bucket's size and root.
        seen: String,
    },
    /// Another move has moved the log away from the bucket.
    #[error(
        "the log in {store} was moved away at tree size {size}, but not to this directory; a bucket that a log has left can't hold a log again"
    )]
    Left {
        /// The bucket and the prefix.
        store: String,
        /// The tree size at which it was moved.
        size: TreeSize,
    },
}

impl From<ChainError> for MoveError {
    fn from(error: ChainError) -> Self {
        StoreError::from(error).into()
    }
}

impl From<BucketError> for MoveError {
    fn from(error: BucketError) -> Self {
        ChainError::from(error).into()
    }
}

impl From<DiskError> for MoveError {
    fn from(error: DiskError) -> Self {
        StoreError::from(error).into()
    }
}

/// Takes the lease, which detects a running server and makes the others stand by while the log moves. The move's safety
/// does not depend on it.
///
/// # Errors
/// [`MoveError::Served`] if a server renews it.
fn take_lease(objects: &Arc<dyn Objects>, writer: WriterId) -> Result<LeaseKeeper, MoveError> {
    let mut lease = Lease::new(writer, None, LEASE_SECONDS);
    let begun = Instant::now();
    let mut seen = None;
    while let Decision::Wait(until) = lease.step(objects.as_ref(), true, Instant::now)? {
        // A server that renews the lease is alive.
        let is_renewed = seen.is_some_and(|seen| seen != until);
        if is_renewed || begun.elapsed() > Duration::from_secs(MAX_SECONDS.into()) * 2 {
            let holder = lease.holder().map(str::to_owned);
            return Err(MoveError::Served { store: objects.name(), holder });
        }
        seen = Some(until);
        let pause = until.saturating_duration_since(Instant::now()).min(Duration::from_millis(200));
        thread::sleep(pause.max(Duration::from_millis(1)));
    }
    Ok(LeaseKeeper::start(lease, objects.clone(), true).map_err(StoreError::from)?)
}

/// Returns true if the directory of a log in a bucket has a log of its own, or the last head of one.
fn has_log(dir: &Path) -> bool {
    // A move out of the bucket writes a head there before it switches the settings.
    has_journal(dir) || (!is_moving(dir) && Layout::new(dir).checkpoint().exists())
}

/// Sets aside a journal in the directory of a log in a bucket, which remains after an interrupted move or a change of
/// the settings by hand. The bucket must have everything that the journal's log has signed. Returns the directory that
/// holds the journal afterwards; `None` if there is no journal.
///
/// # Errors
/// [`StoreError`]; [`ChainError::RolledBack`] if the bucket has less than the log has signed. A move into the bucket that
/// was interrupted before it wrote the heads is resumed by [`MoveToBucket::finish`].
pub fn set_journal_aside(
    io: &dyn DiskIo,
    dir: &Path,
    objects: &dyn Objects,
    keys: &[NoteKey],
) -> Result<Option<PathBuf>, StoreError> {
    if !has_log(dir) {
        return Ok(None);
    }
    let _lock = DirLock::acquire(&Layout::new(dir).lock())?;
    check_heads(dir, objects, keys)?;
    Ok(set_aside(io, dir)?)
}

/// Checks that the heads in the bucket cover what the log in the directory has signed.
fn check_heads(dir: &Path, objects: &dyn Objects, keys: &[NoteKey]) -> Result<(), StoreError> {
    let layout = Layout::new(dir);
    let mut there = None;
    for kind in HeadKind::ALL {
        let head = read_head(objects, kind, keys)?;
        there = there.max(head.map(|head| head.get().size));
    }
    let here = read_signed(&layout.checkpoint(), &keys[0])?.map_or(TreeSize::ZERO, |signed| signed.head.size);
    if Some(here) > there {
        let path = layout.checkpoint();
        let expected = format!("a head of {here} leaves, which {} says were signed", path.display());
        let seen = there.map_or_else(
            || "none: run `treehead move` again, if it was interrupted".to_owned(),
            |there| format!("one of {there}"),
        );
        return Err(ChainError::RolledBack { expected, seen }.into());
    }
    Ok(())
}

/// Deletes the cache of a server of a log in a bucket. The next start rebuilds it.
///
/// # Errors
/// [`StoreError::Disk`], also while a server uses the directory.
pub fn discard_cache(dir: &Path) -> Result<(), StoreError> {
    let _lock = DirLock::acquire(&Layout::new(dir).lock())?;
    Ok(discard_derived(dir)?)
}

/// The entries of a log in a bucket, as a source for repairing or restoring a log in a directory.
pub struct BucketSource(BucketEntries);

impl BucketSource {
    /// The log of this origin in `objects`.
    #[must_use]
    pub fn new(objects: Arc<dyn Objects>, origin: &Origin) -> Self {
        Self(BucketEntries::uncached(objects, origin.as_str(), 1))
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
