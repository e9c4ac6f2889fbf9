//! A recorded run, cut off at each of its steps.

use std::collections::HashSet;
use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use treehead::disk::{DiskIo, SledIo};
use treehead::store::Layout;

use super::recorder::{Accident, Files, Lie, Recorder, Step, read_files};
use super::simulated::{Disk, Survives};
use crate::common::driver::{Driver, Ledger, Notary, Noted, audit, entries, open_store};
use crate::common::mounts::quick_dir;
use crate::common::mounts::reboot;
use crate::common::promises::Promises;
use crate::common::random::Random;

/// Small enough that a few batches fill a segment.
const SEGMENT_BYTES: u64 = 1_500;

/// A run, and all that was there and promised before it.
pub struct Recording {
    before: Files,
    sled_before: Option<Arc<Files>>,
    promised: Promises,
    steps: Vec<Step>,
}

/// A log under the recorder.
struct Run {
    recorder: Arc<Recorder>,
    driver: Driver,
}

impl Run {
    fn start(dir: &Path, recorder: &Arc<Recorder>, ledger: &Arc<Ledger>) -> Result<Self, String> {
        let io: Arc<dyn SledIo> = recorder.clone();
        let store = open_store(dir, &io, SEGMENT_BYTES).map_err(|e| e.to_string())?;
        let noted = Noted { store, notary: recorder.clone() };
        let driver = Driver::start(Box::new(noted), ledger.clone())?;
        recorder.signed(&driver.sequencer.published().borrow().checkpoint);
        Ok(Self { recorder: recorder.clone(), driver })
    }

    /// Appends a batch, if need be after a reload, and waits for its head.
    fn append(&self, batch: &[Vec<u8>]) {
        let mut results = self.driver.submit(batch).unwrap();
        if results.iter().any(Result::is_err) {
            self.settle();
            results = self.driver.submit(batch).unwrap();
        }
        for (entry, result) in batch.iter().zip(results) {
            // Also where it was found by a reload, and no batch of it was ever applied.
            self.recorder.durable(result.unwrap().index.get(), std::slice::from_ref(entry));
        }
        self.settle();
    }

    fn settle(&self) {
        self.driver.settle().unwrap();
        self.recorder.signed(&self.driver.sequencer.published().borrow().checkpoint);
    }

    fn stop(self) {
        self.driver.sequencer.shut_down().unwrap();
    }
}

/// The life of a log: its first second, segment changes, a restart, each accident, a rebuild of sled
/// and a tile that fills up.
pub fn record_a_life(lie: Option<Lie>) -> Recording {
    let dir = quick_dir();
    let recorder = Arc::new(Recorder::new(dir.path(), lie));
    let ledger = Arc::<Ledger>::default();
    let start = || Run::start(dir.path(), &recorder, &ledger).unwrap();
    let run = start();
    for (at, count) in [1, 2, 9, 1, 4].into_iter().enumerate() {
        run.append(&entries(&format!("first {at}"), count));
    }
    run.stop();
    let run = start();
    run.append(&entries("restarted", 3));
    for accident in [Accident::Fdatasync, Accident::HalfWrite, Accident::Rename, Accident::Rows] {
        recorder.next_meets(accident);
        run.append(&entries(&format!("{accident:?}"), 3));
        run.append(&entries(&format!("after {accident:?}"), 4));
    }
    run.append(&large_entries("pages of it"));
    run.stop();
    for accident in [Accident::Kill, Accident::FdatasyncThenKill] {
        let run = start();
        recorder.next_meets(accident);
        let refused = run.driver.submit(&large_entries(&format!("{accident:?}"))).unwrap();
        assert!(refused.iter().all(Result::is_err), "{refused:?}");
        drop(run);
        recorder.restarted();
    }
    let run = start();
    run.append(&entries("after the kills", 5));
    run.stop();
    fs::remove_dir_all(Layout::new(dir.path()).sled()).unwrap();
    let run = start();
    run.append(&entries("rebuilt", 2));
    run.append(&entries("a tile", 250));
    run.append(&entries("and more", 5));
    run.stop();
    let promised = Promises { sent: ledger.lock().sent.clone(), ..Promises::default() };
    Recording { before: Files::new(), sled_before: None, promised, steps: recorder.take() }
}

/// A batch of many pages.
fn large_entries(name: &str) -> Vec<Vec<u8>> {
    (0..5_u8).map(|at| [format!("{name} {at} ").as_bytes(), &[b'a' + at; 7_000]].concat()).collect()
}

/// What lies in a directory, opened as a log, used a little, and closed again.
fn record_a_recovery(dir: &Path, promised: &Promises) -> Result<Recording, String> {
    let layout = Layout::new(dir);
    let sled = (!layout.sled_mark().exists()).then(|| Arc::new(read_files(&layout.sled())));
    let before = read_files(dir).into_iter().filter(|(path, _)| !path.starts_with("sled")).collect();
    let recorder = Arc::new(Recorder::new(dir, None));
    let ledger = Arc::<Ledger>::default();
    *ledger.lock() = promised.clone();
    let run = Run::start(dir, &recorder, &ledger)?;
    run.append(&entries("recovered", 4));
    run.append(&entries("recovered again", 7));
    run.stop();
    let promised = Promises { sent: ledger.lock().sent.clone(), ..promised.clone() };
    Ok(Recording { before, sled_before: sled, promised, steps: recorder.take() })
}

/// What a power cut left, and what was promised before it.
pub struct Case {
    pub name: String,
    files: Files,
    sled: Option<Arc<Files>>,
    promises: Arc<Promises>,
}

impl Recording {
    /// Each cut between two steps, in each way that differs from the others; `random` of them by seed.
    pub fn cuts(&self, random: u64) -> Vec<Case> {
        let mut disk = Disk::new(&self.before);
        let (mut promises, mut closed) = (self.promised.clone(), self.sled_before.clone());
        let seen: Vec<Arc<Files>> = self.steps.iter().filter_map(seen_sled).collect();
        let (mut cases, mut known) = (Vec::new(), HashSet::new());
        for (at, step) in self.steps.iter().map(Some).chain([None]).enumerate() {
            match step {
                Some(Step::Durable(first, entries)) => {
                    for (index, entry) in (*first..).zip(entries) {
                        promises.acknowledge(index, entry).expect("one entry for each index");
                    }
                    continue;
                }
                Some(Step::Signed(head)) => {
                    promises.show(head);
                    continue;
                }
                Some(Step::SledSeen(_)) => continue,
                _ => {}
            }
            let promises = Arc::new(promises.clone());
            let seeds = (0..random).map(|seed| Survives::Some(at as u64 * 1_000 + seed));
            for survives in [Survives::Nothing, Survives::Everything].into_iter().chain(seeds) {
                let files = disk.cut(survives);
                if known.insert(digest(&files, &promises)) {
                    for (what, sled) in sleds_for(&files, closed.as_ref(), &seen, cases.len()) {
                        let name = format!("cut at step {at}, {survives:?}, sled {what}");
                        let (files, promises) = (files.clone(), promises.clone());
                        cases.push(Case { name, files, sled, promises });
                    }
                }
            }
            match step {
                Some(Step::SledClosed(files)) => closed = Some(files.clone()),
                Some(step) => disk.step(step),
                None => {}
            }
        }
        cases
    }

    pub fn steps(&self) -> usize {
        self.steps.len()
    }
}

fn seen_sled(step: &Step) -> Option<Arc<Files>> {
    match step {
        Step::SledSeen(files) | Step::SledClosed(files) => Some(files.clone()),
        _ => None,
    }
}

fn digest(files: &Files, promises: &Promises) -> u64 {
    let mut hasher = DefaultHasher::new();
    (files, promises.entries.len(), promises.heads.len()).hash(&mut hasher);
    hasher.finish()
}

/// Where its mark is there, sled was open, and anything may be left of it. Where it is not, sled was
/// closed and synced, or deleted since by somebody.
fn sleds_for(
    files: &Files,
    closed: Option<&Arc<Files>>,
    seen: &[Arc<Files>],
    turn: usize,
) -> Vec<(&'static str, Option<Arc<Files>>)> {
    let absent = ("absent", None);
    if !files.contains_key(Path::new("sled.open")) {
        return closed.map(|files| ("as closed", Some(files.clone()))).into_iter().chain([absent]).collect();
    }
    let other = &seen[turn % seen.len()];
    let mut random = Random(turn as u64);
    let mut garbage = Files::clone(other);
    for bytes in garbage.values_mut() {
        bytes.chunks_mut(512).filter(|_| random.below(2) == 0).for_each(|sector| sector.fill(0xa5));
    }
    vec![absent, ("of another time", Some(other.clone())), ("garbage", Some(Arc::new(garbage)))]
}

impl Case {
    /// Puts the files where a machine that comes up again finds them.
    fn lay_out(&self, dir: &Path) {
        let sled = self.sled.iter().flat_map(|files| files.iter());
        let sled = sled.map(|(path, bytes)| (Path::new("sled").join(path), bytes));
        let files = self.files.iter().map(|(path, bytes)| (path.clone(), bytes));
        for (path, bytes) in files.chain(sled) {
            let path = dir.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        reboot(dir);
    }

    /// # Errors
    /// The promise that is broken.
    pub fn check(&self) -> Result<(), String> {
        let dir = quick_dir();
        self.lay_out(dir.path());
        let io: Arc<dyn SledIo> = Arc::new(NoSync);
        audit(dir.path(), &self.promises, &io, SEGMENT_BYTES).map(drop)
    }

    /// The same, and then the power goes again while the log recovers.
    fn check_twice(&self) -> Result<usize, String> {
        let dir = quick_dir();
        self.lay_out(dir.path());
        let recovery = record_a_recovery(dir.path(), &self.promises)?;
        let again: Vec<Case> = recovery.cuts(1).into_iter().step_by(3).collect();
        again.iter().try_for_each(|case| case.check().map_err(|e| format!("then {}: {e}", case.name)))?;
        Ok(again.len())
    }
}

/// What is checked is thrown away at once: its own fsyncs would only take time.
struct NoSync;

impl SledIo for NoSync {}

impl DiskIo for NoSync {
    fn sync_data(&self, _: &fs::File, _: &Path) -> std::io::Result<()> {
        Ok(())
    }

    fn sync_all(&self, _: &fs::File, _: &Path) -> std::io::Result<()> {
        Ok(())
    }

    fn sync_dir(&self, _: &Path) -> std::io::Result<()> {
        Ok(())
    }
}

/// Runs the check of each case on all cores, until it has `enough` that are broken.
pub fn broken<T: Sync>(
    cases: &[T],
    enough: usize,
    check: impl Fn(&T) -> Result<(), String> + Sync,
) -> Vec<String> {
    let (next, broken) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || {
        while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
            if let Err(e) = check(case) {
                broken.lock().unwrap().push(e);
            }
            if broken.lock().unwrap().len() >= enough {
                return;
            }
        }
    };
    std::thread::scope(|scope| {
        let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        (0..cores).for_each(|_| drop(scope.spawn(work)));
    });
    broken.into_inner().unwrap()
}

/// How many random cuts at each step; more of them in the long version.
fn random_cuts() -> u64 {
    let rounds = std::env::var("TREEHEAD_POWER_CUT_ROUNDS").ok().and_then(|n| n.parse().ok());
    rounds.map_or(3, |rounds: u64| rounds.div_ceil(10).max(3))
}

#[test]
fn a_cut_at_any_step_leaves_every_promise_kept() {
    let life = record_a_life(None);
    let cases = life.cuts(random_cuts());
    println!("{} steps, {} directories", life.steps(), cases.len());
    assert!(cases.len() > 300, "{}", cases.len());
    let broken = broken(&cases, 9, |case| case.check().map_err(|e| format!("{}: {e}", case.name)));
    assert!(broken.is_empty(), "of {}: {broken:#?}", cases.len());
}

#[test]
fn a_second_cut_in_the_middle_of_the_recovery_harms_nothing_either() {
    let cases: Vec<Case> = record_a_life(None).cuts(1).into_iter().skip(5).step_by(97).collect();
    let again = AtomicUsize::new(0);
    let broken = broken(&cases, 9, |case| {
        let cuts = case.check_twice().map_err(|e| format!("{}, {e}", case.name))?;
        again.fetch_add(cuts, Ordering::Relaxed);
        Ok(())
    });
    println!("{} recoveries, cut {} times", cases.len(), again.load(Ordering::Relaxed));
    assert!(broken.is_empty(), "of {}: {broken:#?}", cases.len());
}
