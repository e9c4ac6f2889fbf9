use std::path::PathBuf;
use std::sync::Mutex;

use tempfile::TempDir;

use super::catch_up::disagrees_with_journal;
use super::layout::Opened;
use super::*;
use crate::disk::SledDir;
use crate::merkle::{Hash, LeafIndex, TreeSize};
use crate::store::MAX_BATCH_ENTRIES;
use crate::store::tests::conformance::{
    append, batch_of, check, copy_dir, describe, named, numbered, open_disk, options, signed, term,
};

/// The reports of a store's opening.
type Reports = Arc<Mutex<Vec<(u64, u64)>>>;

fn open(dir: &Path) -> Result<DiskStore, StoreError> {
    open_disk(dir, options)
}

/// Opens a store, and returns the reports meanwhile.
fn open_watched(dir: &Path) -> (DiskStore, Reports) {
    let reports = Reports::default();
    let watched = || {
        let seen = reports.clone();
        let progress = Arc::new(move |done, total| seen.lock().unwrap().push((done, total)));
        OpenOptions { progress, ..options() }
    };
    (open_disk(dir, watched).unwrap(), reports)
}

/// Opens a store, and returns whether it applied anything of the journal again.
fn reopen(dir: &Path) -> (DiskStore, bool) {
    let (store, reports) = open_watched(dir);
    let caught_up = !reports.lock().unwrap().is_empty();
    (store, caught_up)
}

/// Entries that are in every index.
fn entries(first: usize, count: usize) -> Vec<Vec<u8>> {
    let entry = |i| format!("{i} payload:{i} claim:{i}:a term:{}", i % 3).into_bytes();
    (first..first + count).map(entry).collect()
}

/// Checks that tree, tiles, bundles and all indexes are those of `entries(0, count)`.
fn check_all(store: &DiskStore, count: usize) {
    let all = entries(0, count);
    check(store, &all);
    let reader = store.reader();
    for (at, entry) in all.iter().enumerate() {
        assert_eq!(reader.find_leaf(&Hash::leaf(entry)).unwrap(), LeafIndex::new(at as u64));
        let (stored, content) = reader.find_claim(&named(&at.to_string())).unwrap().unwrap();
        assert_eq!((stored.index.get(), stored.leaf, content), (at as u64, Hash::leaf(entry), named("a")));
        assert_eq!(reader.find_payload(&named(&at.to_string())).unwrap(), Some(stored));
    }
    for value in 0..3 {
        let page = reader.search(&term(&value.to_string()), None, usize::MAX - 1).unwrap();
        let expected: Vec<u64> = (0..count as u64).rev().filter(|i| i % 3 == value).collect();
        assert_eq!(page.leaves.into_iter().map(LeafIndex::get).collect::<Vec<_>>(), expected);
    }
}

/// A closed log of `count` leaves with its checkpoint.
fn log_of(count: usize) -> TempDir {
    let dir = TempDir::new().unwrap();
    let mut store = open(dir.path()).unwrap();
    let all = entries(0, count);
    all.chunks(90).for_each(|batch| append(&mut store, batch.to_vec()));
    let head = signed(&store.edge());
    store.replace_checkpoint(None, &head).unwrap();
    dir
}

fn journal_file(dir: &Path) -> PathBuf {
    Layout::new(dir).journal().join(format!("{:020}.seg", 0))
}

#[test]
fn a_second_process_is_refused() {
    let dir = log_of(3);
    let first = open(dir.path()).unwrap();
    let refused = DiskStore::open(dir.path(), options()).err().unwrap();
    assert!(
        matches!(&refused, StoreError::Disk(DiskError::Locked { path }) if *path == Layout::new(dir.path()).lock())
    );
    assert!(matches!(open_tree_rows(dir.path()), Err(StoreError::Disk(DiskError::Locked { .. }))));
    assert!(matches!(discard_tree(dir.path()), Err(StoreError::Disk(DiskError::Locked { .. }))));
    // The refused start has not harmed the running log.
    check_all(&first, 3);
    drop(first);
    while matches!(discard_tree(dir.path()), Err(StoreError::Disk(DiskError::Locked { .. }))) {}
    assert!(!Layout::new(dir.path()).sled().exists());
    check_all(&open(dir.path()).unwrap(), 3);
}

#[test]
fn a_clean_restart_reads_nothing_again() {
    let dir = log_of(600);
    for _ in 0..3 {
        let (mut store, caught_up) = reopen(dir.path());
        assert!(!caught_up);
        check_all(&store, 600);
        store.reload().unwrap();
    }
}

#[test]
fn a_torn_tail_is_dropped_and_appending_goes_on() {
    let dir = log_of(300);
    let path = journal_file(dir.path());
    let mut store = open(dir.path()).unwrap();
    let before = fs::metadata(&path).unwrap().len();
    let batch = batch_of(&store.edge(), entries(300, 50));
    let _staged = store.stage(&batch).unwrap();
    drop(store);
    let after = fs::metadata(&path).unwrap().len();
    for length in [after - 1, after - 30, before + 61, before + 60, before + 1] {
        fs::File::options().write(true).open(&path).unwrap().set_len(length).unwrap();
        let (store, caught_up) = reopen(dir.path());
        assert!(!caught_up, "nothing whole was behind it");
        check_all(&store, 300);
        assert_eq!(fs::metadata(&path).unwrap().len(), before);
        fs::OpenOptions::new().append(true).open(&path).unwrap().set_len(after).unwrap();
    }
    let mut store = open(dir.path()).unwrap();
    append(&mut store, entries(300, 7));
    check_all(&store, 307);
}

#[test]
fn without_sled_everything_is_made_anew() {
    for count in [1, 255, 256, 257, 700] {
        let dir = log_of(count);
        fs::remove_dir_all(Layout::new(dir.path()).sled()).unwrap();
        let (mut store, reports) = open_watched(dir.path());
        check_all(&store, count);
        let journal = fs::metadata(journal_file(dir.path())).unwrap().len();
        assert_eq!(
            *reports.lock().unwrap().last().unwrap(),
            (journal, journal),
            "progress ends at all of it"
        );
        append(&mut store, entries(count, 9));
        check_all(&store, count + 9);
        drop(store);
        assert!(!reopen(dir.path()).1, "it was made to stay");
    }
}

#[test]
fn a_rebuild_reports_its_progress_along_the_way() {
    let dir = TempDir::new().unwrap();
    let mut store = open(dir.path()).unwrap();
    let all = numbered(0, 3 * MAX_BATCH_ENTRIES);
    all.chunks(MAX_BATCH_ENTRIES).for_each(|batch| append(&mut store, batch.to_vec()));
    drop(store);
    fs::remove_dir_all(Layout::new(dir.path()).sled()).unwrap();
    let (store, reports) = open_watched(dir.path());
    let reports = reports.lock().unwrap().clone();
    assert_eq!(reports.len(), 3);
    assert!(reports.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 == pair[1].1), "{reports:?}");
    check(&store, &all);
}

#[test]
fn a_sled_that_is_behind_catches_up() {
    for (earlier, later) in [(0, 10), (10, 300), (256, 512), (300, 301), (512, 900)] {
        let dir = log_of(earlier);
        let sled = Layout::new(dir.path()).sled();
        let old = TempDir::new().unwrap();
        copy_dir(&sled, old.path());
        let mut store = open(dir.path()).unwrap();
        entries(earlier, later - earlier).chunks(50).for_each(|batch| append(&mut store, batch.to_vec()));
        drop(store);
        fs::remove_dir_all(&sled).unwrap();
        copy_dir(old.path(), &sled);
        let (store, reports) = open_watched(dir.path());
        check_all(&store, later);
        let (done, total) = *reports.lock().unwrap().last().unwrap();
        assert_eq!((done, total), (total, fs::metadata(journal_file(dir.path())).unwrap().len()));
        drop(store);
        assert!(!reopen(dir.path()).1);
    }
}

#[test]
fn a_sled_that_is_ahead_of_the_journal_is_made_anew() {
    // A power cut that lost the journal's end and kept sled's would have left a batch that was not durable.
    for (kept, more) in [(256, 256), (300, 1), (90, 700)] {
        let dir = log_of(kept);
        let journal = TempDir::new().unwrap();
        copy_dir(&Layout::new(dir.path()).journal(), journal.path());
        let mut store = open(dir.path()).unwrap();
        append(&mut store, entries(kept, more));
        drop(store);
        copy_dir(journal.path(), &Layout::new(dir.path()).journal());
        let (store, rebuilt) = reopen(dir.path());
        assert!(rebuilt);
        check_all(&store, kept);
    }
}

#[test]
fn the_sled_of_another_journal_is_made_anew() {
    // Same sizes and lengths, so that every position fits. With full tiles only, checking the right edge reads
    // nothing of the journal.
    for count in [90, 256, 512, 600] {
        let (dir, other) = (log_of(count), TempDir::new().unwrap());
        let mut store = open(other.path()).unwrap();
        let all: Vec<Vec<u8>> = entries(0, count).into_iter().map(|e| e.to_ascii_uppercase()).collect();
        all.chunks(90).for_each(|batch| append(&mut store, batch.to_vec()));
        drop(store);
        let sled = Layout::new(dir.path()).sled();
        for checkpoint in [true, false] {
            fs::remove_dir_all(&sled).unwrap();
            copy_dir(&Layout::new(other.path()).sled(), &sled);
            if !checkpoint {
                fs::remove_file(Layout::new(dir.path()).checkpoint()).unwrap();
            }
            let (store, rebuilt) = reopen(dir.path());
            assert!(rebuilt, "{count}, {checkpoint}");
            check_all(&store, count);
        }
    }
}

#[test]
fn a_journal_restored_in_other_batches_keeps_all_its_entries() {
    // The tree is the same, so the old sled's cursor fits except for its position: it points into the middle of a
    // batch, which must not count as torn.
    for count in [256, 400] {
        let (dir, restored) = (log_of(count), TempDir::new().unwrap());
        let mut store = open(restored.path()).unwrap();
        append(&mut store, entries(0, count + 300));
        drop(store);
        copy_dir(&Layout::new(restored.path()).journal(), &Layout::new(dir.path()).journal());
        let (store, rebuilt) = reopen(dir.path());
        assert!(rebuilt);
        check_all(&store, count + 300);
    }
}

#[test]
fn a_tree_with_wrong_rows_is_made_anew() {
    type Spoil = fn(&sled::Tree, &sled::Tree);
    let spoils: [(&str, Spoil); 11] = [
        ("no cursor", |tree, _| drop(tree.remove(b"c").unwrap())),
        ("a cursor of other length", |tree, _| drop(tree.insert(b"c", b"short").unwrap())),
        ("a cursor of zeros", |tree, _| drop(tree.insert(b"c", vec![0; 64]).unwrap())),
        ("a cursor of ones", |tree, _| drop(tree.insert(b"c", vec![0xff; 64]).unwrap())),
        ("no tiles", |tree, _| remove_prefix(tree, b"t")),
        ("wrong tiles", |tree, _| {
            for row in tree.scan_prefix(b"t").keys() {
                tree.insert(row.unwrap(), vec![3; 256 * 32]).unwrap();
            }
        }),
        ("no bundle rows", |tree, _| remove_prefix(tree, b"b")),
        ("wrong bundle rows", |tree, _| {
            for row in tree.scan_prefix(b"b").keys() {
                tree.insert(row.unwrap(), vec![0xff; 24]).unwrap();
            }
        }),
        ("no index manifest that parses", |_, index| drop(index.insert(b"m2", b"short").unwrap())),
        ("no index filters", |_, index| remove_prefix(index, b"f")),
        ("an index ahead of its tree", |_, index| {
            let row = index.get(b"m2").unwrap().unwrap();
            index.insert(b"m2", [&10_000_u64.to_be_bytes(), &row[8..]].concat()).unwrap();
        }),
    ];
    for (what, spoil) in spoils {
        let dir = log_of(600);
        let Opened { db, tree, index } = open_sled(dir.path());
        spoil(&tree, &index);
        drop((tree, index, db));
        let (store, rebuilt) = reopen(dir.path());
        assert!(rebuilt, "{what}");
        check_all(&store, 600);
    }
}

fn remove_prefix(rows: &sled::Tree, prefix: &[u8]) {
    rows.scan_prefix(prefix).keys().for_each(|key| drop(rows.remove(key.unwrap()).unwrap()));
}

#[test]
fn a_wrong_tile_off_the_right_edge_is_not_blamed_on_the_journal() {
    // Opening hashes only the right edge again; the signed head's edge may be elsewhere.
    for spoiled in [None, Some(vec![3; 256 * 32])] {
        let dir = log_of(300);
        let mut store = open(dir.path()).unwrap();
        append(&mut store, entries(300, 500));
        drop(store);
        let Opened { db, tree, .. } = open_sled(dir.path());
        // Leaves 256 to 511: in a head of 300 leaves, some of them are the right edge.
        let key = [b"t".as_slice(), &[0], &1_u64.to_be_bytes()].concat();
        match &spoiled {
            None => assert!(tree.remove(key).unwrap().is_some()),
            Some(bytes) => assert!(tree.insert(key, bytes.as_slice()).unwrap().is_some()),
        }
        drop((tree, db));
        let (store, rebuilt) = reopen(dir.path());
        assert!(rebuilt);
        check_all(&store, 800);
    }
}

#[test]
fn an_index_behind_its_tree_catches_up() {
    for indexed in [0, 1, 255, 256, 257, 599] {
        let dir = log_of(600);
        let Opened { db, tree, index: rows } = open_sled(dir.path());
        rows.clear().unwrap();
        let (mut index, mut at) = (IndexWriter::open(rows.clone()).unwrap().0, 0);
        for batch in entries(0, indexed).chunks(100) {
            let facts: Vec<_> = batch.iter().map(|entry| (describe())(entry)).collect();
            let leaf_hashes: Vec<Hash> = batch.iter().map(|entry| Hash::leaf(entry)).collect();
            let first = LeafIndex::new(at).unwrap();
            index.push(IndexRows { first, leaf_hashes: &leaf_hashes, facts: &facts, bytes: 1 }).unwrap();
            at += batch.len() as u64;
        }
        drop((index, tree, rows, db));
        let (store, rebuilt) = reopen(dir.path());
        assert!(!rebuilt, "the tree was believed");
        check_all(&store, 600);
    }
}

/// The first version had no pointers by payload, and payloads have to be found in old logs, too.
#[test]
fn an_index_of_an_earlier_version_is_made_anew_without_the_tree() {
    let dir = log_of(600);
    let Opened { db, tree, index } = open_sled(dir.path());
    let manifest = index.remove(b"m2").unwrap().unwrap();
    index.insert(b"m", manifest).unwrap();
    drop((index, tree, db));
    let (store, rebuilt) = reopen(dir.path());
    assert!(!rebuilt, "the tree was believed");
    check_all(&store, 600);
}

/// Changes sled behind the store's back.
fn open_sled(dir: &Path) -> Opened {
    let layout = Layout::new(dir);
    SledDir::new(layout.sled(), layout.sled_mark(), Arc::new(RealDisk)).open(1 << 20, Opened::new).unwrap()
}

#[test]
fn after_a_power_cut_sled_is_made_anew_and_after_a_kill_it_is_not() {
    let dir = log_of(600);
    let mark = Layout::new(dir.path()).sled_mark();
    assert!(!mark.exists(), "closing takes the mark away");
    let (store, rebuilt) = reopen(dir.path());
    assert!(!rebuilt && mark.exists());
    // A killed process closes nothing.
    drop(store);
    std::fs::write(&mark, std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap().trim())
        .unwrap();
    let (store, rebuilt) = reopen(dir.path());
    assert!(!rebuilt);
    drop(store);
    for other_boot in [&b"00000000-0000-0000-0000-000000000000"[..], b"unknown", b"", b"\xff"] {
        std::fs::write(&mark, other_boot).unwrap();
        let error = open_tree_rows(dir.path()).err().unwrap();
        assert!(matches!(error, StoreError::TreeDamaged { .. }), "{error}");
        let (store, rebuilt) = reopen(dir.path());
        assert!(rebuilt);
        check_all(&store, 600);
    }
}

#[test]
fn a_tree_that_was_thrown_away_half_is_not_believed_after_a_power_cut() {
    let dir = log_of(600);
    let (mark, sled) = (Layout::new(dir.path()).sled_mark(), Layout::new(dir.path()).sled());
    let files = TempDir::new().unwrap();
    copy_dir(&sled, files.path());
    for left in sled_files(dir.path()) {
        discard_tree(dir.path()).unwrap();
        assert!(mark.exists() && !sled.exists());
        // The removals were never synced, and one of the files is back.
        fs::create_dir_all(left.parent().unwrap()).unwrap();
        fs::copy(files.path().join(left.strip_prefix(&sled).unwrap()), &left).unwrap();
        fs::write(&mark, "another boot").unwrap();
        discard_tree(dir.path()).unwrap();
        assert_eq!(fs::read(&mark).unwrap(), b"another boot", "sled may be back once more");
        fs::create_dir_all(left.parent().unwrap()).unwrap();
        fs::copy(files.path().join(left.strip_prefix(&sled).unwrap()), &left).unwrap();
        let (store, rebuilt) = reopen(dir.path());
        assert!(rebuilt);
        check_all(&store, 600);
    }
}

/// All files of sled, largest first.
fn sled_files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut dirs = vec![Layout::new(dir).sled()];
    while let Some(dir) = dirs.pop() {
        for item in fs::read_dir(dir).unwrap() {
            let path = item.unwrap().path();
            if path.is_dir() { dirs.push(path) } else { found.push(path) }
        }
    }
    found.sort_by_key(|path| std::cmp::Reverse(fs::metadata(path).unwrap().len()));
    found
}

#[test]
fn sled_files_that_hold_anything_else_are_made_anew() {
    let whole = log_of(600);
    let names: Vec<PathBuf> = sled_files(whole.path())
        .iter()
        .map(|path| path.strip_prefix(whole.path()).unwrap().to_owned())
        .collect();
    assert!(names.len() >= 2, "{names:?}");
    type Spoil = fn(&[u8]) -> Vec<u8>;
    let spoils: [(&str, Spoil); 8] = [
        ("empty", |_| Vec::new()),
        ("half", |bytes| bytes[..bytes.len() / 2].to_vec()),
        ("one byte short", |bytes| bytes[..bytes.len() - 1].to_vec()),
        ("zeros", |bytes| vec![0; bytes.len()]),
        ("ones", |bytes| vec![0xff; bytes.len()]),
        ("zeros in the middle", |bytes| {
            let mut bytes = bytes.to_vec();
            let third = bytes.len() / 3;
            bytes[third..2 * third].fill(0);
            bytes
        }),
        ("flips all over", |bytes| {
            bytes
                .iter()
                .enumerate()
                .map(|(at, byte)| if at % 97 == 0 { byte ^ 0x55 } else { *byte })
                .collect()
        }),
        ("text", |bytes| b"not what sled wrote\n".iter().copied().cycle().take(bytes.len()).collect()),
    ];
    for name in &names {
        for (what, spoil) in spoils {
            let dir = TempDir::new().unwrap();
            copy_dir(whole.path(), dir.path());
            let path = dir.path().join(name);
            let bytes = fs::read(&path).unwrap();
            if bytes.is_empty() {
                continue;
            }
            fs::write(&path, spoil(&bytes)).unwrap();
            let mut store = open(dir.path()).unwrap_or_else(|e| panic!("{what} {}: {e}", name.display()));
            check_all(&store, 600);
            append(&mut store, entries(600, 5));
            drop(store);
            check_all(&open(dir.path()).unwrap(), 605);
        }
    }
}

#[test]
fn a_flip_anywhere_in_sled_s_log_never_changes_what_is_served() {
    let whole = log_of(600);
    let name = sled_files(whole.path())[0].strip_prefix(whole.path()).unwrap().to_owned();
    let bytes = fs::read(whole.path().join(&name)).unwrap();
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    for step in 0..24 {
        let dir = TempDir::new().unwrap();
        copy_dir(whole.path(), dir.path());
        let mut spoiled = bytes.clone();
        spoiled[step * used / 24] ^= 0xff;
        fs::write(dir.path().join(&name), spoiled).unwrap();
        check_all(&open(dir.path()).unwrap(), 600);
    }
}

#[test]
fn a_sled_of_another_kind_of_file_is_made_anew() {
    let dir = log_of(300);
    let sled = Layout::new(dir.path()).sled();
    fs::remove_dir_all(&sled).unwrap();
    fs::create_dir(&sled).unwrap();
    fs::create_dir(sled.join("db")).unwrap();
    check_all(&open(dir.path()).unwrap(), 300);
}

#[test]
fn a_journal_shorter_than_the_checkpoint_is_lost_data() {
    let dir = log_of(300);
    let path = journal_file(dir.path());
    let length = fs::metadata(&path).unwrap().len();
    fs::File::options().write(true).open(&path).unwrap().set_len(length - 1).unwrap();
    for _ in 0..2 {
        let refused = open(dir.path()).err().unwrap();
        let StoreError::JournalShort { signed, seen } = refused else { panic!("{refused}") };
        assert_eq!((signed.get(), seen.get()), (300, 270), "a refusal repairs nothing, so it stays");
        assert_eq!(fs::metadata(&path).unwrap().len(), length - 1, "and cuts nothing off");
    }
    fs::remove_dir_all(Layout::new(dir.path()).journal()).unwrap();
    let refused = open(dir.path()).err().unwrap();
    assert!(matches!(refused, StoreError::JournalShort { seen: TreeSize::ZERO, .. }), "{refused}");
}

#[test]
fn a_journal_with_other_entries_is_a_fork() {
    for (count, more) in [(90, 0), (256, 0), (300, 200), (512, 256)] {
        let (dir, other) = (log_of(count), TempDir::new().unwrap());
        let mut store = open(other.path()).unwrap();
        let all: Vec<Vec<u8>> = entries(0, count + more).iter().map(|e| e.to_ascii_uppercase()).collect();
        all.chunks(90).for_each(|batch| append(&mut store, batch.to_vec()));
        let forked = store.edge();
        drop(store);
        copy_dir(&Layout::new(other.path()).journal(), &Layout::new(dir.path()).journal());
        for sled in [false, true] {
            if sled {
                let _ = fs::remove_dir_all(Layout::new(dir.path()).sled());
                copy_dir(&Layout::new(other.path()).sled(), &Layout::new(dir.path()).sled());
            }
            let refused = open(dir.path()).err().unwrap();
            let StoreError::JournalForked { size, expected, seen } = refused else { panic!("{refused}") };
            assert_eq!(size.get(), count as u64);
            assert_ne!(expected, seen);
            assert!(more > 0 || seen == forked.root().to_base64());
        }
    }
}

#[test]
fn the_journal_of_another_log_is_refused() {
    let dir = log_of(90);
    let other = || OpenOptions { describe: describe(), ..OpenOptions::new("example.com/other") };
    let refused = open_disk(dir.path(), other).err().unwrap();
    assert!(refused.to_string().contains("another origin"), "{refused}");
}

#[test]
fn a_checkpoint_file_of_anything_else_is_damaged() {
    let dir = log_of(90);
    let path = Layout::new(dir.path()).checkpoint();
    let good = fs::read(&path).unwrap();
    for bad in [b"".as_slice(), b"garbage", &[0xff; 100], &good[..good.len() / 2]] {
        fs::write(&path, bad).unwrap();
        let refused = open(dir.path()).err().unwrap();
        let StoreError::CheckpointDamaged { path: named, .. } = &refused else { panic!("{refused}") };
        assert_eq!(*named, path);
    }
    // An interrupted replacement is none.
    fs::write(&path, &good).unwrap();
    fs::write(path.with_extension("new"), b"garb").unwrap();
    let mut store = open(dir.path()).unwrap();
    assert_eq!(store.checkpoint(), Some(good.clone()));
    append(&mut store, entries(90, 1));
    let next = signed(&store.edge());
    store.replace_checkpoint(Some(&good), &next).unwrap();
    assert_eq!(fs::read(&path).unwrap(), next);
}

#[test]
fn a_checkpoint_that_somebody_else_replaced_is_noticed() {
    let dir = log_of(90);
    let mut store = open(dir.path()).unwrap();
    let known = store.checkpoint().unwrap();
    append(&mut store, entries(90, 1));
    let theirs = signed(&store.edge());
    fs::write(Layout::new(dir.path()).checkpoint(), &theirs).unwrap();
    let moved = store.replace_checkpoint(Some(&known), &theirs);
    assert!(matches!(moved, Err(StoreError::CheckpointMoved { .. })));
    store.reload().unwrap();
    assert_eq!(store.checkpoint(), Some(theirs));
}

#[test]
fn a_damaged_entry_behind_a_good_tile_is_never_served() {
    let dir = log_of(600);
    let store = open(dir.path()).unwrap();
    let path = journal_file(dir.path());
    let whole = fs::read(&path).unwrap();
    let at = whole.windows(4).position(|w| w == b"300 ").unwrap();
    // An entry's byte, its length, and the header of the batch in which the bundle continues.
    let marker = &whole[48..56];
    let head = whole.windows(8).enumerate().filter(|(_, w)| *w == marker).nth(5).unwrap().0;
    for spoiled in [at, at + 8, at - 1, head + 20] {
        let mut bytes = whole.clone();
        bytes[spoiled] ^= 1;
        fs::write(&path, &bytes).unwrap();
        for width in [200, 256] {
            let read = store.reader().bundle(1, width);
            assert!(matches!(read, Err(StoreError::Damaged { .. })), "byte {spoiled}: {read:?}");
        }
        assert!(store.reader().bundle(0, 256).is_ok(), "other bundles are as good as before");
    }
    let mut bytes = whole.clone();
    bytes[at] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let error = store.reader().entry(LeafIndex::new(300).unwrap()).unwrap_err().to_string();
    assert!(error.starts_with("entry 300 in the journal is damaged: expected leaf hash "), "{error}");
    fs::write(&path, whole).unwrap();
    check_all(&store, 600);
}

#[test]
fn nothing_is_staged_after_a_failure_without_a_reload() {
    let dir = log_of(90);
    let mut store = open(dir.path()).unwrap();
    for failed in [Failed::Append, Failed::Apply, Failed::Checkpoint] {
        store.writer.as_mut().unwrap().failed = Some(failed);
        let batch = batch_of(&store.edge(), entries(90, 1));
        assert!(matches!(store.stage(&batch), Err(StoreError::Reloading)), "{failed:?}");
        store.reload().unwrap();
        check_all(&store, 90);
    }
    append(&mut store, entries(90, 1));
    check_all(&store, 91);
}

#[test]
fn a_checkpoint_that_can_t_be_written_leaves_readers_alone() {
    let dir = log_of(90);
    let (mut store, reports) = open_watched(dir.path());
    let old = store.checkpoint();
    append(&mut store, entries(90, 10));
    let head = signed(&store.edge());
    // The new file is written beside the old one, under a name that a directory has.
    let obstacle = Layout::new(dir.path()).checkpoint().with_extension("new");
    fs::create_dir(&obstacle).unwrap();
    let reader = store.reader();
    for _ in 0..3 {
        let failed = store.replace_checkpoint(old.as_deref(), &head);
        assert!(matches!(failed, Err(StoreError::Disk(DiskError::Io { doing: "create", .. }))), "{failed:?}");
        assert!(matches!(store.stage(&batch_of(&store.edge(), entries(100, 1))), Err(StoreError::Reloading)));
        assert!(reader.bundle(0, 100).is_ok(), "reads go on before the reload");
        store.reload().unwrap();
        assert_eq!(store.checkpoint(), old, "nobody has seen the new one");
        assert_eq!(reader.size(), TreeSize::new(100).unwrap());
    }
    fs::remove_dir(&obstacle).unwrap();
    store.replace_checkpoint(old.as_deref(), &head).unwrap();
    append(&mut store, entries(100, 1));
    check_all(&store, 101);
    assert!(reports.lock().unwrap().is_empty(), "nothing was read from the journal again");
}

#[test]
fn fsck_misses_any_row_of_the_index_that_is_gone() {
    let facts = |entry: &[u8]| describe()(entry);
    let dir = log_of(600);
    let all = entries(0, 600);
    let checked = || {
        let (rows, _lock) = open_tree_rows(dir.path()).unwrap();
        let indexed = usize::try_from(rows.indexed().unwrap().get()).unwrap();
        assert!(indexed > 500);
        let mut sum = PointerSum::default();
        for (at, entry) in all[..indexed].iter().enumerate() {
            sum.add_leaf(LeafIndex::new(at as u64).unwrap(), &Hash::leaf(entry), &facts(entry));
        }
        rows.check_index(&sum)
    };
    checked().unwrap();
    for prefix in [b"r", b"f"] {
        let taken = {
            let Opened { index, .. } = open_sled(dir.path());
            let key = index.scan_prefix(prefix).keys().next_back().unwrap().unwrap();
            (key.clone(), index.remove(key).unwrap().unwrap())
        };
        let error = checked().unwrap_err();
        assert!(matches!(error, StoreError::TreeDamaged { .. }), "{error}");
        open_sled(dir.path()).index.insert(taken.0, taken.1).unwrap();
        checked().unwrap();
    }
}

#[test]
fn reloading_while_others_read_rebuilds_nothing() {
    let dir = log_of(600);
    let (mut store, reports) = open_watched(dir.path());
    let reader = store.reader();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    // Every answer is right; a read may fail meanwhile.
                    if let Ok(bytes) = reader.bundle(1, 256) {
                        assert_eq!(crate::proof::bundle::split(&bytes, 256).unwrap(), entries(256, 256));
                    }
                }
            });
        }
        for _ in 0..20 {
            store.reload().unwrap();
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    assert!(reports.lock().unwrap().is_empty(), "sled was still held, and was taken for damaged");
    check_all(&store, 600);
}

#[test]
fn a_directory_that_can_t_be_made_is_an_error_that_names_it() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, b"").unwrap();
    for path in [file.join("log"), PathBuf::from("/proc/no such log")] {
        let error = open(&path).err().unwrap();
        assert!(matches!(error, StoreError::Disk(DiskError::Io { .. })), "{error}");
        assert!(error.to_string().contains(&path.display().to_string()), "{error}");
    }
}

/// The store rebuilds it by itself: its log line must not tell anybody to do that.
#[test]
fn why_a_tree_is_made_anew_is_told_without_advice() {
    let detail = || "expected 1, saw 2".to_owned();
    let forked = StoreError::JournalForked {
        size: TreeSize::new(5).unwrap(),
        expected: "A=".to_owned(),
        seen: "B=".to_owned(),
    };
    let errors = [
        (StoreError::TreeDamaged { detail: detail() }, "expected 1, saw 2"),
        (
            StoreError::Damaged { what: "journal/0".to_owned(), detail: detail() },
            "journal/0: expected 1, saw 2",
        ),
        (forked, "expected root A= at tree size 5, computed B="),
    ];
    for (error, expected) in errors {
        let said = error.to_string();
        assert!(said.contains("repair the log") || said.contains("rebuild the tree"), "{said}");
        assert_eq!(tree_fault(&disagrees_with_journal(error)).as_deref(), Some(expected));
    }
}
