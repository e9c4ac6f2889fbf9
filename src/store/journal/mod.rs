//! The journal: append-only segment files of whole batches. It is the truth; everything else in
//! the store is derived from it.

mod salvage;
mod scan;
mod segment;
mod writer;

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(super) use salvage::Salvage;
pub use scan::{BundleReader, Cursor, Record, Scan};
use segment::{BATCH_HEAD_BYTES, Marker, SEGMENT_HEAD_BYTES, SegmentHead};
pub(super) use writer::JournalWriter;

use super::{Batch, StoreError};
use crate::disk::{DiskError, DiskIo, check_written};
use crate::merkle::{Hash, LeafIndex};

/// A segment is sealed when it has grown past this: large enough that ten million entries are
/// some forty files, small enough to copy one while the log runs.
pub(super) const SEGMENT_BYTES: u64 = 256 * 1024 * 1024;

/// Room that has to be there before a failed append counts as over. A larger batch may fail again;
/// it must not keep the log from taking smaller ones.
const ROOM_BYTES: usize = 64 * 1024;

/// A place in the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The segment, named by its first index.
    pub segment: u64,
    /// Bytes from its beginning.
    pub offset: u64,
}

/// The journal, open for appending.
pub struct Journal {
    io: Arc<dyn DiskIo>,
    dir: PathBuf,
    /// Hash of the origin: a segment of another log is recognised.
    origin: Hash,
    tail: Tail,
    /// [`SEGMENT_BYTES`], unless the options say otherwise.
    pub(super) segment_bytes: u64,
    /// Assembles a batch, so that it goes out in one write; kept for its allocation.
    buffer: Vec<u8>,
}

/// The segment that grows.
#[derive(Debug)]
struct Tail {
    file: File,
    path: PathBuf,
    head: SegmentHead,
    /// Where the next batch goes: everything before it is durable.
    end: u64,
    /// Index that the next entry gets.
    next: u64,
}

impl Journal {
    /// Opens the journal in `dir` after a [`Scan`] has read it up to its end. What follows the last
    /// whole batch in the last segment is a torn batch that nobody was told of, and is cut off.
    ///
    /// # Errors
    /// [`StoreError::Disk`].
    pub fn open(io: Arc<dyn DiskIo>, dir: &Path, origin: Hash, scan: &Scan) -> Result<Self, StoreError> {
        let (end, size) = (scan.end(), scan.size());
        for torn in segments(dir)?.into_iter().filter(|first| end.is_some_and(|end| *first > end.segment)) {
            // The scan found no batch in it: its creation was cut short. A crash here finds it again.
            let path = segment_path(dir, torn);
            io.remove(&path).map_err(DiskError::io("remove", &path))?;
        }
        let tail = match end {
            None => Tail::create(io.as_ref(), dir, origin, size.get())?,
            Some(end) => Tail::open(io.as_ref(), dir, end, scan.last_written(), size.get())?,
        };
        // A last segment whose creation was cut short before its name was synced, and what was removed.
        io.sync_dir(dir).map_err(DiskError::io("fsync", dir))?;
        let (dir, buffer) = (dir.to_owned(), Vec::new());
        Ok(Self { io, dir, origin, tail, segment_bytes: SEGMENT_BYTES, buffer })
    }

    /// Appends a batch with one write and one fdatasync. Returns where its first entry is.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] where somebody else changed the segment since it was written: nothing is
    /// written then. [`StoreError::Disk`]; the batch may be durable nevertheless, in whole or in part.
    ///
    /// # Panics
    /// If the batch does not continue the journal: the sequencer never makes one that does not.
    pub fn append(&mut self, batch: &Batch) -> Result<Position, StoreError> {
        assert_eq!(batch.first.get(), self.tail.next, "batches follow each other");
        self.tail.check()?;
        if self.tail.end >= self.segment_bytes || self.tail.head.is_version_1() {
            // A crash in here leaves the old segment sealed and the new one empty or torn: both
            // are what the scan expects of a last segment.
            self.tail = Tail::create(self.io.as_ref(), &self.dir, self.origin, self.tail.next)?;
        }
        segment::encode_batch(batch, self.tail.head.marker, &mut self.buffer);
        let (io, tail) = (&self.io, &mut self.tail);
        // A crash during the write or before the fdatasync returns leaves a torn or unsynced batch
        // behind `end`; nobody was told of it, and the next open cuts it off or takes it whole.
        io.write_at(&tail.file, &tail.path, &self.buffer, tail.end)
            .map_err(DiskError::io("write", &tail.path))?;
        io.sync_data(&tail.file, &tail.path).map_err(DiskError::io("fdatasync", &tail.path))?;
        let first_entry = Position { segment: tail.head.first, offset: tail.end + BATCH_HEAD_BYTES as u64 };
        tail.end += self.buffer.len() as u64;
        tail.next += batch.entries.len() as u64;
        Ok(first_entry)
    }

    /// The position behind the last durable batch.
    #[must_use]
    pub const fn end(&self) -> Position {
        Position { segment: self.tail.head.first, offset: self.tail.end }
    }

    /// Cuts off whatever a failed append left behind, so that it can't be taken for durable: after
    /// a failed fsync the page cache may show bytes that the disk does not have. Then tries whether
    /// there is room again: a log on a full disk that says it is well would be believed.
    ///
    /// # Errors
    /// [`StoreError::Disk`]; the journal must not be appended to until this has succeeded.
    pub fn cut_failed_append(&mut self) -> Result<(), StoreError> {
        self.cut()?;
        let (io, tail) = (&self.io, &self.tail);
        // A crash in here leaves zeros behind the end: a torn batch that nobody was told of.
        let room = vec![0; self.buffer.len().min(ROOM_BYTES)];
        io.write_at(&tail.file, &tail.path, &room, tail.end).map_err(DiskError::io("write", &tail.path))?;
        io.sync_data(&tail.file, &tail.path).map_err(DiskError::io("fdatasync", &tail.path))?;
        Ok(self.cut()?)
    }

    fn cut(&self) -> Result<(), DiskError> {
        let (io, tail) = (&self.io, &self.tail);
        // One that is shorter would be made longer by this, with zeros in place of entries.
        check_written(&tail.file, &tail.path, tail.end, |length| length >= tail.end)?;
        io.set_len(&tail.file, &tail.path, tail.end).map_err(DiskError::io("truncate", &tail.path))?;
        io.sync_all(&tail.file, &tail.path).map_err(DiskError::io("fsync", &tail.path))
    }
}

impl Tail {
    fn create(io: &dyn DiskIo, dir: &Path, origin: Hash, first: u64) -> Result<Self, StoreError> {
        let path = segment_path(dir, first);
        let head = SegmentHead::new(origin, first, random_marker().map_err(DiskError::io("mark", &path))?);
        // A crash, or a full disk, may have left a file of this name: nothing in it was told to anyone.
        let file = io.create(&path).map_err(DiskError::io("create", &path))?;
        io.write_at(&file, &path, &head.encode(), 0).map_err(DiskError::io("write", &path))?;
        io.sync_all(&file, &path).map_err(DiskError::io("fsync", &path))?;
        io.sync_dir(dir).map_err(DiskError::io("fsync", dir))?;
        Ok(Self { file, path, head, end: head.length(), next: first })
    }

    /// Whether the segment is still what this process wrote.
    fn check(&self) -> Result<(), DiskError> {
        check_written(&self.file, &self.path, self.end, |length| length == self.end)
    }

    /// Opens the last segment, cuts it off at `end`, and makes sure of what is before it.
    ///
    /// The bytes from `last_written` on were read, but perhaps from memory alone: after an fdatasync
    /// that failed, the system forgets that it owes them to the disk, and the next one succeeds without
    /// writing them. So they are written once more. They are the same bytes: a crash can't harm them.
    fn open(
        io: &dyn DiskIo,
        dir: &Path,
        end: Position,
        last_written: u64,
        next: u64,
    ) -> Result<Self, StoreError> {
        let path = segment_path(dir, end.segment);
        let file =
            File::options().read(true).write(true).open(&path).map_err(DiskError::io("open", &path))?;
        let length = file.metadata().map_err(DiskError::io("read", &path))?.len();
        if length > end.offset {
            io.set_len(&file, &path, end.offset).map_err(DiskError::io("truncate", &path))?;
        }
        let count = usize::try_from(end.offset - last_written).expect("a batch fits into memory");
        let mut bytes = vec![0; count];
        file.read_exact_at(&mut bytes, last_written).map_err(DiskError::io("read", &path))?;
        io.write_at(&file, &path, &bytes, last_written).map_err(DiskError::io("write", &path))?;
        // A crash before this line finds the same torn batch again. The fsync also covers a last batch
        // that was written whole but not synced: from here on it may be signed.
        io.sync_all(&file, &path).map_err(DiskError::io("fsync", &path))?;
        let head = read_head(&file).map_err(DiskError::io("read", &path))?;
        let head = head.ok_or_else(|| StoreError::Damaged {
            what: path.display().to_string(),
            detail: "its head does not check".to_owned(),
        })?;
        Ok(Self { file, path, head, end: end.offset, next })
    }
}

/// The head of a segment; `None` where it does not check.
fn read_head(file: &File) -> io::Result<Option<SegmentHead>> {
    let mut head = [0; SEGMENT_HEAD_BYTES];
    let mut filled = 0;
    while filled < head.len() {
        match file.read_at(&mut head[filled..], filled as u64)? {
            0 => break,
            count => filled += count,
        }
    }
    Ok(SegmentHead::decode(&head[..filled]))
}

fn random_marker() -> io::Result<Marker> {
    let mut marker = Marker::default();
    getrandom::fill(&mut marker).map_err(|e| io::Error::other(e.to_string()))?;
    Ok(marker)
}

/// Path of the segment whose first entry has index `first`.
pub(super) fn segment_path(dir: &Path, first: u64) -> PathBuf {
    dir.join(format!("{first:020}.seg"))
}

/// First indices of all segments, in order.
///
/// # Errors
/// [`StoreError::Disk`], and [`StoreError::Damaged`] for a file that has no business there.
pub fn segments(dir: &Path) -> Result<Vec<u64>, StoreError> {
    let mut found = Vec::new();
    let items = match fs::read_dir(dir) {
        // A log that was never served has none.
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(found),
        items => items.map_err(DiskError::io("list", dir))?,
    };
    for item in items {
        let name = item.map_err(DiskError::io("list", dir))?.file_name();
        found.push(segment_of(&name).ok_or_else(|| StoreError::Damaged {
            what: dir.display().to_string(),
            detail: format!(
                "expected only segments named <20 digits>.seg (move what is not the log's elsewhere), saw {}",
                name.display()
            ),
        })?);
    }
    found.sort_unstable();
    Ok(found)
}

/// First index of the segment with this file name; `None` where it is no segment's.
fn segment_of(name: &std::ffi::OsStr) -> Option<u64> {
    let digits = |n: &&str| n.len() == 20 && n.bytes().all(|b| b.is_ascii_digit());
    name.to_str()?.strip_suffix(".seg").filter(digits)?.parse().ok()
}

/// Whether anything was ever appended: a log signs its first, empty head before it takes entries.
///
/// # Errors
/// As [`segments`].
pub(super) fn has_entries(dir: &Path) -> Result<bool, StoreError> {
    for first in segments(dir)? {
        let path = segment_path(dir, first);
        let length = fs::metadata(&path).map_err(DiskError::io("read", &path))?.len();
        if first > 0 || length > SEGMENT_HEAD_BYTES as u64 {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Positions of the entries that begin a bundle, in a batch whose entries have these lengths.
pub(super) fn bundle_starts(
    first: LeafIndex,
    lengths: impl ExactSizeIterator<Item = usize>,
    first_entry: Position,
) -> Vec<(u64, BundleStart)> {
    let count = lengths.len() as u64;
    let mut offset = first_entry.offset;
    let mut starts = Vec::new();
    for (at, length) in lengths.enumerate() {
        let (index, at) = (first.get() + at as u64, at as u64);
        if index.is_multiple_of(crate::merkle::TILE_WIDTH) {
            let position = Position { segment: first_entry.segment, offset };
            starts.push((index / crate::merkle::TILE_WIDTH, BundleStart { position, left: count - at }));
        }
        offset += (crate::proof::bundle::LENGTH_BYTES + length) as u64;
    }
    starts
}

/// Where a bundle begins, and how many entries from there on are in the same batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BundleStart {
    /// Of the first entry's length.
    pub position: Position,
    /// Entries up to the batch's end, at least 1.
    pub left: u64,
}

impl BundleStart {
    pub(super) fn to_bytes(self) -> [u8; 24] {
        let mut bytes = [0; 24];
        bytes[..8].copy_from_slice(&self.position.segment.to_be_bytes());
        bytes[8..16].copy_from_slice(&self.position.offset.to_be_bytes());
        bytes[16..].copy_from_slice(&self.left.to_be_bytes());
        bytes
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let word = |at: usize| Some(u64::from_be_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
        let position = Position { segment: word(0)?, offset: word(8)? };
        (bytes.len() == 24).then_some(Self { position, left: word(16)? })
    }
}

#[cfg(test)]
mod tests;
