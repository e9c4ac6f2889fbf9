//! sled: a row for each log, by the hash of its origin, for reading. Rows are written after the journal, so
//! sled is never ahead of it, and is rebuilt whatever is wrong with it. sled may panic on files that it did
//! not expect: here that is one more error.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use super::LedgerError;
use super::record::Record;
use crate::disk::{SledDir, SledError, SledIo};
use crate::merkle::Hash;

/// sled's cache: few rows are read, and seldom.
const CACHE_BYTES: u64 = 16 * 1024 * 1024;

/// An open sled. Dropping it closes it and makes it durable.
pub struct Rows {
    db: sled::Db,
    dir: SledDir,
    io: Arc<dyn SledIo>,
}

impl Drop for Rows {
    fn drop(&mut self) {
        if let Err(error) = guarded(|| self.dir.close(&self.db)) {
            tracing::warn!(%error, "sled was not closed; should the power fail, it is rebuilt");
        }
    }
}

impl Rows {
    /// Opens sled, and compares it with the journal. A sled of another boot is then discarded, and so is one
    /// that can't be read.
    ///
    /// A row that is ahead of the journal is an error: rows are written when their record is durable, so an
    /// older journal was put back. That holds after a power cut too, which may lose rows but makes none.
    pub fn open(
        io: &Arc<dyn SledIo>,
        dir: &Path,
        journal: &HashMap<Hash, Record>,
    ) -> Result<Self, LedgerError> {
        let sled = SledDir::new(dir.join("sled"), dir.join("sled.open"), io.clone());
        // A sled of another boot that can't be read proves nothing, and goes anyway.
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
        // The outer error is about the journal, the inner one about sled.
        match read.unwrap_or_else(|e| Ok(Err(e)))? {
            Ok(rows) => Ok(rows),
            Err(SledError::Damaged(detail)) => {
                tracing::warn!(detail, "sled does not check: rebuilding it from the journal");
                sled.discard_marked()?;
                Ok(open()?)
            }
            Err(e) => Err(e.into()),
        }
    }

    /// Replaces rows. They become durable when sled flushes.
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
        // The committer's thread does this, and has to survive a panic.
        guarded(|| self.io.write_rows(&mut write))
    }

    /// The row of a log.
    pub fn get(&self, key: &Hash) -> Result<Option<Record>, SledError> {
        guarded(|| self.db.get(key.as_bytes())?.map(|row| decode(&row)).transpose())
    }
}

/// Turns sled's panics into errors.
fn guarded<T>(work: impl FnOnce() -> Result<T, SledError>) -> Result<T, SledError> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(SledError::Damaged("sled panicked".to_owned())))
}

/// Compares all rows with the journal. The second result says whether all rows could be read.
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
