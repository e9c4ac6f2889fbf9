//! Recorded lives of a delivery, cut off at each step: each sink gets every accepted event.

use std::hash::Hash;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use treehead::disk::DiskIo;
use treehead::monitor::delivery::{Delivery, NotDelivered, Notification, Sink};
use treehead::monitor::event::EventId;

use super::world::{PATIENCE, fork, forks, open_on};
use crate::common::mounts::quick_dir;
use crate::common::power_cut::recorder::{Accident, Files, Lie, Recorder, Step};
use crate::common::power_cut::{
    Cut, Promised, Recording, UnsyncedDisk, assert_cuts_are_harmless, assert_lie_is_noticed,
};

/// The progress of the event with this id.
#[derive(Clone)]
enum Progress {
    /// The delivery accepted it.
    Told(String),
    /// The sink accepted it.
    Taken(String),
}

/// The ids of the events that the delivery and the sink accepted.
#[derive(Clone, Default, Hash)]
struct Events {
    told: Vec<String>,
    taken: Vec<String>,
}

impl Promised for Events {
    type Promise = Progress;

    fn add(&mut self, progress: &Progress) {
        match progress {
            Progress::Told(id) => self.told.push(id.clone()),
            Progress::Taken(id) => self.taken.push(id.clone()),
        }
    }

    fn digest(&self) -> impl Hash {
        self
    }
}

/// A sink that records the events that it accepts.
struct RecordingSink {
    recorder: Arc<Recorder<Progress>>,
    closed: AtomicBool,
}

impl Sink for RecordingSink {
    fn send(&self, notification: &Notification<'_>) -> Result<(), NotDelivered> {
        if self.closed.load(Ordering::Relaxed) {
            return Err(NotDelivered::because("test", "closed"));
        }
        self.recorder.promise(Progress::Taken(notification.key.to_owned()));
        Ok(())
    }
}

/// Delivers `count` more events, and records whether they were accepted.
fn deliver(delivery: &Delivery, recorder: &Recorder<Progress>, number: &mut usize, count: usize) -> bool {
    let events = forks(*number..*number + count);
    let done = delivery.tell(&events).is_ok();
    if done {
        *number += count;
        events.iter().for_each(|event| recorder.promise(Progress::Told(event.id.to_string())));
    }
    done
}

/// Records the life of a delivery: first events, a restart, each accident, kills, with a sink that is up and down.
fn record_a_life(lie: Option<Lie>) -> Recording<Events> {
    let dir = quick_dir();
    let recorder = Arc::new(Recorder::new(dir.path(), lie));
    let io: Arc<dyn DiskIo> = recorder.clone();
    let sink = Arc::new(RecordingSink { recorder: recorder.clone(), closed: AtomicBool::new(true) });
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
    Recording { before: Files::new(), sled_before: None, promised: Events::default(), steps: recorder.take() }
}

/// Checks what a power cut left.
///
/// # Errors
/// An accepted event that the sink never gets, or gets out of order.
fn check(cut: &Cut<Events>) -> Result<(), String> {
    let (dir, Events { told, taken }) = (cut.dir(), &*cut.promised);
    let io: Arc<dyn DiskIo> = Arc::new(UnsyncedDisk);
    let recorder = Arc::new(Recorder::new(Path::new("/"), None));
    let sink = Arc::new(RecordingSink { recorder: recorder.clone(), closed: AtomicBool::new(false) });
    let delivery = open_on(dir.path(), sink, &io).map_err(|e| e.to_string())?;
    let open: Vec<String> =
        delivery.open_conditions(usize::MAX).into_iter().map(|condition| condition.id.to_string()).collect();
    if let Some(id) = told.iter().find(|id| !open.contains(id)) {
        return Err(format!("{id} is not open"));
    }
    let last = fork(1_000);
    delivery.tell(std::slice::from_ref(&last)).map_err(|e| e.to_string())?;
    if !delivery.flush(PATIENCE) {
        return Err("the sink does not get the new event".to_owned());
    }
    drop(delivery);
    let came: Vec<String> = recorder
        .take()
        .into_iter()
        .filter_map(|step| match step {
            Step::Promised(Progress::Taken(id)) => Some(id),
            _ => None,
        })
        .collect();
    if let Some(id) = told.iter().find(|id| !taken.contains(*id) && !came.contains(id)) {
        return Err(format!("{id} was told and never comes: {came:?}"));
    }
    if came.last() != Some(&last.id.to_string()) {
        return Err(format!("the new event does not come last: {came:?}"));
    }
    let order = |id: &String| (0..1_001).position(|number| fork(number).id == EventId::parse(id).unwrap());
    let mut first_seen: Vec<&String> = Vec::new();
    for id in taken.iter().chain(&came) {
        if !first_seen.contains(&id) {
            first_seen.push(id);
        }
    }
    let in_order = first_seen.into_iter().map(order).is_sorted();
    if in_order { Ok(()) } else { Err(format!("out of order: {taken:?}, then {came:?}")) }
}

#[test]
fn a_cut_at_any_step_loses_nothing_that_was_taken() {
    assert_cuts_are_harmless(&record_a_life(None), 150, check);
}

#[test]
fn a_disk_that_lies_is_noticed() {
    for lie in [Lie::Fdatasync, Lie::LogDir] {
        assert_lie_is_noticed(lie, &record_a_life(Some(lie)), check);
    }
}
