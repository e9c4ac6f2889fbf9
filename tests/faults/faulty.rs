//! The disk, failing at chosen steps.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::{Mutex, MutexGuard};

use treehead::disk::{DiskError, DiskIo, RealDisk, SledError, SledIo};

/// The steps that there are, as [`DiskIo`] has them.
pub const KINDS: [&str; 9] =
    ["create", "write_at", "sync_data", "sync_all", "set_len", "rename", "remove", "sync_dir", "derive"];

/// How a step fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// Nothing of it was done.
    Failed,
    /// All of it was done, and nobody is told so.
    FailedButPersisted,
    /// Half of a write was done; any other step fails whole.
    Half,
    /// Nothing was done, and it is said to have been: what no store survives, and every check has to
    /// notice.
    Lied,
}

/// Which steps fail.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// The first one, counted from zero over all kinds.
    pub at: usize,
    /// How many in a row.
    pub times: usize,
    pub how: How,
    /// What the system says: a number of errno(3).
    pub error: i32,
}

impl Plan {
    pub const NONE: Self = Self { at: usize::MAX, times: 0, how: How::Failed, error: 5 };
}

pub struct Faulty {
    plan: Plan,
    taken: Mutex<Vec<&'static str>>,
    always: Mutex<Option<How>>,
}

impl Faulty {
    pub fn new(plan: Plan) -> Self {
        Self { plan, taken: Mutex::default(), always: Mutex::default() }
    }

    /// The kinds of all steps so far.
    pub fn taken(&self) -> MutexGuard<'_, Vec<&'static str>> {
        self.taken.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Every step from now on fails like this, or none.
    pub fn fail_until_told(&self, how: Option<How>) {
        *self.always.lock().unwrap() = how;
    }

    fn next(&self, kind: &'static str) -> Option<How> {
        let mut taken = self.taken();
        let at = taken.len();
        taken.push(kind);
        let planned = (self.plan.at..self.plan.at.saturating_add(self.plan.times)).contains(&at);
        if planned { Some(self.plan.how) } else { *self.always.lock().unwrap() }
    }

    fn error(&self) -> io::Error {
        io::Error::from_raw_os_error(self.plan.error)
    }

    fn step<T>(&self, kind: &'static str, take: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        match self.next(kind) {
            None => take(),
            Some(How::FailedButPersisted) => take().and(Err(self.error())),
            Some(How::Failed | How::Half | How::Lied) => Err(self.error()),
        }
    }
}

impl DiskIo for Faulty {
    fn create(&self, path: &Path) -> io::Result<File> {
        self.step("create", || RealDisk.create(path))
    }

    fn write_at(&self, file: &File, path: &Path, bytes: &[u8], offset: u64) -> io::Result<()> {
        match self.next("write_at") {
            None => RealDisk.write_at(file, path, bytes, offset),
            Some(how) => {
                let written = match how {
                    How::Failed | How::Lied => 0,
                    How::Half => bytes.len() / 2,
                    How::FailedButPersisted => bytes.len(),
                };
                RealDisk.write_at(file, path, &bytes[..written], offset)?;
                if how == How::Lied { Ok(()) } else { Err(self.error()) }
            }
        }
    }

    fn sync_data(&self, file: &File, path: &Path) -> io::Result<()> {
        self.step("sync_data", || RealDisk.sync_data(file, path))
    }

    fn sync_all(&self, file: &File, path: &Path) -> io::Result<()> {
        self.step("sync_all", || RealDisk.sync_all(file, path))
    }

    fn set_len(&self, file: &File, path: &Path, length: u64) -> io::Result<()> {
        self.step("set_len", || RealDisk.set_len(file, path, length))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step("rename", || RealDisk.rename(from, to))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.step("remove", || RealDisk.remove(path))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.step("sync_dir", || RealDisk.sync_dir(dir))
    }
}

impl SledIo for Faulty {
    fn write_rows(&self, write: &mut dyn FnMut() -> Result<(), SledError>) -> Result<(), SledError> {
        let how = self.next("derive");
        if matches!(how, None | Some(How::FailedButPersisted)) {
            write()?;
        }
        let failed = || DiskError::io("write", "sled")(self.error()).into();
        if how.is_some() { Err(failed()) } else { Ok(()) }
    }
}
