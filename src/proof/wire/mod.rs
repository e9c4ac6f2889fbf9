//! Bodies of requests and responses between logs and witnesses: c2sp.org/tlog-witness.
//!
//! ```text
//! POST /add-checkpoint   AddCheckpoint   200: signature lines    409: a size and a newline
//! POST /sign-subtree     SignSubtree     200: signature lines
//! ```

mod add_checkpoint;
mod sign_subtree;

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::format::{FormatError, cap, quote_bytes, utf8};
use crate::merkle::TreeSize;
use crate::note::{MAX_NOTE_BYTES, NoteSignature};

pub use add_checkpoint::{AddCheckpoint, MAX_ADD_CHECKPOINT_BYTES};
pub use sign_subtree::{MAX_SIGN_SUBTREE_BYTES, SignSubtree};

/// Most hashes in the proof of a request: "The client MUST NOT send more than 63 consistency proof
/// lines". Enough for every tree of up to 2^62 leaves.
pub const MAX_REQUEST_HASHES: usize = 63;
/// Media type of the size in a 409 response.
pub const SIZE_MEDIA_TYPE: &str = "text/x.tlog.size";
/// Largest body with signature lines, in bytes: as many as a note can have.
pub const MAX_SIGNATURES_BYTES: usize = MAX_NOTE_BYTES;
/// Largest body with a size, in bytes: 19 digits and a newline.
pub const MAX_SIZE_BYTES: usize = 20;

/// Bytes of a hash line: 44 characters of base64, and the newline.
const HASH_LINE_BYTES: usize = 45;
/// Most bytes of the end that both requests share: the proof lines, the empty line after them, and the note.
const MAX_TAIL_BYTES: usize = MAX_REQUEST_HASHES * HASH_LINE_BYTES + 1 + MAX_NOTE_BYTES;

/// Parses the signature lines of a response, 1 to [`MAX_NOTE_SIGNATURES`](crate::note::MAX_NOTE_SIGNATURES) of them. The caller verifies them.
///
/// # Errors
/// [`FormatError`] with the line number, for anything but signature lines that each end in a newline.
pub fn parse_signatures(bytes: &[u8]) -> Result<Vec<NoteSignature>, FormatError> {
    const WHAT: &str = "a list of cosignatures";
    cap(WHAT, bytes.len(), MAX_SIGNATURES_BYTES)?;
    NoteSignature::parse_all(WHAT, utf8(WHAT, bytes)?, 1)
}

/// Prints the signature lines of a response.
#[must_use]
pub fn print_signatures(signatures: &[NoteSignature]) -> String {
    signatures.iter().map(ToString::to_string).collect()
}

/// Parses the body of a 409 response: the size of the checkpoint that the witness cosigned last.
///
/// # Errors
/// [`FormatError`] for anything but a decimal without leading zeros and a newline.
pub fn parse_size(bytes: &[u8]) -> Result<TreeSize, FormatError> {
    const WHAT: &str = "the size of the latest cosigned checkpoint";
    cap(WHAT, bytes.len(), MAX_SIZE_BYTES)?;
    let size = utf8(WHAT, bytes)?.strip_suffix('\n').and_then(TreeSize::parse);
    let expected = "a decimal below 2^63 without leading zeros, and a newline";
    size.ok_or_else(|| FormatError::malformed(WHAT, expected, quote_bytes(bytes)))
}

/// Prints the body of a 409 response.
#[must_use]
pub fn print_size(size: TreeSize) -> String {
    format!("{size}\n")
}

#[cfg(test)]
mod tests;
