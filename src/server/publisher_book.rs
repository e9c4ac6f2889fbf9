//! `publishers.toml` while the log runs.

use std::path::Path;
use std::sync::Arc;

use super::log::OpenError;
use super::watched::{Kind, WatchError, Watched};
use crate::release::{MAX_PUBLISHERS_BYTES, Publishers};

static FILE: Kind<Publishers> =
    Kind { what: "a publishers file", limit: MAX_PUBLISHERS_BYTES, parse: Publishers::parse };

/// The publishers now; nobody, where there is no file.
#[derive(Debug, Default)]
pub struct PublisherBook(Option<Watched<Publishers>>);

impl PublisherBook {
    /// Reads the file.
    ///
    /// # Errors
    /// [`OpenError`] where it can't be read, or is malformed.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        match Watched::open(path, &FILE) {
            Ok(file) => Ok(Self(Some(file))),
            Err(WatchError::Io { path, source }) => Err(OpenError::Io { path, source }),
            Err(WatchError::Malformed { path, source }) => Err(OpenError::Publishers { path, source }),
        }
    }

    /// The publishers, at most a second old.
    #[must_use]
    pub fn current(&self) -> Arc<Publishers> {
        self.0.as_ref().map(Watched::current).unwrap_or_default()
    }

    /// Why the file can't be read now, if so.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        self.0.as_ref().and_then(Watched::fault)
    }
}
