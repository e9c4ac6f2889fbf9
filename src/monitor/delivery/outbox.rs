//! `outbox.journal`: the events that go to sinks, each durable before the monitor relies on it.
//!
//! It is a [framed journal](crate::disk::journal):
//!
//! ```text
//! file      magic "THOUT02\n", about: number of its first record, or of the next if there is none, u64, random marker
//! batch     number: of its first record, items: records
//!           body: (time " " severity " " code " " key " " event "\n")*
//!           CRC of the whole batch
//! ```
//!
//! Records are numbered for ever. An event is one JSON object: whatever a log chooses of it, it has no
//! newline. Outboxes of [version 1](version_1) are read, and replaced when the monitor starts.

mod version_1;

use std::path::Path;
use std::sync::Arc;

use super::DeliveryError;
use crate::disk::journal::{Checksum, Encoder, FileHead, Format, Frame, JournalFile, JournalReader, Numbers};
use crate::disk::{DiskError, DiskIo, read_if_exists};
use crate::format::decimal;
use crate::monitor::event::Severity;

/// Name of the file in the state directory.
pub const OUTBOX: &str = "outbox.journal";
/// Numbers are far from it, and texts of 19 digits hold it.
pub const MAX_NUMBER: u64 = i64::MAX as u64;

static FORMAT: [Format; 1] = [Format {
    magic: *b"THOUT02\n",
    about_bytes: 8,
    marker: None,
    tag_bytes: 0,
    checksum: Checksum::Frame,
    numbers: Numbers::Items,
    max_items: MAX_BATCH_RECORDS,
    max_body_bytes: MAX_BODY_BYTES,
}];
/// Most records in a batch: more are several.
const MAX_BATCH_RECORDS: usize = 1_024;
/// A batch takes no further record when its events have so many bytes.
const FULL_BODY_BYTES: usize = 8 * 1024 * 1024;
/// No body is longer: events are bounded by what a log may answer at once.
const MAX_BODY_BYTES: usize = 8 * FULL_BODY_BYTES;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its place among all that ever went to sinks.
    pub number: u64,
    pub time: u64,
    /// Severity and code decide whether a sink wants it. The end of a condition has those of its beginning.
    pub severity: Severity,
    pub code: String,
    /// Names the delivery: the id in the line.
    pub key: String,
    pub line: String,
}

impl Record {
    fn encode(&self, out: &mut Vec<u8>) {
        let Self { number: _, time, severity, code, key, line } = self;
        let severity = severity.as_str();
        out.extend_from_slice(format!("{time} {severity} {code} {key} {line}\n").as_bytes());
    }

    fn decode(number: u64, content: &str) -> Option<Self> {
        let mut words = content.splitn(5, ' ');
        let time = decimal(words.next()?, MAX_NUMBER)?;
        let severity = Severity::parse(words.next()?)?;
        let mut word = || words.next().map(ToOwned::to_owned);
        let (code, key, line) = (word()?, word()?, word()?);
        Some(Self { number, time, severity, code, key, line })
    }
}

fn batches(mut records: &[Arc<Record>]) -> impl Iterator<Item = &[Arc<Record>]> {
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = |record: &&Arc<Record>| {
            let has_room = bytes < FULL_BODY_BYTES;
            bytes += record.line.len();
            has_room
        };
        let count = records.iter().take(MAX_BATCH_RECORDS).take_while(fits).count();
        records.split_off(..count).filter(|batch| !batch.is_empty())
    })
}

fn encode_body(batch: &[Arc<Record>], out: &mut Vec<u8>) {
    batch.iter().for_each(|record| record.encode(out));
}

/// A whole outbox of these records; `next` is the number of the record after them.
fn encode(records: &[Arc<Record>], next: u64) -> Result<Encoder, DiskError> {
    let first = records.first().map_or(next, |record| record.number);
    let head = FileHead::new(&FORMAT[0], first.to_be_bytes().to_vec());
    let mut outbox = Encoder::new(head.map_err(DiskError::io("mark", OUTBOX))?, first);
    batches(records).for_each(|batch| outbox.frame(batch.len(), &[], |out| encode_body(batch, out)));
    Ok(outbox)
}

pub struct Outbox {
    journal: JournalFile,
}

impl Outbox {
    /// Writes an outbox of these records in place of what is there; `next` is the number of the record after
    /// them.
    pub fn create(
        io: &Arc<dyn DiskIo>,
        path: &Path,
        records: &[Arc<Record>],
        next: u64,
    ) -> Result<Self, DiskError> {
        // Each of the two that a crash may leave has what sinks wait for.
        Ok(Self { journal: JournalFile::replace(io.clone(), path, encode(records, next)?)? })
    }

    /// Appends records. When this returns, they survive a power cut. After an error the outbox has to be
    /// written anew.
    pub fn append(&mut self, records: &[Arc<Record>]) -> Result<(), DiskError> {
        for batch in batches(records) {
            // A crash in here leaves the batch or nothing of it. The caller was not told that it is taken,
            // and comes again with it, so a sink may get it twice.
            self.journal.append(batch.len(), &[], |out| encode_body(batch, out))?;
        }
        Ok(())
    }

    /// Whether it has to be written anew, from records that take `live_bytes`: after an error, or because
    /// most of it was delivered and it is longer than `file_bytes`.
    pub const fn is_due(&self, live_bytes: u64, file_bytes: u64) -> bool {
        // Four times: what is written anew is then a small part of what was appended.
        let long = if live_bytes * 4 > file_bytes { live_bytes * 4 } else { file_bytes };
        self.journal.is_unsound() || self.journal.end() > long
    }

    pub fn renew(&mut self, records: &[Arc<Record>], next: u64) -> Result<(), DiskError> {
        self.journal.renew(encode(records, next)?)
    }
}

#[derive(Debug, PartialEq, Eq)]
pub struct Scan {
    pub records: Vec<Record>,
    pub next: u64,
    /// Why the end of the file is no record: it was never taken.
    pub torn: Option<String>,
}

/// Reads the outbox in `path`; `None` if there is no file.
pub fn read(path: &Path) -> Result<Option<Scan>, DeliveryError> {
    let damaged = |detail| DeliveryError::Damaged {
        path: path.to_owned(),
        detail,
        cost: "sinks then miss what was not delivered yet; it was printed, and open conditions are in conditions.json",
    };
    let scan = match JournalReader::open(path, &FORMAT) {
        Err(e) if e.is_not_found() => return Ok(None),
        Err(e) => return Err(e.into()),
        Ok(outbox) if outbox.head().is_some() => scan(outbox),
        Ok(_) => {
            let Some(bytes) = read_if_exists(path)? else { return Ok(None) };
            return version_1::scan(&bytes).map(Some).map_err(damaged);
        }
    };
    scan.map(Some).map_err(|e| match e {
        DiskError::Damaged { at, detail, .. } => damaged(format!("byte {at}: {detail}")),
        e => e.into(),
    })
}

fn scan(mut outbox: JournalReader) -> Result<Scan, DiskError> {
    let about = outbox.head().and_then(|head| head.about.first_chunk().copied());
    let next = u64::from_be_bytes(about.expect("as long as the format says"));
    if next > MAX_NUMBER {
        return Err(outbox.damaged(8, format!("expected a number up to {MAX_NUMBER}, saw {next}")));
    }
    let mut scan = Scan { records: Vec::new(), next, torn: None };
    let torn = outbox.read_all(next, |batch| scan.take(&batch))?;
    scan.torn = torn.map(|(_, detail)| detail);
    Ok(scan)
}

impl Scan {
    fn take(&mut self, batch: &Frame) -> Result<(), String> {
        let none = |number| format!("expected record {number}, saw none of ours");
        let text = std::str::from_utf8(&batch.body).map_err(|_| none(self.next))?;
        let end = self.next + batch.head.items as u64;
        for line in text.split_terminator('\n') {
            self.records.push(Record::decode(self.next, line).ok_or_else(|| none(self.next))?);
            self.next += 1;
        }
        if self.next == end {
            Ok(())
        } else {
            Err(format!("expected records up to {end}, saw them up to {}", self.next))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::path::PathBuf;

    use super::*;
    use crate::disk::RealDisk;

    pub fn record(number: u64) -> Arc<Record> {
        let line = format!("{{\"message\":\"number {number}, with spaces\"}}");
        let (key, code) = (format!("key-{number}"), "fork".to_owned());
        Arc::new(Record { number, time: 1_700_000_000 + number, severity: Severity::Alert, code, key, line })
    }

    fn records(numbers: &[u64]) -> Vec<Arc<Record>> {
        numbers.iter().map(|number| record(*number)).collect()
    }

    /// An outbox that was made with some records, and appended to in batches.
    fn written(first: &[u64], batches: &[&[u64]]) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(OUTBOX);
        let io: Arc<dyn DiskIo> = Arc::new(RealDisk);
        let next = first.last().map_or(0, |n| n + 1);
        let mut outbox = Outbox::create(&io, &path, &records(first), next).unwrap();
        batches.iter().for_each(|batch| outbox.append(&records(batch)).unwrap());
        assert_eq!(outbox.journal.end(), fs::metadata(&path).unwrap().len());
        (dir, path)
    }

    pub fn numbers(scan: &Scan) -> Vec<u64> {
        scan.records.iter().map(|record| record.number).collect()
    }

    #[test]
    fn what_was_appended_is_read_back() {
        let (_dir, path) = written(&[5, 6], &[&[7], &[8, 9]]);
        let scan = read(&path).unwrap().unwrap();
        assert_eq!((numbers(&scan), scan.next, &scan.torn), ((5..10).collect(), 10, &None));
        assert_eq!(scan.records[3], *record(8));
        let (_dir, path) = written(&[], &[]);
        assert_eq!(read(&path).unwrap(), Some(Scan { records: vec![], next: 0, torn: None }));
        assert_eq!(read(&path.with_extension("gone")).unwrap(), None);
    }

    #[test]
    fn many_records_are_several_batches() {
        let all: Vec<u64> = (3..2_503).collect();
        let (_dir, path) = written(&all, &[&(2_503..5_000).collect::<Vec<u64>>()]);
        assert_eq!(numbers(&read(&path).unwrap().unwrap()), (3..5_000).collect::<Vec<u64>>());
        let long = |number| {
            let mut long = record(number).as_ref().clone();
            long.line = "x".repeat(FULL_BODY_BYTES / 2 + 1);
            Arc::new(long)
        };
        let sizes: Vec<usize> = batches(&[long(0), long(1), long(2)]).map(<[_]>::len).collect();
        assert_eq!(sizes, [2, 1]);
    }

    #[test]
    fn a_torn_batch_is_dropped_and_anything_else_that_does_not_check_is_damage() {
        let (before, path) = written(&[3], &[&[4, 5]]);
        let last = fs::metadata(&path).unwrap().len();
        drop(before);
        let (_dir, path) = written(&[3], &[&[4, 5], &[6, 7]]);
        let whole = fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 0xff;
            fs::write(&path, bytes).unwrap();
            match read(&path) {
                Ok(scan) => {
                    let scan = scan.unwrap();
                    assert!(at as u64 >= last && scan.torn.is_some(), "byte {at}");
                    assert_eq!((numbers(&scan), scan.next), (vec![3, 4, 5], 6));
                }
                Err(e) => assert!(
                    (at as u64) < last && matches!(e, DeliveryError::Damaged { .. }),
                    "byte {at}: {e}"
                ),
            }
        }
    }

    #[test]
    fn what_checks_and_is_no_record_is_damage() {
        let (_dir, path) = written(&[3], &[]);
        let io: Arc<dyn DiskIo> = Arc::new(RealDisk);
        for bad in [
            "7 loud head key {}\n",
            "07 info head key {}\n",
            "7 info head key\n",
            "\n",
            "",
            "7 info a b {}\n7 info a b {}\n",
        ] {
            let head = FileHead::new(&FORMAT[0], vec![0; 8]).unwrap();
            let mut outbox = Encoder::new(head, 0);
            outbox.frame(1, &[], |out| out.extend_from_slice(bad.as_bytes()));
            JournalFile::replace(io.clone(), &path, outbox).unwrap();
            assert!(matches!(read(&path), Err(DeliveryError::Damaged { .. })), "{bad}");
        }
    }

    #[test]
    fn an_outbox_that_somebody_else_changed_is_written_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(OUTBOX);
        let io: Arc<dyn DiskIo> = Arc::new(RealDisk);
        let mut outbox = Outbox::create(&io, &path, &[record(3)], 4).unwrap();
        File::options().write(true).open(&path).unwrap().set_len(10).unwrap();
        assert!(outbox.append(&[record(4)]).is_err(), "it would stand behind a gap");
        assert!(outbox.is_due(0, 1_000_000));
        outbox.renew(&[record(3), record(4)], 5).unwrap();
        assert_eq!(numbers(&read(&path).unwrap().unwrap()), [3, 4]);
    }
}
