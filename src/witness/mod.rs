//! The witness: remembers one tree head for each log, and cosigns only what is shown to have grown out of
//! it: c2sp.org/tlog-witness.
//!
//! ```text
//! http -> parse -> verify the log's signature -> decide (pure) -> sign -> ledger (durable) -> answer
//!                                                   ^ one at a time for each log
//! ```
//!
//! A cosignature leaves only after its head is durable: after a crash at any moment the witness knows
//! every head that anybody could have seen cosigned, and at most some that nobody did.

mod decide;
mod http;
mod ledger;
mod logs;
mod metrics;
mod problem;
mod proofs;
mod reports;
mod subtree;
mod turns;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use tokio::sync::Semaphore;

use crate::checkpoint::cosignature::cosign;
use crate::checkpoint::{self, Checkpoint, LogSigned, origin_hash};
use crate::clock::{self, Clock};
use crate::format::FormatError;
use crate::http::RequestError;
use crate::http::admission::Admission;
use crate::http::outcomes::Outcomes;
use crate::http::watched_file::WatchError;
use crate::note::{KeyName, Note, NoteKey, NoteSignature, NoteSigner, SignatureType};
use crate::proof::wire::AddCheckpoint;

pub use decide::{Question, Refusal, decide};
pub use http::run;
pub use ledger::{Head, JOURNAL, Ledger, LedgerError, NotReplaced, Record};
pub use logs::{LOGS_FILE, Logs, MAX_LOGS_BYTES, MAX_LOGS_KEYS};
pub use problem::WitnessError;
pub use proofs::EVIDENCE_DIR;

use logs::LogBook;
use problem::COSIGNED;
use proofs::Evidence;
use reports::Reports;
use turns::{Queue, Turns};

/// Signature lines of a log that are kept: one for each of its keys, of which it has two, or four while it
/// changes them. The note has to have room for the cosignatures.
const MAX_KEPT_SIGNATURES: usize = 16;

/// How far the clock may be behind the last cosignature of a log: as far as endpoints let one be ahead of
/// theirs. What is signed then repeats the time of that one.
const MAX_BEHIND_SECONDS: u64 = 300;

/// Why a witness can't be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// What it cosigned is not known for sure.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// `logs.policy` can't be read.
    #[error("could not read {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// `logs.policy` is malformed.
    #[error("{}: {source}", path.display())]
    Logs {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: FormatError,
    },
}

impl From<WatchError> for OpenError {
    fn from(error: WatchError) -> Self {
        match error {
            WatchError::Io { path, source } => Self::Io { path, source },
            WatchError::Malformed { path, source } => Self::Logs { path, source },
        }
    }
}

/// What waits for its turn: as little as possible, for 32 of each log may.
struct Request {
    question: Question,
    /// The checkpoint with the log's signatures that were verified, one of each key.
    signed: Note,
}

/// An open witness. Clones are handles to the same one.
#[derive(Clone)]
pub struct Witness {
    shared: Arc<Shared>,
}

struct Shared {
    name: KeyName,
    /// What it signs with, at least one key; each answer has a cosignature by each.
    keys: Vec<NoteSigner>,
    logs: LogBook,
    ledger: Ledger,
    clock: Clock,
    reports: Reports,
    turns: Turns,
    /// Anybody may ask for subtrees: one at a time, so that logs have the other processors.
    subtrees: Arc<Queue>,
    admission: Admission,
    /// Signing with ML-DSA-44 takes a millisecond: as many at once as there are processors.
    computing: Arc<Semaphore>,
    /// Of requests to be cosigned.
    outcomes: Outcomes,
    /// How often a log showed a second history.
    forks: AtomicU64,
    /// What proves it.
    evidence: Evidence,
}

impl Witness {
    /// Opens the witness in `dir`, which signs with `keys`: cosigner keys of one name, at least one.
    ///
    /// # Errors
    /// [`OpenError`].
    ///
    /// # Panics
    /// If the keys are none, not a cosigner's, or of several names.
    pub fn open(dir: &Path, keys: Vec<NoteSigner>) -> Result<Self, OpenError> {
        let ledger = Ledger::open(dir, &name_of(&keys))?;
        Self::open_with(dir, keys, ledger)
    }

    /// The same with a ledger that is open already: tests have disks of their own.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    ///
    /// # Panics
    /// As [`open`](Self::open).
    pub fn open_with(dir: &Path, keys: Vec<NoteSigner>, ledger: Ledger) -> Result<Self, OpenError> {
        Self::open_at(dir, keys, ledger, clock::system())
    }

    /// The same with another clock than the system's, for tests.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    ///
    /// # Panics
    /// As [`open`](Self::open).
    pub fn open_at(
        dir: &Path,
        keys: Vec<NoteSigner>,
        ledger: Ledger,
        clock: Clock,
    ) -> Result<Self, OpenError> {
        let name = name_of(&keys);
        let own = keys.iter().map(|key| key.public().clone()).collect();
        let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        let shared = Shared {
            name,
            keys,
            logs: LogBook::open(dir, own)?,
            ledger,
            clock,
            reports: Reports::default(),
            turns: Turns::default(),
            subtrees: Arc::new(Queue::new()),
            admission: Admission::default(),
            computing: Arc::new(Semaphore::new(cores)),
            outcomes: Outcomes::new(&[&[COSIGNED], WitnessError::COUNTED].concat()),
            forks: AtomicU64::new(0),
            evidence: Evidence::open(dir),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// What keeps it from cosigning as it should.
    fn faults(&self) -> Vec<String> {
        let Shared { ledger, logs, clock, .. } = self.shared.as_ref();
        let now = clock();
        let newest = ledger.heads().into_iter().max_by_key(|(_, head)| head.time);
        let behind = newest.and_then(|(origin, head)| {
            let error = time_after(Some(&head), now).err()?;
            Some(format!("{origin} is not cosigned: {error}"))
        });
        ledger.faults().into_iter().chain(logs.fault()).chain(behind).collect()
    }

    /// What somebody should look at, though it cosigns as it should.
    fn warnings(&self) -> Vec<String> {
        self.shared.logs.warning().into_iter().collect()
    }

    /// Reads the list of logs now.
    pub fn reload(&self) {
        self.shared.logs.reload();
    }

    /// Its name, which is that of its keys.
    #[must_use]
    pub fn name(&self) -> &KeyName {
        &self.shared.name
    }

    /// Its public keys.
    pub fn keys(&self) -> impl Iterator<Item = &NoteKey> {
        self.shared.keys.iter().map(NoteSigner::public)
    }

    /// What it remembers.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.shared.ledger
    }

    /// Answers the body of a request to `/add-checkpoint` with cosignatures, whose head is durable by then.
    ///
    /// Who drops the future before it is ready changes nothing: the head is cosigned or it is not.
    ///
    /// # Errors
    /// [`WitnessError`].
    pub async fn add_checkpoint(&self, body: &[u8]) -> Result<Vec<NoteSignature>, WitnessError> {
        let request = self.read_request(body).await?;
        self.answer(request).await
    }

    /// Steps 1 to 3 of `decide.rs`. Afterwards nothing of the body is needed any more.
    async fn read_request(&self, body: &[u8]) -> Result<Request, WitnessError> {
        let AddCheckpoint { old, proof, checkpoint } = AddCheckpoint::parse(body)?;
        let signed = self.open_checkpoint(checkpoint).await?;
        let question = Question { old, proof, checkpoint: signed.get().clone() };
        Ok(Request { question, signed: keep(&signed.verified_note()) })
    }

    /// The others, when it is this log's turn.
    async fn answer(&self, request: Request) -> Result<Vec<NoteSignature>, WitnessError> {
        let request = Arc::new(request);
        let place = self.shared.turns.queue(&request.question.checkpoint.origin).ok_or(WitnessError::Busy)?;
        // A task of its own, so that a client that goes away does not give the turn to the next one while
        // the ledger still works for it.
        let witness = self.clone();
        let work = tokio::spawn(async move {
            let _turn = place.turn().await;
            witness.advance(&request).await
        });
        work.await.unwrap_or(Err(RequestError::Internal.into()))
    }

    /// Believes a checkpoint that a known log signed.
    async fn open_checkpoint(&self, note: Note) -> Result<LogSigned<Checkpoint>, WitnessError> {
        let logs = self.shared.logs.current();
        // One that a log sends has a signature or two. A log that signs the same text anew makes each line
        // cost a check.
        let few = note.signatures().len() <= 4;
        let open = move || checkpoint::open_note(note, logs.keys());
        let opened = if few { open() } else { self.compute(open).await? };
        Ok(opened?)
    }

    /// Cosigns the checkpoint if it continues what was cosigned before.
    async fn advance(&self, request: &Arc<Request>) -> Result<Vec<NoteSignature>, WitnessError> {
        let Request { question, signed } = request.as_ref();
        let head = &question.checkpoint;
        // Turns keep others away from this log; what decides is the compare-and-swap. After a conflict the
        // tree has grown, and the question is answered by a 409.
        loop {
            let latest = self.shared.ledger.head(&head.origin);
            if let Err(refusal) = decide(latest.as_ref(), question) {
                self.report(&refusal, latest, request).await;
                return Err(refusal.into());
            }
            let time = time_after(latest.as_ref(), (self.shared.clock)())?;
            if let Some(cosignatures) = self.known(head, latest, time) {
                return Ok(cosignatures);
            }
            let cosignatures = self.sign(head, time).await?;
            let mut note = signed.clone();
            self.keep_older_signatures(&mut note, head);
            cosignatures.iter().for_each(|line| note.push(line.clone()));
            let record = Record {
                origin: head.origin.clone(),
                head: Head { size: head.size, root: head.root, time },
                note: note.to_string(),
            };
            let answer = self.shared.ledger.replace(latest, record).ok_or(WitnessError::ShuttingDown)?;
            match answer.await {
                // The head is durable: from here on the cosignatures may be seen.
                Ok(Ok(())) => return Ok(cosignatures),
                Ok(Err(NotReplaced::Conflict)) => {}
                Ok(Err(NotReplaced::Storage(error))) => return Err(WitnessError::Ledger(error)),
                Err(_) => return Err(WitnessError::ShuttingDown),
            }
        }
    }

    /// The cosignatures that were given for this very text within this second, by all of today's keys. What
    /// can't be read of them is made anew.
    fn known(&self, head: &Checkpoint, latest: Option<Head>, time: u64) -> Option<Vec<NoteSignature>> {
        latest.filter(|latest| latest.time == time && latest.size == head.size)?;
        let record = self.shared.ledger.record(&origin_hash(&head.origin)).ok()??;
        let note = Note::parse(record.note.as_bytes()).ok()?;
        // Extension lines may differ where the tree is the same.
        if record.head.time != time || note.text() != head.to_string() {
            return None;
        }
        let by = |key: &NoteKey| note.signatures().iter().rev().find(|line| line.names(key)).cloned();
        self.keys().map(by).collect()
    }

    /// Adds the log's signatures under the same text that were verified before: whoever sends it again with
    /// a line less takes none from what monitors see. What can't be read of them is not missed.
    fn keep_older_signatures(&self, note: &mut Note, head: &Checkpoint) {
        let record = self.shared.ledger.record(&origin_hash(&head.origin));
        let stored = record.ok().flatten().and_then(|record| Note::parse(record.note.as_bytes()).ok());
        let Some(stored) = stored.filter(|stored| stored.text() == note.text()) else { return };
        // Only keys that are still the log's: one may have been taken off the list.
        let logs = self.shared.logs.current();
        let by_log = |line: &&NoteSignature| {
            logs.keys().iter().any(|key| *key.log() == head.origin && line.names(key.note_key()))
        };
        stored.signatures().iter().filter(by_log).for_each(|line| keep_line(note, line));
    }

    /// Cosigns with every key. What is signed is printed from what was parsed.
    async fn sign(&self, head: &Checkpoint, time: u64) -> Result<Vec<NoteSignature>, WitnessError> {
        let quick = self.keys().all(|key| key.kind() == SignatureType::CosignatureEd25519);
        if quick {
            return Ok(self.sign_all(head, time));
        }
        let (witness, head) = (self.clone(), head.clone());
        self.compute(move || witness.sign_all(&head, time)).await
    }

    fn sign_all(&self, head: &Checkpoint, time: u64) -> Vec<NoteSignature> {
        self.shared.keys.iter().map(|key| cosign(head, key, time)).collect()
    }

    /// Runs what takes a millisecond where it holds up no connection, on as many threads as there are
    /// processors; first come, first served.
    async fn compute<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, WitnessError> {
        let right = self.shared.computing.clone().acquire_owned().await;
        let right = right.map_err(|_| WitnessError::ShuttingDown)?;
        let done = tokio::task::spawn_blocking(move || {
            // Given back when the work is done, whether anybody waits for it or not.
            let _right = right;
            work()
        });
        Ok(done.await.map_err(|_| RequestError::Internal)?)
    }
}

fn name_of(keys: &[NoteSigner]) -> KeyName {
    let name = keys.first().expect("a witness has a key").public().name();
    for key in keys {
        assert_ne!(key.public().kind(), SignatureType::Ed25519, "a log's key cosigns nothing");
        assert_eq!(key.public().name(), name, "a witness has one name");
    }
    name.clone()
}

/// What is kept of a checkpoint whose lines are all verified: its text, and a signature by each key.
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

/// The time of the next cosignature: never zero ("the timestamp MUST NOT be zero"), and never before that of
/// the one before, whatever was done to the clock.
fn time_after(latest: Option<&Head>, now: u64) -> Result<u64, WitnessError> {
    if now == 0 {
        return Err(WitnessError::Clock);
    }
    let latest = latest.map_or(0, |latest| latest.time);
    if latest.saturating_sub(now) > MAX_BEHIND_SECONDS {
        return Err(WitnessError::ClockBehind { seconds: latest - now });
    }
    Ok(now.max(latest))
}

#[cfg(test)]
mod tests;
