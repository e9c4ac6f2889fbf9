//! Every step by which the program changes files that have to last. A test that stands in for the disk can
//! record the steps, stop them, or make any of them fail.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;

use super::{DiskError, open_own};

/// The steps. Their defaults are what runs; tests wrap them.
///
/// Reads are not among them: whatever is read is checked. Nor are sled's own writes: nothing durable rests on
/// them.
#[expect(clippy::missing_errors_doc, reason = "each fails as the system says")]
pub trait DiskIo: Send + Sync {
    /// Creates an empty file, in place of one of that name; never through a link.
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

    /// Makes a file's content and all of its metadata durable.
    fn sync_all(&self, file: &File, _path: &Path) -> io::Result<()> {
        file.sync_all()
    }

    /// Truncates a file, or extends it by zeros.
    fn set_len(&self, file: &File, _path: &Path, length: u64) -> io::Result<()> {
        file.set_len(length)
    }

    /// Renames a file, in place of one that has the new name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    /// Gives a file a second name; never in place of a file that has that name.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::hard_link(from, to)
    }

    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    /// Makes the names in a directory durable: created, renamed and removed ones.
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir).and_then(|dir| dir.sync_all())
    }
}

/// Checks that a file which this process appends to is still the one it opened, under the same name, and that
/// its length `fits` the bytes written: never append to a file that another process changed.
///
/// # Errors
/// [`DiskError::Changed`], or [`DiskError::Io`] if the check itself fails.
pub fn check_written(
    file: &File,
    path: &Path,
    written: u64,
    fits: impl Fn(u64) -> bool,
) -> Result<(), DiskError> {
    let ours = file.metadata().map_err(DiskError::io("read", path))?;
    let there = match fs::metadata(path) {
        Ok(there) => (there.dev(), there.ino()) == (ours.dev(), ours.ino()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => false,
        Err(e) => return Err(DiskError::io("read", path)(e)),
    };
    let seen = if !there {
        "no file or another one there".to_owned()
    } else if fits(ours.len()) {
        return Ok(());
    } else {
        format!("{} bytes", ours.len())
    };
    let detail = format!("expected the {written} bytes that this process has written, saw {seen}");
    Err(DiskError::Changed { path: path.to_owned(), detail })
}

/// The real disk.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealDisk;

impl DiskIo for RealDisk {}
