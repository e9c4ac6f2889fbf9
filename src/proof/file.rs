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

use crate::format::{FormatError, base64_decode, base64_encode, cap, cap_count, quote, utf8};
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
        cap(Self::WHAT, bytes.len(), MAX_PROOF_FILE_BYTES)?;
        let text = utf8(Self::WHAT, bytes)?;
        let wrong = |line, expected: &str, seen: &str| {
            FormatError::malformed(Self::WHAT, expected, quote(seen)).at_line(line)
        };
        // The first empty line ends the proof; the checkpoint contains another one.
        let (head, checkpoint) = text.split_once("\n\n").ok_or_else(|| {
            FormatError::malformed(Self::WHAT, "an empty line before the checkpoint", "none")
        })?;
        let mut lines = head.split('\n').enumerate().map(|(at, line)| (at + 1, line)).peekable();
        let (_, header) = lines.next().unwrap_or_default();
        if header != HEADER {
            return Err(wrong(1, HEADER, header));
        }
        let extra = match lines.next_if(|(_, line)| line.starts_with("extra ")) {
            Some((at, line)) => {
                let data = base64_decode(&line["extra ".len()..]);
                Some(data.ok_or_else(|| wrong(at, "extra and padded base64", line))?)
            }
            None => None,
        };
        let (at, line) = lines.next().unwrap_or((2, ""));
        let index = line
            .strip_prefix("index ")
            .and_then(LeafIndex::parse)
            .ok_or_else(|| wrong(at, "index and a decimal without leading zeros", line))?;
        let hashes: Vec<(usize, &str)> = lines.collect();
        cap_count(Self::WHAT, "hashes", hashes.len(), MAX_PROOF_HASHES)?;
        let parse = |(at, line): (usize, &str)| Hash::from_base64(line).map_err(|e| e.at_line(at));
        let proof = hashes.into_iter().map(parse).collect::<Result<_, _>>()?;
        Ok(Self { extra, index, proof, checkpoint: Note::parse(checkpoint.as_bytes())? })
    }
}

impl fmt::Display for ProofFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEADER}")?;
        if let Some(extra) = &self.extra {
            writeln!(f, "extra {}", base64_encode(extra))?;
        }
        writeln!(f, "index {}", self.index)?;
        self.proof.iter().try_for_each(|hash| writeln!(f, "{}", hash.to_base64()))?;
        write!(f, "\n{}", self.checkpoint)
    }
}

#[cfg(test)]
mod tests;
