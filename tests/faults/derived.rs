//! Steps on derived files fail: every entry that was acknowledged stays, the log goes on without a restart, and what the
//! files are left with does not count after a power cut unless it is right.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;

use treehead::disk::{RealDisk, SledIo};
use treehead::store::{Layout, OpenOptions};

use crate::common::driver::{Driver, Ledger, audit, entries, open_store_with, store_options};
use crate::common::faulty_disk::{FaultyDisk, Plan, sweep_single_steps, sweep_steps_in_a_row};
use crate::common::mounts::quick_dir;

const SEGMENT_BYTES: u64 = 16_000;

/// The files whose steps fail, the entries of a batch, and the batches before and after a restart.
#[derive(Clone, Copy)]
struct Script {
    part: &'static str,
    batch: usize,
    batches: [usize; 2],
}

/// Nine sealed runs, eight of which are merged, and more after a restart.
const INDEX: Script = Script { part: "index", batch: 3, batches: [9, 3] };
/// A frame in each life.
const LEAVES: Script = Script { part: "leaves", batch: 90, batches: [3, 3] };

impl Script {
    /// The life of a log under a plan. Returns the kinds of its steps on these files.
    fn live(self, plan: Plan) -> Result<Vec<&'static str>, String> {
        let dir = quick_dir();
        let disk = Arc::new(FaultyDisk::for_part(plan, self.part));
        let io: Arc<dyn SledIo> = disk.clone();
        let ledger = Arc::<Ledger>::default();
        for (life, batches) in self.batches.into_iter().enumerate() {
            let options =
                || OpenOptions { seal_pointers: 3, leaf_tiles: 1, ..store_options(&io, SEGMENT_BYTES) };
            let driver = plan.retry(|| {
                let store = open_store_with(dir.path(), options).map_err(|e| e.to_string())?;
                Driver::start(Box::new(store), ledger.clone())
            })?;
            for at in 0..batches {
                append(&driver, &entries(&format!("{life}/{at}"), self.batch), plan)?;
            }
            driver.sequencer.shut_down()?;
        }
        let layout = Layout::new(dir.path());
        fs::remove_dir_all(layout.sled()).map_err(|e| e.to_string())?;
        let real: Arc<dyn SledIo> = Arc::new(RealDisk);
        let (promises, all) =
            (ledger.lock().clone(), (self.batch * self.batches.iter().sum::<usize>()) as u64);
        let found = audit(dir.path(), &promises, &real, SEGMENT_BYTES)?;
        if found != all || promises.entries.len() as u64 != all {
            return Err(format!("expected {all} entries, saw {found}, {} kept", promises.entries.len()));
        }
        Ok(disk.taken())
    }
}

/// Appends a batch. If it is refused, sends it again.
fn append(driver: &Driver, batch: &[Vec<u8>], plan: Plan) -> Result<(), String> {
    for _ in 0..=plan.times {
        let results = driver.submit(batch)?;
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

#[test]
fn any_one_step_of_the_index_may_fail() {
    let met = sweep_single_steps(|plan| INDEX.live(plan));
    let least = BTreeSet::from(["create", "write_at", "rename", "remove", "sync_dir"]);
    assert!(met.is_superset(&least), "{met:?}");
}

#[test]
fn any_two_or_three_steps_of_the_index_in_a_row_may_fail() {
    sweep_steps_in_a_row(|plan| INDEX.live(plan));
}

#[test]
fn any_steps_of_the_leaf_hashes_may_fail() {
    let met = sweep_single_steps(|plan| LEAVES.live(plan));
    assert!(met.is_superset(&BTreeSet::from(["create", "write_at", "sync_data", "sync_all"])), "{met:?}");
    sweep_steps_in_a_row(|plan| LEAVES.live(plan));
}
