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

use super::{MAX_REQUEST_HASHES, MAX_TAIL_BYTES};
use crate::format::FormatError;
use crate::merkle::{Hash, TreeSize};
use crate::note::Note;
use crate::proof::{parse_proof, print_proof, split, wrong};

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
        let (line, proof) = lines.split_first().expect("a split has a first part");
        let expected = "old and a decimal tree size below 2^63 without leading zeros";
        let old = line.1.strip_prefix("old ").and_then(TreeSize::parse);
        Ok(Self {
            old: old.ok_or_else(|| wrong(Self::WHAT, expected, *line))?,
            proof: parse_proof(Self::WHAT, proof, MAX_REQUEST_HASHES)?,
            checkpoint: Note::parse_text(checkpoint)?,
        })
    }
}

impl fmt::Display for AddCheckpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "old {}", self.old)?;
        print_proof(f, &self.proof)?;
        write!(f, "\n{}", self.checkpoint)
    }
}
