//! The journal: append-only segment files of whole batches. It is the truth; everything else in the store is
//! derived from it.

mod bundle_reader;
mod salvage;
mod scan;
mod segment;
mod writer;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use bundle_reader::BundleReader;
pub(super) use salvage::Salvage;
pub use scan::{Cursor, Record, Scan, has_batch};
use segment::{About, FORMATS, SEGMENT_HEAD_BYTES, body_bytes, body_parts};
pub use writer::JournalWriter;
#[cfg(feature = "bucket")]
pub use writer::SegmentWriter;

use crate::disk::journal::{FileHead, JournalFile};
use crate::disk::{DiskError, DiskIo, list_dir};
use crate::merkle::{Hash, LeafIndex};
use crate::store::derived::Place;
use crate::store::{Batch, StoreError};

/// A segment is sealed when it has grown past this: large enough that ten million entries are some forty
/// files, small enough to copy one while the log runs.
pub(super) const SEGMENT_BYTES: u64 = 256 * 1024 * 1024;

/// A place in the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The segment, named by the index of its first entry.
    pub segment: u64,
    /// Bytes from its beginning.
    pub offset: u64,
}

/// The journal, open for appending.
pub struct Journal {
    io: Arc<dyn DiskIo>,
    dir: PathBuf,
    /// Hash of the origin: tells a segment of another log.
    origin: Hash,
    /// Index of the first entry of the segment that grows, and its file.
    tail: (u64, JournalFile),
    /// [`SEGMENT_BYTES`], unless the options say otherwise.
    pub(super) segment_bytes: u64,
}

impl Journal {
    /// Opens the journal in `dir` after a [`Scan`] has read it up to its end. What follows the last whole
    /// batch in the last segment is a torn batch that nobody was told of, and is cut off.
    pub fn open(io: Arc<dyn DiskIo>, dir: &Path, origin: Hash, scan: &Scan) -> Result<Self, StoreError> {
        let (end, size) = (scan.end(), scan.size().get());
        for torn in segments(dir)?.into_iter().filter(|first| end.is_some_and(|end| *first > end.segment)) {
            // The scan found no batch in it: its creation was cut short. A crash here finds it again.
            let path = segment_path(dir, torn);
            io.remove(&path).map_err(DiskError::io("remove", &path))?;
        }
        let tail = match end {
            None => create_segment(&io, dir, origin, size)?,
            Some(Position { segment, offset }) => {
                let (path, io) = (segment_path(dir, segment), io.clone());
                (segment, JournalFile::open(io, path, &FORMATS, scan.last_written(), offset, size)?)
            }
        };
        // A last segment whose creation was cut short before its name was synced, and what was removed.
        io.sync_dir(dir).map_err(DiskError::io("fsync", dir))?;
        Ok(Self { io, dir: dir.to_owned(), origin, tail, segment_bytes: SEGMENT_BYTES })
    }

    /// Appends a batch with one fdatasync. Returns where its first entry is.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if another process changed the segment since it was written: nothing is
    /// written then. [`StoreError::Disk`]; the batch may be durable nevertheless, in whole or in part. After
    /// an error, nothing may be appended before [`cut_failed_append`](Self::cut_failed_append).
    ///
    /// # Panics
    /// If the batch does not continue the journal: the sequencer never makes one that does not.
    pub fn append(&mut self, batch: &Batch) -> Result<Position, StoreError> {
        let (_, tail) = &self.tail;
        assert_eq!(batch.first.get(), tail.next_number(), "batches follow each other");
        if tail.end() >= self.segment_bytes || tail.head().format != &FORMATS[0] {
            tail.check()?;
            // A crash in here leaves the old segment sealed and the new one empty or torn: both are what the
            // scan expects of a last segment.
            let synced = tail.synced;
            self.tail = create_segment(&self.io, &self.dir, self.origin, tail.next_number())?;
            self.tail.1.synced = synced;
        }
        let (segment, tail) = &mut self.tail;
        let root = batch.growth.edge.root();
        let (items, bytes) = (batch.entries.len(), body_bytes(batch));
        let offset = tail.append_parts(items, root.as_bytes(), bytes, body_parts(batch))?;
        Ok(Position { segment: *segment, offset })
    }

    /// The position behind the last durable batch.
    pub const fn end(&self) -> Position {
        Position { segment: self.tail.0, offset: self.tail.1.end() }
    }

    /// Cuts off what a failed append left behind, and checks that there is room again.
    ///
    /// # Errors
    /// [`StoreError::Disk`]; the journal must not be appended to until this has succeeded.
    pub fn cut_failed_append(&mut self) -> Result<(), StoreError> {
        Ok(self.tail.1.cut_failed_append()?)
    }
}

fn create_segment(
    io: &Arc<dyn DiskIo>,
    dir: &Path,
    origin: Hash,
    first: u64,
) -> Result<(u64, JournalFile), DiskError> {
    Ok((first, create_file(io, &segment_path(dir, first), origin, first)?))
}

fn create_file(
    io: &Arc<dyn DiskIo>,
    path: &Path,
    origin: Hash,
    first: u64,
) -> Result<JournalFile, DiskError> {
    let about = About { origin, first }.to_bytes();
    let head = FileHead::new(&FORMATS[0], about).map_err(DiskError::io("mark", path))?;
    JournalFile::create(io.clone(), path.to_owned(), head, first)
}

/// Path of the segment whose first entry has index `first`.
pub fn segment_path(dir: &Path, first: u64) -> PathBuf {
    dir.join(format!("{first:020}.seg"))
}

/// First indices of all segments, in order.
///
/// # Errors
/// [`StoreError::Disk`], and [`StoreError::Damaged`] for a file that is no segment.
pub fn segments(dir: &Path) -> Result<Vec<u64>, StoreError> {
    let mut found = Vec::new();
    // A log that was never served has none.
    for name in list_dir(dir)? {
        let detail = || {
            format!(
                "expected only segments named <20 digits>.seg (move what is not the log's elsewhere), saw {}",
                name.display()
            )
        };
        found.push(segment_of(&name).ok_or_else(|| scan::damaged(dir, detail()))?);
    }
    found.sort_unstable();
    Ok(found)
}

/// First index of the segment with this file name; `None` if it is no segment's.
fn segment_of(name: &std::ffi::OsStr) -> Option<u64> {
    let digits = |n: &&str| n.len() == 20 && n.bytes().all(|b| b.is_ascii_digit());
    name.to_str()?.strip_suffix(".seg").filter(digits)?.parse().ok()
}

/// Whether anything was ever appended.
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

/// The bundles that begin in a batch whose entries have these lengths.
pub(super) fn bundle_places(
    first: LeafIndex,
    lengths: impl ExactSizeIterator<Item = usize>,
    first_entry: Position,
) -> Vec<(u64, Place)> {
    let count = lengths.len() as u64;
    let mut offset = first_entry.offset;
    let mut starts = Vec::new();
    for (at, length) in lengths.enumerate() {
        let (index, at) = (first.get() + at as u64, at as u64);
        if index.is_multiple_of(crate::merkle::TILE_WIDTH) {
            let position = Position { segment: first_entry.segment, offset };
            let start = BundleStart { position, left: count - at };
            starts.push((index / crate::merkle::TILE_WIDTH, start.into()));
        }
        offset += (crate::proof::bundle::LENGTH_BYTES + length) as u64;
    }
    starts
}

/// The beginning of a bundle, and the number of entries from there on in the same batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BundleStart {
    /// Position of the first entry's length.
    pub position: Position,
    /// Entries up to the batch's end, at least 1.
    pub left: u64,
}

/// A place in the journal is three numbers.
pub(super) fn place_of(words: [u64; 3]) -> Place {
    let mut place = Place::default();
    place.0.as_chunks_mut::<8>().0.iter_mut().zip(words).for_each(|(to, word)| *to = word.to_be_bytes());
    place
}

pub(super) fn words_of(place: Place) -> [u64; 3] {
    let (words, _) = place.0.as_chunks::<8>();
    std::array::from_fn(|at| u64::from_be_bytes(words[at]))
}

impl From<BundleStart> for Place {
    fn from(start: BundleStart) -> Self {
        place_of([start.position.segment, start.position.offset, start.left])
    }
}

impl From<Place> for BundleStart {
    fn from(place: Place) -> Self {
        let [segment, offset, left] = words_of(place);
        Self { position: Position { segment, offset }, left }
    }
}

#[cfg(test)]
mod tests;
