//! Reading what is left of a damaged journal: every batch that checks, wherever it stands.

use std::fs;
use std::path::{Path, PathBuf};

use super::scan::{Record, Segment};
use super::{read_head, segment_of, segment_path};
use crate::disk::DiskError;
use crate::store::StoreError;

/// Largest index that a batch may begin with.
const MAX_FIRST: u64 = i64::MAX as u64;

/// Where a batch may stand.
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
/// Nothing proves that they are the log's: in a segment of version 1, or one that lost its head, an entry may
/// hold bytes that look like a batch. So it yields all candidates, even where they overlap, and the caller,
/// which re-hashes everything up to a signed root, takes those that fit.
#[derive(Debug)]
pub struct Salvage {
    segments: Vec<(u64, PathBuf)>,
    /// Places still to read, the next one last.
    ahead: Vec<Place>,
    /// The segment that was read last, which goes on where its last batch ended.
    current: Option<(usize, Segment)>,
}

impl Salvage {
    /// Looks for batches in all segments. A directory that is gone holds nothing.
    ///
    /// # Errors
    /// [`StoreError::Disk`] where the directory can't be listed.
    pub fn new(dir: &Path) -> Result<Self, StoreError> {
        let mut segments = Vec::new();
        match fs::read_dir(dir) {
            Ok(items) => {
                for item in items {
                    let name = item.map_err(DiskError::io("list", dir))?.file_name();
                    segments.extend(segment_of(&name).map(|first| (first, segment_path(dir, first))));
                }
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(DiskError::io("list", dir)(e).into()),
        }
        segments.sort_unstable();
        let mut ahead = Vec::new();
        for (at, (first, path)) in segments.iter().enumerate() {
            let mut add = |first, offset| ahead.push(Place { first, segment: at, offset });
            let looked = Segment::open(*first, path.clone()).and_then(|mut segment| segment.look(&mut add));
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
                Ok(Ok(record)) => return Some(record),
                // A bad sector is as good as wrong bytes.
                Ok(Err(_)) | Err(_) => self.current = None,
            }
        }
        None
    }

    fn read(&mut self, place: Place) -> Result<Result<Record, String>, StoreError> {
        if self.current.as_ref().is_none_or(|(at, _)| *at != place.segment) {
            let (first, path) = &self.segments[place.segment];
            let mut segment = Segment::open(*first, path.clone())?;
            segment.read_marker()?;
            self.current = Some((place.segment, segment));
        }
        let (_, segment) = self.current.as_mut().expect("just opened");
        if segment.offset != place.offset {
            segment.seek(place.offset)?;
        }
        segment.read_batch(place.first..=place.first)
    }
}

impl Segment {
    /// Reads what the heads of its batches begin with: anything, where the segment's own head does not
    /// check. Gives the place of the first batch, and whether entries can't imitate batches.
    fn read_marker(&mut self) -> Result<(u64, bool), StoreError> {
        let head = read_head(self.reader.get_ref()).map_err(DiskError::io("read", &self.path))?;
        self.marker = head.map(|head| head.marker);
        Ok(head.map_or((0, false), |head| (head.length(), !head.is_version_1())))
    }

    /// Gives every place where a batch may stand, and the index of its first entry.
    fn look(&mut self, add: &mut dyn FnMut(u64, u64)) -> Result<(), StoreError> {
        let (mut at, inimitable) = self.read_marker()?;
        // Where batches follow each other from the first on, nothing inside of one is looked at.
        let mut follows = self.marker.is_some();
        while at < self.length {
            let next = match self.head_at(at)?.filter(|head| head.first <= MAX_FIRST) {
                Some(head) if follows || inimitable => {
                    add(head.first, at);
                    Some(at + head.total_bytes())
                }
                // It may be an entry's, and claim a length that passes over what is the log's.
                Some(head) => {
                    self.seek(at)?;
                    let whole = self.read_batch(head.first..=head.first)?.ok();
                    whole.map(|record| {
                        add(record.first, at);
                        record.end.offset
                    })
                }
                None => None,
            };
            if let Some(next) = next {
                at = next;
            } else {
                follows = false;
                let Some(found) = self.find_head(at + 1, |_| true)? else { break };
                at = found;
            }
        }
        Ok(())
    }
}
