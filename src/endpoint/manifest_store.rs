//! The manifests that an endpoint remembers: one for each publisher, package and channel.

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::memory_store::{FileError, MemoryError, replace_on};
use super::remembered_manifest::{MAX_REMEMBERED_MANIFEST_BYTES, RememberedManifest};
use crate::disk::{DirLock, DiskError, DiskIo, LockWait, open_plain};
use crate::format::{FormatError, cap};
use crate::release::Track;

/// A directory of remembered manifests: `<track>.manifest`, and beside them `lock`.
#[derive(Clone)]
pub(super) struct ManifestDir {
    dir: PathBuf,
    disk: Arc<dyn DiskIo>,
}

impl ManifestDir {
    pub(super) fn new(dir: PathBuf, disk: Arc<dyn DiskIo>) -> Self {
        Self { dir, disk }
    }

    /// Waits for the lock on all manifests of the directory, which is created if need be. It is held while the endpoint's
    /// memory is locked and unlocked, never the other way round.
    pub(super) fn lock(&self, on_wait: impl FnOnce(&Path)) -> Result<DirLock, MemoryError> {
        fs::create_dir_all(&self.dir).map_err(FileError::new("create", &self.dir))?;
        let (path, wait) = (self.dir.join("lock"), LockWait::default());
        DirLock::wait(&path, wait, on_wait).map_err(|error| match error {
            DiskError::Io { path, source, .. } => FileError::new("lock", &path)(source).into(),
            _ => MemoryError::Held { path: path.clone(), waited: wait.whole },
        })
    }

    fn path(&self, track: &Track) -> PathBuf {
        self.dir.join(format!("{}.manifest", track.0.to_hex()))
    }

    /// Reads the manifest of a track, if there is one.
    pub(super) fn read(&self, track: &Track) -> Result<Option<RememberedManifest>, MemoryError> {
        let path = self.path(track);
        let file = match open_plain(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) if e.kind() == io::ErrorKind::InvalidInput => {
                return Err(MemoryError::NotAFile { path, seen: e.to_string() });
            }
            Err(e) => return Err(FileError::new("read", &path)(e).into()),
        };
        let mut bytes = Vec::new();
        let read = file.take(MAX_REMEMBERED_MANIFEST_BYTES as u64 + 1).read_to_end(&mut bytes);
        read.map_err(FileError::new("read", &path))?;
        let parsed = cap("a remembered manifest", bytes.len(), MAX_REMEMBERED_MANIFEST_BYTES)
            .and_then(|()| RememberedManifest::parse(&bytes));
        let remembered = parsed.and_then(|remembered| {
            let is_of_track = remembered.track() == *track;
            let seen =
                || FormatError::malformed("a remembered manifest", "the channel of its file name", "another");
            is_of_track.then_some(remembered).ok_or_else(seen)
        });
        remembered.map(Some).map_err(|source| MemoryError::Damaged { path, source })
    }

    /// Replaces the manifest of its track. When it returns, the new one survives a power cut; a crash before that leaves the
    /// old one or the new one, whole.
    pub(super) fn save(&self, remembered: &RememberedManifest) -> Result<(), MemoryError> {
        Ok(replace_on(&*self.disk, &self.path(&remembered.track()), &remembered.to_bytes())?)
    }
}
