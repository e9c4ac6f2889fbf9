//! The publishers of a running log, from `publishers.toml`.

use std::path::Path;
use std::sync::Arc;

use super::log::OpenError;
use crate::http::publishers_file::PUBLISHERS_FILE;
use crate::http::watched_file::{WatchError, WatchedFile};
use crate::release::Publishers;

/// The publishers in force; none for a log without the file.
#[derive(Debug, Default)]
pub struct PublisherBook(Option<WatchedFile<Publishers>>);

impl PublisherBook {
    /// Reads the file.
    ///
    /// # Errors
    /// [`OpenError`] if the file can't be read or is malformed.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        match WatchedFile::open(path, &PUBLISHERS_FILE) {
            Ok(file) => Ok(Self(Some(file))),
            Err(WatchError::Io { path, source }) => Err(OpenError::Io { path, source }),
            Err(WatchError::Malformed { path, source }) => Err(OpenError::Publishers { path, source }),
        }
    }

    /// The publishers, at most a second old.
    #[must_use]
    pub fn current(&self) -> Arc<Publishers> {
        self.0.as_ref().map(WatchedFile::current).unwrap_or_default()
    }

    /// The fault of the file, if any: it can't be read, or nobody may publish any more.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        self.0.as_ref().and_then(WatchedFile::fault)
    }

    /// The publishers and keys that the file no longer lists, if others are left.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        self.0.as_ref().and_then(WatchedFile::warning)
    }

    /// Reads the file at once.
    pub fn reload(&self) {
        if let Some(file) = &self.0 {
            file.reload();
        }
    }
}
