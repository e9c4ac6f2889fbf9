//! A disk that fails at chosen steps, and sweeps in which every step of a life fails once.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::{Component, Path};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use treehead::disk::{DiskError, DiskIo, RealDisk, SledError, SledIo};

use super::parallel;

/// The kinds of steps of a log, named after the methods of [`DiskIo`] and [`SledIo`]. Only evidence is linked.
pub const KINDS: [&str; 9] =
    ["create", "write_at", "sync_data", "sync_all", "set_len", "rename", "remove", "sync_dir", "write_rows"];
/// `EIO`, `ENOSPC` and `EROFS`.
const ERRORS: [i32; 3] = [5, 28, 30];

/// The outcome of a step that fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// Nothing is done, and the caller gets an error.
    NotDone,
    /// The step is done, and the caller gets an error all the same.
    DoneAnyway,
    /// Half of a write is done. Any other step is not done at all.
    HalfDone,
    /// Nothing is done, and the caller is told that it was. No store survives that; checks have to detect it.
    ClaimedDone,
}

impl Failure {
    /// The number of bytes that a failing write of `bytes` writes.
    pub fn written(self, bytes: usize) -> usize {
        match self {
            Self::NotDone | Self::ClaimedDone => 0,
            Self::HalfDone => bytes / 2,
            Self::DoneAnyway => bytes,
        }
    }
}

/// The steps that fail.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// The first one, counted from zero over all kinds.
    pub at: usize,
    /// How many in a row.
    pub times: usize,
    pub failure: Failure,
    /// The system's error number, as in errno(3).
    pub errno: i32,
    /// Only steps of this kind fail.
    pub only: Option<&'static str>,
}

impl Plan {
    pub const NONE: Self = Self { at: usize::MAX, times: 0, failure: Failure::NotDone, errno: 5, only: None };

    /// Every step after the first `steps` fails, and writes are half done: a crash, as far as files can show.
    pub fn crash_after(steps: usize) -> Self {
        Self { at: steps, times: usize::MAX, failure: Failure::HalfDone, ..Self::NONE }
    }

    /// Every step of this kind is claimed to be done.
    pub fn claim_all(kind: &'static str) -> Self {
        Self { at: 0, times: usize::MAX, failure: Failure::ClaimedDone, only: Some(kind), ..Self::NONE }
    }

    fn covers(&self, at: usize, kind: &str) -> bool {
        (self.at..self.at.saturating_add(self.times)).contains(&at)
            && self.only.is_none_or(|only| only == kind)
    }

    /// The kinds of the steps that failed, among those that were taken.
    pub fn met<'a>(&self, taken: &'a [&'static str]) -> impl Iterator<Item = &'static str> + use<'a> {
        taken.iter().skip(self.at).take(self.times).copied()
    }

    /// Whether an error gives the system's reason.
    pub fn explains(&self, error: &str) -> bool {
        error.contains(&format!("os error {}", self.errno))
    }

    /// Tries something until it works, once more than steps fail: an operator tries again, too.
    ///
    /// # Errors
    /// All errors, if it never works.
    pub fn retry<T>(&self, mut work: impl FnMut() -> Result<T, String>) -> Result<T, String> {
        let mut refused = Vec::new();
        for _ in 0..=self.times {
            match work() {
                Ok(done) => return Ok(done),
                Err(why) => refused.push(why),
            }
        }
        Err(format!("it fails more often than its disk: {refused:?}"))
    }
}

/// The state of a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Only the planned steps fail.
    Planned,
    /// Every step waits for another mode.
    Held,
    /// Every step fails.
    Failing(Failure),
}

/// The real disk, except that steps fail.
pub struct FaultyDisk {
    plan: Plan,
    /// Only paths with a component that begins like this are on this disk.
    part: &'static str,
    state: Mutex<(Mode, Vec<&'static str>)>,
    changed: Condvar,
}

impl FaultyDisk {
    pub fn new(plan: Plan) -> Self {
        Self::for_part(plan, "")
    }

    /// A disk for the paths with a component that begins with `part`. Steps on other paths always work, and
    /// don't count.
    pub fn for_part(plan: Plan, part: &'static str) -> Self {
        Self { plan, part, state: Mutex::new((Mode::Planned, Vec::new())), changed: Condvar::new() }
    }

    fn state(&self) -> MutexGuard<'_, (Mode, Vec<&'static str>)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The kinds of all steps so far.
    pub fn taken(&self) -> Vec<&'static str> {
        self.state().1.clone()
    }

    pub fn mode(&self) -> Mode {
        self.state().0
    }

    pub fn set(&self, mode: Mode) {
        self.state().0 = mode;
        self.changed.notify_all();
    }

    /// Counts a step. Returns its failure, if it has to fail.
    fn next(&self, kind: &'static str, path: &Path) -> Option<Failure> {
        let is_ours = |part: Component<'_>| part.as_os_str().to_string_lossy().starts_with(self.part);
        if !path.components().any(is_ours) {
            return None;
        }
        let held = self.changed.wait_while(self.state(), |state| state.0 == Mode::Held);
        let mut state = held.unwrap_or_else(PoisonError::into_inner);
        let at = state.1.len();
        state.1.push(kind);
        match state.0 {
            Mode::Failing(failure) => Some(failure),
            _ => self.plan.covers(at, kind).then_some(self.plan.failure),
        }
    }

    /// The answer to a step that failed.
    fn answer(&self, failure: Failure) -> io::Result<()> {
        if failure == Failure::ClaimedDone {
            Ok(())
        } else {
            Err(io::Error::from_raw_os_error(self.plan.errno))
        }
    }

    fn step(&self, kind: &'static str, path: &Path, take: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let Some(failure) = self.next(kind, path) else { return take() };
        if failure == Failure::DoneAnyway {
            take()?;
        }
        self.answer(failure)
    }
}

impl DiskIo for FaultyDisk {
    fn create(&self, path: &Path) -> io::Result<File> {
        let mut file = None;
        self.step("create", path, || RealDisk.create(path).map(|created| file = Some(created)))?;
        file.ok_or_else(|| io::Error::from_raw_os_error(self.plan.errno))
    }

    fn write_at(&self, file: &File, path: &Path, bytes: &[u8], offset: u64) -> io::Result<()> {
        let Some(failure) = self.next("write_at", path) else {
            return RealDisk.write_at(file, path, bytes, offset);
        };
        RealDisk.write_at(file, path, &bytes[..failure.written(bytes.len())], offset)?;
        self.answer(failure)
    }

    fn sync_data(&self, file: &File, path: &Path) -> io::Result<()> {
        self.step("sync_data", path, || RealDisk.sync_data(file, path))
    }

    fn sync_all(&self, file: &File, path: &Path) -> io::Result<()> {
        self.step("sync_all", path, || RealDisk.sync_all(file, path))
    }

    fn set_len(&self, file: &File, path: &Path, length: u64) -> io::Result<()> {
        self.step("set_len", path, || RealDisk.set_len(file, path, length))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step("rename", to, || RealDisk.rename(from, to))
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step("link", to, || RealDisk.link(from, to))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.step("remove", path, || RealDisk.remove(path))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.step("sync_dir", dir, || RealDisk.sync_dir(dir))
    }
}

impl SledIo for FaultyDisk {
    fn write_rows(&self, write: &mut dyn FnMut() -> Result<(), SledError>) -> Result<(), SledError> {
        let failure = self.next("write_rows", Path::new("sled"));
        if matches!(failure, None | Some(Failure::DoneAnyway)) {
            write()?;
        }
        let answer = failure.map_or(Ok(()), |_| self.answer(Failure::NotDone));
        Ok(answer.map_err(DiskError::io("write", "sled"))?)
    }
}

/// A life under a plan. Returns the kinds of its steps.
///
/// # Errors
/// A broken promise.
pub trait Life: Fn(Plan) -> Result<Vec<&'static str>, String> + Sync {}

impl<T: Fn(Plan) -> Result<Vec<&'static str>, String> + Sync> Life for T {}

/// A plan for each of these steps and failures, `times` in a row. Of single steps, only writes are half done.
pub fn plans(steps: &[&str], times: usize, failures: &[Failure]) -> Vec<Plan> {
    let mut plans = Vec::new();
    for (at, kind) in steps.iter().enumerate() {
        for (turn, failure) in failures.iter().enumerate() {
            if *failure != Failure::HalfDone || *kind == "write_at" {
                let errno = ERRORS[(at + turn) % 3];
                plans.push(Plan { at, times, failure: *failure, errno, only: None });
            }
        }
    }
    plans
}

/// Lives a life under each plan. Returns the kinds of steps that failed in any of them.
#[track_caller]
pub fn sweep(plans: &[Plan], live: impl Life) -> BTreeSet<&'static str> {
    let met = Mutex::new(BTreeSet::new());
    parallel::assert_all(plans, |plan| {
        let taken = live(*plan).map_err(|e| format!("{plan:?}: {e}"))?;
        met.lock().unwrap().extend(plan.met(&taken));
        Ok(())
    });
    let met = met.into_inner().unwrap();
    println!("{} faults, of the kinds {met:?}", plans.len());
    met
}

/// Sweeps a life in which each step fails alone.
#[track_caller]
pub fn sweep_single_steps(live: impl Life) -> BTreeSet<&'static str> {
    let steps = live(Plan::NONE).expect("nothing fails");
    sweep(&plans(&steps, 1, &[Failure::NotDone, Failure::DoneAnyway, Failure::HalfDone]), live)
}

/// Sweeps a life in which two and three steps in a row fail.
#[track_caller]
pub fn sweep_steps_in_a_row(live: impl Life) -> BTreeSet<&'static str> {
    let steps = live(Plan::NONE).expect("nothing fails");
    let twice = plans(&steps, 2, &[Failure::NotDone, Failure::DoneAnyway]);
    // Half a write, and then the truncation that should have removed it.
    let thrice = twice.iter().map(|plan| Plan { times: 3, failure: Failure::HalfDone, ..*plan }).step_by(2);
    sweep(&thrice.chain(twice.clone()).collect::<Vec<_>>(), live)
}

/// Claims each write of a life to be done, one in each life. Returns the number of lives that noticed.
pub fn noticed_claims(live: impl Life) -> usize {
    let steps = live(Plan::NONE).expect("nothing fails");
    let writes = (0..steps.len()).filter(|at| steps[*at] == "write_at");
    let plans = writes.map(|at| Plan { at, times: 1, failure: Failure::ClaimedDone, ..Plan::NONE });
    let (noticed, missed): (Vec<Plan>, Vec<Plan>) = plans.partition(|plan| live(*plan).is_err());
    println!("{} noticed, {} made good", noticed.len(), missed.len());
    noticed.len()
}
