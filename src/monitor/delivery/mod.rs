//! Tells events: to the output, and to sinks (webhooks and commands) that may be slow or away.
//!
//! ```text
//! tell -> output -> outbox (durable) -> open conditions (durable) -> Ok
//!                     |
//!                     +-> a thread for each sink: one event after the other, each until the sink takes it
//! ```
//!
//! Events for which [`Delivery::tell`] returned `Ok` reach every sink that wants them, at least once, in the order
//! in which they were told, and under the same key each time: through power cuts, full disks, kills, and sinks
//! that are away for days.
//!
//! | file | content | rule |
//! | --- | --- | --- |
//! | `outbox.journal` | events that sinks wait for (`outbox.rs` has the format) | a torn end was never taken; other damage keeps the delivery from opening |
//! | `positions.json` | position of each sink, by name | may be behind: a sink gets some events again |
//! | `conditions.json` | conditions that were told and have not ended (`open_conditions.rs` has the format) | replaced as a whole |
//! | `delivery.lock` | one process | |

mod command;
mod dispatch;
mod open_conditions;
mod outbox;
mod settings;
mod sink;
mod template;
mod upgrade;
mod webhook;
mod writer;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::event::{Code, Event, EventId};
use crate::disk::{DirLock, DiskError, DiskIo, RealDisk, read_if_exists, replace};
use crate::format::FormatError;
use crate::threads::ThreadError;

use dispatch::{Dispatch, DispatchState, Progress, Queue};
use open_conditions::{CONDITIONS, OpenConditions};
use outbox::{OUTBOX, Outbox};
use writer::{Item, Writer};

pub use command::Command;
pub use dispatch::{Figures, SinkFigures};
pub use open_conditions::Condition;
pub use settings::{DeliverySettings, Filter, MAX_SINKS, SinkSettings};
pub use sink::{NotDelivered, Notification, Sink};
pub use template::{MAX_TEMPLATE_BYTES, Template};
pub use webhook::{Secret, Webhook};

/// Why a delivery can't be opened, or did not take an event.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeliveryError {
    /// The settings contradict each other.
    #[error(transparent)]
    Settings(#[from] FormatError),
    /// The system refused. The caller tries again with the same events.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A file of the delivery is not as it was written.
    #[error("{} is damaged: {detail}; move it away and start again: {cost}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The expected and the actual value.
        detail: String,
        /// The consequence of losing the file.
        cost: &'static str,
    },
    /// The system has no more threads.
    #[error(transparent)]
    Threads(#[from] ThreadError),
    /// Another process tells events from this directory.
    #[error("{} is in use by another monitor: stop it first, alerts would be told twice", path.display())]
    InUse {
        /// The lock file.
        path: PathBuf,
    },
    /// The output is closed, because its reader went away.
    #[error("could not write events to the output: {0}")]
    Output(std::io::Error),
    /// The output is a file on a full disk. The caller tries again with the same events.
    #[error("could not write events to the output: {0} (free some space)")]
    OutputFull(std::io::Error),
    /// The monitor stops. Events that were not told have to come again after the next start.
    #[error("the monitor is stopping")]
    Stopped,
}

/// Between two looks at a thread that is to end.
const LOOK_INTERVAL: Duration = Duration::from_millis(1);

/// Tells events. Closed when it is dropped.
pub struct Delivery {
    dispatch: Arc<Dispatch>,
    /// Held by a caller that tells, and not while it waits for a sink.
    writer: Mutex<Writer>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Delivery {
    /// Opens the delivery in `dir`, an existing directory. Each event is a line on `out`.
    ///
    /// # Errors
    /// [`DeliveryError`].
    pub fn open(
        dir: &Path,
        settings: DeliverySettings,
        out: Box<dyn Write + Send>,
    ) -> Result<Arc<Self>, DeliveryError> {
        Self::open_with(dir, settings, out, Arc::new(RealDisk))
    }

    /// Like [`open`](Self::open), on another disk, for tests.
    ///
    /// # Errors
    /// [`DeliveryError`].
    pub fn open_with(
        dir: &Path,
        settings: DeliverySettings,
        out: Box<dyn Write + Send>,
        io: Arc<dyn DiskIo>,
    ) -> Result<Arc<Self>, DeliveryError> {
        settings.check()?;
        let lock = DirLock::acquire(&dir.join("delivery.lock")).map_err(|error| match error {
            DiskError::Locked { path } => DeliveryError::InUse { path },
            error => error.into(),
        })?;
        let conditions = open_conditions(dir, io.as_ref())?;
        let (queue, sinks) = resume(dir, &settings)?;
        // Written again before it is believed: after an fdatasync that failed, the system may show what the disk
        // never got. A crash in here leaves the old outbox or the new one.
        let outbox = Outbox::create(&io, &dir.join(OUTBOX), &queue.all(), queue.next)?;
        let state = DispatchState { queue, sinks, conditions, ..DispatchState::default() };
        let dispatch = Arc::new(Dispatch::new(dir.to_owned(), io, settings, state, lock));
        // A new sink is named before an event is taken for it: otherwise the next start would take it for a new
        // one again.
        dispatch.save_positions()?;
        let writer = Mutex::new(Writer::new(dispatch.clone(), out, outbox));
        let threads = Mutex::new(dispatch::start(&dispatch)?);
        Ok(Arc::new(Self { dispatch, writer, threads }))
    }

    /// Tells events, in order. When it returns `Ok`, each was written to the output, those for sinks survive a
    /// power cut, and conditions are open: the caller may go on behind them. It waits while the outbox is full;
    /// events of other callers may then come before the rest of these.
    ///
    /// A condition that is open is not told again. Of the facts of one log and code among the events, sinks get
    /// the first hundred, and one event for the others; the output gets all of them.
    ///
    /// # Errors
    /// [`DeliveryError`]: the caller comes again with the same events, and some may be told twice.
    pub fn tell(&self, events: &[Event]) -> Result<(), DeliveryError> {
        self.carry(|dispatch| writer::of_events(dispatch, events))
    }

    /// Tells that conditions ended, with one write of the open conditions; nothing of those that are not open.
    ///
    /// # Errors
    /// As [`tell`](Self::tell).
    pub fn end(&self, ids: &[EventId], message: &str) -> Result<(), DeliveryError> {
        self.carry(|dispatch| ids.iter().filter_map(|id| writer::of_end(dispatch, *id, message)).collect())
    }

    /// Ends the forks of a log whose evidence is not among these file names any more: somebody took it out of the
    /// directory.
    ///
    /// # Errors
    /// As [`tell`](Self::tell).
    pub fn end_forks_without(&self, log: &str, evidence: &[String]) -> Result<(), DeliveryError> {
        let lost = |state: &mut DispatchState| state.conditions.forks_without_evidence(log, evidence);
        let ids = self.dispatch.state.with(lost);
        if ids.is_empty() {
            return Ok(());
        }
        self.end(&ids, "its evidence was taken out of the directory evidence")
    }

    fn carry(&self, choose: impl FnOnce(&Dispatch) -> Vec<Item>) -> Result<(), DeliveryError> {
        let mut writer = self.writer();
        if self.dispatch.stop.load(Ordering::Relaxed) {
            return Err(DeliveryError::Stopped);
        }
        let items = choose(&self.dispatch);
        writer.print(&items)?;
        let mut left = items.as_slice();
        loop {
            match writer.take(left) {
                Ok(count) => left = &left[count..],
                Err(error) => {
                    writer.failed(&items);
                    return Err(error);
                }
            }
            if left.is_empty() {
                writer.done(&items);
                return Ok(());
            }
            // Other callers go on meanwhile: conditions of theirs may have room.
            drop(writer);
            if !self.wait_for_room(&left[0]) {
                return Err(DeliveryError::Stopped);
            }
            writer = self.writer();
        }
    }

    /// Waits until the outbox has room for this item, and for no more: otherwise other callers might never leave
    /// enough. Returns false if the delivery is being closed.
    fn wait_for_room(&self, item: &Item) -> bool {
        let (bytes, most) = (item.record.line.len(), self.dispatch.settings.room(item.is_of_condition()));
        let has_room = |state: &mut DispatchState| {
            let waiting = state.queue.bytes();
            (waiting == 0 || waiting + bytes <= most).then_some(())
        };
        let state = &self.dispatch.state;
        state.with(|state| state.waiting += 1);
        let has_room = state.wait_for(None, has_room).is_ok();
        state.with(|state| state.waiting -= 1);
        has_room
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().expect("no panic while it is held")
    }

    /// Waits until the sinks have every event, for `patience` at most, and not if no sink is tried again within
    /// that time. Returns whether they have.
    #[must_use]
    pub fn flush(&self, patience: Duration) -> bool {
        let until = Instant::now() + patience;
        let done = self.dispatch.state.wait_for(Some(patience), |state| {
            let mut behind = state.sinks.iter().filter(|sink| sink.position != state.queue.next).peekable();
            if behind.peek().is_none() {
                return Some(true);
            }
            behind.all(|sink| sink.next_try.is_some_and(|next| next >= until)).then_some(false)
        });
        // A failure is logged there; sinks then get some events again.
        let _ = self.dispatch.save_positions();
        done.unwrap_or(false)
    }

    /// At most so many open conditions: forks first, then the oldest.
    #[must_use]
    pub fn open_conditions(&self, most: usize) -> Vec<Condition> {
        self.dispatch.state.with(|state| state.conditions.open().take(most).cloned().collect())
    }

    /// The open conditions of a log that have this code, by what they are about.
    #[must_use]
    pub fn open_about(&self, log: &str, code: Code) -> BTreeMap<String, EventId> {
        let wanted =
            |condition: &&Condition| condition.code == code.as_str() && condition.log.as_deref() == Some(log);
        let subject = |condition: &Condition| Some((condition.about.clone()?, condition.id));
        let open =
            |state: &mut DispatchState| state.conditions.open().filter(wanted).filter_map(subject).collect();
        self.dispatch.state.with(open)
    }

    /// Figures for metrics and health.
    #[must_use]
    pub fn figures(&self) -> Figures {
        self.dispatch.figures()
    }

    /// Ends all threads, within some seconds: one that still waits for a sink is left behind, and the directory is
    /// in use until it ends. Events that were not delivered are sent after the next start.
    pub fn stop(&self) {
        self.dispatch.stop();
        let threads = std::mem::take(&mut *self.threads.lock().expect("no panic while it is held"));
        if threads.is_empty() {
            return;
        }
        let until = Instant::now() + self.dispatch.settings.stop_patience;
        for thread in threads {
            while !thread.is_finished() && Instant::now() < until {
                thread::sleep(LOOK_INTERVAL);
            }
            if thread.is_finished() {
                // A panic of a sink was caught; one of ours was printed when it happened.
                let _ = thread.join();
            } else {
                let name = thread.thread().name().unwrap_or_default();
                tracing::warn!(thread = name, "a thread still waits for its sink, and is left behind");
            }
        }
        // A failure is logged there; sinks then get some events again.
        let _ = self.dispatch.save_positions();
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Reads the open conditions, or takes over those of an earlier version.
fn open_conditions(dir: &Path, io: &dyn DiskIo) -> Result<OpenConditions, DeliveryError> {
    let conditions = match upgrade::old_conditions(dir) {
        // An earlier version ran here last, whatever else is there.
        Some(old) => {
            replace(io, &dir.join(CONDITIONS), &old.encode())?;
            old
        }
        None => OpenConditions::read(dir)?.unwrap_or_default(),
    };
    upgrade::remove_old_files(dir)?;
    Ok(conditions)
}

/// Reads one of the files; `None` if there is none. `cost` is what is lost without it.
fn read_file<T>(
    path: PathBuf,
    cost: &'static str,
    parse: impl FnOnce(&[u8]) -> Result<T, String>,
) -> Result<Option<T>, DeliveryError> {
    let Some(bytes) = read_if_exists(&path)? else { return Ok(None) };
    parse(&bytes).map(Some).map_err(|detail| DeliveryError::Damaged { path, detail, cost })
}

/// Reads the events that sinks wait for, and the position of each sink.
fn resume(dir: &Path, settings: &DeliverySettings) -> Result<(Queue, Vec<Progress>), DeliveryError> {
    let known = dispatch::read_positions(dir)?;
    let furthest = known.iter().flat_map(BTreeMap::values).max().copied().unwrap_or(0);
    let scan = outbox::read(&dir.join(OUTBOX))?;
    // Without the file, numbers go on at the furthest position.
    let outbox::Scan { records, next, torn } =
        scan.unwrap_or_else(|| outbox::Scan { records: Vec::new(), next: furthest, torn: None });
    if let Some(detail) = torn {
        tracing::warn!(detail, "the end of the outbox is torn, and was never taken: dropping it");
    }
    if furthest > next {
        tracing::warn!(next, furthest, "the outbox is older than positions.json: was a copy put back?");
    }
    let first = records.first().map_or(next, |record| record.number);
    let position = |name: &String| match &known {
        // Records before the first one were delivered before the file was written anew.
        Some(known) => known.get(name).map_or(next, |position| (*position).clamp(first, next)),
        // The positions are unknown: send the whole outbox again.
        None => first,
    };
    for (name, position) in known.iter().flatten() {
        if !settings.sinks.iter().any(|sink| sink.name == *name) {
            let missed = next.saturating_sub((*position).max(first));
            tracing::warn!(
                sink = name,
                missed,
                "this sink is no longer in the settings: what waited for it is dropped"
            );
        }
    }
    let progress = |name: &String| {
        let figures = SinkFigures { name: name.clone(), ..SinkFigures::default() };
        Progress { position: position(name), figures, ..Progress::default() }
    };
    let sinks: Vec<Progress> = settings.sinks.iter().map(|sink| progress(&sink.name)).collect();
    let mut queue = Queue::new(records, next);
    queue.drop_below(sinks.iter().map(|sink| sink.position).min().unwrap_or(next));
    Ok((queue, sinks))
}

#[cfg(test)]
mod tests;
