//! Manifest files, which list the files of a large release, and the deltas between two of them: docs/rule-streams.md.
//!
//! ```text
//! treehead-manifest@v1
//! files <number of files>
//! <SHA-256, 64 hex digits>  <path>          one line for each file, in byte order of the paths
//! ```
//!
//! From the third line on it is what `sha256sum` prints and `sha256sum -c` reads. Each manifest has one spelling: a parsed
//! file prints as the same bytes. The statement of the release holds the root of the tree over its files, which
//! [`manifest_leaf`](crate::merkle::manifest_leaf) defines.

mod delta;
mod path;

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use super::ManifestRef;
use crate::format::{FormatError, cap, decimal, quote, utf8};
use crate::merkle::{Hash, MAX_MANIFEST_FILES, Manifest, MultiProof, ProofError};

pub use delta::{Change, DELTA_EXTENSION, DELTA_HEADER, DeltaError, ManifestDelta};
pub use path::{MAX_PATH_BYTES, check_apart, check_path};

/// First line of a manifest.
pub const MANIFEST_HEADER: &str = "treehead-manifest@v1";
/// File name extension of a manifest.
pub const MANIFEST_EXTENSION: &str = ".manifest";
/// Largest manifest, in bytes: the most files, with paths of 60 bytes on average.
pub const MAX_MANIFEST_BYTES: usize = 128 * 1024 * 1024;

const WHAT: &str = "a manifest";

/// The files of a release: path and SHA-256 of each, and the tree over them.
#[derive(Clone)]
pub struct FileManifest(Manifest);

impl FileManifest {
    /// Sorts the files and builds their tree.
    ///
    /// # Errors
    /// [`FormatError`] for no files or more than [`MAX_MANIFEST_FILES`], a path that breaks a rule of [`check_path`], and
    /// paths that a file system may take for one.
    pub fn new(files: Vec<(String, Hash)>) -> Result<Self, FormatError> {
        files.iter().try_for_each(|(path, _)| check_path(path))?;
        let manifest = Manifest::new(files)?;
        check_apart(manifest.files().iter().map(|(path, _)| path.as_str()))?;
        let manifest = Self(manifest);
        cap(WHAT, manifest.len_in_bytes(), MAX_MANIFEST_BYTES)?;
        Ok(manifest)
    }

    /// Parses a manifest file.
    ///
    /// # Errors
    /// [`FormatError`], with the line if one is at fault.
    pub fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        let mut lines = lines_after(WHAT, bytes, MANIFEST_HEADER)?;
        let wrong = |at, expected: &str, seen: &str| wrong_line(WHAT, at, expected, seen);
        let (_, line) = lines.next().unwrap_or_default();
        let count = line.strip_prefix("files ").and_then(|text| decimal(text, MAX_MANIFEST_FILES as u64));
        let count = count.ok_or_else(|| wrong(2, "`files` and a number of at most 2^20", line))?;
        let mut files: Vec<(String, Hash)> = Vec::new();
        for (at, line) in lines {
            let file = parse_file(line).map_err(|e| e.at_line(at))?;
            if files.last().is_some_and(|(before, _)| *before >= file.0) {
                return Err(wrong(at, "each path once, in byte order", line));
            }
            files.push(file);
        }
        if files.len() as u64 != count {
            let seen = files.len().to_string();
            return Err(FormatError::malformed(
                WHAT,
                alloc::format!("{count} files, as its second line says"),
                seen,
            ));
        }
        Self::new(files)
    }

    /// Path and SHA-256 of each file, in byte order of the paths.
    #[must_use]
    pub fn files(&self) -> &[(String, Hash)] {
        self.0.files()
    }

    /// The root of its tree and the number of its files, as a release states them.
    #[must_use]
    pub fn reference(&self) -> ManifestRef {
        ManifestRef { root: self.0.root(), files: self.files().len() as u64 }
    }

    /// SHA-256 of the manifest file.
    #[must_use]
    pub fn digest(&self) -> Hash {
        Hash::digest(self.to_string().as_bytes())
    }

    /// The index of a path.
    #[must_use]
    pub fn position(&self, path: &str) -> Option<usize> {
        self.files().binary_search_by(|(known, _)| known.as_str().cmp(path)).ok()
    }

    /// One proof for the files at `indices`.
    ///
    /// # Errors
    /// [`ProofError`] unless `indices` are 1 to [`MAX_MULTI_PROOF`](crate::merkle::MAX_MULTI_PROOF) strictly increasing
    /// positions.
    pub fn prove(&self, indices: &[usize]) -> Result<MultiProof, ProofError> {
        self.0.prove(indices)
    }

    fn len_in_bytes(&self) -> usize {
        let head = MANIFEST_HEADER.len() + "\nfiles 1048576\n".len();
        head + self.files().iter().map(|(path, _)| path.len() + 67).sum::<usize>()
    }
}

/// The lines of a manifest or a delta after its first, which is `header`, with their numbers.
fn lines_after<'a>(
    what: &'static str,
    bytes: &'a [u8],
    header: &str,
) -> Result<impl Iterator<Item = (usize, &'a str)>, FormatError> {
    cap(what, bytes.len(), MAX_MANIFEST_BYTES)?;
    let text = utf8(what, bytes)?;
    let lines = text.strip_suffix('\n');
    let lines = lines.ok_or_else(|| wrong_line(what, 1, "lines that end with a newline", text))?;
    let mut lines = (1..).zip(lines.split('\n'));
    match lines.next() {
        Some((_, first)) if first == header => Ok(lines),
        first => Err(wrong_line(what, 1, header, first.unwrap_or_default().1)),
    }
}

fn wrong_line(what: &'static str, at: usize, expected: &str, seen: &str) -> FormatError {
    FormatError::malformed(what, expected, quote(seen)).at_line(at)
}

/// Parses `<SHA-256>  <path>`, whose path keeps the rules.
pub(crate) fn parse_file(line: &str) -> Result<(String, Hash), FormatError> {
    let parts = line.split_once("  ");
    let (digest, path) = parts.ok_or_else(|| {
        FormatError::malformed(WHAT, "a SHA-256 in hex, two spaces and a path", quote(line))
    })?;
    check_path(path)?;
    Ok((path.into(), Hash::from_hex(digest)?))
}

/// The manifest file.
impl fmt::Display for FileManifest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{MANIFEST_HEADER}\nfiles {}\n", self.files().len())?;
        self.files().iter().try_for_each(|(path, digest)| {
            f.write_str(&digest.to_hex())?;
            f.write_str("  ")?;
            f.write_str(path)?;
            f.write_str("\n")
        })
    }
}

impl fmt::Debug for FileManifest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FileManifest").field(&self.reference()).finish()
    }
}

impl PartialEq for FileManifest {
    fn eq(&self, other: &Self) -> bool {
        self.files() == other.files()
    }
}

impl Eq for FileManifest {}

#[cfg(test)]
mod tests;
