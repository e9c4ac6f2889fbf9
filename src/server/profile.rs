//! What a log admits, for its whole life. A file of its own records it, because people edit settings: a log of
//! releases that accepted anything for a while would have unsigned leaves.

use std::path::Path;
use std::sync::Arc;

use super::PublisherBook;
use super::log::OpenError;
use crate::disk::{RealDisk, read_plain, replace};
use crate::format::{FormatError, file_text, quote};
use crate::merkle::LeafIndex;
use crate::release::{Envelope, Facts};
use crate::store::{self, StoreError, StoreReader};

/// What a log admits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Profile {
    /// Signed release statements by registered publishers.
    #[default]
    Release,
    /// Any bytes; nothing is checked.
    Opaque,
}

impl Profile {
    /// The name in configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Release => "release",
            Self::Opaque => "opaque",
        }
    }

    /// The profile of that name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Release, Self::Opaque].into_iter().find(|profile| profile.as_str() == text)
    }

    /// The publishers of this profile; an opaque log has none.
    ///
    /// # Errors
    /// [`OpenError`] where the publishers file can't be read.
    pub fn publishers(self, path: &Path) -> Result<PublisherBook, OpenError> {
        match self {
            Self::Release => PublisherBook::open(path),
            Self::Opaque => Ok(PublisherBook::default()),
        }
    }

    /// What the store's indexes hold of this profile's entries.
    #[must_use]
    pub fn describe(self, publishers: Arc<PublisherBook>) -> store::Describe {
        match self {
            // What is in the journal was admitted once; what can't be read any more is not found by
            // search, but stays in the tree.
            Self::Release => {
                Arc::new(move |entry| Facts::of_entry(entry, &publishers.current()).unwrap_or_default())
            }
            Self::Opaque => Arc::new(|_| Facts::default()),
        }
    }

    /// The file's content.
    #[must_use]
    pub fn to_file(self) -> String {
        format!("{}\n", self.as_str())
    }

    /// The recorded profile of the log in `dir`; `None` for a log of an older version, which has no such file.
    ///
    /// # Errors
    /// [`OpenError`] where the file can't be read, or says something else.
    pub fn kept(dir: &Path) -> Result<Option<Self>, OpenError> {
        let path = dir.join(FILE);
        let bytes = match read_plain(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(OpenError::Io { path, source }),
        };
        let parse = |text: &str| {
            Self::parse(text.trim())
                .ok_or_else(|| FormatError::malformed(WHAT, "release or opaque", quote(text)))
        };
        let kept = file_text(WHAT, &bytes).and_then(parse);
        kept.map(Some).map_err(|source| OpenError::ProfileFile { path, source })
    }

    /// Refuses settings whose profile differs from the log's.
    pub(super) fn check(self, dir: &Path) -> Result<Option<Self>, OpenError> {
        match Self::kept(dir)? {
            Some(kept) if kept != self => {
                let dir = dir.to_owned();
                let why = format!("its file `{FILE}` says so");
                Err(OpenError::Profile { dir, kept, said: self, why })
            }
            kept => Ok(kept),
        }
    }

    /// Records the profile of a log of an older version: the one in its settings, unless its entries contradict
    /// it. Judges an entry by its envelope alone, because an older version admitted statements that are refused
    /// now. An opaque log may hold statements, too, so only a log that begins and ends with one is none.
    pub(super) fn adopt(self, dir: &Path, reader: &dyn StoreReader) -> Result<(), OpenError> {
        let last = reader.size().get().checked_sub(1);
        let mut are_statements = Vec::new();
        for index in [last.map(|_| 0), last].into_iter().flatten().filter_map(LeafIndex::new) {
            let entry = reader.entry(index).map_err(start)?;
            are_statements.push((index, Envelope::parse_entry(&entry).is_ok()));
        }
        let contradicts = match self {
            Self::Release => are_statements.iter().find(|(_, is_statement)| !is_statement),
            // It has no publishers.
            Self::Opaque if !dir.join("publishers.toml").exists() => None,
            Self::Opaque => are_statements
                .first()
                .filter(|_| are_statements.iter().all(|(_, is_statement)| *is_statement)),
        };
        if let Some((index, _)) = contradicts {
            let kept = if self == Self::Release { Self::Opaque } else { Self::Release };
            let why = format!(
                "entry {index} says so; if that is wrong, write the right one into its file `{FILE}`"
            );
            return Err(OpenError::Profile { dir: dir.to_owned(), kept, said: self, why });
        }
        replace(&RealDisk, &dir.join(FILE), self.to_file().as_bytes()).map_err(|e| start(e.into()))?;
        tracing::info!(profile = self.as_str(), "recorded the log's profile");
        Ok(())
    }
}

/// The file's name.
pub const FILE: &str = "profile";
const WHAT: &str = "a log's profile";

fn start(error: StoreError) -> OpenError {
    OpenError::Start(error.into())
}
