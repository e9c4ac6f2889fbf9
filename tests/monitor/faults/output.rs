//! The output fails, as when its reader goes away: however much it accepted before, the next run prints the rest. If
//! its disk is full, the monitor waits for space.

use std::collections::HashSet;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use treehead::monitor::delivery::DeliveryError;
use treehead::monitor::{FollowError, MonitorError, Once};

use super::{Told, cursor, each, follow, follow_error, lines, statements, withdrawn};
use crate::common::faulty_disk::Failure;
use crate::common::http::get;
use crate::common::liar::Liar;
use crate::common::liar::lie::{Lie, Only};
use crate::common::log::{eventually, numbered};
use crate::lies::peers::peer;
use crate::lies::{forks, origin_hash, other_entries};
use crate::world::{Log, Output, Running, World};

/// The number of entries that fill one window of statements and begin another.
const SIZE: usize = 4_160;

/// An output of which one write fails.
#[derive(Clone)]
struct Breaking {
    output: Output,
    /// The number of writes so far, and of the one that fails.
    writes: Arc<AtomicUsize>,
    at: usize,
    failure: Failure,
}

impl Breaking {
    fn new(at: usize, failure: Failure) -> Self {
        Self { output: Output::default(), writes: Arc::default(), at, failure }
    }

    fn writes(&self) -> usize {
        self.writes.load(Ordering::SeqCst)
    }
}

impl Write for Breaking {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.writes.fetch_add(1, Ordering::SeqCst) != self.at {
            return self.output.write(bytes);
        }
        self.output.write_all(&bytes[..self.failure.written(bytes.len())])?;
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Asserts that a run ended because of its output.
fn expect_broken(once: Result<Once, MonitorError>) -> Result<(), String> {
    match once.map_err(follow_error) {
        Err(Ok(FollowError::Delivery(DeliveryError::Output(_)))) => Ok(()),
        other => Err(format!("its output failed, and it ended with {other:?}")),
    }
}

/// Without publishers, because checking thousands of signatures is slow and changes nothing here.
fn windows(log: &Liar) -> World {
    let mut world = follow(log);
    world.logs[0].publishers = None;
    world
}

#[test]
fn after_any_output_failure_the_next_run_tells_the_rest() {
    let mut entries = statements(SIZE - 1);
    // It withdraws a statement of the window before its own.
    entries.push(withdrawn(&entries, 3));
    let log = Liar::serve(entries);
    let undisturbed = Breaking::new(usize::MAX, Failure::NotDone);
    let expected_once = windows(&log).once_to(&undisturbed).unwrap();
    let expected_once = Once { alerts_told: 0, grave_alerts_told: 0, ..expected_once };
    let expected = Told::nothing_of(&lines(&undisturbed.output));
    assert_eq!(undisturbed.writes(), 4, "the start, two windows, the head");
    let of_failure = |failure| (0..4).map(move |at| (at, failure));
    let faults: Vec<(usize, Failure)> =
        [Failure::NotDone, Failure::HalfDone, Failure::DoneAnyway].into_iter().flat_map(of_failure).collect();
    each(&faults, |(at, failure)| {
        let (world, broken) = (windows(&log), Breaking::new(*at, *failure));
        let mut told = expected.clone();
        expect_broken(world.once_to(&broken))?;
        told.hear(&lines(&broken.output))?;
        told.check_cursor(cursor(&world))?;
        let once = world.once();
        told.hear(&lines(&world.output))?;
        told.check_all()?;
        // How many alerts the second run tells depends on those that the first one told.
        let outcome = Once { alerts_told: 0, grave_alerts_told: 0, ..once };
        let seen = (cursor(&world), &outcome, world.evidence().len());
        if seen != (SIZE as u64, &expected_once, 0) {
            return Err(format!("it came to {seen:?}"));
        }
        Ok(())
    });
}

/// Follows a log that shows a fork, with an output that fails at this write. Returns what the output took, or nothing
/// if there is no such write.
fn meet_fork(world: &World, at: usize, failure: Failure) -> Option<Output> {
    let broken = Breaking::new(at, failure);
    let once = world.once_to(&broken);
    if broken.writes() <= at {
        return None;
    }
    expect_broken(once).unwrap();
    Some(broken.output)
}

#[test]
fn a_fork_that_could_not_be_told_is_told_although_the_log_takes_it_back() {
    for (ours, theirs) in [(300, 300), (300, 200), (300, 400)] {
        for failure in [Failure::NotDone, Failure::DoneAnyway] {
            let met = (0..).take_while(|at| untold(ours, theirs, *at, failure)).count();
            assert_eq!(met, if theirs < ours { 2 } else { 1 }, "a fork, and that the log has shrunk");
        }
    }
}

/// A log shows a fork and takes it back, while the output fails at this write. Returns whether there was such a write.
#[track_caller]
fn untold(ours: usize, theirs: usize, at: usize, failure: Failure) -> bool {
    let log = Liar::serve(numbered(ours));
    let world = World::new(vec![Log::opaque(&log.url(), &log.policy())]);
    world.once();
    log.fork("other", 100, &other_entries(theirs - 100));
    // A larger head could not be judged without its tiles.
    let only = if theirs > ours { Only::any() } else { Only::path("checkpoint") };
    log.set_only(Lie::Branch("other"), only);
    let Some(broken) = meet_fork(&world, at, failure) else { return false };
    log.be_honest();
    if theirs > ours {
        log.append("", &numbered(theirs + 1)[ours..]);
    }
    world.once();
    world.once();
    let about = format!("{theirs}, write {at}, {failure:?}: {:#?}", world.output.events());
    let told = world.output.of("fork");
    assert_eq!(told.len(), 1, "{about}");
    let id = told[0]["id"].as_str().unwrap();
    let mut before = broken.events().into_iter().filter(|event| event["event"] == "fork");
    assert!(before.all(|event| event["id"] == id), "{about}");
    assert_eq!(forks(&world, &log), [(ours.min(theirs), ours.max(theirs))], "{about}");
    true
}

#[test]
fn a_fork_that_a_peer_shows_once_is_told_although_the_output_failed_then() {
    let log = Liar::serve(numbered(300));
    let other = Liar::serve(numbered(300));
    other.fork(&origin_hash(), 100, &other_entries(150));
    let mut world = World::new(vec![Log::opaque(&log.url(), &log.policy())]);
    world.once();
    world.peers.push(peer("peer a", &other));
    meet_fork(&world, 0, Failure::NotDone).expect("the fork is the first write");
    world.peers.clear();
    world.once();
    world.once();
    assert_eq!(world.output.alerts(), ["fork"]);
    assert_eq!(forks(&world, &log), [(250, 300)]);
}

/// A file on a disk with this many free bytes.
#[derive(Clone, Default)]
struct Filling {
    output: Output,
    room: Arc<AtomicUsize>,
    refused: Arc<AtomicUsize>,
}

impl Write for Filling {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = self.room.load(Ordering::SeqCst).min(bytes.len());
        if room == 0 {
            self.refused.fetch_add(1, Ordering::SeqCst);
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.room.fetch_sub(room, Ordering::SeqCst);
        self.output.write(&bytes[..room])
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn ids(text: &str) -> HashSet<String> {
    let events = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    events.filter(|event| event["event"] != "started").map(|event| event["id"].to_string()).collect()
}

#[test]
fn an_output_on_a_full_disk_gets_everything_when_there_is_room() {
    let log = Liar::serve(statements(120));
    let undisturbed = follow(&log);
    undisturbed.once();
    let expected = ids(&undisturbed.output.text());
    assert!(expected.len() > 2, "{expected:?}");
    let (world, filling) = (follow(&log), Filling::default());
    filling.room.store(500, Ordering::SeqCst);
    let running = Running::start(world.open_to(&filling).unwrap());
    eventually("it tries again", || filling.refused.load(Ordering::SeqCst) >= 3);
    let health = get(running.address, "/healthz");
    let said = health.text();
    assert!(
        health.status == 503 && said.contains("(free some space); it goes on by itself then"),
        "{health}"
    );
    filling.room.store(usize::MAX / 2, Ordering::SeqCst);
    eventually("all of it is told", || expected.is_subset(&ids(&filling.output.text())));
    eventually("it is well again", || get(running.address, "/healthz").status == 200);
    let text = filling.output.text();
    let torn = text.lines().filter(|line| serde_json::from_str::<serde_json::Value>(line).is_err()).count();
    assert!(torn <= 1, "one line was cut off, and the next one began anew: {text}");
}
