//! The one thread that changes what the witness remembers.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::journal::{self, FULL_BODY_BYTES, MAX_BATCH_RECORDS};
use super::record::Record;
use super::{Entry, Head, LedgerError, NotReplaced, Shared};
use crate::disk::journal::JournalFile;
use crate::merkle::Hash;
use crate::note::KeyName;

/// Pause between attempts to write the journal after an error, while no request comes: the witness is healthy
/// again soon after its disk.
const TRY_AGAIN: Duration = Duration::from_secs(1);
/// How long a record waits in memory before it is written to sled: of a log that grows many times a second,
/// sled only gets the last head.
const ROW_DELAY: Duration = Duration::from_millis(100);
/// The journal is written anew when it is this many times as long as the live records.
const GROWTH: u64 = 4;

/// The longest time that a batch waits for records that were announced.
const MOST_GATHERING: Duration = Duration::from_millis(1);
/// How often a batch that waits looks whether they have come.
const GATHERING_STEP: Duration = Duration::from_micros(100);

/// The receiver of the answer to a request.
pub type Reply = oneshot::Sender<Result<(), NotReplaced>>;

/// A head that is to replace another.
pub struct Request {
    pub expected: Option<Head>,
    pub record: Record,
    pub reply: Reply,
}

pub struct Committer {
    shared: Arc<Shared>,
    journal: JournalFile,
    path: PathBuf,
    name: KeyName,
    /// A journal below this size is not written anew for its length.
    journal_bytes: u64,
    /// Bytes of the journal when it was last written anew.
    live_bytes: u64,
    /// Records that sled does not have yet.
    missing: HashMap<Hash, Arc<Record>>,
    /// When sled gets them.
    project_at: Option<Instant>,
    /// The journal has to be written anew before the next append: nobody knows what the disk has.
    unsound: bool,
    /// How long the last batch took to become durable.
    synced_in: Duration,
}

impl Committer {
    pub fn new(
        shared: Arc<Shared>,
        journal: JournalFile,
        path: PathBuf,
        name: KeyName,
        journal_bytes: u64,
    ) -> Self {
        let live_bytes = journal.end();
        let missing = {
            let heads = shared.heads.read().expect("no panic while it is held");
            heads.iter().filter_map(|(key, entry)| Some((*key, entry.note.clone()?))).collect()
        };
        let (project_at, unsound, synced_in) = (None, false, Duration::ZERO);
        Self {
            shared,
            journal,
            path,
            name,
            journal_bytes,
            live_bytes,
            missing,
            project_at,
            unsound,
            synced_in,
        }
    }

    /// Commits until the ledger is shut down.
    pub fn run(mut self, requests: &Receiver<Request>) {
        let mut try_again = Instant::now();
        loop {
            let again = self.unsound.then_some(try_again + TRY_AGAIN);
            let until = again.into_iter().chain(self.project_at).min();
            let wait = until.map_or(Duration::MAX, |until| until.saturating_duration_since(Instant::now()));
            match requests.recv_timeout(wait) {
                Ok(first) => {
                    self.gather();
                    self.commit(batch(first, requests));
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return self.project(),
            }
            let now = Instant::now();
            if self.unsound && try_again + TRY_AGAIN <= now {
                let _ = self.make_sound();
                try_again = now;
            }
            if self.project_at.is_some_and(|at| at <= now) {
                self.project();
            }
        }
    }

    /// Waits for the records that are announced, but no longer than the last batch took to become durable: the more an
    /// fdatasync costs, the more records share one, and the disk is busy for half of the time at least.
    fn gather(&self) {
        let until = Instant::now() + self.synced_in.min(MOST_GATHERING);
        while self.shared.announced.load(Ordering::Relaxed) > 0 && Instant::now() < until {
            std::thread::sleep(GATHERING_STEP);
        }
    }

    /// Commits a batch of requests with one fdatasync.
    fn commit(&mut self, requests: Vec<Request>) {
        let (accepted, refused) = self.compare(requests);
        let (records, replies): (Vec<Record>, Vec<Reply>) = accepted.into_iter().unzip();
        let done = if records.is_empty() { Ok(()) } else { self.append(&records).map_err(Arc::new) };
        if done.is_ok() {
            self.show(records);
        }
        for reply in replies {
            // The receiver may be gone; a failed send is harmless.
            let _ = reply.send(done.clone().map_err(NotReplaced::Storage));
        }
        // Last: the heads that they lost against are durable by now.
        for reply in refused {
            let _ = reply.send(Err(NotReplaced::Conflict));
        }
    }

    /// Compares the head that each request expects with the current one, which an earlier request of the
    /// batch may have set. Returns the requests to commit and the refused ones.
    fn compare(&self, requests: Vec<Request>) -> (Vec<(Record, Reply)>, Vec<Reply>) {
        let mut staged: HashMap<Hash, Head> = HashMap::new();
        let (mut accepted, mut refused) = (Vec::new(), Vec::new());
        for Request { expected, record, reply } in requests {
            let key = record.key();
            let current = staged.get(&key).copied().or_else(|| self.shared.entry(&key).map(|e| e.head));
            let as_expected = match (&expected, &current) {
                (Some(expected), Some(current)) => expected.is_tree(current),
                (None, None) => true,
                _ => false,
            };
            if as_expected {
                staged.insert(key, record.head);
                accepted.push((record, reply));
            } else {
                refused.push(reply);
            }
        }
        (accepted, refused)
    }

    /// Makes records durable.
    fn append(&mut self, records: &[Record]) -> Result<(), LedgerError> {
        let long = self.journal.end() > self.journal_bytes.max(GROWTH * self.live_bytes);
        if self.unsound || long {
            self.make_sound()?;
        }
        let begun = Instant::now();
        let appended = journal::append(&mut self.journal, records).map_err(LedgerError::from);
        self.synced_in = begun.elapsed();
        appended.inspect_err(|error| self.fail(error))
    }

    /// Writes the journal anew from memory, which has what was let out. Each start does the same.
    fn make_sound(&mut self) -> Result<(), LedgerError> {
        self.unsound = true;
        let rewritten = self
            .records()
            .and_then(|records| Ok(self.journal.renew(journal::encode(&self.name, records.iter()))?));
        rewritten.inspect_err(|error| self.fail(error))?;
        self.live_bytes = self.journal.end();
        self.unsound = false;
        self.shared.set_fault(|faults| faults.journal = None);
        Ok(())
    }

    fn fail(&mut self, error: &LedgerError) {
        self.unsound = true;
        let fault = error.to_string();
        self.shared.set_fault(|faults| {
            // The same fault, tried again and again, is one line in the log.
            if faults.journal.as_ref() != Some(&fault) {
                tracing::error!(error = fault, "the journal can't be written: nothing is cosigned meanwhile");
            }
            faults.journal = Some(fault);
        });
    }

    /// Every record that was let out, with its note: from memory, from sled, or from the journal itself.
    fn records(&self) -> Result<Vec<Record>, LedgerError> {
        let entries: Vec<(Hash, Entry)> = {
            let heads = self.shared.heads.read().expect("no panic while it is held");
            heads.iter().map(|(key, entry)| (*key, entry.clone())).collect()
        };
        let mut old = None;
        let mut records = Vec::with_capacity(entries.len());
        for (key, entry) in entries {
            let is_it = |record: &Record| record.head == entry.head;
            if let Ok(Some(record)) = self.shared.record(&key, &entry)
                && is_it(&record)
            {
                records.push(record);
                continue;
            }
            let scan = match &mut old {
                Some(scan) => scan,
                none => none.insert(journal::read(&self.path, &self.name)?),
            };
            let record = scan.last.remove(&key).filter(is_it);
            records.push(record.ok_or(LedgerError::NoNote(entry.origin))?);
        }
        Ok(records)
    }

    /// Shows durable records to readers.
    fn show(&mut self, records: Vec<Record>) {
        let mut heads = self.shared.heads.write().expect("no panic while it is held");
        for record in records.into_iter().map(Arc::new) {
            let (key, origin, head) = (record.key(), record.origin.clone(), record.head);
            heads.insert(key, Entry { origin, head, note: Some(record.clone()) });
            self.missing.insert(key, record);
        }
        drop(heads);
        self.project_at.get_or_insert_with(|| Instant::now() + ROW_DELAY);
    }

    /// Writes the missing records to sled. Those that it can't take stay in memory, for the next attempt.
    pub fn project(&mut self) {
        self.project_at = None;
        let missing: Vec<Arc<Record>> = self.missing.values().cloned().collect();
        if missing.is_empty() {
            return;
        }
        // A crash before this leaves sled behind the journal: the next start catches up.
        let fault = self.shared.rows.put(&missing).err().map(|e| {
            // sled remembers an error of its own.
            format!("{e}; cosigning goes on, and checkpoints are shown from memory; restart the witness once the cause is gone")
        });
        if fault.is_none() {
            self.missing.clear();
            let mut heads = self.shared.heads.write().expect("no panic while it is held");
            missing.iter().for_each(|record| {
                if let Some(entry) = heads.get_mut(&record.key()) {
                    entry.note = None;
                }
            });
        }
        self.shared.set_fault(|faults| {
            if let Some(fault) = fault.as_ref().filter(|fault| faults.rows.as_ref() != Some(*fault)) {
                tracing::error!(error = fault, "sled can't be written: checkpoints stay in memory");
            }
            faults.rows = fault;
        });
    }
}

/// The first request, and the ones that wait behind it.
fn batch(first: Request, requests: &Receiver<Request>) -> Vec<Request> {
    let mut bytes = first.record.note.len();
    let mut batch = vec![first];
    while batch.len() < MAX_BATCH_RECORDS && bytes < FULL_BODY_BYTES {
        let Ok(next) = requests.try_recv() else { break };
        bytes += next.record.note.len();
        batch.push(next);
    }
    batch
}
