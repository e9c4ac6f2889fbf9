//! The record of a log's profile. It is a file of its own, because people edit settings: a log of releases that
//! accepted anything for a while would have unsigned leaves.

use std::path::Path;
use std::sync::Arc;

use super::open_error::OpenError;
use crate::disk::{RealDisk, read_plain, replace};
use crate::format::{FormatError, file_text, quote};
use crate::http::WatchError;
use crate::http::publishers_file::PUBLISHERS_FILE;
use crate::http::watched_file::WatchedFile;
use crate::merkle::LeafIndex;
use crate::release::{Envelope, Facts, Profile, Publishers};
use crate::store::{self, StoreError, StoreReader};

/// Name of the file with the profile, in the log's directory.
pub const PROFILE_FILE: &str = "profile";
const WHAT: &str = "a log's profile";

impl Profile {
    /// The publishers of this profile; an opaque log has none.
    ///
    /// # Errors
    /// [`OpenError`] if the publishers file can't be read.
    pub(crate) fn publishers(self, path: &Path) -> Result<Option<Arc<WatchedFile<Publishers>>>, OpenError> {
        Ok(match self {
            Self::Release => Some(Arc::new(WatchedFile::open(path, &PUBLISHERS_FILE)?)),
            Self::Opaque => None,
        })
    }

    /// The content of the profile file.
    #[must_use]
    pub fn to_file(self) -> String {
        format!("{}\n", self.as_str())
    }

    /// The recorded profile of the log in `dir`; `None` for a log of an older version, which has no such file.
    ///
    /// # Errors
    /// [`OpenError`] if the file can't be read or holds something else.
    pub fn kept(dir: &Path) -> Result<Option<Self>, OpenError> {
        let path = dir.join(PROFILE_FILE);
        let bytes = match read_plain(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(WatchError::Io { path, source }.into()),
        };
        let parse = |text: &str| {
            Self::parse(text.trim())
                .ok_or_else(|| FormatError::malformed(WHAT, "release or opaque", quote(text)))
        };
        let kept = file_text(WHAT, &bytes).and_then(parse);
        Ok(Some(kept.map_err(|source| WatchError::Malformed { path, source })?))
    }

    /// Rejects settings whose profile differs from the recorded one.
    pub(super) fn check(self, dir: &Path) -> Result<Option<Self>, OpenError> {
        match Self::kept(dir)? {
            Some(kept) if kept != self => {
                let dir = dir.to_owned();
                let why = format!("its file `{PROFILE_FILE}` says so");
                Err(OpenError::Profile { dir, kept, said: self, why })
            }
            kept => Ok(kept),
        }
    }

    /// Records the profile of a log of an older version: the one in its settings, unless its entries contradict
    /// it. Judges an entry by its envelope alone, because older versions admitted statements that this one refuses.
    /// An opaque log may hold statements too, so only one that begins and ends with a statement is in doubt.
    pub(super) fn adopt(self, dir: &Path, reader: &dyn StoreReader) -> Result<(), OpenError> {
        let last = reader.size().get().checked_sub(1);
        let mut are_statements = Vec::new();
        for index in [last.map(|_| 0), last].into_iter().flatten().filter_map(LeafIndex::new) {
            let entry = reader.entry(index).map_err(start)?;
            are_statements.push((index, Envelope::parse_entry(&entry).is_ok()));
        }
        let contradicts = match self {
            Self::Release => are_statements.iter().find(|(_, is_statement)| !is_statement),
            // A log without publishers admits no statements.
            Self::Opaque if !dir.join("publishers.toml").exists() => None,
            Self::Opaque => are_statements
                .first()
                .filter(|_| are_statements.iter().all(|(_, is_statement)| *is_statement)),
        };
        if let Some((index, _)) = contradicts {
            let kept = if self == Self::Release { Self::Opaque } else { Self::Release };
            let why = format!(
                "entry {index} says so; if that is wrong, write the right one into its file `{PROFILE_FILE}`"
            );
            return Err(OpenError::Profile { dir: dir.to_owned(), kept, said: self, why });
        }
        replace(&RealDisk, &dir.join(PROFILE_FILE), self.to_file().as_bytes())
            .map_err(|e| start(e.into()))?;
        tracing::info!(profile = self.as_str(), "recorded the log's profile");
        Ok(())
    }
}

/// Describes the entries of a log with these publishers for the store's indexes; those of an opaque log have no facts.
pub(crate) fn describe(publishers: Option<Arc<WatchedFile<Publishers>>>) -> store::Describe {
    match publishers {
        // Every entry in the journal was admitted once. One that can't be parsed any more is not found by search, but
        // stays in the tree.
        Some(file) => Arc::new(move |entry| Facts::of_entry(entry, &file.current()).unwrap_or_default()),
        None => Arc::new(|_| Facts::default()),
    }
}

fn start(error: StoreError) -> OpenError {
    OpenError::Start(error.into())
}
