//! Where events go: to the output, to sinks that may be slow or away, and into the book of open alerts.
//!
//! ```text
//! deliver -> output -> outbox (durable) -> book (durable) -> Ok
//!                        |                  ^ acks.jsonl, by a process of its own
//!                        +-> a thread for each sink: one event after the other, again until it is taken
//! ```
//!
//! What the caller was told Ok for is never lost to a sink, whatever happens; it may come twice, under the same
//! key. Sinks get events in the order in which they were delivered here.
//!
//! | file | what | rule |
//! | --- | --- | --- |
//! | `outbox.journal` | events that sinks wait for (`outbox.rs` draws it) | a torn end was never taken; other damage keeps the desk from opening |
//! | `positions.json` | how far each sink has come, by name | may be behind: a sink gets some events again |
//! | `alerts.json` | alerts that were raised | replaced as a whole; bounded; the first file that is made, so that its loss is noticed |
//! | `acks.jsonl`, `acks.lock` | what people said to alerts (`acks.rs` draws it) | anybody appends who holds the lock |
//! | `delivery.lock` | one process | |

pub mod acks;
mod book;
mod clerk;
mod command;
mod front;
mod items;
mod outbox;
mod positions;
mod rank;
mod settings;
mod silence;
mod sink;
mod start;
mod state;
mod sums;
mod views;
mod webhook;
mod worker;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::event::{Event, EventId};
use crate::disk::{DirLock, DiskError, DiskIo, RealDisk};
use crate::format::FormatError;

use book::{Book, Entry};
use front::Front;
use items::Item;
use outbox::{OUTBOX, Outbox};
use start::{book_is_lost, open_book, resume, start_threads};
use state::{Progress, Queue, Shared, State};

pub use command::Command;
pub use settings::{DeliverySettings, Filter, MAX_SINKS, SinkSettings};
pub use silence::Silence;
pub use sink::{NotDelivered, Notification, Sink};
pub use views::{AlertView, Figures, SinkFigures};
pub use webhook::{Secret, Webhook};

/// Why a desk can't be opened, or has not taken an event.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeliveryError {
    /// The settings can't be.
    #[error(transparent)]
    Settings(#[from] FormatError),
    /// The system refused. The caller tries again with the same events.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A file of the desk's is not what was written.
    #[error("{} is damaged: {detail}; move it away and start again: {cost}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was expected and what was seen.
        detail: String,
        /// What is lost by that.
        cost: &'static str,
    },
    /// Another process has the delivery.
    #[error("{} is in use by another monitor: stop it first, alerts would be told twice", path.display())]
    InUse {
        /// The lock file.
        path: PathBuf,
    },
    /// The output is gone, as when who read it went away.
    #[error("could not write events to the output: {0}")]
    Output(std::io::Error),
    /// The output is a file on a full disk. The caller tries again with the same events.
    #[error("could not write events to the output: {0} (free some space)")]
    OutputFull(std::io::Error),
    /// The desk is being closed: what was not delivered has to come again after the next start.
    #[error("the desk is being closed")]
    Stopped,
}

/// Between two looks at a thread that is to end.
const LOOK_INTERVAL: Duration = Duration::from_millis(1);

/// An open delivery. Closed when it is dropped.
pub struct Delivery {
    shared: Arc<Shared>,
    /// Held by who delivers, and not while it waits for a sink.
    front: Arc<Mutex<Front>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Delivery {
    /// Opens the desk in `dir`, a directory that is there; `out` gets each event, a line each.
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

    /// The same with another disk, for tests.
    ///
    /// # Errors
    /// [`DeliveryError`].
    ///
    /// # Panics
    /// If the system can't start a thread.
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
        let (book, is_lost) = open_book(dir, io.as_ref())?;
        let (records, next, sinks) = resume(dir, &settings)?;
        let mut queue = Queue::new(records, next);
        queue.drop_below(sinks.iter().map(|sink| sink.position).min().unwrap_or(next));
        // Written again before it is believed: after an fdatasync that failed, the system may show what the disk
        // never got. A crash in here leaves the old outbox or the new one.
        let outbox = Outbox::create(&io, &dir.join(OUTBOX), &queue.all(), next)?;
        let state = State {
            queue,
            sinks,
            book,
            silences: acks::Silences::default(),
            faults: BTreeMap::new(),
            moved: false,
            stopped: false,
        };
        let shared = Arc::new(Shared::new(dir.to_owned(), io, settings, state, lock));
        // A new sink is named before an event is taken for it: else the next start took it for a new one again.
        shared.save_positions()?;
        let mut front = Front::new(shared.clone(), out, outbox);
        // What can't be read of it is told; alerts go on without.
        let _ = front.hear();
        if is_lost {
            front.tell_first(items::of_events(&shared, &[book_is_lost(dir, shared.now())]))?;
        }
        let front = Arc::new(Mutex::new(front));
        let threads = Mutex::new(start_threads(&shared, &front));
        Ok(Arc::new(Self { shared, front, threads }))
    }

    /// Takes events, in order. When this returns, each was written to the output, what goes to sinks survives a
    /// power cut, and alerts are in the book: the caller may go on behind them. Waits while too much is
    /// undelivered; what others deliver meanwhile may come before the rest of it.
    ///
    /// An alert that is open already, or was acknowledged, is not told again. Of the facts of one log and code
    /// among them, sinks and the book get the first hundred, and one more event for the rest; the output gets all.
    ///
    /// # Errors
    /// [`DeliveryError`]; the caller comes again with the same events, and some may be told twice.
    pub fn tell(&self, events: &[Event]) -> Result<(), DeliveryError> {
        self.carry(|shared| items::of_events(shared, events))
    }

    /// A condition ended: tells so everybody who was told that it began. Nothing where it is not open.
    ///
    /// # Errors
    /// As [`deliver`](Self::deliver).
    pub fn end(&self, id: &EventId, message: &str) -> Result<(), DeliveryError> {
        self.end_all(std::slice::from_ref(id), message)
    }

    /// The same for several that end together: the book is written once.
    ///
    /// # Errors
    /// As [`deliver`](Self::deliver).
    pub fn end_all(&self, ids: &[EventId], message: &str) -> Result<(), DeliveryError> {
        self.carry(|shared| ids.iter().filter_map(|id| items::of_end(shared, id, message)).collect())
    }

    fn carry(&self, choose: impl FnOnce(&Shared) -> Vec<Item>) -> Result<(), DeliveryError> {
        let mut front = self.front();
        if self.shared.lock().stopped {
            return Err(DeliveryError::Stopped);
        }
        // What can't be read of it is told; alerts go on without.
        let _ = front.hear();
        let items = choose(&self.shared);
        front.print(&items)?;
        let mut left = items.as_slice();
        loop {
            match front.take(left) {
                Ok(count) => left = &left[count..],
                Err(error) => {
                    front.failed(&items);
                    return Err(error);
                }
            }
            if left.is_empty() {
                front.done(&items);
                return Ok(());
            }
            // Nobody else stands still meanwhile: what another log did may have room.
            drop(front);
            if !self.wait_for_room(&left[0]) {
                return Err(DeliveryError::Stopped);
            }
            front = self.front();
        }
    }

    /// Waits until the outbox has room for it, and for no more: others might leave no more for ever. False where
    /// the desk is being closed.
    fn wait_for_room(&self, item: &Item) -> bool {
        let (bytes, most) = (item.bytes(), self.shared.settings.room_for(item.rank));
        let mut state = self.shared.lock();
        while !state.stopped && state.queue.bytes() > 0 && state.queue.bytes() + bytes > most {
            state = self.shared.wake.wait(state).expect("no panic while it is held");
        }
        !state.stopped
    }

    fn front(&self) -> std::sync::MutexGuard<'_, Front> {
        self.front.lock().expect("no panic while it is held")
    }

    /// Waits until the sinks have everything, at most for so long, and not where nothing is tried again within
    /// that; says whether they have.
    #[must_use]
    pub fn flush(&self, patience: Duration) -> bool {
        let until = Instant::now() + patience;
        let mut state = self.shared.lock();
        let done = loop {
            if state.sinks.iter().all(|sink| sink.position == state.queue.next) {
                break true;
            }
            let left = until.saturating_duration_since(Instant::now());
            let over = |sink: &Progress| {
                sink.position == state.queue.next || sink.next_try.is_some_and(|next| next >= until)
            };
            if left.is_zero() || state.stopped || state.sinks.iter().all(over) {
                break false;
            }
            state = self.shared.wake.wait_timeout(state, left).expect("no panic while it is held").0;
        };
        drop(state);
        // Told where it fails; sinks then get some of it again.
        let _ = self.shared.save_positions();
        done
    }

    /// What is open, the oldest first, acknowledged conditions too.
    #[must_use]
    pub fn open_alerts(&self) -> Vec<AlertView> {
        self.views(Book::open)
    }

    /// So many of what is open, forks and the like first, then the oldest: for who asks often.
    #[must_use]
    pub fn open_alerts_up_to(&self, most: usize) -> Vec<AlertView> {
        self.views(|book| book.open_up_to(most))
    }

    fn views(&self, choose: impl FnOnce(&Book) -> Vec<Arc<Entry>>) -> Vec<AlertView> {
        // Sinks and who delivers need the lock: only pointers are copied while it is held.
        let (alerts, silences) = {
            let state = self.shared.lock();
            (choose(&state.book), state.silences.clone())
        };
        let now = self.shared.now();
        book::views(&alerts, |entry| silences.cover_alert(entry, now))
    }

    /// For metrics and health.
    #[must_use]
    pub fn figures(&self) -> Figures {
        self.shared.figures()
    }

    /// Ends all threads, some seconds later at the most: one that still waits for a sink, or for a reader of the
    /// output, is left behind, and the directory in use until it ends. What was not delivered is after the next
    /// start.
    pub fn stop(&self) {
        self.shared.stop();
        let threads = std::mem::take(&mut *self.threads.lock().expect("no panic while it is held"));
        if threads.is_empty() {
            return;
        }
        let until = Instant::now() + self.shared.settings.stop_patience;
        for thread in threads {
            while !thread.is_finished() && Instant::now() < until {
                std::thread::sleep(LOOK_INTERVAL);
            }
            if thread.is_finished() {
                // A panic of a sink was caught; one of ours was printed when it happened.
                let _ = thread.join();
            } else {
                let name = thread.thread().name().unwrap_or_default();
                tracing::warn!(thread = name, "it waits for somebody still, and is left behind");
            }
        }
        // Told where it fails; sinks then get some of it again.
        let _ = self.shared.save_positions();
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        self.stop();
    }
}

#[cfg(test)]
mod tests;
