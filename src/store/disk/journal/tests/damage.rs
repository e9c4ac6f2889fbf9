//! Damage that a scan reports.

use super::*;

#[test]
fn any_flipped_byte_is_damage_or_in_the_last_batch_a_torn_one() {
    let written = Written::with(SEGMENT_BYTES, &[2, 3, 4]);
    let whole = fs::read(written.last_segment()).unwrap();
    let dir = TempDir::new().unwrap();
    for at in 0..whole.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut bytes = whole.clone();
            bytes[at] ^= flip;
            fs::write(segment_path(dir.path(), 0), &bytes).unwrap();
            if (at as u64) < written.ends[1].offset {
                damage(read(dir.path()));
            } else {
                let kept = (written.entries[..5].to_vec(), Some(written.ends[1]));
                assert_eq!(read(dir.path()).unwrap(), kept, "byte {at} ^ {flip:#x}");
            }
        }
    }
}

#[test]
fn any_flipped_byte_of_a_sealed_segment_is_damage() {
    let written = Written::with(100, &[9, 9, 9]);
    let sealed = segment_path(written.dir.path(), 0);
    assert!(segments(written.dir.path()).unwrap().len() > 1);
    let whole = fs::read(&sealed).unwrap();
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x20;
        fs::write(&sealed, &bytes).unwrap();
        damage(read(written.dir.path()));
        fs::write(&sealed, &whole[..at]).unwrap();
        damage(read(written.dir.path()));
    }
}

#[test]
fn a_segment_of_another_log_is_refused() {
    let written = Written::with(SEGMENT_BYTES, &[2]);
    let other = Scan::new(written.dir.path(), origin_hash("example.com/other"), None).unwrap().next_record();
    assert!(damage(other).ends_with("it belongs to the log of another origin"));
}

#[test]
fn a_missing_segment_is_damage() {
    let mut written = Written::with(100, &[9, 9, 9, 9]);
    let firsts = segments(written.dir.path()).unwrap();
    assert_eq!(firsts, [0, 9, 18, 27]);
    for missing in [0, 9, 18] {
        let path = segment_path(written.dir.path(), missing);
        let bytes = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let expected = format!("expected it to begin with entry {missing}, saw {}", missing + 9);
        assert!(damage(read(written.dir.path())).ends_with(&expected));
        // Nor does the content of another segment replace it.
        fs::copy(segment_path(written.dir.path(), 27), &path).unwrap();
        assert!(damage(read(written.dir.path())).contains(&format!("{missing:020}.seg: expected")));
        fs::write(path, bytes).unwrap();
    }
    written.append(3);
    assert_eq!(read(written.dir.path()).unwrap().0, written.entries);
}

#[test]
fn a_foreign_file_is_named() {
    let long = format!("{:021}.seg", 0);
    let names = [".seg", "0.seg", "+0000000000000000000.seg", "00000000000000000000.seg.new", "notes", &long];
    for name in names {
        let written = Written::with(SEGMENT_BYTES, &[2]);
        fs::write(written.dir.path().join(name), b"").unwrap();
        assert!(damage(segments(written.dir.path())).ends_with(&format!("saw {name}")), "{name}");
    }
}
