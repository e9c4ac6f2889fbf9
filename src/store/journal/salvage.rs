//! Reading what is left of a damaged journal: every batch that checks, wherever it stands.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::scan::{Record, Segment};
use super::segment::{BATCH_HEAD_BYTES, BATCH_MAGIC, BatchHead, SEGMENT_HEAD_BYTES};
use super::{segment_of, segment_path};
use crate::store::StoreError;

/// Walks over the batches that check, in order, and past everything that does not.
///
/// What it finds is not proven to be the log's: an entry may hold bytes that look like a batch. Its
/// caller re-hashes everything up to a signed root.
#[derive(Debug)]
pub struct Salvage {
    /// Segments still to read, the next one last.
    ahead: Vec<(u64, PathBuf)>,
    current: Option<Segment>,
    /// Batches that begin before this index were passed.
    next: u64,
}

impl Salvage {
    /// Starts at the beginning. A directory that is gone holds nothing.
    ///
    /// # Errors
    /// [`StoreError::Io`] where the directory can't be listed.
    pub fn new(dir: &Path) -> Result<Self, StoreError> {
        let mut ahead = Vec::new();
        match fs::read_dir(dir) {
            Ok(items) => {
                for item in items {
                    let name = item.map_err(StoreError::io("list", dir))?.file_name();
                    ahead.extend(segment_of(&name).map(|first| (first, segment_path(dir, first))));
                }
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(StoreError::io("list", dir)(e)),
        }
        ahead.sort_unstable();
        ahead.reverse();
        Ok(Self { ahead, current: None, next: 0 })
    }

    /// The next batch that checks and begins where the last one ended, or behind that.
    pub fn next_record(&mut self) -> Option<Record> {
        loop {
            if self.current.is_none() {
                let (first, path) = self.ahead.pop()?;
                // Whatever the segment's head says: batches say themselves where they belong.
                let opened = Segment::open(first, path).and_then(|mut segment| {
                    segment.seek(SEGMENT_HEAD_BYTES as u64)?;
                    Ok(segment)
                });
                match opened {
                    Ok(segment) => self.current = Some(segment),
                    Err(error) => tracing::warn!(%error, "a segment can't be read"),
                }
                continue;
            }
            let segment = self.current.as_mut()?;
            let at = segment.offset;
            match segment.read_batch(self.next..=u64::MAX / 2) {
                Ok(Ok(record)) => {
                    self.next = record.first + record.entries().len() as u64;
                    return Some(record);
                }
                // A bad sector is as good as wrong bytes.
                Ok(Err(_)) | Err(_) => {
                    if !segment.skip_to_batch(at).unwrap_or(false) {
                        self.current = None;
                    }
                }
            }
        }
    }
}

impl Segment {
    /// Seeks the next place behind `at` where a batch may stand. False where there is none.
    fn skip_to_batch(&mut self, at: u64) -> Result<bool, StoreError> {
        self.seek(at)?;
        let mut head = [0; BATCH_HEAD_BYTES];
        let head = self.fill(&mut head)?.then(|| BatchHead::decode(&head)).flatten();
        // An entry may look like a batch: where the head is whole, what is inside is not searched.
        let from = at + head.map_or(1, BatchHead::total_bytes);
        if from >= self.length {
            return Ok(false);
        }
        self.seek(from)?;
        let mut rest = Vec::new();
        self.reader.read_to_end(&mut rest).map_err(StoreError::io("read", &self.path))?;
        let is_head = |window: &[u8]| {
            window.starts_with(BATCH_MAGIC)
                && window.try_into().is_ok_and(|window| BatchHead::decode(window).is_some())
        };
        let Some(found) = rest.windows(BATCH_HEAD_BYTES).position(is_head) else { return Ok(false) };
        self.seek(from + found as u64)?;
        Ok(true)
    }
}
