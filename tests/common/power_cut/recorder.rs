//! Records each step by which a program changes its files, and each promise between them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use treehead::disk::{DiskIo, RealDisk, SledError, SledIo};
use treehead::store::Layout;

/// Files by their path below the recorded directory.
pub type Files = BTreeMap<PathBuf, Vec<u8>>;

/// A step. Paths are below the recorded directory.
#[derive(Debug, Clone)]
pub enum Step<P> {
    Create(PathBuf),
    Write {
        path: PathBuf,
        offset: u64,
        bytes: Vec<u8>,
    },
    SetLen(PathBuf, u64),
    Rename(PathBuf, PathBuf),
    /// A file got a second name.
    Link(PathBuf, PathBuf),
    Remove(PathBuf),
    /// The file's content is durable.
    Synced(PathBuf),
    /// The file's content is not durable, and the system no longer tries to make it so.
    SyncFailed(PathBuf),
    /// The names in the directory are durable.
    DirSynced(PathBuf),
    /// The program made a promise.
    Promised(P),
    /// sled was closed and synced; the next start trusts these files of it.
    SledClosed(Arc<Files>),
    /// The files of an open sled.
    SledSeen(Arc<Files>),
}

/// A step that the disk claims to do, and does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lie {
    /// fdatasync of a journal segment.
    Fdatasync,
    /// fsync of the head of a new segment.
    SegmentFsync,
    /// fsync of the journal's directory.
    JournalDir,
    /// fsync of the log's directory.
    LogDir,
    /// fsync of the checkpoint before its rename, and fdatasync of a slot of it.
    CheckpointFsync,
    /// fsync of an old segment, as after a restart, or after the log truncated a failed append.
    OldSegmentFsync,
    /// Rewriting bytes that were there at a restart.
    WriteAgain,
}

/// An accident of the next step of its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accident {
    /// The next fdatasync of a segment fails.
    Fdatasync,
    /// The next fdatasync of a segment fails, and the process is killed before it reacts.
    FdatasyncThenKill,
    /// The process is killed between the next write to a segment and its fdatasync.
    Kill,
    /// The next write to a segment stops halfway.
    HalfWrite,
    /// As the four above, for a slot of the checkpoint.
    SlotFdatasync,
    SlotFdatasyncThenKill,
    SlotKill,
    SlotHalfWrite,
    /// The next rename is done, and reported as failed.
    Rename,
    /// sled refuses the next rows.
    Rows,
}

/// The real disk, with a record of all its steps. It does no fsync itself.
pub struct Recorder<P> {
    dir: PathBuf,
    lie: Option<Lie>,
    state: Mutex<State<P>>,
}

struct State<P> {
    steps: Vec<Step<P>>,
    accident: Option<Accident>,
    /// The process counts as killed: its steps fail and change nothing.
    killed: bool,
}

impl<P> Recorder<P> {
    pub fn new(dir: &Path, lie: Option<Lie>) -> Self {
        let state = State { steps: Vec::new(), accident: None, killed: false };
        Self { dir: dir.to_owned(), lie, state: Mutex::new(state) }
    }

    fn note(&self, step: Step<P>) {
        self.state().steps.push(step);
    }

    pub fn promise(&self, promise: P) {
        self.note(Step::Promised(promise));
    }

    pub fn next_meets(&self, accident: Accident) {
        self.state().accident = Some(accident);
    }

    /// The process starts again after it was killed.
    pub fn restarted(&self) {
        self.state().killed = false;
    }

    fn alive(&self) -> io::Result<()> {
        if self.state().killed { Err(io::Error::other("killed")) } else { Ok(()) }
    }

    /// Takes all steps so far.
    pub fn take(&self) -> Vec<Step<P>> {
        std::mem::take(&mut self.state().steps)
    }

    fn state(&self) -> MutexGuard<'_, State<P>> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn below(&self, path: &Path) -> PathBuf {
        path.strip_prefix(&self.dir).expect("a path in the recorded directory").to_owned()
    }

    fn lies(&self, about: Lie) -> bool {
        self.lie == Some(about)
    }

    fn meets(&self, accident: Accident) -> bool {
        let mut state = self.state();
        let met = state.accident == Some(accident);
        if met {
            state.accident = None;
            state.killed = matches!(
                accident,
                Accident::Kill
                    | Accident::FdatasyncThenKill
                    | Accident::SlotKill
                    | Accident::SlotFdatasyncThenKill
            );
        }
        met
    }

    fn sled(&self) -> Arc<Files> {
        Arc::new(read_files(&Layout::new(&self.dir).sled()))
    }
}

impl<P: Send> DiskIo for Recorder<P> {
    fn create(&self, path: &Path) -> io::Result<File> {
        self.alive()?;
        self.note(Step::Create(self.below(path)));
        RealDisk.create(path)
    }

    fn write_at(&self, file: &File, path: &Path, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.alive()?;
        if self.lies(Lie::WriteAgain) && is_there(path, bytes, offset)? {
            return Ok(());
        }
        // A slot is written in place: the file beside it has another name.
        let half = is_segment(path) && self.meets(Accident::HalfWrite)
            || is_checkpoint(path) && self.meets(Accident::SlotHalfWrite);
        let bytes = if half { &bytes[..bytes.len() / 2] } else { bytes };
        self.note(Step::Write { path: self.below(path), offset, bytes: bytes.to_vec() });
        RealDisk.write_at(file, path, bytes, offset)?;
        if half { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn sync_data(&self, _file: &File, path: &Path) -> io::Result<()> {
        self.alive()?;
        // The index syncs its files on a thread of its own, which meets nothing.
        let accidents = if is_checkpoint(path) {
            Some([Accident::SlotKill, Accident::SlotFdatasync, Accident::SlotFdatasyncThenKill])
        } else {
            is_segment(path).then_some([Accident::Kill, Accident::Fdatasync, Accident::FdatasyncThenKill])
        };
        let path = self.below(path);
        if let Some([kill, fails, fails_then_kill]) = accidents {
            if self.meets(kill) {
                return self.alive();
            }
            if self.meets(fails) || self.meets(fails_then_kill) {
                self.note(Step::SyncFailed(path));
                return Err(io::Error::from_raw_os_error(5));
            }
        }
        let lie = if is_checkpoint(&path) { Lie::CheckpointFsync } else { Lie::Fdatasync };
        if !self.lies(lie) {
            self.note(Step::Synced(path));
        }
        Ok(())
    }

    fn sync_all(&self, file: &File, path: &Path) -> io::Result<()> {
        self.alive()?;
        let path = self.below(path);
        // A new segment is only its header.
        let is_new = is_segment(&path) && file.metadata()?.len() <= 60;
        let lies = (self.lies(Lie::SegmentFsync) && is_new)
            || (self.lies(Lie::OldSegmentFsync) && is_segment(&path) && !is_new)
            || (self.lies(Lie::CheckpointFsync) && path == Path::new("checkpoint.new"));
        if !lies {
            self.note(Step::Synced(path));
        }
        Ok(())
    }

    fn set_len(&self, file: &File, path: &Path, length: u64) -> io::Result<()> {
        self.alive()?;
        self.note(Step::SetLen(self.below(path), length));
        RealDisk.set_len(file, path, length)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.alive()?;
        self.note(Step::Rename(self.below(from), self.below(to)));
        RealDisk.rename(from, to)?;
        if !to.ends_with("index/manifest") && self.meets(Accident::Rename) {
            Err(io::Error::from_raw_os_error(5))
        } else {
            Ok(())
        }
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.alive()?;
        RealDisk.link(from, to)?;
        self.note(Step::Link(self.below(from), self.below(to)));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.alive()?;
        if path == Layout::new(&self.dir).sled_mark() {
            self.note(Step::SledClosed(self.sled()));
        }
        self.note(Step::Remove(self.below(path)));
        RealDisk.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.alive()?;
        let dir = self.below(dir);
        let lies = self.lies(if dir == Path::new("") { Lie::LogDir } else { Lie::JournalDir });
        if !lies {
            self.note(Step::DirSynced(dir));
        }
        Ok(())
    }
}

impl<P: Send> SledIo for Recorder<P> {
    fn write_rows(&self, write: &mut dyn FnMut() -> Result<(), SledError>) -> Result<(), SledError> {
        if self.meets(Accident::Rows) {
            return Err(SledError::Damaged("rows".to_owned()));
        }
        let seen = self.state().steps.iter().filter(|step| matches!(step, Step::SledSeen(_))).count();
        write()?;
        if seen < 3 {
            self.note(Step::SledSeen(self.sled()));
        }
        Ok(())
    }
}

/// A segment of a log, or the journal of a witness or a delivery.
fn is_segment(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "seg" || extension == "journal")
}

fn is_checkpoint(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == "checkpoint")
}

fn is_there(path: &Path, bytes: &[u8], offset: u64) -> io::Result<bool> {
    let file = fs::read(path)?;
    let begin = usize::try_from(offset).expect("small files");
    Ok(file.get(begin..begin + bytes.len()) == Some(bytes))
}

/// Reads all files below a directory. An open sled may remove some meanwhile.
pub fn read_files(dir: &Path) -> Files {
    let mut files = Files::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(next) = dirs.pop() {
        for item in fs::read_dir(next).into_iter().flatten().flatten() {
            let path = item.path();
            if path.is_dir() {
                dirs.push(path);
            } else if let Ok(bytes) = fs::read(&path) {
                files.insert(path.strip_prefix(dir).expect("below it").to_owned(), bytes);
            }
        }
    }
    files
}
