//! `POST /add-checkpoint`.
//!
//! ```text
//! old <tree size, decimal>
//! <hash, base64>                at most 63 lines
//!                               an empty line
//! <checkpoint>
//! ```

use alloc::vec::Vec;
use core::fmt;

use super::{MAX_TAIL_BYTES, parse_proof, split};
use crate::format::{FormatError, quote};
use crate::merkle::{Hash, TreeSize};
use crate::note::Note;

/// Bytes of the line that names the old size: `old `, 19 digits, newline.
const OLD_LINE_BYTES: usize = 24;
/// Largest body of `/add-checkpoint`.
pub const MAX_ADD_CHECKPOINT_BYTES: usize = OLD_LINE_BYTES + MAX_TAIL_BYTES;

/// A log's request that a witness cosign a checkpoint, which must be consistent with the one that the witness cosigned
/// last. Well-formed, but not verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddCheckpoint {
    /// Size that the log thinks the witness cosigned last; zero if it does not know.
    pub old: TreeSize,
    /// Consistency proof from `old` to the checkpoint, RFC 6962 section 2.1.2.
    pub proof: Vec<Hash>,
    /// The checkpoint, with the log's signature.
    pub checkpoint: Note,
}

impl AddCheckpoint {
    const WHAT: &str = "an add-checkpoint request";

    /// Parses a request body. Does not parse the note's text as a checkpoint: verify its signature first.
    ///
    /// # Errors
    /// [`FormatError`] with the line number, for anything but the format shown above.
    pub fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        let (lines, checkpoint) = split(Self::WHAT, bytes, MAX_ADD_CHECKPOINT_BYTES)?;
        let (old, proof) = lines.split_first().expect("a split has a first part");
        let (at, line) = *old;
        let old = line.strip_prefix("old ").and_then(TreeSize::parse).ok_or_else(|| {
            let expected = "old and a decimal tree size below 2^63 without leading zeros";
            FormatError::malformed(Self::WHAT, expected, quote(line)).at_line(at)
        })?;
        Ok(Self { old, proof: parse_proof(Self::WHAT, proof)?, checkpoint })
    }
}

impl fmt::Display for AddCheckpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "old {}", self.old)?;
        self.proof.iter().try_for_each(|hash| writeln!(f, "{hash}"))?;
        write!(f, "\n{}", self.checkpoint)
    }
}
