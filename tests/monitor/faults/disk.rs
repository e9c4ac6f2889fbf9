//! The disk fails at each step in turn, under the state file and under the delivery.

use std::sync::Arc;

use treehead::disk::RealDisk;
use treehead::monitor::{FollowError, Once};

use super::{Keeping, Told, cursor, each, follow, follow_error, lines, statements, withdrawn};
use crate::common::faulty_disk::{Failure, FaultyDisk, Plan, plans};
use crate::common::liar::Liar;
use crate::common::log::eventually;
use crate::world::{Output, Running};

/// The size of the log in each run.
const SIZES: [usize; 3] = [40, 70, 101];
/// The failures of a single step.
const FAILURES: [Failure; 3] = [Failure::NotDone, Failure::DoneAnyway, Failure::HalfDone];

fn entries() -> Vec<Vec<u8>> {
    let mut entries = statements(SIZES[2] - 1);
    entries.push(withdrawn(&entries, 3));
    entries
}

/// The result of a life in which saving the state may fail: its steps, its events, and its last run.
type Life = (Vec<&'static str>, Vec<Vec<String>>, Once);

/// The log grows before each run. The last run has a good disk.
fn live(plan: Plan, expected: Option<&Told>) -> Result<Life, String> {
    let entries = entries();
    let log = Liar::serve(entries[..SIZES[0]].to_vec());
    let mut world = follow(&log);
    let disk = Arc::new(FaultyDisk::for_part(plan, "logs"));
    world.io = disk.clone();
    let (mut told, mut runs, mut last) = (expected.cloned(), Vec::new(), None);
    for (run, size) in SIZES.into_iter().enumerate() {
        let known = log.branch("").entries.len();
        log.append("", &entries[known..size]);
        let before = disk.taken().len();
        if run == SIZES.len() - 1 {
            world.io = Arc::new(RealDisk);
        }
        let output = Output::default();
        let once = world.once_to(&output);
        let has_met = (before..disk.taken().len()).contains(&plan.at);
        match once.map_err(follow_error) {
            Ok(once) if !has_met => last = Some(once),
            Err(Ok(FollowError::State(_))) if has_met => {}
            other => return Err(format!("the fault was met: {has_met}, and run {run} ended with {other:?}")),
        }
        if let Some(told) = &mut told {
            told.hear(&lines(&output))?;
            told.check_cursor(cursor(&world))?;
        }
        runs.push(lines(&output));
    }
    if (cursor(&world), world.evidence().len()) != (SIZES[2] as u64, 0) {
        return Err(format!("the cursor is at {}, with evidence {:?}", cursor(&world), world.evidence()));
    }
    told.map_or(Ok(()), |told| told.check_all())?;
    Ok((disk.taken(), runs, last.expect("the last run met no fault")))
}

#[test]
fn a_state_that_can_t_be_saved_loses_no_event_of_a_log_that_grows() {
    let (steps, runs, last) = live(Plan::NONE, None).unwrap();
    let expected = Told::nothing_of(&runs.concat());
    assert_eq!(steps.len(), 2 * 2 * 5, "two runs that save after the head and at their end: {steps:?}");
    let count = |steps: &[&str], kind| steps.iter().filter(|step| **step == kind).count();
    assert_eq!(count(&steps, "rename"), 4);
    each(&plans(&steps, 1, &FAILURES), |plan| {
        let (_, _, once) = live(*plan, Some(&expected))?;
        // A run that repeats events because they were not saved counts their alerts again.
        let seen = (&once.open_conditions, once.not_followed, once.delivered);
        if seen == (&last.open_conditions, last.not_followed, last.delivered) {
            Ok(())
        } else {
            Err(format!("it came to {once:?} instead of {last:?}"))
        }
    });
}

/// Runs a monitor whose files are all on a failing disk, while the log grows. Returns the number of steps.
fn run(plan: Plan, expected: Option<&Told>) -> Result<(Vec<&'static str>, Vec<String>), String> {
    let entries = entries();
    let log = Liar::serve(entries[..SIZES[0]].to_vec());
    let mut world = follow(&log);
    let (disk, sink) = (Arc::new(FaultyDisk::new(plan)), Keeping::of(&mut world));
    world.io = disk.clone();
    // A failed start is tried again.
    let opened = (0..=plan.times).find_map(|_| world.open_to(&world.output).ok());
    let running = Running::start(opened.ok_or("it does not open")?);
    for (at, size) in SIZES.into_iter().enumerate() {
        let known = log.branch("").entries.len();
        log.append("", &entries[known..size]);
        let heads =
            |lines: &[String]| lines.iter().filter(|line| line.contains("\"event\":\"head\"")).count();
        eventually("it is told and delivered", || {
            heads(&lines(&world.output)) > at && heads(&sink.lines()) > at
        });
    }
    drop(running);
    let steps = disk.taken();
    world.io = Arc::new(RealDisk);
    let rest = Output::default();
    let once = world.once_to(&rest).map_err(|e| e.to_string())?;
    if !once.delivered || cursor(&world) != SIZES[2] as u64 {
        return Err(format!("it came to {once:?}, and the cursor to {}", cursor(&world)));
    }
    let printed = lines(&world.output);
    if let Some(expected) = expected {
        let mut told = expected.clone();
        told.hear(&printed)?;
        told.hear(&lines(&rest))?;
        told.check_all()?;
        let mut got = expected.clone();
        got.hear(&sink.lines()).and_then(|()| got.check_all()).map_err(|e| format!("the sink: {e}"))?;
    }
    Ok((steps, printed))
}

#[test]
fn a_monitor_whose_disk_fails_for_a_moment_goes_on_without_a_restart() {
    let (steps, printed) = run(Plan::NONE, None).unwrap();
    let expected = Told::nothing_of(&printed);
    // Later steps only repeat these. One failure of each step is enough here: the delivery and the state alone are
    // tested with all of them.
    let plan = |(at, plan): (usize, Plan)| Plan { times: [1, 4][at / 2 % 2], ..plan };
    let some = plans(&steps[..steps.len().min(45)], 1, &FAILURES).into_iter().step_by(2).enumerate();
    let some: Vec<Plan> = some.map(plan).collect();
    each(&some, |plan| run(*plan, Some(&expected)).map(drop));
}
