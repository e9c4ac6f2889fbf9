mod cursors;
mod damage;
mod salvage;

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use proptest::prelude::*;
use tempfile::TempDir;

use cursors::{bundle_of, starts};

use super::segment::{BATCH_HEAD_BYTES, root_of};
use super::*;
use crate::checkpoint::origin_hash;
use crate::disk::journal::{FrameHead, Marker};
use crate::disk::{DiskError, RealDisk};
use crate::merkle::TreeSize;
use crate::merkle::{RightEdge, TILE_WIDTH};
use crate::proof::bundle;
use crate::store::tests::fixtures::batch_of;

const ORIGIN: &str = "example.com/log";

/// A journal, with the entries that it should have.
struct Written {
    dir: TempDir,
    journal: Journal,
    edge: RightEdge,
    entries: Vec<Vec<u8>>,
    /// The position after each batch.
    ends: Vec<Position>,
}

impl Written {
    fn new(segment_bytes: u64) -> Self {
        let dir = TempDir::new().unwrap();
        let journal = open(dir.path(), segment_bytes).unwrap();
        Self { dir, journal, edge: RightEdge::default(), entries: Vec::new(), ends: Vec::new() }
    }

    /// A journal of batches with these numbers of entries.
    fn with(segment_bytes: u64, counts: &[usize]) -> Self {
        let mut written = Self::new(segment_bytes);
        counts.iter().for_each(|count| written.append(*count));
        written
    }

    fn append(&mut self, count: usize) {
        let next = self.entries.len();
        self.append_entries((next..next + count).map(|i| format!("entry {i}").into_bytes()).collect());
    }

    fn append_entries(&mut self, entries: Vec<Vec<u8>>) {
        let batch = batch_of(&self.edge, entries);
        let before = self.journal.end();
        let first_entry = self.journal.append(&batch).unwrap();
        assert!(before.segment != first_entry.segment || before.offset < first_entry.offset);
        self.edge = batch.growth.edge;
        self.entries.extend(batch.entries);
        self.ends.push(self.journal.end());
    }

    fn last_segment(&self) -> PathBuf {
        segment_path(self.dir.path(), *segments(self.dir.path()).unwrap().last().unwrap())
    }
}

fn scan(dir: &Path) -> Scan {
    Scan::new(dir, origin_hash(ORIGIN), None).unwrap()
}

/// All entries, after the checks that recovery makes.
fn read(dir: &Path) -> Result<(Vec<Vec<u8>>, Option<Position>), StoreError> {
    let mut scan = Scan::new(dir, origin_hash(ORIGIN), None)?;
    let mut edge = RightEdge::default();
    let mut entries = Vec::new();
    while let Some(record) = scan.next_record()? {
        assert_eq!(record.first, entries.len() as u64);
        let these: Vec<Vec<u8>> = record.entries().into_iter().map(<[u8]>::to_vec).collect();
        edge = batch_of(&edge, these.clone()).growth.edge;
        assert_eq!(record.root, edge.root(), "the root in the head is of exactly these entries");
        assert_eq!(scan.end(), Some(record.end));
        entries.extend(these);
    }
    assert_eq!(scan.size().get(), entries.len() as u64);
    Ok((entries, scan.end()))
}

/// Opens as recovery does: the scan comes first.
fn open(dir: &Path, segment_bytes: u64) -> Result<Journal, StoreError> {
    let mut scan = Scan::new(dir, origin_hash(ORIGIN), None)?;
    while scan.next_record()?.is_some() {}
    let mut journal = Journal::open(Arc::new(RealDisk), dir, origin_hash(ORIGIN), &scan)?;
    journal.segment_bytes = segment_bytes;
    Ok(journal)
}

fn damage(result: Result<impl std::fmt::Debug, StoreError>) -> String {
    match result {
        Err(StoreError::Damaged { what, detail }) => format!("{what}: {detail}"),
        other => panic!("expected damage, saw {other:?}"),
    }
}

const CRC_BYTES: usize = 4;
const VERSION_1: Marker = *b"THBATCH\n";

/// The header of a segment of this version.
fn segment_head(version: usize, first: u64, marker: Marker) -> FileHead {
    let about = About { origin: origin_hash(ORIGIN), first }.to_bytes();
    FileHead { format: &FORMATS[2 - version], about, marker }
}

/// The same segment in the format of older programs.
fn as_version_1(bytes: &[u8]) -> Vec<u8> {
    let head = FileHead::decode(bytes, &FORMATS).unwrap();
    let old_head = segment_head(1, About::of(&head).first, VERSION_1);
    let mut old = old_head.encode();
    assert_eq!((&old[..8], old.len()), (b"THSEG01\n".as_slice(), 52), "the format that is out there");
    let mut rest = &bytes[SEGMENT_HEAD_BYTES..];
    while !rest.is_empty() {
        let batch = FrameHead::decode(&rest[..BATCH_HEAD_BYTES], head.format, Some(&head.marker)).unwrap();
        let (whole, behind) = rest.split_at(usize::try_from(batch.frame_bytes(head.format)).unwrap());
        let body = &whole[BATCH_HEAD_BYTES..whole.len() - CRC_BYTES];
        old_head
            .encode_frame(&mut old, batch.number, batch.items, &batch.tag, |out| out.extend_from_slice(body));
        assert!(old.ends_with(&whole[BATCH_HEAD_BYTES..]), "only the markers differ");
        rest = behind;
    }
    old
}

fn encode_batch(batch: &Batch, marker: Marker) -> Vec<u8> {
    let (mut bytes, root) = (Vec::new(), batch.growth.edge.root());
    segment_head(2, 0, marker).encode_frame(
        &mut bytes,
        batch.first.get(),
        batch.entries.len(),
        root.as_bytes(),
        |out| {
            let mut next = body_parts(batch);
            while next(out) {}
        },
    );
    let head = FrameHead::decode(&bytes[..BATCH_HEAD_BYTES], &FORMATS[0], Some(&marker)).unwrap();
    assert_eq!(root_of(&head), root);
    bytes
}

/// A batch that begins with entry `first`, as somebody who knows this marker can write it into an entry.
fn lookalike(first: u64, entries: Vec<Vec<u8>>, marker: Marker) -> Vec<u8> {
    let first = usize::try_from(first).unwrap();
    let before = RightEdge::default().grow(&vec![Hash::leaf(b""); first]).edge;
    encode_batch(&batch_of(&before, entries), marker)
}

/// Checks that the journal has these entries, and that appends continue after them.
fn goes_on(dir: &Path, expected: &[Vec<u8>]) {
    let mut journal = open(dir, SEGMENT_BYTES).unwrap();
    assert_eq!(read(dir).unwrap().0, expected, "opening changes nothing that is whole");
    let leaves: Vec<Hash> = expected.iter().map(|entry| Hash::leaf(entry)).collect();
    let batch = batch_of(&RightEdge::default().grow(&leaves).edge, vec![b"later".to_vec(), Vec::new()]);
    journal.append(&batch).unwrap();
    assert_eq!(read(dir).unwrap(), ([expected, &batch.entries].concat(), Some(journal.end())));
}

#[test]
fn what_was_appended_is_scanned() {
    let mut written = Written::with(SEGMENT_BYTES, &[1, 3, 256, 2]);
    written.append_entries(vec![Vec::new(), vec![7; 65_535], Vec::new()]);
    let (entries, end) = read(written.dir.path()).unwrap();
    assert_eq!(entries, written.entries);
    assert_eq!(end, Some(written.journal.end()));
    assert_eq!(fs::metadata(written.last_segment()).unwrap().len(), written.journal.end().offset);
    goes_on(written.dir.path(), &written.entries);
}

#[test]
fn an_empty_journal_is_one_segment_without_batches() {
    let written = Written::new(SEGMENT_BYTES);
    assert_eq!(segments(written.dir.path()).unwrap(), [0]);
    let head = Position { segment: 0, offset: SEGMENT_HEAD_BYTES as u64 };
    assert_eq!(read(written.dir.path()).unwrap(), (Vec::new(), Some(head)));
    goes_on(written.dir.path(), &[]);
}

#[test]
fn segments_are_sealed_when_they_are_full() {
    let written = Written::with(300, &[4, 4, 4, 4, 4, 1, 1, 30, 1]);
    let firsts = segments(written.dir.path()).unwrap();
    assert!(firsts.len() > 3, "{firsts:?}");
    for pair in firsts.windows(2) {
        let length = fs::metadata(segment_path(written.dir.path(), pair[0])).unwrap().len();
        assert!(length >= 300, "a batch is whole, so it may grow past the limit, and never stays below");
    }
    assert_eq!(read(written.dir.path()).unwrap().0, written.entries);
    // Reopened halfway, it continues the same way.
    let mut again = Written { journal: open(written.dir.path(), 300).unwrap(), ..written };
    (0..5).for_each(|_| again.append(7));
    assert_eq!(read(again.dir.path()).unwrap().0, again.entries);
}

#[test]
fn a_last_batch_cut_at_any_byte_is_dropped_and_nothing_else() {
    let written = Written::with(SEGMENT_BYTES, &[2, 3, 4]);
    let (kept, whole) = (written.ends[1], fs::read(written.last_segment()).unwrap());
    for length in usize::try_from(kept.offset).unwrap()..whole.len() {
        let dir = TempDir::new().unwrap();
        fs::write(segment_path(dir.path(), 0), &whole[..length]).unwrap();
        let read = read(dir.path()).unwrap();
        assert_eq!(read, (written.entries[..5].to_vec(), Some(kept)), "cut to {length}");
        goes_on(dir.path(), &written.entries[..5]);
    }
}

#[test]
fn a_last_batch_of_which_any_part_never_reached_the_disk_is_dropped() {
    // A power cut may keep the file's length and lose its pages, which then read as zeros.
    let written = Written::with(SEGMENT_BYTES, &[2, 3, 4]);
    let whole = fs::read(written.last_segment()).unwrap();
    let begin = usize::try_from(written.ends[1].offset).unwrap();
    for at in (begin..whole.len()).step_by(3) {
        for lost in [begin..at + 1, at..whole.len()] {
            let mut bytes = whole.clone();
            bytes[lost].fill(0);
            if bytes == whole {
                continue;
            }
            let dir = TempDir::new().unwrap();
            fs::write(segment_path(dir.path(), 0), &bytes).unwrap();
            goes_on(dir.path(), &written.entries[..5]);
        }
    }
}

#[test]
fn a_torn_batch_whose_entries_look_like_batches_is_still_torn() {
    // A client that may submit any bytes must not be able to keep the log from starting after a crash. It knows
    // everything but the marker of the segment.
    let mut written = Written::with(SEGMENT_BYTES, &[2, 3]);
    let of = |first, marker| lookalike(first, vec![b"never written".to_vec()], marker);
    let other = Written::with(SEGMENT_BYTES, &[1]).journal.tail.1.head().marker;
    assert_ne!(other, written.journal.tail.1.head().marker, "each segment has its own");
    let entries = [6, 7, 8, 9, 1_000].map(|first| [of(first, VERSION_1), of(first, other)]);
    written.append_entries(entries.into_iter().flatten().collect());
    let whole = fs::read(written.last_segment()).unwrap();
    let begin = usize::try_from(written.ends[1].offset).unwrap();
    let torn = |bytes: &[u8]| {
        let dir = TempDir::new().unwrap();
        fs::write(segment_path(dir.path(), 0), bytes).unwrap();
        goes_on(dir.path(), &written.entries[..5]);
    };
    (begin..whole.len()).for_each(|length| torn(&whole[..length]));
    // Its header never reached the disk, its entries did.
    for lost in 1..=BATCH_HEAD_BYTES {
        let mut bytes = whole.clone();
        bytes[begin..begin + lost].fill(0);
        torn(&bytes);
    }
    assert_eq!(read(written.dir.path()).unwrap().0, written.entries);
}

#[test]
fn a_journal_of_version_1_is_read_and_goes_on_in_segments_of_its_own() {
    for counts in [&[][..], &[2, 3, 4], &[4, 300, 4, 4, 1]] {
        let written = Written::with(300, counts);
        for first in segments(written.dir.path()).unwrap() {
            let path = segment_path(written.dir.path(), first);
            fs::write(&path, as_version_1(&fs::read(&path).unwrap())).unwrap();
        }
        let old: Vec<Vec<u8>> =
            segments(written.dir.path()).unwrap().iter().map(|first| contents(&written, *first)).collect();
        assert_eq!(read(written.dir.path()).unwrap().0, written.entries);
        // A torn last batch is dropped as usual.
        let mut again = Written { journal: open(written.dir.path(), SEGMENT_BYTES).unwrap(), ..written };
        again.append(5);
        again.append(1);
        assert_eq!(read(again.dir.path()).unwrap().0, again.entries);
        let firsts = segments(again.dir.path()).unwrap();
        let kept = if counts.is_empty() { 0 } else { old.len() };
        assert_eq!(firsts.len(), kept + 1);
        for (first, bytes) in firsts.iter().zip(&old[..kept]) {
            assert_eq!(contents(&again, *first), *bytes, "what is there stays as it is");
        }
        assert!(contents(&again, firsts[kept]).starts_with(b"THSEG02\n"));
        // Bundles are read across both.
        let start = starts(again.dir.path())[0];
        let mut bytes = Vec::new();
        BundleReader::new(again.dir.path(), start).unwrap().read(again.entries.len(), 0, &mut bytes).unwrap();
        assert_eq!(bytes, bundle_of(&again.entries));
        goes_on(again.dir.path(), &again.entries);
    }
}

fn contents(written: &Written, first: u64) -> Vec<u8> {
    fs::read(segment_path(written.dir.path(), first)).unwrap()
}

#[test]
fn nothing_is_appended_to_a_segment_that_somebody_else_changed() {
    let change: [(&str, fn(&Path)); 5] = [
        ("cut", |path| {
            let file = File::options().write(true).open(path).unwrap();
            file.set_len(file.metadata().unwrap().len() - 1).unwrap();
        }),
        ("emptied", |path| drop(File::create(path).unwrap())),
        ("longer", |path| {
            std::io::Write::write_all(&mut File::options().append(true).open(path).unwrap(), b"x").unwrap();
        }),
        ("another file", |path| {
            fs::copy(path, path.with_extension("new")).unwrap();
            fs::rename(path.with_extension("new"), path).unwrap();
        }),
        ("gone", |path| fs::remove_file(path).unwrap()),
    ];
    for (what, change) in change {
        for segment_bytes in [SEGMENT_BYTES, 100] {
            let mut written = Written::with(SEGMENT_BYTES, &[2, 3]);
            written.journal.segment_bytes = segment_bytes;
            let path = written.last_segment();
            change(&path);
            let before = fs::read(&path).ok();
            let refused = damage(written.journal.append(&batch_of(&written.edge, vec![b"later".to_vec()])));
            assert!(refused.contains("that this process has written, saw"), "{what}: {refused}");
            if what != "longer" {
                damage(written.journal.cut_failed_append());
            }
            assert_eq!(fs::read(&path).ok(), before, "{what}: it is left as it was");
        }
    }
}

#[test]
fn a_segment_whose_creation_was_cut_short_is_made_again() {
    let head = segment_head(2, 5, [9; 8]).encode();
    let cut: Vec<Vec<u8>> = (0..SEGMENT_HEAD_BYTES).map(|length| head[..length].to_vec()).collect();
    let zeros = (0..=SEGMENT_HEAD_BYTES).map(|length| vec![0; length]);
    for bytes in cut.iter().cloned().chain(zeros) {
        let written = Written::with(SEGMENT_BYTES, &[2, 3]);
        let torn = segment_path(written.dir.path(), 5);
        fs::write(&torn, &bytes).unwrap();
        assert_eq!(read(written.dir.path()).unwrap(), (written.entries.clone(), Some(written.ends[1])));
        let mut journal = open(written.dir.path(), 1).unwrap();
        assert!(!torn.exists(), "{} bytes of a head", bytes.len());
        journal.append(&batch_of(&written.edge, vec![b"six".to_vec()])).unwrap();
        assert_eq!(segments(written.dir.path()).unwrap(), [0, 5]);
        goes_on(written.dir.path(), &[written.entries, vec![b"six".to_vec()]].concat());
    }
    // A complete header with nothing after it is a segment without batches.
    let written = Written::with(SEGMENT_BYTES, &[2, 3]);
    fs::write(segment_path(written.dir.path(), 5), &head).unwrap();
    goes_on(written.dir.path(), &written.entries);
    // The very first segment may be truncated as well.
    let head = segment_head(2, 0, [9; 8]).encode();
    for length in 0..=SEGMENT_HEAD_BYTES {
        let dir = TempDir::new().unwrap();
        fs::write(segment_path(dir.path(), 0), &head[..length]).unwrap();
        goes_on(dir.path(), &[]);
    }
}

#[test]
fn a_failed_append_is_cut_off() {
    let mut written = Written::with(SEGMENT_BYTES, &[2, 3]);
    let end = written.journal.end();
    // A whole batch and more: as if the write had worked and the fdatasync had not.
    let marker = written.journal.tail.1.head().marker;
    let mut bytes = encode_batch(&batch_of(&written.edge, vec![b"unsynced".to_vec()]), marker);
    bytes.extend_from_slice(&marker);
    let file = File::options().write(true).open(written.last_segment()).unwrap();
    file.write_all_at(&bytes, end.offset).unwrap();
    written.journal.cut_failed_append().unwrap();
    assert_eq!(read(written.dir.path()).unwrap(), (written.entries.clone(), Some(end)));
    written.append(4);
    assert_eq!(read(written.dir.path()).unwrap().0, written.entries);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_journal_cut_anywhere_loses_whole_batches_from_its_end(
        counts in prop::collection::vec(1..40_usize, 1..12),
        segment_bytes in 1..2_000_u64,
        cut in any::<prop::sample::Index>(),
    ) {
        let written = Written::with(segment_bytes, &counts);
        let path = written.last_segment();
        let first = *segments(written.dir.path()).unwrap().last().unwrap();
        let length = cut.index(usize::try_from(fs::metadata(&path).unwrap().len()).unwrap() + 1) as u64;
        File::options().write(true).open(&path).unwrap().set_len(length).unwrap();
        let kept = written.ends.iter().filter(|end| end.segment < first || end.offset <= length).count();
        let entries: usize = counts[..kept].iter().sum();
        goes_on(written.dir.path(), &written.entries[..entries]);
    }

    #[test]
    fn noise_is_no_journal_and_never_panics(
        noise in prop::collection::vec(any::<u8>(), 0..400),
        behind_head in any::<bool>(),
    ) {
        let dir = TempDir::new().unwrap();
        let head = segment_head(2, 0, [9; 8]).encode();
        let bytes = if behind_head { [head.as_slice(), &noise].concat() } else { noise };
        fs::write(segment_path(dir.path(), 0), bytes).unwrap();
        match read(dir.path()) {
            Ok((entries, _)) => prop_assert!(entries.is_empty()),
            Err(e) => prop_assert!(matches!(e, StoreError::Damaged { .. }), "{}", e),
        }
    }
}
