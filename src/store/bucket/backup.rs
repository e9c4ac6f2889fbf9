//! A log in a bucket as the source of a backup or an export. Its batches become journal segments, or tiles.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use super::layout::{self, BATCHES, HeadKind};
use super::reader::BucketEntries;
use super::{BatchObject, ChainError};
use crate::bucket::{BucketError, MAX_LISTED, Objects};
use crate::checkpoint::{self, Checkpoint, LogSigned};
use crate::disk::DiskIo;
use crate::merkle::{Hash, LeafIndex, TreeSize};
use crate::note::{MAX_NOTE_BYTES, NoteKey};
use crate::store::disk::journal::{Scan, SegmentWriter};
use crate::store::disk::rehash::Rehash;
use crate::store::{BackupSource, ExportError, Heads, SignedHead, StoreError, TakeBatch};

/// Number of entries whose batches are read together.
const READ_TOGETHER: u64 = 8_192;
/// Concurrent requests.
const THREADS: usize = 16;

/// Reads a log in a bucket for a backup or an export, while servers append to it. Writes nothing to the bucket and
/// needs no lease.
pub struct BucketToCopy {
    entries: BucketEntries,
    /// True for a log with witnesses.
    has_witnesses: bool,
    /// Size past which a segment of the backup is closed and a new one begun.
    segment_bytes: u64,
    io: Arc<dyn DiskIo>,
}

impl BucketToCopy {
    /// The log in `objects`. The name of its key is the origin.
    #[must_use]
    pub fn new(
        objects: Arc<dyn Objects>,
        key: &NoteKey,
        has_witnesses: bool,
        segment_bytes: u64,
        io: Arc<dyn DiskIo>,
    ) -> Self {
        Self { entries: entries_of(objects, key), has_witnesses, segment_bytes, io }
    }

    /// Appends the batches up to size `until` to the tree in `copy`.
    fn append(&self, copy: &mut Copying, until: TreeSize) -> Result<(), StoreError> {
        each_batch(&self.entries, copy.tree.edge().size().get()..until.get(), |batch, entries| {
            let growth = copy.tree.growth(entries);
            check_after(batch, &copy.tree, entries.len(), &growth.edge.root())?;
            copy.writer.append(entries, &growth.edge.root())?;
            copy.tree.grow(entries, &growth);
            Ok(())
        })
    }
}

/// The entries of the log in `objects`, read only from its batches.
pub(super) fn entries_of(objects: Arc<dyn Objects>, key: &NoteKey) -> BucketEntries {
    BucketEntries::uncached(objects, key.name().as_str(), THREADS)
}

/// Reads a head, and checks that one of the `keys` signed it. `None` if there is none.
pub(super) fn read_head(
    objects: &dyn Objects,
    kind: HeadKind,
    keys: &[NoteKey],
) -> Result<Option<LogSigned<Checkpoint>>, ChainError> {
    let damaged = |detail: String| ChainError::HeadDamaged { key: kind.as_str().to_owned(), detail };
    let object = match objects.get(kind.as_str(), MAX_NOTE_BYTES) {
        Err(error @ BucketError::TooLarge { .. }) => return Err(damaged(error.to_string())),
        object => object?,
    };
    let Some(object) = object else { return Ok(None) };
    checkpoint::open(&object.bytes, keys).map(Some).map_err(|e| damaged(e.to_string()))
}

/// Reads the heads of the log in `objects`, the published one first, and checks that `key` signed them.
///
/// # Errors
/// [`ChainError::HeadDamaged`], and the bucket's errors.
pub fn heads_in(
    objects: &dyn Objects,
    key: &NoteKey,
) -> Result<[Option<SignedHead>; HeadKind::ALL.len()], ChainError> {
    let read = |kind| {
        let signed = read_head(objects, kind, std::slice::from_ref(key))?;
        let note = |signed: &LogSigned<Checkpoint>| signed.note().to_string().into_bytes();
        Ok::<_, ChainError>(
            signed.map(|signed| SignedHead { head: signed.get().clone(), note: note(&signed) }),
        )
    };
    let [published, signed] = HeadKind::ALL;
    Ok([read(published)?, read(signed)?])
}

/// Calls `take` with each batch that has some of these entries, in order, and with its entries in the range.
pub(super) fn each_batch<E: From<StoreError>>(
    bucket: &BucketEntries,
    range: Range<u64>,
    mut take: impl FnMut(&BatchObject, &[&[u8]]) -> Result<(), E>,
) -> Result<(), E> {
    let mut next = range.start;
    while next < range.end {
        let batches = bucket.batches(next..(next + READ_TOGETHER).min(range.end));
        for batch in batches.map_err(StoreError::from)? {
            let (first, end) = (batch.head().first.get(), batch.head().end().get().min(range.end));
            let place = |at: u64| usize::try_from(at - first).expect("within a batch");
            let some: Vec<&[u8]> = batch.entries().take(place(end)).skip(place(next)).collect();
            take(&batch, &some)?;
            next = end;
        }
    }
    Ok(())
}

/// Checks the root after a batch, if its last `count` entries reach the end of the batch.
pub(super) fn check_after(
    batch: &BatchObject,
    before: &Rehash,
    count: usize,
    root: &Hash,
) -> Result<(), StoreError> {
    let head = batch.head();
    if before.edge().size().get() + count as u64 != head.end().get() || head.after == *root {
        return Ok(());
    }
    let key = layout::batch(head.first);
    let detail =
        format!("expected entries with the root {} that the batch states, computed {root}", head.after);
    Err(ChainError::BatchDamaged { key, detail }.into())
}

/// A segment being written.
struct Copying {
    writer: SegmentWriter,
    tree: Rehash,
}

impl Copying {
    /// Copies the undamaged batches of an earlier backup's segment.
    fn reuse(&mut self, old: &Path, origin: Hash, until: TreeSize) -> Result<(), StoreError> {
        let first = self.tree.edge().size().get();
        let Ok(mut scan) = Scan::of_segment(old, origin, first) else { return Ok(()) };
        while let Ok(Some(record)) = scan.next_record() {
            let entries = record.entries();
            let growth = self.tree.growth(&entries);
            if scan.size() > until || growth.edge.root() != record.root {
                break;
            }
            self.writer.append(&entries, &record.root)?;
            self.tree.grow(&entries, &growth);
        }
        Ok(())
    }
}

impl BackupSource for BucketToCopy {
    fn name(&self) -> String {
        self.entries.objects.name()
    }

    fn heads(&self, key: &NoteKey) -> Result<Heads, StoreError> {
        // Read the published head first: even if both grow meanwhile, it is never larger than the signed one. The
        // bucket has the batches before it has a head over them.
        let [published, signed] = heads_in(self.entries.objects.as_ref(), key)?;
        let witnessed = published.as_ref().filter(|_| self.has_witnesses).map(|head| head.note.clone());
        let heads = [published, signed].into_iter().flatten();
        let signed = heads.max_by_key(|head| head.head.size);
        let missing = || ChainError::HeadMissing { key: HeadKind::Published.as_str().to_owned() };
        Ok(Heads { witnessed, signed: signed.ok_or_else(missing)? })
    }

    /// The existing segments, and further ones that begin where batches begin.
    fn segments(&self, size: TreeSize, there: &[u64]) -> Result<Vec<u64>, StoreError> {
        let mut firsts: Vec<u64> = there.iter().copied().filter(|first| *first < size.get()).collect();
        if firsts.first() != Some(&0) {
            firsts = (size > TreeSize::ZERO).then_some(0).into_iter().collect();
        }
        let Some(last) = firsts.last().copied() else { return Ok(firsts) };
        let before = last.checked_sub(1).and_then(LeafIndex::new);
        let (mut after, mut bytes) = (before.map(layout::batch).unwrap_or_default(), 0);
        loop {
            let listing = self.entries.objects.list(BATCHES, &after, MAX_LISTED).map_err(ChainError::from)?;
            for listed in &listing.objects {
                let Some(first) = layout::parse_batch(&listed.key) else { continue };
                if !size.contains(first) {
                    return Ok(firsts);
                }
                if bytes >= self.segment_bytes {
                    firsts.push(first.get());
                    bytes = 0;
                }
                bytes += listed.size;
            }
            match listing.objects.last() {
                Some(last) if listing.more => after.clone_from(&last.key),
                _ => return Ok(firsts),
            }
        }
    }

    fn may_have(&self, _: u64, _: u64) -> bool {
        true // a bucket has no segments
    }

    fn copy(
        &self,
        first: u64,
        until: TreeSize,
        tree: &Rehash,
        old: &Path,
        new: &Path,
    ) -> Result<(), StoreError> {
        let begin = || {
            let writer = SegmentWriter::create(&self.io, new, self.entries.origin, first)?;
            Ok::<_, StoreError>(Copying { writer, tree: tree.clone() })
        };
        let mut copy = begin()?;
        // Read only new batches from the bucket, unless the earlier backup does not match it.
        copy.reuse(old, self.entries.origin, until)?;
        let reused = copy.tree.edge().size().get() > first;
        match self.append(&mut copy, until) {
            Err(error) if reused && error.is_damage() => {
                copy = begin()?;
                self.append(&mut copy, until)?;
            }
            done => done?,
        }
        Ok(copy.writer.finish()?)
    }

    fn rehash(&self, until: TreeSize, mut tree: Rehash) -> Result<Rehash, StoreError> {
        each_batch(&self.entries, 0..until.get(), |batch, entries| {
            let growth = tree.growth(entries);
            check_after(batch, &tree, entries.len(), &growth.edge.root())?;
            tree.grow(entries, &growth);
            Ok::<_, StoreError>(())
        })?;
        Ok(tree)
    }

    fn each_batch(&self, until: TreeSize, take: &mut TakeBatch<'_>) -> Result<(), ExportError> {
        each_batch(&self.entries, 0..until.get(), |_, entries| take(entries))
    }
}
