//! The end of a chain whose log goes on elsewhere, in place of the next batch: `batch/<size>`.
//!
//! ```text
//! magic        8   "THSEAL1\n"
//! origin      32   SHA-256 of the log's origin
//! size         8   leaves of the tree, u64, as in the object's key
//! root        32   root of that tree
//! mover       16   random, one for each move
//! checksum    32   SHA-256 of everything before
//! ```
//!
//! Numbers are big-endian. A batch is created under a key that nothing has, and so is a seal: after it, no server can
//! append to this chain, whatever it believes about itself. A seal is never taken away. Its bytes are a function of the
//! chain and the mover, so a move that was cut short recognises its own.

use super::batch_object::{ID_BYTES, WriterId};
use crate::format::{FormatError, quote_bytes};
use crate::merkle::{HASH_BYTES, Hash, TreeSize};

const WHAT: &str = "the seal of a log";
const MAGIC: [u8; 8] = *b"THSEAL1\n";
/// Length of a seal.
pub const SEAL_BYTES: usize = MAGIC.len() + HASH_BYTES + 8 + HASH_BYTES + ID_BYTES + HASH_BYTES;

/// The end of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seal {
    /// SHA-256 of the log's origin.
    pub origin: Hash,
    /// The size of the tree at the end.
    pub size: TreeSize,
    /// Its root.
    pub root: Hash,
    /// The move.
    pub mover: WriterId,
}

impl Seal {
    /// Returns true for an object that is meant as a seal, well-formed or not.
    #[must_use]
    pub fn is_one(bytes: &[u8]) -> bool {
        bytes.starts_with(&MAGIC)
    }

    /// Parses an object.
    ///
    /// # Errors
    /// [`FormatError`] for anything but the object drawn above.
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

    /// The object.
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

/// Takes the first `N` bytes of a field that is there, for the length was checked.
fn take<const N: usize>(rest: &mut &[u8]) -> [u8; N] {
    let (taken, after) = rest.split_first_chunk().expect("as long as drawn");
    *rest = after;
    *taken
}
