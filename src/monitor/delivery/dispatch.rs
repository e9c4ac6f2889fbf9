//! What the threads of a delivery share: the events that sinks wait for, and how far each sink has come.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::open_conditions::OpenConditions;
use super::outbox::Record;
use super::positions::{self, Positions};
use super::settings::{DeliverySettings, SinkSettings};
use crate::disk::{DirLock, DiskError, DiskIo, retried};

pub struct Dispatch {
    pub dir: PathBuf,
    pub io: Arc<dyn DiskIo>,
    pub settings: DeliverySettings,
    pub state: Mutex<DispatchState>,
    pub wake: Condvar,
    /// `DispatchState::stopped`, for threads that must not wait for the lock.
    pub stop: AtomicBool,
    /// Held while the positions are written.
    positions: Mutex<()>,
    /// Held until the last thread has ended, also one that was left behind: it may still write.
    _lock: DirLock,
}

/// The lock on it is never held while a file is written.
pub struct DispatchState {
    pub queue: Queue,
    /// In the order of the settings.
    pub sinks: Vec<Progress>,
    pub conditions: OpenConditions,
    /// Alerts that were told since the start, by log and code.
    pub alerts_told: BTreeMap<(Option<String>, String), u64>,
    /// Callers that wait for room in the outbox.
    pub waiting: usize,
    /// Faults of this delivery, by the file that they are about.
    pub faults: BTreeMap<&'static str, String>,
    /// Whether a sink has come further than `positions.json` says.
    pub moved: bool,
    pub stopped: bool,
}

#[derive(Default)]
pub struct Queue {
    records: VecDeque<Arc<Record>>,
    pub next: u64,
    bytes: usize,
}

#[derive(Debug, Clone, Default)]
pub struct Progress {
    /// Number of the record that it gets next.
    pub position: u64,
    pub delivered: u64,
    pub failures: u64,
    /// Why the last try failed, for the operator; `fault_code` is for everybody.
    pub fault: Option<String>,
    pub fault_code: Option<&'static str>,
    /// Unix seconds since when the event at its position fails.
    pub failing_since: Option<u64>,
    pub next_try: Option<Instant>,
}

impl Queue {
    pub fn new(records: Vec<Record>, next: u64) -> Self {
        let records: VecDeque<Arc<Record>> = records.into_iter().map(Arc::new).collect();
        let bytes = records.iter().map(|record| record.line.len()).sum();
        Self { records, next, bytes }
    }

    pub fn push(&mut self, record: Arc<Record>) {
        assert_eq!(record.number, self.next, "records are numbered in order");
        self.next += 1;
        self.bytes += record.line.len();
        self.records.push_back(record);
    }

    /// The record of a number, or the next one behind it.
    fn at(&self, number: u64) -> Option<&Arc<Record>> {
        self.records.get(self.records.partition_point(|record| record.number < number))
    }

    pub fn behind(&self, number: u64) -> impl Iterator<Item = &Arc<Record>> {
        let at = self.records.partition_point(|record| record.number < number);
        self.records.range(at..)
    }

    pub fn drop_below(&mut self, number: u64) {
        while let Some(record) = self.records.front().filter(|record| record.number < number) {
            self.bytes -= record.line.len();
            self.records.pop_front();
        }
    }

    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn all(&self) -> Vec<Arc<Record>> {
        self.records.iter().cloned().collect()
    }
}

impl Dispatch {
    pub fn new(
        dir: PathBuf,
        io: Arc<dyn DiskIo>,
        settings: DeliverySettings,
        state: DispatchState,
        lock: DirLock,
    ) -> Self {
        let (wake, stop, positions) = (Condvar::new(), AtomicBool::new(false), Mutex::new(()));
        Self { dir, io, settings, state: Mutex::new(state), wake, stop, positions, _lock: lock }
    }

    pub fn lock(&self) -> MutexGuard<'_, DispatchState> {
        self.state.lock().expect("no panic while it is held")
    }

    pub fn now(&self) -> u64 {
        (self.settings.clock)()
    }

    pub fn sink(&self, place: usize) -> &SinkSettings {
        &self.settings.sinks[place]
    }

    pub fn stop(&self) {
        self.lock().stopped = true;
        self.stop.store(true, Ordering::Relaxed);
        self.wake.notify_all();
    }

    /// Waits for the next record that a sink wants; `None` if the delivery is being closed.
    pub fn next_for(&self, place: usize) -> Option<Arc<Record>> {
        let filter = &self.sink(place).filter;
        let mut state = self.lock();
        loop {
            if state.stopped {
                return None;
            }
            let position = state.sinks[place].position;
            match state.queue.at(position).cloned() {
                Some(record) if filter.passes(&record.code, record.severity) => return Some(record),
                Some(record) => self.advance(&mut state, place, record.number + 1),
                // Numbers behind the last record were never given to one that waits.
                None if position < state.queue.next => {
                    let next = state.queue.next;
                    self.advance(&mut state, place, next);
                }
                None => state = self.wake.wait(state).expect("no panic while it is held"),
            }
        }
    }

    /// Notes that a sink is done with everything below `position`.
    pub fn advance(&self, state: &mut DispatchState, place: usize, position: u64) {
        let sink = &mut state.sinks[place];
        sink.position = position;
        (sink.failing_since, sink.next_try) = (None, None);
        state.moved = true;
        let done = state.sinks.iter().map(|sink| sink.position).min();
        state.queue.drop_below(done.expect("there is this one"));
        self.wake.notify_all();
    }

    /// Pauses the calling thread; returns false if the delivery is being closed.
    pub fn rest(&self, pause: Duration) -> bool {
        let until = Instant::now() + pause;
        let mut state = self.lock();
        while !state.stopped {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            state = self.wake.wait_timeout(state, left).expect("no panic while it is held").0;
        }
        false
    }

    /// Waits until a sink has come further than `positions.json` says; returns false if the delivery is being
    /// closed.
    pub fn wait_for_progress(&self) -> bool {
        let mut state = self.lock();
        while !state.stopped && !state.moved {
            state = self.wake.wait(state).expect("no panic while it is held");
        }
        !state.stopped
    }

    pub fn save_positions(&self) -> Result<(), DiskError> {
        // The positions that are written last have to be those that were read last.
        let _one = self.positions.lock().expect("no panic while it is held");
        let positions: Positions = {
            let mut state = self.lock();
            state.moved = false;
            let names = self.settings.sinks.iter().map(|sink| sink.name.clone());
            names.zip(state.sinks.iter().map(|sink| sink.position)).collect()
        };
        let written = positions::write(self.io.as_ref(), &self.dir, &positions);
        if written.is_err() {
            self.lock().moved = true;
        }
        self.judge("positions of sinks", &written);
        written
    }

    /// Logs a fault when it appears or changes, and when it is over.
    pub fn judge<E: std::fmt::Display>(&self, what: &'static str, result: &Result<(), E>) {
        let mut state = self.lock();
        match result {
            Ok(()) => {
                if state.faults.remove(what).is_some() {
                    tracing::info!("{what}: well again");
                }
            }
            Err(error) => {
                let fault = format!("{what}: {}", retried(error));
                if state.faults.get(what) != Some(&fault) {
                    tracing::error!("{fault}");
                    state.faults.insert(what, fault);
                }
            }
        }
    }
}
