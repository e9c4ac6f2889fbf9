//! One process per directory.

use std::fs::{File, TryLockError};
use std::path::Path;

use super::{DiskError, open_own};

/// Holds a directory until it is dropped or the process ends.
#[derive(Debug)]
pub struct DirLock {
    _file: File,
}

impl DirLock {
    /// Locks the file `path`, which is created if need be and never removed.
    ///
    /// # Errors
    /// [`DiskError::Locked`] if another process holds it, [`DiskError::Io`] if it is a link.
    pub fn acquire(path: &Path) -> Result<Self, DiskError> {
        let file = open_own(File::options().create(true).truncate(false).write(true), path)
            .map_err(DiskError::io("open", path))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => Err(DiskError::Locked { path: path.to_owned() }),
            Err(TryLockError::Error(e)) => Err(DiskError::io("lock", path)(e)),
        }
    }
}
