//! The files of an endpoint's owner: how they are read, and what may be wrong with them.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::TrustUpdateError;
use super::memory_store::FileError;
use crate::disk::open_plain;
use crate::format::{FormatError, cap};

/// An endpoint's directory that could not be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// A file could not be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// A file of the endpoint's owner is malformed.
    #[error("{}: {source}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The error.
        source: FormatError,
    },
    /// The trust file that the state directory remembers is damaged. It is no reason to trust the given one.
    #[error("the remembered trust file is damaged: {}: {source}", path.display())]
    Remembered {
        /// The file.
        path: PathBuf,
        /// The error.
        source: FormatError,
    },
    /// The given trust file and the remembered one have the same number and differ.
    #[error(transparent)]
    Fork(TrustUpdateError),
}

/// Reads and parses a file of at most `limit` bytes.
pub(super) fn parse<T>(
    path: &Path,
    what: &'static str,
    limit: usize,
    parse: impl FnOnce(&[u8]) -> Result<T, FormatError>,
) -> Result<T, OpenError> {
    let mut bytes = Vec::new();
    let read = open_plain(path).and_then(|file| file.take(limit as u64 + 1).read_to_end(&mut bytes));
    read.map_err(FileError::new("read", path))?;
    let parsed = cap(what, bytes.len(), limit).and_then(|()| parse(&bytes));
    parsed.map_err(|source| OpenError::Malformed { path: path.to_owned(), source })
}
