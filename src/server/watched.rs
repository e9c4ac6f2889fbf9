//! A settings file while the program runs: read again when it changes.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use crate::format::FormatError;

/// How often the file is looked at: what a command wrote counts within this time.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// How such a file is read.
#[derive(Debug)]
pub struct Kind<T> {
    /// What it is, with its article.
    pub what: &'static str,
    /// Most bytes of it.
    pub limit: usize,
    /// Reads its content.
    pub parse: fn(&[u8]) -> Result<T, FormatError>,
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

/// The content now. A file that has become unreadable changes nothing but the health.
#[derive(Debug)]
pub struct Watched<T: 'static> {
    path: PathBuf,
    kind: &'static Kind<T>,
    state: Mutex<State<T>>,
}

#[derive(Debug)]
struct State<T> {
    current: Arc<T>,
    looked: Instant,
    stamp: (SystemTime, u64),
    fault: Option<String>,
}

impl<T> Watched<T> {
    /// Reads the file.
    pub fn open(path: &Path, kind: &'static Kind<T>) -> Result<Self, WatchError> {
        let (stamp, content) = load(path, kind)?;
        let state = State { current: Arc::new(content), looked: Instant::now(), stamp, fault: None };
        Ok(Self { path: path.to_owned(), kind, state: Mutex::new(state) })
    }

    /// The content, at most a second old.
    pub fn current(&self) -> Arc<T> {
        let mut state = self.state.lock().expect("no panic while it is held");
        if state.looked.elapsed() >= LOOK_INTERVAL {
            state.looked = Instant::now();
            state.look(&self.path, self.kind);
        }
        state.current.clone()
    }

    /// Why the file can't be read now, if so.
    pub fn fault(&self) -> Option<String> {
        drop(self.current());
        self.state.lock().expect("no panic while it is held").fault.clone()
    }
}

impl<T> State<T> {
    fn look(&mut self, path: &Path, kind: &Kind<T>) {
        if stamp(path).is_ok_and(|stamp| stamp == self.stamp) && self.fault.is_none() {
            return;
        }
        match load(path, kind) {
            Ok((stamp, content)) => {
                tracing::info!(file = %path.display(), "{} was read again", kind.what);
                (self.current, self.stamp, self.fault) = (Arc::new(content), stamp, None);
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

fn stamp(path: &Path) -> std::io::Result<(SystemTime, u64)> {
    let meta = fs::metadata(path)?;
    Ok((meta.modified()?, meta.len()))
}

fn load<T>(path: &Path, kind: &Kind<T>) -> Result<((SystemTime, u64), T), WatchError> {
    let io = |source| WatchError::Io { path: path.to_owned(), source };
    // Before the content: a change in between is seen the next time.
    let stamp = stamp(path).map_err(io)?;
    let malformed = |source| WatchError::Malformed { path: path.to_owned(), source };
    let size = usize::try_from(stamp.1).unwrap_or(usize::MAX);
    crate::format::cap(kind.what, size, kind.limit).map_err(malformed)?;
    let bytes = fs::read(path).map_err(io)?;
    Ok((stamp, (kind.parse)(&bytes).map_err(malformed)?))
}
