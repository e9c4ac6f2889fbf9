//! `.tlog-files`: some files of a release with a manifest, and the proof that they are in it: docs/rule-streams.md.
//!
//! ```text
//! treehead-files@v1
//! files <number of files in the manifest>
//! <index> <SHA-256, 64 hex digits>  <path>      1 to 16,000 lines, in the order of the manifest
//!                                               an empty line
//! <hashes, 32 bytes each>                       for each 1,000 files: the nodes of the tree that can't be
//!                                               computed from them, lowest level first, left to right
//! ```
//!
//! The number of hashes follows from the indices, so each proof has one spelling: a parsed file prints as the same bytes.
//! The hashes are binary, because they are most of the file. It lies beside the `.tlog-proof` file of the release, which
//! holds the root that the files are checked against.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::format::{FormatError, cap, cap_count, decimal, quote, utf8};
use crate::merkle::{
    HASH_BYTES, Hash, MAX_MANIFEST_FILES, MAX_MULTI_PROOF, MultiProof, ProofError, multi_proof_length,
};
use crate::release::{FileManifest, check_apart, parse_file};

/// First line of a file.
pub const FILES_HEADER: &str = "treehead-files@v1";
/// File name extension.
pub const FILES_EXTENSION: &str = ".tlog-files";
/// Most files that one file proves. For more, the manifest itself is shorter.
pub const MAX_PROVEN_FILES: usize = 16 * MAX_MULTI_PROOF;
/// Largest file, in bytes: 16,000 lines with the longest paths, and all hashes that their proofs can have.
pub const MAX_FILES_PROOF_BYTES: usize = 32 * 1024 * 1024;

const WHAT: &str = "a proof of files";

/// Files that are in a manifest if the proofs hold: untrusted until verified against the manifest's root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilesProof {
    files: Vec<(String, Hash)>,
    /// One for each [`MAX_MULTI_PROOF`] files.
    proofs: Vec<MultiProof>,
}

/// Files that can't be proven.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProveFilesError {
    /// The manifest does not list a path.
    #[error("the manifest has no such file: expected one of its {files} paths, saw {}", quote(path))]
    NotListed {
        /// The path.
        path: String,
        /// The number of files in the manifest.
        files: usize,
    },
    /// Too many files, or none.
    #[error("a proof covers 1 to {MAX_PROVEN_FILES} files, saw {seen}: for more, ship the manifest itself")]
    Count {
        /// The number of different paths asked for.
        seen: usize,
    },
    /// A multi-proof could not be made.
    #[error(transparent)]
    Proof(#[from] ProofError),
}

impl FilesProof {
    /// Proves that these paths are in a manifest, each once.
    ///
    /// # Errors
    /// [`ProveFilesError`].
    pub fn new<'a>(
        manifest: &FileManifest,
        paths: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, ProveFilesError> {
        let position = |path: &str| {
            let files = manifest.files().len();
            manifest.position(path).ok_or_else(|| ProveFilesError::NotListed { path: path.into(), files })
        };
        let mut indices = paths.into_iter().map(position).collect::<Result<Vec<_>, _>>()?;
        indices.sort_unstable();
        indices.dedup();
        if indices.is_empty() || indices.len() > MAX_PROVEN_FILES {
            return Err(ProveFilesError::Count { seen: indices.len() });
        }
        let files = indices.iter().map(|at| manifest.files()[*at].clone()).collect();
        let proofs = indices.chunks(MAX_MULTI_PROOF).map(|indices| manifest.prove(indices));
        Ok(Self { files, proofs: proofs.collect::<Result<_, _>>()? })
    }

    /// Parses a file.
    ///
    /// # Errors
    /// [`FormatError`], with the line if one is at fault.
    pub fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        cap(WHAT, bytes.len(), MAX_FILES_PROOF_BYTES)?;
        let wrong = |at: usize, expected: &str, seen: &str| {
            FormatError::malformed(WHAT, expected, quote(seen)).at_line(at)
        };
        let end = bytes.windows(2).position(|pair| pair == b"\n\n");
        let end =
            end.ok_or_else(|| FormatError::malformed(WHAT, "an empty line before the hashes", "none"))?;
        let (text, mut rest) = (utf8(WHAT, &bytes[..end])?, &bytes[end + 2..]);
        let mut lines = (1..).zip(text.split('\n'));
        let header = lines.next().unwrap_or_default().1;
        if header != FILES_HEADER {
            return Err(wrong(1, FILES_HEADER, header));
        }
        let line = lines.next().unwrap_or_default().1;
        let total = line.strip_prefix("files ").and_then(|text| decimal(text, MAX_MANIFEST_FILES as u64));
        let total = total.and_then(|total| usize::try_from(total).ok());
        let total = total.ok_or_else(|| wrong(2, "`files` and a number of at most 2^20", line))?;
        let (mut indices, mut files): (Vec<usize>, Vec<(String, Hash)>) = (Vec::new(), Vec::new());
        for (at, line) in lines {
            let (index, file) = line.split_once(' ').unwrap_or_default();
            let index =
                decimal(index, MAX_MANIFEST_FILES as u64).and_then(|index| usize::try_from(index).ok());
            let index = index.filter(|index| *index < total);
            let index = index.ok_or_else(|| wrong(at, "an index below the number of files", line))?;
            let file = parse_file(file).map_err(|e| e.at_line(at))?;
            if indices.last().is_some_and(|before| *before >= index)
                || files.last().is_some_and(|(before, _)| *before >= file.0)
            {
                return Err(wrong(at, "each file once, in the order of the manifest", line));
            }
            cap_count(WHAT, "files", files.len() + 1, MAX_PROVEN_FILES)?;
            indices.push(index);
            files.push(file);
        }
        if files.is_empty() {
            return Err(FormatError::malformed(WHAT, "at least one file", "none"));
        }
        check_apart(files.iter().map(|(path, _)| path.as_str()))?;
        let lengths = indices.chunks(MAX_MULTI_PROOF).map(|indices| multi_proof_length(indices, total));
        let lengths: Vec<usize> = lengths.collect();
        let expected = HASH_BYTES * lengths.iter().sum::<usize>();
        if rest.len() != expected {
            let expected = format!("{expected} bytes of hashes after the empty line");
            return Err(FormatError::malformed(WHAT, expected, rest.len().to_string()));
        }
        let mut take = |length: usize| {
            let (hashes, after) = rest.split_at(length * HASH_BYTES);
            rest = after;
            let (hashes, _) = hashes.as_chunks::<HASH_BYTES>();
            hashes.iter().map(|bytes| Hash::from_bytes(*bytes)).collect()
        };
        let proof = |(indices, length): (&[usize], usize)| MultiProof {
            total,
            indices: indices.to_vec(),
            hashes: take(length),
        };
        let proofs = indices.chunks(MAX_MULTI_PROOF).zip(lengths).map(proof).collect();
        Ok(Self { files, proofs })
    }

    /// The bytes of the file.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut text = format!("{FILES_HEADER}\nfiles {}\n", self.proofs[0].total);
        let indices = self.proofs.iter().flat_map(|proof| &proof.indices);
        for (index, (path, digest)) in indices.zip(&self.files) {
            text += &format!("{index} {}  {path}\n", digest.to_hex());
        }
        text.push('\n');
        let mut bytes = text.into_bytes();
        self.proofs.iter().flat_map(|proof| &proof.hashes).for_each(|hash| bytes.extend(hash.as_bytes()));
        bytes
    }

    /// Path and SHA-256 of each file, in the order of the manifest.
    #[must_use]
    pub fn files(&self) -> &[(String, Hash)] {
        &self.files
    }

    /// The number of files in the manifest.
    #[must_use]
    pub fn total(&self) -> usize {
        self.proofs[0].total
    }

    /// The proofs, each with its files.
    pub fn parts(&self) -> impl Iterator<Item = (&[(String, Hash)], &MultiProof)> {
        self.files.chunks(MAX_MULTI_PROOF).zip(&self.proofs)
    }
}

#[cfg(test)]
mod tests;
