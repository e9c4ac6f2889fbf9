//! The file of leaf hashes: it saves reading the journal after a power cut, and is believed only where it gives the signed
//! tree.

use super::*;

/// Frames of one tile, written with their batch.
fn open_with_leaves(dir: &Path) -> Result<DiskStore, StoreError> {
    open_disk(dir, || OpenOptions { leaf_tiles: 1, row_lag: Duration::ZERO, ..options() })
}

/// A closed log of `count` leaves with its checkpoint and two frames of leaf hashes.
fn log_with_leaves(count: usize) -> TempDir {
    let dir = TempDir::new().unwrap();
    let mut store = open_with_leaves(dir.path()).unwrap();
    entries(0, count).chunks(90).for_each(|batch| append(&mut store, batch.to_vec()));
    let head = signed(&store.edge());
    store.replace_checkpoint(None, &head).unwrap();
    dir
}

fn cut_power(dir: &Path) {
    fs::write(Layout::new(dir).sled_mark(), "another boot").unwrap();
}

fn leaves_of(dir: &Path) -> Vec<u8> {
    fs::read(Layout::new(dir).leaves()).unwrap()
}

/// Spoils the first entry, which nothing but a whole rebuild reads.
fn spoil_first_entry(dir: &Path) {
    let path = journal_file(dir);
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.windows(9).position(|window| window == b"0 payload").unwrap();
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn after_a_power_cut_only_the_journal_behind_the_leaf_hashes_is_read() {
    let dir = log_with_leaves(600);
    spoil_first_entry(dir.path());
    cut_power(dir.path());
    let store = open_with_leaves(dir.path()).unwrap();
    assert_eq!(store.edge().size().get(), 600);
    let reader = store.reader();
    assert!(matches!(reader.entry(LeafIndex::new(0).unwrap()), Err(StoreError::Damaged { .. })), "noticed");
    assert!(reader.entry(LeafIndex::new(300).unwrap()).is_ok());
    drop(store);
    discard_tree(dir.path()).unwrap();
    assert!(!Layout::new(dir.path()).leaves().exists());
    let error = open_with_leaves(dir.path()).err().unwrap();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
}

#[test]
fn after_a_power_cut_the_log_goes_on_and_so_does_the_file() {
    for count in [255, 256, 300, 512, 600] {
        let dir = log_with_leaves(count);
        cut_power(dir.path());
        let mut store = open_with_leaves(dir.path()).unwrap();
        check_all(&store, count);
        append(&mut store, entries(count, 300));
        drop(store);
        cut_power(dir.path());
        check_all(&open_with_leaves(dir.path()).unwrap(), count + 300);
    }
}

#[test]
fn a_log_of_an_earlier_version_gets_its_leaf_hashes() {
    let dir = log_of(600);
    assert!(!Layout::new(dir.path()).leaves().exists());
    let mut store = open_with_leaves(dir.path()).unwrap();
    append(&mut store, entries(600, 1));
    let (old, new) = (store.checkpoint(), signed(&store.edge()));
    store.replace_checkpoint(old.as_deref(), &new).unwrap();
    drop(store);
    assert!(leaves_of(dir.path()).len() > 2 * 8_192);
    spoil_first_entry(dir.path());
    cut_power(dir.path());
    assert_eq!(open_with_leaves(dir.path()).unwrap().edge().size().get(), 601);
}

#[test]
fn damage_anywhere_in_the_file_changes_nothing_that_is_served() {
    let whole = log_with_leaves(600);
    let bytes = leaves_of(whole.path());
    let flip = |at: usize| {
        let mut bytes = bytes.clone();
        bytes[at] ^= 0x10;
        bytes
    };
    let heads = (0..220).step_by(7);
    let spread = (0..bytes.len()).step_by(1_601);
    let flips = heads.chain(spread.clone()).map(flip);
    let others = [Vec::new(), b"noise".to_vec(), vec![0; bytes.len()], [&bytes[..], &bytes[..]].concat()];
    for spoiled in flips.chain(spread.map(|at| bytes[..at].to_vec())).chain(others) {
        let dir = TempDir::new().unwrap();
        copy_dir(whole.path(), dir.path());
        fs::write(Layout::new(dir.path()).leaves(), spoiled).unwrap();
        cut_power(dir.path());
        let mut store = open_with_leaves(dir.path()).unwrap();
        assert_eq!(store.edge().size().get(), 600);
        append(&mut store, entries(600, 90));
        check_all(&store, 690);
        drop(store);
        // The file is whole again.
        spoil_first_entry(dir.path());
        cut_power(dir.path());
        assert_eq!(open_with_leaves(dir.path()).unwrap().edge().size().get(), 690);
    }
}

/// Puts a byte of a frame that checks in place of one that was written.
fn forge(dir: &Path, frame: usize, at: usize) {
    let mut bytes = leaves_of(dir);
    let body = 24 + 256 * 32;
    let (file_head, frame_head) = (8 + 32 + 8 + 4, 8 + 8 + 4 + 4 + 88 + 4);
    let begin = file_head + frame * (frame_head + body + 4);
    bytes[begin + frame_head + at] ^= 1;
    let crc = crc32fast::hash(&bytes[begin..begin + frame_head + body]);
    bytes[begin + frame_head + body..][..4].copy_from_slice(&crc.to_be_bytes());
    fs::write(Layout::new(dir).leaves(), bytes).unwrap();
}

#[test]
fn hashes_that_do_not_give_the_signed_root_are_thrown_away() {
    for frame in [0, 1] {
        let dir = log_with_leaves(600);
        forge(dir.path(), frame, 24 + 1_000);
        cut_power(dir.path());
        check_all(&open_with_leaves(dir.path()).unwrap(), 600);
        cut_power(dir.path());
        check_all(&open_with_leaves(dir.path()).unwrap(), 600);
    }
}

#[test]
fn only_leaves_that_were_signed_are_taken_from_the_file() {
    let dir = log_with_leaves(300);
    let mut store = open_with_leaves(dir.path()).unwrap();
    append(&mut store, entries(300, 300));
    drop(store);
    forge(dir.path(), 1, 24 + 1_000);
    cut_power(dir.path());
    check_all(&open_with_leaves(dir.path()).unwrap(), 600);
}

#[test]
fn leaf_hashes_of_another_journal_are_not_used() {
    for count in [300, 600] {
        let (dir, other) = (log_with_leaves(count), TempDir::new().unwrap());
        let mut store = open_with_leaves(other.path()).unwrap();
        let all: Vec<Vec<u8>> = entries(0, count).into_iter().map(|e| e.to_ascii_uppercase()).collect();
        all.chunks(90).for_each(|batch| append(&mut store, batch.to_vec()));
        drop(store);
        fs::copy(Layout::new(other.path()).leaves(), Layout::new(dir.path()).leaves()).unwrap();
        cut_power(dir.path());
        check_all(&open_with_leaves(dir.path()).unwrap(), count);
    }
    // The same tree in other batches: the positions are others.
    let (dir, restored) = (log_with_leaves(400), TempDir::new().unwrap());
    let mut store = open(restored.path()).unwrap();
    append(&mut store, entries(0, 700));
    drop(store);
    copy_dir(&Layout::new(restored.path()).journal(), &Layout::new(dir.path()).journal());
    cut_power(dir.path());
    check_all(&open_with_leaves(dir.path()).unwrap(), 700);
}
