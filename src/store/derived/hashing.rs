//! Reading batches ahead of what takes them, and hashing their entries on all cores.

use std::num::NonZero;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::merkle::Hash;
use crate::release::Facts;
use crate::store::{Describe, StoreError};
use crate::threads;

/// Batches are taken together until they have so many entries: sixteen full tiles. Few in unit tests, so that
/// a small log has many groups.
const GROUP_ENTRIES: usize = if cfg!(test) { 10 } else { 4_096 };
/// Or so many bytes, which bounds memory: a few groups for each core are on their way at once.
const GROUP_BYTES: usize = 16 * 1024 * 1024;

/// A batch that was read.
pub trait StoredBatch: Send {
    /// The entries, in order.
    fn entries(&self) -> Vec<&[u8]>;

    /// Index of the first entry.
    fn first(&self) -> u64;

    /// Number of entries.
    fn count(&self) -> usize;

    /// Length of the entries with their lengths.
    fn body_bytes(&self) -> usize;

    /// The leaf hashes of the entries, if they are known.
    fn leaf_hashes(&self) -> Option<&[Hash]> {
        None
    }
}

/// Reads batches that follow each other.
pub trait BatchReader: Send {
    /// A batch.
    type Batch: StoredBatch;

    /// The next batch, or `None` at the end.
    ///
    /// # Errors
    /// [`StoreError`].
    fn next_batch(&mut self) -> Result<Option<Self::Batch>, StoreError>;

    /// The amount read, and the total.
    fn progress(&self) -> (u64, u64);
}

/// Batches that follow each other, at least one, and what their entries alone tell.
pub struct Group<B> {
    pub batches: Vec<B>,
    /// The entries' leaf hashes.
    pub leaf_hashes: Vec<Hash>,
    /// The index facts of each entry.
    pub facts: Vec<Facts>,
    /// Bytes of the entries.
    pub bytes: usize,
    /// The amount read, and the total.
    pub progress: (u64, u64),
}

/// A group to hash, and where it goes then.
struct Job<B> {
    batches: Vec<B>,
    progress: (u64, u64),
    done: SyncSender<Group<B>>,
}

/// The next group, which is being hashed, or the reason that there is none.
type Next<B> = Result<Receiver<Group<B>>, StoreError>;

/// Passes all batches that are left to `take`, in order.
///
/// # Errors
/// The reader's, in place of the group that it was reading, and those of `take`; [`StoreError::Threads`] if there is no
/// thread to read or none to hash.
pub fn hash_ahead<R: BatchReader>(
    reader: &mut R,
    describe: &Describe,
    mut take: impl FnMut(Group<R::Batch>) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    thread::scope(|scope| {
        let (to_hash, jobs) = sync_channel(cores);
        let (to_take, in_order) = sync_channel(cores);
        let jobs = Arc::new(Mutex::new(jobs));
        for at in 0..cores {
            let jobs = jobs.clone();
            let hashing = threads::start_in(scope, "hash", move || hash_groups(&jobs, describe));
            // Fewer are slower.
            if let Err(error) = hashing.map(drop)
                && at == 0
            {
                return Err(error.into());
            }
        }
        // Otherwise it would outlive the threads that read from it, and hold up the one that writes to it.
        drop(jobs);
        threads::start_in(scope, "read", move || read_groups(reader, &to_hash, &to_take))?;
        // An error here drops the channel, and so ends the threads.
        for next in in_order {
            take(next?.recv().expect("the thread that hashes it panicked"))?;
        }
        Ok(())
    })
}

/// Reads groups until there are no more or nobody takes them.
fn read_groups<R: BatchReader>(
    reader: &mut R,
    to_hash: &SyncSender<Job<R::Batch>>,
    to_take: &SyncSender<Next<R::Batch>>,
) {
    loop {
        let next = match read_group(reader) {
            Ok(batches) if batches.is_empty() => return,
            Ok(batches) => {
                let (done, group) = sync_channel(1);
                if to_hash.send(Job { batches, progress: reader.progress(), done }).is_err() {
                    return;
                }
                Ok(group)
            }
            Err(error) => Err(error),
        };
        let is_last = next.is_err();
        if to_take.send(next).is_err() || is_last {
            return;
        }
    }
}

fn read_group<R: BatchReader>(reader: &mut R) -> Result<Vec<R::Batch>, StoreError> {
    let (mut batches, mut entries, mut bytes) = (Vec::new(), 0, 0);
    while entries < GROUP_ENTRIES && bytes < GROUP_BYTES {
        let Some(batch) = reader.next_batch()? else { break };
        (entries, bytes) = (entries + batch.count(), bytes + batch.body_bytes());
        batches.push(batch);
    }
    Ok(batches)
}

fn hash_groups<B: StoredBatch>(jobs: &Mutex<Receiver<Job<B>>>, describe: &Describe) {
    loop {
        let next = jobs.lock().expect("no panic while it is held").recv();
        let Ok(Job { batches, progress, done }) = next else { return };
        let (mut leaf_hashes, mut facts, mut bytes) = (Vec::new(), Vec::new(), 0);
        for batch in &batches {
            leaf_hashes.extend_from_slice(batch.leaf_hashes().unwrap_or_default());
            for entry in batch.entries() {
                if batch.leaf_hashes().is_none() {
                    leaf_hashes.push(Hash::leaf(entry));
                }
                facts.push(describe(entry));
                bytes += entry.len();
            }
        }
        // Nobody waits for it if an earlier group failed.
        let _ = done.send(Group { batches, leaf_hashes, facts, bytes, progress });
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::disk::{DiskIo, RealDisk};
    use crate::merkle::RightEdge;
    use crate::store::disk::journal::{JournalWriter, Record, Scan, segment_path, segments};

    const ENTRIES: u64 = 300;

    /// A journal of batches of one, two and three entries, in several segments.
    fn journal(dir: &Path) {
        let io: Arc<dyn DiskIo> = Arc::new(RealDisk);
        let mut writer = JournalWriter::create(&io, dir, Hash::EMPTY_ROOT, 2_000).unwrap();
        let mut edge = RightEdge::default();
        while edge.size().get() < ENTRIES {
            let first = edge.size().get();
            let entries: Vec<[u8; 8]> = (first..=first + first % 3).map(u64::to_be_bytes).collect();
            let entries: Vec<&[u8]> = entries.iter().map(<[u8; 8]>::as_slice).collect();
            let growth = edge.grow(&entries.iter().map(|entry| Hash::leaf(entry)).collect::<Vec<_>>());
            edge = growth.edge.clone();
            writer.append(&entries, growth).unwrap();
        }
        writer.finish().unwrap();
    }

    fn take_all(
        dir: &Path,
        mut take: impl FnMut(Group<Record>) -> Result<(), StoreError>,
    ) -> (u64, Result<(), StoreError>) {
        let describe: Describe =
            Arc::new(|entry| Facts { payload: Some(Hash::digest(entry)), ..Facts::default() });
        let (mut scan, mut next) = (Scan::new(dir, Hash::EMPTY_ROOT, None).unwrap(), 0_u64);
        let taken = hash_ahead(&mut scan, &describe, |group| {
            assert_eq!(group.batches[0].first, next);
            for (hash, facts) in group.leaf_hashes.iter().zip(&group.facts) {
                assert_eq!(*hash, Hash::leaf(&next.to_be_bytes()));
                assert_eq!(facts.payload, Some(Hash::digest(&next.to_be_bytes())));
                next += 1;
            }
            assert_eq!(group.bytes, 8 * group.leaf_hashes.len());
            take(group)
        });
        (next, taken)
    }

    #[test]
    fn groups_come_in_the_order_of_the_journal() {
        let dir = tempfile::tempdir().unwrap();
        journal(dir.path());
        assert!(segments(dir.path()).unwrap().len() > 3);
        let mut progress = (0, 0);
        let (taken, result) = take_all(dir.path(), |group| {
            assert!(group.progress.0 > progress.0);
            progress = group.progress;
            Ok(())
        });
        result.unwrap();
        assert!(taken >= ENTRIES);
        assert_eq!(progress.0, progress.1, "everything was read");
    }

    #[test]
    fn an_error_on_either_side_ends_the_threads() {
        let dir = tempfile::tempdir().unwrap();
        journal(dir.path());
        let mut left = 3;
        let (taken, result) = take_all(dir.path(), |_| {
            left -= 1;
            if left == 0 { Err(StoreError::Reloading) } else { Ok(()) }
        });
        assert!(matches!(result, Err(StoreError::Reloading)));
        assert!(taken < 50, "{taken}");
        let path = segment_path(dir.path(), segments(dir.path()).unwrap()[1]);
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&path, bytes).unwrap();
        let (taken, result) = take_all(dir.path(), |_| Ok(()));
        assert!(matches!(result, Err(StoreError::Damaged { .. })), "{result:?}");
        assert!(0 < taken && taken < ENTRIES);
    }
}
