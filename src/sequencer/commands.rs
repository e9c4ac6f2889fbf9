//! The one channel of commands to the commit thread, and the bounds on the entries that wait in it.

use std::collections::VecDeque;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::cosigners::CosignerEvent;
use super::published::Sender;
use super::{Candidate, SubmitError};
use crate::store::{MAX_BATCH_BYTES, MAX_BATCH_ENTRIES};

/// When a refused sender should try again: the commit thread takes what waits many times a second.
pub const RETRY_AFTER: Duration = Duration::from_secs(1);
/// When a sender should try again if witnesses claim that the log was rolled back: that takes an operator.
pub const RETRY_AFTER_SUSPICION: Duration = Duration::from_secs(60);

/// Number of waiting entries from which a batch or a head does not linger, because many entries share its cost.
pub const NO_LINGER_ENTRIES: usize = 64;

/// A large batch waits for more entries for at most the time of the last batch divided by this.
const GATHER_DIVISOR: u32 = 8;

/// Entries that were sent together, and their sender.
pub struct Submission {
    pub candidates: Vec<Candidate>,
    pub sender: Sender,
}

impl Submission {
    /// Length of all entries together.
    fn bytes(&self) -> usize {
        self.candidates.iter().map(|candidate| candidate.entry.len()).sum()
    }
}

/// A period in which this process appends. Counts from 1; events of an earlier term's cosigners are outdated.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Term(pub u64);

/// A command to the commit thread.
enum Command {
    /// Append these entries.
    Add(Submission),
    /// Act on what the cosigners of a term report, a cosigned head above all.
    Cosigner(Term, CosignerEvent),
    /// Commit and publish what came before, then end.
    Stop,
}

/// The next work of the commit thread.
pub enum Work {
    /// Append these submissions as one batch.
    Commit(Vec<Submission>),
    /// Act on an event of a term's cosigners.
    Event(Term, CosignerEvent),
    /// Nothing came before the deadline.
    Deadline,
    /// Nothing is left, and nothing more will come.
    Stop,
}

/// The room for entries that wait or are about to be sent, shared by both ends of the channel.
struct Room {
    most_entries: usize,
    most_bytes: usize,
    used: Mutex<Used>,
}

#[derive(Default)]
struct Used {
    entries: usize,
    bytes: usize,
    /// Why nothing is accepted at the moment, if so.
    refusal: Option<SubmitError>,
    /// Nothing is accepted any more.
    closed: bool,
}

impl Room {
    fn lock(&self) -> MutexGuard<'_, Used> {
        self.used.lock().expect("no panic while it is held")
    }

    fn check(&self, used: &Used, entries: usize, bytes: usize) -> Result<(), SubmitError> {
        if used.closed {
            return Err(SubmitError::ShuttingDown);
        }
        if let Some(refusal) = &used.refusal {
            return Err(refusal.clone());
        }
        if used.entries + entries > self.most_entries || used.bytes + bytes > self.most_bytes {
            return Err(SubmitError::Full { waiting: used.entries, retry_after: RETRY_AFTER });
        }
        Ok(())
    }
}

impl Used {
    /// Gives back what was reserved. The commit thread may have ended, and with it all reservations.
    fn release(&mut self, place: &mut Place) {
        self.entries = self.entries.saturating_sub(std::mem::take(&mut place.entries));
        self.bytes = self.bytes.saturating_sub(std::mem::take(&mut place.bytes));
    }
}

/// Room that is reserved for a submission, given back when this is dropped.
pub struct Place {
    room: Arc<Room>,
    entries: usize,
    bytes: usize,
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.entries > 0 || self.bytes > 0 {
            self.room.clone().lock().release(self);
        }
    }
}

/// Makes a channel in which at most so many entries and bytes of entries wait. Batches of fewer than [`NO_LINGER_ENTRIES`] entries
/// come at least `linger` apart.
pub fn channel(most_entries: usize, most_bytes: usize, linger: Duration) -> (CommandSender, CommandReceiver) {
    let (sender, commands) = mpsc::channel();
    let room = Arc::new(Room { most_entries, most_bytes, used: Mutex::default() });
    let receiver = CommandReceiver {
        commands,
        room: room.clone(),
        events: VecDeque::new(),
        submissions: VecDeque::new(),
        held: (0, 0),
        linger,
        last_batch: None,
        stopped: false,
    };
    (CommandSender { commands: sender, room }, receiver)
}

/// The sending end. Clones lead to the same commit thread.
#[derive(Clone)]
pub struct CommandSender {
    commands: mpsc::Sender<Command>,
    room: Arc<Room>,
}

impl CommandSender {
    /// Queues a submission whole, or not at all.
    pub fn add(&self, submission: Submission) -> Result<(), SubmitError> {
        self.enqueue(self.room.lock(), submission)
    }

    /// Queues a submission whole, or not at all. What was reserved for it counts as room.
    pub fn add_reserved(&self, mut place: Place, submission: Submission) -> Result<(), SubmitError> {
        let mut used = self.room.lock();
        used.release(&mut place);
        self.enqueue(used, submission)
    }

    fn enqueue(&self, mut used: MutexGuard<'_, Used>, submission: Submission) -> Result<(), SubmitError> {
        let (entries, bytes) = (submission.candidates.len(), submission.bytes());
        assert!(entries <= MAX_BATCH_ENTRIES && bytes <= MAX_BATCH_BYTES, "the server bounds submissions");
        self.room.check(&used, entries, bytes)?;
        // Sent under the lock, so that nothing follows the command to stop.
        self.commands.send(Command::Add(submission)).map_err(|_| SubmitError::ShuttingDown)?;
        used.entries += entries;
        used.bytes += bytes;
        Ok(())
    }

    /// Reserves room for a submission of this size, which is yet to be checked.
    pub fn reserve(&self, entries: usize, bytes: usize) -> Result<Place, SubmitError> {
        let mut used = self.room.lock();
        self.room.check(&used, entries, bytes)?;
        used.entries += entries;
        used.bytes += bytes;
        Ok(Place { room: self.room.clone(), entries, bytes })
    }

    /// Reports an event to the commit thread, which may have ended.
    pub fn report(&self, term: Term, event: CosignerEvent) {
        let _ = self.commands.send(Command::Cosigner(term, event));
    }

    /// Accepts nothing more, and tells the commit thread to end once it has done what waits.
    pub fn stop(&self) {
        let mut used = self.room.lock();
        used.closed = true;
        let _ = self.commands.send(Command::Stop);
    }

    /// Checks whether a submission of this size would be accepted now.
    pub fn check_room(&self, entries: usize, bytes: usize) -> Result<(), SubmitError> {
        self.room.check(&self.room.lock(), entries, bytes)
    }

    /// Number of entries that wait, and whether more are accepted while there is room.
    pub fn load(&self) -> (usize, bool) {
        let used = self.room.lock();
        (used.entries, used.refusal.is_none() && !used.closed)
    }

    /// The most entries that may wait.
    pub fn most_entries(&self) -> usize {
        self.room.most_entries
    }
}

/// The batch that was taken last.
#[derive(Clone, Copy)]
struct LastBatch {
    at: Instant,
    entries: usize,
    /// Set once the commit thread asks for more.
    done: Option<Instant>,
}

/// The commit thread's end. Dropping it answers everybody who still waits with an error.
pub struct CommandReceiver {
    commands: mpsc::Receiver<Command>,
    room: Arc<Room>,
    /// Received and not handled yet.
    events: VecDeque<(Term, CosignerEvent)>,
    submissions: VecDeque<Submission>,
    /// Entries and bytes of these submissions.
    held: (usize, usize),
    /// The shortest time between two small batches.
    linger: Duration,
    last_batch: Option<LastBatch>,
    stopped: bool,
}

impl CommandReceiver {
    /// Refuses new submissions for this reason, or accepts them again.
    pub fn refuse(&self, refusal: Option<SubmitError>) {
        self.room.lock().refusal = refusal;
    }

    /// Waits until `deadline` for something to do. Events come before submissions: a log that must not sign
    /// must not append either. Submissions come in order, as many at once as fit in a batch.
    pub fn next(&mut self, deadline: Option<Instant>) -> Work {
        if let Some(last) = &mut self.last_batch {
            last.done.get_or_insert_with(Instant::now);
        }
        loop {
            self.receive_all();
            if let Some((term, event)) = self.events.pop_front() {
                return Work::Event(term, event);
            }
            let now = Instant::now();
            let lingers = self.lingers_until().filter(|until| *until > now);
            if !self.submissions.is_empty() && lingers.is_none() {
                return Work::Commit(self.next_batch(now));
            }
            if self.stopped && self.submissions.is_empty() {
                return Work::Stop;
            }
            match self.receive(lingers.into_iter().chain(deadline).min()) {
                Ok(command) => self.sort(command),
                Err(RecvTimeoutError::Timeout) if deadline.is_some_and(|due| due <= Instant::now()) => {
                    return Work::Deadline;
                }
                Err(RecvTimeoutError::Timeout) => {} // the batch has waited long enough
                Err(RecvTimeoutError::Disconnected) => self.stopped = true,
            }
        }
    }

    /// Waits until `deadline` for an event, after everything else is done.
    pub fn next_event(&mut self, deadline: Instant) -> Option<(Term, CosignerEvent)> {
        loop {
            self.receive_all();
            if let Some(event) = self.events.pop_front() {
                return Some(event);
            }
            let command = self.receive(Some(deadline)).ok()?;
            self.sort(command);
        }
    }

    fn receive(&self, deadline: Option<Instant>) -> Result<Command, RecvTimeoutError> {
        match deadline {
            Some(deadline) => self.commands.recv_timeout(deadline.saturating_duration_since(Instant::now())),
            None => self.commands.recv().map_err(RecvTimeoutError::from),
        }
    }

    fn receive_all(&mut self) {
        while let Ok(command) = self.commands.try_recv() {
            self.sort(command);
        }
    }

    fn sort(&mut self, command: Command) {
        match command {
            Command::Add(submission) => {
                self.held.0 += submission.candidates.len();
                self.held.1 += submission.bytes();
                self.submissions.push_back(submission);
            }
            Command::Cosigner(term, event) => self.events.push_back((term, event)),
            Command::Stop => self.stopped = true,
        }
    }

    /// The time until which the waiting entries linger; `None` if they become a batch at once. A batch of less than
    /// [`NO_LINGER_ENTRIES`] entries waits, so that fewer batches are paid for. A larger batch begins when the last one is
    /// durable. But senders that were answered together tend to send their next entries together, so it waits until it
    /// has as many entries as the last batch, for at most a fraction of the time that the last batch took. A stopping
    /// log does not linger.
    fn lingers_until(&self) -> Option<Instant> {
        let last = self.last_batch.filter(|_| !self.linger.is_zero() && !self.stopped)?;
        if self.submissions.is_empty() || self.held.1 >= MAX_BATCH_BYTES || self.held.0 >= MAX_BATCH_ENTRIES {
            return None;
        }
        match self.held.0 {
            small if small < NO_LINGER_ENTRIES => Some(last.at + self.linger),
            fewer if fewer < last.entries => last.done.map(|done| done + (done - last.at) / GATHER_DIVISOR),
            _ => None,
        }
    }

    fn next_batch(&mut self, now: Instant) -> Vec<Submission> {
        let (mut batch, mut entries, mut bytes) = (Vec::new(), 0, 0);
        while let Some(next) = self.submissions.front() {
            let (more_entries, more_bytes) = (next.candidates.len(), next.bytes());
            let fits = entries + more_entries <= MAX_BATCH_ENTRIES && bytes + more_bytes <= MAX_BATCH_BYTES;
            if !fits && !batch.is_empty() {
                break;
            }
            entries += more_entries;
            bytes += more_bytes;
            batch.extend(self.submissions.pop_front());
        }
        self.held = (self.held.0 - entries, self.held.1 - bytes);
        self.last_batch = Some(LastBatch { at: now, entries, done: None });
        let mut used = self.room.lock();
        used.entries -= entries;
        used.bytes -= bytes;
        batch
    }
}

impl Drop for CommandReceiver {
    fn drop(&mut self) {
        // Submissions that still wait are dropped with the receiver, which their senders notice.
        *self.room.lock() = Used { closed: true, ..Used::default() };
    }
}
