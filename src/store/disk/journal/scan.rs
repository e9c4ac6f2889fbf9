//! Reading the journal batch by batch, for recovery and fsck.

use std::fs;
use std::path::{Path, PathBuf};

use super::segment::{About, BATCH_HEAD_BYTES, FORMATS, SEGMENT_HEAD_BYTES, root_of};
use super::{Position, place_of, segment_path, segments, words_of};
use crate::disk::DiskError;
use crate::disk::journal::{Frame, JournalReader, Step};
use crate::merkle::{Hash, LeafIndex, TreeSize};
use crate::proof::bundle;
use crate::store::StoreError;
use crate::store::derived::{self, BatchReader, Place, StoredBatch};

/// A batch, as the journal holds it.
#[derive(Debug)]
pub struct Record {
    /// Index of the first entry.
    pub first: u64,
    /// Root of the tree after the batch, as it was written; not recomputed.
    pub root: Hash,
    /// Position of the first entry.
    pub first_entry: Position,
    /// The position behind the batch.
    pub end: Position,
    body: Vec<u8>,
    count: usize,
}

impl Record {
    /// The batch in a frame of the segment with this first index. The error says why it is none.
    pub(super) fn new(segment: u64, frame: Frame) -> Result<Self, String> {
        let Frame { head, body, body_at, end, .. } = frame;
        let count = head.items;
        if bundle::split(&body, count).map_or(0, |entries| entries.len()) != count {
            return Err(format!("the batch does not hold the {count} entries that its head says"));
        }
        let at = |offset| Position { segment, offset };
        Ok(Self {
            first: head.number,
            root: root_of(&head),
            first_entry: at(body_at),
            end: at(end),
            body,
            count,
        })
    }

    /// The entries, in order.
    #[must_use]
    pub fn entries(&self) -> Vec<&[u8]> {
        bundle::split(&self.body, self.count).expect("checked when it was read")
    }

    /// Path of its segment, in the journal in `dir`.
    #[must_use]
    pub fn path_in(&self, dir: &Path) -> PathBuf {
        segment_path(dir, self.end.segment)
    }

    /// Compares the root that its entries make with the one in its head.
    ///
    /// # Errors
    /// [`StoreError::Damaged`], naming its file `path`, if they differ.
    pub fn check_root(&self, path: &Path, computed: &Hash) -> Result<(), StoreError> {
        if self.root == *computed {
            return Ok(());
        }
        let (expected, seen) = (self.root.to_base64(), computed.to_base64());
        Err(StoreError::Damaged {
            what: format!("{} before byte {}", path.display(), self.end.offset),
            detail: format!("expected its entries to make root {expected}, computed {seen}"),
        })
    }

    /// The bundles that begin in this batch.
    pub(in crate::store) fn bundle_places(&self) -> Vec<(u64, Place)> {
        let first = LeafIndex::new(self.first).expect("checked when it was read");
        let lengths: Vec<usize> = self.entries().iter().map(|entry| entry.len()).collect();
        super::bundle_places(first, lengths.into_iter(), self.first_entry)
    }

    /// The place of the batch, for a cursor behind it.
    pub(in crate::store) fn place(&self) -> Place {
        Cursor::place(self.first_entry, self.end)
    }
}

impl StoredBatch for Record {
    fn entries(&self) -> Vec<&[u8]> {
        self.entries()
    }

    fn first(&self) -> u64 {
        self.first
    }

    fn count(&self) -> usize {
        self.count
    }

    fn body_bytes(&self) -> usize {
        self.body.len()
    }
}

/// The last batch of the journal that the tree has applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// Leaves applied.
    pub size: TreeSize,
    /// The segment that the last batch is in.
    pub segment: u64,
    /// Offset of the batch's first entry.
    pub first_entry: u64,
    /// Offset behind the batch.
    pub end: u64,
    /// Root of the tree of that size.
    pub root: Hash,
}

impl Cursor {
    /// The place of a batch that begins with the entry at `first_entry`.
    pub fn place(first_entry: Position, end: Position) -> Place {
        place_of([end.segment, first_entry.offset, end.offset])
    }
}

impl From<derived::Cursor> for Cursor {
    fn from(cursor: derived::Cursor) -> Self {
        let [segment, first_entry, end] = words_of(cursor.place);
        Self { size: cursor.size, segment, first_entry, end, root: cursor.root }
    }
}

/// Reads the batches from a position on, one by one.
///
/// A torn last batch ends the scan: nobody was told of it. Anything else that does not check is
/// [`StoreError::Damaged`].
#[derive(Debug)]
pub struct Scan {
    origin: Hash,
    /// Segments still to read, the next one last.
    ahead: Vec<(u64, PathBuf)>,
    current: Option<(u64, JournalReader)>,
    next: u64,
    end: Option<Position>,
    /// Offset of the batch that ends at `end`, or of the segment's head if there is none.
    last_written: u64,
    total: u64,
    done: u64,
}

impl Scan {
    /// Starts behind the batch of `from`, or at the beginning.
    ///
    /// # Errors
    /// [`StoreError::Disk`]; [`StoreError::Damaged`] if the journal has no such batch there.
    pub fn new(dir: &Path, origin: Hash, from: Option<Cursor>) -> Result<Self, StoreError> {
        let ahead = segments(dir)?.into_iter().filter(|first| from.is_none_or(|from| *first >= from.segment));
        let ahead = ahead.map(|first| (first, segment_path(dir, first))).collect();
        let mut scan = Self::over(ahead, origin, from.map_or(0, |from| from.size.get()))?;
        scan.end = from.map(|from| Position { segment: from.segment, offset: from.end });
        if let Some(from) = from {
            scan.seek(&from, &segment_path(dir, from.segment))?;
        }
        Ok(scan)
    }

    /// Goes to the end of the batch that a tree took last, in the segment at `path`.
    fn seek(&mut self, from: &Cursor, path: &Path) -> Result<(), StoreError> {
        let next = self.ahead.pop().filter(|(first, _)| *first == from.segment);
        let segment = next.map(|(first, path)| self.open(first, &path)).transpose()?.flatten();
        let mut segment = segment.filter(|segment| segment.length() >= from.end).ok_or_else(|| {
            damaged(path, format!("expected at least {} bytes, saw fewer or no such segment", from.end))
        })?;
        // Otherwise what follows would be taken for a torn batch, and cut off.
        if !has_batch_before(&segment, from)? {
            return Err(damaged(path, format!("expected the batch that made tree size {} there", from.size)));
        }
        segment.seek(from.end)?;
        self.last_written = from.first_entry - BATCH_HEAD_BYTES as u64;
        self.done = from.end;
        self.current = Some((from.segment, segment));
        Ok(())
    }

    /// Reads one segment, whatever its file is called.
    ///
    /// # Errors
    /// [`StoreError::Disk`].
    pub(in crate::store) fn of_segment(path: &Path, origin: Hash, first: u64) -> Result<Self, StoreError> {
        Self::over(vec![(first, path.to_owned())], origin, first)
    }

    fn over(mut ahead: Vec<(u64, PathBuf)>, origin: Hash, next: u64) -> Result<Self, StoreError> {
        let mut total = 0;
        for (_, path) in &ahead {
            total += fs::metadata(path).map_err(DiskError::io("read", path))?.len();
        }
        ahead.reverse();
        Ok(Self { origin, ahead, current: None, next, end: None, last_written: 0, total, done: 0 })
    }

    /// The position behind the last whole batch; `None` if the journal has no segment.
    #[must_use]
    pub const fn end(&self) -> Option<Position> {
        self.end
    }

    /// Offset in the last segment of what was written last: a whole batch, or the segment's head.
    pub(super) const fn last_written(&self) -> u64 {
        self.last_written
    }

    /// Index that the next entry has or will get.
    #[must_use]
    pub fn size(&self) -> TreeSize {
        TreeSize::new(self.next).expect("checked when the batch was read")
    }

    /// Bytes read and bytes in all, for a progress bar.
    #[must_use]
    pub const fn progress(&self) -> (u64, u64) {
        (self.done, self.total)
    }

    /// The next batch, or `None` at the end or before a torn last one.
    ///
    /// # Errors
    /// [`StoreError::Disk`]; [`StoreError::Damaged`] if a batch does not check that is not the last one, or
    /// does not follow the one before.
    pub fn next_record(&mut self) -> Result<Option<Record>, StoreError> {
        loop {
            let Some((first, segment)) = &mut self.current else {
                let Some((first, path)) = self.ahead.pop() else { return Ok(None) };
                let Some(segment) = self.open(first, &path)? else { return Ok(None) };
                self.current = Some((first, segment));
                continue;
            };
            let at = segment.offset();
            match segment.next_frame(self.next, self.ahead.is_empty())? {
                Step::End => self.current = None,
                Step::Torn(why) => {
                    let segment = segment.path().display();
                    tracing::warn!(%segment, at, why, "dropping a torn last batch");
                    self.current = None;
                    return Ok(None);
                }
                Step::Frame(frame) => {
                    let record = Record::new(*first, frame).map_err(|why| segment.damaged(at, why))?;
                    self.done += record.end.offset - at;
                    self.next += record.count as u64;
                    self.last_written = at;
                    self.end = Some(record.end);
                    return Ok(Some(record));
                }
            }
        }
    }

    /// Opens a segment and checks its head. `None` for a last segment whose creation was cut short.
    fn open(&mut self, first: u64, path: &Path) -> Result<Option<JournalReader>, StoreError> {
        let segment = JournalReader::open(path, &FORMATS)?;
        let Some(head) = segment.head() else {
            if self.ahead.is_empty() && segment.length() <= SEGMENT_HEAD_BYTES as u64 {
                // Never written whole, so never appended to. Opening the journal removes it.
                tracing::warn!(segment = %path.display(), "the creation of a segment was interrupted");
                return Ok(None);
            }
            return Err(damaged(path, "its head does not check"));
        };
        let about = About::of(head);
        if about.origin != self.origin {
            return Err(damaged(path, "it belongs to the log of another origin"));
        }
        let follows = self.end.is_some_and(|end| end.segment == first) || self.next == first;
        if about.first != first || !follows {
            let (next, seen) = (self.next, about.first);
            return Err(damaged(path, format!("expected it to begin with entry {next}, saw {seen}")));
        }
        let offset = head.length();
        self.done += offset;
        self.end = self.end.filter(|end| end.segment == first).or(Some(Position { segment: first, offset }));
        self.last_written = 0;
        Ok(Some(segment))
    }
}

impl BatchReader for Scan {
    type Batch = Record;

    fn next_batch(&mut self) -> Result<Option<Record>, StoreError> {
        self.next_record()
    }

    fn progress(&self) -> (u64, u64) {
        self.progress()
    }
}

/// Whether the journal in `dir` has the batch of the cursor where it says.
///
/// # Errors
/// [`DiskError::Io`].
pub fn has_batch(dir: &Path, cursor: &Cursor) -> Result<bool, DiskError> {
    match JournalReader::open(&segment_path(dir, cursor.segment), &FORMATS) {
        Ok(segment) => Ok(segment.length() >= cursor.end && has_batch_before(&segment, cursor)?),
        Err(error) if error.is_not_found() => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether the segment has the batch of the cursor.
fn has_batch_before(segment: &JournalReader, cursor: &Cursor) -> Result<bool, DiskError> {
    let begin = cursor.first_entry.checked_sub(BATCH_HEAD_BYTES as u64);
    let Some(begin) = begin.filter(|begin| *begin < cursor.end) else { return Ok(false) };
    Ok(segment.head_at(begin)?.is_some_and(|head| {
        root_of(&head) == cursor.root
            && head.number.checked_add(head.items as u64) == Some(cursor.size.get())
            && begin + head.frame_bytes(&FORMATS[0]) == cursor.end
    }))
}

pub(super) fn damaged(path: &Path, detail: impl Into<String>) -> StoreError {
    StoreError::Damaged { what: path.display().to_string(), detail: detail.into() }
}
