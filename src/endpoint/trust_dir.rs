//! The trust file that a state directory remembers.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fmt, fs, io};

use super::endpoint_file::{OpenError, parse};
use super::memory_store::{FileError, MemoryError};
use super::{MAX_TRUST_BYTES, TRUST_FILE, TrustFile, TrustUpdateError};
use crate::disk::{DirLock, DiskError, DiskIo, LockWait, RealDisk, replace_keeping_mode};
use crate::merkle::Hash;

/// The newest trust file that an endpoint learned by [`TrustFile::succeed`]: `endpoint.trust` in its state directory.
///
/// The file that the endpoint was given counts where it has a higher number, or where nothing was learned. It is never
/// remembered: whoever can swap it for a while decides what the endpoint trusts for that while, and no longer. So only a
/// file that was proven and signed under the one before replaces what is remembered, and an installer that ships a newer
/// file needs no proof.
#[derive(Clone)]
pub struct TrustDir {
    dir: PathBuf,
    io: Arc<dyn DiskIo>,
}

impl fmt::Debug for TrustDir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TrustDir").field(&self.dir).finish()
    }
}

/// A trust file that was not learned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrustDirError {
    /// The new file does not replace the one that counts.
    #[error(transparent)]
    Refused(#[from] TrustUpdateError),
    /// The file that counts can't be determined.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The state can't be locked or written. After a failed write either file may be the remembered one; to learn the
    /// new one again is harmless.
    #[error(transparent)]
    State(#[from] MemoryError),
}

impl TrustDir {
    /// The trust file in the state directory `dir`, which need not exist.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self::with_io(dir, Arc::new(RealDisk))
    }

    /// Like [`new`](Self::new), with every step of a write taken by `io`.
    #[must_use]
    pub fn with_io(dir: impl Into<PathBuf>, io: Arc<dyn DiskIo>) -> Self {
        Self { dir: dir.into(), io }
    }

    fn file(&self) -> PathBuf {
        self.dir.join(TRUST_FILE)
    }

    /// The remembered file, if there is one.
    fn remembered(&self) -> Result<Option<TrustFile>, OpenError> {
        let path = self.file();
        match path.symlink_metadata() {
            Ok(_) => {
                let read = parse(&path, "a trust file", MAX_TRUST_BYTES, TrustFile::parse);
                read.map(Some).map_err(|error| match error {
                    OpenError::Malformed { path, source } => OpenError::Remembered { path, source },
                    other => other,
                })
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(FileError::new("read", &path)(e).into()),
        }
    }

    /// The file that counts: the given one, or the remembered one if its number is not lower.
    ///
    /// # Errors
    /// [`OpenError`] if the remembered file can't be read, and for two different files with one number.
    pub fn newest(&self, given: TrustFile) -> Result<TrustFile, OpenError> {
        newest(given, self.remembered()?)
    }

    /// Learns the file that follows the one that counts, under the lock of the state, and returns it. When it returns, the
    /// new file survives a power cut.
    ///
    /// # Errors
    /// [`TrustDirError`]. Of a proven fork, both files and the proofs are kept in `evidence` in the state directory.
    pub fn learn(
        &self,
        given: TrustFile,
        new: &[u8],
        proofs: &[&[u8]],
        on_wait: &dyn Fn(&Path),
    ) -> Result<TrustFile, TrustDirError> {
        fs::create_dir_all(&self.dir)
            .map_err(|e| MemoryError::File(FileError::new("create", &self.dir)(e)))?;
        let (lock_file, wait) = (self.dir.join("lock"), LockWait::default());
        let _lock = DirLock::wait(&lock_file, wait, on_wait).map_err(|error| match error {
            DiskError::Io { path, source, .. } => MemoryError::File(FileError::new("lock", &path)(source)),
            _ => MemoryError::Held { path: lock_file.clone(), waited: wait.whole },
        })?;
        let remembered = self.remembered()?;
        let known = remembered.as_ref().map(TrustFile::number);
        let current = newest(given, remembered)?;
        let next = match current.succeed(new, proofs) {
            Ok(next) => next,
            Err(error) => {
                if matches!(error, TrustUpdateError::Fork { is_proven: true, .. }) {
                    self.keep_fork(&current, new, proofs)?;
                }
                return Err(error.into());
            }
        };
        // The same file is written again if it is the remembered one, never if it is the given one: an earlier write may have failed after its name
        // was there, and before it was durable.
        let is_learned = next.is_some() || known == Some(current.number());
        let next = next.unwrap_or(current);
        if is_learned {
            self.write(&self.file(), &next.to_bytes())?;
        }
        Ok(next)
    }

    /// Keeps what proves that publishers signed two trust files with one number. The names are those of the content, so
    /// nothing is lost if it is kept twice.
    fn keep_fork(&self, current: &TrustFile, new: &[u8], proofs: &[&[u8]]) -> Result<(), MemoryError> {
        let dir = self.dir.join("evidence");
        fs::create_dir_all(&dir).map_err(|e| MemoryError::File(FileError::new("create", &dir)(e)))?;
        let number = current.number();
        let name = |bytes: &[u8]| format!("trust-{number}-{}", &Hash::digest(bytes).to_hex()[..16]);
        let own = current.to_bytes();
        self.write(&dir.join(name(&own) + ".trust"), &own)?;
        self.write(&dir.join(name(new) + ".trust"), new)?;
        for (at, proof) in proofs.iter().enumerate() {
            self.write(&dir.join(format!("{}.{}.tlog-proof", name(new), at + 1)), proof)?;
        }
        Ok(())
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> Result<(), MemoryError> {
        replace_keeping_mode(&*self.io, path, bytes).map_err(|e| match e {
            DiskError::Io { source, .. } => FileError::new("write", path)(source).into(),
            other => FileError::new("write", path)(io::Error::other(other)).into(),
        })
    }
}

fn newest(given: TrustFile, remembered: Option<TrustFile>) -> Result<TrustFile, OpenError> {
    let Some(remembered) = remembered else { return Ok(given) };
    if given.number() != remembered.number() {
        return Ok(if given.number() > remembered.number() { given } else { remembered });
    }
    let (expected, seen) = (Hash::digest(&remembered.to_bytes()), Hash::digest(&given.to_bytes()));
    if expected == seen {
        return Ok(remembered);
    }
    let (number, is_proven) = (given.number(), false);
    Err(OpenError::Fork(TrustUpdateError::Fork { number, expected, seen, is_proven }))
}

#[cfg(test)]
mod tests;
