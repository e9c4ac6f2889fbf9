//! Reading the journal: batch by batch for recovery and fsck, bundle by bundle for readers.

use std::fs::{self, File};
use std::io::{self, BufReader, Read as _, Seek as _, SeekFrom};
use std::ops::RangeInclusive;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::segment::{BATCH_HEAD_BYTES, BatchHead, CRC_BYTES, Marker, SEGMENT_HEAD_BYTES, SegmentHead};
use super::{BundleStart, Position, read_head, segment_path, segments};
use crate::disk::DiskError;
use crate::merkle::{Hash, LeafIndex, TreeSize};
use crate::proof::bundle::{self, LENGTH_BYTES};
use crate::store::{MAX_BATCH_BYTES, MAX_BATCH_ENTRIES, StoreError};

/// Largest body that a sound batch has; a larger one in a head that checks was not written by us.
const MAX_BODY_BYTES: usize = MAX_BATCH_BYTES + MAX_BATCH_ENTRIES * LENGTH_BYTES;

/// A batch, as the journal holds it.
#[derive(Debug)]
pub struct Record {
    /// Index of the first entry.
    pub first: u64,
    /// Root of the tree after the batch, as it was written; not recomputed.
    pub root: Hash,
    /// Where the first entry is.
    pub first_entry: Position,
    /// The position behind the batch.
    pub end: Position,
    body: Vec<u8>,
    count: usize,
}

impl Record {
    /// The entries, in order.
    ///
    /// # Panics
    /// Never: the body was split when it was read.
    #[must_use]
    pub fn entries(&self) -> Vec<&[u8]> {
        bundle::split(&self.body, self.count).expect("checked when it was read")
    }

    /// The file that it is in, in the journal in `dir`.
    #[must_use]
    pub fn path_in(&self, dir: &Path) -> PathBuf {
        segment_path(dir, self.end.segment)
    }

    /// Compares the root that its entries make with the one that was written with them.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] where they differ, naming the file at `path` that it was read from.
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

    /// Where the bundles begin that begin in this batch.
    ///
    /// # Panics
    /// Never: the first index was checked when it was read.
    #[must_use]
    pub fn bundle_starts(&self) -> Vec<(u64, BundleStart)> {
        let first = LeafIndex::new(self.first).expect("checked when it was read");
        let lengths: Vec<usize> = self.entries().iter().map(|entry| entry.len()).collect();
        super::bundle_starts(first, lengths.into_iter(), self.first_entry)
    }
}

/// How far the tree has followed the journal, and the last batch that it took.
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

/// Walks over the batches from a position on.
///
/// A last batch that is torn ends the walk: nobody was told of it. Anything else that does not
/// check is [`StoreError::Damaged`].
#[derive(Debug)]
pub struct Scan {
    origin: Hash,
    /// Segments still to read, the next one last.
    ahead: Vec<(u64, PathBuf)>,
    current: Option<Segment>,
    next: u64,
    end: Option<Position>,
    /// Where the batch begins that ends at `end`, or the segment's head where there is none.
    last_written: u64,
    total: u64,
    done: u64,
}

#[derive(Debug)]
pub(super) struct Segment {
    pub reader: BufReader<File>,
    pub path: PathBuf,
    pub first: u64,
    /// What its heads of batches begin with; none where that is not known.
    pub marker: Option<Marker>,
    pub offset: u64,
    pub length: u64,
}

impl Scan {
    /// Starts behind the batch that `from` took last, or at the beginning.
    ///
    /// # Errors
    /// [`StoreError::Disk`]; [`StoreError::Damaged`] where the journal has no such batch there.
    pub fn new(dir: &Path, origin: Hash, from: Option<Cursor>) -> Result<Self, StoreError> {
        let ahead = segments(dir)?.into_iter().filter(|first| from.is_none_or(|from| *first >= from.segment));
        let ahead = ahead.map(|first| (first, segment_path(dir, first))).collect();
        let mut scan = Self::over(ahead, origin, from.map_or(0, |from| from.size.get()))?;
        scan.end = from.map(|from| Position { segment: from.segment, offset: from.end });
        if let Some(from) = from {
            let damaged = |detail| StoreError::Damaged {
                what: segment_path(dir, from.segment).display().to_string(),
                detail,
            };
            let next = scan.ahead.pop().filter(|(first, _)| *first == from.segment);
            let segment = match next {
                Some((first, path)) => scan.open(first, path)?,
                None => None,
            };
            let mut segment = segment.filter(|s| s.length >= from.end).ok_or_else(|| {
                damaged(format!("expected at least {} bytes, saw fewer or no such segment", from.end))
            })?;
            // Otherwise what follows would be taken for a torn batch, and cut off.
            if !segment.has_batch_before(&from)? {
                return Err(damaged(format!("expected the batch that made tree size {} there", from.size)));
            }
            segment.seek(from.end)?;
            scan.last_written = from.first_entry - BATCH_HEAD_BYTES as u64;
            scan.done = from.end;
            scan.current = Some(segment);
        }
        Ok(scan)
    }

    /// Walks over one segment, wherever its file is: a copy that was not given its name yet.
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

    /// The position behind the last whole batch, where the journal has any segment.
    #[must_use]
    pub const fn end(&self) -> Option<Position> {
        self.end
    }

    /// Offset in the last segment of what was written last: a whole batch, or the segment's head.
    pub(super) const fn last_written(&self) -> u64 {
        self.last_written
    }

    /// Index that the next entry has or will get.
    ///
    /// # Panics
    /// Never: indices in sound batches are below 2^63.
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
    /// [`StoreError::Disk`]; [`StoreError::Damaged`] where a batch does not check that is not the
    /// last, or does not follow the one before.
    pub fn next_record(&mut self) -> Result<Option<Record>, StoreError> {
        loop {
            let Some(segment) = &mut self.current else {
                let Some((first, path)) = self.ahead.pop() else { return Ok(None) };
                match self.open(first, path)? {
                    Some(segment) => self.current = Some(segment),
                    None => return Ok(None),
                }
                continue;
            };
            let at = segment.offset;
            if at == segment.length {
                self.current = None;
                continue;
            }
            return match segment.read_batch(self.next..=self.next)? {
                Ok(record) => {
                    self.done += record.end.offset - at;
                    self.next += record.count as u64;
                    self.last_written = at;
                    self.end = Some(record.end);
                    Ok(Some(record))
                }
                Err(why) if self.ahead.is_empty() && !segment.has_batch_behind(at, self.next)? => {
                    tracing::warn!(segment = %segment.path.display(), at, why, "dropping a torn last batch");
                    self.current = None;
                    Ok(None)
                }
                Err(why) => Err(StoreError::Damaged {
                    what: format!("{} at byte {at}", segment.path.display()),
                    detail: why,
                }),
            };
        }
    }

    /// Opens a segment and checks its head. `None` for a last segment whose creation was cut short.
    fn open(&mut self, first: u64, path: PathBuf) -> Result<Option<Segment>, StoreError> {
        let mut segment = Segment::open(first, path)?;
        let (path, last) = (&segment.path, self.ahead.is_empty());
        let head = read_head(segment.reader.get_ref()).map_err(DiskError::io("read", path))?;
        if head.is_none() && last && segment.length <= SEGMENT_HEAD_BYTES as u64 {
            // Never written whole, so never appended to. Opening the journal removes it.
            tracing::warn!(segment = %path.display(), "the creation of a segment was interrupted");
            return Ok(None);
        }
        let damaged = |detail: String| StoreError::Damaged { what: path.display().to_string(), detail };
        let head = head.ok_or_else(|| damaged("its head does not check".to_owned()))?;
        if head.origin != self.origin {
            return Err(damaged("it belongs to the log of another origin".to_owned()));
        }
        let follows = self.end.is_some_and(|end| end.segment == first) || self.next == first;
        if head.first != first || !follows {
            let detail = format!("expected it to begin with entry {}, saw {}", self.next, head.first);
            return Err(damaged(detail));
        }
        let offset = head.length();
        segment.marker = Some(head.marker);
        segment.seek(offset)?;
        self.done += offset;
        self.end = self.end.filter(|end| end.segment == first).or(Some(Position { segment: first, offset }));
        self.last_written = 0;
        Ok(Some(segment))
    }
}

impl Segment {
    /// Opens the file at its beginning, and looks at nothing in it.
    pub fn open(first: u64, path: PathBuf) -> Result<Self, StoreError> {
        let file = File::open(&path).map_err(DiskError::io("open", &path))?;
        let length = file.metadata().map_err(DiskError::io("read", &path))?.len();
        let reader = BufReader::with_capacity(1 << 20, file);
        Ok(Self { reader, path, first, marker: None, offset: 0, length })
    }

    /// The head of a batch at `at`, if one is there that checks. Reading goes on where it was.
    pub fn head_at(&mut self, at: u64) -> Result<Option<BatchHead>, StoreError> {
        let mut head = [0; BATCH_HEAD_BYTES];
        match self.reader.get_ref().read_exact_at(&mut head, at) {
            Ok(()) => Ok(BatchHead::decode(&head, self.marker)),
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(e) => Err(DiskError::io("read", &self.path)(e).into()),
        }
    }

    /// The first head from `at` on that checks and `fits`, and where it is.
    pub fn find_head(
        &mut self,
        at: u64,
        fits: impl Fn(&BatchHead) -> bool,
    ) -> Result<Option<u64>, StoreError> {
        self.seek(at)?;
        let mut rest = Vec::new();
        self.reader.read_to_end(&mut rest).map_err(DiskError::io("read", &self.path))?;
        let is_head = |window: &[u8]| {
            let window = window.try_into().expect("as long as a head");
            BatchHead::decode(window, self.marker).is_some_and(|head| fits(&head))
        };
        let found = rest.windows(BATCH_HEAD_BYTES).position(is_head);
        Ok(found.map(|found| at + found as u64))
    }

    pub fn seek(&mut self, offset: u64) -> Result<(), StoreError> {
        self.reader.seek(SeekFrom::Start(offset)).map_err(DiskError::io("read", &self.path))?;
        self.offset = offset;
        Ok(())
    }

    /// Whether the last batch that a tree took is the one that ends where it says.
    fn has_batch_before(&mut self, cursor: &Cursor) -> Result<bool, StoreError> {
        let begin = cursor.first_entry.checked_sub(BATCH_HEAD_BYTES as u64);
        let Some(begin) = begin.filter(|begin| *begin < cursor.end) else { return Ok(false) };
        Ok(self.head_at(begin)?.is_some_and(|head| {
            head.root == cursor.root
                && head.first.checked_add(head.count.into()) == Some(cursor.size.get())
                && begin + head.total_bytes() == cursor.end
        }))
    }

    /// Reads the batch at the current offset, which may begin with any of the `expected` entries; the
    /// inner error says why there is none.
    pub fn read_batch(
        &mut self,
        expected: RangeInclusive<u64>,
    ) -> Result<Result<Record, String>, StoreError> {
        let mut head = [0; BATCH_HEAD_BYTES];
        if !self.fill(&mut head)? {
            return Ok(Err("the file ends within a batch's head".to_owned()));
        }
        let Some(head) = BatchHead::decode(&head, self.marker) else {
            return Ok(Err("the head of the batch does not check".to_owned()));
        };
        let (count, body_bytes) = (head.count as usize, head.body_bytes as usize);
        if !expected.contains(&head.first) {
            let (expected, seen) = (expected.start(), head.first);
            return Ok(Err(format!("expected a batch from entry {expected} on, saw one from {seen}")));
        }
        if body_bytes > MAX_BODY_BYTES || count == 0 || count > MAX_BATCH_ENTRIES {
            return Ok(Err(format!("a batch of {count} entries and {body_bytes} bytes is not one of ours")));
        }
        let mut body = vec![0; body_bytes];
        let mut crc = [0; CRC_BYTES];
        if !self.fill(&mut body)? || !self.fill(&mut crc)? {
            return Ok(Err("the file ends within a batch".to_owned()));
        }
        if crc32fast::hash(&body).to_be_bytes() != crc {
            return Ok(Err("the body of the batch does not check".to_owned()));
        }
        if bundle::split(&body, count).map_or(0, |entries| entries.len()) != count {
            return Ok(Err(format!("the batch does not hold the {count} entries that its head says")));
        }
        let offset = self.offset;
        self.offset += head.total_bytes();
        let at = |offset| Position { segment: self.first, offset };
        let first_entry = at(offset + BATCH_HEAD_BYTES as u64);
        Ok(Ok(Record { first: head.first, root: head.root, first_entry, end: at(self.offset), body, count }))
    }

    /// Fills `bytes`; false where the file ends first.
    pub fn fill(&mut self, bytes: &mut [u8]) -> Result<bool, StoreError> {
        match self.reader.read_exact(bytes) {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            Err(e) => Err(DiskError::io("read", &self.path)(e).into()),
        }
    }

    /// Whether a sound head of a later batch stands anywhere behind `at`: then what is broken at
    /// `at` is not the last thing written, and was acknowledged.
    fn has_batch_behind(&mut self, at: u64, expected: u64) -> Result<bool, StoreError> {
        // An entry of a segment of version 1 may look like a batch: where the broken batch says how long it
        // is, what is inside of it is not searched.
        let head = self.head_at(at)?.filter(|head| head.first == expected);
        // The batch after the broken one begins at most a batch further on.
        let following = expected + 1..=expected + MAX_BATCH_ENTRIES as u64;
        let later = |head: &BatchHead| following.contains(&head.first);
        let found = self.find_head(at + head.map_or(1, BatchHead::total_bytes), later)?;
        self.seek(at)?;
        Ok(found.is_some())
    }
}

/// Read at once of a bundle that is wanted whole.
const BUNDLE_BUFFER_BYTES: usize = 256 * 1024;
/// Read at once of one of which a single entry is wanted: some twenty entries of usual size.
const ENTRY_BUFFER_BYTES: usize = 16 * 1024;

/// Reads consecutive entries from where a bundle begins.
#[derive(Debug)]
pub struct BundleReader {
    dir: PathBuf,
    file: BufReader<File>,
    buffer: usize,
    path: PathBuf,
    left: u64,
}

impl BundleReader {
    /// Opens the segment that the bundle begins in.
    ///
    /// # Errors
    /// [`StoreError::Disk`].
    pub fn new(dir: &Path, start: BundleStart) -> Result<Self, StoreError> {
        Self::with_buffer(dir, start, BUNDLE_BUFFER_BYTES)
    }

    /// The same, for [`read_entry`](Self::read_entry): what is skipped is hardly read.
    ///
    /// # Errors
    /// [`StoreError::Disk`].
    pub fn for_one_entry(dir: &Path, start: BundleStart) -> Result<Self, StoreError> {
        Self::with_buffer(dir, start, ENTRY_BUFFER_BYTES)
    }

    fn with_buffer(dir: &Path, start: BundleStart, buffer: usize) -> Result<Self, StoreError> {
        let path = segment_path(dir, start.position.segment);
        let mut file = open(&path, buffer)?;
        file.seek(SeekFrom::Start(start.position.offset)).map_err(DiskError::io("read", &path))?;
        Ok(Self { dir: dir.to_owned(), file, buffer, path, left: start.left })
    }

    /// The entry behind the next `skip` ones, of which the first is `next`.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_entry(&mut self, skip: u64, next: u64) -> Result<Vec<u8>, StoreError> {
        for at in next..next + skip {
            let length = self.next_length(at)?;
            let length = i64::try_from(length).expect("two bytes");
            self.file.seek_relative(length).map_err(DiskError::io("read", &self.path))?;
        }
        let mut entry = vec![0; self.next_length(next + skip)?];
        self.fill(&mut entry)?;
        Ok(entry)
    }

    /// Steps over the head of entry `next`, and tells its length.
    fn next_length(&mut self, next: u64) -> Result<usize, StoreError> {
        if self.left == 0 {
            self.next_batch(next)?;
        }
        self.left -= 1;
        let mut length = [0; LENGTH_BYTES];
        self.fill(&mut length)?;
        Ok(u16::from_be_bytes(length).into())
    }

    /// Appends the next `count` entries to `out`, length-prefixed as they stand.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] where the journal does not go on as it should.
    pub fn read(&mut self, count: usize, next: u64, out: &mut Vec<u8>) -> Result<(), StoreError> {
        for next in next..next + count as u64 {
            let length = self.next_length(next)?;
            let prefix = u16::try_from(length).expect("read from two bytes").to_be_bytes();
            let start = out.len() + LENGTH_BYTES;
            out.extend_from_slice(&prefix);
            out.resize(start + length, 0);
            self.fill(&mut out[start..])?;
        }
        Ok(())
    }

    fn next_batch(&mut self, next: u64) -> Result<(), StoreError> {
        let mut crc = [0; CRC_BYTES];
        self.fill(&mut crc)?;
        if self.file.fill_buf_is_empty().map_err(DiskError::io("read", &self.path))? {
            self.path = segment_path(&self.dir, next);
            self.file = open(&self.path, self.buffer)?;
            let begin = SeekFrom::Start(self.segment_head()?.length());
            self.file.seek(begin).map_err(DiskError::io("read", &self.path))?;
        }
        let marker = self.segment_head()?.marker;
        let mut head = [0; BATCH_HEAD_BYTES];
        self.fill(&mut head)?;
        let head = BatchHead::decode(&head, Some(marker)).filter(|head| head.first == next && head.count > 0);
        self.left = head
            .map(|head| head.count.into())
            .ok_or_else(|| self.damaged("the head of a batch does not check"))?;
        Ok(())
    }

    fn segment_head(&self) -> Result<SegmentHead, StoreError> {
        let head = read_head(self.file.get_ref()).map_err(DiskError::io("read", &self.path))?;
        head.ok_or_else(|| self.damaged("the head of the segment does not check"))
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), StoreError> {
        self.file.read_exact(bytes).map_err(|e| match e.kind() {
            io::ErrorKind::UnexpectedEof => self.damaged("the file ends within an entry"),
            _ => DiskError::io("read", &self.path)(e).into(),
        })
    }

    fn damaged(&self, detail: &str) -> StoreError {
        StoreError::Damaged { what: self.path.display().to_string(), detail: detail.to_owned() }
    }
}

fn open(path: &Path, buffer: usize) -> Result<BufReader<File>, StoreError> {
    let file = File::open(path).map_err(DiskError::io("open", path))?;
    Ok(BufReader::with_capacity(buffer, file))
}

trait AtEnd {
    fn fill_buf_is_empty(&mut self) -> io::Result<bool>;
}

impl AtEnd for BufReader<File> {
    fn fill_buf_is_empty(&mut self) -> io::Result<bool> {
        io::BufRead::fill_buf(self).map(<[u8]>::is_empty)
    }
}
