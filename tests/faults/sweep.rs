//! Each step of a log's life fails once, and two or three in a row: an entry was acknowledged and stays, or it was
//! refused, and the log goes on without a restart.
//!
//! Two steps of the commit path are not swept. Signing is arithmetic on keys that were read at the start, and
//! returns no error; publishing hands the head to a channel in memory.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use treehead::disk::{RealDisk, SledIo};

use crate::common::driver::{Driver, Ledger, audit, entries, open_store};
use crate::common::faulty_disk::{
    FaultyDisk, KINDS, Plan, noticed_claims, sweep_single_steps, sweep_steps_in_a_row,
};
use crate::common::mounts::quick_dir;

/// Small enough that a few batches fill a segment.
const SEGMENT_BYTES: u64 = 900;

fn start(dir: &Path, io: &Arc<dyn SledIo>, ledger: &Arc<Ledger>, plan: Plan) -> Result<Driver, String> {
    plan.retry(|| {
        let store = open_store(dir, io, SEGMENT_BYTES).map_err(|e| e.to_string())?;
        Driver::start(Box::new(store), ledger.clone())
    })
}

/// Appends a batch and checks everything at each stage. If the batch is refused, sends it again.
fn append(driver: &Driver, batch: &[Vec<u8>], plan: Plan, disk: &FaultyDisk) -> Result<(), String> {
    for _ in 0..=plan.times {
        let results = driver.submit(batch)?;
        // Reads go on, whatever happens to the journal or the checkpoint. Only while sled is being reopened, they
        // may be told to come back. Look for a failure of sled after the check: it may fail meanwhile.
        let checked = driver.check();
        if !plan.met(&disk.taken()).any(|kind| kind == "write_rows") {
            checked.map_err(|e| format!("before it settles: {e}"))?;
        }
        driver.settle()?;
        driver.check()?;
        match results.iter().find_map(|result| result.as_ref().err()) {
            None => return Ok(()),
            Some(why) if plan.explains(&why.to_string()) => {}
            Some(why) => return Err(format!("refused without the reason: {why}")),
        }
    }
    Err("it never accepts this batch".to_owned())
}

/// The life of a log under a plan, with a restart in the middle. Returns the kinds of its steps.
fn live(plan: Plan) -> Result<Vec<&'static str>, String> {
    let dir = quick_dir();
    let disk = Arc::new(FaultyDisk::new(plan));
    let io: Arc<dyn SledIo> = disk.clone();
    let ledger = Arc::<Ledger>::default();
    for (life, counts) in [&[1, 3, 9, 2][..], &[4, 5]].into_iter().enumerate() {
        let driver = start(dir.path(), &io, &ledger, plan)?;
        for (at, count) in counts.iter().enumerate() {
            append(&driver, &entries(&format!("{life}/{at}"), *count), plan, &disk)?;
        }
        driver.sequencer.shut_down()?;
    }
    let real: Arc<dyn SledIo> = Arc::new(RealDisk);
    let promises = ledger.lock().clone();
    let found = audit(dir.path(), &promises, &real, SEGMENT_BYTES)?;
    if found != 24 || promises.entries.len() != 24 {
        return Err(format!("expected 24 entries, saw {found}, {} acknowledged", promises.entries.len()));
    }
    Ok(disk.taken())
}

#[test]
fn any_one_step_may_fail() {
    sweep_single_steps(live);
}

#[test]
fn a_write_that_was_claimed_and_not_done_is_noticed() {
    // The next write of the same file makes some of them good: the mark, and most checkpoints.
    let noticed = noticed_claims(live);
    assert!(noticed >= 6, "at least each batch: {noticed}");
}

#[test]
fn any_two_or_three_steps_in_a_row_may_fail() {
    assert_eq!(sweep_steps_in_a_row(live), BTreeSet::from(KINDS), "every kind of step has failed");
}
