//! A recorded life of a delivery, cut off at each of its steps: what it had taken, each sink gets.

use std::collections::HashSet;
use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use treehead::disk::DiskIo;
use treehead::monitor::delivery::{Delivery, NotDelivered, Notification, Sink};
use treehead::monitor::event::EventId;

use super::world::{PATIENCE, fork, forks, open_on};
use crate::common::mounts::quick_dir;
use crate::recorder::{Accident, Files, Lie, Recorder, Step};
use crate::simulated::{Disk, Survives};

/// Notes of promises: what the caller was told Ok for, and what the sink took.
const TOLD: u64 = 0;
const TAKEN: u64 = 1;

fn note(recorder: &Recorder, what: u64, id: &str) {
    recorder.note(Step::Durable(what, vec![id.as_bytes().to_vec()]));
}

/// A sink that notes what it takes.
struct Noting {
    recorder: Arc<Recorder>,
    closed: AtomicBool,
}

impl Sink for Noting {
    fn send(&self, notification: &Notification<'_>) -> Result<(), NotDelivered> {
        if self.closed.load(Ordering::Relaxed) {
            return Err(NotDelivered::because("test", "closed"));
        }
        note(&self.recorder, TAKEN, notification.key);
        Ok(())
    }
}

/// Delivers one more event, and notes whether it was taken.
fn deliver(delivery: &Delivery, recorder: &Recorder, number: &mut usize, count: usize) -> bool {
    let events = forks(*number..*number + count);
    let done = delivery.tell(&events).is_ok();
    if done {
        *number += count;
        events.iter().for_each(|event| note(recorder, TOLD, &event.id.to_string()));
    }
    done
}

/// First events, a restart, each accident, kills, with a sink that is now there and now away.
fn record_a_life(lie: Option<Lie>) -> Vec<Step> {
    let dir = quick_dir();
    let recorder = Arc::new(Recorder::new(dir.path(), lie));
    let io: Arc<dyn DiskIo> = recorder.clone();
    let sink = Arc::new(Noting { recorder: recorder.clone(), closed: AtomicBool::new(true) });
    let open = || open_on(dir.path(), sink.clone(), &io).unwrap();
    let mut number = 0;
    let delivery = open();
    for count in [1, 3, 1] {
        assert!(deliver(&delivery, &recorder, &mut number, count));
    }
    drop(delivery);
    let delivery = open();
    for accident in [Accident::Fdatasync, Accident::HalfWrite, Accident::Rename] {
        recorder.next_meets(accident);
        let tries = (0..3).filter(|_| deliver(&delivery, &recorder, &mut number, 2)).count();
        assert!(tries >= 2, "{accident:?}: {tries}");
    }
    sink.closed.store(false, Ordering::Relaxed);
    for _ in 0..3 {
        assert!(delivery.flush(PATIENCE) && deliver(&delivery, &recorder, &mut number, 2));
    }
    sink.closed.store(true, Ordering::Relaxed);
    drop(delivery);
    for accident in [Accident::Kill, Accident::FdatasyncThenKill] {
        let delivery = open();
        recorder.next_meets(accident);
        assert!(!deliver(&delivery, &recorder, &mut number, 2));
        drop(delivery);
        recorder.restarted();
    }
    let delivery = open();
    assert!(deliver(&delivery, &recorder, &mut number, 2));
    sink.closed.store(false, Ordering::Relaxed);
    assert!(
        delivery.flush(PATIENCE) && deliver(&delivery, &recorder, &mut number, 1) && delivery.flush(PATIENCE)
    );
    drop(delivery);
    recorder.take()
}

/// What a power cut left, and what was promised and taken before it.
struct Case {
    name: String,
    files: Files,
    told: Vec<String>,
    taken: Vec<String>,
}

/// Each cut between two steps, in each way that differs from the others; `random` of them by seed.
fn cuts(steps: &[Step], random: u64) -> Vec<Case> {
    let mut disk = Disk::new(&Files::new());
    let (mut told, mut taken) = (Vec::new(), Vec::new());
    let (mut cases, mut seen) = (Vec::new(), HashSet::new());
    for (at, step) in steps.iter().map(Some).chain([None]).enumerate() {
        if let Some(Step::Durable(what, ids)) = step {
            let id = String::from_utf8(ids[0].clone()).unwrap();
            if *what == TOLD {
                told.push(id);
            } else {
                taken.push(id);
            }
            continue;
        }
        let seeds = (0..random).map(|seed| Survives::Some(at as u64 * 1_000 + seed));
        for survives in [Survives::Nothing, Survives::Everything].into_iter().chain(seeds) {
            let files = disk.cut(survives);
            let mut hasher = DefaultHasher::new();
            (&files, &told, &taken).hash(&mut hasher);
            if seen.insert(hasher.finish()) {
                let name = format!("cut at step {at}, {survives:?}");
                cases.push(Case { name, files, told: told.clone(), taken: taken.clone() });
            }
        }
        if let Some(step) = step {
            disk.step(step);
        }
    }
    cases
}

impl Case {
    /// # Errors
    /// What was told and never comes, or comes out of order.
    fn check(&self) -> Result<(), String> {
        let dir = quick_dir();
        for (path, bytes) in &self.files {
            fs::write(dir.path().join(path), bytes).unwrap();
        }
        let io: Arc<dyn DiskIo> = Arc::new(NoSync);
        let recorder = Arc::new(Recorder::new(Path::new("/"), None));
        let sink = Arc::new(Noting { recorder: recorder.clone(), closed: AtomicBool::new(false) });
        let delivery = open_on(dir.path(), sink, &io).map_err(|e| e.to_string())?;
        let open: Vec<String> = delivery
            .open_conditions(usize::MAX)
            .into_iter()
            .map(|condition| condition.id.to_string())
            .collect();
        if let Some(id) = self.told.iter().find(|id| !open.contains(id)) {
            return Err(format!("{id} is not open"));
        }
        // And it goes on.
        let last = fork(1_000);
        delivery.tell(std::slice::from_ref(&last)).map_err(|e| e.to_string())?;
        if !delivery.flush(PATIENCE) {
            return Err("the sink does not get it".to_owned());
        }
        drop(delivery);
        let came: Vec<String> = recorder
            .take()
            .iter()
            .filter_map(|step| match step {
                Step::Durable(_, ids) => Some(String::from_utf8(ids[0].clone()).unwrap()),
                _ => None,
            })
            .collect();
        if let Some(id) = self.told.iter().find(|id| !self.taken.contains(*id) && !came.contains(id)) {
            return Err(format!("{id} was told and never comes: {came:?}"));
        }
        if came.last() != Some(&last.id.to_string()) {
            return Err(format!("the new one does not come last: {came:?}"));
        }
        let order =
            |id: &String| (0..1_001).position(|number| fork(number).id == EventId::parse(id).unwrap());
        let mut first_seen: Vec<&String> = Vec::new();
        for id in self.taken.iter().chain(&came) {
            if !first_seen.contains(&id) {
                first_seen.push(id);
            }
        }
        let in_order = first_seen.into_iter().map(order).is_sorted();
        if in_order { Ok(()) } else { Err(format!("out of order: {:?}, then {came:?}", self.taken)) }
    }
}

/// What is checked is thrown away at once: its own fsyncs would only take time.
struct NoSync;

impl DiskIo for NoSync {
    fn sync_data(&self, _: &fs::File, _: &Path) -> std::io::Result<()> {
        Ok(())
    }

    fn sync_all(&self, _: &fs::File, _: &Path) -> std::io::Result<()> {
        Ok(())
    }

    fn sync_dir(&self, _: &Path) -> std::io::Result<()> {
        Ok(())
    }
}

/// Runs the check of each case on all cores, until it has nine that are broken.
fn broken(cases: &[Case]) -> Vec<String> {
    let (next, broken) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || {
        while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
            if let Err(e) = case.check() {
                broken.lock().unwrap().push(format!("{}: {e}", case.name));
            }
            if broken.lock().unwrap().len() >= 9 {
                return;
            }
        }
    };
    std::thread::scope(|scope| {
        let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        (0..cores).for_each(|_| drop(scope.spawn(work)));
    });
    broken.into_inner().unwrap()
}

#[test]
fn a_cut_at_any_step_loses_nothing_that_was_taken() {
    let rounds = std::env::var("TREEHEAD_POWER_CUT_ROUNDS").ok().and_then(|n| n.parse().ok());
    let steps = record_a_life(None);
    let cases = cuts(&steps, rounds.map_or(3, |rounds: u64| rounds.div_ceil(10).max(3)));
    println!("{} steps, {} directories", steps.len(), cases.len());
    assert!(cases.len() > 150, "{}", cases.len());
    let broken = broken(&cases);
    assert!(broken.is_empty(), "of {}: {broken:#?}", cases.len());
}

#[test]
fn a_disk_that_lies_is_noticed() {
    for lie in [Lie::Fdatasync, Lie::LogDir] {
        let broken = broken(&cuts(&record_a_life(Some(lie)), 1));
        println!("{lie:?}: {}", broken.first().map_or("nothing", String::as_str));
        assert!(!broken.is_empty(), "{lie:?}");
    }
}
