//! A directory of fork evidence: `.tlog-fork` files, each whole or not there.
//!
//! No file is ever overwritten or deleted: it may be the only proof in the world.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::checkpoint::{Checkpoint, Origin, SignsFor};
use crate::disk::{DiskIo, RealDisk, open_plain};
use crate::proof::fork::{FILE_EXTENSION, ForkEvidence, MAX_FORK_BYTES, ProvenFork, file_name_prefix};

/// Most files in a directory: a log that signs one fork after another must not fill the disk.
pub const MAX_FORKS: usize = 1_000;
/// Most files about one log, so that it takes no room from evidence against others. One file convicts it.
pub const MAX_FORKS_OF_A_LOG: usize = 16;

/// Prefix of the name of a file that is being written.
const UNFINISHED: &str = ".unfinished-";

/// A directory of evidence. It is created for the first file.
#[derive(Clone)]
pub struct EvidenceDir {
    path: PathBuf,
    io: Arc<dyn DiskIo>,
}

impl fmt::Debug for EvidenceDir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("EvidenceDir").field(&self.path).finish()
    }
}

/// A fork on the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The file.
    pub path: PathBuf,
    /// Whether it was written just now.
    pub new: bool,
}

impl EvidenceDir {
    /// Evidence at `path`, which need not exist.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self::with_io(path, Arc::new(RealDisk))
    }

    /// Like [`new`](Self::new), with every step of a write taken by `io`.
    #[must_use]
    pub fn with_io(path: impl Into<PathBuf>, io: Arc<dyn DiskIo>) -> Self {
        Self { path: path.into(), io }
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes the fork's file durably and at once, unless it exists.
    ///
    /// # Errors
    /// The system's, and [`io::ErrorKind::QuotaExceeded`] if [`MAX_FORKS`] or [`MAX_FORKS_OF_A_LOG`] is
    /// reached: then the caller can only report the fork.
    pub fn keep(&self, fork: &ProvenFork) -> io::Result<Kept> {
        let path = self.path.join(fork.file_name());
        if path.try_exists()? {
            // Whoever linked it may have failed before its name was durable.
            self.sync_names()?;
            return Ok(Kept { path, new: false });
        }
        fs::create_dir_all(&self.path)?;
        self.check_room(&file_name_prefix(fork.origin()))?;
        let unfinished = self.reserve_unfinished()?;
        let linked = self.write_unfinished(&unfinished, &fork.to_bytes()).and_then(|()| {
            // Unlike a rename, a link never replaces a file.
            self.io.link(&unfinished, &path)
        });
        // The file counts once it is linked, and nobody reads an unfinished one: a failed removal is harmless.
        let _ = self.io.remove(&unfinished);
        let new = match linked {
            Ok(()) => true,
            // Another process kept the same fork.
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => false,
            Err(e) => return Err(e),
        };
        self.sync_names()?;
        Ok(Kept { path, new })
    }

    /// Names of the files, sorted. Empty if there is no directory.
    ///
    /// # Errors
    /// The system's.
    pub fn names(&self) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(&self.path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other?,
        };
        let mut names = Vec::new();
        for entry in entries {
            let name = entry?.file_name();
            names.extend(name.to_str().filter(|name| name.ends_with(FILE_EXTENSION)).map(str::to_owned));
        }
        names.sort();
        Ok(names)
    }

    /// Whether there is a fork of this log. False if the directory can't be read.
    #[must_use]
    pub fn has_any_of(&self, origin: &Origin) -> bool {
        self.count_of(origin).is_ok_and(|count| count > 0)
    }

    /// Finds a kept fork that has this head on one of its sides. A witness with another history shows it
    /// again and again while the log grows: one file of it is enough.
    ///
    /// # Errors
    /// The system's. Files that are no evidence are skipped.
    pub fn fork_of(&self, head: &Checkpoint, keys: &[impl SignsFor]) -> io::Result<Option<ProvenFork>> {
        let (of_log, of_size) = (file_name_prefix(&head.origin), format!("-{}-", head.size));
        let is_it = |side: &Checkpoint| (side.size, side.root) == (head.size, head.root);
        for name in self.names()? {
            if !name.starts_with(&of_log) || !name.contains(&of_size) {
                continue;
            }
            let fork = self.read(&name, keys)?;
            if let Some(fork) = fork.filter(|fork| is_it(fork.smaller()) || is_it(fork.larger())) {
                return Ok(Some(fork));
            }
        }
        Ok(None)
    }

    /// The files that are named after this log, each with the fork that these keys prove; `None` if it proves
    /// none.
    ///
    /// # Errors
    /// The system's.
    pub fn forks_of(
        &self,
        origin: &Origin,
        keys: &[impl SignsFor],
    ) -> io::Result<Vec<(PathBuf, Option<ProvenFork>)>> {
        let of_log = file_name_prefix(origin);
        let names = self.names()?.into_iter().filter(|name| name.starts_with(&of_log));
        let read = |name: String| {
            let fork = self.read(&name, keys)?.filter(|fork| fork.origin() == origin);
            Ok((self.path.join(name), fork))
        };
        names.map(read).collect()
    }

    /// Number of files that are named after this log.
    ///
    /// # Errors
    /// The system's.
    pub fn count_of(&self, origin: &Origin) -> io::Result<usize> {
        let of_log = file_name_prefix(origin);
        Ok(self.names()?.iter().filter(|name| name.starts_with(&of_log)).count())
    }

    /// Reads a file; `None` unless it proves a fork by the holder of these keys.
    fn read(&self, name: &str, keys: &[impl SignsFor]) -> io::Result<Option<ProvenFork>> {
        let mut bytes = Vec::new();
        open_plain(&self.path.join(name))?.take(MAX_FORK_BYTES as u64 + 1).read_to_end(&mut bytes)?;
        let evidence = ForkEvidence::parse(&bytes).ok();
        Ok(evidence.and_then(|evidence| evidence.judge(keys).ok()))
    }

    fn check_room(&self, of_log: &str) -> io::Result<()> {
        let names = self.names()?;
        let (all, of_this) = (names.len(), names.iter().filter(|name| name.starts_with(of_log)).count());
        let full = |limit: usize, whose: &str| {
            let dir = self.path.display();
            let message =
                format!("{dir} holds {limit} forks{whose} already: move some to where they are safe");
            Err(io::Error::new(io::ErrorKind::QuotaExceeded, message))
        };
        match () {
            () if of_this >= MAX_FORKS_OF_A_LOG => full(MAX_FORKS_OF_A_LOG, " of this log"),
            () if all >= MAX_FORKS => full(MAX_FORKS, ""),
            () => Ok(()),
        }
    }

    /// Makes the names in the directory durable, and its own.
    fn sync_names(&self) -> io::Result<()> {
        self.io.sync_dir(&self.path)?;
        match self.path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            Some(parent) => self.io.sync_dir(parent),
            None => Ok(()),
        }
    }

    fn write_unfinished(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let file = self.io.create(path)?;
        self.io.write_at(&file, path, bytes, 0)?;
        self.io.sync_all(&file, path)
    }

    /// Creates an empty file under a name that no other process uses. Nobody reads what a crash leaves of it.
    fn reserve_unfinished(&self) -> io::Result<PathBuf> {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        loop {
            let count = COUNTER.fetch_add(1, Ordering::Relaxed);
            let path = self.path.join(format!("{UNFINISHED}{}-{count}", std::process::id()));
            match File::create_new(&path) {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                other => return other.map(|_| path),
            }
        }
    }
}

#[cfg(test)]
mod tests;
