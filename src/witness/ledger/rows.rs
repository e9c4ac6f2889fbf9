//! sled: a row for each log, by the hash of its origin, for reading. Written after the journal, so that
//! it is never ahead of it; whatever is wrong with it, it is made anew. sled may panic on files that it did
//! not expect: here that is one more error.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use super::LedgerError;
use super::record::Record;
use crate::disk::{SledDir, SledError, SledIo};
use crate::merkle::Hash;

/// What sled may keep in memory: rows are read seldom, and few.
const CACHE_BYTES: u64 = 16 * 1024 * 1024;

/// An open sled. Closed, and durable, when it is dropped.
pub struct Rows {
    db: sled::Db,
    dir: SledDir,
    io: Arc<dyn SledIo>,
}

impl Drop for Rows {
    fn drop(&mut self) {
        if let Err(error) = guarded(|| self.dir.close(&self.db)) {
            tracing::warn!(%error, "sled was not closed; should the power fail, it is made anew");
        }
    }
}

impl Rows {
    /// Opens sled, and compares it with what the journal has. Another boot's is thrown away then, and so is
    /// what can't be read.
    ///
    /// A row that is ahead of the journal is an error: rows are written when their record is durable, so
    /// the journal is not the one that it was. That is so after a power cut too: it may take rows away, and
    /// makes none.
    pub fn open(
        io: &Arc<dyn SledIo>,
        dir: &Path,
        journal: &HashMap<Hash, Record>,
    ) -> Result<Self, LedgerError> {
        let sled = SledDir::new(dir.join("sled"), dir.join("sled.open"), io.clone());
        // What can't be read of another boot's proves nothing, and goes anyway.
        if let Ok(Some(found)) = sled.open_cut_off(CACHE_BYTES) {
            let (compared, _) = compare_all(&found, journal);
            let closed = guarded(|| {
                drop(found);
                Ok(())
            });
            if let Err(error) = closed {
                tracing::warn!(%error, "sled of another boot was not closed");
            }
            compared?;
        }
        let open = || -> Result<Self, SledError> {
            let db = sled.open(CACHE_BYTES, |db| Ok(db.clone()))?;
            Ok(Self { db, dir: sled.clone(), io: io.clone() })
        };
        let read = open().map(|rows| {
            let (compared, whole) = compare_all(&rows.db, journal);
            compared.map(|()| whole.map(|()| rows))
        });
        // The outer error is sled's, the inner one what it says of the journal.
        match read.unwrap_or_else(|e| Ok(Err(e)))? {
            Ok(rows) => Ok(rows),
            Err(SledError::Damaged(detail)) => {
                tracing::warn!(detail, "sled does not check: making it anew from the journal");
                sled.discard_marked()?;
                Ok(open()?)
            }
            Err(e) => Err(e.into()),
        }
    }

    /// Writes rows in place of older ones. Durable only when sled gets round to it.
    pub fn put(&self, records: &[Arc<Record>]) -> Result<(), SledError> {
        let mut write = || {
            let mut batch = sled::Batch::default();
            for record in records {
                let mut row = Vec::new();
                record.encode(&mut row);
                batch.insert(record.key().as_bytes(), row);
            }
            Ok(self.db.apply_batch(batch)?)
        };
        // The thread that cosigns does this: it has to survive it.
        guarded(|| self.io.write_rows(&mut write))
    }

    /// A row.
    pub fn get(&self, key: &Hash) -> Result<Option<Record>, SledError> {
        guarded(|| self.db.get(key.as_bytes())?.map(|row| decode(&row)).transpose())
    }
}

/// What sled says; its panics are errors, too.
fn guarded<T>(work: impl FnOnce() -> Result<T, SledError>) -> Result<T, SledError> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(SledError::Damaged("sled panicked".to_owned())))
}

/// Whether a row is ahead of the journal, and whether each of them can be read.
fn compare_all(
    db: &sled::Db,
    journal: &HashMap<Hash, Record>,
) -> (Result<(), LedgerError>, Result<(), SledError>) {
    let mut compared = Ok(());
    let whole = guarded(|| {
        for row in db.iter() {
            let row = decode(&row?.1)?;
            compared = compare(&row, journal.get(&row.key()));
            if compared.is_err() {
                break;
            }
        }
        Ok(())
    });
    (compared, whole)
}

fn decode(mut row: &[u8]) -> Result<Record, SledError> {
    let record = Record::decode(&mut row).filter(|_| row.is_empty());
    record.ok_or_else(|| SledError::Damaged("a row is no record".to_owned()))
}

fn compare(row: &Record, journal: Option<&Record>) -> Result<(), LedgerError> {
    let known = journal.map(|record| record.head);
    let behind = known.is_none_or(|known| {
        known.size < row.head.size || (known.size == row.head.size && known.root != row.head.root)
    });
    if !behind {
        return Ok(());
    }
    Err(LedgerError::RolledBack {
        origin: row.origin.clone(),
        cosigned: row.head.size,
        journal: known.map(|known| known.size),
    })
}
