//! `publishers.toml` while a program runs: a log's, or that of a monitor.

use std::path::Path;
use std::sync::Arc;

use super::log::OpenError;
use crate::http::watched::{Kind, Loss, Succession, WatchError, Watched};
use crate::release::{LostKey, MAX_PUBLISHERS_BYTES, Publishers};

/// How the file is read. A key that is no longer in it counts as revoked until the next start: an accident with
/// the file frees no name and no sequence number, and is reported.
pub(crate) static PUBLISHERS: Kind<Publishers> = Kind {
    what: "a publishers file",
    limit: MAX_PUBLISHERS_BYTES,
    parse: Publishers::parse,
    succeed: |base, new| {
        let all = !new.has_usable_key();
        let (current, lost) = new.after(base);
        let current = Arc::new(current);
        let loss = (!lost.is_empty()).then(|| Loss { words: in_words(&lost, all), all });
        Succession { base: current.clone(), current, lost: loss }
    },
};

fn in_words(lost: &[LostKey], all: bool) -> String {
    let keys: Vec<String> = lost.iter().map(ToString::to_string).collect();
    let nobody = if all { "; nobody may publish now" } else { "" };
    format!(
        "it no longer lists: {}{nobody}. What is gone counts as revoked until the next start; put it back, and set `not_after` or `revoked` instead of removing a key (`treehead publisher expire`, `revoke`)",
        keys.join(", ")
    )
}

/// The publishers now; nobody, where there is no file.
#[derive(Debug, Default)]
pub struct PublisherBook(Option<Watched<Publishers>>);

impl PublisherBook {
    /// Reads the file.
    ///
    /// # Errors
    /// [`OpenError`] where it can't be read, or is malformed.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        match Watched::open(path, &PUBLISHERS) {
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

    /// The current fault of the file, if any: it can't be read, or nobody may publish any more.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        self.0.as_ref().and_then(Watched::fault)
    }

    /// The publishers and keys that the file no longer lists, if others are left.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        self.0.as_ref().and_then(Watched::warning)
    }

    /// Reads the file now.
    pub fn reload(&self) {
        if let Some(file) = &self.0 {
            file.reload();
        }
    }
}
