//! Each step by which the store changes files that have to last, in one place: what stands between
//! it and the disk in a test can record the steps, cut them off, or make any of them fail.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;

use super::open_own;
use crate::store::StoreError;

/// The steps. Their default is what runs; tests wrap them.
///
/// Reading is not among them: what is read is checked, wherever it comes from. Nor are sled's own
/// writes, which nothing durable rests on.
#[expect(clippy::missing_errors_doc, reason = "each fails as the system says")]
pub trait DiskIo: Send + Sync {
    /// Opens a file for writing, empty, and makes it if need be; never through a link.
    fn create(&self, path: &Path) -> io::Result<File> {
        open_own(File::options().create(true).truncate(true).write(true), path)
    }

    /// Writes all of `bytes` at `offset`.
    fn write_at(&self, file: &File, _path: &Path, bytes: &[u8], offset: u64) -> io::Result<()> {
        file.write_all_at(bytes, offset)
    }

    /// Makes a file's content and length durable.
    fn sync_data(&self, file: &File, _path: &Path) -> io::Result<()> {
        file.sync_data()
    }

    /// Makes a file durable with all that is known of it.
    fn sync_all(&self, file: &File, _path: &Path) -> io::Result<()> {
        file.sync_all()
    }

    /// Cuts a file off, or extends it by zeros.
    fn set_len(&self, file: &File, _path: &Path, length: u64) -> io::Result<()> {
        file.set_len(length)
    }

    /// Gives a file another name, in place of whatever has it.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    /// Makes created, renamed and removed names in a directory durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir).and_then(|dir| dir.sync_all())
    }

    /// Around each write of rows to sled, which may fail in ways of its own.
    fn derive(&self, write: &mut dyn FnMut() -> Result<(), StoreError>) -> Result<(), StoreError> {
        write()
    }
}

/// Checks that a file which this process appends to is still the one it opened, under the same name, and that
/// its length `fits` the bytes written: never append to a file that somebody else changed.
///
/// # Errors
/// [`StoreError::Damaged`], or [`StoreError::Io`] if the check itself fails.
pub(crate) fn check_written(
    file: &File,
    path: &Path,
    written: u64,
    fits: impl Fn(u64) -> bool,
) -> Result<(), StoreError> {
    let ours = file.metadata().map_err(StoreError::io("read", path))?;
    let there = match fs::metadata(path) {
        Ok(there) => (there.dev(), there.ino()) == (ours.dev(), ours.ino()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => false,
        Err(e) => return Err(StoreError::io("read", path)(e)),
    };
    let seen = if !there {
        "no file or another one there".to_owned()
    } else if fits(ours.len()) {
        return Ok(());
    } else {
        format!("{} bytes", ours.len())
    };
    let detail = format!("expected the {written} bytes that this process has written, saw {seen}");
    Err(StoreError::Damaged { what: path.display().to_string(), detail })
}

/// The disk itself.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealDisk;

impl DiskIo for RealDisk {}
