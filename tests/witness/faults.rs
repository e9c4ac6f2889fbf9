//! Each step of a witness's life fails once, and two or three in a row: the witness remembers what it cosigned,
//! shows nothing that it did not make durable, and goes on without a restart.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use treehead::disk::{RealDisk, SledIo};
use treehead::witness::{Witness, WitnessError};

use super::world::{TestLog, open_on, size, witness_dir};
use crate::common::faulty_disk::{
    FaultyDisk, Plan, noticed_claims, sweep_single_steps, sweep_steps_in_a_row,
};

/// Small enough that the witness rewrites its journal now and then.
pub const JOURNAL_BYTES: u64 = 1_200;
/// The log that grows and its new tree size, for each request of two lives.
pub const LIVES: [&[(usize, usize)]; 2] =
    [&[(0, 1), (0, 2), (1, 5), (0, 9), (0, 9), (1, 6)], &[(0, 12), (1, 13), (0, 20)]];

/// An honest log, and one with the same key and another history from the first leaf on.
pub struct Pair {
    pub log: TestLog,
    fork: TestLog,
}

pub fn pairs() -> [Pair; 2] {
    ["log.example/a", "log.example/b"].map(|origin| {
        let log = TestLog::new(origin, 40);
        Pair { fork: log.forked(0, 40, "other "), log }
    })
}

/// Sends one request, by itself.
pub fn ask(witness: &Witness, body: &str) -> Result<(), WitnessError> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(witness.add_checkpoint(body.as_bytes())).map(drop)
}

/// Checks that the witness knows at least the head of size `known`, and cosigns no other history.
pub fn keeps(witness: &Witness, pair: &Pair, known: Option<usize>) -> Result<(), String> {
    let origin = pair.log.origin();
    let head = witness.ledger().head(&origin);
    let Some(known) = known else { return Ok(()) };
    let head = head.ok_or_else(|| format!("{origin}: forgotten, at {known}"))?;
    let at = usize::try_from(head.size.get()).expect("small");
    if at < known || head.root != pair.log.root(at) {
        return Err(format!("{origin}: cosigned at {known}, and now it knows {at}"));
    }
    let key = treehead::checkpoint::origin_hash(&origin);
    let record = witness.ledger().record(&key).map_err(|e| e.to_string())?.ok_or("no note")?;
    if record.head.size < size(known) || !record.note.starts_with(&pair.log.head(at).to_string()) {
        return Err(format!("{origin}: the note is not that of {at}: {}", record.note));
    }
    for (old, new) in [(0, at), (0, at + 3), (known, at + 3), (at, at), (at, at + 3)] {
        if ask(witness, &pair.fork.request(old, new).to_string()).is_ok() {
            return Err(format!("{origin}: cosigned a fork, from {old} to {new}"));
        }
    }
    Ok(())
}

fn open(dir: &Path, io: &Arc<dyn SledIo>, plan: Plan) -> Result<Witness, String> {
    plan.retry(|| open_on(dir, io, JOURNAL_BYTES))
}

/// Grows a log to `new`. Tries once more than steps fail.
fn grow(
    witness: &Witness,
    pair: &Pair,
    known: &mut Option<usize>,
    new: usize,
    plan: Plan,
) -> Result<(), String> {
    let origin = pair.log.origin();
    for _ in 0..=plan.times {
        // Only after a restart may the witness know more than it has let out.
        let before = witness.ledger().head(&origin);
        let old = before.map_or(0, |head| usize::try_from(head.size.get()).expect("small"));
        match ask(witness, &pair.log.request(old, new.max(old)).to_string()) {
            Ok(()) => {
                *known = Some(new.max(old));
                return keeps(witness, pair, *known);
            }
            Err(WitnessError::Ledger(e)) if plan.explains(&e.to_string()) => {
                if witness.ledger().head(&origin) != before {
                    return Err("it refused the head, and shows it".to_owned());
                }
                if witness.ledger().faults().is_empty() {
                    return Err("no fault is reported".to_owned());
                }
            }
            Err(e) => return Err(format!("refused without the reason: {e}")),
        }
    }
    Err("it never cosigns this log".to_owned())
}

/// The life of a witness under a plan, with a restart in the middle. Returns the kinds of its steps.
fn live(plan: Plan) -> Result<Vec<&'static str>, String> {
    let pairs = pairs();
    let dir = witness_dir(&[&pairs[0].log, &pairs[1].log]);
    let disk = Arc::new(FaultyDisk::new(plan));
    let io: Arc<dyn SledIo> = disk.clone();
    let mut known = [None; 2];
    for steps in LIVES {
        let witness = open(dir.path(), &io, plan)?;
        for (log, new) in steps {
            grow(&witness, &pairs[*log], &mut known[*log], *new, plan)?;
        }
        for (pair, known) in pairs.iter().zip(known) {
            keeps(&witness, pair, known)?;
        }
    }
    let real: Arc<dyn SledIo> = Arc::new(RealDisk);
    let witness = open_on(dir.path(), &real, JOURNAL_BYTES)?;
    for (pair, known) in pairs.iter().zip(known) {
        keeps(&witness, pair, known)?;
    }
    if known != [Some(20), Some(13)] {
        return Err(format!("not everything was cosigned: {known:?}"));
    }
    drop(witness);
    Ok(disk.taken())
}

#[test]
fn any_one_step_may_fail() {
    let kinds = ["create", "remove", "rename", "sync_all", "sync_data", "sync_dir", "write_at", "write_rows"];
    assert_eq!(sweep_single_steps(live), BTreeSet::from(kinds), "every kind of step has failed");
}

#[test]
fn any_two_or_three_steps_in_a_row_may_fail() {
    sweep_steps_in_a_row(live);
}

#[test]
fn a_write_that_was_claimed_and_not_done_is_noticed() {
    let noticed = noticed_claims(live);
    assert!(noticed >= 5, "most batches: {noticed}");
}
