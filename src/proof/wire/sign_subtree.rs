//! `POST /sign-subtree`.
//!
//! ```text
//! subtree <start, decimal> <end, decimal>
//! <hash of the subtree, base64>
//! <hash, base64>                at most 63 lines
//!                               an empty line
//! <reference checkpoint>
//! ```

use alloc::vec::Vec;
use core::fmt;

use super::{MAX_REQUEST_HASHES, MAX_TAIL_BYTES};
use crate::format::FormatError;
use crate::merkle::{Hash, LeafIndex, Subtree, TreeSize};
use crate::note::Note;
use crate::proof::{parse_hash, parse_proof, print_proof, split, wrong};

/// Bytes of the lines that name the subtree: `subtree `, two numbers of 19 digits; a hash.
const SUBTREE_LINES_BYTES: usize = 8 + 19 + 1 + 19 + 1 + 45;
/// Largest body of `/sign-subtree`.
pub const MAX_SIGN_SUBTREE_BYTES: usize = SUBTREE_LINES_BYTES + MAX_TAIL_BYTES;

/// A request, which anyone may send, that a witness cosign a subtree of a checkpoint that it cosigned. Well-formed, but
/// not verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignSubtree {
    /// The subtree to be cosigned.
    pub subtree: Subtree,
    /// Merkle tree hash of the subtree.
    pub hash: Hash,
    /// Subtree consistency proof to the checkpoint, draft-ietf-plants-merkle-tree-certs-03 section 4.4.
    pub proof: Vec<Hash>,
    /// The checkpoint of the tree, with a cosignature by this witness.
    pub checkpoint: Note,
}

impl SignSubtree {
    const WHAT: &str = "a sign-subtree request";

    /// Parses a request body. Does not parse the note's text as a checkpoint: verify its signatures first.
    ///
    /// # Errors
    /// [`FormatError`] with the line number, for anything but the format shown above, and for a range that is not a
    /// subtree of any tree.
    pub fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        let (lines, checkpoint) = split(Self::WHAT, bytes, MAX_SIGN_SUBTREE_BYTES)?;
        let (range, rest) = lines.split_first().expect("a split has a first part");
        let numbers = "subtree and two decimals below 2^63 without leading zeros";
        let (start, end) = (range.1.strip_prefix("subtree "))
            .and_then(|range| range.split_once(' '))
            .and_then(|(start, end)| Some((LeafIndex::parse(start)?, TreeSize::parse(end)?)))
            .ok_or_else(|| wrong(Self::WHAT, numbers, *range))?;
        let multiple = "a start that is a multiple of the smallest power of two that holds the subtree";
        let subtree = Subtree::new(start, end).map_err(|_| wrong(Self::WHAT, multiple, *range))?;
        let (hash, proof) =
            rest.split_first().ok_or_else(|| wrong(Self::WHAT, "the hash of the subtree", (2, "")))?;
        Ok(Self {
            subtree,
            hash: parse_hash(*hash)?,
            proof: parse_proof(Self::WHAT, proof, MAX_REQUEST_HASHES)?,
            checkpoint: Note::parse_text(checkpoint)?,
        })
    }
}

impl fmt::Display for SignSubtree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "subtree {} {}\n{}", self.subtree.start(), self.subtree.end(), self.hash)?;
        print_proof(f, &self.proof)?;
        write!(f, "\n{}", self.checkpoint)
    }
}
