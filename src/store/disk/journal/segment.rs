//! The log's use of the [framed journal](crate::disk::journal): one file is a segment, one frame a batch.
//!
//! ```text
//! segment   magic "THSEG02\n", about: origin hash (32) || index of its first entry u64, random marker
//! batch     number: index of its first entry, items: entries, tag: root after it (32)
//!           body: (length u16 || entry)*       the bytes of entry bundles
//!           CRC of the body
//! ```
//!
//! The CRCs tell a torn batch from a whole one; that the entries are the right ones is what the root says.
//!
//! Submitters can't know the random marker, so no entry looks like the head of a batch. Segments of version
//! 1, `THSEG01`, have the fixed marker `THBATCH\n`. They are read, and not appended to.

use crate::disk::journal::{Checksum, FileHead, Format, FrameHead, Marker, Numbers};
use crate::merkle::{HASH_BYTES, Hash};
use crate::proof::bundle::{self, LENGTH_BYTES};
use crate::store::{Batch, MAX_BATCH_BYTES, MAX_BATCH_ENTRIES};

/// New segments have the first of these formats.
pub(super) static FORMATS: [Format; 2] =
    [format(*b"THSEG02\n", None), format(*b"THSEG01\n", Some(*b"THBATCH\n"))];

const fn format(magic: [u8; 8], marker: Option<Marker>) -> Format {
    Format {
        magic,
        about_bytes: HASH_BYTES + 8,
        marker,
        tag_bytes: HASH_BYTES,
        checksum: Checksum::Body,
        numbers: Numbers::Items,
        max_items: MAX_BATCH_ENTRIES,
        max_body_bytes: MAX_BATCH_BYTES + MAX_BATCH_ENTRIES * LENGTH_BYTES,
    }
}

/// Length of the longest head of a segment.
pub(super) const SEGMENT_HEAD_BYTES: usize = FORMATS[0].file_head_bytes();
/// Length of a batch's head.
pub(super) const BATCH_HEAD_BYTES: usize = FORMATS[0].frame_head_bytes();

/// Content of a segment's head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct About {
    /// Hash of the log's origin: tells a segment of another log.
    pub origin: Hash,
    /// Index of the first entry.
    pub first: u64,
}

impl About {
    pub fn of(head: &FileHead) -> Self {
        let (origin, first) = head.about.split_at(HASH_BYTES);
        Self {
            origin: Hash::from_bytes(origin.try_into().expect("a hash's length")),
            first: u64::from_be_bytes(first.try_into().expect("eight bytes")),
        }
    }

    pub fn to_bytes(self) -> Vec<u8> {
        [self.origin.as_bytes().as_slice(), &self.first.to_be_bytes()].concat()
    }
}

/// The root after a batch, as its head says.
pub(super) fn root_of(head: &FrameHead) -> Hash {
    Hash::from_bytes(head.tag.as_slice().try_into().expect("the format's length"))
}

/// Length of the body of a batch.
pub(super) fn body_bytes(batch: &Batch) -> usize {
    batch.entries.iter().map(|entry| LENGTH_BYTES + entry.len()).sum()
}

/// Appends the body of a batch, entry by entry, to what it is called with; false behind the last entry.
pub(super) fn body_parts(batch: &Batch) -> impl FnMut(&mut Vec<u8>) -> bool {
    let mut entries = batch.entries.iter();
    move |out| {
        let next = entries.next().map(|entry| bundle::push(out, entry));
        next.transpose().expect("entries are capped when they are submitted").is_some()
    }
}
