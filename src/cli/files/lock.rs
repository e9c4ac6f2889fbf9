//! Locks on small files that several commands change.

use std::path::Path;

use crate::cli::exit::Failure;
use crate::cli::output::say;
use crate::disk::{DirLock, DiskError, LockWait};

/// Waits for a lock that other processes may hold; dropping it unlocks it.
pub fn lock(path: &Path) -> Result<DirLock, Failure> {
    let on_wait = |path: &Path| say(&format!("waiting for {}, which another treehead holds", path.display()));
    let wait = LockWait::default();
    DirLock::wait(path, wait, on_wait).map_err(|error| match error {
        DiskError::Locked { path } => Failure::lock_held(&path, wait.whole),
        DiskError::Io { path, source, .. } => Failure::file_access("lock", &path, &source),
        error => error.into(),
    })
}
