//! The place that an export is written to: a directory, or (`store::bucket::ExportBucket`) a bucket.

use std::fs;
use std::path::{Path, PathBuf};

use super::ExportError;
use crate::disk::{DiskError, RealDisk, list_dir, read_if_exists, replace};
use crate::merkle::Tile;

/// A place for an export: files, or objects, by their names in c2sp.org/tlog-tiles.
pub trait ExportPlace {
    /// Refuses a place that is not new, empty or an earlier export.
    ///
    /// # Errors
    /// [`ExportError::NotAnExport`], and whatever the place says.
    fn check(&self) -> Result<(), ExportError>;

    /// Reads the exported checkpoint.
    ///
    /// # Errors
    /// Whatever the place says.
    fn checkpoint(&self) -> Result<Option<Vec<u8>>, ExportError>;

    /// True if tiles below the exported checkpoint are compared as well. Otherwise they are taken to be there.
    fn compares_all(&self) -> bool;

    /// Writes the tiles that are not there, durably. Tiles never change: one that is there has to be the same. Returns the
    /// number of those that were not there.
    ///
    /// # Errors
    /// [`ExportError::Differs`], and whatever the place says; some tiles may be written.
    fn write(&self, tiles: &[(Tile, Vec<u8>)]) -> Result<u64, ExportError>;

    /// Replaces the checkpoint `old` by `new`. Returns false if the place finds another one than `old`.
    ///
    /// # Errors
    /// Whatever the place says; `new` may be there or not.
    fn replace_checkpoint(&self, old: Option<&[u8]>, new: &[u8]) -> Result<bool, ExportError>;

    /// Reads a file beside the tree, at most its first MiB.
    ///
    /// # Errors
    /// Whatever the place says.
    fn read_file(&self, name: &str) -> Result<Option<Vec<u8>>, ExportError>;

    /// Writes a file beside the tree, whatever is there.
    ///
    /// # Errors
    /// Whatever the place says.
    fn write_file(&self, name: &str, media_type: &str, bytes: &[u8]) -> Result<(), ExportError>;

    /// A file, for messages.
    fn name_of(&self, file: &str) -> String;
}

/// A directory with an export. One process writes to it at a time.
#[derive(Debug)]
pub struct ExportDirectory(PathBuf);

impl ExportDirectory {
    /// This directory; it is made if need be.
    #[must_use]
    pub fn new(dir: &Path) -> Self {
        Self(dir.to_owned())
    }

    fn replace(&self, name: &str, bytes: &[u8]) -> Result<(), ExportError> {
        let path = self.0.join(name);
        let dir = path.parent().unwrap_or(&self.0);
        fs::create_dir_all(dir).map_err(DiskError::io("create", dir))?;
        Ok(replace(&RealDisk, &path, bytes)?)
    }

    /// Returns true if the tile was not there.
    fn write_tile(&self, tile: Tile, bytes: &[u8]) -> Result<bool, ExportError> {
        let path = self.0.join(tile.to_string());
        let Some(there) = read_if_exists(&path)? else {
            self.replace(&tile.to_string(), bytes)?;
            return Ok(true);
        };
        if there != bytes {
            return Err(ExportError::Differs { file: path.display().to_string() });
        }
        if tile.is_full() {
            // Clients with an older head had it since the previous export.
            remove_partial(&path);
        }
        Ok(false)
    }
}

/// Files of other directories of this program, which must not be published and which an export would damage.
const OTHERS: [(&str, &str); 7] = [
    ("backup", "a backup of a log"),
    ("treehead.toml", "the directory of a log"),
    ("journal", "the directory of a log"),
    ("log.key", "the directory of a log"),
    ("treehead-witness.toml", "the directory of a witness"),
    ("monitor.toml", "the directory of a monitor"),
    ("state.json", "what an endpoint remembers"),
];

impl ExportPlace for ExportDirectory {
    fn check(&self) -> Result<(), ExportError> {
        let out = &self.0;
        let refused = |what| {
            Err(ExportError::NotAnExport { place: out.display().to_string(), what, kind: "directory" })
        };
        if let Some((_, what)) = OTHERS.iter().find(|(name, _)| out.join(name).exists()) {
            return refused(what);
        }
        // A first export that was cut short has tiles, and no checkpoint yet.
        if !list_dir(out)?.is_empty() && !out.join("checkpoint").exists() && !out.join("tile").is_dir() {
            return refused("a directory with other files in it");
        }
        Ok(())
    }

    fn checkpoint(&self) -> Result<Option<Vec<u8>>, ExportError> {
        Ok(read_if_exists(&self.0.join("checkpoint"))?)
    }

    fn compares_all(&self) -> bool {
        true
    }

    fn write(&self, tiles: &[(Tile, Vec<u8>)]) -> Result<u64, ExportError> {
        tiles
            .iter()
            .try_fold(0, |written, (tile, bytes)| Ok(written + u64::from(self.write_tile(*tile, bytes)?)))
    }

    fn replace_checkpoint(&self, _old: Option<&[u8]>, new: &[u8]) -> Result<bool, ExportError> {
        self.replace("checkpoint", new)?;
        Ok(true)
    }

    fn read_file(&self, name: &str) -> Result<Option<Vec<u8>>, ExportError> {
        Ok(read_if_exists(&self.0.join(name))?)
    }

    fn write_file(&self, name: &str, _media_type: &str, bytes: &[u8]) -> Result<(), ExportError> {
        self.replace(name, bytes)
    }

    fn name_of(&self, file: &str) -> String {
        self.0.join(file).display().to_string()
    }
}

/// Removes the partial tiles of a full one, and no other file.
fn remove_partial(full: &Path) {
    let mut name = full.as_os_str().to_owned();
    name.push(".p");
    let Ok(items) = fs::read_dir(&name) else { return };
    let is_width = |name: &std::ffi::OsStr| {
        name.to_str().and_then(|name| name.parse::<u8>().ok()).is_some_and(|width| width > 0)
    };
    // The next export removes it if this one can't.
    items
        .flatten()
        .filter(|item| is_width(&item.file_name()))
        .for_each(|item| drop(fs::remove_file(item.path())));
    let _ = fs::remove_dir(&name);
}
