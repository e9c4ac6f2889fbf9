//! A settings file of a running program: read again when it changes, and on request.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::disk::read_plain;
use crate::format::FormatError;

/// How often the file is looked at: what a command wrote counts within this time.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// How such a file is read.
pub struct Kind<T> {
    /// What it is, with its article.
    pub what: &'static str,
    /// Most bytes of it.
    pub limit: usize,
    /// Reads its content.
    pub parse: fn(&[u8]) -> Result<T, FormatError>,
    /// Compares a new content with what the file held since the program started.
    pub succeed: fn(&Arc<T>, T) -> Succession<T>,
}

/// What a new content comes to.
pub struct Succession<T> {
    /// What is in force from now on.
    pub current: Arc<T>,
    /// What the next content is compared with.
    pub base: Arc<T>,
    /// What the file does not hold any more, if anything.
    pub lost: Option<Loss>,
}

/// Something that the file has held since the program started, and no longer holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// What, in words.
    pub words: String,
    /// Whether nothing is left, which is probably an accident.
    pub all: bool,
}

/// Why the file can't be read.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// By the system.
    #[error("could not read {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// By its parser.
    #[error("{}: {source}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: FormatError,
    },
}

/// The current content. A file that becomes unreadable changes only the health.
pub struct Watched<T: 'static> {
    path: PathBuf,
    kind: &'static Kind<T>,
    state: Mutex<State<T>>,
}

struct State<T> {
    current: Arc<T>,
    base: Arc<T>,
    looked: Instant,
    stamp: Stamp,
    /// Why it can't be read.
    fault: Option<String>,
    lost: Option<Loss>,
}

/// Tells whether a file changed without reading it. A replacement may have the same length and modification
/// time, but it has another inode or change time, which nobody can set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    changed: (i64, i64),
    modified: (i64, i64),
    length: u64,
}

impl Stamp {
    fn of(path: &Path) -> std::io::Result<Self> {
        let meta = fs::metadata(path)?;
        Ok(Self {
            device: meta.dev(),
            inode: meta.ino(),
            changed: (meta.ctime(), meta.ctime_nsec()),
            modified: (meta.mtime(), meta.mtime_nsec()),
            length: meta.len(),
        })
    }
}

impl<T> Watched<T> {
    /// Reads the file.
    pub fn open(path: &Path, kind: &'static Kind<T>) -> Result<Self, WatchError> {
        let (stamp, content) = load(path, kind)?;
        let current = Arc::new(content);
        let base = current.clone();
        let state = State { current, base, looked: Instant::now(), stamp, fault: None, lost: None };
        Ok(Self { path: path.to_owned(), kind, state: Mutex::new(state) })
    }

    /// The content, at most a second old.
    pub fn current(&self) -> Arc<T> {
        self.looked().current.clone()
    }

    /// What is wrong with the file now, if anything: it can't be read, or holds nothing any more.
    pub fn fault(&self) -> Option<String> {
        let state = self.looked();
        let nothing_left = || Some(self.words(state.lost.as_ref().filter(|lost| lost.all)?));
        state.fault.clone().or_else(nothing_left)
    }

    /// What the file does not hold any more, where it holds others.
    pub fn warning(&self) -> Option<String> {
        Some(self.words(self.looked().lost.as_ref().filter(|lost| !lost.all)?))
    }

    /// Reads the file now, whether it looks changed or not.
    pub fn reload(&self) {
        let mut state = self.state();
        state.looked = Instant::now();
        state.read(&self.path, self.kind);
    }

    fn words(&self, lost: &Loss) -> String {
        format!("{}: {}", self.path.display(), lost.words)
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().expect("no panic while it is held")
    }

    fn looked(&self) -> MutexGuard<'_, State<T>> {
        let mut state = self.state();
        if state.looked.elapsed() >= LOOK_INTERVAL {
            state.looked = Instant::now();
            let unchanged = Stamp::of(&self.path).is_ok_and(|stamp| stamp == state.stamp);
            if !unchanged || state.fault.is_some() {
                state.read(&self.path, self.kind);
            }
        }
        state
    }
}

impl<T> std::fmt::Debug for Watched<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watched").field("path", &self.path).finish_non_exhaustive()
    }
}

impl<T> State<T> {
    fn read(&mut self, path: &Path, kind: &Kind<T>) {
        match load(path, kind) {
            Ok((stamp, content)) => {
                let Succession { current, base, lost } = (kind.succeed)(&self.base, content);
                tracing::info!(file = %path.display(), "{} was read again", kind.what);
                if let Some(lost) = lost.as_ref().filter(|lost| self.lost.as_ref() != Some(lost)) {
                    tracing::warn!(file = %path.display(), "{}", lost.words);
                }
                (self.current, self.base, self.lost) = (current, base, lost);
                (self.stamp, self.fault) = (stamp, None);
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

fn load<T>(path: &Path, kind: &Kind<T>) -> Result<(Stamp, T), WatchError> {
    let io = |source| WatchError::Io { path: path.to_owned(), source };
    // Before the content: a change in between is seen the next time.
    let stamp = Stamp::of(path).map_err(io)?;
    let malformed = |source| WatchError::Malformed { path: path.to_owned(), source };
    let size = usize::try_from(stamp.length).unwrap_or(usize::MAX);
    crate::format::cap(kind.what, size, kind.limit).map_err(malformed)?;
    let bytes = read_plain(path).map_err(io)?;
    Ok((stamp, (kind.parse)(&bytes).map_err(malformed)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    static LINES: Kind<String> = Kind {
        what: "a test file",
        limit: 100,
        parse: |bytes| crate::format::utf8("a test file", bytes).map(str::to_owned),
        succeed: |base, new| {
            let is_gone = |line: &&str| !line.is_empty() && !new.lines().any(|new| new == *line);
            let gone: Vec<&str> = base.lines().filter(is_gone).collect();
            let lost = (!gone.is_empty()).then(|| Loss { words: gone.join(","), all: new.is_empty() });
            let all = if gone.is_empty() { new.clone() } else { format!("{new}\n{}", gone.join("\n")) };
            Succession { current: Arc::new(new), base: Arc::new(all), lost }
        },
    };

    /// Looks now, and not only after a second.
    fn look(watched: &Watched<String>) -> Arc<String> {
        watched.state().looked =
            Instant::now().checked_sub(LOOK_INTERVAL).expect("the machine is up for a second");
        watched.current()
    }

    #[test]
    fn a_file_in_place_of_another_is_seen_whatever_its_length_and_time() {
        let dir = tempfile::tempdir().unwrap();
        let (path, other) = (dir.path().join("file"), dir.path().join("other"));
        fs::write(&path, "one").unwrap();
        let time = fs::metadata(&path).unwrap().modified().unwrap();
        let watched = Watched::open(&path, &LINES).unwrap();
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
    fn what_is_lost_is_told_until_it_is_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let write = |text: &str| fs::write(&path, text).unwrap();
        write("a\nb");
        let watched = Watched::open(&path, &LINES).unwrap();
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
