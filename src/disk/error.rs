//! The one error of the disk kit.

use std::fmt::Display;
use std::io;
use std::path::PathBuf;

/// Why a file could not be read, written or trusted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DiskError {
    /// The operating system refused: no space, no permission, an I/O error.
    #[error("could not {doing} {}: {source}{}", path.display(), advice(source))]
    Io {
        /// The step that failed, as a verb: `write`.
        doing: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// Another process holds the lock.
    #[error("{} is in use by another treehead process: stop it first, two of them would overwrite each other", path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// A file is not what was written.
    #[error("{} is damaged at byte {at}: {detail}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Offset of what does not check.
        at: u64,
        /// Expected and seen, in words.
        detail: String,
    },
    /// Another process changed a file that this one appends to.
    #[error("another process changed {}: {detail}", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
        /// Expected and seen, in words.
        detail: String,
    },
}

/// The end of an error message when the disk is full.
const FREE_SOME_SPACE: &str = " (free some space)";

impl DiskError {
    /// Adds what was done to which path to an [`io::Error`].
    pub fn io(doing: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { doing, path, source }
    }

    /// Whether a file or directory is missing.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

/// Whether the disk, or the user's quota, is full: that may pass.
#[must_use]
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// The message of an error whose operation the program retries until it works.
#[must_use]
pub fn retried(error: impl Display) -> String {
    let mut message = error.to_string();
    if message.ends_with(FREE_SOME_SPACE) {
        message += "; it goes on by itself then";
    }
    message
}

/// The message of an error that ends a command.
#[must_use]
pub fn run_again(error: impl Display) -> String {
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
