//! `.tlog-bundle` files: one checkpoint, and any number of entries that are proven under it. docs/bundles.md says what each
//! part means and must be.
//!
//! ```text
//! treehead-bundle@v1
//! entry <decimal> <base64>      one line each, by leaf index: at least one
//! <hash, base64>                one line each: the joint proof of the entries, left to right
//!                               an empty line
//! <checkpoint, verbatim>
//! ```

use alloc::string::ToString as _;
use alloc::vec::Vec;
use core::fmt;

use super::{MAX_PROOF_FILE_BYTES, ProofFile, parse_proof, print_proof, split_within, wrong};
use crate::checkpoint::Checkpoint;
use crate::format::{FormatError, base64_decode, base64_encode, cap, cap_count};
use crate::merkle::{Hash, LeafIndex, ProofError, TreeSize, join_proofs, verify_joint};
use crate::note::Note;
use crate::release::MAX_ENTRY_BYTES;

/// The first line.
const HEADER: &str = "treehead-bundle@v1";
/// Largest bundle, in bytes.
pub const MAX_BUNDLE_BYTES: usize = 8 * 1024 * 1024;
/// Most entries in a bundle.
pub const MAX_BUNDLE_ENTRIES: usize = 4096;
/// Most hashes in a bundle: 16 for each entry.
const MAX_BUNDLE_HASHES: usize = 16 * MAX_BUNDLE_ENTRIES;
/// Largest file that a proof may be in, in bytes: a bundle, or a proof file.
pub const MAX_PROOF_BYTES: usize =
    if MAX_BUNDLE_BYTES > MAX_PROOF_FILE_BYTES { MAX_BUNDLE_BYTES } else { MAX_PROOF_FILE_BYTES };

/// A well-formed bundle that is not verified yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProofBundle {
    /// The entries and their leaf indices, which increase strictly. At least one; none is empty.
    pub entries: Vec<(LeafIndex, Vec<u8>)>,
    /// The joint proof of all entries: [`verify_joint`].
    pub proof: Vec<Hash>,
    /// The checkpoint of the tree.
    pub checkpoint: Note,
}

/// Proof files that can't be joined.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// Not all of them are under one checkpoint.
    #[error("the proofs are under different tree heads: expected one")]
    OtherHead,
    /// A proof file carries no entry.
    #[error("the proof of leaf {0} carries no entry")]
    NoEntry(LeafIndex),
    /// The checkpoint is malformed, or the bundle would be too large.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// The proofs do not fit the tree.
    #[error(transparent)]
    Proof(#[from] ProofError),
}

impl ProofBundle {
    const WHAT: &str = "a bundle";

    /// Tells whether these bytes claim to be a bundle: proof files have another first line.
    #[must_use]
    pub fn is_one(bytes: &[u8]) -> bool {
        bytes.starts_with(HEADER.as_bytes())
    }

    /// Parses a bundle.
    ///
    /// # Errors
    /// [`FormatError`] with the line number, for anything but the format shown above.
    pub fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        const MOST_LINES: usize = 1 + MAX_BUNDLE_ENTRIES + MAX_BUNDLE_HASHES;
        let (lines, checkpoint) = split_within(Self::WHAT, bytes, MAX_BUNDLE_BYTES, MOST_LINES + 1)?;
        let wrong = |expected: &str, line| wrong(Self::WHAT, expected, line);
        let mut lines = lines.into_iter().peekable();
        let header = lines.next().unwrap_or_default();
        if header.1 != HEADER {
            return Err(wrong(HEADER, header));
        }
        let mut entries: Vec<(LeafIndex, Vec<u8>)> = Vec::new();
        while let Some(line) = lines.next_if(|(_, line)| line.starts_with("entry ")) {
            cap_count(Self::WHAT, "entries", entries.len() + 1, MAX_BUNDLE_ENTRIES)?;
            let parts = line.1["entry ".len()..].split_once(' ');
            let index = parts.and_then(|(index, _)| LeafIndex::parse(index));
            let entry = parts.and_then(|(_, base64)| base64_decode(base64)).filter(|entry| !entry.is_empty());
            let (Some(index), Some(entry)) = (index, entry) else {
                return Err(wrong("entry, a decimal without leading zeros, and padded base64", line));
            };
            cap("an entry of a bundle", entry.len(), MAX_ENTRY_BYTES)?;
            if entries.last().is_some_and(|(last, _)| *last >= index) {
                return Err(wrong("leaf indices that increase", line));
            }
            entries.push((index, entry));
        }
        if entries.is_empty() {
            return Err(wrong("an entry, a decimal and padded base64", lines.next().unwrap_or((2, ""))));
        }
        let proof = parse_proof(Self::WHAT, &lines.collect::<Vec<_>>(), MAX_BUNDLE_HASHES)?;
        Ok(Self { entries, proof, checkpoint: Note::parse_text(checkpoint)? })
    }

    /// Checks that all entries are in the tree of `size` with `root`.
    ///
    /// # Errors
    /// [`ProofError`].
    pub fn verify(&self, size: TreeSize, root: &Hash) -> Result<(), ProofError> {
        let leaves: Vec<(LeafIndex, Hash)> =
            self.entries.iter().map(|(index, entry)| (*index, Hash::leaf(entry))).collect();
        verify_joint(&leaves, (size, root), &self.proof)
    }

    /// Joins proof files under one checkpoint. An entry that several of them prove is there once.
    ///
    /// # Errors
    /// [`JoinError`]. Whether the proofs are right is not checked.
    pub fn join(files: &[ProofFile]) -> Result<Self, JoinError> {
        let mut files: Vec<&ProofFile> = files.iter().collect();
        files.sort_unstable_by_key(|file| file.index);
        files.dedup_by(|a, b| a.index == b.index && a.extra == b.extra && a.proof == b.proof);
        let checkpoint = files.first().map(|file| file.checkpoint.clone()).ok_or(JoinError::OtherHead)?;
        if files.iter().any(|file| file.checkpoint != checkpoint) {
            return Err(JoinError::OtherHead);
        }
        let size = Checkpoint::parse(checkpoint.text())?.size;
        let proofs: Vec<(LeafIndex, &[Hash])> =
            files.iter().map(|file| (file.index, file.proof.as_slice())).collect();
        let proof = join_proofs(size, &proofs)?;
        let entry = |file: &&ProofFile| match &file.extra {
            Some(entry) if !entry.is_empty() => Ok((file.index, entry.clone())),
            _ => Err(JoinError::NoEntry(file.index)),
        };
        let entries = files.iter().map(entry).collect::<Result<Vec<_>, _>>()?;
        let bundle = Self { entries, proof, checkpoint };
        cap_count(Self::WHAT, "entries", bundle.entries.len(), MAX_BUNDLE_ENTRIES)?;
        cap(Self::WHAT, bundle.to_string().len(), MAX_BUNDLE_BYTES)?;
        Ok(bundle)
    }
}

impl fmt::Display for ProofBundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEADER}")?;
        for (index, entry) in &self.entries {
            writeln!(f, "entry {index} {}", base64_encode(entry))?;
        }
        print_proof(f, &self.proof)?;
        write!(f, "\n{}", self.checkpoint)
    }
}

#[cfg(test)]
mod tests;
