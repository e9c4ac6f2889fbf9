//! Locks: one process per directory, or several that take turns.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use super::{DiskError, open_own};

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

/// Holds a lock until it is dropped or the process ends.
#[derive(Debug)]
pub struct DirLock {
    _file: File,
}

impl DirLock {
    /// Locks the file `path`, which is created if need be and never removed.
    ///
    /// # Errors
    /// [`DiskError::Locked`] if another process holds it, [`DiskError::Io`] if it is a link.
    pub fn acquire(path: &Path) -> Result<Self, DiskError> {
        Self::wait(path, LockWait { silent: Duration::ZERO, whole: Duration::ZERO }, |_| ())
    }

    /// Like [`acquire`](Self::acquire), but waits while another process holds the lock. Calls `on_wait` once if the
    /// wait becomes long.
    ///
    /// # Errors
    /// [`DiskError::Locked`] if another process held it all the time, [`DiskError::Io`] if it is a link.
    pub fn wait(path: &Path, wait: LockWait, on_wait: impl FnOnce(&Path)) -> Result<Self, DiskError> {
        let file = open_own(File::options().create(true).truncate(false).write(true), path)
            .map_err(DiskError::io("open", path))?;
        let (begun, mut on_wait) = (Instant::now(), Some(on_wait));
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self { _file: file }),
                Err(TryLockError::Error(e)) => return Err(DiskError::io("lock", path)(e)),
                Err(TryLockError::WouldBlock) => {}
            }
            let waited = begun.elapsed();
            if waited >= wait.whole {
                return Err(DiskError::Locked { path: path.to_owned() });
            }
            if waited >= wait.silent
                && let Some(on_wait) = on_wait.take()
            {
                on_wait(path);
            }
            thread::sleep(LOCK_PAUSE);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    const NOW: Duration = Duration::ZERO;
    const NEVER: Duration = Duration::from_secs(3_600);

    #[test]
    fn a_lock_that_is_a_link_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (link, target) = (dir.path().join("lock"), dir.path().join("target"));
        std::os::unix::fs::symlink(&target, &link).unwrap();
        let error = DirLock::wait(&link, LockWait::default(), |_| panic!("told at once")).unwrap_err();
        let DiskError::Io { source, .. } = error else { panic!("{error}") };
        assert_eq!(source.kind(), io::ErrorKind::InvalidInput);
        assert!(source.to_string().contains("expected one, saw a symbolic link"), "{source}");
        assert!(!target.exists(), "nothing is made where it leads");
    }

    #[test]
    fn a_lock_is_waited_for_without_a_word_then_with_one_and_not_for_ever() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let silent = |path: &Path| panic!("{}", path.display());
        let held = DirLock::wait(&path, LockWait { silent: NOW, whole: NOW }, silent).unwrap();
        // Not for ever, and without a word before its time.
        let error = DirLock::wait(&path, LockWait { silent: NEVER, whole: NOW }, silent).unwrap_err();
        assert!(matches!(&error, DiskError::Locked { path: seen } if *seen == path), "{error}");
        // The waiter is told once, and gets the lock when the other is done.
        let mut told = Vec::new();
        let other = DirLock::wait(&path, LockWait { silent: NOW, whole: NEVER }, |path| {
            told.push(path.to_owned());
            drop(held);
        });
        assert_eq!(told, std::slice::from_ref(&path));
        drop(other.unwrap());
        DirLock::wait(&path, LockWait { silent: NOW, whole: NEVER }, silent).unwrap();
    }
}
