//! The index's files: believed where they check and are of the same tree, otherwise made anew.

use super::*;

fn index_of(dir: &Path) -> PathBuf {
    Layout::new(dir).index()
}

/// All files of the index, the manifest first.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found: Vec<_> = fs::read_dir(index_of(dir)).unwrap().map(|item| item.unwrap().path()).collect();
    found.sort_by_key(|path| (!path.ends_with("manifest"), path.clone()));
    found
}

#[test]
fn an_index_behind_its_tree_catches_up() {
    for indexed in [0, 1, 255, 256, 257, 599] {
        let dir = log_of(indexed);
        let kept = TempDir::new().unwrap();
        copy_dir(&index_of(dir.path()), kept.path());
        let mut store = open(dir.path()).unwrap();
        entries(indexed, 600 - indexed).chunks(90).for_each(|batch| append(&mut store, batch.to_vec()));
        drop(store);
        fs::remove_dir_all(index_of(dir.path())).unwrap();
        copy_dir(kept.path(), &index_of(dir.path()));
        let (mut store, rebuilt) = reopen(dir.path());
        assert!(!rebuilt, "the tree was believed");
        check_all(&store, 600);
        append(&mut store, entries(600, 90));
        check_all(&store, 690);
    }
}

#[test]
fn an_index_ahead_of_its_tree_waits_for_it() {
    for (earlier, later) in [(0, 90), (90, 600), (500, 600)] {
        let dir = log_of(earlier);
        let sled = Layout::new(dir.path()).sled();
        let old = TempDir::new().unwrap();
        copy_dir(&sled, old.path());
        let mut store = open(dir.path()).unwrap();
        entries(earlier, later - earlier).chunks(90).for_each(|batch| append(&mut store, batch.to_vec()));
        drop(store);
        let files = files(dir.path());
        for gone in [true, false] {
            fs::remove_dir_all(&sled).unwrap();
            if !gone {
                copy_dir(old.path(), &sled);
            }
            let (store, _) = reopen(dir.path());
            check_all(&store, later);
            drop(store);
            assert!(files.iter().all(|file| file.exists()), "the index was believed");
        }
    }
}

#[test]
fn an_index_of_another_journal_is_made_anew() {
    for (count, others) in [(600, 600), (600, 400), (400, 600), (90, 600), (700, 90)] {
        let (dir, other) = (log_of(count), TempDir::new().unwrap());
        let mut store = open(other.path()).unwrap();
        let all: Vec<Vec<u8>> =
            entries(0, others).into_iter().map(|entry| entry.to_ascii_uppercase()).collect();
        all.chunks(90).for_each(|batch| append(&mut store, batch.to_vec()));
        drop(store);
        fs::remove_dir_all(index_of(dir.path())).unwrap();
        copy_dir(&index_of(other.path()), &index_of(dir.path()));
        for sled in [true, false] {
            if !sled {
                fs::remove_dir_all(Layout::new(dir.path()).sled()).unwrap();
            }
            check_all(&open(dir.path()).unwrap(), count);
        }
    }
}

#[test]
fn an_index_of_another_version_is_made_anew_without_the_tree() {
    let dir = log_of(600);
    fs::write(index_of(dir.path()).join("manifest"), b"m4 and more").unwrap();
    // Earlier versions had it in sled.
    let Opened { db, tree } = open_sled(dir.path());
    db.open_tree("index").unwrap().insert(b"m2", b"manifest").unwrap();
    drop((tree, db));
    let (store, rebuilt) = reopen(dir.path());
    assert!(!rebuilt, "the tree was believed");
    check_all(&store, 600);
    drop(store);
    let Opened { db, tree } = open_sled(dir.path());
    assert!(!db.tree_names().iter().any(|name| name == b"index"));
    drop((tree, db));
}

#[test]
fn files_that_hold_anything_else_change_nothing_that_is_served() {
    let whole = log_of(600);
    for (at, path) in files(whole.path()).into_iter().enumerate() {
        let name = path.strip_prefix(whole.path()).unwrap();
        let bytes = fs::read(&path).unwrap();
        let flips = (0..bytes.len()).step_by(bytes.len() / 8 + 1).map(|at| {
            let mut other = bytes.clone();
            other[at] ^= 1;
            Some(other)
        });
        let others = [None, Some(Vec::new()), Some(bytes[..bytes.len() - 1].to_vec())];
        for other in others.into_iter().chain([Some([&bytes[..], b"x"].concat())]).chain(flips) {
            let dir = TempDir::new().unwrap();
            copy_dir(whole.path(), dir.path());
            match &other {
                None => fs::remove_file(dir.path().join(name)).unwrap(),
                Some(other) => fs::write(dir.path().join(name), other).unwrap(),
            }
            // A page is checked where it is read: until then, the store is open.
            let store = open(dir.path()).unwrap();
            let read = std::panic::catch_unwind(AssertUnwindSafe(|| check_all(&store, 600)));
            drop(store);
            if read.is_err() {
                assert!(at > 0, "the manifest is checked when it is opened");
                check_all(&open(dir.path()).unwrap(), 600);
            }
        }
    }
}

#[test]
fn what_a_crash_left_in_the_directory_is_removed() {
    let dir = log_of(600);
    let before = files(dir.path());
    for name in ["manifest.new", "00000000000000000999.run", "noise"] {
        fs::write(index_of(dir.path()).join(name), b"half").unwrap();
    }
    let (store, rebuilt) = reopen(dir.path());
    assert!(!rebuilt);
    check_all(&store, 600);
    drop(store);
    assert_eq!(files(dir.path()), before);
}
