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

/// What a log asks of a witness: to cosign a checkpoint that grew out of the one it cosigned before.
/// Well-formed, and not to be believed yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddCheckpoint {
    /// Size that the witness is thought to have cosigned last; zero where nothing is known.
    pub old: TreeSize,
    /// Consistency proof from `old` to the checkpoint, RFC 6962 section 2.1.2.
    pub proof: Vec<Hash>,
    /// The checkpoint, with the log's signature.
    pub checkpoint: Note,
}

impl AddCheckpoint {
    const WHAT: &str = "an add-checkpoint request";

    /// Reads a request body. Whether the note is a checkpoint is not looked at: that is for after its
    /// signature.
    ///
    /// # Errors
    /// [`FormatError`] with the line, for anything but the lines drawn above.
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
