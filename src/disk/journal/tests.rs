use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::disk::{DiskError, DiskIo, RealDisk};

/// One format of each kind.
static FORMATS: [Format; 2] = [
    Format {
        magic: *b"THTEST2\n",
        about_bytes: 5,
        marker: None,
        tag_bytes: 3,
        checksum: Checksum::Body,
        numbers: Numbers::Items,
        max_items: 9,
        max_body_bytes: 1_000,
    },
    Format {
        magic: *b"THTEST1\n",
        about_bytes: 0,
        marker: Some(*b"THFRAME\n"),
        tag_bytes: 0,
        checksum: Checksum::Frame,
        numbers: Numbers::Frames,
        max_items: 9,
        max_body_bytes: 1_000,
    },
];

/// A journal with frames of these numbers of items.
struct Written {
    dir: TempDir,
    journal: JournalFile,
    /// The offset after each frame.
    ends: Vec<u64>,
}

fn disk() -> Arc<dyn DiskIo> {
    Arc::new(RealDisk)
}

fn head(format: usize) -> FileHead {
    let format = &FORMATS[format];
    FileHead::new(format, b"about"[..format.about_bytes].to_vec()).unwrap()
}

fn append(journal: &mut JournalFile, items: usize) -> Result<u64, DiskError> {
    let tag = &b"tag"[..journal.head().format.tag_bytes];
    journal.append(items, tag, |body| body.extend(std::iter::repeat_n(b"item", items).flatten()))
}

impl Written {
    fn new(format: usize, frames: &[usize]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let journal = JournalFile::create(disk(), dir.path().join("journal"), head(format), 0).unwrap();
        let mut written = Self { dir, journal, ends: Vec::new() };
        frames.iter().for_each(|items| written.append(*items));
        written
    }

    fn append(&mut self, items: usize) {
        let body_at = append(&mut self.journal, items).unwrap();
        assert_eq!(self.journal.end(), body_at + 4 * items as u64 + 4);
        self.ends.push(self.journal.end());
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("journal")
    }

    fn bytes(&self) -> Vec<u8> {
        fs::read(self.path()).unwrap()
    }

    /// Replaces the journal's bytes.
    fn read(&self, bytes: &[u8]) -> Result<Read, DiskError> {
        fs::write(self.path(), bytes).unwrap();
        read(&self.path())
    }
}

/// The content that opening found.
#[derive(Debug, PartialEq, Eq)]
struct Read {
    items: Vec<usize>,
    torn: bool,
    end: u64,
    last_written: u64,
    next: u64,
}

fn read(path: &Path) -> Result<Read, DiskError> {
    let mut reader = JournalReader::open(path, &FORMATS)?;
    let Some(head) = reader.head().cloned() else { return Err(reader.damaged(0, "no head")) };
    let mut read = Read { items: Vec::new(), torn: false, end: head.length(), last_written: 0, next: 0 };
    let torn = reader.read_all(0, |frame| {
        assert_eq!(frame.body, b"item".repeat(frame.head.items));
        assert_eq!(frame.head.tag, b"tag"[..head.format.tag_bytes]);
        assert_eq!(frame.body_at, frame.at + head.format.frame_head_bytes() as u64);
        (read.end, read.last_written) = (frame.end, frame.at);
        read.next = frame.head.next_number(head.format).unwrap();
        read.items.push(frame.head.items);
        Ok(())
    })?;
    assert!(torn.as_ref().is_none_or(|(at, _)| *at == read.end));
    read.torn = torn.is_some();
    Ok(read)
}

fn each_format(test: impl Fn(usize)) {
    (0..FORMATS.len()).for_each(test);
}

#[test]
fn what_was_appended_is_read_back_and_goes_on() {
    each_format(|format| {
        let mut written = Written::new(format, &[1, 9, 3]);
        let all = read(&written.path()).unwrap();
        assert_eq!((&all.items[..], all.torn, all.end), (&[1, 9, 3][..], false, written.journal.end()));
        assert_eq!((all.next, all.last_written), (if format == 0 { 13 } else { 3 }, written.ends[1]));
        let Read { end, last_written, next, .. } = all;
        written.journal =
            JournalFile::open(disk(), written.path(), &FORMATS, last_written, end, next).unwrap();
        written.append(2);
        assert_eq!(read(&written.path()).unwrap().items, [1, 9, 3, 2]);
        // Rewritten, beside the old one.
        let mut encoder = Encoder::new(head(format), 7);
        encoder.frame(2, &b"tag"[..FORMATS[format].tag_bytes], |body| body.extend_from_slice(b"itemitem"));
        let mut journal = JournalFile::replace(disk(), &written.path(), encoder).unwrap();
        assert_eq!(journal.next_number(), if format == 0 { 9 } else { 8 });
        append(&mut journal, 1).unwrap();
        assert!(read(&written.path()).is_err(), "it begins with another number");
    });
}

#[test]
fn the_layout_is_fixed() {
    let mut encoder = Encoder::new(head(1), 258);
    encoder.frame(1, b"", |body| body.push(b'!'));
    let file_head = [b"THTEST1\n".as_slice(), &crc32fast::hash(b"THTEST1\n").to_be_bytes()].concat();
    let fields = b"THFRAME\n\x00\x00\x00\x00\x00\x00\x01\x02\x00\x00\x00\x01\x00\x00\x00\x01".as_slice();
    let frame = [fields, &crc32fast::hash(fields).to_be_bytes(), b"!"].concat();
    let all = [file_head.as_slice(), &frame, &crc32fast::hash(&frame).to_be_bytes()].concat();
    assert_eq!(encoder.into_bytes(), all);

    let random = head(0);
    let fields = [b"THTEST2\nabout".as_slice(), &random.marker].concat();
    assert_eq!(random.encode(), [fields.as_slice(), &crc32fast::hash(&fields).to_be_bytes()].concat());
    let mut frame = Vec::new();
    random.encode_frame(&mut frame, 5, 2, b"tag", |body| body.extend_from_slice(b"ab"));
    let fields =
        [random.marker.as_slice(), &[0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 2, 0, 0, 0, 2], b"tag"].concat();
    let crc = crc32fast::hash(&fields).to_be_bytes();
    assert_eq!(frame, [&fields, crc.as_slice(), b"ab", &crc32fast::hash(b"ab").to_be_bytes()].concat());
    assert_ne!(head(0).marker, random.marker);
}

#[test]
fn wherever_the_last_frame_is_torn_it_is_dropped() {
    each_format(|format| {
        let written = Written::new(format, &[1, 2, 5]);
        let whole = written.bytes();
        let last = usize::try_from(written.ends[1]).unwrap();
        for length in last..whole.len() {
            let read = written.read(&whole[..length]).unwrap();
            assert_eq!((&read.items[..], read.torn), (&[1, 2][..], length > last), "cut at {length}");
        }
        // A page in its middle was not written, the data after it was.
        for at in last..whole.len() {
            let mut torn = whole.clone();
            torn[at] ^= 0xff;
            assert!(written.read(&torn).unwrap().torn, "byte {at}");
            torn.truncate(at);
            torn.resize(whole.len() + 100, 0);
            assert!(written.read(&torn).unwrap().torn, "zeros from {at} on");
        }
    });
}

#[test]
fn whatever_else_does_not_check_is_damage() {
    each_format(|format| {
        let written = Written::new(format, &[1, 2, 5, 1]);
        let (whole, ends) = (written.bytes(), written.ends.clone());
        let last = usize::try_from(ends[2]).unwrap();
        for at in 0..last {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x20;
            let Err(DiskError::Damaged { at: place, .. }) = written.read(&bytes) else { panic!("byte {at}") };
            assert!(place <= at as u64);
        }
        // Two damaged frames before a good one.
        let mut bytes = whole.clone();
        bytes[usize::try_from(ends[0]).unwrap()] ^= 1;
        bytes[usize::try_from(ends[1]).unwrap()] ^= 1;
        assert!(written.read(&bytes).is_err());
        // A frame was removed, even the last but one.
        for gap in 0..3 {
            let begin = if gap == 0 { head(format).length() } else { ends[gap - 1] };
            let (begin, end) = (usize::try_from(begin).unwrap(), usize::try_from(ends[gap]).unwrap());
            assert!(written.read(&[&whole[..begin], &whole[end..]].concat()).is_err(), "without frame {gap}");
        }
        // Not at the end of the journal's last file.
        fs::write(written.path(), &whole[..last + 3]).unwrap();
        let mut reader = JournalReader::open(&written.path(), &FORMATS).unwrap();
        reader.seek(ends[2]).unwrap();
        assert!(reader.next_frame(if format == 0 { 8 } else { 3 }, false).is_err());
    });
}

#[test]
fn a_length_is_not_believed() {
    each_format(|format| {
        let written = Written::new(format, &[1]);
        let tag = &b"tag"[..FORMATS[format].tag_bytes];
        for (items, body_bytes) in [(0_u32, 4_u32), (10, 4), (1, 1_001), (1, u32::MAX)] {
            let mut fields = head(format).marker.to_vec();
            if format == 0 {
                fields = written.journal.head().marker.to_vec();
            }
            fields.extend_from_slice(&1_u64.to_be_bytes());
            fields.extend_from_slice(&[items.to_be_bytes(), body_bytes.to_be_bytes()].concat());
            fields.extend_from_slice(tag);
            let crc = crc32fast::hash(&fields).to_be_bytes();
            let bytes = [written.bytes(), fields, crc.to_vec()].concat();
            let end = usize::try_from(written.ends[0]).unwrap();
            let error = written.read(&bytes).unwrap_err().to_string();
            assert!(error.contains("is not one of ours"), "{error}");
            fs::write(written.path(), &bytes[..end]).unwrap();
        }
    });
}

#[test]
fn a_file_that_somebody_else_changed_is_not_appended_to() {
    let changes: [fn(&Path); 4] = [
        |path| File::options().write(true).open(path).unwrap().set_len(30).unwrap(),
        |path| File::options().write(true).open(path).unwrap().set_len(3_000).unwrap(),
        |path| fs::remove_file(path).unwrap(),
        |path| {
            fs::copy(path, path.with_extension("copy")).unwrap();
            fs::rename(path.with_extension("copy"), path).unwrap();
        },
    ];
    for (number, change) in changes.iter().enumerate() {
        let mut written = Written::new(0, &[1, 2]);
        change(&written.path());
        let before = fs::read(written.path()).ok();
        let error = append(&mut written.journal, 1).unwrap_err();
        assert!(matches!(error, DiskError::Changed { .. }), "{number}: {error}");
        assert!(written.journal.is_unsound());
        assert_eq!(fs::read(written.path()).ok(), before, "nothing was written");
        // A longer file may come from a failed append.
        assert_eq!(written.journal.cut_failed_append().is_ok(), number == 1);
    }
}

#[test]
fn salvage_finds_every_frame_that_is_left() {
    each_format(|format| {
        let written = Written::new(format, &[1, 2, 5, 1]);
        let (whole, ends) = (written.bytes(), written.ends.clone());
        let found = |bytes: &[u8]| {
            fs::write(written.path(), bytes).unwrap();
            let mut found = Vec::new();
            let mut reader = JournalReader::open(&written.path(), &FORMATS).unwrap();
            reader.salvage(|_, at| found.push(at)).unwrap();
            found
        };
        let places: Vec<u64> = [head(format).length()].iter().chain(&ends[..3]).copied().collect();
        assert_eq!(found(&whole), places);
        let mut bytes = whole.clone();
        bytes[usize::try_from(ends[0]).unwrap() + 9] ^= 1;
        assert_eq!(found(&bytes), [places[0], places[2], places[3]]);
        // If the file's header is missing, the first format is assumed.
        if format == 0 {
            let mut bytes = whole.clone();
            bytes[0] ^= 1;
            assert_eq!(found(&bytes), places);
        }
    });
}

proptest! {
    #[test]
    fn noise_is_no_journal_and_never_panics(
        noise in prop::collection::vec(any::<u8>(), 0..400),
        behind in 0..3_usize,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let begin = if behind < 2 { head(behind).encode() } else { Vec::new() };
        fs::write(&path, [begin, noise].concat()).unwrap();
        match read(&path) {
            Ok(read) => prop_assert!(read.items.is_empty()),
            Err(e) => prop_assert!(matches!(e, DiskError::Damaged { .. }), "{}", e),
        }
        let mut reader = JournalReader::open(&path, &FORMATS).unwrap();
        reader.salvage(|_, _| ()).unwrap();
    }
}
