//! The witness's memory: the head of each log that it cosigned last, durable before anybody sees the
//! cosignature.
//!
//! ```text
//! heads.journal   the truth: each head that was let out, one fdatasync for as many as come together
//! sled/           a row for each log, for reading; rebuilt whenever it does not check
//! lock            one process
//! ```
//!
//! One thread makes all changes, by compare-and-swap: each request says which head it expects. Memory is
//! never ahead of the journal, and a caller that goes away can't leave a change half done.

mod committer;
mod journal;
mod record;
mod rows;

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, RwLock};
use std::thread::JoinHandle;

use tokio::sync::oneshot;

use crate::checkpoint::{Origin, origin_hash};
use crate::disk::journal::JournalFile;
use crate::disk::{DirLock, DiskError, RealDisk, SledError, SledIo};
use crate::merkle::{Hash, TreeSize};
use crate::note::KeyName;
use crate::threads::{self, ThreadError};

use committer::{Committer, Request};
pub use record::{Head, Record};
use rows::Rows;

/// The journal's file, in the witness's directory.
pub const JOURNAL: &str = "heads.journal";
/// A journal below this size is never written anew while the witness runs.
const JOURNAL_BYTES: u64 = 64 * 1024 * 1024;

/// Why the ledger can't be opened, read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LedgerError {
    /// The system refused.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The system has no more threads.
    #[error(transparent)]
    Threads(#[from] ThreadError),
    /// sled does not check.
    #[error("sled does not check: {0}; restart the witness, which makes it anew from the journal")]
    Rows(String),
    /// There is no journal, and a witness has one from the beginning.
    #[error(
        "{} is missing: expected the heads that this witness cosigned; without them it could cosign a fork. Put this very file back if it was moved away; otherwise make a new witness, with new keys and another name: docs/witness.md, \"When the journal is lost\"", path.display()
    )]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The journal does not check.
    #[error(
        "{} is damaged at byte {at}: {detail}. What the witness cosigned is not known any more, so it must not sign; never put an older copy in its place: docs/witness.md, \"When the journal is lost\"", path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where.
        at: u64,
        /// Expected and seen, in words.
        detail: String,
    },
    /// The journal is older than sled, which is written after it.
    #[error(
        "heads.journal was rolled back: this witness cosigned {origin} at tree size {cosigned}, and the journal has {}. An older copy must not be used, it could cosign a fork; put back the newest one: docs/witness.md, \"When the journal is lost\"", known(*journal)
    )]
    RolledBack {
        /// The log.
        origin: Origin,
        /// Size that was cosigned.
        cosigned: TreeSize,
        /// Size that the journal has.
        journal: Option<TreeSize>,
    },
    /// The note of a head is in neither sled nor the journal.
    #[error("the checkpoint of {0} can be read neither from sled nor from the journal: restart the witness")]
    NoNote(Origin),
}

impl From<SledError> for LedgerError {
    fn from(error: SledError) -> Self {
        match error {
            SledError::Disk(error) => Self::Disk(error),
            SledError::Threads(error) => Self::Threads(error),
            SledError::Damaged(detail) => Self::Rows(detail),
        }
    }
}

fn known(size: Option<TreeSize>) -> String {
    size.map_or_else(|| "nothing of it".to_owned(), |size| format!("tree size {size}, or another root there"))
}

/// Why a head was not replaced.
#[derive(Debug, Clone)]
pub enum NotReplaced {
    /// The current head is not the expected one.
    Conflict,
    /// It could not be made durable. After a restart it may be the head nevertheless.
    Storage(Arc<LedgerError>),
}

/// An open ledger. Closed when it is dropped.
pub struct Ledger {
    shared: Arc<Shared>,
    requests: Mutex<Option<Sender<Request>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// State that readers see and the committer changes.
struct Shared {
    heads: RwLock<HashMap<Hash, Entry>>,
    rows: Rows,
    fault: Mutex<Faults>,
    /// Records that are about to be handed in.
    announced: AtomicUsize,
    /// Last field: released after sled is closed.
    _lock: DirLock,
}

/// A log in memory.
#[derive(Debug, Clone)]
struct Entry {
    origin: Origin,
    head: Head,
    /// The note, until sled has it.
    note: Option<Arc<Record>>,
}

/// A record that is about to be handed in: a batch waits a moment for it. Dropped when it has come, or never will.
pub struct Announced(Arc<Shared>);

impl Drop for Announced {
    fn drop(&mut self) {
        self.0.announced.fetch_sub(1, Ordering::Relaxed);
    }
}

#[derive(Debug, Default, Clone)]
struct Faults {
    journal: Option<String>,
    rows: Option<String>,
}

impl Shared {
    fn set_fault(&self, set: impl FnOnce(&mut Faults)) {
        set(&mut self.fault.lock().expect("no panic while it is held"));
    }

    fn entry(&self, key: &Hash) -> Option<Entry> {
        self.heads.read().expect("no panic while it is held").get(key).cloned()
    }

    /// The record of a log, no older than `entry`.
    fn record(&self, key: &Hash, entry: &Entry) -> Result<Option<Record>, SledError> {
        if let Some(record) = &entry.note {
            return Ok(Some(record.as_ref().clone()));
        }
        // A row may be newer: it may have been written after memory was looked at.
        let row = self.rows.get(key)?;
        Ok(row.filter(|row| row.head.is_tree(&entry.head) || row.head.size > entry.head.size))
    }
}

impl Ledger {
    /// The empty journal of a new witness. It is written to [`JOURNAL`] once, when the witness is made: a
    /// journal that is missing later was lost.
    #[must_use]
    pub fn empty_journal(name: &KeyName) -> Vec<u8> {
        journal::encode(name, std::iter::empty()).into_bytes()
    }

    /// Opens the ledger of the witness of this name in `dir`.
    ///
    /// # Errors
    /// [`LedgerError`]: unless the heads are known for sure, the witness must not sign.
    pub fn open(dir: &Path, name: &KeyName) -> Result<Self, LedgerError> {
        Self::open_with(dir, name, Arc::new(RealDisk), JOURNAL_BYTES)
    }

    /// Like [`open`](Self::open), for tests: on another disk, with a journal that is written anew when it has
    /// more than `journal_bytes`.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_with(
        dir: &Path,
        name: &KeyName,
        io: Arc<dyn SledIo>,
        journal_bytes: u64,
    ) -> Result<Self, LedgerError> {
        let lock = DirLock::acquire(&dir.join("lock"))?;
        let path = dir.join(JOURNAL);
        let scan = journal::read(&path, name)?;
        if let Some((at, detail)) = &scan.torn {
            tracing::warn!(at, detail, "the end of the journal is torn, and was never released: dropping it");
        }
        // Before the journal is touched: a rolled-back one stays as it is.
        let rows = Rows::open(&io, dir, &scan.last)?;
        // Written again before it is believed: after an fdatasync that failed, the system may show what the
        // disk never got. A crash in here leaves the old journal or the new one; each holds all that was
        // released.
        let journal = JournalFile::replace(io, &path, journal::encode(name, scan.last.values()))?;
        let entry = |(key, record): (Hash, Record)| {
            let (origin, head) = (record.origin.clone(), record.head);
            (key, Entry { origin, head, note: Some(Arc::new(record)) })
        };
        let heads = RwLock::new(scan.last.into_iter().map(entry).collect());
        let (fault, announced) = (Mutex::default(), AtomicUsize::new(0));
        let shared = Arc::new(Shared { heads, rows, fault, announced, _lock: lock });
        let mut committer = Committer::new(shared.clone(), journal, path, name.clone(), journal_bytes);
        committer.project();
        let (requests, waiting) = channel();
        let told = shared.clone();
        let work = move || {
            if catch_unwind(AssertUnwindSafe(|| committer.run(&waiting))).is_err() {
                told.set_fault(|faults| {
                    faults.journal = Some("the ledger panicked: restart the witness".to_owned());
                });
            }
        };
        let thread = Mutex::new(Some(threads::start("ledger", work)?));
        Ok(Self { shared, requests: Mutex::new(Some(requests)), thread })
    }

    /// The durable head of a log that was cosigned last.
    #[must_use]
    pub fn head(&self, origin: &Origin) -> Option<Head> {
        self.shared.entry(&origin_hash(origin)).map(|entry| entry.head)
    }

    /// The head of each log, by origin.
    #[must_use]
    pub fn heads(&self) -> Vec<(Origin, Head)> {
        let heads = self.shared.heads.read().expect("no panic while it is held");
        let mut all: Vec<_> = heads.values().map(|entry| (entry.origin.clone(), entry.head)).collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all
    }

    /// The last record of the log whose origin has this SHA-256; `None` if it was never cosigned.
    ///
    /// # Errors
    /// [`LedgerError`] if sled can't be read.
    pub fn record(&self, key: &Hash) -> Result<Option<Record>, LedgerError> {
        let Some(entry) = self.shared.entry(key) else { return Ok(None) };
        match self.shared.record(key, &entry)? {
            Some(record) => Ok(Some(record)),
            None => Err(LedgerError::NoNote(entry.origin)),
        }
    }

    /// Announces a record that is being made, so that one fdatasync is for it and for those that came before.
    #[must_use]
    pub fn announce(&self) -> Announced {
        self.shared.announced.fetch_add(1, Ordering::Relaxed);
        Announced(self.shared.clone())
    }

    /// Replaces the `expected` head, or none, by `record`. The answer comes when the record is durable; not
    /// waiting for it changes nothing. `None` if the ledger was shut down.
    ///
    /// # Panics
    /// If the record does not grow out of the expected head.
    pub fn replace(
        &self,
        expected: Option<Head>,
        record: Record,
    ) -> Option<oneshot::Receiver<Result<(), NotReplaced>>> {
        let grows = expected.is_none_or(|head| head.size < record.head.size || head.is_tree(&record.head));
        assert!(grows, "callers check that the log grows");
        let (reply, answer) = oneshot::channel();
        let requests = self.requests.lock().expect("no panic while it is held");
        requests.as_ref()?.send(Request { expected, record, reply }).ok()?;
        Some(answer)
    }

    /// Faults that keep the ledger from working, in words.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        let Faults { journal, rows } = self.shared.fault.lock().expect("no panic while it is held").clone();
        journal.into_iter().chain(rows).collect()
    }

    /// Refuses further requests, and returns when the earlier ones are durable or refused.
    pub fn shut_down(&self) {
        drop(self.requests.lock().expect("no panic while it is held").take());
        let thread = self.thread.lock().expect("no panic while it is held").take();
        if let Some(thread) = thread {
            // The thread caught and reported its panics.
            let _ = thread.join();
        }
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        self.shut_down();
    }
}

/// A record for tests, with a root for each size.
#[cfg(test)]
fn test_record(origin: &str, size: u64) -> Record {
    let origin = Origin::new(origin).expect("an origin");
    let root = Hash::leaf(&size.to_be_bytes());
    let head = Head { size: TreeSize::new(size).expect("a size"), root, time: 1_700_000_000 + size };
    let note = format!("{origin}\n{size}\n{root}\n\n— {origin} AAAAAAA=\n");
    Record { origin, head, note }
}

#[cfg(test)]
mod tests;
