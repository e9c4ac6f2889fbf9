//! The directory of an endpoint's memory, which several processes may share.

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{EndpointState, MAX_STATE_BYTES, STATE_VERSION};
use crate::disk::{DirLock, DiskError, DiskIo, LockWait, RealDisk, open_plain, replace_keeping_mode};
use crate::format::{FormatError, cap};

/// An endpoint's memory, opened for one check. Dropping it unlocks it. [`MemoryDir`] keeps it on disk.
pub trait Memory {
    /// Waits for the lock, and returns the state at that moment. Calls `on_wait` with the lock file if the wait becomes
    /// long.
    ///
    /// # Errors
    /// [`MemoryError`]: an endpoint that cannot read its memory must refuse, for an endpoint that forgot would take
    /// an old release for a new one.
    fn lock(&mut self, on_wait: &dyn Fn(&Path)) -> Result<EndpointState, MemoryError>;

    /// Replaces the state. Called between [`lock`](Self::lock) and [`unlock`](Self::unlock). When it
    /// returns, the new state survives a power cut; a crash before that leaves the old state or the new one, whole.
    ///
    /// # Errors
    /// [`MemoryError`].
    fn save(&mut self, state: &EndpointState) -> Result<(), MemoryError>;

    /// Lets other processes hold the memory. Another [`lock`](Self::lock) may follow.
    fn unlock(&mut self);
}

/// A file of an endpoint that could not be read or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("could not {doing} {}: {detail}", path.display())]
pub struct FileError {
    /// The step that failed, as a verb: `write`.
    pub doing: &'static str,
    /// The file or directory.
    pub path: PathBuf,
    /// The kind of the system's error. [`io::ErrorKind::InvalidInput`]: not a regular file.
    pub kind: io::ErrorKind,
    /// The system's error, in words.
    pub detail: String,
}

impl FileError {
    /// Adds what was done to which path to an [`io::Error`].
    pub fn new(doing: &'static str, path: &Path) -> impl Fn(io::Error) -> Self {
        move |e| Self { doing, path: path.to_owned(), kind: e.kind(), detail: e.to_string() }
    }
}

/// A memory that could not be read or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MemoryError {
    /// The operating system refused.
    #[error(transparent)]
    File(#[from] FileError),
    /// Another process holds the memory.
    #[error("{} is held by another treehead process: expected to get it within {} s", path.display(), waited.as_secs())]
    Held {
        /// The lock file.
        path: PathBuf,
        /// The time that this process waited.
        waited: Duration,
    },
    /// The file is damaged.
    #[error("{}: {source}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The error.
        source: FormatError,
    },
    /// Something other than a regular file is in the file's place.
    #[error("{} is {seen}", path.display())]
    NotAFile {
        /// The file.
        path: PathBuf,
        /// The kind of file that is there, in words.
        seen: String,
    },
    /// A newer program wrote the file.
    #[error("{} was written by a newer program: expected at most version {STATE_VERSION}, saw {seen}", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        seen: u32,
    },
    /// The state is too large to be read again, so it was not written.
    #[error("{} is full: expected at most {MAX_STATE_BYTES} bytes, saw {seen}", path.display())]
    Full {
        /// The file.
        path: PathBuf,
        /// Bytes of the state.
        seen: usize,
    },
}

/// A memory on disk: `state.json`, and beside it `lock`.
#[derive(Debug)]
pub struct MemoryDir {
    file: PathBuf,
    lock_file: PathBuf,
    /// The lock, while this process holds it.
    lock: Option<DirLock>,
}

impl MemoryDir {
    /// Opens the memory in `dir`, which is created if need be.
    ///
    /// # Errors
    /// [`MemoryError`].
    pub fn open(dir: &Path) -> Result<Self, MemoryError> {
        fs::create_dir_all(dir).map_err(FileError::new("create", dir))?;
        Ok(Self { file: dir.join("state.json"), lock_file: dir.join("lock"), lock: None })
    }
}

impl Memory for MemoryDir {
    fn lock(&mut self, on_wait: &dyn Fn(&Path)) -> Result<EndpointState, MemoryError> {
        if self.lock.is_none() {
            let wait = LockWait::default();
            let lock = DirLock::wait(&self.lock_file, wait, on_wait).map_err(|error| match error {
                DiskError::Io { path, source, .. } => FileError::new("lock", &path)(source).into(),
                _ => MemoryError::Held { path: self.lock_file.clone(), waited: wait.whole },
            })?;
            self.lock = Some(lock);
        }
        // If the system can't tell whether the file exists, it may exist.
        let exists = self.file.try_exists().map_err(FileError::new("read", &self.file))?;
        if exists { read(&self.file) } else { Ok(EndpointState::default()) }
    }

    fn save(&mut self, state: &EndpointState) -> Result<(), MemoryError> {
        let bytes = state.to_bytes();
        if bytes.len() > MAX_STATE_BYTES {
            return Err(MemoryError::Full { path: self.file.clone(), seen: bytes.len() });
        }
        Ok(replace(&self.file, &bytes)?)
    }

    fn unlock(&mut self) {
        self.lock = None;
    }
}

fn read(path: &Path) -> Result<EndpointState, MemoryError> {
    let file = open_plain(path).map_err(|e| match e.kind() {
        io::ErrorKind::InvalidInput => MemoryError::NotAFile { path: path.to_owned(), seen: e.to_string() },
        _ => FileError::new("read", path)(e).into(),
    })?;
    let mut bytes = Vec::new();
    file.take(MAX_STATE_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(FileError::new("read", path))?;
    let damaged = |source| MemoryError::Damaged { path: path.to_owned(), source };
    cap("an endpoint's state", bytes.len(), MAX_STATE_BYTES).map_err(damaged)?;
    if let Some(seen) = EndpointState::later_version(&bytes) {
        return Err(MemoryError::Newer { path: path.to_owned(), seen });
    }
    EndpointState::parse(&bytes).map_err(damaged)
}

/// Replaces a file atomically. Errors name the file itself, not the temporary one beside it.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    replace_on(&RealDisk, path, bytes)
}

/// Like [`replace`], by the steps of `disk`.
pub(super) fn replace_on(disk: &dyn DiskIo, path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    replace_keeping_mode(disk, path, bytes).map_err(|e| match e {
        DiskError::Io { source, .. } => FileError::new("write", path)(source),
        other => FileError::new("write", path)(io::Error::other(other)),
    })
}
