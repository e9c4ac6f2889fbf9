//! Each step of a delivery's life fails once, and each two or three in a row: what it has taken is never lost, each
//! sink gets it in order, and the delivery goes on without a restart.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use treehead::disk::{DiskIo, RealDisk};
use treehead::monitor::delivery::{Delivery, DeliveryError};
use treehead::monitor::event::{Code, Event};

use super::world::{PATIENCE, START, Toy, forks, lines, open_on};
use crate::common::mounts::quick_dir;
use crate::faulty::{Faulty, How, Plan};

/// `EIO`, `ENOSPC` and `EROFS`.
const ERRORS: [i32; 3] = [5, 28, 30];

/// As often as faults may keep it from that: a monitor tries again, too.
fn again<T>(plan: Plan, mut work: impl FnMut() -> Result<T, DeliveryError>) -> Result<T, String> {
    let mut refused = Vec::new();
    for _ in 0..=plan.times {
        match work() {
            Ok(done) => return Ok(done),
            Err(e) if e.to_string().contains(&format!("os error {}", plan.error)) => {
                refused.push(e.to_string());
            }
            Err(e) => return Err(format!("refused without the reason: {e}")),
        }
    }
    Err(format!("it does not go on: {refused:?}"))
}

fn started(dir: &Path, sink: &Arc<Toy>, io: &Arc<dyn DiskIo>, plan: Plan) -> Result<Arc<Delivery>, String> {
    again(plan, || open_on(dir, sink.clone(), io))
}

fn stalled() -> Event {
    Event::new(Code::LogStalled, Some("log.example/a"), &[], START, "it stalls")
}

/// A life with a plan: a sink that is away, a restart, a sink that takes everything, and a look at the end.
/// Returns the kinds of its steps.
fn live(plan: Plan) -> Result<Vec<&'static str>, String> {
    let dir = quick_dir();
    let faulty = Arc::new(Faulty::new(plan));
    let io: Arc<dyn DiskIo> = faulty.clone();
    let toy = Arc::new(Toy::closed());
    let delivery = started(dir.path(), &toy, &io, plan)?;
    for numbers in [0..1, 1..4, 4..6] {
        again(plan, || delivery.tell(&forks(numbers.clone())))?;
    }
    drop(delivery);
    let delivery = started(dir.path(), &toy, &io, plan)?;
    again(plan, || delivery.tell(&[stalled()]))?;
    toy.closed.store(false, Ordering::Relaxed);
    for numbers in [6..8, 8..9, 9..15] {
        if !delivery.flush(PATIENCE) {
            return Err("the sink does not get it".to_owned());
        }
        again(plan, || delivery.tell(&forks(numbers.clone())))?;
    }
    again(plan, || delivery.end(stalled().id, "it grows"))?;
    drop(delivery);
    let real: Arc<dyn DiskIo> = Arc::new(RealDisk);
    let delivery = started(dir.path(), &toy, &real, Plan::NONE)?;
    if !delivery.flush(PATIENCE) {
        return Err("the sink does not get what is left".to_owned());
    }
    let taken = toy.lines();
    let expected = [lines(&forks(0..6)), lines(&[stalled()]), lines(&forks(6..15))].concat();
    if taken.len() != 17 || taken[..16] != expected || !taken[16].contains("\"ended\"") {
        return Err(format!("the sink got something else: {taken:#?}"));
    }
    let open = delivery.open_conditions(usize::MAX).len();
    if open != 15 {
        return Err(format!("expected 15 open conditions, saw {open}"));
    }
    let steps = faulty.taken().clone();
    Ok(steps)
}

/// Runs all plans on all cores; returns the kinds of steps that failed in any of them.
fn sweep(plans: &[Plan]) -> BTreeSet<&'static str> {
    let (next, met, broken) = (Mutex::new(plans.iter()), Mutex::new(BTreeSet::new()), Mutex::new(Vec::new()));
    let work = || {
        loop {
            let Some(plan) = next.lock().unwrap().next() else { return };
            match live(*plan) {
                Ok(steps) => met.lock().unwrap().extend(steps.into_iter().skip(plan.at).take(plan.times)),
                Err(e) => broken.lock().unwrap().push(format!("{plan:?}: {e}")),
            }
        }
    };
    std::thread::scope(|scope| {
        let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        (0..cores).for_each(|_| drop(scope.spawn(work)));
    });
    let broken = broken.into_inner().unwrap();
    assert!(broken.is_empty(), "{} of {}: {:#?}", broken.len(), plans.len(), &broken[..broken.len().min(5)]);
    met.into_inner().unwrap()
}

/// A plan for each step of an undisturbed life, `times` in a row. How often positions are written depends on how
/// quick the threads are: steps are not always the same, what must hold is.
fn plans(times: usize, hows: &[How]) -> Vec<Plan> {
    let steps = live(Plan::NONE).expect("nothing fails");
    let at = |(at, _)| {
        let of = |(turn, how): (usize, &How)| Plan { at, times, how: *how, error: ERRORS[(at + turn) % 3] };
        hows.iter().enumerate().map(of).collect::<Vec<_>>()
    };
    steps.iter().enumerate().flat_map(at).collect()
}

#[test]
fn any_one_step_may_fail() {
    let plans = plans(1, &[How::Failed, How::FailedButPersisted, How::Half]);
    let met = sweep(&plans);
    println!("{} faults, of the kinds {met:?}", plans.len());
    let kinds = ["create", "rename", "sync_all", "sync_data", "sync_dir", "write_at"];
    assert_eq!(met, BTreeSet::from(kinds), "every kind of step has failed");
}

#[test]
fn any_two_or_three_steps_in_a_row_may_fail() {
    let mut all = plans(2, &[How::Failed]);
    all.extend(plans(3, &[How::FailedButPersisted]).into_iter().step_by(2));
    let met = sweep(&all);
    println!("{} faults, of the kinds {met:?}", all.len());
}

#[test]
fn a_write_that_was_said_to_be_done_and_was_not_is_noticed() {
    let steps = live(Plan::NONE).expect("nothing fails");
    let writes = (0..steps.len()).filter(|at| steps[*at] == "write_at");
    let lies = writes.map(|at| Plan { at, times: 1, how: How::Lied, ..Plan::NONE });
    let noticed = lies.filter(|plan| live(*plan).is_err()).count();
    assert!(noticed >= 3, "the batches of a sink that was away: {noticed}");
}
