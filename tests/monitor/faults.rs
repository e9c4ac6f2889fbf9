//! Disks and outputs that fail: no event is lost, none is made up, and the cursor is never ahead of the delivered
//! events.

mod disk;
mod evidence;
mod output;
mod retry;

use std::collections::HashMap;
use std::fs;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use treehead::monitor::delivery::{Filter, NotDelivered, Notification, Sink, SinkSettings};
use treehead::monitor::{FollowError, MonitorError};

use crate::common::liar::Liar;
use crate::common::parallel::assert_all;
use crate::common::releases::{scanner, signed, signed_withdrawal, vendor_toml, withdrawal};
use crate::world::{Log, Output, World};

/// Numbered releases. In each fifty, one entry is no statement and one is of an unknown signer, so the vendor's next
/// releases leave a gap.
fn statements(count: usize) -> Vec<Vec<u8>> {
    let statement = |at: usize| match at % 50 {
        5 => format!("no statement {at}").into_bytes(),
        8 => signed(&scanner(at as u64 + 1), 9),
        _ => signed(&scanner(at as u64 + 1), 1),
    };
    (0..count).map(statement).collect()
}

/// A withdrawal of the statement at this leaf.
fn withdrawn(entries: &[Vec<u8>], at: usize) -> Vec<u8> {
    signed_withdrawal(&withdrawal(at as u64, &entries[at]), 1)
}

/// A monitor of a log whose only publisher is the vendor.
fn follow(log: &Liar) -> World {
    let mut world = World::new(Vec::new());
    world.temp = crate::common::mounts::quick_dir();
    let publishers = world.temp.path().join("publishers.toml");
    fs::write(&publishers, vendor_toml()).unwrap();
    world.logs.push(Log::release(&log.url(), &log.policy(), &publishers));
    world
}

/// The whole lines of a run, without `started`. A reader drops a line that was cut off.
fn lines(output: &Output) -> Vec<String> {
    let text = output.text();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().filter(|line| !is_start(line)).map(ToOwned::to_owned).collect()
}

/// A sink that keeps all events.
#[derive(Default)]
struct Keeping(Mutex<Vec<String>>);

impl Sink for Keeping {
    fn send(&self, notification: &Notification<'_>) -> Result<(), NotDelivered> {
        self.0.lock().unwrap().push(notification.line.to_owned());
        Ok(())
    }
}

impl Keeping {
    /// Adds the sink to a world, for all events.
    fn of(world: &mut World) -> Arc<Self> {
        let sink = Arc::<Self>::default();
        let all = Filter::parse(&["info", "watch", "alert"]).unwrap();
        world.sinks.push(SinkSettings::new("pager", all, sink.clone()).unwrap());
        sink
    }

    /// Each line once, in the order of their first delivery.
    fn all(&self) -> Vec<String> {
        let mut lines: Vec<String> = Vec::new();
        for line in self.0.lock().unwrap().iter() {
            if !lines.contains(line) {
                lines.push(line.clone());
            }
        }
        lines
    }

    /// The events with this code.
    fn of_code(&self, code: &str) -> Vec<Value> {
        let all = self.all().into_iter().map(|line| serde_json::from_str::<Value>(&line).unwrap());
        all.filter(|event| event["event"] == code).collect()
    }

    /// Leaves out `started`.
    fn lines(&self) -> Vec<String> {
        self.all().into_iter().filter(|line| !is_start(line)).collect()
    }
}

fn is_start(line: &str) -> bool {
    line.contains("\"event\":\"started\"")
}

/// The cursor in the state file of a world's only log; zero if there is none.
fn cursor(world: &World) -> u64 {
    let files: Vec<_> = fs::read_dir(world.dir().join("logs")).into_iter().flatten().collect();
    let state =
        files.into_iter().map(|file| file.unwrap().path()).find(|path| path.extension().unwrap() == "json");
    let Some(state) = state else { return 0 };
    let text = fs::read_to_string(state).unwrap();
    let json: Value = serde_json::from_str(text.split_once('\n').unwrap().1).unwrap();
    json["size"].as_u64().unwrap()
}

/// The lines of disturbed lives, compared with those of an undisturbed one. All clocks stand still, so that lines are
/// equal to the byte.
#[derive(Clone)]
struct Told {
    places: HashMap<String, usize>,
    /// The leaf of each line.
    leaves: Vec<Option<u64>>,
    /// All lines before this one were printed.
    next: usize,
}

impl Told {
    fn nothing_of(expected: &[String]) -> Self {
        let leaf = |line: &String| serde_json::from_str::<Value>(line).unwrap()["index"].as_u64();
        let places: HashMap<_, _> = expected.iter().cloned().zip(0..).collect();
        assert_eq!(places.len(), expected.len(), "nothing is told twice");
        Self { places, leaves: expected.iter().map(leaf).collect(), next: 0 }
    }

    /// Adds the lines of one run: in order, none left out before them, and none made up.
    fn hear(&mut self, lines: &[String]) -> Result<(), String> {
        let mut before = None;
        for line in lines {
            let place = *self.places.get(line).ok_or_else(|| format!("made up: {line}"))?;
            if before.is_some_and(|before| before >= place) {
                return Err(format!("out of order: {line}"));
            }
            if place > self.next {
                return Err(format!("{} lines are left out before {line}", place - self.next));
            }
            self.next = self.next.max(place + 1);
            before = Some(place);
        }
        Ok(())
    }

    /// Asserts that all lines about leaves below the cursor were printed.
    fn check_cursor(&self, cursor: u64) -> Result<(), String> {
        let untold = self.leaves[self.next..].iter().flatten().find(|leaf| **leaf < cursor);
        untold.map_or(Ok(()), |leaf| Err(format!("leaf {leaf} is not told, and the cursor is at {cursor}")))
    }

    fn check_all(&self) -> Result<(), String> {
        let left = self.leaves.len() - self.next;
        if left == 0 { Ok(()) } else { Err(format!("{left} lines are never told")) }
    }
}

/// The error of a run that could not go on with its log.
fn follow_error(error: MonitorError) -> Result<FollowError, String> {
    match error {
        MonitorError::Follow { error, .. } => Ok(*error),
        other => Err(format!("refused for another reason: {other}")),
    }
}

/// Works through all cases, and names each that fails.
#[track_caller]
fn each<T: Sync + std::fmt::Debug>(all: &[T], work: impl Fn(&T) -> Result<(), String> + Sync) {
    assert_all(all, |one| work(one).map_err(|why| format!("{one:?}: {why}")));
}

#[test]
fn lost_invented_and_reordered_lines_are_detected() {
    let line = |at: u64| format!("{{\"index\":{at}}}");
    let all: Vec<String> = (0..4).map(line).collect();
    let told = Told::nothing_of(&all);
    let heard = |runs: &[&[u64]]| {
        let mut told = told.clone();
        let heard =
            runs.iter().try_for_each(|run| told.hear(&run.iter().copied().map(line).collect::<Vec<_>>()));
        heard.map(|()| told)
    };
    for bad in [&[&[0, 2][..]][..], &[&[1]], &[&[0, 1], &[1, 3]], &[&[0, 1, 0]], &[&[0, 0]], &[&[4]]] {
        assert!(heard(bad).is_err(), "{bad:?}");
    }
    let some = heard(&[&[0, 1, 2], &[0, 2]]).unwrap();
    assert!(some.check_cursor(3).is_ok() && some.check_cursor(4).is_err() && some.check_all().is_err());
    assert!(heard(&[&[0, 1], &[1, 2, 3]]).unwrap().check_all().is_ok());
}
