//! `POST /add-checkpoint`: from the body to cosignatures, in the order in which it happens.
//!
//! One request of each log is served at a time. Its checkpoints follow each other anyway, and a log that floods the
//! witness takes one processor and one place in a batch of the ledger.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::decide::{Question, decide, next_time};
use super::ledger::{Head, NotReplaced, Record};
use super::{Witness, WitnessError};
use crate::checkpoint::cosignature::cosign;
use crate::checkpoint::{self, Checkpoint, LogSigned, Origin, origin_hash};
use crate::http::RequestError;
use crate::http::problem::blocking;
use crate::note::{Note, NoteKey, NoteSignature, NoteSigner};
use crate::proof::wire::AddCheckpoint;

/// Most signature lines of a log that are kept: one for each of its keys, of which it has two, or four while it
/// changes them. The note needs room for the cosignatures.
const MAX_KEPT_SIGNATURES: usize = 16;

/// A request that waits for its turn. It is small, because 32 of each log may wait.
pub struct CosignRequest {
    pub question: Question,
    /// The checkpoint with the log's verified signatures, one of each key.
    pub signed: Note,
}

impl Witness {
    /// Answers the body of a request to `/add-checkpoint` with cosignatures, after the head is durable.
    ///
    /// Dropping the future changes nothing: the witness goes on, and the head is cosigned or not.
    ///
    /// # Errors
    /// [`WitnessError`].
    pub async fn add_checkpoint(&self, body: &[u8]) -> Result<Vec<NoteSignature>, WitnessError> {
        let request = self.read_request(body).await?;
        self.answer(request).await
    }

    /// Does steps 1 to 3 of `decide.rs`. After that, the body is not needed.
    pub(super) async fn read_request(&self, body: &[u8]) -> Result<CosignRequest, WitnessError> {
        let AddCheckpoint { old, proof, checkpoint } = AddCheckpoint::parse(body)?;
        let signed = self.open_checkpoint(checkpoint).await?;
        let question = Question { old, proof, checkpoint: signed.get().clone() };
        Ok(CosignRequest { question, signed: keep(&signed.verified_note()) })
    }

    /// Does the other steps, when it is this log's turn.
    pub(super) async fn answer(&self, request: CosignRequest) -> Result<Vec<NoteSignature>, WitnessError> {
        let request = Arc::new(request);
        let place = self.inner.turns.queue(&request.question.checkpoint.origin).ok_or(WitnessError::Busy)?;
        // In a task of its own: when a client goes away, the turn must not pass to the next one while the ledger
        // is still at work.
        let witness = self.clone();
        let work = tokio::spawn(async move {
            let _turn = place.turn().await;
            witness.advance(&request).await
        });
        work.await.unwrap_or(Err(RequestError::Internal.into()))
    }

    /// Verifies that a known log signed the checkpoint.
    async fn open_checkpoint(&self, note: Note) -> Result<LogSigned<Checkpoint>, WitnessError> {
        let logs = self.inner.logs.current();
        // A log sends one signature or two. Each further line costs a check.
        let few = note.signatures().len() <= 4;
        let open = move || checkpoint::open_note(note, logs.keys());
        let opened = if few { open() } else { self.compute(open).await? };
        Ok(opened?)
    }

    /// Cosigns the checkpoint if it continues the head that was cosigned last.
    async fn advance(&self, request: &Arc<CosignRequest>) -> Result<Vec<NoteSignature>, WitnessError> {
        let CosignRequest { question, signed } = request.as_ref();
        let head = &question.checkpoint;
        // The turn keeps other requests of this log away, but what counts is the compare-and-swap. After a
        // conflict the tree has grown, and the next round answers 409.
        loop {
            let latest = self.inner.ledger.head(&head.origin);
            if let Err(refusal) = decide(latest.as_ref(), question) {
                self.report_refusal(&refusal, latest, request).await;
                return Err(refusal.into());
            }
            let time = next_time(latest.as_ref(), (self.inner.clock)())?;
            if let Some(cosignatures) = self.repeated(head, latest, time) {
                return Ok(cosignatures);
            }
            let announced = self.inner.ledger.announce();
            let cosignatures = self.sign(head, time).await?;
            let mut note = signed.clone();
            // If the tree has grown, the stored note has another text, and nothing of it is read. If the ledger moved
            // on meanwhile, this record is refused below.
            if latest.is_some_and(|latest| (latest.size, latest.root) == (head.size, head.root)) {
                self.keep_older_signatures(&mut note, head);
            }
            cosignatures.iter().for_each(|line| note.push(line.clone()));
            let record = Record {
                origin: head.origin.clone(),
                head: Head { size: head.size, root: head.root, time },
                note: note.to_string(),
            };
            drop(announced);
            let answer = self.inner.ledger.replace(latest, record).ok_or(WitnessError::ShuttingDown)?;
            match answer.await {
                // The head is durable: the cosignatures may leave.
                Ok(Ok(())) => return Ok(cosignatures),
                Ok(Err(NotReplaced::Conflict)) => {}
                Ok(Err(NotReplaced::Storage(error))) => return Err(WitnessError::Ledger(error)),
                Err(_) => return Err(WitnessError::ShuttingDown),
            }
        }
    }

    /// The cosignatures that all of the present keys made for this very text in this second. If they can't be
    /// read, new ones are made.
    fn repeated(&self, head: &Checkpoint, latest: Option<Head>, time: u64) -> Option<Vec<NoteSignature>> {
        latest.filter(|latest| latest.time == time && latest.size == head.size)?;
        let record = self.inner.ledger.record(&origin_hash(&head.origin)).ok()??;
        let note = Note::parse(record.note.as_bytes()).ok()?;
        // Extension lines may differ where the tree is the same.
        if record.head.time != time || note.text() != head.to_string() {
            return None;
        }
        let by = |key: &NoteKey| note.signatures().iter().rev().find(|line| line.names(key)).cloned();
        self.keys().map(by).collect()
    }

    /// Adds the log's signatures on the same text that were verified before: a client that sends it again with
    /// fewer lines takes none from monitors. Lines that can't be read are left out.
    fn keep_older_signatures(&self, note: &mut Note, head: &Checkpoint) {
        let record = self.inner.ledger.record(&origin_hash(&head.origin));
        let stored = record.ok().flatten().and_then(|record| Note::parse(record.note.as_bytes()).ok());
        let Some(stored) = stored.filter(|stored| stored.text() == note.text()) else { return };
        // Only those of listed keys: one may have been taken off the list.
        let logs = self.inner.logs.current();
        let by_log = |line: &&NoteSignature| {
            logs.keys().iter().any(|key| *key.log() == head.origin && line.names(key.note_key()))
        };
        stored.signatures().iter().filter(by_log).for_each(|line| keep_line(note, line));
    }

    /// Cosigns with every key. The signed text is printed from the parsed checkpoint.
    async fn sign(&self, head: &Checkpoint, time: u64) -> Result<Vec<NoteSignature>, WitnessError> {
        if self.inner.keys.iter().all(NoteSigner::is_quick) {
            return Ok(self.sign_all(head, time));
        }
        let (witness, head) = (self.clone(), head.clone());
        self.compute(move || witness.sign_all(&head, time)).await
    }

    fn sign_all(&self, head: &Checkpoint, time: u64) -> Vec<NoteSignature> {
        self.inner.keys.iter().map(|key| cosign(head, key, time)).collect()
    }

    /// Runs work of a millisecond off the threads that serve connections, on as many threads as there are
    /// processors, in the order of the calls.
    async fn compute<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, WitnessError> {
        let permit = self.inner.computing.clone().acquire_owned().await;
        let permit = permit.map_err(|_| WitnessError::ShuttingDown)?;
        let done = blocking(move || {
            // Given back when the work is done, whether or not the client still waits.
            let _permit = permit;
            work()
        });
        Ok(done.await?)
    }
}

/// The part of a verified checkpoint that is kept: its text, and a signature by each key.
fn keep(verified: &Note) -> Note {
    let mut note = Note::unsigned(verified.text().to_owned());
    verified.signatures().iter().for_each(|line| keep_line(&mut note, line));
    note
}

fn keep_line(note: &mut Note, line: &NoteSignature) {
    let known = |kept: &NoteSignature| kept.name() == line.name() && kept.id() == line.id();
    if note.signatures().len() < MAX_KEPT_SIGNATURES && !note.signatures().iter().any(known) {
        note.push(line.clone());
    }
}

/// Most requests in one queue; a log that sends one after the other has one.
const QUEUE: usize = 32;

/// The queues of all logs. Only a log that has signed a request has one.
#[derive(Debug, Default)]
pub struct Turns(Mutex<HashMap<Origin, Arc<TurnQueue>>>);

/// A queue: one request at a time, and a few that wait.
#[derive(Debug)]
pub struct TurnQueue {
    places: Arc<Semaphore>,
    turn: Arc<Semaphore>,
}

/// A place in a queue, until it is dropped.
#[derive(Debug)]
pub struct QueuePlace {
    queue: Arc<TurnQueue>,
    _place: OwnedSemaphorePermit,
}

impl Turns {
    /// A place in the queue of this log; `None` if it is full.
    pub fn queue(&self, origin: &Origin) -> Option<QueuePlace> {
        let mut queues = self.0.lock().expect("no panic while it is held");
        queues.entry(origin.clone()).or_insert_with(|| Arc::new(TurnQueue::new())).place()
    }
}

impl TurnQueue {
    /// An empty queue.
    pub fn new() -> Self {
        Self { places: Arc::new(Semaphore::new(QUEUE)), turn: Arc::new(Semaphore::new(1)) }
    }

    /// A place in the queue; `None` if it is full.
    pub fn place(self: &Arc<Self>) -> Option<QueuePlace> {
        let place = self.places.clone().try_acquire_owned().ok()?;
        Some(QueuePlace { queue: self.clone(), _place: place })
    }
}

impl QueuePlace {
    /// Waits for this request's turn, which lasts until the permit is dropped.
    pub async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        // Nobody closes the semaphore.
        self.queue.turn.clone().acquire_owned().await.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_full_queue_belongs_to_one_log_alone() {
        let turns = Turns::default();
        let (a, b) = (Origin::new("a").unwrap(), Origin::new("b").unwrap());
        let mut places: Vec<QueuePlace> = (0..QUEUE).map(|_| turns.queue(&a).unwrap()).collect();
        assert!(turns.queue(&a).is_none());
        let first = places[0].turn().await.unwrap();
        let other = turns.queue(&b).unwrap();
        let _others = other.turn().await.unwrap();
        assert_eq!(places[1].queue.turn.available_permits(), 0, "one at a time");
        drop((places.pop(), first));
        let _next = turns.queue(&a).unwrap();
        let _second = places[1].turn().await.unwrap();
    }
}
