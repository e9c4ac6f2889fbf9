//! Hashes artifacts on disk.

use std::fs::File;
use std::io;
use std::num::NonZeroUsize;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::thread;

use sha2::{Digest as _, Sha256};

use super::memory_store::FileError;
use crate::disk::open_plain;
use crate::merkle::Hash;
use crate::threads;

/// Bytes to read at once.
const CHUNK: usize = 1 << 20;

/// An artifact that could not be hashed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArtifactError {
    /// The operating system refused, or the path is no regular file.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file changed meanwhile, so that the digest is of no content that it ever had.
    #[error("{} changed while it was being hashed", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
}

/// Hashes a regular file.
///
/// # Errors
/// [`ArtifactError`].
pub fn hash_artifact(path: &Path) -> Result<Hash, ArtifactError> {
    hash_with(path, &mut vec![0; CHUNK])
}

/// Hashes regular files, as many at once as there are processors. The results are in the order of the paths.
#[must_use]
pub fn hash_artifacts(paths: &[impl AsRef<Path> + Sync]) -> Vec<Result<Hash, ArtifactError>> {
    let threads = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    threads::map(paths, threads, |path| hash_artifact(path.as_ref()))
}

/// Hashes everything from a reader; returns the number of bytes, too.
///
/// # Errors
/// The reader's.
pub fn hash_reader(from: &mut impl io::Read) -> io::Result<(Hash, u64)> {
    hash_all(from, &mut vec![0; CHUNK])
}

fn hash_with(path: &Path, buffer: &mut [u8]) -> Result<Hash, ArtifactError> {
    let steady = SteadyFile::open(path)?;
    let (digest, length) = hash_all(&mut steady.file(), buffer).map_err(FileError::new("read", path))?;
    steady.check(length)?;
    Ok(digest)
}

/// A file that is read once, and must not change meanwhile.
pub(crate) struct SteadyFile<'a> {
    path: &'a Path,
    file: File,
    stamp: Stamp,
}

/// Metadata that changes with a file's content: device, inode, length and times.
type Stamp = (u64, u64, u64, i64, i64, i64, i64);

impl<'a> SteadyFile<'a> {
    /// Opens a regular file.
    pub fn open(path: &'a Path) -> Result<Self, FileError> {
        let (file, stamp) = Self::look(path)?;
        Ok(Self { path, file, stamp })
    }

    fn look(path: &Path) -> Result<(File, Stamp), FileError> {
        let stamp = |file: &File| {
            file.metadata()
                .map(|m| (m.dev(), m.ino(), m.len(), m.mtime(), m.mtime_nsec(), m.ctime(), m.ctime_nsec()))
        };
        let looked = open_plain(path).and_then(|file| stamp(&file).map(|stamp| (file, stamp)));
        looked.map_err(FileError::new("read", path))
    }

    /// The open file.
    pub const fn file(&self) -> &File {
        &self.file
    }

    /// The number of its bytes when it was opened.
    pub const fn bytes(&self) -> u64 {
        self.stamp.2
    }

    /// Checks that it is as it was when it was opened, and that all `length` bytes of it were read.
    pub fn check(&self, length: u64) -> Result<(), ArtifactError> {
        // By name: a build that replaces the file leaves the open one as it was.
        let (_, after) = Self::look(self.path)?;
        if self.stamp != after || length != self.bytes() {
            return Err(ArtifactError::Changed { path: self.path.to_owned() });
        }
        Ok(())
    }
}

fn hash_all(from: &mut impl io::Read, buffer: &mut [u8]) -> io::Result<(Hash, u64)> {
    let mut hasher = Sha256::new();
    let mut length = 0_u64;
    loop {
        match from.read(buffer) {
            Ok(0) => return Ok((Hash::from_bytes(hasher.finalize().into()), length)),
            Ok(count) => {
                length += count as u64;
                hasher.update(&buffer[..count]);
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_in_order_and_each_has_its_own_error() {
        let dir = tempfile::tempdir().unwrap();
        let paths: Vec<PathBuf> = (0..40).map(|n| dir.path().join(n.to_string())).collect();
        for (n, path) in paths.iter().enumerate().filter(|(n, _)| n % 7 != 3) {
            std::fs::write(path, format!("artifact {n}")).unwrap();
        }
        let hashed = hash_artifacts(&paths);
        assert_eq!(hashed.len(), paths.len());
        for (n, hashed) in hashed.into_iter().enumerate() {
            match hashed {
                Ok(digest) => assert_eq!(digest, Hash::digest(format!("artifact {n}").as_bytes())),
                Err(ArtifactError::File(e)) => {
                    assert_eq!((n % 7, e.kind, e.path), (3, io::ErrorKind::NotFound, paths[n].clone()));
                }
                Err(e) => panic!("{e}"),
            }
        }
        assert_eq!(hash_artifacts(&paths[..0]), []);
    }
}
