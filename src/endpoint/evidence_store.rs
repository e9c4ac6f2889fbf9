//! Where an endpoint keeps what convicts a log.

use std::fs;
use std::path::{Path, PathBuf};

use super::memory_store::{FileError, replace};
use crate::checkpoint::Checkpoint;
use crate::disk::evidence_dir::EvidenceDir;
use crate::note::Note;
use crate::proof::fork::{ProvenFork, file_name_prefix};

/// Keeps evidence against logs. [`EvidenceDir`] keeps it on disk.
pub trait EvidenceStore: Send + Sync {
    /// Keeps the proof of a fork, durably, and returns its file. A fork that is there already stays as it is.
    ///
    /// # Errors
    /// [`FileError`]; the caller can then only tell of the fork.
    fn keep(&self, fork: &ProvenFork) -> Result<PathBuf, FileError>;

    /// Keeps a head that the log showed and shows no longer, durably, and returns its file.
    ///
    /// # Errors
    /// [`FileError`].
    fn keep_head(&self, head: &Checkpoint, note: &Note) -> Result<PathBuf, FileError>;
}

impl EvidenceStore for EvidenceDir {
    fn keep(&self, fork: &ProvenFork) -> Result<PathBuf, FileError> {
        Self::keep(self, fork).map(|kept| kept.path).map_err(FileError::new("write to", self.path()))
    }

    fn keep_head(&self, head: &Checkpoint, note: &Note) -> Result<PathBuf, FileError> {
        let dir: &Path = self.path();
        fs::create_dir_all(dir).map_err(FileError::new("create", dir))?;
        let path = dir.join(format!("{}{}.checkpoint", file_name_prefix(&head.origin), head.size));
        replace(&path, note.to_string().as_bytes())?;
        Ok(path)
    }
}
