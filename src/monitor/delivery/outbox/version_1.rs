//! Outboxes of version 1, which are read and no longer written: lines of text.
//!
//! ```text
//! outbox    line("treehead-outbox 1 " first)
//!           line(number " " batch " " time " " severity " " code " " key " " event)*
//! line(x)   CRC-32 of x, 8 hex digits " " x "\n"
//! ```
//!
//! `first` is the number of the first record here, or of the next if there is none. `batch` is the number of
//! the first record that was written with the same fdatasync.

use super::{MAX_NUMBER, Record, Scan};
use crate::format::decimal;

const MAGIC: &str = "treehead-outbox 1 ";

/// The content of a line that checks.
fn unseal(line: &[u8]) -> Option<&str> {
    let (crc, content) = std::str::from_utf8(line).ok()?.split_at_checked(9)?;
    (crc == format!("{:08x} ", crc32fast::hash(content.as_bytes()))).then_some(content)
}

/// A record and its batch.
fn decode(content: &str) -> Option<(Record, u64)> {
    let mut words = content.splitn(3, ' ');
    let mut number = || decimal(words.next()?, MAX_NUMBER);
    let (number, batch) = (number()?, number()?);
    let record = Record::decode(number, words.next()?)?;
    (batch <= number).then_some((record, batch))
}

/// Parses an outbox.
pub fn scan(bytes: &[u8]) -> Result<Scan, String> {
    let mut lines = bytes.split_inclusive(|b| *b == b'\n').map(|line| line.strip_suffix(b"\n"));
    let head = lines.next().flatten().and_then(unseal).and_then(|content| content.strip_prefix(MAGIC));
    let first = head.and_then(|first| decimal(first, MAX_NUMBER));
    let first = first.ok_or("expected the first line of an outbox, which does not check")?;
    let mut scan = Scan { records: Vec::new(), next: first, torn: None };
    let decode = |line: Option<&[u8]>| line.and_then(unseal).map(decode);
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
                // Bytes after a batch were written after its fdatasync, so the batch was durable.
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
    use super::super::tests::{numbers, record};
    use super::*;

    fn seal(bytes: &mut Vec<u8>, content: &str) {
        let crc = crc32fast::hash(content.as_bytes());
        bytes.extend_from_slice(format!("{crc:08x} {content}\n").as_bytes());
    }

    /// Bytes of an outbox that was made with some records, and appended to in batches.
    fn written(first: &[u64], batches: &[&[u64]]) -> Vec<u8> {
        let mut bytes = Vec::new();
        seal(&mut bytes, &format!("{MAGIC}{}", first.first().unwrap_or(&0)));
        let mut add = |number: u64, batch: u64| {
            let Record { time, severity, code, key, line, .. } = record(number).as_ref().clone();
            seal(&mut bytes, &format!("{number} {batch} {time} {} {code} {key} {line}", severity.as_str()));
        };
        first.iter().for_each(|number| add(*number, *number));
        batches.iter().for_each(|batch| batch.iter().for_each(|number| add(*number, batch[0])));
        bytes
    }

    #[test]
    fn the_format_that_is_out_there_is_read() {
        let file = "abf64267 treehead-outbox 1 5\n\
            f1b5f7c6 5 5 1700000005 alert fork key-5 {\"message\":\"number 5, with spaces\"}\n";
        let scan = scan(file.as_bytes()).unwrap();
        assert_eq!((scan.records, scan.next, scan.torn), (vec![record(5).as_ref().clone()], 6, None));
        assert_eq!(file.as_bytes(), written(&[5], &[]));
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
