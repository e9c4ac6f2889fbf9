//! Tree and index, which are made anew from the journal when they do not check.

use super::*;

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
    type Spoil = fn(&sled::Tree);
    let spoils: [(&str, Spoil); 8] = [
        ("no cursor", |tree| drop(tree.remove(b"c").unwrap())),
        ("a cursor of other length", |tree| drop(tree.insert(b"c", b"short").unwrap())),
        ("a cursor of zeros", |tree| drop(tree.insert(b"c", vec![0; 64]).unwrap())),
        ("a cursor of ones", |tree| drop(tree.insert(b"c", vec![0xff; 64]).unwrap())),
        ("no tiles", |tree| remove_prefix(tree, b"t")),
        ("wrong tiles", |tree| {
            for row in tree.scan_prefix(b"t").keys() {
                tree.insert(row.unwrap(), vec![3; 256 * 32]).unwrap();
            }
        }),
        ("no bundle rows", |tree| remove_prefix(tree, b"b")),
        ("wrong bundle rows", |tree| {
            for row in tree.scan_prefix(b"b").keys() {
                tree.insert(row.unwrap(), vec![0xff; 24]).unwrap();
            }
        }),
    ];
    for (what, spoil) in spoils {
        let dir = log_of(600);
        let Opened { db, tree } = open_sled(dir.path());
        spoil(&tree);
        drop((tree, db));
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
        let Opened { db, tree } = open_sled(dir.path());
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
