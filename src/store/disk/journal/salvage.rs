//! Reading what is left of a damaged journal: every batch that checks, wherever it is.

use std::path::{Path, PathBuf};

use super::scan::Record;
use super::segment::FORMATS;
use super::{segment_of, segment_path};
use crate::disk::journal::JournalReader;
use crate::disk::{DiskError, list_dir};
use crate::store::StoreError;

/// Largest index that a batch may begin with.
const MAX_FIRST: u64 = i64::MAX as u64;

/// A place where a batch may stand.
#[derive(Debug, Clone, Copy)]
struct Place {
    /// Index of its first entry, as its head says.
    first: u64,
    /// The segment's place in the list.
    segment: usize,
    offset: u64,
}

/// Yields the batches whose checksums hold, by their first index.
///
/// They need not be the log's: in a segment of version 1, or one that lost its head, an entry may look like a
/// batch. So all candidates are yielded, even if they overlap. The caller re-hashes everything up to a signed
/// root, and takes those that fit.
#[derive(Debug)]
pub struct Salvage {
    segments: Vec<(u64, PathBuf)>,
    /// Places still to read, the next one last.
    ahead: Vec<Place>,
    /// The segment that was read last, which goes on where its last batch ended.
    current: Option<(usize, JournalReader)>,
}

impl Salvage {
    /// Looks for batches in all segments. A directory that is gone holds nothing.
    ///
    /// # Errors
    /// [`StoreError::Disk`] if the directory can't be listed.
    pub fn new(dir: &Path) -> Result<Self, StoreError> {
        let firsts = list_dir(dir)?.into_iter().filter_map(|name| segment_of(&name));
        let mut segments: Vec<_> = firsts.map(|first| (first, segment_path(dir, first))).collect();
        segments.sort_unstable();
        let mut ahead = Vec::new();
        for (at, (_, path)) in segments.iter().enumerate() {
            let mut add = |first, offset| {
                if first <= MAX_FIRST {
                    ahead.push(Place { first, segment: at, offset });
                }
            };
            let looked =
                JournalReader::open(path, &FORMATS).and_then(|mut segment| segment.salvage(&mut add));
            if let Err(error) = looked {
                tracing::warn!(%error, "a segment can't be read to its end");
            }
        }
        // Stable: of two that begin with the same entry, the one that was written first comes first.
        ahead.sort_by_key(|place| place.first);
        ahead.reverse();
        Ok(Self { segments, ahead, current: None })
    }

    /// The next batch that checks, in the order of their first entries.
    pub fn next_record(&mut self) -> Option<Record> {
        while let Some(place) = self.ahead.pop() {
            match self.read(place) {
                Ok(Some(record)) => return Some(record),
                // A bad sector is as good as wrong bytes.
                Ok(None) | Err(_) => self.current = None,
            }
        }
        None
    }

    fn read(&mut self, place: Place) -> Result<Option<Record>, DiskError> {
        let (first, path) = &self.segments[place.segment];
        let (_, segment) = match &mut self.current {
            Some(current) if current.0 == place.segment => current,
            other => other.insert((place.segment, JournalReader::open(path, &FORMATS)?)),
        };
        if segment.offset() != place.offset {
            segment.seek(place.offset)?;
        }
        Ok(segment.frame(place.first)?.and_then(|frame| Record::new(*first, frame).ok()))
    }
}
