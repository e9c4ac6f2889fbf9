//! Recorded lives of a log, cut off at each step.

use std::fs;
use std::hash::Hash;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use treehead::checkpoint::Checkpoint;
use treehead::disk::SledIo;
use treehead::store::{Layout, OpenOptions};

use crate::common::driver::{Driver, Ledger, Notary, Noted, audit, entries, open_store_with, store_options};
use crate::common::mounts::quick_dir;
use crate::common::parallel::failures;
use crate::common::power_cut::recorder::{Accident, Files, Lie, Recorder, read_files};
use crate::common::power_cut::{Cut, Promised, Recording, UnsyncedDisk, assert_cuts_are_harmless};
use crate::common::promises::Promises;

/// Small enough that a few batches fill a segment.
const SEGMENT_BYTES: u64 = 1_500;

/// A promise of a log.
#[derive(Clone)]
pub enum Promise {
    /// These entries are durable, from this index on.
    Durable(u64, Vec<Vec<u8>>),
    Signed(Checkpoint),
}

impl Notary for Recorder<Promise> {
    fn durable(&self, first: u64, entries: &[Vec<u8>]) {
        self.promise(Promise::Durable(first, entries.to_vec()));
    }

    fn signed(&self, head: &Checkpoint) {
        self.promise(Promise::Signed(head.clone()));
    }
}

impl Promised for Promises {
    type Promise = Promise;

    fn add(&mut self, promise: &Promise) {
        match promise {
            Promise::Durable(first, entries) => {
                for (index, entry) in (*first..).zip(entries) {
                    self.acknowledge(index, entry).expect("one entry for each index");
                }
            }
            Promise::Signed(head) => self.show(head),
        }
    }

    fn digest(&self) -> impl Hash {
        (self.entries.len(), self.heads.len())
    }
}

/// A log under the recorder.
struct Run {
    recorder: Arc<Recorder<Promise>>,
    driver: Driver,
}

impl Run {
    fn start(dir: &Path, recorder: &Arc<Recorder<Promise>>, ledger: &Arc<Ledger>) -> Result<Self, String> {
        let io: Arc<dyn SledIo> = recorder.clone();
        // Small runs, so that the index writes and merges files all along.
        let options = || OpenOptions { seal_pointers: 3, leaf_tiles: 1, ..store_options(&io, SEGMENT_BYTES) };
        let store = open_store_with(dir, options).map_err(|e| e.to_string())?;
        let noted = Noted { store, notary: recorder.clone() };
        let driver = Driver::start(Box::new(noted), ledger.clone())?;
        recorder.signed(&driver.sequencer.published().borrow().checkpoint);
        Ok(Self { recorder: recorder.clone(), driver })
    }

    /// Appends a batch, after a reload if the first try fails, and waits for its head.
    fn append(&self, batch: &[Vec<u8>]) {
        let mut results = self.driver.submit(batch).unwrap();
        if results.iter().any(Result::is_err) {
            self.settle();
            results = self.driver.submit(batch).unwrap();
        }
        for (entry, result) in batch.iter().zip(results) {
            // If a reload found the entries, no `apply` reported them.
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

/// Records the life of a log: its first second, segment changes, a restart, each accident, a rebuild of sled, and a
/// tile that fills up.
pub fn record_a_life(lie: Option<Lie>) -> Recording<Promises> {
    let dir = quick_dir();
    let recorder = Arc::new(Recorder::new(dir.path(), lie));
    let ledger = Arc::<Ledger>::default();
    let start = || Run::start(dir.path(), &recorder, &ledger).unwrap();
    // The first checkpoint is a new file; later ones are written in place.
    recorder.next_meets(Accident::Rename);
    assert!(Run::start(dir.path(), &recorder, &ledger).is_err(), "its first head may not be durable");
    let run = start();
    for (at, count) in [1, 2, 9, 1, 4].into_iter().enumerate() {
        run.append(&entries(&format!("first {at}"), count));
    }
    run.stop();
    let run = start();
    run.append(&entries("restarted", 3));
    for accident in [
        Accident::Fdatasync,
        Accident::HalfWrite,
        Accident::SlotFdatasync,
        Accident::SlotHalfWrite,
        Accident::Rows,
    ] {
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
    for accident in [Accident::SlotKill, Accident::SlotFdatasyncThenKill] {
        let run = start();
        recorder.next_meets(accident);
        let accepted = run.driver.submit(&entries(&format!("{accident:?}"), 3)).unwrap();
        assert!(accepted.iter().all(Result::is_ok), "{accepted:?}");
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

/// Records how a log opens in this directory, accepts some entries, and closes.
fn record_a_recovery(dir: &Path, promised: &Promises) -> Result<Recording<Promises>, String> {
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

/// Checks what a power cut left.
///
/// # Errors
/// The broken promise.
pub fn check(cut: &Cut<Promises>) -> Result<(), String> {
    let io: Arc<dyn SledIo> = Arc::new(UnsyncedDisk);
    audit(cut.dir().path(), &cut.promised, &io, SEGMENT_BYTES).map(drop)
}

/// Cuts the power again, while a log recovers. Returns the number of second cuts.
fn check_recovery(cut: &Cut<Promises>) -> Result<usize, String> {
    let recovery = record_a_recovery(cut.dir().path(), &cut.promised)?;
    let again: Vec<_> = recovery.cuts(1).into_iter().step_by(3).collect();
    again.iter().try_for_each(|cut| check(cut).map_err(|e| format!("then {}: {e}", cut.name)))?;
    Ok(again.len())
}

#[test]
fn a_cut_at_any_step_leaves_every_promise_kept() {
    assert_cuts_are_harmless(&record_a_life(None), 300, check);
}

#[test]
fn a_second_cut_in_the_middle_of_the_recovery_harms_nothing_either() {
    let cuts: Vec<_> = record_a_life(None).cuts(1).into_iter().skip(5).step_by(97).collect();
    let again = AtomicUsize::new(0);
    let broken = failures(&cuts, 9, |cut| {
        let seconds = check_recovery(cut).map_err(|e| format!("{}, {e}", cut.name))?;
        again.fetch_add(seconds, Ordering::Relaxed);
        Ok(())
    });
    println!("{} recoveries, cut {} times", cuts.len(), again.load(Ordering::Relaxed));
    assert!(broken.is_empty(), "of {}: {broken:#?}", cuts.len());
}
