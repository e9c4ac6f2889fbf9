//! The one error of the store layer.

use std::path::PathBuf;

use crate::disk::{DiskError, SledError};
use crate::merkle::TreeSize;
use crate::threads::ThreadError;

/// Why a store failed. The messages say what to do next.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// A file can't be read or written, or another process holds the lock.
    #[error(transparent)]
    Disk(DiskError),
    /// The system has no more threads.
    #[error(transparent)]
    Threads(#[from] ThreadError),
    /// Bytes of the journal that were written before do not check.
    #[error(
        "{what} is damaged: {detail}; stop the server, and repair the log from a backup, an export or a mirror"
    )]
    Damaged {
        /// File and place.
        what: String,
        /// Expected and seen, in words.
        detail: String,
    },
    /// The tree or the index in sled does not check.
    #[error("the tree in sled is damaged: {detail}; stop the server and rebuild the tree from the log")]
    TreeDamaged {
        /// Expected and seen, in words.
        detail: String,
    },
    /// The journal ends before the last signed checkpoint does.
    #[error(
        "the journal lost entries: expected at least {signed}, which the checkpoint file says were signed and published, saw {seen}; repair the log from a newer backup, an export or a mirror; until then this log must not sign"
    )]
    JournalShort {
        /// Size of the last signed checkpoint.
        signed: TreeSize,
        /// Entries in the journal.
        seen: TreeSize,
    },
    /// The journal holds other entries than the ones that were signed.
    #[error(
        "the journal is not what was signed: the checkpoint file says root {expected} at tree size {size}, the journal's entries make {seen}; repair the log from a backup, an export or a mirror; until then this log must not sign"
    )]
    JournalForked {
        /// Size of the last signed checkpoint.
        size: TreeSize,
        /// Its root, base64.
        expected: String,
        /// The journal's root at that size, base64.
        seen: String,
    },
    /// The checkpoint file is not what this log signed.
    #[error(
        "{} is damaged, or not this log's: {detail}; repair the log, which fetches the last one from a backup, an export or a mirror; never delete it: a log that does not know what it signed may sign a fork", path.display()
    )]
    CheckpointDamaged {
        /// The file.
        path: PathBuf,
        /// Expected and seen, in words.
        detail: String,
    },
    /// There is no checkpoint file, and a log writes one before it takes its first entry.
    #[error(
        "{} is missing: expected the last tree head that this log signed; repair the log, which fetches it from a backup, an export or a mirror; until then this log must not sign, it could sign a fork", path.display()
    )]
    CheckpointMissing {
        /// The file.
        path: PathBuf,
    },
    /// The current checkpoint is not the one to be replaced.
    #[error("the checkpoint was replaced by somebody else: expected {expected}, saw {seen}")]
    CheckpointMoved {
        /// The caller's value.
        expected: String,
        /// The stored value.
        seen: String,
    },
    /// Another process appended first, or replaced the head. Nothing of this process's attempt is kept; the caller
    /// [follows](super::Store::follow), and decides anew what to append.
    #[error("another process appended first: {detail}")]
    Overtaken {
        /// Expected and seen, in words.
        detail: String,
    },
    /// The log's bucket failed, or has not what it should have.
    #[cfg(feature = "bucket")]
    #[error(transparent)]
    Chain(#[from] super::bucket::ChainError),
    /// The store failed and has not been reloaded yet.
    #[error("the store is being read again after an error; try again in a moment")]
    Reloading,
    /// A fault that a test injected.
    #[cfg(test)]
    #[error("injected fault at {0}")]
    Injected(&'static str),
}

impl StoreError {
    /// Whether the journal, the bucket or the checkpoint is damaged, so that a repair may help.
    #[must_use]
    pub const fn is_damage(&self) -> bool {
        match self {
            Self::Damaged { .. }
            | Self::JournalShort { .. }
            | Self::JournalForked { .. }
            | Self::CheckpointDamaged { .. }
            | Self::CheckpointMissing { .. } => true,
            #[cfg(feature = "bucket")]
            Self::Chain(error) => error.is_damage(),
            _ => false,
        }
    }
}

impl From<DiskError> for StoreError {
    fn from(error: DiskError) -> Self {
        match error {
            DiskError::Changed { path, detail } => Self::Damaged { what: path.display().to_string(), detail },
            DiskError::Damaged { path, at, detail } => {
                Self::Damaged { what: format!("{} at byte {at}", path.display()), detail }
            }
            error => Self::Disk(error),
        }
    }
}

impl From<SledError> for StoreError {
    fn from(error: SledError) -> Self {
        match error {
            SledError::Disk(error) => error.into(),
            SledError::Threads(error) => error.into(),
            SledError::Damaged(detail) => Self::TreeDamaged { detail },
        }
    }
}

impl From<sled::Error> for StoreError {
    fn from(error: sled::Error) -> Self {
        SledError::from(error).into()
    }
}
