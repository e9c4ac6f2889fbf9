//! `heads.journal`: each head that the witness ever let out, or the last of each log.
//!
//! ```text
//! journal   "THWIT01\n" || SHA-256 of the witness's name (32) || CRC-32 of these u32
//!           batch*
//! batch     "THHEADS\n" || number u64 || count u32 || body length u32 || CRC-32 of these u32
//!           body: record*
//!           CRC-32 of the whole batch before it u32
//! ```
//!
//! Integers are big-endian; batches are numbered from zero. Whatever a log chooses of a record can be read
//! as the head of a batch only if its number is huge: notes and origins have no control character but the
//! newline, and roots are in hex, while a number that can stand in the file begins with zeros. A size may be any
//! number, but what stands before it is the end of the witness's own last cosignature, and what follows is hex.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::record::Record;
use super::{Head, LedgerError};
use crate::checkpoint::origin_hash;
use crate::disk::{DiskError, DiskIo, check_written, replace};
use crate::merkle::Hash;
use crate::note::KeyName;

const FILE_MAGIC: &[u8; 8] = b"THWIT01\n";
const BATCH_MAGIC: &[u8; 8] = b"THHEADS\n";
const CRC_BYTES: usize = 4;
const FILE_HEAD_BYTES: usize = 8 + 32 + CRC_BYTES;
const BATCH_HEAD_BYTES: usize = 8 + 8 + 4 + 4 + CRC_BYTES;
/// Most records in a batch: more wait for the next fdatasync.
pub const MAX_BATCH_RECORDS: usize = 1_024;
/// A batch takes no further record when its body has so many bytes.
pub const FULL_BODY_BYTES: usize = 8 * 1024 * 1024;
/// No body is longer: a full one, and a record of the largest note.
const MAX_BODY_BYTES: usize = 2 * FULL_BODY_BYTES;

/// The journal while it is appended to. One thread has it.
pub struct Journal {
    io: Arc<dyn DiskIo>,
    path: PathBuf,
    file: File,
    /// Where the next batch begins.
    length: u64,
    /// Its number.
    next: u64,
}

/// What a journal holds.
pub struct Scan {
    /// The last record of each log, by the hash of its origin.
    pub last: HashMap<Hash, Record>,
    /// Where the last whole batch ends, and why what follows is none: it was never released.
    pub torn: Option<(usize, String)>,
}

impl Journal {
    /// Writes a journal of these records in place of what is there.
    pub fn create<'a>(
        io: &Arc<dyn DiskIo>,
        path: &Path,
        name: &KeyName,
        records: impl Iterator<Item = &'a Record>,
    ) -> Result<Self, LedgerError> {
        let (bytes, next) = encode(name, records);
        // A crash in here leaves the old journal or the new one, both whole: see there. Each holds all
        // that was released.
        replace(io.as_ref(), path, &bytes)?;
        let file = File::options().write(true).open(path).map_err(DiskError::io("open", path))?;
        Ok(Self { io: io.clone(), path: path.to_owned(), file, length: bytes.len() as u64, next })
    }

    /// Appends a batch. When this returns, its records survive a power cut. After an error nobody knows
    /// whether they do, and the journal has to be created anew.
    pub fn append(&mut self, records: &[Record]) -> Result<(), LedgerError> {
        let mut bytes = Vec::new();
        encode_batch(&mut bytes, self.next, records.iter());
        let io = &self.io;
        // Memory has all that was released: after this error the journal is written anew from it.
        check_written(&self.file, &self.path, self.length, |length| length == self.length)?;
        // A crash before the fdatasync is done leaves a part of the batch, all of it, or nothing: the
        // next start keeps what is whole. Nobody has seen it, but what it says is true.
        io.write_at(&self.file, &self.path, &bytes, self.length)
            .map_err(DiskError::io("write", &self.path))?;
        io.sync_data(&self.file, &self.path).map_err(DiskError::io("fsync", &self.path))?;
        // A crash from here on loses nothing.
        self.length += bytes.len() as u64;
        self.next += 1;
        Ok(())
    }

    /// Bytes of the file.
    pub const fn length(&self) -> u64 {
        self.length
    }
}

/// A whole journal, and the number of its next batch.
pub fn encode<'a>(name: &KeyName, records: impl Iterator<Item = &'a Record>) -> (Vec<u8>, u64) {
    let mut bytes = FILE_MAGIC.to_vec();
    bytes.extend_from_slice(origin_hash(name).as_bytes());
    seal(&mut bytes, 0);
    let mut next = 0;
    let mut records = records.peekable();
    while records.peek().is_some() {
        let mut room = FULL_BODY_BYTES;
        let batch = std::iter::from_fn(|| {
            let record = records.next_if(|_| room > 0)?;
            room = room.saturating_sub(record.note.len());
            Some(record)
        });
        encode_batch(&mut bytes, next, batch.take(MAX_BATCH_RECORDS));
        next += 1;
    }
    (bytes, next)
}

/// Writes a batch.
fn encode_batch<'a>(bytes: &mut Vec<u8>, number: u64, records: impl Iterator<Item = &'a Record>) {
    let begin = bytes.len();
    bytes.extend_from_slice(&[0; BATCH_HEAD_BYTES]);
    let body = bytes.len();
    let mut count = 0_u32;
    for record in records {
        record.encode(bytes);
        count += 1;
    }
    let length = u32::try_from(bytes.len() - body).expect("batches are capped");
    let mut head = BATCH_MAGIC.to_vec();
    head.extend_from_slice(&number.to_be_bytes());
    head.extend_from_slice(&count.to_be_bytes());
    head.extend_from_slice(&length.to_be_bytes());
    seal(&mut head, 0);
    bytes[begin..body].copy_from_slice(&head);
    seal(bytes, begin);
}

/// Appends the CRC of everything from `begin` on.
fn seal(bytes: &mut Vec<u8>, begin: usize) {
    let crc = crc32fast::hash(&bytes[begin..]);
    bytes.extend_from_slice(&crc.to_be_bytes());
}

/// The content of what ends in its CRC.
fn unseal(bytes: &[u8]) -> Option<&[u8]> {
    let (content, crc) = bytes.split_at_checked(bytes.len().checked_sub(CRC_BYTES)?)?;
    (crc == crc32fast::hash(content).to_be_bytes()).then_some(content)
}

/// Reads the journal in `path`, which has to be this witness's.
pub fn read(path: &Path, name: &KeyName) -> Result<Scan, LedgerError> {
    let bytes = fs::read(path).map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => LedgerError::Missing { path: path.to_owned() },
        _ => DiskError::io("read", path)(e).into(),
    })?;
    scan(&bytes, name).map_err(|(at, detail)| LedgerError::Damaged { path: path.to_owned(), at, detail })
}

/// What the bytes hold, or what is wrong at which of them.
fn scan(bytes: &[u8], name: &KeyName) -> Result<Scan, (usize, String)> {
    let head = bytes.get(..FILE_HEAD_BYTES).and_then(unseal).filter(|head| head.starts_with(FILE_MAGIC));
    let head = head.ok_or_else(|| (0, "expected the head of a journal, which does not check".to_owned()))?;
    if head[8..] != *origin_hash(name).as_bytes() {
        return Err((8, format!("expected the journal of {name}, saw that of another witness")));
    }
    let mut scan = Scan { last: HashMap::new(), torn: None };
    let (mut at, mut number) = (FILE_HEAD_BYTES, 0);
    while at < bytes.len() {
        match read_batch(&bytes[at..], number) {
            Ok((records, length)) => {
                for record in records {
                    scan.keep(record).map_err(|detail| (at, detail))?;
                }
                (at, number) = (at + length, number + 1);
            }
            // Whatever was written after a batch was written after its fdatasync: it had been released.
            Err(NoBatch::Torn(detail)) if !has_batch_behind(&bytes[at..], number) => {
                scan.torn = Some((at, detail));
                break;
            }
            Err(NoBatch::Torn(detail) | NoBatch::Wrong(detail)) => return Err((at, detail)),
        }
    }
    Ok(scan)
}

impl Scan {
    /// A later head of a log takes the place of an earlier one, and can only have grown out of it.
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

/// Why no batch begins at a place.
enum NoBatch {
    /// Some of it is not what was written, as a power cut may leave it.
    Torn(String),
    /// It is what was written, and should not have been.
    Wrong(String),
}

/// The records of the batch that begins here, and its length; or why there is none.
fn read_batch(bytes: &[u8], number: u64) -> Result<(Vec<Record>, usize), NoBatch> {
    let torn = |detail: &str| NoBatch::Torn(detail.to_owned());
    let head =
        bytes.get(..BATCH_HEAD_BYTES).ok_or_else(|| torn("the file ends within the head of a batch"))?;
    let (seen, count, body) = read_head(head).ok_or_else(|| torn("the head of the batch does not check"))?;
    if seen != number {
        return Err(NoBatch::Wrong(format!("expected batch {number}, saw batch {seen}")));
    }
    if count > MAX_BATCH_RECORDS || body > MAX_BODY_BYTES {
        return Err(NoBatch::Wrong(format!(
            "a batch of {count} records and {body} bytes is not one of ours"
        )));
    }
    let length = BATCH_HEAD_BYTES + body + CRC_BYTES;
    let batch = bytes.get(..length).ok_or_else(|| torn("the file ends within a batch"))?;
    let mut rest = &unseal(batch).ok_or_else(|| torn("the batch does not check"))?[BATCH_HEAD_BYTES..];
    let mut records = Vec::with_capacity(count);
    for at in 0..count {
        let record = Record::decode(&mut rest);
        records.push(record.ok_or_else(|| NoBatch::Wrong(format!("record {at} of the batch is none")))?);
    }
    if rest.is_empty() {
        Ok((records, length))
    } else {
        Err(NoBatch::Wrong("the batch is longer than its records".to_owned()))
    }
}

/// Number, count and body length of a batch.
fn read_head(head: &[u8]) -> Option<(u64, usize, usize)> {
    let head = unseal(head)?.strip_prefix(BATCH_MAGIC)?;
    let (number, rest) = head.split_first_chunk::<8>()?;
    let (count, rest) = rest.split_first_chunk::<4>()?;
    let (body, _) = rest.split_first_chunk::<4>()?;
    let usize_of = |bytes: &[u8; 4]| usize::try_from(u32::from_be_bytes(*bytes)).ok();
    Some((u64::from_be_bytes(*number), usize_of(count)?, usize_of(body)?))
}

/// Whether the head of a later batch stands anywhere behind the one of this number, which does not check.
fn has_batch_behind(bytes: &[u8], number: u64) -> bool {
    // Each batch takes more than one byte. A size is the one thing of eight free bytes that a log chooses:
    // what follows it is no number near this one.
    let later = number + 1..=number + bytes.len() as u64;
    bytes.get(1..).is_some_and(|rest| {
        rest.windows(BATCH_HEAD_BYTES).any(|window| {
            window.starts_with(BATCH_MAGIC)
                && read_head(window).is_some_and(|(seen, ..)| later.contains(&seen))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::super::test_record as record;
    use super::*;
    use crate::disk::RealDisk;
    use crate::merkle::TreeSize;

    fn name() -> KeyName {
        KeyName::new("witness.example/w").unwrap()
    }

    fn written(batches: &[&[Record]]) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("heads.journal");
        let io: Arc<dyn DiskIo> = Arc::new(RealDisk);
        let mut journal = Journal::create(&io, &path, &name(), [].iter()).unwrap();
        batches.iter().for_each(|batch| journal.append(batch).unwrap());
        assert_eq!(journal.length(), fs::metadata(&path).unwrap().len());
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
        let io: Arc<dyn DiskIo> = Arc::new(RealDisk);
        let mut journal = Journal::create(&io, &path, &name(), records.iter()).unwrap();
        assert_eq!(journal.next, 3);
        journal.append(&[record("log.example/0", 1)]).unwrap();
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
            assert_eq!(scan.torn.unwrap().0, first, "cut at {length}");
            assert_eq!(scan.last.values().next().unwrap().head.size.get(), 7);
        }
        for at in first..whole.len() {
            let mut torn = whole.clone();
            torn[at..].fill(0);
            // Its last bytes may have been zeros anyway.
            if torn != whole {
                assert_eq!(scan(&torn, &name()).ok().unwrap().torn.unwrap().0, first, "zeros from {at}");
            }
        }
    }

    /// A head that checks, of the batch of this number.
    fn batch_head(number: u64) -> Vec<u8> {
        let mut head = [BATCH_MAGIC.as_slice(), &number.to_be_bytes(), b"\0\0\0\x01", b"\0\0\0\x40"].concat();
        seal(&mut head, 0);
        head
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
        // What a size and the hex of a root come to, if the CRC is hex too.
        assert!(!has_batch_behind(
            &[b"x".as_slice(), &batch_head(u64::from_be_bytes(*b"0123abcd"))].concat(),
            1
        ));
        assert!(has_batch_behind(&[b"x".as_slice(), &batch_head(2)].concat(), 1));
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
            assert!(place <= at && !detail.is_empty(), "byte {at}: {place} {detail}");
        }
        // A batch taken out of the middle.
        let second = whole.windows(8).enumerate().filter(|(_, w)| w == BATCH_MAGIC).nth(1).unwrap().0;
        let third = whole.windows(8).enumerate().filter(|(_, w)| w == BATCH_MAGIC).nth(2).unwrap().0;
        let bytes = [&whole[..second], &whole[third..]].concat();
        assert_eq!(scan(&bytes, &name()).err().unwrap().0, second);
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
