//! The format of a segment.
//!
//! ```text
//! segment   "THSEG02\n" || origin hash (32) || first index u64 || marker (8) || CRC-32 of these u32
//!           batch*
//! batch     marker (8) || first index u64 || count u32 || body length u32 || root after it (32)
//!                      || CRC-32 of these u32
//!           body: (length u16 || entry)*       the bytes of entry bundles
//!           CRC-32 of the body u32
//! ```
//!
//! Integers are big-endian. The CRCs tell a torn batch from a whole one; that the entries are the
//! right ones is what the root says.
//!
//! The marker is random, made anew for each segment, and never leaves the log's own disk: whoever submits
//! entries can't write one that looks like the head of a batch. Segments of version 1, `THSEG01`, have no
//! marker, and `THBATCH\n` in its place. They are read, and not appended to.

use crate::merkle::{HASH_BYTES, Hash};
use crate::proof::bundle;
use crate::store::Batch;

const SEGMENT_MAGIC: &[u8; 8] = b"THSEG02\n";
const SEGMENT_MAGIC_1: &[u8; 8] = b"THSEG01\n";
const BATCH_MAGIC_1: Marker = *b"THBATCH\n";
/// Bytes of the longest head of a segment.
pub(super) const SEGMENT_HEAD_BYTES: usize = SEGMENT_HEAD_BYTES_1 + 8;
const SEGMENT_HEAD_BYTES_1: usize = 8 + HASH_BYTES + 8 + 4;
pub(super) const BATCH_HEAD_BYTES: usize = 8 + 8 + 4 + 4 + HASH_BYTES + 4;
pub(super) const CRC_BYTES: usize = 4;

/// What each head of a batch in a segment begins with.
pub(super) type Marker = [u8; 8];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SegmentHead {
    pub origin: Hash,
    pub first: u64,
    pub marker: Marker,
}

impl SegmentHead {
    /// The head of a new segment. The marker has to come from the operating system's random source.
    pub const fn new(origin: Hash, first: u64, marker: Marker) -> Self {
        Self { origin, first, marker }
    }

    /// Whether the segment is of version 1, whose batches anybody's entry may imitate.
    pub fn is_version_1(self) -> bool {
        self.marker == BATCH_MAGIC_1
    }

    /// Bytes that it takes: where the first batch begins.
    pub fn length(self) -> u64 {
        (if self.is_version_1() { SEGMENT_HEAD_BYTES_1 } else { SEGMENT_HEAD_BYTES }) as u64
    }

    pub fn encode(self) -> Vec<u8> {
        let version_1 = self.is_version_1();
        let mut bytes = if version_1 { SEGMENT_MAGIC_1 } else { SEGMENT_MAGIC }.to_vec();
        bytes.extend_from_slice(self.origin.as_bytes());
        bytes.extend_from_slice(&self.first.to_be_bytes());
        if !version_1 {
            bytes.extend_from_slice(&self.marker);
        }
        bytes.extend_from_slice(&[0; CRC_BYTES]);
        seal(&mut bytes);
        bytes
    }

    /// The head that these bytes begin with: at most [`SEGMENT_HEAD_BYTES`] of a file.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let version_1 = bytes.starts_with(SEGMENT_MAGIC_1);
        let length = if version_1 { SEGMENT_HEAD_BYTES_1 } else { SEGMENT_HEAD_BYTES };
        let bytes = bytes.get(..length)?;
        let known = version_1 || bytes.starts_with(SEGMENT_MAGIC);
        (known && is_sealed(bytes)).then(|| Self {
            origin: Hash::from_bytes(array(bytes, 8)),
            first: u64::from_be_bytes(array(bytes, 40)),
            marker: if version_1 { BATCH_MAGIC_1 } else { array(bytes, 48) },
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BatchHead {
    pub first: u64,
    pub count: u32,
    pub body_bytes: u32,
    pub root: Hash,
}

impl BatchHead {
    pub fn encode(self, marker: Marker) -> [u8; BATCH_HEAD_BYTES] {
        let mut bytes = [0; BATCH_HEAD_BYTES];
        bytes[..8].copy_from_slice(&marker);
        bytes[8..16].copy_from_slice(&self.first.to_be_bytes());
        bytes[16..20].copy_from_slice(&self.count.to_be_bytes());
        bytes[20..24].copy_from_slice(&self.body_bytes.to_be_bytes());
        bytes[24..56].copy_from_slice(self.root.as_bytes());
        seal(&mut bytes);
        bytes
    }

    /// The head in a segment whose heads begin with `marker`; with any, where the segment's own head was
    /// lost.
    pub fn decode(bytes: &[u8; BATCH_HEAD_BYTES], marker: Option<Marker>) -> Option<Self> {
        let marked = marker.is_none_or(|marker| bytes.starts_with(&marker));
        (marked && is_sealed(bytes)).then(|| Self {
            first: u64::from_be_bytes(array(bytes, 8)),
            count: u32::from_be_bytes(array(bytes, 16)),
            body_bytes: u32::from_be_bytes(array(bytes, 20)),
            root: Hash::from_bytes(array(bytes, 24)),
        })
    }

    /// Bytes of the whole batch in its segment.
    pub const fn total_bytes(self) -> u64 {
        (BATCH_HEAD_BYTES + self.body_bytes as usize + CRC_BYTES) as u64
    }
}

/// Writes a whole batch into `buffer`, in place of what was there.
pub(super) fn encode_batch(batch: &Batch, marker: Marker, buffer: &mut Vec<u8>) {
    buffer.clear();
    buffer.extend_from_slice(&[0; BATCH_HEAD_BYTES]);
    for entry in &batch.entries {
        bundle::push(buffer, entry).expect("entries are capped when they are submitted");
    }
    let body = &buffer[BATCH_HEAD_BYTES..];
    let (body_bytes, crc) = (body.len(), crc32fast::hash(body));
    let head = BatchHead {
        first: batch.first.get(),
        count: u32::try_from(batch.entries.len()).expect("batches are capped"),
        body_bytes: u32::try_from(body_bytes).expect("batches are capped"),
        root: batch.growth.edge.root(),
    };
    buffer[..BATCH_HEAD_BYTES].copy_from_slice(&head.encode(marker));
    buffer.extend_from_slice(&crc.to_be_bytes());
}

/// Puts the CRC of all bytes before them into the last four.
fn seal(bytes: &mut [u8]) {
    let (content, crc) = bytes.split_at_mut(bytes.len() - CRC_BYTES);
    crc.copy_from_slice(&crc32fast::hash(content).to_be_bytes());
}

fn is_sealed(bytes: &[u8]) -> bool {
    let (content, crc) = bytes.split_at(bytes.len() - CRC_BYTES);
    crc == crc32fast::hash(content).to_be_bytes()
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("within a head of fixed length")
}
