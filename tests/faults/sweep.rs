//! Each step of a log's life fails once, and each two or three in a row: an entry was acknowledged
//! and is there ever after, or it was refused, and the log goes on without a restart.
//!
//! Two steps of the commit path are not swept. Signing is arithmetic on keys that were read at the
//! start, and returns no error; publishing hands the head to a channel in memory.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex};

use treehead::disk::{RealDisk, SledIo};

use super::faulty::{Faulty, How, KINDS, Plan};
use crate::common::driver::{Driver, Ledger, audit, entries, open_store};
use crate::common::mounts::quick_dir;

/// Small enough that a few batches fill a segment.
const SEGMENT_BYTES: u64 = 900;
/// `EIO`, `ENOSPC` and `EROFS`.
const ERRORS: [i32; 3] = [5, 28, 30];

/// Opens and starts, as often as faults may keep it from that: an operator tries again, too.
fn start(dir: &Path, io: &Arc<dyn SledIo>, ledger: &Arc<Ledger>, plan: Plan) -> Result<Driver, String> {
    let mut refused = Vec::new();
    for _ in 0..=plan.times {
        let started = open_store(dir, io, SEGMENT_BYTES)
            .map_err(|e| e.to_string())
            .and_then(|store| Driver::start(Box::new(store), ledger.clone()));
        match started {
            Ok(driver) => return Ok(driver),
            Err(why) => refused.push(why),
        }
    }
    Err(format!("it does not start: {refused:?}"))
}

/// Appends a batch and checks everything at each stage. Refused, it is sent again.
fn append(driver: &Driver, batch: &[Vec<u8>], plan: Plan, faulty: &Faulty) -> Result<(), String> {
    for _ in 0..=plan.times {
        let results = driver.submit(batch)?;
        // Reads go on, whatever happens to the journal or the checkpoint. While sled is opened again,
        // there is a moment when they are told to come back. Looked at after the check: sled may fail
        // while it runs.
        let checked = driver.check();
        if !failed_at_derive(faulty, plan) {
            checked.map_err(|e| format!("before it settles: {e}"))?;
        }
        driver.settle()?;
        driver.check()?;
        match results.iter().find_map(|result| result.as_ref().err()) {
            None => return Ok(()),
            Some(why) if why.to_string().contains(&format!("os error {}", plan.error)) => {}
            Some(why) => return Err(format!("refused without the reason: {why}")),
        }
    }
    Err("it does not take this batch any more".to_owned())
}

fn failed_at_derive(faulty: &Faulty, plan: Plan) -> bool {
    let taken = faulty.taken();
    let met = taken.iter().skip(plan.at).take(plan.times);
    met.into_iter().any(|kind| *kind == "derive")
}

/// A life with a plan, a restart in the middle of it. Returns the kinds of its steps.
fn live(plan: Plan) -> Result<Vec<&'static str>, String> {
    let dir = quick_dir();
    let faulty = Arc::new(Faulty::new(plan));
    let io: Arc<dyn SledIo> = faulty.clone();
    let ledger = Arc::<Ledger>::default();
    for (life, counts) in [&[1, 3, 9, 2][..], &[4, 5]].into_iter().enumerate() {
        let driver = start(dir.path(), &io, &ledger, plan)?;
        for (at, count) in counts.iter().enumerate() {
            append(&driver, &entries(&format!("{life}/{at}"), *count), plan, &faulty)?;
        }
        driver.sequencer.shut_down()?;
    }
    let real: Arc<dyn SledIo> = Arc::new(RealDisk);
    let promises = ledger.lock().clone();
    let found = audit(dir.path(), &promises, &real, SEGMENT_BYTES)?;
    if found != 24 || promises.entries.len() != 24 {
        return Err(format!("expected 24 entries, saw {found}, {} acknowledged", promises.entries.len()));
    }
    let taken = faulty.taken().clone();
    Ok(taken)
}

/// Runs all plans on all cores; returns the kinds of steps that failed in any of them.
fn sweep(plans: &[Plan]) -> BTreeSet<&'static str> {
    let (next, met) = (Mutex::new(plans.iter()), Mutex::new(BTreeSet::new()));
    let broken = Mutex::new(Vec::new());
    let work = || loop {
        let Some(plan) = next.lock().unwrap().next() else { return };
        match live(*plan) {
            Ok(taken) => met.lock().unwrap().extend(taken.into_iter().skip(plan.at).take(plan.times)),
            Err(e) => broken.lock().unwrap().push(format!("{plan:?}: {e}")),
        }
    };
    std::thread::scope(|scope| {
        let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        (0..cores).for_each(|_| drop(scope.spawn(work)));
    });
    let broken = broken.into_inner().unwrap();
    assert!(broken.is_empty(), "{} of {}: {:#?}", broken.len(), plans.len(), &broken[..broken.len().min(9)]);
    met.into_inner().unwrap()
}

/// A plan for each step of an undisturbed life, `times` in a row.
fn plans(times: usize, hows: &[How]) -> Vec<Plan> {
    let steps = live(Plan::NONE).expect("nothing fails");
    let mut plans = Vec::new();
    for (at, kind) in steps.iter().enumerate() {
        for (turn, how) in hows.iter().enumerate() {
            if *how != How::Half || *kind == "write_at" {
                plans.push(Plan { at, times, how: *how, error: ERRORS[(at + turn) % 3] });
            }
        }
    }
    plans
}

#[test]
fn any_one_step_may_fail() {
    let plans = plans(1, &[How::Failed, How::FailedButPersisted, How::Half]);
    let met = sweep(&plans);
    println!("{} faults, of the kinds {met:?}", plans.len());
}

#[test]
fn a_write_that_was_said_to_be_done_and_was_not_is_noticed() {
    // Some are made good by the next one of their file: the mark, and most checkpoints.
    let steps = live(Plan::NONE).expect("nothing fails");
    let writes = (0..steps.len()).filter(|at| steps[*at] == "write_at");
    let lies = writes.map(|at| Plan { at, times: 1, how: How::Lied, ..Plan::NONE });
    let (noticed, missed): (Vec<Plan>, Vec<Plan>) = lies.partition(|plan| live(*plan).is_err());
    println!("{} noticed, {} made good", noticed.len(), missed.len());
    assert!(noticed.len() >= 6, "a batch each: {noticed:?}");
}

#[test]
fn any_two_or_three_steps_in_a_row_may_fail() {
    let mut plans = plans(2, &[How::Failed, How::FailedButPersisted]);
    // Half a write, and then the cut that should have taken it away.
    let more = plans.iter().map(|plan| Plan { times: 3, how: How::Half, ..*plan }).step_by(2);
    plans = more.chain(plans.clone()).collect();
    let met = sweep(&plans);
    println!("{} faults, of the kinds {met:?}", plans.len());
    assert_eq!(met, BTreeSet::from(KINDS), "every kind of step has failed");
}
