//! Locks that several processes take in turn, each for a moment.

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use super::open_own;

/// Pause between two tries.
const LOCK_PAUSE: Duration = Duration::from_millis(5);

/// How long to wait for a lock.
#[derive(Debug, Clone, Copy)]
pub struct LockWait {
    /// How long before the caller is told that it waits.
    pub silent: Duration,
    /// How long in all.
    pub whole: Duration,
}

/// One second, then 29 more: a holder reads and writes a small file, so after a second something is odd. A stopped
/// process, or one whose disk does not answer, may hold the lock for ever.
impl Default for LockWait {
    fn default() -> Self {
        Self { silent: Duration::from_secs(1), whole: Duration::from_secs(30) }
    }
}

/// Why a lock was not taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// The operating system refused, or the file is not a regular one.
    #[error("could not lock {}: {source}", path.display())]
    Io {
        /// The lock file.
        path: PathBuf,
        /// The system's error; [`io::ErrorKind::InvalidInput`] where it is no regular file.
        source: io::Error,
    },
    /// Another process held it all the time.
    #[error("{} is held by another treehead: expected to get it within {} s", path.display(), waited.as_secs())]
    Held {
        /// The lock file.
        path: PathBuf,
        /// How long this process waited.
        waited: Duration,
    },
}

/// Waits for the lock on `path`, a file that is created if need be and never removed. Dropping the returned file
/// unlocks it. Calls `on_wait` once if the wait becomes long.
///
/// # Errors
/// [`LockError`].
pub fn wait_for_lock(path: &Path, wait: LockWait, on_wait: impl FnOnce(&Path)) -> Result<File, LockError> {
    let io = |source| LockError::Io { path: path.to_owned(), source };
    let file = open_own(File::options().create(true).truncate(false).write(true), path).map_err(io)?;
    let (begun, mut on_wait) = (Instant::now(), Some(on_wait));
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(e)) => return Err(io(e)),
            Err(TryLockError::WouldBlock) => {}
        }
        let waited = begun.elapsed();
        if waited >= wait.whole {
            return Err(LockError::Held { path: path.to_owned(), waited: wait.whole });
        }
        if waited >= wait.silent
            && let Some(on_wait) = on_wait.take()
        {
            on_wait(path);
        }
        thread::sleep(LOCK_PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::ZERO;
    const NEVER: Duration = Duration::from_secs(3_600);

    #[test]
    fn a_lock_that_is_a_link_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (link, target) = (dir.path().join("lock"), dir.path().join("target"));
        std::os::unix::fs::symlink(&target, &link).unwrap();
        let error = wait_for_lock(&link, LockWait::default(), |_| panic!("told at once")).unwrap_err();
        let LockError::Io { source, .. } = error else { panic!("{error}") };
        assert_eq!(source.kind(), io::ErrorKind::InvalidInput);
        assert!(source.to_string().contains("expected one, saw a symbolic link"), "{source}");
        assert!(!target.exists(), "nothing is made where it leads");
    }

    #[test]
    fn a_lock_is_waited_for_without_a_word_then_with_one_and_not_for_ever() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let silent = |path: &Path| panic!("{}", path.display());
        let held = wait_for_lock(&path, LockWait { silent: NOW, whole: NOW }, silent).unwrap();
        // Not for ever, and without a word before its time.
        let error = wait_for_lock(&path, LockWait { silent: NEVER, whole: NOW }, silent).unwrap_err();
        assert!(matches!(&error, LockError::Held { path: seen, .. } if *seen == path), "{error}");
        // The waiter is told once, and gets the lock when the other is done.
        let mut told = Vec::new();
        let other = wait_for_lock(&path, LockWait { silent: NOW, whole: NEVER }, |path| {
            told.push(path.to_owned());
            drop(held);
        });
        assert_eq!(told, [path.clone()]);
        drop(other.unwrap());
        wait_for_lock(&path, LockWait { silent: NOW, whole: NEVER }, silent).unwrap();
    }
}
