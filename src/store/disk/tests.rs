mod derived;
mod index_files;
mod leaves;
mod rows;
mod signed_head;

use std::path::PathBuf;
use std::sync::Mutex;

use tempfile::TempDir;

use super::catch_up::disagrees_with_journal;
use super::*;
use crate::disk::{SledDir, note_of};
use crate::merkle::{Hash, LeafIndex, TreeSize};
use crate::store::MAX_BATCH_ENTRIES;
use crate::store::derived::Opened;
use crate::store::tests::conformance::check;
use crate::store::tests::fixtures::{
    append, batch_of, copy_dir, describe, named, numbered, open_disk, options, signed, term,
};
use crate::threads;

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

fn open_sled(dir: &Path) -> Opened {
    let layout = Layout::new(dir);
    SledDir::new(layout.sled(), layout.sled_mark(), Arc::new(RealDisk)).open(1 << 20, Opened::new).unwrap()
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
    // A note alone, as `repair` leaves it, is replaced by another file.
    let path = Layout::new(dir.path()).checkpoint();
    fs::write(&path, note_of(&fs::read(&path).unwrap())).unwrap();
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
fn fsck_notices_any_byte_of_the_index_that_is_wrong() {
    let facts = |entry: &[u8]| describe()(entry);
    let dir = log_of(600);
    let all = entries(0, 600);
    let checked = || {
        let (rows, _lock) = open_tree_rows(dir.path()).unwrap();
        let indexed = usize::try_from(rows.indexed()?.size.get()).unwrap();
        assert!(indexed > 500);
        let mut sum = PointerSum::default();
        for (at, entry) in all[..indexed].iter().enumerate() {
            sum.add_leaf(LeafIndex::new(at as u64).unwrap(), &Hash::leaf(entry), &facts(entry));
        }
        rows.check_index(&sum)
    };
    checked().unwrap();
    for file in fs::read_dir(Layout::new(dir.path()).index()).unwrap() {
        let path = file.unwrap().path();
        let whole = fs::read(&path).unwrap();
        for at in (0..whole.len()).step_by(whole.len() / 20) {
            let mut other = whole.clone();
            other[at] ^= 1;
            fs::write(&path, other).unwrap();
            if path.ends_with("manifest") && at < 4 {
                continue; // another version's: nothing is indexed
            }
            let error = checked().unwrap_err();
            assert!(matches!(error, StoreError::TreeDamaged { .. }), "{error}");
        }
        fs::write(&path, whole).unwrap();
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

#[test]
fn a_store_without_enough_threads_is_not_opened_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let lagging = || OpenOptions { row_lag: Duration::from_millis(1), ..options() };
    {
        let mut store = open_disk(dir.path(), lagging).unwrap();
        append(&mut store, entries(0, 40));
    }
    let mut fewest = 0;
    let opened = loop {
        match threads::limit::with(fewest, || open_disk(dir.path(), lagging)) {
            Err(StoreError::Threads(error)) => {
                assert!(error.to_string().contains("could not start"), "{error}");
            }
            Err(error) => panic!("{error}"),
            Ok(opened) => break opened,
        }
        fewest += 1;
    };
    assert!(
        (4..20).contains(&fewest),
        "its own, and one of sled, whose others stay with the process: {fewest}"
    );
    check_all(&opened, 40);
    assert!(dir.path().join("sled").exists());
}
