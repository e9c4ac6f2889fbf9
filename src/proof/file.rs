//! `.tlog-proof` files, which an endpoint checks offline: c2sp.org/tlog-proof.
//!
//! ```text
//! c2sp.org/tlog-proof@v1
//! extra <base64>                optional; a treehead log puts the entry here
//! index <decimal>
//! <hash, base64>                one line each, leaf's sibling first
//!                               an empty line
//! <checkpoint, verbatim>
//! ```

use alloc::vec::Vec;
use core::fmt;

use super::{parse_proof, print_proof, split, wrong};
use crate::format::{FormatError, base64_decode, base64_encode};
use crate::merkle::{Hash, LeafIndex, MAX_PROOF_HASHES};
use crate::note::{MAX_NOTE_BYTES, Note};
use crate::release::MAX_ENTRY_BYTES;

pub(crate) const HEADER: &str = "c2sp.org/tlog-proof@v1";
/// Largest proof file, in bytes: an entry in base64, 64 hashes, and a note fit.
pub const MAX_PROOF_FILE_BYTES: usize = MAX_ENTRY_BYTES.div_ceil(3) * 4 + 8 * 1024 + MAX_NOTE_BYTES;

/// A well-formed proof file that is not verified yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProofFile {
    /// Opaque data; a treehead log puts the entry here. Not authenticated by itself.
    pub extra: Option<Vec<u8>>,
    /// The entry's leaf index.
    pub index: LeafIndex,
    /// The inclusion proof, leaf's sibling first.
    pub proof: Vec<Hash>,
    /// The checkpoint of the tree.
    pub checkpoint: Note,
}

impl ProofFile {
    const WHAT: &str = "a proof file";

    /// Parses a proof file.
    ///
    /// # Errors
    /// [`FormatError`] with the line number, for anything but the format shown above.
    pub fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        let (lines, checkpoint) = split(Self::WHAT, bytes, MAX_PROOF_FILE_BYTES)?;
        let wrong = |expected: &str, line| wrong(Self::WHAT, expected, line);
        let mut lines = lines.into_iter().peekable();
        let header = lines.next().unwrap_or_default();
        if header.1 != HEADER {
            return Err(wrong(HEADER, header));
        }
        let extra = lines.next_if(|(_, line)| line.starts_with("extra ")).map(|line| {
            base64_decode(&line.1["extra ".len()..]).ok_or_else(|| wrong("extra and padded base64", line))
        });
        let extra = extra.transpose()?;
        let line = lines.next().unwrap_or((2, ""));
        let index = line.1.strip_prefix("index ").and_then(LeafIndex::parse);
        let index = index.ok_or_else(|| wrong("index and a decimal without leading zeros", line))?;
        let proof = parse_proof(Self::WHAT, &lines.collect::<Vec<_>>(), MAX_PROOF_HASHES)?;
        Ok(Self { extra, index, proof, checkpoint: Note::parse_text(checkpoint)? })
    }
}

impl fmt::Display for ProofFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEADER}")?;
        if let Some(extra) = &self.extra {
            writeln!(f, "extra {}", base64_encode(extra))?;
        }
        writeln!(f, "index {}", self.index)?;
        print_proof(f, &self.proof)?;
        write!(f, "\n{}", self.checkpoint)
    }
}

#[cfg(test)]
mod tests;
