//! `heads.journal`: each head that the witness ever let out, or the last of each log.
//!
//! It is a [framed journal](crate::disk::journal):
//!
//! ```text
//! file      magic "THWIT01\n", about: SHA-256 of the witness's name (32), fixed marker "THHEADS\n"
//! batch     number: from zero, one by one, items: records
//!           body: record*
//!           CRC of the whole batch
//! ```
//!
//! The marker is no secret. Still no log can write what is read as the head of a batch: its number would be
//! huge. Notes and origins have no control character but the newline, and roots are in hex, while a number
//! that can stand in the file begins with zeros. A size may be any number, but it follows the end of the
//! witness's own last cosignature, and hex follows it.

use std::collections::HashMap;
use std::path::Path;

use super::record::Record;
use super::{Head, LedgerError};
use crate::checkpoint::origin_hash;
use crate::disk::DiskError;
use crate::disk::journal::{Checksum, Encoder, FileHead, Format, Frame, JournalFile, JournalReader, Numbers};
use crate::merkle::{HASH_BYTES, Hash};
use crate::note::KeyName;

static FORMAT: [Format; 1] = [Format {
    magic: *b"THWIT01\n",
    about_bytes: HASH_BYTES,
    marker: Some(*b"THHEADS\n"),
    tag_bytes: 0,
    checksum: Checksum::Frame,
    numbers: Numbers::Frames,
    max_items: MAX_BATCH_RECORDS,
    max_body_bytes: MAX_BODY_BYTES,
}];
/// Most records in a batch: more wait for the next fdatasync.
pub const MAX_BATCH_RECORDS: usize = 1_024;
/// A batch takes no further record when its body has so many bytes.
pub const FULL_BODY_BYTES: usize = 8 * 1024 * 1024;
/// No body is longer: a full one, and a record of the largest note.
const MAX_BODY_BYTES: usize = 2 * FULL_BODY_BYTES;

/// The content of a journal.
#[derive(Debug)]
pub struct Scan {
    /// The last record of each log, by the hash of its origin.
    pub last: HashMap<Hash, Record>,
    /// The end of the last whole batch, and the fault in the rest, which was never released.
    pub torn: Option<(u64, String)>,
}

/// Appends a batch. When this returns, its records survive a power cut. After an error, the journal has to be
/// created anew: memory has all that was released.
pub fn append(journal: &mut JournalFile, records: &[Record]) -> Result<(), DiskError> {
    // Nobody has seen what a crash in here leaves of the batch, but what it says is true.
    journal.append(records.len(), &[], |body| records.iter().for_each(|record| record.encode(body)))?;
    Ok(())
}

/// A whole journal.
pub fn encode<'a>(name: &KeyName, records: impl Iterator<Item = &'a Record>) -> Encoder {
    let about = origin_hash(name).as_bytes().to_vec();
    let mut journal = Encoder::new(FileHead::new(&FORMAT[0], about).expect("its marker is not random"), 0);
    let mut records = records.peekable();
    while records.peek().is_some() {
        let mut room = FULL_BODY_BYTES;
        let batch = std::iter::from_fn(|| {
            let record = records.next_if(|_| room > 0)?;
            room = room.saturating_sub(record.note.len());
            Some(record)
        });
        let batch: Vec<&Record> = batch.take(MAX_BATCH_RECORDS).collect();
        journal.frame(batch.len(), &[], |body| batch.iter().for_each(|record| record.encode(body)));
    }
    journal
}

/// Reads the journal in `path`, which has to be this witness's.
pub fn read(path: &Path, name: &KeyName) -> Result<Scan, LedgerError> {
    let reader = JournalReader::open(path, &FORMAT).map_err(|e| match e {
        e if e.is_not_found() => LedgerError::Missing { path: path.to_owned() },
        e => e.into(),
    })?;
    scan(reader, name).map_err(|e| match e {
        DiskError::Damaged { path, at, detail } => LedgerError::Damaged { path, at, detail },
        e => e.into(),
    })
}

fn scan(mut journal: JournalReader, name: &KeyName) -> Result<Scan, DiskError> {
    let Some(head) = journal.head() else {
        return Err(journal.damaged(0, "expected the head of a journal, which does not check"));
    };
    if head.about != origin_hash(name).as_bytes() {
        return Err(
            journal.damaged(8, format!("expected the journal of {name}, saw that of another witness"))
        );
    }
    let mut scan = Scan { last: HashMap::new(), torn: None };
    scan.torn = journal.read_all(0, |batch| scan.take(&batch))?;
    Ok(scan)
}

impl Scan {
    fn take(&mut self, batch: &Frame) -> Result<(), String> {
        let mut rest = batch.body.as_slice();
        for at in 0..batch.head.items {
            let record = Record::decode(&mut rest);
            self.keep(record.ok_or_else(|| format!("record {at} of the batch is none"))?)?;
        }
        if rest.is_empty() { Ok(()) } else { Err("the batch is longer than its records".to_owned()) }
    }

    /// A later head of a log replaces an earlier one, and must have grown out of it.
    fn keep(&mut self, record: Record) -> Result<(), String> {
        let Record { origin, head, .. } = &record;
        if let Some(Record { head: Head { size, root, .. }, .. }) = self.last.get(&record.key()) {
            let goes_back = head.size < *size || (head.size == *size && head.root != *root);
            if goes_back {
                return Err(format!(
                    "{origin} goes back, from tree size {size} and root {root} to {} and {}",
                    head.size, head.root
                ));
            }
        }
        self.last.insert(record.key(), record);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;
    use std::sync::Arc;

    use super::super::test_record as record;
    use super::*;
    use crate::disk::RealDisk;
    use crate::merkle::TreeSize;

    const BATCH_MAGIC: &[u8; 8] = b"THHEADS\n";
    const BATCH_HEAD_BYTES: usize = FORMAT[0].frame_head_bytes();

    /// Parses a journal, or says which byte is wrong, and why.
    fn scan(bytes: &[u8], name: &KeyName) -> Result<Scan, (u64, String)> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("heads.journal");
        fs::write(&path, bytes).unwrap();
        read(&path, name).map_err(|e| match e {
            LedgerError::Damaged { at, detail, .. } => (at, detail),
            other => panic!("{other}"),
        })
    }

    fn name() -> KeyName {
        KeyName::new("witness.example/w").unwrap()
    }

    fn written(batches: &[&[Record]]) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("heads.journal");
        let io = Arc::new(RealDisk);
        let mut journal = JournalFile::replace(io, &path, encode(&name(), [].iter())).unwrap();
        batches.iter().for_each(|batch| append(&mut journal, batch).unwrap());
        assert_eq!(journal.end(), fs::metadata(&path).unwrap().len());
        (dir, path)
    }

    #[test]
    fn what_was_appended_is_read_back() {
        let (a, b) = (record("log.example/a", 7), record("log.example/b", 9));
        let later = record("log.example/a", 12);
        let (_dir, path) = written(&[&[a, b.clone()], std::slice::from_ref(&later)]);
        let scan = read(&path, &name()).unwrap();
        assert!(scan.torn.is_none());
        assert_eq!(scan.last, HashMap::from([(later.key(), later), (b.key(), b)]));
    }

    #[test]
    fn a_journal_of_many_records_is_written_in_batches() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("heads.journal");
        let records: Vec<Record> = (0..2_500).map(|at| record(&format!("log.example/{at}"), at)).collect();
        let io = Arc::new(RealDisk);
        let mut journal = JournalFile::replace(io, &path, encode(&name(), records.iter())).unwrap();
        assert_eq!(journal.next_number(), 3);
        append(&mut journal, &[record("log.example/0", 1)]).unwrap();
        let scan = read(&path, &name()).unwrap();
        assert_eq!((scan.last.len(), scan.torn.is_none()), (2_500, true));
        assert_eq!(scan.last[&records[0].key()].head.size.get(), 1);
    }

    #[test]
    fn wherever_the_last_batch_is_torn_it_is_dropped_and_the_others_stay() {
        let (a, b) = (record("log.example/a", 7), record("log.example/a", 8));
        let (_dir, path) = written(&[std::slice::from_ref(&a), &[b]]);
        let whole = fs::read(&path).unwrap();
        let (first, _) = written(&[&[a]]);
        let first = fs::read(first.path().join("heads.journal")).unwrap().len();
        for length in first + 1..whole.len() {
            let scan = scan(&whole[..length], &name()).ok().unwrap();
            assert_eq!(scan.torn.unwrap().0, first as u64, "cut at {length}");
            assert_eq!(scan.last.values().next().unwrap().head.size.get(), 7);
        }
        for at in first..whole.len() {
            let mut torn = whole.clone();
            torn[at..].fill(0);
            // Its last bytes may have been zeros anyway.
            if torn != whole {
                assert_eq!(
                    scan(&torn, &name()).ok().unwrap().torn.unwrap().0,
                    first as u64,
                    "zeros from {at}"
                );
            }
        }
    }

    /// A head that checks, of the batch of this number.
    fn batch_head(number: u64) -> Vec<u8> {
        let head = [BATCH_MAGIC.as_slice(), &number.to_be_bytes(), b"\0\0\0\x01", b"\0\0\0\x40"].concat();
        let crc = crc32fast::hash(&head).to_be_bytes();
        [head, crc.to_vec()].concat()
    }

    #[test]
    fn no_root_or_size_that_a_log_chooses_makes_a_torn_batch_damage() {
        let mut root = [0; 32];
        root[..BATCH_HEAD_BYTES].copy_from_slice(&batch_head(2));
        let mut by_root = record("log.example/a", 8);
        by_root.head.root = Hash::from_bytes(root);
        let mut by_size = record("log.example/a", 8);
        by_size.head.size = TreeSize::new(u64::from_be_bytes(*BATCH_MAGIC)).unwrap();
        for chosen in [by_root, by_size] {
            let (_dir, path) = written(&[&[record("log.example/a", 7)], std::slice::from_ref(&chosen)]);
            let mut bytes = fs::read(&path).unwrap();
            assert_eq!(scan(&bytes, &name()).ok().unwrap().last.values().next(), Some(&chosen));
            bytes.pop();
            let scan = scan(&bytes, &name()).unwrap_or_else(|(at, detail)| panic!("byte {at}: {detail}"));
            assert!(scan.torn.is_some());
        }
    }

    #[test]
    fn text_that_checks_as_the_head_of_a_batch_is_none() {
        let (_dir, path) = written(&[&[record("log.example/a", 7)]]);
        let whole = fs::read(&path).unwrap();
        let behind = |head: Vec<u8>| scan(&[whole.as_slice(), b"x", &head].concat(), &name());
        // What a size and the hex of a root come to, if the CRC is hex too.
        assert!(behind(batch_head(u64::from_be_bytes(*b"0123abcd"))).unwrap().torn.is_some());
        assert!(behind(batch_head(2)).is_err());
    }

    #[test]
    fn what_does_not_check_before_a_batch_is_damage() {
        let batches: Vec<Record> = (1..5).map(|size| record("log.example/a", size)).collect();
        let each: Vec<&[Record]> = batches.iter().map(std::slice::from_ref).collect();
        let (_dir, path) = written(&each);
        let whole = fs::read(&path).unwrap();
        let last = whole.windows(8).rposition(|window| window == BATCH_MAGIC).unwrap();
        for at in 0..last {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x20;
            let (place, detail) = scan(&bytes, &name()).err().unwrap();
            assert!(place <= at as u64 && !detail.is_empty(), "byte {at}: {place} {detail}");
        }
        // A batch taken out of the middle.
        let second = whole.windows(8).enumerate().filter(|(_, w)| w == BATCH_MAGIC).nth(1).unwrap().0;
        let third = whole.windows(8).enumerate().filter(|(_, w)| w == BATCH_MAGIC).nth(2).unwrap().0;
        let bytes = [&whole[..second], &whole[third..]].concat();
        assert_eq!(scan(&bytes, &name()).err().unwrap().0, second as u64);
        assert!(scan(&[], &name()).is_err() && scan(&whole[..20], &name()).is_err());
        let other = KeyName::new("witness.example/other").unwrap();
        assert!(scan(&whole, &other).err().unwrap().1.contains("another witness"));
    }

    #[test]
    fn a_log_that_goes_back_in_the_journal_is_damage() {
        let mut forked = record("log.example/a", 7);
        forked.head.root = Hash::leaf(b"another");
        for bad in [record("log.example/a", 6), forked] {
            let (_dir, path) = written(&[&[record("log.example/a", 7)], &[bad]]);
            let error = read(&path, &name()).err().unwrap().to_string();
            assert!(error.contains("goes back"), "{error}");
        }
    }
}
