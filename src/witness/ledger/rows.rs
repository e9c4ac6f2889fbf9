//! sled: a row for each log, by the hash of its origin, for reading. Written after the journal, so that
//! it is never ahead of it; whatever is wrong with it, it is made anew.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use super::LedgerError;
use super::record::Record;
use crate::merkle::Hash;
use crate::store::{DiskIo, SledDir, StoreError};

/// What sled may keep in memory: rows are read seldom, and few.
const CACHE_BYTES: u64 = 16 * 1024 * 1024;

/// An open sled. Closed, and durable, when it is dropped.
pub struct Rows {
    db: sled::Db,
    dir: SledDir,
    io: Arc<dyn DiskIo>,
}

impl Drop for Rows {
    fn drop(&mut self) {
        if let Err(error) = self.dir.close(&self.db) {
            tracing::warn!(%error, "sled was not closed; should the power fail, it is made anew");
        }
    }
}

impl Rows {
    /// Opens sled, and compares it with what the journal has. Another boot's is thrown away, and so is
    /// what can't be read.
    ///
    /// A row that is ahead of the journal is an error: rows are written when their record is durable, so
    /// the journal is not the one that it was.
    pub fn open(
        io: &Arc<dyn DiskIo>,
        dir: &Path,
        journal: &HashMap<Hash, Record>,
    ) -> Result<Self, LedgerError> {
        let sled = SledDir::new(dir.join("sled"), dir.join("sled.open"), io.clone());
        let open = || -> Result<Self, StoreError> {
            Ok(Self { db: sled.open_plain(CACHE_BYTES)?, dir: sled.clone(), io: io.clone() })
        };
        let read = open().and_then(|rows| rows.all().map(|all| (rows, all)));
        match read {
            Ok((rows, all)) => {
                for row in all {
                    compare(&row, journal.get(&row.key()))?;
                }
                Ok(rows)
            }
            Err(StoreError::TreeDamaged { detail }) => {
                tracing::warn!(detail, "sled does not check: making it anew from the journal");
                sled.discard_marked()?;
                Ok(open()?)
            }
            Err(e) => Err(e.into()),
        }
    }

    fn all(&self) -> Result<Vec<Record>, StoreError> {
        self.db.iter().map(|row| decode(&row?.1)).collect()
    }

    /// Writes rows in place of older ones. Durable only when sled gets round to it.
    pub fn put(&self, records: &[Arc<Record>]) -> Result<(), StoreError> {
        self.io.derive(&mut || {
            let mut batch = sled::Batch::default();
            for record in records {
                let mut row = Vec::new();
                record.encode(&mut row);
                batch.insert(record.key().as_bytes(), row);
            }
            Ok(self.db.apply_batch(batch)?)
        })
    }

    /// A row.
    pub fn get(&self, key: &Hash) -> Result<Option<Record>, StoreError> {
        self.db.get(key.as_bytes())?.map(|row| decode(&row)).transpose()
    }
}

fn decode(mut row: &[u8]) -> Result<Record, StoreError> {
    let record = Record::decode(&mut row).filter(|_| row.is_empty());
    record.ok_or_else(|| StoreError::TreeDamaged { detail: "a row is no record".to_owned() })
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
