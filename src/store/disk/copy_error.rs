//! Why a log was not copied, restored or repaired.

use std::path::PathBuf;

use super::StoreError;
use crate::disk::DiskError;
use crate::merkle::TreeSize;

/// Why a backup, a restore or a repair was refused. Nothing in use was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CopyError {
    /// The files of a log can't be read, or do not check.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The directory for the backup holds something else.
    #[error("{} is no backup of this log: {detail}; choose another directory, or an empty one", path.display())]
    NotABackup {
        /// The directory.
        path: PathBuf,
        /// Expected and seen, in words.
        detail: String,
    },
    /// The target is newer than the source.
    #[error(
        "{} is newer: expected at most {here}, the tree size of {from}, saw {there}; {} of its entries would be lost",
        path.display(), there.get() - here.get()
    )]
    Newer {
        /// The target.
        path: PathBuf,
        /// The source.
        from: String,
        /// Entries in the target.
        there: TreeSize,
        /// Entries in the source.
        here: TreeSize,
    },
    /// Two histories of one log.
    #[error(
        "two histories of this log: {a} and {b} disagree on the first {size} entries; keep both, find out which of them the world has seen, and don't serve either before that"
    )]
    Fork {
        /// One of them.
        a: String,
        /// The other.
        b: String,
        /// Entries that both have to agree on.
        size: TreeSize,
    },
    /// The source does not have what the log lost, or has something else.
    #[error("{from} does not repair this log: {detail}; nothing was changed, try another source")]
    Source {
        /// The source.
        from: String,
        /// Expected and seen, in words.
        detail: String,
    },
}

impl From<DiskError> for CopyError {
    fn from(error: DiskError) -> Self {
        Self::Store(error.into())
    }
}
