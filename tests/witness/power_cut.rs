//! A recorded life of a witness, cut off at each of its steps.

use std::collections::HashSet;
use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use treehead::disk::{DiskIo, SledIo};
use treehead::store::Layout;
use treehead::witness::Witness;

use super::faults::{JOURNAL_BYTES, LIVES, Pair, ask, keeps, pairs};
use super::world::{open_on, witness_dir};
use crate::common::mounts::quick_dir;
use crate::recorder::{Accident, Files, Lie, Recorder, Step, read_files};
use crate::simulated::{Disk, Survives};

/// The boot ID of a machine after a restart.
const OTHER_BOOT: &str = "00000000-0000-4000-8000-000000000000";

/// What was there before, and what happened.
struct Recording {
    before: Files,
    steps: Vec<Step>,
}

/// Grows a log by `by`, and notes what was let out.
fn grow(witness: &Witness, recorder: &Recorder, pair: &Pair, by: usize) -> bool {
    let head = witness.ledger().head(&pair.log.origin());
    let old = head.map_or(0, |head| usize::try_from(head.size.get()).unwrap());
    let cosigned = ask(witness, &pair.log.request(old, old + by).to_string()).is_ok();
    if cosigned {
        recorder.note(Step::Signed(pair.log.head(old + by)));
    }
    cosigned
}

/// Its first requests, a restart, each accident, kills, and a sled that is gone.
fn record_a_life(lie: Option<Lie>) -> Recording {
    let pairs = pairs();
    let dir = witness_dir(&[&pairs[0].log, &pairs[1].log]);
    let before = read_files(dir.path());
    let recorder = Arc::new(Recorder::new(dir.path(), lie));
    let io: Arc<dyn SledIo> = recorder.clone();
    let open = || open_on(dir.path(), &io, JOURNAL_BYTES).unwrap();
    for steps in LIVES {
        let witness = open();
        for (log, _) in steps {
            assert!(grow(&witness, &recorder, &pairs[*log], 1));
        }
    }
    let witness = open();
    for accident in [Accident::Fdatasync, Accident::HalfWrite, Accident::Rename, Accident::Rows] {
        recorder.next_meets(accident);
        // Refused where the accident hits the journal, and taken soon after.
        let cosigned = pairs.iter().cycle().take(6).filter(|pair| grow(&witness, &recorder, pair, 1)).count();
        assert!(cosigned >= 5, "{accident:?}: {cosigned}");
        assert!(grow(&witness, &recorder, &pairs[0], 1), "{accident:?}");
    }
    drop(witness);
    for accident in [Accident::Kill, Accident::FdatasyncThenKill] {
        let witness = open();
        recorder.next_meets(accident);
        assert!(!grow(&witness, &recorder, &pairs[1], 1));
        drop(witness);
        recorder.restarted();
    }
    let witness = open();
    assert!(grow(&witness, &recorder, &pairs[1], 2));
    drop(witness);
    fs::remove_dir_all(Layout::new(dir.path()).sled()).unwrap();
    let witness = open();
    assert!(grow(&witness, &recorder, &pairs[0], 2) && grow(&witness, &recorder, &pairs[1], 0));
    drop(witness);
    Recording { before, steps: recorder.take() }
}

/// What a power cut left, and what was let out before it: a size for each log.
struct Case {
    name: String,
    files: Files,
    sled: Option<Arc<Files>>,
    known: [Option<usize>; 2],
}

impl Recording {
    /// Each cut between two steps, in each way that differs from the others; `random` of them by seed.
    fn cuts(&self, random: u64) -> Vec<Case> {
        let pairs = pairs();
        let mut disk = Disk::new(&self.before);
        let (mut known, mut closed) = ([None; 2], None);
        let (mut cases, mut seen) = (Vec::new(), HashSet::new());
        let mut last_sled: Arc<Files> = Arc::default();
        for (at, step) in self.steps.iter().map(Some).chain([None]).enumerate() {
            if let Some(Step::Signed(head)) = step {
                let log = pairs.iter().position(|pair| pair.log.origin() == head.origin).unwrap();
                known[log] = known[log].max(Some(usize::try_from(head.size.get()).unwrap()));
                continue;
            }
            let seeds = (0..random).map(|seed| Survives::Some(at as u64 * 1_000 + seed));
            for survives in [Survives::Nothing, Survives::Everything].into_iter().chain(seeds) {
                let files = disk.cut(survives);
                let mut hasher = DefaultHasher::new();
                (&files, known).hash(&mut hasher);
                if !seen.insert(hasher.finish()) {
                    continue;
                }
                // With its mark, sled was open, and anything may be left of it.
                let marked = files.contains_key(Path::new("sled.open"));
                let sleds = match (&closed, marked) {
                    (Some(closed), false) => vec![Some(Arc::clone(closed)), None],
                    (None, false) => vec![None],
                    (_, true) => vec![None, Some(last_sled.clone())],
                };
                for sled in sleds {
                    let name = format!("cut at step {at}, {survives:?}, sled {}", sled.is_some());
                    cases.push(Case { name, files: files.clone(), sled, known });
                }
            }
            match step {
                Some(Step::SledClosed(files)) => (closed, last_sled) = (Some(files.clone()), files.clone()),
                Some(Step::SledSeen(files)) => last_sled = files.clone(),
                Some(step) => disk.step(step),
                None => {}
            }
        }
        cases
    }
}

impl Case {
    /// # Errors
    /// What was let out and is not known any more.
    fn check(&self) -> Result<(), String> {
        let (dir, pairs) = (quick_dir(), pairs());
        let sled = self.sled.iter().flat_map(|files| files.iter());
        let sled = sled.map(|(path, bytes)| (Path::new("sled").join(path), bytes));
        for (path, bytes) in self.files.iter().map(|(path, bytes)| (path.clone(), bytes)).chain(sled) {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        let mark = Layout::new(dir.path()).sled_mark();
        if mark.exists() {
            fs::write(mark, OTHER_BOOT).unwrap();
        }
        let io: Arc<dyn SledIo> = Arc::new(NoSync);
        let witness = open_on(dir.path(), &io, JOURNAL_BYTES)?;
        for (pair, known) in pairs.iter().zip(self.known) {
            keeps(&witness, pair, known)?;
        }
        // And it goes on.
        let recorder = Recorder::new(dir.path(), None);
        if pairs.iter().all(|pair| grow(&witness, &recorder, pair, 1)) {
            Ok(())
        } else {
            Err("it does not go on".to_owned())
        }
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

/// Runs the check of each case on all cores, until it has nine that are broken.
fn broken(cases: &[Case]) -> Vec<String> {
    let (next, broken) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || {
        while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
            if let Err(e) = case.check() {
                broken.lock().unwrap().push(format!("{}: {e}", case.name));
            }
            if broken.lock().unwrap().len() >= 9 {
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
fn a_cut_at_any_step_leaves_everything_known_that_was_cosigned() {
    let life = record_a_life(None);
    let cases = life.cuts(random_cuts());
    println!("{} steps, {} directories", life.steps.len(), cases.len());
    assert!(cases.len() > 200, "{}", cases.len());
    let broken = broken(&cases);
    assert!(broken.is_empty(), "of {}: {broken:#?}", cases.len());
}

#[test]
fn a_disk_that_lies_is_noticed() {
    for lie in [Lie::Fdatasync, Lie::LogDir] {
        let broken = broken(&record_a_life(Some(lie)).cuts(1));
        println!("{lie:?}: {}", broken.first().map_or("nothing", String::as_str));
        assert!(!broken.is_empty(), "{lie:?}");
    }
}
