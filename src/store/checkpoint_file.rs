//! A small file that is replaced at once and survives a power cut.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;

use super::StoreError;

/// Reads the file; `None` where there is none.
pub fn read(path: &Path) -> Result<Option<Vec<u8>>, StoreError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(StoreError::io("read", path)(e)),
    }
}

/// Replaces the file's content.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let new = path.with_extension("new");
    let mut file = File::create(&new).map_err(StoreError::io("create", &new))?;
    file.write_all(bytes).map_err(StoreError::io("write", &new))?;
    // A crash before this line leaves a partial `.new` file, which the next replacement overwrites.
    file.sync_all().map_err(StoreError::io("fsync", &new))?;
    // A crash here leaves the old file: the new one was not shown to anybody yet.
    fs::rename(&new, path).map_err(StoreError::io("rename", path))?;
    // A crash here leaves either; both are whole, and the new one is only shown after the next line.
    sync_dir(path.parent().unwrap_or_else(|| Path::new(".")))
}

/// Makes created, renamed and removed names in `dir` durable.
pub fn sync_dir(dir: &Path) -> Result<(), StoreError> {
    File::open(dir).and_then(|d| d.sync_all()).map_err(StoreError::io("fsync", dir))
}
