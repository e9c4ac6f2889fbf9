//! `publishers.toml` while the log runs: read again when the file changes.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use super::log::OpenError;
use crate::release::{MAX_PUBLISHERS_BYTES, Publishers};

/// How often the file is looked at: what `treehead publisher add` wrote counts within this time.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// The publishers now. A file that has become unreadable changes nothing but the health.
#[derive(Debug, Default)]
pub struct PublisherBook {
    path: Option<PathBuf>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    current: Arc<Publishers>,
    looked: Option<Instant>,
    stamp: Option<(SystemTime, u64)>,
    fault: Option<String>,
}

impl PublisherBook {
    /// Reads the file.
    ///
    /// # Errors
    /// [`OpenError`] where it can't be read, or is malformed.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let (stamp, publishers) = load(path)?;
        let state = State {
            current: Arc::new(publishers),
            looked: Some(Instant::now()),
            stamp: Some(stamp),
            fault: None,
        };
        Ok(Self { path: Some(path.to_owned()), state: Mutex::new(state) })
    }

    /// The publishers, at most a second old.
    ///
    /// # Panics
    /// Never: no code panics while it holds the lock.
    #[must_use]
    pub fn current(&self) -> Arc<Publishers> {
        let mut state = self.state.lock().expect("no panic while it is held");
        if let Some(path) = &self.path
            && state.looked.is_none_or(|looked| looked.elapsed() >= LOOK_INTERVAL)
        {
            state.looked = Some(Instant::now());
            state.look(path);
        }
        state.current.clone()
    }

    /// Why the file can't be read now, if so.
    ///
    /// # Panics
    /// Never: no code panics while it holds the lock.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        drop(self.current());
        self.state.lock().expect("no panic while it is held").fault.clone()
    }
}

impl State {
    fn look(&mut self, path: &Path) {
        let unchanged = self.stamp.is_some() && stamp(path).ok() == self.stamp;
        if unchanged && self.fault.is_none() {
            return;
        }
        match load(path) {
            Ok((stamp, publishers)) => {
                tracing::info!(publishers = publishers.list().len(), "publishers were read again");
                (self.current, self.stamp, self.fault) = (Arc::new(publishers), Some(stamp), None);
            }
            Err(e) => {
                let fault = e.to_string();
                if self.fault.as_ref() != Some(&fault) {
                    tracing::error!(error = fault, "publishers could not be read again; the old ones stay");
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

fn load(path: &Path) -> Result<((SystemTime, u64), Publishers), OpenError> {
    let io = |source| OpenError::Io { path: path.to_owned(), source };
    // Before the content: a change in between is seen the next time.
    let stamp = stamp(path).map_err(io)?;
    let malformed = |source| OpenError::Publishers { path: path.to_owned(), source };
    let size = usize::try_from(stamp.1).unwrap_or(usize::MAX);
    crate::format::cap("a publishers file", size, MAX_PUBLISHERS_BYTES).map_err(malformed)?;
    let bytes = fs::read(path).map_err(io)?;
    Ok((stamp, Publishers::parse(&bytes).map_err(malformed)?))
}
