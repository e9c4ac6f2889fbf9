//! Small files that are replaced at once and survive a power cut.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::{DiskError, DiskIo, check_plain, read_plain};

/// Reads a file; `None` if there is none.
///
/// # Errors
/// [`DiskError::Io`].
pub fn read_if_exists(path: &Path) -> Result<Option<Vec<u8>>, DiskError> {
    match read_plain(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(DiskError::io("read", path)(e)),
    }
}

/// Creates a file, in place of one of that name, writes its content and syncs it. Its name is not durable before
/// [`sync_parent`].
///
/// # Errors
/// [`DiskError::Io`]; the file may be there, whole or in part.
pub fn write_new(io: &dyn DiskIo, path: &Path, bytes: &[u8]) -> Result<File, DiskError> {
    let file = io.create(path).map_err(DiskError::io("create", path))?;
    io.write_at(&file, path, bytes, 0).map_err(DiskError::io("write", path))?;
    io.sync_all(&file, path).map_err(DiskError::io("fsync", path))?;
    Ok(file)
}

/// Replaces a file's content: writes it beside, syncs it, and renames it. A crash leaves the old content or
/// the new one, whole. When this returns, the new content survives a power cut.
///
/// # Errors
/// [`DiskError::Io`]; either content may be there.
pub fn replace(io: &dyn DiskIo, path: &Path, bytes: &[u8]) -> Result<(), DiskError> {
    let new = new_of(path);
    // A crash in here leaves a partial `.new` file, which the next replacement overwrites.
    write_new(io, &new, bytes)?;
    // A crash here leaves the old file: nobody has seen the new one yet.
    io.rename(&new, path).map_err(DiskError::io("rename", path))?;
    // A crash here leaves either file; both are whole, and the new one is only shown after the next line.
    sync_parent(io, path)
}

/// Like [`replace`], for a secret: from the beginning only the owner can read it.
///
/// # Errors
/// As [`replace`].
pub fn replace_secret(io: &dyn DiskIo, path: &Path, bytes: &[u8]) -> Result<(), DiskError> {
    let new = new_of(path);
    // An earlier run may have left one that others can read.
    let _ = fs::remove_file(&new);
    File::options()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(&new)
        .map_err(DiskError::io("create", &new))?;
    replace(io, path, bytes)
}

/// Like [`replace`], for a file whose mode its owner may have set: the new file gets it before it has any content.
/// Only a regular file is replaced: a link, a pipe or a device stays.
///
/// # Errors
/// As [`replace`].
pub fn replace_keeping_mode(io: &dyn DiskIo, path: &Path, bytes: &[u8]) -> Result<(), DiskError> {
    match fs::symlink_metadata(path) {
        Ok(there) => {
            check_plain(there.file_type()).map_err(DiskError::io("write", path))?;
            let new = new_of(path);
            io.create(&new)
                .and_then(|file| file.set_permissions(there.permissions()))
                .map_err(DiskError::io("create", &new))?;
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(DiskError::io("read", path)(e)),
    }
    replace(io, path, bytes)
}

/// Makes the names in a file's directory durable.
///
/// # Errors
/// [`DiskError::Io`].
pub fn sync_parent(io: &dyn DiskIo, path: &Path) -> Result<(), DiskError> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    io.sync_dir(dir).map_err(DiskError::io("fsync", dir))
}

/// The names in a directory, in no order; empty if there is no directory.
///
/// # Errors
/// [`DiskError::Io`].
pub fn list_dir(dir: &Path) -> Result<Vec<OsString>, DiskError> {
    let names = fs::read_dir(dir).and_then(|items| items.map(|item| Ok(item?.file_name())).collect());
    match names {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        names => names.map_err(DiskError::io("list", dir)),
    }
}

/// Removes a directory with everything in it, if it is there.
///
/// # Errors
/// [`DiskError::Io`].
pub fn remove_dir(dir: &Path) -> Result<(), DiskError> {
    match fs::remove_dir_all(dir) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(DiskError::io("remove", dir)(e)),
        _ => Ok(()),
    }
}

/// The path for the new content: `checkpoint.new`, `log.key.new`.
fn new_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    name.into()
}
