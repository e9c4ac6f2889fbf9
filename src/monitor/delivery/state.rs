//! What the desk has in memory, and who waits for it.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::acks::Silences;
use super::book::Book;
use super::outbox::Record;
use super::positions::{self, Positions};
use super::settings::{DeliverySettings, SinkSettings};
use super::{Figures, SinkFigures};
use crate::disk::{DirLock, DiskError, DiskIo, retried};

/// What all threads of a desk share.
pub struct Shared {
    pub dir: PathBuf,
    pub io: Arc<dyn DiskIo>,
    pub settings: DeliverySettings,
    pub state: Mutex<State>,
    /// Something of the state has changed.
    pub wake: Condvar,
    /// The same as in the state, for who must not wait.
    pub stop: AtomicBool,
    /// Held while the positions are written.
    positions: Mutex<()>,
    /// Until the last thread has ended, one that was left behind included: it may write yet.
    _lock: DirLock,
}

/// In memory. Never held while a file is written.
pub struct State {
    pub queue: Queue,
    /// In the order of the settings.
    pub sinks: Vec<Progress>,
    pub book: Book,
    pub silences: Silences,
    /// What does not work, by what it is.
    pub faults: BTreeMap<&'static str, String>,
    /// Whether a sink has come further than its file says.
    pub moved: bool,
    pub stopped: bool,
}

/// Records that a sink waits for.
#[derive(Default)]
pub struct Queue {
    records: VecDeque<Arc<Record>>,
    /// Number of the next record.
    pub next: u64,
    bytes: usize,
}

/// How far a sink has come.
#[derive(Debug, Clone, Default)]
pub struct Progress {
    /// Number of the record that it gets next.
    pub position: u64,
    pub delivered: u64,
    pub failures: u64,
    /// Why the last try failed, in words and as a code.
    pub fault: Option<String>,
    pub fault_code: Option<&'static str>,
    /// Unix seconds since when the event at its position fails.
    pub failing_since: Option<u64>,
    /// When what failed is tried again.
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

    fn behind(&self, number: u64) -> impl Iterator<Item = &Arc<Record>> {
        let at = self.records.partition_point(|record| record.number < number);
        self.records.range(at..)
    }

    /// Forgets what nobody waits for.
    pub fn drop_below(&mut self, number: u64) {
        while let Some(record) = self.records.front().filter(|record| record.number < number) {
            self.bytes -= record.line.len();
            self.records.pop_front();
        }
    }

    /// Bytes of events in it.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn all(&self) -> Vec<Arc<Record>> {
        self.records.iter().cloned().collect()
    }
}

impl Shared {
    pub fn new(
        dir: PathBuf,
        io: Arc<dyn DiskIo>,
        settings: DeliverySettings,
        state: State,
        lock: DirLock,
    ) -> Self {
        let (wake, stop, positions) = (Condvar::new(), AtomicBool::new(false), Mutex::new(()));
        Self { dir, io, settings, state: Mutex::new(state), wake, stop, positions, _lock: lock }
    }

    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic while it is held")
    }

    pub fn now(&self) -> u64 {
        (self.settings.clock)()
    }

    pub fn sink(&self, place: usize) -> &SinkSettings {
        &self.settings.sinks[place]
    }

    /// Lets all threads end.
    pub fn stop(&self) {
        self.lock().stopped = true;
        self.stop.store(true, Ordering::Relaxed);
        self.wake.notify_all();
    }

    /// Waits for the next record that a sink wants; none when the desk is being closed.
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

    /// A sink is done with everything below `position`.
    pub fn advance(&self, state: &mut State, place: usize, position: u64) {
        let sink = &mut state.sinks[place];
        // What it was told to give up meanwhile is behind it.
        sink.position = sink.position.max(position);
        (sink.failing_since, sink.next_try) = (None, None);
        state.moved = true;
        let done = state.sinks.iter().map(|sink| sink.position).min();
        state.queue.drop_below(done.expect("there is this one"));
        self.wake.notify_all();
    }

    /// A sink gives up the record of this number and key, if it waits for it: the record.
    pub fn give_up(&self, sink: &str, number: u64, key: &str) -> Option<Arc<Record>> {
        let place = self.settings.sinks.iter().position(|settings| settings.name == sink)?;
        let mut state = self.lock();
        let record =
            state.queue.at(number).filter(|record| record.number == number && record.key == key).cloned()?;
        if state.sinks[place].position != number
            || !self.sink(place).filter.passes(&record.code, record.severity)
        {
            return None;
        }
        (state.sinks[place].fault, state.sinks[place].fault_code) = (None, None);
        self.advance(&mut state, place, number + 1);
        Some(record)
    }

    /// Rests for so long, or until this record is given up; false where the desk is being closed.
    pub fn rest_at(&self, place: usize, number: u64, pause: Duration) -> bool {
        self.rest_while(pause, |state| state.sinks[place].position <= number)
    }

    /// Rests for so long; false where the desk is being closed.
    pub fn rest(&self, pause: Duration) -> bool {
        self.rest_while(pause, |_| true)
    }

    fn rest_while(&self, pause: Duration, holds: impl Fn(&State) -> bool) -> bool {
        let until = Instant::now() + pause;
        let mut state = self.lock();
        while !state.stopped {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || !holds(&state) {
                return true;
            }
            state = self.wake.wait_timeout(state, left).expect("no panic while it is held").0;
        }
        false
    }

    /// Makes durable how far the sinks have come.
    pub fn save_positions(&self) -> Result<(), DiskError> {
        // What is written last has to be what was read last.
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

    /// Tells what fails, once, and that it works again.
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

    pub fn figures(&self) -> Figures {
        let now = self.now();
        let (pressing, silences) = {
            let state = self.lock();
            (state.book.pressing(), state.silences.clone())
        };
        // A silence may read the package of each: that is nothing to do under the lock.
        let silenced = pressing.iter().filter(|entry| silences.cover_alert(entry, now)).count();
        let mut open_by_log = BTreeMap::new();
        for entry in &pressing {
            *open_by_log.entry((entry.log.clone(), entry.code.clone())).or_default() += 1;
        }
        let state = self.lock();
        let sink = |(settings, progress): (&SinkSettings, &Progress)| {
            let mut waiting = state
                .queue
                .behind(progress.position)
                .filter(|record| settings.filter.passes(&record.code, record.severity));
            let oldest = waiting.next().map(|record| record.time);
            SinkFigures {
                name: settings.name.clone(),
                undelivered: usize::from(oldest.is_some()) + waiting.count(),
                oldest,
                delivered: progress.delivered,
                failures: progress.failures,
                fault: progress.fault.clone(),
                fault_code: progress.fault_code,
            }
        };
        Figures {
            sinks: self.settings.sinks.iter().zip(&state.sinks).map(sink).collect(),
            open_alerts: pressing.len(),
            open_by_log,
            silenced,
            outbox_bytes: state.queue.bytes(),
            faults: state.faults.values().cloned().collect(),
        }
    }
}
