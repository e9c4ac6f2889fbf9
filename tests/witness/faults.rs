//! Each step of a witness's life fails once, and each two or three in a row: what was cosigned is known
//! ever after, nothing else was let out, and the witness goes on without a restart.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex};

use treehead::disk::{RealDisk, SledIo};
use treehead::witness::{Witness, WitnessError};

use super::world::{TestLog, open_on, size, witness_dir};
use crate::faulty::{Faulty, How, Plan};

/// Small enough that the journal is written anew now and then.
pub const JOURNAL_BYTES: u64 = 1_200;
/// `EIO`, `ENOSPC` and `EROFS`.
const ERRORS: [i32; 3] = [5, 28, 30];
/// What each log grows to, in two lives.
pub const LIVES: [&[(usize, usize)]; 2] =
    [&[(0, 1), (0, 2), (1, 5), (0, 9), (0, 9), (1, 6)], &[(0, 12), (1, 13), (0, 20)]];

/// A log that tells the truth, and one that has its key and another history from the first leaf on.
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

/// One request, by itself.
pub fn ask(witness: &Witness, body: &str) -> Result<(), WitnessError> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(witness.add_checkpoint(body.as_bytes())).map(drop)
}

/// The witness knows at least `known` of the log, and cosigns no other history of it.
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

/// Opens, as often as faults may keep it from that: an operator tries again, too.
fn open(dir: &Path, io: &Arc<dyn SledIo>, plan: Plan) -> Result<Witness, String> {
    let mut refused = Vec::new();
    for _ in 0..=plan.times {
        match open_on(dir, io, JOURNAL_BYTES) {
            Ok(witness) => return Ok(witness),
            Err(why) => refused.push(why),
        }
    }
    Err(format!("it does not open: {refused:?}"))
}

/// Grows a log to `new`, as often as faults may keep the witness from it.
fn grow(
    witness: &Witness,
    pair: &Pair,
    known: &mut Option<usize>,
    new: usize,
    plan: Plan,
) -> Result<(), String> {
    let origin = pair.log.origin();
    for _ in 0..=plan.times {
        // It may be ahead of what was let out only after a restart.
        let before = witness.ledger().head(&origin);
        let old = before.map_or(0, |head| usize::try_from(head.size.get()).expect("small"));
        match ask(witness, &pair.log.request(old, new.max(old)).to_string()) {
            Ok(()) => {
                *known = Some(new.max(old));
                return keeps(witness, pair, *known);
            }
            Err(WitnessError::Ledger(e)) if e.to_string().contains(&format!("os error {}", plan.error)) => {
                if witness.ledger().head(&origin) != before {
                    return Err("it was refused, and shown".to_owned());
                }
                if witness.ledger().faults().is_empty() {
                    return Err("the health says nothing of it".to_owned());
                }
            }
            Err(e) => return Err(format!("refused without the reason: {e}")),
        }
    }
    Err("it does not cosign this log any more".to_owned())
}

/// A life with a plan, a restart in the middle of it. Returns the kinds of its steps.
fn live(plan: Plan) -> Result<Vec<&'static str>, String> {
    let pairs = pairs();
    let dir = witness_dir(&[&pairs[0].log, &pairs[1].log]);
    let faulty = Arc::new(Faulty::new(plan));
    let io: Arc<dyn SledIo> = faulty.clone();
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
    Ok(faulty.taken().clone())
}

/// Runs all plans on all cores; returns the kinds of steps that failed in any of them.
fn sweep(plans: &[Plan]) -> BTreeSet<&'static str> {
    let (next, met, broken) = (Mutex::new(plans.iter()), Mutex::new(BTreeSet::new()), Mutex::new(Vec::new()));
    let work = || {
        loop {
            let Some(plan) = next.lock().unwrap().next() else { return };
            match live(*plan) {
                Ok(taken) => met.lock().unwrap().extend(taken.into_iter().skip(plan.at).take(plan.times)),
                Err(e) => broken.lock().unwrap().push(format!("{plan:?}: {e}")),
            }
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
            if *how != How::Half || *kind == "write_at" || times > 1 {
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
    let kinds = ["create", "derive", "remove", "rename", "sync_all", "sync_data", "sync_dir", "write_at"];
    assert_eq!(met, BTreeSet::from(kinds), "every kind of step has failed");
}

#[test]
fn any_two_or_three_steps_in_a_row_may_fail() {
    let mut plans = plans(2, &[How::Failed, How::FailedButPersisted]);
    let more = plans.iter().map(|plan| Plan { times: 3, how: How::Half, ..*plan }).step_by(2);
    plans = more.chain(plans.clone()).collect();
    let met = sweep(&plans);
    println!("{} faults, of the kinds {met:?}", plans.len());
}

#[test]
fn a_write_that_was_said_to_be_done_and_was_not_is_noticed() {
    let steps = live(Plan::NONE).expect("nothing fails");
    let writes = (0..steps.len()).filter(|at| steps[*at] == "write_at");
    let lies = writes.map(|at| Plan { at, times: 1, how: How::Lied, ..Plan::NONE });
    let (noticed, missed): (Vec<Plan>, Vec<Plan>) = lies.partition(|plan| live(*plan).is_err());
    println!("{} noticed, {} made good", noticed.len(), missed.len());
    assert!(noticed.len() >= 5, "most batches: {noticed:?}");
}
