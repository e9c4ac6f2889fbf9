//! A small file that is replaced at once and survives a power cut.

use std::fs;
use std::path::Path;

use super::{DiskIo, StoreError};

/// Reads the file; `None` where there is none.
pub fn read(path: &Path) -> Result<Option<Vec<u8>>, StoreError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(StoreError::io("read", path)(e)),
    }
}

/// Replaces the file's content.
pub fn replace(io: &dyn DiskIo, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let new = path.with_extension("new");
    let file = io.create(&new).map_err(StoreError::io("create", &new))?;
    io.write_at(&file, &new, bytes, 0).map_err(StoreError::io("write", &new))?;
    // A crash before this line leaves a partial `.new` file, which the next replacement overwrites.
    io.sync_all(&file, &new).map_err(StoreError::io("fsync", &new))?;
    // A crash here leaves the old file: the new one was not shown to anybody yet.
    io.rename(&new, path).map_err(StoreError::io("rename", path))?;
    // A crash here leaves either; both are whole, and the new one is only shown after the next line.
    let dir = path.parent().unwrap_or(Path::new("."));
    io.sync_dir(dir).map_err(StoreError::io("fsync", dir))
}
