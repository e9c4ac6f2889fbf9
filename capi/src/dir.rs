//! The memory in a directory, which several processes may share: the files, names and steps of `treehead verify --state`.
//!
//! ```text
//! state.json   lock   evidence/<name>.tlog-fork
//! ```

#![cfg(all(feature = "dir", unix))]

use alloc::string::String;
use alloc::vec::Vec;

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, FileType, FlockOperation, Mode, OFlags, Stat};
use rustix::io::Errno;
use rustix::time::Timespec;
use treehead::endpoint::{EndpointState, MAX_STATE_BYTES, VerdictCode};

use crate::fail::{Done, Fail, th_status};
use crate::state;

/// Most tries to get the lock, and the pause between two: 30 seconds.
const MOST_TRIES: u32 = 6_000;
const PAUSE: Timespec = Timespec { tv_sec: 0, tv_nsec: 5_000_000 };

/// A directory with a memory.
pub(crate) struct StateDir {
    path: Vec<u8>,
}

/// The lock, until it is dropped.
pub(crate) struct Lock(#[expect(dead_code, reason = "the lock is the open file")] OwnedFd);

fn io(doing: &str, path: &[u8]) -> impl Fn(Errno) -> Fail {
    let message = alloc::format!("could not {doing} {}", String::from_utf8_lossy(path));
    move |e| {
        let detail = alloc::format!("{message}: error {} of the operating system", e.raw_os_error());
        Fail::coded(th_status::TH_IO, VerdictCode::CouldNotTell, detail)
    }
}

fn not_a_file(path: &[u8]) -> Fail {
    let message = alloc::format!("{} is no regular file", String::from_utf8_lossy(path));
    Fail::coded(th_status::TH_COULD_NOT_TELL, VerdictCode::StateDamaged, message)
}

fn is_file(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
}

impl StateDir {
    /// Opens a directory, which is created if need be.
    pub fn open(path: &[u8]) -> Done<Self> {
        create_all(path)?;
        Ok(Self { path: path.to_vec() })
    }

    fn file(&self, name: &str) -> Vec<u8> {
        [self.path.as_slice(), b"/", name.as_bytes()].concat()
    }

    /// Waits for the lock.
    pub fn lock(&self) -> Done<Lock> {
        let path = self.file("lock");
        let flags = OFlags::CREATE | OFlags::WRONLY | own();
        let file = rustix::fs::open(&*path, flags, Mode::from_raw_mode(0o666)).map_err(io("open", &path))?;
        for _ in 0..MOST_TRIES {
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Lock(file)),
                Err(Errno::WOULDBLOCK) => {}
                Err(e) => return Err(io("lock", &path)(e)),
            }
            let _ = rustix::thread::nanosleep(&PAUSE);
        }
        let message = alloc::format!("{} is held by another process", String::from_utf8_lossy(&path));
        Err(Fail::coded(th_status::TH_BUSY, VerdictCode::CouldNotTell, message))
    }

    /// Reads the memory; an empty one if there is no file.
    pub fn read(&self) -> Done<EndpointState> {
        let path = self.file("state.json");
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match rustix::fs::open(&*path, flags, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(EndpointState::default()),
            other => other.map_err(io("read", &path))?,
        };
        let stat = rustix::fs::fstat(&file).map_err(io("read", &path))?;
        if !is_file(&stat) {
            return Err(not_a_file(&path));
        }
        let bytes = read_all(&file, MAX_STATE_BYTES + 1).map_err(io("read", &path))?;
        state::parse(&bytes)
    }

    /// Replaces the memory. When this returns, it survives a power cut; a crash before that leaves the old one or the new
    /// one, whole.
    pub fn save(&self, state: &EndpointState) -> Done {
        let (path, new) = (self.file("state.json"), self.file("state.json.new"));
        let bytes = state::print(state)?;
        let there = match rustix::fs::lstat(&*path) {
            Ok(stat) if !is_file(&stat) => return Err(not_a_file(&path)),
            Ok(stat) => Some(stat),
            Err(Errno::NOENT) => None,
            Err(e) => return Err(io("read", &path)(e)),
        };
        let flags = OFlags::CREATE | OFlags::TRUNC | OFlags::WRONLY | own();
        let write = || {
            let file = rustix::fs::open(&*new, flags, Mode::from_raw_mode(0o666))?;
            // The mode that the owner set, before there is any content.
            if let Some(stat) = there {
                rustix::fs::fchmod(&file, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
            }
            write_all(&file, &bytes)?;
            rustix::fs::fsync(&file)?;
            rustix::fs::rename(&*new, &*path)?;
            sync_dir(&self.path)
        };
        write().map_err(io("write", &path))
    }

    /// Saves a file of evidence, durably and whole. One that is there is never overwritten.
    pub fn keep(&self, name: &str, bytes: &[u8]) -> Done {
        let dir = self.file("evidence");
        create_all(&dir)?;
        let path = [dir.as_slice(), b"/", name.as_bytes()].concat();
        let pid = rustix::process::getpid().as_raw_nonzero();
        let unfinished = [dir.as_slice(), alloc::format!("/.unfinished-{pid}-capi").as_bytes()].concat();
        let flags = OFlags::CREATE | OFlags::TRUNC | OFlags::WRONLY | own();
        let write = || {
            let file = rustix::fs::open(&*unfinished, flags, Mode::from_raw_mode(0o666))?;
            write_all(&file, bytes)?;
            rustix::fs::fsync(&file)?;
            // Unlike a rename, a link never replaces a file.
            let linked = rustix::fs::link(&*unfinished, &*path);
            let _ = rustix::fs::unlink(&*unfinished);
            if let Err(e) = linked
                && e != Errno::EXIST
            {
                return Err(e);
            }
            sync_dir(&dir)?;
            sync_dir(&self.path)
        };
        write().map_err(io("write", &path))
    }
}

/// For the program's own files: a link or a pipe in their place is refused.
fn own() -> OFlags {
    OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC
}

/// Creates a directory and those above it.
fn create_all(path: &[u8]) -> Done {
    let ends = path.iter().enumerate().skip(1).filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
    for end in ends.chain([path.len()]) {
        match rustix::fs::mkdir(&path[..end], Mode::from_raw_mode(0o777)) {
            Ok(()) | Err(Errno::EXIST) => {}
            // Above, a directory may be there and not for us to make: the last one tells.
            Err(_) if end < path.len() => {}
            Err(e) => return Err(io("create", path)(e)),
        }
    }
    let stat = rustix::fs::statat(rustix::fs::CWD, path, AtFlags::empty()).map_err(io("open", path))?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        return Ok(());
    }
    Err(io("open", path)(Errno::NOTDIR))
}

/// Makes the names in a directory durable.
fn sync_dir(path: &[u8]) -> Result<(), Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::fsync(rustix::fs::open(path, flags, Mode::empty())?)
}

/// Reads at most `most` bytes.
fn read_all(file: impl AsFd, most: usize) -> Result<Vec<u8>, Errno> {
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    while bytes.len() < most {
        match rustix::io::read(&file, &mut piece) {
            Ok(0) => break,
            Ok(count) => bytes.extend_from_slice(&piece[..count]),
            Err(Errno::INTR) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(bytes)
}

fn write_all(file: impl AsFd, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match rustix::io::write(&file, bytes) {
            Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}
