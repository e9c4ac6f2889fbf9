//! Tests of the store over a bucket in memory: turns, tiles, lost caches, and faults of each request.

use tempfile::TempDir;

use super::super::{BucketChecked, BucketFsck, index_objects, layout};
use super::*;
use crate::bucket::Operation;
use crate::bucket::tests::memory::{Fault, MemoryObjects};
use crate::merkle::{LeafIndex, Tile, TileId, TileReader as _, hashes_to_bytes, tiles_of};
use crate::store::MAX_BATCH_ENTRIES;
use crate::store::tests::conformance::check;
use crate::store::tests::fixtures::{
    ORIGIN, append, batch_of, copy_dir, numbered, open_bucket, open_bucket_with, options, real_objects,
    signed, signer, unlocked,
};

mod uploader;

fn head(store: &mut BucketStore) {
    let (old, new) = (store.checkpoint(), signed(&store.edge()));
    store.replace_checkpoint(old.as_deref(), &new).unwrap();
}

/// Checks that a static reader finds all tiles of the head in the bucket.
fn check_tiles(objects: &MemoryObjects, store: &BucketStore) {
    let (reader, all) = (store.reader(), objects.all());
    let (head, _) = checkpoint::read_unverified(&all["checkpoint"]).unwrap();
    for tile in tiles_of(head.size) {
        let expected = match tile.id {
            TileId::Hashes { .. } => hashes_to_bytes(&reader.read_tiles(&[tile]).unwrap()[0]),
            TileId::Entries { index } => reader.bundle(index, tile.width()).unwrap(),
        };
        assert!(all.get(&layout::tile(tile)) == Some(&expected), "{tile} of {}", head.size);
        assert_eq!(objects.tagging(&layout::tile(tile)).is_some(), !tile.is_full(), "{tile}");
    }
}

fn overtaken<T: std::fmt::Debug>(result: Result<T, StoreError>) {
    assert!(matches!(result, Err(StoreError::Overtaken { .. })), "{result:?}");
}

#[test]
fn nothing_is_appended_to_a_bucket_that_was_rolled_back_meanwhile() {
    let (dir, objects) = (TempDir::new().unwrap(), MemoryObjects::default());
    let mut store = open_bucket(dir.path(), &objects).unwrap();
    append(&mut store, numbered(0, 3));
    head(&mut store);
    let old = objects.all();
    append(&mut store, numbered(3, 2));
    head(&mut store);
    // An old copy is restored, while nothing comes.
    let removed: Vec<String> = objects.all().into_keys().filter(|key| !old.contains_key(key)).collect();
    removed.iter().for_each(|key| objects.remove(key));
    old.iter().for_each(|(key, bytes)| objects.set(key, bytes));
    store.heard = store.heard.checked_sub(UNHEARD).unwrap();
    let batch = batch_of(&store.edge(), numbered(5, 1));
    let error = store.stage(&batch).unwrap_err();
    assert!(error.is_damage() && error.to_string().contains("rolled back"), "{error}");
    assert_eq!(objects.all(), old, "nothing was written");
    assert!(store.reload().is_err(), "and it stays so");
}

#[test]
fn a_static_reader_finds_the_tiles_of_each_head() {
    let (dir, objects) = (TempDir::new().unwrap(), MemoryObjects::default());
    let mut store = open_bucket(dir.path(), &objects).unwrap();
    head(&mut store);
    let mut size = 0;
    for count in [1, 2, 250, 3, 256, 700, 1] {
        append(&mut store, numbered(size, count));
        size += count;
        if count != 3 {
            head(&mut store);
            check_tiles(&objects, &store);
        }
    }
    // The store writes neither a head over missing batches nor its tiles.
    let more = batch_of(&store.edge(), numbered(size, 300)).growth.edge;
    let before = objects.all();
    let old = store.checkpoint();
    assert!(store.replace_checkpoint(old.as_deref(), &signed(&more)).is_err());
    assert_eq!(objects.all(), before);
}

#[test]
fn partial_tiles_that_a_rule_deleted_are_rewritten() {
    let (dir, objects) = (TempDir::new().unwrap(), MemoryObjects::default());
    let mut store = open_bucket(dir.path(), &objects).unwrap();
    append(&mut store, numbered(0, 1_000));
    head(&mut store);
    append(&mut store, numbered(1_000, 300));
    let expired: Vec<String> =
        objects.all().into_keys().filter(|key| objects.tagging(key).is_some()).collect();
    assert_eq!(expired.len(), 3);
    expired.iter().for_each(|key| objects.remove(key));
    assert_eq!(store.turn().unwrap(), Turn::Hold);
    check_tiles(&objects, &store);
    expired.iter().for_each(|key| objects.remove(key));
    assert_eq!(store.turn().unwrap(), Turn::Hold);
    assert!(objects.bytes(&expired[0]).is_none(), "once a day");
}

#[test]
fn two_stores_take_turns_and_the_later_one_writes_the_missing_tiles() {
    let (dirs, objects) = ([TempDir::new().unwrap(), TempDir::new().unwrap()], MemoryObjects::default());
    let mut a = open_bucket(dirs[0].path(), &objects).unwrap();
    let mut b = open_bucket(dirs[1].path(), &objects).unwrap();
    head(&mut a);
    assert!(a.may_be_overtaken() && b.checkpoint().is_none());
    append(&mut a, numbered(0, 300));
    head(&mut a);
    b.follow().unwrap();
    check(&b, &numbered(0, 300));
    assert_eq!(a.checkpoint(), b.checkpoint());
    // Append a batch without a head, then switch to another server.
    append(&mut a, numbered(300, 500));
    b.follow().unwrap();
    append(&mut b, numbered(800, 10));
    head(&mut b);
    check_tiles(&objects, &b);
    // The first server wakes up.
    let late = batch_of(&a.edge(), numbered(900, 5));
    overtaken(a.stage(&late));
    let (old, new) = (a.checkpoint(), signed(&a.edge()));
    overtaken(a.replace_checkpoint(old.as_deref(), &new));
    a.follow().unwrap();
    check(&a, &numbered(0, 810));
    assert_eq!(a.checkpoint(), b.checkpoint());
    append(&mut a, numbered(810, 5));
    head(&mut a);
    check_tiles(&objects, &a);
    // A third server starts without a cache.
    drop((a, b));
    let dir = TempDir::new().unwrap();
    check(&open_bucket(dir.path(), &objects).unwrap(), &numbered(0, 815));
}

#[test]
fn a_bucket_that_has_less_than_the_cache_or_something_else_is_refused() {
    let (dir, objects) = (TempDir::new().unwrap(), MemoryObjects::default());
    let mut store = open_bucket(dir.path(), &objects).unwrap();
    append(&mut store, numbered(0, 300));
    head(&mut store);
    let old = objects.copy();
    append(&mut store, numbered(300, 40));
    drop(store);
    let refused = |objects: &MemoryObjects| {
        let after = TempDir::new().unwrap();
        copy_dir(dir.path(), after.path());
        let error = open_bucket(after.path(), objects).err().unwrap();
        assert!(error.is_damage() && matches!(error, StoreError::Chain(_)), "{error}");
        error.to_string()
    };
    assert!(refused(&old).contains("rolled back"));
    let other = TempDir::new().unwrap();
    let mut grown = open_bucket(other.path(), &old).unwrap();
    append(&mut grown, numbered(1_000, 40));
    refused(&old);
    append(&mut grown, numbered(2_000, 40));
    head(&mut grown);
    refused(&old);
    // The attempts changed nothing.
    check(&open_bucket(dir.path(), &objects).unwrap(), &numbered(0, 340));
}

#[test]
fn with_witnesses_only_heads_with_a_quorum_are_published() {
    let (dir, objects) = (TempDir::new().unwrap(), MemoryObjects::default());
    let mut store = open_bucket(dir.path(), &objects).unwrap();
    head(&mut store);
    let empty = store.checkpoint().unwrap();
    drop(store);
    let open = |dir: &TempDir| open_bucket_with(dir.path(), &objects, |o| o.has_witnesses = true).unwrap();
    let mut store = open(&dir);
    assert_eq!((store.checkpoint(), store.witnessed()), (Some(empty.clone()), Some(empty.clone())));
    append(&mut store, numbered(0, 3));
    head(&mut store);
    let three = store.checkpoint().unwrap();
    assert_eq!((store.witnessed(), objects.bytes("checkpoint")), (Some(empty.clone()), Some(empty)));
    assert_eq!(objects.bytes("checkpoint.signed"), Some(three.clone()));
    store.replace_witnessed(&three).unwrap();
    assert_eq!(objects.bytes("checkpoint"), Some(three.clone()));
    append(&mut store, numbered(3, 300));
    head(&mut store);
    let later = store.checkpoint();
    drop(store);
    for dir in [&dir, &TempDir::new().unwrap()] {
        let store = open(dir);
        assert_eq!((store.checkpoint(), store.witnessed()), (later.clone(), Some(three.clone())));
        check(&store, &numbered(0, 303));
    }
    // The log no longer has witnesses.
    let mut store = open_bucket(dir.path(), &objects).unwrap();
    assert_eq!(store.checkpoint(), later);
    append(&mut store, numbered(303, 1));
    head(&mut store);
    check_tiles(&objects, &store);
}

/// A bucket of 1,000 leaves with its index, and the number of its batches.
fn with_index() -> MemoryObjects {
    let (dir, objects) = (TempDir::new().unwrap(), MemoryObjects::default());
    let mut store = open_bucket(dir.path(), &objects).unwrap();
    numbered(0, 1_000).chunks(50).for_each(|batch| append(&mut store, batch.to_vec()));
    head(&mut store);
    append(&mut store, numbered(1_000, 7));
    let mut known = index_objects::KnownRuns::new();
    // The index thread may still write or merge runs.
    let covered = (0..100).find_map(|_| {
        std::thread::sleep(std::time::Duration::from_millis(20));
        index_objects::upload(&objects, &store.layout.index(), &mut known).ok().flatten()
    });
    assert!(covered.unwrap() > TreeSize::ZERO);
    objects
}

#[test]
fn a_start_without_a_cache_reads_tiles_the_index_and_only_the_last_batches() {
    let objects = with_index();
    let dir = TempDir::new().unwrap();
    let opened = objects.copy();
    // The start does not read the batches that the tiles cover.
    let damaged = layout::batch(LeafIndex::new(100).unwrap());
    opened.set(&damaged, b"noise");
    let mut store = open_bucket(dir.path(), &opened).unwrap();
    assert_eq!(store.edge().size().get(), 1_007);
    for (at, entry) in numbered(0, 1_007).iter().enumerate() {
        assert_eq!(store.reader().find_leaf(&Hash::leaf(entry)).unwrap(), LeafIndex::new(at as u64), "{at}");
    }
    opened.set(&damaged, &objects.bytes(&damaged).unwrap());
    check(&store, &numbered(0, 1_007));
    append(&mut store, numbered(1_007, 300));
    head(&mut store);
    check_tiles(&opened, &store);
    drop(store);
    check(&open_bucket(dir.path(), &opened).unwrap(), &numbered(0, 1_307));
}

#[test]
fn damaged_tiles_and_indexes_are_rebuilt_from_the_batches() {
    let whole = with_index();
    let derived: Vec<String> = whole
        .all()
        .into_keys()
        .filter(|key| {
            key.starts_with("index/") || key.starts_with("tile/0/") || key.starts_with("tile/entries/")
        })
        .collect();
    assert!(derived.len() > 8);
    for (at, key) in derived.iter().enumerate() {
        let (dir, objects) = (TempDir::new().unwrap(), whole.copy());
        let mut bytes = objects.bytes(key).unwrap();
        match at % 3 {
            0 => objects.remove(key),
            1 => objects.set(key, b"noise"),
            _ => {
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
                objects.set(key, &bytes);
            }
        }
        let store = open_bucket(dir.path(), &objects).unwrap();
        check(&store, &numbered(0, 1_007));
        assert_eq!(store.reader().damage(), None);
        let tile = Tile::parse(key).ok().filter(|tile| tile.is_bundle() && tile.is_full());
        if tile.is_some() {
            assert_eq!(objects.bytes(key), whole.bytes(key), "written again");
        }
    }
}

#[test]
fn a_damaged_batch_whose_bundle_is_damaged_too_is_named() {
    let objects = with_index();
    let dir = TempDir::new().unwrap();
    let store = open_bucket(dir.path(), &objects).unwrap();
    objects.set("batch/00000000000000000000", b"noise");
    objects.set("tile/entries/000", b"noise");
    let error = store.reader().bundle(0, 256).unwrap_err();
    assert!(error.is_damage() && error.to_string().contains("batch/00000000000000000000"), "{error}");
    assert!(store.reader().damage().is_some());
}

#[test]
fn the_holder_releases_the_lease_when_it_stops() {
    let (dirs, objects) = ([TempDir::new().unwrap(), TempDir::new().unwrap()], MemoryObjects::default());
    let open = |at: usize| {
        let change = |options: &mut BucketOptions| {
            (options.lease_seconds, options.address) = (Some(30), Some(format!("http://{at}")));
        };
        open_bucket_with(dirs[at].path(), &objects, change).unwrap()
    };
    let mut a = open(0);
    assert_eq!(a.turn().unwrap(), Turn::Hold);
    assert_eq!(
        objects.limit(),
        Some(Duration::from_secs(30)),
        "no request about it takes longer than it lasts"
    );
    let mut b = open(1);
    let Turn::Stand { holder, .. } = b.turn().unwrap() else { panic!("one holds it") };
    assert_eq!(holder.as_deref(), Some("http://0"));
    drop(a);
    assert_eq!(open(0).turn().unwrap(), Turn::Hold, "it was released, so it need not expire");
}

/// Appends like the sequencer: after an error it reloads, after being overtaken it follows, and then it drops the
/// entries that the log has.
fn append_in_spite(store: &mut BucketStore, entries: &[Vec<u8>]) {
    for _ in 0..10 {
        let is_new = |entry: &Vec<u8>| store.reader().find_leaf(&Hash::leaf(entry)).unwrap().is_none();
        let left: Vec<Vec<u8>> = entries.iter().filter(|entry| is_new(entry)).cloned().collect();
        let done = if left.is_empty() {
            Ok(())
        } else {
            let batch = batch_of(&store.edge(), left);
            store.stage(&batch).and_then(|staged| store.apply(&batch, staged))
        };
        let (old, new) = (store.checkpoint(), signed(&store.edge()));
        let is_head = old.as_deref() == Some(&new);
        let done =
            done.and_then(|()| if is_head { Ok(()) } else { store.replace_checkpoint(old.as_deref(), &new) });
        match done {
            Ok(()) => return,
            Err(StoreError::Overtaken { .. }) => recovered(store, BucketStore::follow),
            Err(_) => recovered(store, BucketStore::reload),
        }
    }
    panic!("it never succeeded");
}

/// Retries a few times.
fn recovered(store: &mut BucketStore, recover: impl Fn(&mut BucketStore) -> Result<(), StoreError>) {
    if recover(store).is_err() {
        let last = (0..5).map(|_| store.reload()).find(Result::is_ok);
        assert!(last.is_some(), "it is not reloaded");
    }
}

#[test]
fn each_fault_of_each_request_loses_and_duplicates_nothing() {
    use Operation::{Create, Get, List, Put, Replace};
    let places = [
        (Get, "batch/"),
        (Get, "checkpoint"),
        (Get, "tile/"),
        (List, ""),
        (Create, "batch/"),
        (Create, "checkpoint"),
        (Replace, "checkpoint"),
        (Put, "tile/0"),
        (Put, "tile/entries"),
    ];
    for (operation, key) in places {
        for fault in [Fault::Failed, Fault::FailedButPersisted, Fault::Busy] {
            for times in [1, 3] {
                let (dir, objects) = (TempDir::new().unwrap(), MemoryObjects::default());
                let mut store = open_bucket(dir.path(), &objects).unwrap();
                let inject = || (0..times).for_each(|_| objects.inject(operation, key, fault));
                let mut count = 0;
                for more in [200, 100, 1] {
                    inject();
                    append_in_spite(&mut store, &numbered(count, more));
                    count += more;
                }
                let what = format!("{operation} of {key}, {fault:?}");
                let all: Vec<Vec<u8>> = numbered(0, count);
                assert_eq!(store.edge().size().get(), count as u64, "{what}");
                check(&store, &all);
                check_tiles(&objects, &store);
                // Another server meets the remaining faults.
                let other = TempDir::new().unwrap();
                let follower = (0..20).find_map(|_| open_bucket(other.path(), &objects).ok());
                let follower = follower.expect(&what);
                // A read reports the fault, and later reads are right.
                while (operation, key) == (Get, "tile/") && objects.pending_faults() > 0 {
                    let read = follower.reader().bundle(0, 256);
                    assert!(matches!(read, Err(StoreError::Chain(ChainError::Bucket(_)))), "{read:?}");
                }
                check(&follower, &all);
                drop(store);
                let again = (0..20).find_map(|_| open_bucket(dir.path(), &objects).ok());
                check(&again.expect(&what), &all);
            }
        }
    }
}

fn fsck(objects: &MemoryObjects, repair: bool) -> Result<BucketChecked, StoreError> {
    let (origin, keys) = (Origin::from(signer().public().name().clone()), vec![signer().public().clone()]);
    let objects = Arc::new(objects.clone());
    BucketFsck { objects, origin, keys, repair, threads: 3, progress: &|_, _| () }.run()
}

#[test]
fn fsck_names_wrong_objects_and_rewrites_tiles() {
    let whole = with_index();
    let sound = fsck(&whole, false).unwrap();
    // Four tiles of leaf hashes, one above them, and four bundles.
    assert_eq!((sound.entries.get(), sound.batches, sound.tiles, sound.damaged), (1_007, 21, 9, 0));
    for (key, bytes) in whole.all().into_iter().filter(|(key, _)| key.starts_with("tile/")) {
        let objects = whole.copy();
        objects.remove(&key);
        let found = fsck(&objects, false).unwrap();
        assert_eq!((&found.named[0].key, found.named[0].seen.as_str()), (&key, "none"));
        objects.set(&key, &bytes[1..]);
        let found = fsck(&objects, true).unwrap();
        assert_eq!((found.damaged, &found.named[0].key), (1, &key));
        assert!(found.named[0].seen.starts_with(&format!("{} bytes of SHA-256 ", bytes.len() - 1)));
        assert_eq!((objects.bytes(&key), fsck(&objects, false).unwrap().damaged), (Some(bytes), 0));
    }
    for key in ["batch/00000000000000000100", "checkpoint"] {
        for change in [
            |objects: &MemoryObjects, key: &str| objects.remove(key),
            |objects: &MemoryObjects, key: &str| objects.set(key, b"x"),
        ] {
            let objects = whole.copy();
            change(&objects, key);
            let error = fsck(&objects, true);
            // A log without keys may have no head, so a missing head is no damage.
            let is_lost_head = key == "checkpoint" && error.is_ok();
            assert!(is_lost_head || error.is_err_and(|error| error.is_damage()), "{key}");
        }
    }
}

/// `TREEHEAD_TEST_LEAVES=10000000 cargo test --lib leaves_in_a_real_store -- --ignored --nocapture` prints the times.
#[test]
#[ignore = "takes minutes, and a real object store"]
fn a_server_without_a_cache_soon_serves_many_leaves_in_a_real_store() {
    let Some(objects) = real_objects() else { return };
    let leaves = std::env::var("TREEHEAD_TEST_LEAVES").map_or(300_000, |leaves| leaves.parse().unwrap());
    let open = |dir: &TempDir| {
        let open = || {
            let open = OpenOptions::new(ORIGIN);
            let options = BucketOptions::new(objects.clone(), open).unwrap();
            BucketStore::open(dir.path(), BucketOptions { threads: 32, ..options })
        };
        unlocked(open).unwrap()
    };
    let (dir, begun) = (TempDir::new().unwrap(), Instant::now());
    let mut store = open(&dir);
    let mut size = 0_usize;
    while size < leaves {
        let count = MAX_BATCH_ENTRIES.min(leaves - size);
        append(&mut store, (size..size + count).map(|at| at.to_be_bytes().to_vec()).collect());
        size += count;
        if size.is_multiple_of(64 * MAX_BATCH_ENTRIES) || size == leaves {
            head(&mut store);
        }
    }
    println!("written: {leaves} leaves in {:?}", begun.elapsed());
    let mut known = index_objects::KnownRuns::new();
    let mut covered = None;
    while covered.is_none() {
        std::thread::sleep(std::time::Duration::from_millis(200));
        covered = index_objects::upload(objects.as_ref(), &store.layout.index(), &mut known).ok().flatten();
    }
    let root = store.edge().root();
    drop(store);
    for (what, dir) in [("without a cache", &TempDir::new().unwrap()), ("with its cache", &dir)] {
        let begun = Instant::now();
        let store = open(dir);
        assert_eq!((store.edge().size().get(), store.edge().root()), (leaves as u64, root));
        let entry = (leaves / 3).to_be_bytes();
        let found = store.reader().find_leaf(&Hash::leaf(&entry)).unwrap();
        assert_eq!(found, LeafIndex::new(leaves as u64 / 3));
        assert_eq!(store.reader().entry(found.unwrap()).unwrap(), entry);
        println!("{what}: serves after {:?}; the index in the bucket covers {covered:?}", begun.elapsed());
    }
}
