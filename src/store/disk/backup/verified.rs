//! The note of a backup: the sealed segments that an earlier run read back.
//!
//! ```text
//! treehead verified segments 1
//! SECONDS                                   when the last run ended
//! FIRST SIZE LENGTH SECONDS PEAK,PEAK,...   for each segment
//! HEX                                       SHA-256 of everything above
//! ```
//!
//! A segment is known by its length and by the tree after it: read back with the entries before it, its
//! entries make exactly these peaks. Times are seconds since 1970.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use crate::disk::{DiskError, DiskIo, read_if_exists, replace};
use crate::merkle::{Hash, RightEdge, TreeSize};

const TITLE: &str = "treehead verified segments 1";
/// Every segment is read back again in this time.
const MONTH: u64 = 30 * 24 * 60 * 60;

/// The segments, by the index of their first entry.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Verified {
    /// Time of the run.
    pub at: u64,
    pub segments: BTreeMap<u64, Segment>,
}

/// A sealed segment that was read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Length of the file.
    pub length: u64,
    /// Time when it was last read.
    pub read_at: u64,
    /// The tree after its entries.
    pub edge: RightEdge,
}

impl Verified {
    /// Reads the note. One that can't be read or does not check counts as absent: then everything is read
    /// back.
    pub fn read(path: &Path) -> Self {
        let bytes = read_if_exists(path).ok().flatten();
        bytes.and_then(|bytes| Self::parse(std::str::from_utf8(&bytes).ok()?)).unwrap_or_default()
    }

    /// Replaces the note.
    ///
    /// # Errors
    /// [`DiskError::Io`]; either note may be there.
    pub fn write(&self, io: &dyn DiskIo, path: &Path) -> Result<(), DiskError> {
        replace(io, path, self.to_text().as_bytes())
    }

    /// The segments to read back at `now`, the ones that were read longest ago first: at least one, and of all
    /// bytes as large a part as the time since the last run is of a month.
    pub fn due(&self, now: u64) -> BTreeSet<u64> {
        let all: u64 = self.segments.values().map(|segment| segment.length).sum();
        let part = u128::from(all) * u128::from(now.saturating_sub(self.at)) / u128::from(MONTH);
        let mut oldest: Vec<_> = self.segments.iter().collect();
        // A time in the future is of a clock that was wrong.
        oldest.sort_by_key(|(first, segment)| (Some(segment.read_at).filter(|at| *at <= now), **first));
        let mut bytes = 0;
        let due = oldest.into_iter().take_while(|(_, segment)| {
            let more = bytes == 0 || bytes < part;
            bytes += u128::from(segment.length);
            more
        });
        due.map(|(first, _)| *first).collect()
    }

    fn to_text(&self) -> String {
        let mut text = format!("{TITLE}\n{}\n", self.at);
        for (first, Segment { length, read_at, edge }) in &self.segments {
            let peaks: Vec<String> = edge.peaks().iter().map(Hash::to_base64).collect();
            let _ = writeln!(text, "{first} {} {length} {read_at} {}", edge.size(), peaks.join(","));
        }
        let digest = Hash::digest(text.as_bytes()).to_hex();
        text + &digest + "\n"
    }

    fn parse(text: &str) -> Option<Self> {
        let (content, digest) = text.strip_suffix('\n')?.rsplit_once('\n')?;
        let content = &text[..=content.len()];
        if Hash::digest(content.as_bytes()).to_hex() != digest {
            return None;
        }
        let mut lines = content.lines();
        if lines.next()? != TITLE {
            return None;
        }
        let at = lines.next()?.parse().ok()?;
        Some(Self { at, segments: lines.map(parse_segment).collect::<Option<_>>()? })
    }
}

fn parse_segment(line: &str) -> Option<(u64, Segment)> {
    let mut fields = line.split(' ');
    let mut number = || fields.next()?.parse::<u64>().ok();
    let (first, size, length, read_at) = (number()?, number()?, number()?, number()?);
    let peaks = fields.next()?.split(',').map(|peak| Hash::from_base64(peak).ok()).collect::<Option<_>>()?;
    Some((first, Segment { length, read_at, edge: RightEdge::new(TreeSize::new(size)?, peaks)? }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 24 * 60 * 60;

    fn note(segments: u64, length: u64, at: u64) -> Verified {
        let leaf = |n: u64| Hash::leaf(&n.to_be_bytes());
        let segment = |n: u64| {
            let edge = RightEdge::default().grow(&(0..(n + 1) * 7).map(leaf).collect::<Vec<_>>()).edge;
            (n * 7, Segment { length, read_at: at, edge })
        };
        Verified { at, segments: (0..segments).map(segment).collect() }
    }

    #[test]
    fn a_note_is_read_as_it_was_written_and_no_other_is() {
        let note = note(3, 1_000, 1_790_000_000);
        let text = note.to_text();
        assert_eq!(Verified::parse(&text), Some(note));
        assert_eq!(Verified::parse(&Verified::default().to_text()), Some(Verified::default()));
        for at in 0..text.len() {
            assert_eq!(Verified::parse(&text[..at]), None, "cut off at {at}");
            let mut spoiled = text.clone().into_bytes();
            spoiled[at] ^= 1;
            assert_eq!(Verified::parse(std::str::from_utf8(&spoiled).unwrap()), None, "spoiled at {at}");
        }
        assert_eq!(Verified::parse(&(text + "\n")), None);
    }

    #[test]
    fn all_segments_are_read_within_a_month_however_often_backups_run() {
        for pause in [60 * 60, DAY, 3 * DAY, 29 * DAY, 100 * DAY] {
            let start = 1_790_000_000;
            let mut note = note(45, 1 << 28, start);
            let mut now = start;
            while now < start + 3 * MONTH {
                now += pause;
                let due = note.due(now);
                assert!(!due.is_empty());
                for first in due {
                    note.segments.get_mut(&first).unwrap().read_at = now;
                }
                note.at = now;
                let oldest = note.segments.values().map(|segment| segment.read_at).min().unwrap();
                assert!(now - oldest <= MONTH, "every {pause} s: one was not read for {} s", now - oldest);
            }
        }
    }

    #[test]
    fn a_clock_that_was_wrong_makes_segments_due() {
        let mut note = note(3, 1_000, 5_000);
        note.segments.get_mut(&7).unwrap().read_at = u64::MAX;
        assert_eq!(note.due(4_999), BTreeSet::from([0]), "all are of the future");
        assert_eq!(note.due(5_000), BTreeSet::from([7]));
        assert_eq!(note.due(5_000 + MONTH), BTreeSet::from([0, 7, 14]));
        assert!(Verified::default().due(1).is_empty());
    }
}
