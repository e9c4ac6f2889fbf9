//! One process per directory.

use std::fs::{File, TryLockError};
use std::path::Path;

use super::open_own;
use crate::store::StoreError;

/// Holds a directory until it is dropped or the process ends, however it ends.
#[derive(Debug)]
pub struct DirLock {
    _file: File,
}

impl DirLock {
    /// Locks `path`, a file that is created if need be and never removed.
    ///
    /// # Errors
    /// [`StoreError::Locked`] where another process holds it, [`StoreError::Io`] where it is a link.
    pub fn acquire(path: &Path) -> Result<Self, StoreError> {
        let file = open_own(File::options().create(true).truncate(false).write(true), path)
            .map_err(StoreError::io("open", path))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => Err(StoreError::Locked { path: path.to_owned() }),
            Err(TryLockError::Error(e)) => Err(StoreError::io("lock", path)(e)),
        }
    }
}
