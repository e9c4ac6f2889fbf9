//! Reading from the middle of a journal: cursors and bundles.

use super::*;

/// The cursor after each batch.
fn cursors(dir: &Path) -> Vec<Cursor> {
    let mut scan = scan(dir);
    let mut cursors = Vec::new();
    while let Some(Record { root, first_entry, end, .. }) = scan.next_record().unwrap() {
        let (segment, first_entry, end) = (end.segment, first_entry.offset, end.offset);
        cursors.push(Cursor { size: scan.size(), segment, first_entry, end, root });
    }
    cursors
}

#[test]
fn a_scan_goes_on_behind_any_batch() {
    let written = Written::with(300, &[4, 4, 4, 4, 4, 1, 1, 30, 1]);
    let cursors = cursors(written.dir.path());
    assert_eq!(cursors.len(), 9);
    for cursor in cursors {
        let mut scan = Scan::new(written.dir.path(), origin_hash(ORIGIN), Some(cursor)).unwrap();
        let mut entries = Vec::new();
        while let Some(record) = scan.next_record().unwrap() {
            entries.extend(record.entries().into_iter().map(<[u8]>::to_vec));
        }
        assert_eq!(entries, written.entries[usize::try_from(cursor.size.get()).unwrap()..]);
        assert_eq!(scan.end(), Some(written.journal.end()));
        let (done, total) = scan.progress();
        assert!(done <= total && total > 0, "{done} of {total}");
    }
}

#[test]
fn a_cursor_that_no_batch_ends_at_is_damage_and_not_a_torn_batch() {
    // If it were believed, the batch that it points into would count as torn, and be truncated.
    let written = Written::with(SEGMENT_BYTES, &[2, 3, 4]);
    let good = cursors(written.dir.path())[1];
    let size = |size| TreeSize::new(size).unwrap();
    let wrong = [
        Cursor { end: good.end + 1, ..good },
        Cursor { end: good.end - 1, ..good },
        Cursor { end: u64::MAX, ..good },
        Cursor { first_entry: good.first_entry + 1, ..good },
        Cursor { first_entry: 0, ..good },
        Cursor { first_entry: u64::MAX, ..good },
        Cursor { size: size(4), ..good },
        Cursor { size: size(9), ..good },
        Cursor { segment: 5, ..good },
        Cursor { root: Hash::leaf(b"another history"), ..good },
    ];
    for cursor in wrong {
        damage(Scan::new(written.dir.path(), origin_hash(ORIGIN), Some(cursor)));
    }
    assert!(Scan::new(written.dir.path(), origin_hash(ORIGIN), Some(good)).is_ok());
}

/// The offset of each bundle.
pub(super) fn starts(dir: &Path) -> Vec<BundleStart> {
    let mut scan = scan(dir);
    let mut starts = Vec::new();
    while let Some(record) = scan.next_record().unwrap() {
        for (index, start) in record.bundle_places() {
            assert_eq!(index, starts.len() as u64);
            let place = start;
            let start = BundleStart::from(place);
            assert_eq!(Place::from(start), place);
            starts.push(start);
        }
    }
    starts
}

pub(super) fn bundle_of(entries: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    entries.iter().for_each(|entry| bundle::push(&mut bytes, entry).unwrap());
    bytes
}

#[test]
fn bundles_are_read_across_batches_and_segments() {
    for counts in [&[100, 156, 1, 255, 256, 300, 5][..], &[1_000, 73], &[1; 600], &[255, 2, 255, 256, 305]] {
        for segment_bytes in [1, 2_000, SEGMENT_BYTES] {
            let written = Written::with(segment_bytes, counts);
            let starts = starts(written.dir.path());
            assert_eq!(starts.len(), written.entries.len().div_ceil(256));
            for (at, entries) in written.entries.chunks(256).enumerate() {
                let mut bytes = b"kept".to_vec();
                let next = at as u64 * TILE_WIDTH;
                let mut reader = BundleReader::new(written.dir.path(), starts[at]).unwrap();
                reader.read(entries.len(), next, &mut bytes).unwrap();
                assert_eq!(bytes, [b"kept".to_vec(), bundle_of(entries)].concat());
            }
            // One reader may read on, in pieces, to the end of the journal, and knows its position.
            let mut reader = BundleReader::new(written.dir.path(), starts[0]).unwrap();
            for (at, entries) in written.entries.chunks(77).enumerate() {
                let mut bytes = Vec::new();
                reader.read(entries.len(), at as u64 * 77, &mut bytes).unwrap();
                assert_eq!(bytes, bundle_of(entries));
            }
            let past = reader.read(1, written.entries.len() as u64, &mut Vec::new());
            assert!(
                matches!(past, Err(StoreError::Disk(DiskError::Io { .. }))),
                "there is no next segment: {past:?}"
            );
        }
    }
}

#[test]
fn a_bundle_reader_notices_a_journal_that_does_not_go_on() {
    let written = Written::with(SEGMENT_BYTES, &[3, 4]);
    let start = starts(written.dir.path())[0];
    let path = written.last_segment();
    let whole = fs::read(&path).unwrap();
    // In the second batch's header: magic, first index, count, checksum.
    let head = usize::try_from(written.ends[0].offset).unwrap();
    for at in [head, head + 15, head + 19, head + 59] {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        fs::write(&path, bytes).unwrap();
        let read = BundleReader::new(written.dir.path(), start).unwrap().read(4, 0, &mut Vec::new());
        assert!(damage(read).ends_with("the head of a batch does not check"), "{at}");
    }
    for length in head + 1..whole.len() - CRC_BYTES {
        fs::write(&path, &whole[..length]).unwrap();
        damage(BundleReader::new(written.dir.path(), start).unwrap().read(7, 0, &mut Vec::new()));
    }
    let nowhere = BundleStart { position: Position { segment: 3, offset: 0 }, left: 1 };
    assert!(matches!(
        BundleReader::new(written.dir.path(), nowhere),
        Err(StoreError::Disk(DiskError::Io { .. }))
    ));
}
