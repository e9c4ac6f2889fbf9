//! Salvage of intact batches.

use super::*;

/// All entries of a salvage, by index.
fn salvaged(dir: &Path) -> Vec<(u64, Vec<u8>)> {
    let mut salvage = Salvage::new(dir).unwrap();
    let mut found = Vec::new();
    while let Some(record) = salvage.next_record() {
        found.extend((record.first..).zip(record.entries().into_iter().map(<[u8]>::to_vec)));
    }
    found
}

#[test]
fn no_entry_hides_a_batch_from_a_salvage() {
    for version_1 in [false, true] {
        let mut written = Written::with(SEGMENT_BYTES, &[2, 3]);
        let marker = if version_1 { VERSION_1 } else { [7; 8] };
        let never = || vec![b"never written".to_vec()];
        let mut long = lookalike(9, never(), marker);
        // A header alone that claims 30 MB, which extends over everything after it.
        long.truncate(BATCH_HEAD_BYTES);
        long[20..24].copy_from_slice(&30_000_000_u32.to_be_bytes());
        let crc = crc32fast::hash(&long[..BATCH_HEAD_BYTES - CRC_BYTES]);
        long[BATCH_HEAD_BYTES - CRC_BYTES..].copy_from_slice(&crc.to_be_bytes());
        let far = lookalike(5_000, never(), marker);
        let near = [lookalike(6, never(), marker), long.clone()].concat();
        written.append_entries(vec![far.clone(), near, b"between".to_vec(), long, far]);
        (0..3).for_each(|_| written.append(4));
        let mut bytes = fs::read(written.last_segment()).unwrap();
        let mut begin = usize::try_from(written.ends[1].offset).unwrap();
        if version_1 {
            (bytes, begin) = (as_version_1(&bytes), begin - 8);
        }
        bytes[begin + 30] ^= 1;
        fs::write(written.last_segment(), &bytes).unwrap();
        let found = salvaged(written.dir.path());
        for (index, entry) in (0..).zip(&written.entries).filter(|(index, _)| !(5..10).contains(index)) {
            assert!(found.contains(&(index, entry.clone())), "version 1: {version_1}, entry {index}");
        }
        let imitated = found.iter().filter(|(_, entry)| entry == b"never written").count();
        assert_eq!(imitated > 0, version_1, "without the marker nothing is taken for a batch");
        assert!(found.is_sorted_by_key(|(index, _)| *index));
    }
}

#[test]
fn a_salvage_reads_a_segment_that_lost_its_head() {
    for version_1 in [false, true] {
        let written = Written::with(SEGMENT_BYTES, &[2, 3, 4]);
        let mut bytes = fs::read(written.last_segment()).unwrap();
        if version_1 {
            bytes = as_version_1(&bytes);
        }
        // The segment's header, and the header of its first batch as well.
        for (lost, from) in [(20, 0), (SEGMENT_HEAD_BYTES + 20, 2)] {
            let mut spoiled = bytes.clone();
            spoiled[..lost].fill(0);
            fs::write(written.last_segment(), &spoiled).unwrap();
            let expected: Vec<(u64, Vec<u8>)> = (0..).zip(written.entries.clone()).skip(from).collect();
            assert_eq!(salvaged(written.dir.path()), expected);
        }
    }
}
