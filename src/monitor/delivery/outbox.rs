//! `outbox.journal`: the events that go to sinks, each durable before it is taken.
//!
//! ```text
//! outbox    line("treehead-outbox 1 " first)
//!           record*
//! record    line(number " " batch " " time " " severity " " code " " key " " event)
//! line(x)   CRC-32 of x, 8 hex digits " " x "\n"
//! ```
//!
//! Records are numbered for ever; `first` is the number of the first one here, or of the next where there is
//! none. `batch` is the number of the first record that was written with the same fdatasync. An event is one
//! JSON object: whatever a log chooses of it, it has no newline. So nothing that a log chooses begins a line, and
//! none of it can be read as a record, whatever a power cut leaves of the lines around it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::DeliveryError;
use crate::disk::{DiskError, DiskIo, check_written, read_plain, replace};
use crate::format::decimal;
use crate::monitor::event::Severity;

/// Name of the file in the state directory.
pub const OUTBOX: &str = "outbox.journal";
const MAGIC: &str = "treehead-outbox 1 ";
/// Numbers are far from it, and texts of 19 digits hold it.
const MAX_NUMBER: u64 = i64::MAX as u64;

/// One event that goes to sinks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its place among all that ever went to sinks.
    pub number: u64,
    /// Unix seconds when it was put in.
    pub time: u64,
    /// Whether a sink wants it is decided by these two: for what ended, those of its beginning.
    pub severity: Severity,
    pub code: String,
    /// Names the delivery: the id in the line.
    pub key: String,
    /// The event.
    pub line: String,
}

impl Record {
    fn encode(&self, bytes: &mut Vec<u8>, batch: u64) {
        let Self { number, time, severity, code, key, line } = self;
        let severity = severity.as_str();
        seal(bytes, &format!("{number} {batch} {time} {severity} {code} {key} {line}"));
    }

    /// A record and its batch.
    fn decode(content: &str) -> Option<(Self, u64)> {
        let mut words = content.splitn(7, ' ');
        let mut number = || decimal(words.next()?, MAX_NUMBER);
        let (number, batch, time) = (number()?, number()?, number()?);
        let severity = match words.next()? {
            "info" => Severity::Info,
            "watch" => Severity::Watch,
            "alert" => Severity::Alert,
            _ => return None,
        };
        let mut word = || words.next().map(ToOwned::to_owned);
        let (code, key, line) = (word()?, word()?, word()?);
        (batch <= number).then_some((Self { number, time, severity, code, key, line }, batch))
    }
}

fn seal(bytes: &mut Vec<u8>, content: &str) {
    let crc = crc32fast::hash(content.as_bytes());
    bytes.extend_from_slice(format!("{crc:08x} {content}\n").as_bytes());
}

/// The content of a line that checks.
fn unseal(line: &[u8]) -> Option<&str> {
    let (crc, content) = std::str::from_utf8(line).ok()?.split_at_checked(9)?;
    (crc == format!("{:08x} ", crc32fast::hash(content.as_bytes()))).then_some(content)
}

/// The outbox while it is appended to.
pub struct Outbox {
    io: Arc<dyn DiskIo>,
    path: PathBuf,
    file: File,
    length: u64,
    /// Nobody knows what the disk has: nothing may be appended before the file is written anew.
    unsound: bool,
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
        let first = records.first().map_or(next, |record| record.number);
        let mut bytes = Vec::new();
        seal(&mut bytes, &format!("{MAGIC}{first}"));
        records.iter().for_each(|record| record.encode(&mut bytes, record.number));
        // A crash in here leaves the old outbox or the new one, both whole: see there. Each has what sinks
        // wait for.
        replace(io.as_ref(), path, &bytes)?;
        let file = File::options().write(true).open(path).map_err(DiskError::io("open", path))?;
        let length = bytes.len() as u64;
        Ok(Self { io: io.clone(), path: path.to_owned(), file, length, unsound: false })
    }

    /// Appends records, at least one. When this returns, they survive a power cut. After an error the outbox is
    /// unsound.
    pub fn append(&mut self, records: &[Arc<Record>]) -> Result<(), DiskError> {
        assert!(!self.unsound, "it is written anew first");
        let batch = records.first().expect("at least one").number;
        let mut bytes = Vec::new();
        records.iter().for_each(|record| record.encode(&mut bytes, batch));
        self.unsound = true;
        // After this error it is written anew, with all that sinks wait for.
        check_written(&self.file, &self.path, self.length, |length| length == self.length)?;
        // A crash before the fdatasync is done leaves some of the lines, all of them, or none: the next start
        // keeps those that come before any gap. The caller was not told that they are taken, and comes again
        // with them, so a sink may get them twice.
        self.io
            .write_at(&self.file, &self.path, &bytes, self.length)
            .map_err(DiskError::io("write", &self.path))?;
        self.io.sync_data(&self.file, &self.path).map_err(DiskError::io("fsync", &self.path))?;
        // A crash from here on loses nothing.
        self.length += bytes.len() as u64;
        self.unsound = false;
        Ok(())
    }

    /// Whether it has to be written anew, from `records` that take so many bytes: after an error, or because
    /// nearly all of it was delivered.
    pub const fn is_due(&self, live_bytes: u64, file_bytes: u64) -> bool {
        // Four times: what is written anew is then a small part of what was appended.
        let long = if live_bytes * 4 > file_bytes { live_bytes * 4 } else { file_bytes };
        self.unsound || self.length > long
    }

    /// Writes it anew.
    pub fn renew(&mut self, records: &[Arc<Record>], next: u64) -> Result<(), DiskError> {
        // Should this fail half way, the name may belong to the new file already, and the open one to nobody.
        self.unsound = true;
        *self = Self::create(&self.io, &self.path, records, next)?;
        Ok(())
    }
}

/// What an outbox holds.
#[derive(Debug, PartialEq, Eq)]
pub struct Scan {
    pub records: Vec<Record>,
    /// Number of the next record.
    pub next: u64,
    /// Why the last lines are none: they were never taken.
    pub torn: Option<String>,
}

/// Reads the outbox in `path`; none where there is no file.
pub fn read(path: &Path) -> Result<Option<Scan>, DeliveryError> {
    let bytes = match read_plain(path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(DiskError::io("read", path)(e).into()),
    };
    let damaged = |detail| DeliveryError::Damaged {
        path: path.to_owned(),
        detail,
        cost: "sinks then miss what was not delivered yet; it was printed, and open conditions are in conditions.json",
    };
    scan(&bytes).map(Some).map_err(damaged)
}

fn scan(bytes: &[u8]) -> Result<Scan, String> {
    let mut lines = bytes.split_inclusive(|b| *b == b'\n').map(|line| line.strip_suffix(b"\n"));
    let head = lines.next().flatten().and_then(unseal).and_then(|content| content.strip_prefix(MAGIC));
    let first = head.and_then(|first| decimal(first, MAX_NUMBER));
    let first = first.ok_or("expected the first line of an outbox, which does not check")?;
    let mut scan = Scan { records: Vec::new(), next: first, torn: None };
    let decode = |line: Option<&[u8]>| line.and_then(unseal).map(Record::decode);
    while let Some(line) = lines.next() {
        match decode(line) {
            Some(Some((record, _))) if record.number == scan.next => {
                scan.next += 1;
                scan.records.push(record);
            }
            Some(Some((record, _))) => {
                return Err(format!("expected record {}, saw {}", scan.next, record.number));
            }
            Some(None) => return Err(format!("expected record {}, saw none of ours", scan.next)),
            None => {
                let detail = format!("record {} does not check", scan.next);
                // What was written after a batch was written after its fdatasync: that had been taken.
                let is_later = |line| matches!(decode(line), Some(Some((_, batch))) if batch > scan.next);
                if lines.any(is_later) {
                    return Err(format!("{detail}, and later ones do"));
                }
                scan.torn = Some(detail);
                break;
            }
        }
    }
    Ok(scan)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealDisk;

    fn record(number: u64) -> Arc<Record> {
        let line = format!("{{\"message\":\"number {number}, with spaces\"}}");
        let (key, code) = (format!("key-{number}"), "fork".to_owned());
        Arc::new(Record { number, time: 1_700_000_000 + number, severity: Severity::Alert, code, key, line })
    }

    /// Bytes of an outbox that was made with some records, and appended to in batches.
    fn written(first: &[u64], batches: &[&[u64]]) -> Vec<u8> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(OUTBOX);
        let io: Arc<dyn DiskIo> = Arc::new(RealDisk);
        let records = |numbers: &[u64]| numbers.iter().map(|n| record(*n)).collect::<Vec<_>>();
        let next = first.last().map_or(0, |n| n + 1);
        let mut outbox = Outbox::create(&io, &path, &records(first), next).unwrap();
        batches.iter().for_each(|batch| outbox.append(&records(batch)).unwrap());
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(outbox.length, bytes.len() as u64);
        bytes
    }

    fn numbers(scan: &Scan) -> Vec<u64> {
        scan.records.iter().map(|record| record.number).collect()
    }

    #[test]
    fn what_was_appended_is_read_back() {
        let scan = scan(&written(&[5, 6], &[&[7], &[8, 9]])).unwrap();
        assert_eq!((numbers(&scan), scan.next, scan.torn), ((5..10).collect(), 10, None));
        assert_eq!(scan.records[3], *record(8));
        let empty = super::scan(&written(&[], &[])).unwrap();
        assert_eq!(empty, Scan { records: vec![], next: 0, torn: None });
    }

    #[test]
    fn wherever_the_last_batch_is_torn_its_rest_is_dropped() {
        let (before, whole) = (written(&[3], &[&[4]]).len(), written(&[3], &[&[4], &[5, 6, 7]]));
        for length in before + 1..whole.len() {
            let scan = scan(&whole[..length]).unwrap();
            assert_eq!(scan.torn.is_none(), whole[length - 1] == b'\n', "cut at {length}");
            assert!(numbers(&scan).starts_with(&[3, 4]) && scan.next < 8, "cut at {length}: {scan:?}");
        }
        // A page in its middle never got to the disk, what comes behind it did.
        for at in before..whole.len() - 1 {
            let mut torn = whole.clone();
            torn[at] ^= 0xff;
            let scan = scan(&torn).unwrap();
            assert!(scan.torn.is_some() && numbers(&scan).starts_with(&[3, 4]), "byte {at}: {scan:?}");
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

    #[test]
    fn what_was_taken_and_does_not_check_is_damage() {
        let whole = written(&[3], &[&[4, 5], &[6]]);
        let last = written(&[3], &[&[4, 5]]).len();
        // Without its newline, the last record but one is a part of the last one, which may be torn.
        for at in 0..last - 1 {
            for bits in [1, 0xff] {
                let mut damaged = whole.clone();
                damaged[at] ^= bits;
                assert!(scan(&damaged).is_err(), "byte {at}: {:?}", scan(&damaged));
            }
        }
        assert!(scan(b"").is_err());
        let line_of = |content: &str| {
            let mut bytes = whole.clone();
            seal(&mut bytes, content);
            scan(&bytes)
        };
        line_of("7 7 1 info head key {}").unwrap();
        for bad in [
            "8 8 1 info head key {}",
            "6 6 1 info head key {}",
            "7 8 1 info head key {}",
            "07 7 1 info head key {}",
            "7 7 1 loud head key {}",
            "7 7 1 info head key",
            "",
        ] {
            assert!(line_of(bad).is_err(), "{bad}");
        }
    }
}
