//! The checkpoint: a small file that is replaced at once and survives a power cut.

use std::fs;
use std::path::Path;

use super::StoreError;
use crate::checkpoint::{self, Checkpoint};
use crate::disk::{DiskIo, read_plain};
use crate::note::NoteKey;

/// A tree head that the log signed, with the note that says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedHead {
    /// What it says.
    pub head: Checkpoint,
    /// The note, byte for byte.
    pub note: Vec<u8>,
}

/// Reads the checkpoint in `path`, and checks that `key` signed it. `None` where there is no file.
///
/// # Errors
/// [`StoreError::CheckpointDamaged`], [`StoreError::Io`].
pub fn read_signed(path: &Path, key: &NoteKey) -> Result<Option<SignedHead>, StoreError> {
    read(path)?.map(|note| open(path, note, key)).transpose()
}

/// Checks that `key` signed the checkpoint that was read from `path`.
pub(super) fn open(path: &Path, note: Vec<u8>, key: &NoteKey) -> Result<SignedHead, StoreError> {
    match checkpoint::open(&note, std::slice::from_ref(key)) {
        Ok(signed) => Ok(SignedHead { head: signed.get().clone(), note }),
        Err(e) => Err(StoreError::CheckpointDamaged { path: path.to_owned(), detail: e.to_string() }),
    }
}

/// Reads the file; `None` where there is none.
pub fn read(path: &Path) -> Result<Option<Vec<u8>>, StoreError> {
    match read_plain(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(StoreError::io("read", path)(e)),
    }
}

/// Where the new content is written: `checkpoint.new`, `log.key.new`.
fn new_of(path: &Path) -> std::path::PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    name.into()
}

/// Replaces the file's content.
pub fn replace(io: &dyn DiskIo, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let new = new_of(path);
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

/// Replaces any small file so; a secret one can be read by its owner alone from the beginning.
pub fn replace_with(io: &dyn DiskIo, path: &Path, bytes: &[u8], secret: bool) -> Result<(), StoreError> {
    if secret {
        use std::os::unix::fs::OpenOptionsExt as _;
        let new = new_of(path);
        // One that an earlier run left may be anybody's to read.
        let _ = fs::remove_file(&new);
        fs::OpenOptions::new()
            .create_new(true)
            .write(true)
            .mode(0o600)
            .open(&new)
            .map_err(StoreError::io("create", &new))?;
    }
    replace(io, path, bytes)
}
