//! A settings file of a running program, read again when it changes and on request.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::disk::read_plain;
use crate::format::FormatError;

/// Time between two checks of the file: a change counts within this time. A script that changes the file needs longer to
/// start its next command; and a check is one `stat`.
const CHECK_INTERVAL: Duration = Duration::from_millis(10);
/// Time between two checks while the file can't be read: then each check reads it.
const FAULT_INTERVAL: Duration = Duration::from_secs(1);

/// The reading of one kind of file.
pub struct FileKind<T> {
    /// Name of the file for error messages, with its article (`a policy`).
    pub what: &'static str,
    /// Largest file, in bytes.
    pub limit: usize,
    /// Parses the content.
    pub parse: fn(&[u8]) -> Result<T, FormatError>,
    /// Compares new content with what the file has held since the program started.
    pub succeed: fn(&Arc<T>, T) -> Update<T>,
}

/// The effect of new content.
pub struct Update<T> {
    /// The content in force.
    pub current: Arc<T>,
    /// The content that the next one is compared with.
    pub base: Arc<T>,
    /// Items that the file has lost, if any.
    pub lost: Option<Loss>,
}

/// Items that the file held since the program started and that are missing from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// The items, for people.
    pub words: String,
    /// Set if nothing is left in the file, which is probably an accident.
    pub all: bool,
}

/// A file that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// The system can't read the file.
    #[error("could not read {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// The content is malformed.
    #[error("{}: {source}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The parser's error.
        source: FormatError,
    },
}

/// A file and its content in force. A file that becomes unreadable changes only the health.
pub struct WatchedFile<T: 'static> {
    path: PathBuf,
    kind: &'static FileKind<T>,
    state: Mutex<WatchState<T>>,
}

struct WatchState<T> {
    update: Update<T>,
    checked: Instant,
    stamp: Stamp,
    /// The error of the last attempt to read the file, if it failed.
    fault: Option<String>,
}

/// Identifies a version of a file without reading it: its device, inode, length, and times of change and modification.
/// A replacement may have the same length and modification time, but it has another inode or change time, which no
/// program can set.
type Stamp = (u64, u64, u64, [i64; 4]);

fn stamp(meta: &fs::Metadata) -> Stamp {
    let times = [meta.ctime(), meta.ctime_nsec(), meta.mtime(), meta.mtime_nsec()];
    (meta.dev(), meta.ino(), meta.len(), times)
}

impl<T> WatchedFile<T> {
    /// Reads the file.
    pub fn open(path: &Path, kind: &'static FileKind<T>) -> Result<Self, WatchError> {
        let (stamp, content) = load(path, kind)?;
        let current = Arc::new(content);
        let update = Update { base: current.clone(), current, lost: None };
        let state = WatchState { update, checked: Instant::now(), stamp, fault: None };
        Ok(Self { path: path.to_owned(), kind, state: Mutex::new(state) })
    }

    /// The content in force, checked at most ten milliseconds ago; a second, if the file could not be read then.
    pub fn current(&self) -> Arc<T> {
        self.refreshed().update.current.clone()
    }

    /// The fault of the file, if any: it can't be read, or has lost all its items.
    pub fn fault(&self) -> Option<String> {
        let state = self.refreshed();
        let nothing_left = || Some(self.describe(state.update.lost.as_ref().filter(|lost| lost.all)?));
        state.fault.clone().or_else(nothing_left)
    }

    /// The items that the file has lost, if others are left.
    pub fn warning(&self) -> Option<String> {
        Some(self.describe(self.refreshed().update.lost.as_ref().filter(|lost| !lost.all)?))
    }

    /// Reads the file at once, whether or not it looks changed.
    pub fn reload(&self) {
        let mut state = self.state();
        state.checked = Instant::now();
        state.read(&self.path, self.kind);
    }

    fn describe(&self, lost: &Loss) -> String {
        format!("{}: {}", self.path.display(), lost.words)
    }

    fn state(&self) -> MutexGuard<'_, WatchState<T>> {
        self.state.lock().expect("no panic while it is held")
    }

    fn refreshed(&self) -> MutexGuard<'_, WatchState<T>> {
        let mut state = self.state();
        let interval = if state.fault.is_some() { FAULT_INTERVAL } else { CHECK_INTERVAL };
        if state.checked.elapsed() >= interval {
            state.checked = Instant::now();
            let unchanged = fs::metadata(&self.path).is_ok_and(|meta| stamp(&meta) == state.stamp);
            if !unchanged || state.fault.is_some() {
                state.read(&self.path, self.kind);
            }
        }
        state
    }
}

impl<T> std::fmt::Debug for WatchedFile<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WatchedFile").field("path", &self.path).finish_non_exhaustive()
    }
}

impl<T> WatchState<T> {
    fn read(&mut self, path: &Path, kind: &FileKind<T>) {
        match load(path, kind) {
            Ok((stamp, content)) => {
                let update = (kind.succeed)(&self.update.base, content);
                tracing::info!(file = %path.display(), "{} was read again", kind.what);
                if let Some(lost) =
                    update.lost.as_ref().filter(|lost| self.update.lost.as_ref() != Some(lost))
                {
                    tracing::warn!(file = %path.display(), "{}", lost.words);
                }
                (self.update, self.stamp, self.fault) = (update, stamp, None);
            }
            Err(e) => {
                let fault = e.to_string();
                if self.fault.as_ref() != Some(&fault) {
                    tracing::error!(
                        error = fault,
                        "{} could not be read again; the old content stays",
                        kind.what
                    );
                }
                self.fault = Some(fault);
            }
        }
    }
}

fn load<T>(path: &Path, kind: &FileKind<T>) -> Result<(Stamp, T), WatchError> {
    let io = |source| WatchError::Io { path: path.to_owned(), source };
    // Before the content is read: the next check sees a change in between.
    let meta = fs::metadata(path).map_err(io)?;
    let malformed = |source| WatchError::Malformed { path: path.to_owned(), source };
    let size = usize::try_from(meta.len()).unwrap_or(usize::MAX);
    crate::format::cap(kind.what, size, kind.limit).map_err(malformed)?;
    let bytes = read_plain(path).map_err(io)?;
    Ok((stamp(&meta), (kind.parse)(&bytes).map_err(malformed)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    static LINES: FileKind<String> = FileKind {
        what: "a test file",
        limit: 100,
        parse: |bytes| crate::format::utf8("a test file", bytes).map(str::to_owned),
        succeed: |base, new| {
            let is_gone = |line: &&str| !line.is_empty() && !new.lines().any(|new| new == *line);
            let gone: Vec<&str> = base.lines().filter(is_gone).collect();
            let lost = (!gone.is_empty()).then(|| Loss { words: gone.join(","), all: new.is_empty() });
            let all = if gone.is_empty() { new.clone() } else { format!("{new}\n{}", gone.join("\n")) };
            Update { current: Arc::new(new), base: Arc::new(all), lost }
        },
    };

    /// Checks the file without waiting for a second to pass.
    fn look(watched: &WatchedFile<String>) -> Arc<String> {
        watched.state().checked =
            Instant::now().checked_sub(FAULT_INTERVAL).expect("the machine is up for a second");
        watched.current()
    }

    #[test]
    fn a_file_in_place_of_another_is_seen_whatever_its_length_and_time() {
        let dir = tempfile::tempdir().unwrap();
        let (path, other) = (dir.path().join("file"), dir.path().join("other"));
        fs::write(&path, "one").unwrap();
        let time = fs::metadata(&path).unwrap().modified().unwrap();
        let watched = WatchedFile::open(&path, &LINES).unwrap();
        fs::write(&other, "two").unwrap();
        fs::File::options().write(true).open(&other).unwrap().set_modified(time).unwrap();
        fs::rename(&other, &path).unwrap();
        assert_eq!(*look(&watched), "two", "renamed");
        // In the file itself, too: only its change time tells.
        fs::write(&path, "six").unwrap();
        fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
        assert_eq!(*look(&watched), "six", "written over");
    }

    #[test]
    fn lost_items_are_reported_until_they_are_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let write = |text: &str| fs::write(&path, text).unwrap();
        write("a\nb");
        let watched = WatchedFile::open(&path, &LINES).unwrap();
        assert_eq!((watched.fault(), watched.warning()), (None, None));
        let told = |text: &str| Some(format!("{}: {text}", path.display()));
        write("b");
        look(&watched);
        assert_eq!((watched.fault(), watched.warning()), (None, told("a")));
        write("");
        look(&watched);
        assert_eq!((watched.fault(), watched.warning()), (told("b,a"), None), "nothing is left");
        watched.reload();
        assert_eq!(watched.fault(), told("b,a"), "also where it is read again");
        fs::remove_file(&path).unwrap();
        look(&watched);
        assert!(watched.fault().unwrap().contains("could not read"));
        write("a\nb");
        look(&watched);
        assert_eq!((watched.fault(), watched.warning()), (None, None));
    }
}
