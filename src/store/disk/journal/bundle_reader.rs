//! Reading single bundles and entries from where they begin.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use super::scan::damaged;
use super::segment::{BATCH_HEAD_BYTES, FORMATS};
use super::{BundleStart, segment_path};
use crate::disk::DiskError;
use crate::disk::journal::{FileHead, FrameHead};
use crate::proof::bundle::LENGTH_BYTES;
use crate::store::StoreError;

/// Length of the CRC behind the body of a batch.
const CRC_BYTES: usize = 4;
/// Bytes read at once of a whole bundle: little enough to be copied out of the processor's cache, and not to read much
/// of the next bundle.
const BUNDLE_BUFFER_BYTES: usize = 64 * 1024;
/// Bytes read at once for a single entry: some twenty entries of usual size.
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
    pub fn new(dir: &Path, start: BundleStart) -> Result<Self, StoreError> {
        Self::with_buffer(dir, start, BUNDLE_BUFFER_BYTES)
    }

    /// Like [`new`](Self::new), for [`read_entry`](Self::read_entry): hardly reads what it skips.
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
        for (at, next) in (next..next + count as u64).enumerate() {
            let length = self.next_length(next)?;
            if at == 0 {
                // Entries of one log are mostly of one length. Room that is not used is never touched.
                out.reserve(count * (LENGTH_BYTES + length));
            }
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
        let is_at_end = self.file.fill_buf().map_err(DiskError::io("read", &self.path))?.is_empty();
        if is_at_end {
            self.path = segment_path(&self.dir, next);
            self.file = open(&self.path, self.buffer)?;
            let begin = SeekFrom::Start(self.segment_head()?.length());
            self.file.seek(begin).map_err(DiskError::io("read", &self.path))?;
        }
        let segment = self.segment_head()?;
        let mut head = [0; BATCH_HEAD_BYTES];
        self.fill(&mut head)?;
        let head = FrameHead::decode(&head, segment.format, Some(&segment.marker));
        let head = head.filter(|head| head.number == next && head.items > 0);
        let head = head.ok_or_else(|| damaged(&self.path, "the head of a batch does not check"))?;
        self.left = head.items as u64;
        Ok(())
    }

    fn segment_head(&self) -> Result<FileHead, StoreError> {
        let head =
            FileHead::read(self.file.get_ref(), &FORMATS).map_err(DiskError::io("read", &self.path))?;
        head.ok_or_else(|| damaged(&self.path, "the head of the segment does not check"))
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), StoreError> {
        self.file.read_exact(bytes).map_err(|e| match e.kind() {
            io::ErrorKind::UnexpectedEof => damaged(&self.path, "the file ends within an entry"),
            _ => DiskError::io("read", &self.path)(e).into(),
        })
    }
}

fn open(path: &Path, buffer: usize) -> Result<BufReader<File>, DiskError> {
    let file = File::open(path).map_err(DiskError::io("open", path))?;
    Ok(BufReader::with_capacity(buffer, file))
}
