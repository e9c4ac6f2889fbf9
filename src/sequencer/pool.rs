//! The bounded pool between submitters and the single committing thread.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::answer::Reply;
use super::cosigners::Word;
use super::{Candidate, SubmitError};
use crate::store::{MAX_BATCH_BYTES, MAX_BATCH_ENTRIES};

/// What a client is told to wait when the pool is full: it is drained many times a second.
pub const RETRY_AFTER: Duration = Duration::from_secs(1);
/// And where it takes people: the witnesses claim that the log was rolled back.
pub const RETRY_AFTER_SUSPICION: Duration = Duration::from_secs(60);

/// Entries that were sent together, and where the answer goes.
pub struct Submission {
    pub candidates: Vec<Candidate>,
    pub reply: Reply,
}

impl Submission {
    fn bytes(&self) -> usize {
        self.candidates.iter().map(|candidate| candidate.entry.len()).sum()
    }
}

/// What the committing thread is to do next.
pub enum Work {
    /// Append these.
    Commit(Vec<Submission>),
    /// Hear what the witnesses did.
    Word(Word),
    /// The deadline has passed.
    Deadline,
    /// The pool is closed and empty.
    Closed,
}

#[derive(Clone)]
pub struct Pool {
    shared: Arc<(Mutex<Queue>, Condvar)>,
    most_entries: usize,
    most_bytes: usize,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Submission>,
    entries: usize,
    bytes: usize,
    /// What the cosigners said and was not heard yet: a word or two for each head.
    words: VecDeque<Word>,
    /// Why nothing is taken at the moment, if so.
    refusal: Option<SubmitError>,
    closed: bool,
    /// Nobody takes or hears anything any more.
    abandoned: bool,
}

impl Pool {
    pub fn new(most_entries: usize, most_bytes: usize) -> Self {
        Self { shared: Arc::default(), most_entries, most_bytes }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.shared.0.lock().expect("no panic while it is held")
    }

    /// Whether a submission of this size would be taken now.
    pub fn has_room(&self, entries: usize, bytes: usize) -> Result<(), SubmitError> {
        self.check_room(&self.queue(), entries, bytes)
    }

    fn check_room(&self, queue: &Queue, entries: usize, bytes: usize) -> Result<(), SubmitError> {
        if queue.closed {
            return Err(SubmitError::ShuttingDown);
        }
        if let Some(refusal) = &queue.refusal {
            return Err(refusal.clone());
        }
        if queue.entries + entries > self.most_entries || queue.bytes + bytes > self.most_bytes {
            return Err(SubmitError::Full { waiting: queue.entries, retry_after: RETRY_AFTER });
        }
        Ok(())
    }

    /// How many entries wait, and whether more are taken while there is room.
    pub fn load(&self) -> (usize, bool) {
        let queue = self.queue();
        (queue.entries, queue.refusal.is_none() && !queue.closed)
    }

    pub const fn most_entries(&self) -> usize {
        self.most_entries
    }

    /// Takes a submission whole, or not at all.
    pub fn push(&self, submission: Submission) -> Result<(), SubmitError> {
        let (entries, bytes) = (submission.candidates.len(), submission.bytes());
        assert!(
            entries <= MAX_BATCH_ENTRIES && bytes <= MAX_BATCH_BYTES,
            "submissions are capped by the server"
        );
        let mut queue = self.queue();
        self.check_room(&queue, entries, bytes)?;
        queue.entries += entries;
        queue.bytes += bytes;
        queue.waiting.push_back(submission);
        drop(queue);
        self.shared.1.notify_one();
        Ok(())
    }

    /// Refuses what comes from now on for this reason, or takes it again.
    pub fn refuse(&self, refusal: Option<SubmitError>) {
        self.queue().refusal = refusal;
    }

    /// Tells the committing thread.
    pub fn say(&self, word: Word) {
        let mut queue = self.queue();
        if !queue.abandoned {
            queue.words.push_back(word);
        }
        drop(queue);
        self.shared.1.notify_one();
    }

    /// Waits until `deadline` for a word alone: nothing else is to be done any more.
    pub fn hear(&self, deadline: Instant) -> Option<Word> {
        let mut queue = self.queue();
        loop {
            if let Some(word) = queue.words.pop_front() {
                return Some(word);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            queue = self.shared.1.wait_timeout(queue, left).expect("no panic while it is held").0;
        }
    }

    /// Waits for words and submissions, and takes of these as many as one batch holds, in order.
    pub fn take(&self, deadline: Option<Instant>) -> Work {
        let mut queue = self.queue();
        while queue.waiting.is_empty() && queue.words.is_empty() && !queue.closed {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            queue = match left {
                Some(Duration::ZERO) => return Work::Deadline,
                Some(left) => self.shared.1.wait_timeout(queue, left).expect("no panic while it is held").0,
                None => self.shared.1.wait(queue).expect("no panic while it is held"),
            };
        }
        if let Some(word) = queue.words.pop_front() {
            return Work::Word(word);
        }
        if queue.waiting.is_empty() {
            return Work::Closed;
        }
        let (mut batch, mut entries, mut bytes) = (Vec::new(), 0, 0);
        while let Some(next) = queue.waiting.front() {
            let (more_entries, more_bytes) = (next.candidates.len(), next.bytes());
            let fits = entries + more_entries <= MAX_BATCH_ENTRIES && bytes + more_bytes <= MAX_BATCH_BYTES;
            if !fits && !batch.is_empty() {
                break;
            }
            entries += more_entries;
            bytes += more_bytes;
            batch.extend(queue.waiting.pop_front());
        }
        queue.entries -= entries;
        queue.bytes -= bytes;
        Work::Commit(batch)
    }

    /// Refuses what comes from now on, and drops what waits: its senders learn that nobody answers.
    pub fn abandon(&self) {
        let mut queue = self.queue();
        *queue = Queue { closed: true, abandoned: true, ..Queue::default() };
    }

    /// Refuses what comes from now on; what waits is still handed out.
    pub fn close(&self) {
        self.queue().closed = true;
        self.shared.1.notify_all();
    }
}
