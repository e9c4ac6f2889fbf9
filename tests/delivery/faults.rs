//! Each step of a delivery's life fails once, and two or three in a row: no accepted event is lost, each sink gets
//! the events in order, and the delivery goes on without a restart.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use treehead::disk::{DiskIo, RealDisk};
use treehead::monitor::delivery::{Delivery, DeliveryError};
use treehead::monitor::event::{Code, Event};

use super::world::{PATIENCE, START, Toy, forks, lines, open_on};
use crate::common::faulty_disk::{Failure, FaultyDisk, Plan, noticed_claims, plans, sweep};
use crate::common::mounts::quick_dir;

/// Tries once more than steps fail, as a monitor does.
fn again<T>(plan: Plan, mut work: impl FnMut() -> Result<T, DeliveryError>) -> Result<T, String> {
    let mut unexplained = None;
    let done = plan.retry(|| {
        work().map_err(|e| {
            let error = e.to_string();
            unexplained = unexplained.take().or_else(|| (!plan.explains(&error)).then(|| error.clone()));
            error
        })
    });
    unexplained.map_or(done, |error| Err(format!("refused without the reason: {error}")))
}

fn started(dir: &Path, sink: &Arc<Toy>, io: &Arc<dyn DiskIo>, plan: Plan) -> Result<Arc<Delivery>, String> {
    again(plan, || open_on(dir, sink.clone(), io))
}

fn stalled() -> Event {
    Event::new(Code::LogStalled, Some("log.example/a"), &[], START, "it stalls")
}

/// The life of a delivery under a plan: its sink is down, it restarts, its sink accepts everything. Returns the kinds
/// of its steps.
fn live(plan: Plan) -> Result<Vec<&'static str>, String> {
    let dir = quick_dir();
    let disk = Arc::new(FaultyDisk::new(plan));
    let io: Arc<dyn DiskIo> = disk.clone();
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
            return Err("the sink does not get the events".to_owned());
        }
        again(plan, || delivery.tell(&forks(numbers.clone())))?;
    }
    again(plan, || delivery.end(&[stalled().id], "it grows"))?;
    drop(delivery);
    let real: Arc<dyn DiskIo> = Arc::new(RealDisk);
    let delivery = started(dir.path(), &toy, &real, Plan::NONE)?;
    if !delivery.flush(PATIENCE) {
        return Err("the sink does not get the remaining events".to_owned());
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
    Ok(disk.taken())
}

/// A plan for each step of an undisturbed life, `times` in a row. How often the delivery saves positions depends on the
/// timing of its threads, so any step may be a write in another life.
fn plans_for_any(times: usize, failures: &[Failure]) -> Vec<Plan> {
    let steps = live(Plan::NONE).expect("nothing fails");
    plans(&vec!["write_at"; steps.len()], times, failures)
}

#[test]
fn any_one_step_may_fail() {
    let met = sweep(&plans_for_any(1, &[Failure::NotDone, Failure::DoneAnyway, Failure::HalfDone]), live);
    let kinds = ["create", "rename", "sync_all", "sync_data", "sync_dir", "write_at"];
    assert_eq!(met, BTreeSet::from(kinds), "every kind of step has failed");
}

#[test]
fn any_two_or_three_steps_in_a_row_may_fail() {
    let mut all = plans_for_any(2, &[Failure::NotDone]);
    all.extend(plans_for_any(3, &[Failure::DoneAnyway]).into_iter().step_by(2));
    sweep(&all, live);
}

#[test]
fn a_write_that_was_claimed_and_not_done_is_noticed() {
    let noticed = noticed_claims(live);
    assert!(noticed >= 3, "the batches while the sink was down: {noticed}");
}
