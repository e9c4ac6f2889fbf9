//! Starts without a cache that are interrupted, or that find old tiles and indexes or another log's.

use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;

use crate::bucket::Operation;
use crate::bucket::tests::memory::{Fault, MemoryObjects};
use crate::merkle::{Hash, LeafIndex, RightEdge};
use crate::store::Store;
use crate::store::bucket::HeadKind;
use crate::store::bucket::index_objects::{self, KnownRuns};
use crate::store::bucket::layout::INDEX;
use crate::store::tests::conformance::check;
use crate::store::tests::fixtures::{
    append, copy_dir, numbered, open_bucket, open_bucket_with, signed, signer,
};

fn head(store: &mut dyn Store) {
    let (old, new) = (store.checkpoint(), signed(&store.edge()));
    store.replace_checkpoint(old.as_deref(), &new).unwrap();
}

/// Uploads the index once it covers this many leaves.
fn upload(objects: &MemoryObjects, dir: &Path, known: &mut KnownRuns, least: usize) {
    let covered = (0..200).any(|_| {
        std::thread::sleep(Duration::from_millis(20));
        // The index thread may still write or merge runs.
        let covered = index_objects::upload(objects, &dir.join("index"), known).ok().flatten();
        covered.is_some_and(|covered| covered.get() >= least as u64)
    });
    assert!(covered, "an index");
}

/// A bucket with these entries and their index.
fn with_index(entries: &[Vec<u8>]) -> MemoryObjects {
    let (dir, objects) = (TempDir::new().unwrap(), MemoryObjects::default());
    let mut store = open_bucket(dir.path(), &objects).unwrap();
    entries.chunks(50).for_each(|batch| append(&mut store, batch.to_vec()));
    head(&mut store);
    upload(&objects, dir.path(), &mut KnownRuns::new(), entries.len() / 100 * 100);
    objects
}

/// Checks that a store has these entries and finds each of them.
fn check_all(store: &dyn Store, entries: &[Vec<u8>]) {
    check(store, entries);
    let leaves: Vec<Hash> = entries.iter().map(|entry| Hash::leaf(entry)).collect();
    let found = store.reader().find_leaves(&leaves).unwrap();
    assert!(found.into_iter().eq((0..entries.len() as u64).map(LeafIndex::new)), "each is found");
}

#[test]
fn an_interrupted_start_begins_again() {
    let entries = numbered(0, 2_000);
    let whole = with_index(&entries);
    // Fail at each group of tiles, the batches after the last full tile, and the index.
    for (operation, key) in [
        (Operation::Get, "tile/0/000"),
        (Operation::Get, "tile/0/003"),
        (Operation::Get, "tile/0/006"),
        (Operation::Get, "index/manifest"),
        (Operation::Get, ".run"),
        (Operation::List, "batch/"),
        (Operation::Get, "batch/"),
    ] {
        let (dir, objects) = (TempDir::new().unwrap(), whole.copy());
        objects.inject(operation, key, Fault::Failed);
        assert!(open_bucket(dir.path(), &objects).is_err(), "{operation} {key}");
        assert_eq!(objects.pending_faults(), 0);
        let mut store = open_bucket(dir.path(), &objects).unwrap();
        check_all(&store, &entries);
        append(&mut store, numbered(2_000, 10));
        head(&mut store);
        drop(store);
        check_all(&open_bucket(dir.path(), &objects).unwrap(), &numbered(0, 2_010));
    }
}

#[test]
fn a_cache_left_by_a_kill_during_a_cold_start_is_refilled() {
    let entries = numbered(0, 2_000);
    let objects = with_index(&entries);
    let dir = TempDir::new().unwrap();
    objects.delay(Duration::from_millis(5));
    std::thread::scope(|scope| {
        let opened = scope.spawn(|| open_bucket(dir.path(), &objects).unwrap());
        let mut copies = Vec::new();
        while !opened.is_finished() {
            let copy = TempDir::new().unwrap();
            copy_dir(dir.path(), copy.path());
            copies.push(copy);
        }
        objects.delay(Duration::ZERO);
        check_all(&opened.join().unwrap(), &entries);
        assert!(copies.len() > 3, "{}", copies.len());
        let each = copies.len().div_ceil(12);
        copies.iter().step_by(each).for_each(|copy| {
            check_all(&open_bucket(copy.path(), &objects).unwrap(), &entries);
        });
    });
}

#[test]
fn an_index_of_another_tree_is_rebuilt() {
    let entries = numbered(0, 1_000);
    let whole = with_index(&entries);
    let index_of = |objects: &MemoryObjects| {
        objects.all().into_iter().filter(|(key, _)| key.starts_with(INDEX)).collect::<Vec<_>>()
    };
    // Another log's index: of the same size, and of a larger tree.
    for other in [numbered(5, 1_000), numbered(5, 1_200)] {
        let (dir, objects) = (TempDir::new().unwrap(), whole.copy());
        index_of(&whole).iter().for_each(|(key, _)| objects.remove(key));
        index_of(&with_index(&other)).iter().for_each(|(key, bytes)| objects.set(key, bytes));
        let opened = open_bucket(dir.path(), &objects);
        if other.len() > entries.len() {
            // The index could also be this log's, if the bucket lost batches. The store must not open.
            assert!(opened.is_err_and(|error| error.is_damage()));
            continue;
        }
        let mut store = opened.unwrap();
        check_all(&store, &entries);
        append(&mut store, numbered(1_000, 10));
        head(&mut store);
    }
    // An older index of this log.
    let (dir, objects) = (TempDir::new().unwrap(), whole.copy());
    let mut store = open_bucket(dir.path(), &objects).unwrap();
    append(&mut store, numbered(1_000, 900));
    head(&mut store);
    check_all(&open_bucket(TempDir::new().unwrap().path(), &objects).unwrap(), &numbered(0, 1_900));
}

#[test]
fn a_rebuilt_index_is_uploaded_completely() {
    let (dir, objects) = (TempDir::new().unwrap(), MemoryObjects::default());
    let mut known = KnownRuns::new();
    let mut store = open_bucket(dir.path(), &objects).unwrap();
    numbered(0, 600).chunks(50).for_each(|batch| append(&mut store, batch.to_vec()));
    head(&mut store);
    upload(&objects, dir.path(), &mut known, 600);
    drop(store);
    // The new runs reuse the numbers of the old ones, with other leaves.
    std::fs::remove_dir_all(dir.path().join("index")).unwrap();
    let mut store = open_bucket(dir.path(), &objects).unwrap();
    append(&mut store, numbered(600, 900));
    head(&mut store);
    upload(&objects, dir.path(), &mut known, 1_400);
    let copy = objects.copy();
    let damaged = "batch/00000000000000000050";
    let batch = copy.bytes(damaged).unwrap();
    copy.set(damaged, b"noise");
    let cold = open_bucket(TempDir::new().unwrap().path(), &copy)
        .expect("the start uses the index, and does not read that batch");
    copy.set(damaged, &batch);
    check_all(&cold, &numbered(0, 1_500));
}

#[test]
fn a_log_whose_witnesses_have_cosigned_nothing_yet_starts_again() {
    let (dir, objects) = (TempDir::new().unwrap(), MemoryObjects::default());
    // The bucket after `init`.
    objects.set(HeadKind::Signed.as_str(), &signed(&RightEdge::default()));
    let open = |dir: &TempDir| {
        open_bucket_with(dir.path(), &objects, |options| {
            options.has_witnesses = true;
            options.open.log_key = Some(signer().public().clone());
        })
    };
    let mut store = open(&dir).unwrap();
    append(&mut store, numbered(0, 5));
    drop(store);
    for dir in [&dir, &TempDir::new().unwrap()] {
        let mut store = open(dir).unwrap();
        check_all(&store, &numbered(0, 5));
        store.follow().unwrap();
    }
    // Without any head, it is unknown what was signed.
    objects.remove(HeadKind::Signed.as_str());
    assert!(open(&TempDir::new().unwrap()).is_err_and(|error| error.is_damage()));
}

#[test]
fn objects_that_are_too_large_are_damaged_and_made_anew() {
    let entries = numbered(0, 2_000);
    let objects = with_index(&entries);
    for (key, bytes) in
        [("index/manifest", 2_000_000), ("tile/entries/000", 20_000_000), ("tile/0/001", 10_000)]
    {
        objects.set(key, &vec![7; bytes]);
    }
    let (dir, other) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let store = open_bucket(dir.path(), &objects).unwrap();
    check_all(&store, &entries);
    // The tail of one that began with an empty cache has no old bundles.
    let cached = open_bucket(other.path(), &objects).unwrap();
    drop(cached);
    check_all(&open_bucket(other.path(), &objects).unwrap(), &entries);
}
