//! The one error of the store layer.

use std::io;
use std::path::PathBuf;

use crate::merkle::TreeSize;

/// Why the store could not do it, and what to do next.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The operating system refused: no space, no permission, an I/O error.
    #[error("could not {doing} {}: {source}{}", path.display(), advice(source))]
    Io {
        /// As in `write`.
        doing: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Bytes of the journal that were written before do not check.
    #[error(
        "{what} is damaged: {detail}; stop the server and run `treehead repair DIR --from SOURCE`, where SOURCE is a backup, an export, or the address of a mirror"
    )]
    Damaged {
        /// File and place.
        what: String,
        /// What was expected and what was seen.
        detail: String,
    },
    /// Something derived from the journal does not check.
    #[error(
        "the tree in sled is damaged: {detail}; stop the server and run `treehead fsck DIR --rebuild`, which makes it anew from the journal"
    )]
    TreeDamaged {
        /// What was expected and what was seen.
        detail: String,
    },
    /// The journal ends before the last signed checkpoint does.
    #[error(
        "the journal lost entries: expected at least {signed}, which the checkpoint file says were signed and published, saw {seen}; run `treehead repair DIR --from SOURCE`, where SOURCE is a newer backup, an export, or the address of a mirror; until then this log must not sign"
    )]
    JournalShort {
        /// Size of the last signed checkpoint.
        signed: TreeSize,
        /// Entries in the journal.
        seen: TreeSize,
    },
    /// The journal holds other entries than the ones that were signed.
    #[error(
        "the journal is not what was signed: the checkpoint file says root {expected} at tree size {size}, the journal's entries make {seen}; run `treehead repair DIR --from SOURCE`, where SOURCE is a backup, an export, or the address of a mirror; until then this log must not sign"
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
        "{} is damaged, or not this log's: {detail}; run `treehead repair DIR --from SOURCE`, which fetches the last one from a backup, an export or a mirror; never delete it: a log that does not know what it signed may sign a fork", path.display()
    )]
    CheckpointDamaged {
        /// The file.
        path: PathBuf,
        /// What was expected and what was seen.
        detail: String,
    },
    /// There is no checkpoint file, and a log writes one before it takes its first entry.
    #[error(
        "{} is missing: expected the last tree head that this log signed; run `treehead repair DIR --from SOURCE`, which fetches it from a backup, an export or a mirror; until then this log must not sign, it could sign a fork", path.display()
    )]
    CheckpointMissing {
        /// The file.
        path: PathBuf,
    },
    /// Another process has the directory.
    #[error("{} is in use by another treehead process: stop it first, two of them would overwrite each other", path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// The checkpoint is not the one that was to be replaced.
    #[error("the checkpoint was replaced by somebody else: expected {expected}, saw {seen}")]
    CheckpointMoved {
        /// What the caller knew.
        expected: String,
        /// What is there.
        seen: String,
    },
    /// Something failed, and what is durable is not read again yet.
    #[error("the store is being read again after an error; try again in a moment")]
    Reloading,
    /// A fault that a test injected.
    #[error("injected fault at {0}")]
    Injected(&'static str),
}

/// The end of an error message when the disk is full.
const FREE_SOME_SPACE: &str = " (free some space)";

/// Whether the disk is full, which may pass.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// The message of an error whose operation is retried until it works.
pub(crate) fn tried_again(error: impl std::fmt::Display) -> String {
    let mut message = error.to_string();
    if message.ends_with(FREE_SOME_SPACE) {
        message += "; it goes on by itself then";
    }
    message
}

/// The message of an error that ends a command.
pub(crate) fn to_be_run_again(error: impl std::fmt::Display) -> String {
    let message = error.to_string();
    match message.strip_suffix(FREE_SOME_SPACE) {
        Some(message) => format!("{message} (free some space, and run it again)"),
        None => message,
    }
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        _ if is_full(error) => FREE_SOME_SPACE,
        io::ErrorKind::PermissionDenied => " (check owner and permissions)",
        io::ErrorKind::ReadOnlyFilesystem => " (the file system is mounted read-only)",
        _ => "",
    }
}

impl StoreError {
    /// Whether the journal or the checkpoint is not what it should be, and a repair may help.
    #[must_use]
    pub const fn is_damage(&self) -> bool {
        matches!(
            self,
            Self::Damaged { .. }
                | Self::JournalShort { .. }
                | Self::JournalForked { .. }
                | Self::CheckpointDamaged { .. }
                | Self::CheckpointMissing { .. }
        )
    }

    /// An [`io::Error`] with what was done to which path.
    pub(crate) fn io(doing: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { doing, path, source }
    }
}

impl From<sled::Error> for StoreError {
    fn from(error: sled::Error) -> Self {
        use io::ErrorKind::{PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
        match error {
            // The system's doing, not the tree's: it is whole, and stays.
            sled::Error::Io(source)
                if matches!(
                    source.kind(),
                    StorageFull | QuotaExceeded | PermissionDenied | ReadOnlyFilesystem
                ) =>
            {
                Self::Io { doing: "open or write", path: PathBuf::from("sled"), source }
            }
            _ => Self::TreeDamaged { detail: error.to_string() },
        }
    }
}
