//! Recorded lives of a directory, cut off at each of their steps.
//!
//! A [`recorder::Recorder`] notes each step by which a program changes its files, and each promise between them. A
//! simulated disk then gives the directories that a power cut at any of these steps could leave. A suite checks that
//! each of them still keeps what was promised before the cut.

pub mod recorder;
mod simulated;

use std::collections::HashSet;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::io;
use std::path::Path;
use std::sync::Arc;

use tempfile::TempDir;
use treehead::disk::{DiskIo, SledIo};

use super::mounts::{quick_dir, reboot};
use super::parallel::failures;
use super::random::Random;
use recorder::{Files, Lie, Step};
use simulated::{SimulatedDisk, Survives};

/// What a program has promised so far.
pub trait Promised: Clone + Send + Sync {
    /// One more promise.
    type Promise: Clone + Send;

    /// Whether a sled ahead of the journal proves that the journal was rolled back. If so, cuts leave only what sled
    /// had before; otherwise, what it had at any time.
    const SLED_PROVES_ROLLBACK: bool = false;

    fn add(&mut self, promise: &Self::Promise);

    /// A value that differs after each new promise.
    fn digest(&self) -> impl Hash;
}

/// A recorded life, with the files and promises before it.
pub struct Recording<P: Promised> {
    pub before: Files,
    /// sled's files, if sled was closed and synced before.
    pub sled_before: Option<Arc<Files>>,
    pub promised: P,
    pub steps: Vec<Step<P::Promise>>,
}

/// A directory that a power cut left, and the promises before it.
pub struct Cut<P> {
    pub name: String,
    files: Files,
    sled: Option<Arc<Files>>,
    pub promised: Arc<P>,
}

impl<P: Promised> Recording<P> {
    /// All cuts between two steps that differ from each other. Each step has `random` random ones.
    pub fn cuts(&self, random: u64) -> Vec<Cut<P>> {
        let mut disk = SimulatedDisk::new(&self.before);
        let (mut promised, mut closed) = (self.promised.clone(), self.sled_before.clone());
        let seen: Vec<Arc<Files>> = self.steps.iter().filter_map(seen_sled).collect();
        let (mut cuts, mut known, mut past) = (Vec::new(), HashSet::new(), Vec::new());
        for (at, step) in self.steps.iter().map(Some).chain([None]).enumerate() {
            match step {
                Some(Step::Promised(promise)) => {
                    promised.add(promise);
                    continue;
                }
                Some(Step::SledSeen(files)) => {
                    past.push(files.clone());
                    continue;
                }
                _ => {}
            }
            let promised = Arc::new(promised.clone());
            let seeds = (0..random).map(|seed| Survives::Some(at as u64 * 1_000 + seed));
            for survives in [Survives::Nothing, Survives::Everything].into_iter().chain(seeds) {
                let files = disk.cut(survives);
                if !known.insert(hash(&(&files, promised.digest()))) {
                    continue;
                }
                let seen = if P::SLED_PROVES_ROLLBACK { past.as_slice() } else { &seen };
                for (what, sled) in sleds_for(&files, closed.as_ref(), seen, cuts.len()) {
                    let name = format!("cut at step {at}, {survives:?}, sled {what}");
                    cuts.push(Cut { name, files: files.clone(), sled, promised: promised.clone() });
                }
            }
            match step {
                Some(Step::SledClosed(files)) => {
                    past.push(files.clone());
                    closed = Some(files.clone());
                }
                Some(step) => disk.step(step),
                None => {}
            }
        }
        cuts
    }
}

fn seen_sled<P>(step: &Step<P>) -> Option<Arc<Files>> {
    match step {
        Step::SledSeen(files) | Step::SledClosed(files) => Some(files.clone()),
        _ => None,
    }
}

fn hash(of: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}

/// The states that sled's directory may be in. With its mark, sled was open, and anything may be left of it. Without,
/// sled was closed and synced, or deleted since.
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
    if seen.is_empty() {
        return vec![absent];
    }
    let other = &seen[turn % seen.len()];
    let mut random = Random(turn as u64);
    let mut garbage = Files::clone(other);
    for bytes in garbage.values_mut() {
        bytes.chunks_mut(512).filter(|_| random.below(2) == 0).for_each(|sector| sector.fill(0xa5));
    }
    vec![absent, ("of another time", Some(other.clone())), ("garbage", Some(Arc::new(garbage)))]
}

impl<P> Cut<P> {
    /// Makes the directory as a machine finds it after a restart.
    pub fn dir(&self) -> TempDir {
        let dir = quick_dir();
        let sled = self.sled.iter().flat_map(|files| files.iter());
        let sled = sled.map(|(path, bytes)| (Path::new("sled").join(path), bytes));
        for (path, bytes) in self.files.iter().map(|(path, bytes)| (path.clone(), bytes)).chain(sled) {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        reboot(dir.path());
        dir
    }
}

/// The number of random cuts at each step. `TREEHEAD_POWER_CUT_ROUNDS` raises it.
fn random_cuts() -> u64 {
    let rounds = std::env::var("TREEHEAD_POWER_CUT_ROUNDS").ok().and_then(|n| n.parse().ok());
    rounds.map_or(3, |rounds: u64| rounds.div_ceil(10).max(3))
}

/// Asserts that all cuts of a life, more than `least`, keep what was promised.
#[track_caller]
pub fn assert_cuts_are_harmless<P: Promised>(
    life: &Recording<P>,
    least: usize,
    check: impl Fn(&Cut<P>) -> Result<(), String> + Sync,
) {
    let cuts = life.cuts(random_cuts());
    println!("{} steps, {} directories", life.steps.len(), cuts.len());
    assert!(cuts.len() > least, "{}", cuts.len());
    let broken = failures(&cuts, 9, |cut| check(cut).map_err(|e| format!("{}: {e}", cut.name)));
    assert!(broken.is_empty(), "of {}: {broken:#?}", cuts.len());
}

/// Asserts that a cut breaks a promise in a life on a disk that lies: a check that can't fail proves nothing. Returns
/// the first broken promises.
#[track_caller]
pub fn assert_lie_is_noticed<P: Promised>(
    lie: Lie,
    life: &Recording<P>,
    check: impl Fn(&Cut<P>) -> Result<(), String> + Sync,
) -> Vec<String> {
    let cuts = life.cuts(1);
    let broken = failures(&cuts, 9, check);
    assert!(!broken.is_empty(), "{lie:?} was not noticed in {} cuts", cuts.len());
    println!("{lie:?}: {}", broken[0]);
    broken
}

/// A disk without fsyncs, for directories that are checked and thrown away.
pub struct UnsyncedDisk;

impl SledIo for UnsyncedDisk {}

impl DiskIo for UnsyncedDisk {
    fn sync_data(&self, _: &File, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn sync_all(&self, _: &File, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }
}
