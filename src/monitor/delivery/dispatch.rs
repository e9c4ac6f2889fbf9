//! Brings events to sinks: a thread for each sink, what the threads share, and the figures for `/metrics` and `/healthz`.

use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::open_conditions::OpenConditions;
use super::outbox::{MAX_NUMBER, Record};
use super::settings::{DeliverySettings, SinkSettings};
use super::sink::{NotDelivered, Notification};
use super::{DeliveryError, read_file};
use crate::client::Backoff;
use crate::disk::{DirLock, DiskError, DiskIo, replace, retried};
use crate::monitor::signal::Signal;
use crate::release::format_time;
use crate::threads::{self, ThreadError};

/// The position of each sink. It may be behind after a crash: a sink then gets some events again.
pub const POSITIONS: &str = "positions.json";

pub struct Dispatch {
    pub dir: PathBuf,
    pub io: Arc<dyn DiskIo>,
    pub settings: DeliverySettings,
    /// The lock on it is never held while a file is written.
    pub state: Signal<DispatchState>,
    /// For threads that must not wait for that lock.
    pub stop: AtomicBool,
    /// Held while the positions are written.
    positions: Mutex<()>,
    /// Held until the last thread has ended, also one that was left behind: it may still write.
    _lock: DirLock,
}

#[derive(Default)]
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
    /// Whether a sink is ahead of `positions.json`.
    pub moved: bool,
}

#[derive(Default)]
pub struct Queue {
    records: VecDeque<Arc<Record>>,
    pub next: u64,
    bytes: usize,
}

#[derive(Debug, Clone, Default)]
pub struct Progress {
    /// Number of the record that the sink gets next.
    pub position: u64,
    /// Without the events that wait, which are counted when somebody asks.
    pub figures: SinkFigures,
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

    /// Records from this number on.
    fn behind(&self, number: u64) -> impl Iterator<Item = &Arc<Record>> {
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

/// Figures of a delivery since its start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Figures {
    /// In the order of the settings.
    pub sinks: Vec<SinkFigures>,
    /// Open conditions by log and code.
    pub open_by_log: BTreeMap<(Option<String>, String), u64>,
    /// Alerts that were told since the start, by log and code: facts, and conditions that began.
    pub alerts_told: BTreeMap<(Option<String>, String), u64>,
    /// Bytes of events that wait for a sink.
    pub outbox_bytes: usize,
    /// Callers of [`Delivery::tell`](super::Delivery::tell) that wait for room in the outbox.
    pub waiting: usize,
    /// Faults of the delivery's own files; those of sinks are with these.
    pub faults: Vec<String>,
}

/// Figures of a sink since its start; `/healthz` shows those that are everybody's business.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct SinkFigures {
    /// Its name in the settings.
    pub name: String,
    /// Events that wait for it.
    pub undelivered: usize,
    /// Unix seconds when the oldest of them was put into the outbox.
    #[serde(skip)]
    pub oldest: Option<u64>,
    /// Events that it took.
    #[serde(skip)]
    pub delivered: u64,
    /// Tries that failed.
    #[serde(skip)]
    pub failures: u64,
    /// Why the last try failed, until one succeeds. For the operator only: a command's words may hold secrets.
    #[serde(skip)]
    pub fault: Option<String>,
    /// Code of that failure, for everybody.
    #[serde(rename = "fault", skip_serializing_if = "Option::is_none")]
    pub fault_code: Option<&'static str>,
}

impl Dispatch {
    pub fn new(
        dir: PathBuf,
        io: Arc<dyn DiskIo>,
        settings: DeliverySettings,
        state: DispatchState,
        lock: DirLock,
    ) -> Self {
        let (state, stop, positions) = (Signal::new(state), AtomicBool::new(false), Mutex::new(()));
        Self { dir, io, settings, state, stop, positions, _lock: lock }
    }

    pub fn now(&self) -> u64 {
        (self.settings.clock)()
    }

    pub fn sink(&self, place: usize) -> &SinkSettings {
        &self.settings.sinks[place]
    }

    /// Makes all threads end.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
        self.state.stop();
    }

    /// Waits for the next record that a sink wants; `None` if the delivery is being closed.
    pub fn next_for(&self, place: usize) -> Option<Arc<Record>> {
        let filter = &self.sink(place).filter;
        let next = |state: &mut DispatchState| {
            loop {
                let (position, next) = (state.sinks[place].position, state.queue.next);
                let record = state.queue.behind(position).next().cloned();
                match record {
                    Some(record) if filter.passes(&record.code, record.severity) => return Some(record),
                    Some(record) => self.advance(state, place, record.number + 1),
                    // Numbers behind the last record were never given to one that waits.
                    None if position < next => self.advance(state, place, next),
                    None => return None,
                }
            }
        };
        self.state.wait_for(None, next).ok()
    }

    /// Notes that a sink is done with everything below `position`.
    pub fn advance(&self, state: &mut DispatchState, place: usize, position: u64) {
        let sink = &mut state.sinks[place];
        sink.position = position;
        (sink.failing_since, sink.next_try) = (None, None);
        state.moved = true;
        let done = state.sinks.iter().map(|sink| sink.position).min();
        state.queue.drop_below(done.expect("there is this one"));
        self.state.notify();
    }

    /// Writes the positions of the sinks, durably.
    pub fn save_positions(&self) -> Result<(), DiskError> {
        // The positions that are written last have to be those that were read last.
        let _one = self.positions.lock().expect("no panic while it is held");
        let sinks = self.state.with(|state| {
            state.moved = false;
            let names = self.settings.sinks.iter().map(|sink| sink.name.clone());
            names.zip(state.sinks.iter().map(|sink| sink.position)).collect()
        });
        let text = serde_json::to_string(&PositionsText { version: 1, sinks });
        let text = text.expect("names and numbers have a JSON form") + "\n";
        // A crash in here leaves the old positions or the new ones. With the old ones, sinks get what they had since
        // then once more.
        let written = replace(self.io.as_ref(), &self.dir.join(POSITIONS), text.as_bytes());
        if written.is_err() {
            self.state.with(|state| state.moved = true);
        }
        self.judge("positions of sinks", &written);
        written
    }

    /// Logs a fault when it appears or changes, and when it is over.
    pub fn judge<E: std::fmt::Display>(&self, what: &'static str, result: &Result<(), E>) {
        self.state.with(|state| match result {
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
        });
    }

    pub fn figures(&self) -> Figures {
        self.state.with(|state| {
            let mut open_by_log = BTreeMap::new();
            for condition in state.conditions.open() {
                *open_by_log.entry((condition.log.clone(), condition.code.clone())).or_default() += 1;
            }
            let sink = |(settings, progress): (&SinkSettings, &Progress)| {
                let wanted = |record: &&Arc<Record>| settings.filter.passes(&record.code, record.severity);
                let mut waiting = state.queue.behind(progress.position).filter(wanted);
                let oldest = waiting.next().map(|record| record.time);
                let undelivered = usize::from(oldest.is_some()) + waiting.count();
                SinkFigures { undelivered, oldest, ..progress.figures.clone() }
            };
            Figures {
                sinks: self.settings.sinks.iter().zip(&state.sinks).map(sink).collect(),
                open_by_log,
                alerts_told: state.alerts_told.clone(),
                outbox_bytes: state.queue.bytes(),
                waiting: state.waiting,
                faults: state.faults.values().cloned().collect(),
            }
        })
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PositionsText {
    version: u32,
    sinks: BTreeMap<String, u64>,
}

/// Reads the number of the next record for each sink, by name.
pub fn read_positions(dir: &Path) -> Result<Option<BTreeMap<String, u64>>, DeliveryError> {
    read_file(dir.join(POSITIONS), "sinks then get all of the outbox again", |bytes| {
        let text: PositionsText = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
        let wrong = text.sinks.values().find(|position| **position > MAX_NUMBER);
        match (text.version, wrong) {
            (1, None) => Ok(text.sinks),
            (1, Some(position)) => Err(format!("expected positions up to {MAX_NUMBER}, saw {position}")),
            (version, _) => Err(format!("expected version 1, saw {version}")),
        }
    })
}

/// Starts a thread for each sink, and one that saves their positions.
///
/// # Errors
/// [`ThreadError`]; those that were started end.
pub fn start(dispatch: &Arc<Dispatch>) -> Result<Vec<JoinHandle<()>>, ThreadError> {
    let worker = |place: usize| {
        let worker = Worker { dispatch: dispatch.clone(), place };
        threads::start(&format!("sink-{}", dispatch.sink(place).name), move || worker.run())
    };
    let saver = dispatch.clone();
    let saver = threads::start("positions", move || save_positions(&saver));
    let threads: Result<Vec<_>, _> = (0..dispatch.settings.sinks.len()).map(worker).chain([saver]).collect();
    if threads.is_err() {
        dispatch.stop();
    }
    threads
}

/// Saves the positions whenever a sink has come further, with a pause between two writes: after a crash, a sink
/// that takes hundreds of events a second gets a few more of them again.
fn save_positions(dispatch: &Dispatch) {
    while dispatch.state.wait_for(None, |state| state.moved.then_some(())).is_ok() {
        // A failure is logged there, and the next turn tries again.
        let _ = dispatch.save_positions();
        if !dispatch.state.sleep(dispatch.settings.save_interval) {
            break;
        }
    }
}

/// Sends events to one sink, one after the other, each until it is delivered.
struct Worker {
    dispatch: Arc<Dispatch>,
    place: usize,
}

impl Worker {
    fn run(self) {
        let settings = &self.dispatch.settings;
        let mut backoff = Backoff::new(settings.first_pause, settings.longest_pause);
        while let Some(record) = self.dispatch.next_for(self.place) {
            match self.send(&record) {
                Ok(()) => {
                    backoff.reset();
                    self.delivered(&record);
                }
                Err(failure) => {
                    let pause = backoff.pause().max(failure.retry_after.unwrap_or_default());
                    self.failed(&record, &failure, pause);
                    if !self.dispatch.state.sleep(pause) {
                        return;
                    }
                }
            }
        }
    }

    fn send(&self, record: &Record) -> Result<(), NotDelivered> {
        let Record { key, line, .. } = record;
        let notification = Notification { key, line, now: self.dispatch.now(), stop: &self.dispatch.stop };
        let sink = &self.dispatch.sink(self.place).sink;
        let sent = catch_unwind(AssertUnwindSafe(|| sink.send(&notification)));
        sent.unwrap_or_else(|_| {
            Err(NotDelivered::because("panicked", "the sink panicked: this is a bug of treehead"))
        })
    }

    fn delivered(&self, record: &Record) {
        self.dispatch.state.with(|state| {
            let figures = &mut state.sinks[self.place].figures;
            figures.delivered += 1;
            figures.fault_code = None;
            if figures.fault.take().is_some() {
                tracing::info!(sink = figures.name, "a sink takes events again");
            }
            // A crash before this is durable has the sink get the event again.
            self.dispatch.advance(state, self.place, record.number + 1);
        });
    }

    fn failed(&self, record: &Record, failure: &NotDelivered, pause: Duration) {
        let now = self.dispatch.now();
        // `flush` need not wait longer than this pause: it is woken.
        self.dispatch.state.change(|state| {
            let progress = &mut state.sinks[self.place];
            progress.next_try = Instant::now().checked_add(pause);
            let since = *progress.failing_since.get_or_insert(now);
            let figures = &mut progress.figures;
            figures.failures += 1;
            figures.fault_code = Some(failure.code);
            let (sink, mut why) = (&figures.name, failure.why.clone());
            if failure.refused {
                why += &format!(
                    "; the receiver refuses this event since {}, and later ones wait behind it: mend the receiver or the template, or drop what waits by giving {sink} another name",
                    format_time(since)
                );
            }
            // A failure that repeats is one line in the log.
            if figures.fault.as_ref() != Some(&why) {
                tracing::warn!(sink, event = record.key, why, "an event was not delivered, and is tried again");
                figures.fault = Some(why);
            }
        });
    }
}
