//! The seal at the end of a chain whose log was moved away, under the key of the next batch: `batch/<size>`.
//!
//! ```text
//! magic        8   "THSEAL1\n"
//! origin      32   SHA-256 of the log's origin
//! size         8   leaves of the tree, u64, as in the object's key
//! root        32   root of that tree
//! mover       16   random, one for each move
//! checksum    32   SHA-256 of all preceding bytes
//! ```
//!
//! Numbers are big-endian. A seal occupies the key of the next batch, so no server can append to the chain any more,
//! whatever it believes about the lease. A seal is never removed. Its bytes depend only on the chain and the mover, so an
//! interrupted move recognises its own seal.

use super::batch_object::{ID_BYTES, WriterId};
use crate::format::{FormatError, quote_bytes};
use crate::merkle::{HASH_BYTES, Hash, TreeSize};

const WHAT: &str = "the seal of a log";
const MAGIC: [u8; 8] = *b"THSEAL1\n";
/// Length of a seal.
pub const SEAL_BYTES: usize = MAGIC.len() + HASH_BYTES + 8 + HASH_BYTES + ID_BYTES + HASH_BYTES;

/// A seal, which ends a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seal {
    /// SHA-256 of the log's origin.
    pub origin: Hash,
    /// The size of the tree at the end of the chain.
    pub size: TreeSize,
    /// The root of that tree.
    pub root: Hash,
    /// The id of the move.
    pub mover: WriterId,
}

impl Seal {
    /// Returns true for an object with a seal's magic, whether or not the rest is well-formed.
    #[must_use]
    pub fn is_one(bytes: &[u8]) -> bool {
        bytes.starts_with(&MAGIC)
    }

    /// Parses an object.
    ///
    /// # Errors
    /// [`FormatError`] if the object differs from the layout in the module's documentation.
    pub fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        let malformed = |expected: String, seen: String| Err(FormatError::malformed(WHAT, expected, seen));
        let Ok(bytes) = <&[u8; SEAL_BYTES]>::try_from(bytes) else {
            return malformed(format!("{SEAL_BYTES} bytes"), format!("{} bytes", bytes.len()));
        };
        if !Self::is_one(bytes) {
            return malformed("the magic \"THSEAL1\\n\"".to_owned(), quote_bytes(&bytes[..MAGIC.len()]));
        }
        let (covered, checksum) = bytes.split_at(SEAL_BYTES - HASH_BYTES);
        if checksum != Hash::digest(covered).as_bytes() {
            let expected = "the SHA-256 of all preceding bytes as its last 32 bytes";
            return malformed(expected.to_owned(), "another".to_owned());
        }
        let mut rest = &covered[MAGIC.len()..];
        let origin = Hash::from_bytes(take(&mut rest));
        let number = u64::from_be_bytes(take(&mut rest));
        let Some(size) = TreeSize::new(number) else {
            return malformed("a tree size below 2^63".to_owned(), number.to_string());
        };
        let root = Hash::from_bytes(take(&mut rest));
        Ok(Self { origin, size, root, mover: WriterId::from_bytes(take(&mut rest)) })
    }

    /// Encodes the seal.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(self.origin.as_bytes());
        bytes.extend_from_slice(&self.size.get().to_be_bytes());
        bytes.extend_from_slice(self.root.as_bytes());
        bytes.extend_from_slice(self.mover.as_bytes());
        let checksum = Hash::digest(&bytes);
        bytes.extend_from_slice(checksum.as_bytes());
        bytes
    }
}

/// Takes the first `N` bytes. The caller has checked the length.
fn take<const N: usize>(rest: &mut &[u8]) -> [u8; N] {
    let (taken, after) = rest.split_first_chunk().expect("the length was checked");
    *rest = after;
    *taken
}
