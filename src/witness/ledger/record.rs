//! The record of a log: its last cosigned head, and the note.
//!
//! ```text
//! record    size u64 || root, lower-case hex (64) || time u64 || origin length u16 || origin || note length u32 || note
//! ```
//!
//! Integers are big-endian. The journal holds records one after the other, sled one a row. The root is in hex
//! because the log chooses it: none of its bytes can be those that begin a batch's number.

use crate::checkpoint::{Origin, origin_hash};
use crate::merkle::{HASH_BYTES, Hash, TreeSize};
use crate::note::MAX_NOTE_BYTES;

/// The tree head of a log that was cosigned last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Number of leaves.
    pub size: TreeSize,
    /// Root over them.
    pub root: Hash,
    /// When it was cosigned, as a POSIX time in seconds.
    pub time: u64,
}

impl Head {
    /// Whether both are the same tree, whenever they were cosigned.
    #[must_use]
    pub fn is_tree(&self, other: &Self) -> bool {
        (self.size, self.root) == (other.size, other.root)
    }
}

/// A head, and the note that says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The log.
    pub origin: Origin,
    /// Its head.
    pub head: Head,
    /// The checkpoint, with the signatures by the log that were verified, and the cosignatures.
    pub note: String,
}

impl Record {
    /// The key of the record: the SHA-256 of the origin, as in the address of its checkpoint.
    #[must_use]
    pub fn key(&self) -> Hash {
        origin_hash(&self.origin)
    }

    /// Appends the record to `out`.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let origin = self.origin.as_str().as_bytes();
        out.extend_from_slice(&self.head.size.get().to_be_bytes());
        out.extend_from_slice(self.head.root.to_hex().as_bytes());
        out.extend_from_slice(&self.head.time.to_be_bytes());
        out.extend_from_slice(&u16::try_from(origin.len()).expect("names are short").to_be_bytes());
        out.extend_from_slice(origin);
        out.extend_from_slice(&u32::try_from(self.note.len()).expect("notes are capped").to_be_bytes());
        out.extend_from_slice(self.note.as_bytes());
    }

    /// Splits a record off the front of `bytes`.
    pub(super) fn decode(bytes: &mut &[u8]) -> Option<Self> {
        let size = TreeSize::new(u64::from_be_bytes(take(bytes)?))?;
        let root = take::<{ 2 * HASH_BYTES }>(bytes)?;
        let root = Hash::from_hex(std::str::from_utf8(&root).ok()?).ok()?;
        let time = u64::from_be_bytes(take(bytes)?);
        let origin = usize::from(u16::from_be_bytes(take(bytes)?));
        let origin = Origin::new(std::str::from_utf8(bytes.split_off(..origin)?).ok()?).ok()?;
        let note = usize::try_from(u32::from_be_bytes(take(bytes)?)).ok().filter(|n| *n <= MAX_NOTE_BYTES)?;
        let note = std::str::from_utf8(bytes.split_off(..note)?).ok()?.to_owned();
        Some(Self { origin, head: Head { size, root, time }, note })
    }
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    bytes.split_off(..N)?.try_into().ok()
}
