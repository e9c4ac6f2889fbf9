//! Several lost objects are all named, and the remaining objects are still compared.

use std::collections::BTreeSet;

use tempfile::TempDir;

use super::*;
use crate::bucket::tests::memory::MemoryObjects;
use crate::checkpoint;
use crate::merkle::{LeafIndex, RightEdge};
use crate::store::Store as _;
use crate::store::bucket::batch_object::{ID_BYTES, encode};
use crate::store::bucket::{BatchObject, BucketStore, ChainError, Seal, layout, make};
use crate::store::tests::fixtures::{
    ORIGIN, append, batch_of, numbered, open_bucket_with, options, signed, signer,
};

/// Numbers of entries in the log's batches. No head covers the last one.
const COUNTS: [usize; 9] = [30, 270, 20, 4, 200, 96, 300, 5, 7];
const ALL: usize = 932;
const SIGNED: usize = ALL - 7;

fn key() -> NoteKey {
    signer().public().clone()
}

fn head(store: &mut BucketStore) {
    let (old, new) = (store.checkpoint(), signed(&store.edge()));
    store.replace_checkpoint(old.as_deref(), &new).unwrap();
}

fn log() -> MemoryObjects {
    let (dir, objects) = (TempDir::new().unwrap(), MemoryObjects::default());
    make(&objects, ORIGIN, "opaque", &signed(&RightEdge::default()), false).unwrap();
    let mut store = open_bucket_with(dir.path(), &objects, |open| {
        open.open = crate::store::OpenOptions { log_key: Some(key()), ..options() };
    })
    .unwrap();
    let mut size = 0;
    for count in COUNTS {
        append(&mut store, numbered(size, count));
        size += count;
        if size <= SIGNED {
            head(&mut store);
        }
    }
    objects
}

/// The key of the batch with this index.
fn batch(place: usize) -> String {
    let first: usize = COUNTS[..place].iter().sum();
    layout::batch(LeafIndex::new(first as u64).unwrap())
}

fn examine_since(objects: &MemoryObjects, kept: &[&[u8]]) -> BucketChecked {
    let (origin, keys) = (Origin::from(key().name().clone()), vec![key()]);
    let kept = kept.iter().map(|note| checkpoint::open(note, &keys).unwrap()).collect();
    let objects = Arc::new(objects.clone());
    let fsck = BucketFsck { objects, origin, keys, repair: false, threads: 3, progress: &|_, _| () };
    let scope = FsckScope { kept, ..FsckScope::default() };
    let found = fsck.examine(&scope).unwrap();
    // A strict check reports only the first fault.
    assert_eq!(fsck.run_in(&scope).is_err(), !found.wrong.is_empty(), "{found:?}");
    found
}

fn examine(objects: &MemoryObjects) -> BucketChecked {
    examine_since(objects, &[])
}

/// Examines a log without these objects, and with noise in others.
fn without(log: &MemoryObjects, gone: &[&str], noise: &[&str]) -> BucketChecked {
    let objects = log.copy();
    gone.iter().for_each(|key| objects.remove(key));
    noise.iter().for_each(|key| objects.set(key, b"noise"));
    examine(&objects)
}

fn wrong(found: &BucketChecked) -> Vec<&str> {
    found.wrong.iter().map(|wrong| wrong.key.as_str()).collect()
}

fn named(found: &BucketChecked) -> BTreeSet<&str> {
    found.named.iter().map(|wrong| wrong.key.as_str()).collect()
}

/// A batch that replaces another one.
fn replace(objects: &MemoryObjects, place: usize, entries: Vec<Vec<u8>>) {
    let before = {
        let whole: usize = COUNTS[..place].iter().sum();
        if whole == 0 {
            RightEdge::default()
        } else {
            batch_of(&RightEdge::default(), numbered(0, whole)).growth.edge
        }
    };
    let old = BatchObject::parse(objects.bytes(&batch(place)).unwrap()).unwrap();
    let new = batch_of(&before, entries);
    objects.set(
        &batch(place),
        &encode(old.head().origin, &new, before.root(), old.head().writer, [3; ID_BYTES]).0,
    );
}

#[test]
fn two_damaged_batches_and_a_missing_one_are_named_at_once_and_so_are_tiles_beside_them() {
    let log = log();
    let sound = examine(&log);
    assert_eq!((sound.wrong.len(), sound.damaged, sound.unchecked.len()), (0, 0, 0), "{sound:?}");
    assert_eq!((sound.entries.get(), sound.batches), (ALL as u64, COUNTS.len() as u64));
    let tiles = sound.tiles;
    let found = without(&log, &[&batch(3)], &[&batch(1), &batch(6)]);
    assert_eq!(wrong(&found), [batch(1), batch(3), batch(6)]);
    assert_eq!((found.wrong_batches, found.batches), (3, COUNTS.len() as u64 - 3));
    // Tiles and bundles have the leaves: nothing was left out.
    assert_eq!(
        (found.unchecked.as_slice(), found.damaged, found.tiles),
        ([].as_slice(), 0, tiles),
        "{found:?}"
    );
    assert_eq!((found.entries, found.root), (sound.entries, sound.root));
    // Tiles within the gap, at its edges, and far from it.
    for tile in [
        "tile/0/000",
        "tile/entries/000",
        "tile/0/001",
        "tile/entries/001",
        "tile/0/003.p/157",
        "tile/entries/003.p/157",
        "tile/1/000.p/3",
    ] {
        for is_gone in [true, false] {
            let (gone, noise) = if is_gone { (vec![tile], vec![]) } else { (vec![], vec![tile]) };
            let others = [batch(1), batch(6)];
            let noise = [noise, others.iter().map(String::as_str).collect()].concat();
            let found = without(&log, &[&[batch(3).as_str()], gone.as_slice()].concat(), &noise);
            assert_eq!(wrong(&found), [batch(1), batch(3), batch(6)], "{tile}");
            assert_eq!((named(&found), found.unchecked.len()), (BTreeSet::from([tile]), 0), "{found:?}");
        }
    }
}

#[test]
fn any_two_batches_that_are_lost_are_named_and_nothing_else_is() {
    let log = log();
    for one in 0..COUNTS.len() {
        for other in one..COUNTS.len() {
            let found = without(&log, &[&batch(one), &batch(other)], &[]);
            let is_end = other + 1 == COUNTS.len();
            // Neighbours form one gap. Nothing reveals that the last batch is missing.
            let mut expected = vec![batch(one)];
            if other > one + 1 && !is_end {
                expected.push(batch(other));
            }
            if one + 1 == COUNTS.len() {
                expected.clear();
            }
            assert_eq!(wrong(&found), expected, "{one} {other}");
            assert_eq!((found.damaged, found.unchecked.len()), (0, 0), "{one} {other}: {found:?}");
            let found = without(&log, &[], &[&batch(one), &batch(other)]);
            let expected = if one == other { vec![batch(one)] } else { vec![batch(one), batch(other)] };
            assert_eq!((wrong(&found), found.damaged), (expected.iter().map(String::as_str).collect(), 0));
            // Nothing says what the last one had.
            assert_eq!(found.unchecked.len(), usize::from(is_end), "{one} {other}: {found:?}");
        }
    }
    let all: Vec<String> = (0..COUNTS.len()).map(batch).collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    let found = without(&log, &all, &[]);
    assert_eq!((wrong(&found), found.damaged, found.unchecked.len()), (vec![all[0]], 0, 0), "{found:?}");
}

/// A move into a bucket joins batches, and the heads stay where they were.
#[test]
fn the_partial_tiles_of_a_head_that_ends_within_a_batch_are_compared_and_written() {
    let objects = log();
    replace(&objects, 6, numbered(620, ALL - 620));
    objects.remove(&batch(7));
    objects.remove(&batch(8));
    let sound = examine(&objects);
    assert_eq!((sound.wrong.len(), sound.damaged, sound.batches), (0, 0, 7), "{sound:?}");
    let tile = format!("tile/0/003.p/{}", SIGNED - 768);
    let bytes = objects.bytes(&tile).unwrap();
    objects.remove(&tile);
    assert_eq!(named(&examine(&objects)), BTreeSet::from([tile.as_str()]));
    let (origin, keys, shared) = (Origin::from(key().name().clone()), vec![key()], Arc::new(objects.clone()));
    let fsck = BucketFsck { objects: shared, origin, keys, repair: true, threads: 3, progress: &|_, _| () };
    assert_eq!(fsck.run().unwrap().damaged, 1);
    assert_eq!(objects.bytes(&tile), Some(bytes));
}

#[test]
fn a_head_of_an_absurd_size_is_named_at_once() {
    let objects = log();
    let size = TreeSize::new(1 << 50).unwrap();
    let absurd = Checkpoint::new(key().name().clone(), size, Hash::digest(b"any"));
    objects.set("checkpoint", absurd.sign(&signer()).to_string().as_bytes());
    let found = examine(&objects);
    assert!(!found.wrong.is_empty() && !found.unchecked.is_empty(), "{found:?}");
}

#[test]
fn a_damaged_batch_says_where_the_next_one_is_missing() {
    let log = log();
    let mut bytes = log.bytes(&batch(1)).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    log.set(&batch(1), &bytes);
    log.remove(&batch(2));
    let found = examine(&log);
    assert_eq!(wrong(&found), [batch(1), batch(2)]);
    assert_eq!((found.damaged, found.unchecked.len()), (0, 0), "{found:?}");
}

#[test]
fn a_batch_with_other_entries_is_told_from_its_neighbours_and_from_its_tiles() {
    let log = log();
    for (place, count) in COUNTS.into_iter().enumerate().take(COUNTS.len() - 1) {
        let objects = log.copy();
        // It continues the chain, and makes the root that it says.
        replace(&objects, place, numbered(5_000, count));
        let found = examine(&objects);
        assert_eq!(wrong(&found), [batch(place)], "{found:?}");
        assert_eq!((found.damaged, found.unchecked.len()), (0, 0), "{place}: {found:?}");
        // One of another length.
        let objects = log.copy();
        replace(&objects, place, numbered(5_000, 3));
        let found = examine(&objects);
        assert_eq!((wrong(&found), found.damaged), (vec![batch(place).as_str()], 0), "{found:?}");
    }
    // The next place's object, another log's.
    log.set(&batch(4), &log.bytes(&batch(5)).unwrap());
    let mut bytes = log.bytes(&batch(2)).unwrap();
    bytes[8] ^= 1;
    let end = bytes.len() - 32;
    let digest = Hash::digest(&bytes[..end]);
    bytes[end..].copy_from_slice(digest.as_bytes());
    log.set(&batch(2), &bytes);
    let found = examine(&log);
    assert_eq!(wrong(&found), [batch(2), batch(4)]);
    assert!(
        found.wrong[0].seen.contains("origin") && found.wrong[1].seen.contains("first index"),
        "{found:?}"
    );
    assert_eq!((found.damaged, found.unchecked.len()), (0, 0));
}

#[test]
fn what_nothing_has_any_more_is_said_to_be_unchecked_and_the_rest_is_compared() {
    let log = log();
    // No object has the leaves of batch 1, but the other leaves are available.
    let found = without(&log, &["tile/0/000", "tile/entries/000"], &[&batch(1), "tile/0/003.p/157"]);
    assert_eq!(wrong(&found), [batch(1)]);
    assert_eq!(named(&found), BTreeSet::from(["tile/0/003.p/157"]), "{found:?}");
    let said = found.unchecked.join("\n");
    assert!(said.starts_with("entries 30 to 299: "), "{said}");
    assert_eq!(found.unchecked.len(), 2, "the peaks are in other tiles: {said}");
    // Nor are the peaks there.
    let gone = ["tile/0/000", "tile/entries/000", "tile/1/000.p/3"];
    let found = without(&log, &gone, &[&batch(1), &batch(5), "tile/entries/003.p/157"]);
    assert_eq!(wrong(&found), [batch(1), batch(5)]);
    assert_eq!(named(&found), BTreeSet::from(["tile/entries/003.p/157"]), "{found:?}");
    let said = found.unchecked.join("\n");
    assert!(said.contains("against a signed root"), "{said}");
    // The batches after it must still continue each other.
    let objects = log.copy();
    gone.iter().for_each(|key| objects.remove(key));
    objects.set(&batch(1), b"noise");
    replace(&objects, 6, numbered(5_000, COUNTS[6]));
    let found = examine(&objects);
    assert!(wrong(&found).starts_with(&[&batch(1)]) && found.wrong.len() > 1, "{found:?}");
}

#[test]
fn heads_and_seals_that_do_not_fit_are_named_beside_batches() {
    let log = log();
    let found = without(&log, &[], &["checkpoint", &batch(2)]);
    assert_eq!((wrong(&found), &found.published), (vec!["checkpoint", &batch(2)], &None));
    let found = without(&log, &["checkpoint"], &[&batch(2)]);
    assert_eq!(wrong(&found), ["checkpoint", &batch(2)]);
    // The last batches are gone, and the head reveals it.
    let found = without(&log, &[&batch(6), &batch(7), &batch(8)], &[&batch(2)]);
    assert_eq!((wrong(&found), found.unchecked.len()), (vec![batch(2).as_str(), &batch(6)], 0), "{found:?}");
    let edge = batch_of(&RightEdge::default(), numbered(0, ALL)).growth.edge;
    let seal = Seal {
        origin: crate::checkpoint::origin_hash(ORIGIN),
        size: edge.size(),
        root: edge.root(),
        mover: WriterId::from_bytes([4; ID_BYTES]),
    };
    let end = layout::batch(edge.next_index());
    log.set(&end, &seal.to_bytes());
    let found = without(&log, &[&batch(8)], &[&batch(2)]);
    assert_eq!(wrong(&found), [batch(2), batch(8)]);
    assert_eq!(found.sealed, Some(seal.mover));
    log.set(&end, &Seal { root: Hash::EMPTY_ROOT, ..seal }.to_bytes());
    let found = without(&log, &[], &[&batch(2)]);
    assert_eq!((wrong(&found), found.sealed), (vec![batch(2).as_str(), &end], None));
}

#[test]
fn an_older_head_of_another_history_becomes_proof_of_the_fork_also_beside_damage() {
    let log = log();
    let edge = |entries| batch_of(&RightEdge::default(), entries).growth.edge;
    let mut other = numbered(0, 500);
    other[77] = b"another one".to_vec();
    let kept = signed(&edge(other.clone()));
    for lost in [vec![], vec![batch(1), batch(3)]] {
        let objects = log.copy();
        lost.iter().for_each(|key| objects.remove(key));
        let found = examine_since(&objects, &[&kept]);
        assert_eq!(found.wrong.len(), lost.len() + 1, "{found:?}");
        let fork = found.fork.expect("the batches prove it");
        assert_eq!((fork.smaller().size.get(), fork.larger().size.get()), (500, SIGNED as u64));
        assert!(examine_since(&objects, &[&signed(&edge(numbered(0, 500)))]).fork.is_none());
    }
    // A larger head than the bucket's proves nothing unless the batches produce it.
    let longer = signed(&edge(numbered(0, ALL + 1)));
    let found = examine_since(&log, &[&longer]);
    assert!(found.fork.is_none() && found.wrong.len() == 1, "{found:?}");
    let objects = log.copy();
    objects.set("checkpoint", &kept);
    let found = examine_since(&objects, &[&signed(&edge(numbered(0, ALL)))]);
    assert_eq!(found.fork.expect("the batches prove it").larger().size.get(), ALL as u64);
    let error = BucketFsck {
        objects: Arc::new(log),
        origin: Origin::from(key().name().clone()),
        keys: vec![key()],
        repair: false,
        threads: 1,
        progress: &|_, _| (),
    };
    let kept = vec![checkpoint::open(&kept, &[key()]).unwrap()];
    let error = error.run_in(&FsckScope { kept, ..FsckScope::default() }).unwrap_err();
    assert!(matches!(error, StoreError::Chain(ChainError::Forked { .. })), "{error}");
}
