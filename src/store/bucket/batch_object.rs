//! The batch object: one batch of entries under `batch/<first>`.
//!
//! ```text
//! magic        8   "THBAT01\n"
//! origin      32   SHA-256 of the log's origin
//! first        8   index of the first entry, u64, as in the object's key
//! count        4   entries, u32, 1 to 4,096
//! before      32   root of the tree of `first` leaves
//! after       32   root of the tree of `first` + `count` leaves
//! writer      16   random, one for each process
//! nonce       16   random, one for each attempt
//! entries          (length u16 || entry), `count` times, as in entry bundles; at most 32 MiB of entries
//! checksum    32   SHA-256 of all preceding bytes
//! ```
//!
//! Numbers are big-endian. The checksum detects damage to the object. The roots bind the entries; the
//! [chain](super::chain) checks them.

use std::fmt;
use std::io;
use std::ops::Range;

use crate::format::{FormatError, cap, cap_count, hex_decode, quote_bytes};
use crate::merkle::{HASH_BYTES, Hash, LeafIndex, MAX_TREE_SIZE, TreeSize};
use crate::proof::bundle::{self, LENGTH_BYTES};
use crate::store::{Batch, MAX_BATCH_BYTES, MAX_BATCH_ENTRIES};
use sha2::{Digest as _, Sha256};

const WHAT: &str = "a batch object";
const MAGIC: [u8; 8] = *b"THBAT01\n";
/// Length of a [`WriterId`] and of a nonce.
pub const ID_BYTES: usize = 16;
/// Length of the fields before the entries.
pub const HEAD_BYTES: usize = MAGIC.len() + HASH_BYTES + 8 + 4 + 2 * HASH_BYTES + 2 * ID_BYTES;
/// Length of the largest object.
pub const MAX_OBJECT_BYTES: usize =
    HEAD_BYTES + MAX_BATCH_BYTES + MAX_BATCH_ENTRIES * LENGTH_BYTES + HASH_BYTES;

/// Identifies the process that wrote a batch or holds the lease: 16 random bytes, shown in hex.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WriterId([u8; ID_BYTES]);

impl WriterId {
    /// Generates a random id.
    ///
    /// # Errors
    /// The system's error if it has no random bytes.
    pub fn random() -> io::Result<Self> {
        random().map(Self)
    }

    /// Wraps an id.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; ID_BYTES]) -> Self {
        Self(bytes)
    }

    /// Parses 32 lower-case hex digits; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        hex_decode(text).map(Self)
    }

    /// The bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; ID_BYTES] {
        &self.0
    }
}

impl fmt::Display for WriterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for WriterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WriterId({self})")
    }
}

/// Random bytes for an id or a nonce.
///
/// # Errors
/// The system's error if it has no random bytes.
pub fn random() -> io::Result<[u8; ID_BYTES]> {
    let mut bytes = [0; ID_BYTES];
    getrandom::fill(&mut bytes).map_err(|e| io::Error::other(e.to_string()))?;
    Ok(bytes)
}

/// The fields before the entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchHead {
    /// SHA-256 of the log's origin.
    pub origin: Hash,
    /// Index of the first entry.
    pub first: LeafIndex,
    /// Number of entries.
    pub count: usize,
    /// The root before the batch.
    pub before: Hash,
    /// The root after it.
    pub after: Hash,
    /// The process that wrote it.
    pub writer: WriterId,
    /// The attempt that wrote it.
    pub nonce: [u8; ID_BYTES],
}

impl BatchHead {
    /// Parses the first [`HEAD_BYTES`] of an object. Does not check the checksum.
    ///
    /// # Errors
    /// [`FormatError`] if a field differs from the layout in the module's documentation.
    pub fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        let mut rest = bytes;
        check_magic(&take::<{ MAGIC.len() }>(&mut rest)?)?;
        let origin = Hash::from_bytes(take(&mut rest)?);
        let first = u64::from_be_bytes(take(&mut rest)?);
        let count = u32::from_be_bytes(take(&mut rest)?);
        let entries = usize::try_from(count).ok().filter(|count| (1..=MAX_BATCH_ENTRIES).contains(count));
        let Some(entries) = entries else {
            return Err(malformed(format!("1 to {MAX_BATCH_ENTRIES} entries"), count.to_string()));
        };
        // The size after the batch must be a valid tree size.
        let end = first.checked_add(count.into()).filter(|end| *end <= MAX_TREE_SIZE);
        let Some(first) = LeafIndex::new(first).filter(|_| end.is_some()) else {
            return Err(malformed("a tree size below 2^63", format!("{count} entries from {first} on")));
        };
        let (before, after) = (Hash::from_bytes(take(&mut rest)?), Hash::from_bytes(take(&mut rest)?));
        let writer = WriterId(take(&mut rest)?);
        Ok(Self { origin, first, count: entries, before, after, writer, nonce: take(&mut rest)? })
    }

    /// The size of the tree after the batch.
    #[must_use]
    pub fn end(&self) -> TreeSize {
        TreeSize::new(self.first.get() + self.count as u64).expect("checked by the parser")
    }

    fn push(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(self.origin.as_bytes());
        out.extend_from_slice(&self.first.get().to_be_bytes());
        out.extend_from_slice(&u32::try_from(self.count).expect("entries are capped").to_be_bytes());
        out.extend_from_slice(self.before.as_bytes());
        out.extend_from_slice(self.after.as_bytes());
        out.extend_from_slice(&self.writer.0);
        out.extend_from_slice(&self.nonce);
    }
}

/// A parsed batch object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchObject {
    head: BatchHead,
    bytes: Vec<u8>,
    /// The range of each entry in `bytes`.
    entries: Vec<Range<usize>>,
}

impl BatchObject {
    /// Parses an object.
    ///
    /// # Errors
    /// [`FormatError`] if the object differs from the layout in the module's documentation.
    pub fn parse(bytes: Vec<u8>) -> Result<Self, FormatError> {
        cap(WHAT, bytes.len(), MAX_OBJECT_BYTES)?;
        let Some(end) = bytes.len().checked_sub(HASH_BYTES).filter(|end| *end >= HEAD_BYTES) else {
            let expected = format!("at least {} bytes", HEAD_BYTES + HASH_BYTES);
            return Err(malformed(expected, format!("{} bytes", bytes.len())));
        };
        // Check the magic first: for an object that is not a batch, a checksum error would mislead.
        check_magic(&bytes)?;
        let (covered, checksum) = bytes.split_at(end);
        if checksum != Hash::digest(covered).as_bytes() {
            return Err(malformed("the SHA-256 of all preceding bytes as its last 32 bytes", "another"));
        }
        let head = BatchHead::parse(covered)?;
        let spans = bundle::spans(&covered[HEAD_BYTES..], MAX_BATCH_ENTRIES)?;
        if spans.len() != head.count {
            return Err(malformed(
                format!("{} entries, as its header states", head.count),
                spans.len().to_string(),
            ));
        }
        let entry_bytes = covered.len() - HEAD_BYTES - spans.len() * LENGTH_BYTES;
        cap_count(WHAT, "bytes of entries", entry_bytes, MAX_BATCH_BYTES)?;
        let entries = spans.into_iter().map(|span| HEAD_BYTES + span.start..HEAD_BYTES + span.end).collect();
        Ok(Self { head, bytes, entries })
    }

    /// The fields before the entries.
    #[must_use]
    pub const fn head(&self) -> &BatchHead {
        &self.head
    }

    /// The whole object.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The entries.
    #[must_use]
    pub fn entries(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.entries.iter().map(|span| &self.bytes[span.clone()])
    }

    /// The bytes of `count` entries, starting at entry `from` of the batch, in the format of entry bundles. `None` if
    /// the batch has fewer entries.
    #[must_use]
    pub fn bundle(&self, from: usize, count: usize) -> Option<&[u8]> {
        let entries = self.entries.get(from..from.checked_add(count)?)?;
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else { return Some(&[]) };
        Some(&self.bytes[first.start - LENGTH_BYTES..last.end])
    }
}

/// Encodes a batch that continues the tree with the root `before`. Also returns the SHA-256 of the object.
///
/// # Panics
/// If the batch is empty or over a limit. The sequencer caps batches.
#[must_use]
pub fn encode(
    origin: Hash,
    batch: &Batch,
    before: Hash,
    writer: WriterId,
    nonce: [u8; ID_BYTES],
) -> (Vec<u8>, Hash) {
    let count = batch.entries.len();
    let entry_bytes: usize = batch.entries.iter().map(Vec::len).sum();
    assert!((1..=MAX_BATCH_ENTRIES).contains(&count) && entry_bytes <= MAX_BATCH_BYTES, "batches are capped");
    let after = batch.growth.edge.root();
    let head = BatchHead { origin, first: batch.first, count, before, after, writer, nonce };
    let mut bytes = Vec::with_capacity(HEAD_BYTES + entry_bytes + count * LENGTH_BYTES + HASH_BYTES);
    head.push(&mut bytes);
    for entry in &batch.entries {
        bundle::push(&mut bytes, entry).expect("entries are capped when they are submitted");
    }
    // Compute both hashes in one pass: the object begins with the bytes that the checksum covers.
    let mut hasher = Sha256::new_with_prefix(&bytes);
    bytes.extend_from_slice(&hasher.clone().finalize());
    hasher.update(&bytes[bytes.len() - HASH_BYTES..]);
    (bytes, Hash::from_bytes(hasher.finalize().into()))
}

fn malformed(expected: impl Into<String>, seen: impl Into<String>) -> FormatError {
    FormatError::malformed(WHAT, expected, seen)
}

fn check_magic(bytes: &[u8]) -> Result<(), FormatError> {
    if bytes.starts_with(&MAGIC) {
        return Ok(());
    }
    Err(malformed("the magic \"THBAT01\\n\"", quote_bytes(&bytes[..MAGIC.len()])))
}

/// Takes the first `N` bytes.
fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], FormatError> {
    let short = malformed(format!("{HEAD_BYTES} bytes before the entries"), "fewer");
    let (taken, after) = rest.split_first_chunk().ok_or(short)?;
    *rest = after;
    Ok(*taken)
}
