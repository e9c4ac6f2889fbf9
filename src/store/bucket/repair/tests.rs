//! Repairs of each kind of loss.

mod backups;

use std::path::Path;

use tempfile::TempDir;

use backups::back_up;

use super::*;
use crate::bucket::Operation;
use crate::bucket::tests::memory::{Fault, MemoryObjects};
use crate::store::bucket::layout::{BATCHES, TILES};
use crate::store::bucket::{BucketStore, Seal};
use crate::store::tests::conformance::check;
use crate::store::tests::fixtures::{
    ORIGIN, append, batch_of, numbered, open_bucket_with, options, signed, signer,
};
use crate::store::{JournalSource, Layout, OpenOptions, Store as _, read_signed};

/// Numbers of entries in the log's batches.
const COUNTS: [usize; 8] = [1, 2, 250, 3, 256, 90, 300, 1];
const ALL: usize = 903;

fn key() -> NoteKey {
    signer().public().clone()
}

fn with_key() -> OpenOptions {
    OpenOptions { log_key: Some(key()), ..options() }
}

fn open(dir: &Path, objects: &MemoryObjects) -> Result<BucketStore, StoreError> {
    open_bucket_with(dir, objects, |options| options.open = with_key())
}

fn head(store: &mut BucketStore) {
    let (old, new) = (store.checkpoint(), signed(&store.edge()));
    store.replace_checkpoint(old.as_deref(), &new).unwrap();
}

/// A log with these batches, and a head over all of them.
fn log_of(counts: &[usize]) -> MemoryObjects {
    let (dir, objects) = (TempDir::new().unwrap(), MemoryObjects::default());
    make::make(&objects, ORIGIN, "opaque", &signed(&RightEdge::default()), false).unwrap();
    let mut store = open(dir.path(), &objects).unwrap();
    let mut size = 0;
    for count in counts {
        append(&mut store, numbered(size, *count));
        size += count;
    }
    head(&mut store);
    objects
}

fn grow(objects: &MemoryObjects, count: usize) {
    let dir = TempDir::new().unwrap();
    let mut store = open(dir.path(), objects).unwrap();
    let size = usize::try_from(store.edge().size().get()).unwrap();
    append(&mut store, numbered(size, count));
    head(&mut store);
}

fn mend(
    objects: &MemoryObjects,
    mode: RepairMode,
    heads: SourceHeads,
    sources: &mut [NamedSource],
) -> Result<RepairOutcome, CopyError> {
    let (key, objects) = (key(), Arc::new(objects.clone()));
    let progress = &|_, _| ();
    BucketRepair { objects, key: &key, profile: "opaque", has_witnesses: false, mode, heads, progress }
        .run(sources)
}

/// Repairs a bucket from its own bundles.
fn repair(objects: &MemoryObjects) -> Result<RepairOutcome, CopyError> {
    let own = BundleSource::of_bucket(Arc::new(objects.clone()));
    let own = NamedSource { name: "its bundles".to_owned(), entries: Box::new(own) };
    mend(objects, RepairMode::Repair, SourceHeads::default(), &mut [own])
}

/// Restores or repairs from a backup.
fn from_backup(objects: &MemoryObjects, mode: RepairMode, dir: &Path) -> Result<RepairOutcome, CopyError> {
    let layout = Layout::new(dir);
    let heads = SourceHeads { signed: read_signed(&layout.checkpoint(), &key()).unwrap(), witnessed: None };
    let entries = Box::new(JournalSource::new(&layout.journal()).unwrap());
    mend(objects, mode, heads, &mut [NamedSource { name: "a backup".to_owned(), entries }])
}

/// Checks that the log is sound: batches, tiles and heads are right, and a new server serves it.
fn sound(objects: &MemoryObjects, size: usize) {
    let (origin, keys) = (Origin::from(key().name().clone()), vec![key()]);
    let fsck = BucketFsck {
        objects: Arc::new(objects.clone()),
        origin,
        keys,
        repair: false,
        threads: 2,
        progress: &|_, _| (),
    };
    let checked = fsck.run().unwrap();
    assert_eq!((checked.entries.get(), checked.damaged), (size as u64, 0), "{:?}", checked.named);
    make::recognise(objects, ORIGIN, "opaque").unwrap();
    let dir = TempDir::new().unwrap();
    check(&open(dir.path(), objects).unwrap(), &numbered(0, size));
}

fn keys_below(objects: &MemoryObjects, prefix: &str) -> Vec<String> {
    objects.all().into_keys().filter(|key| key.starts_with(prefix)).collect()
}

#[test]
fn lost_neighbouring_batches_are_rebuilt_from_bundles() {
    let log = log_of(&COUNTS);
    let batches = keys_below(&log, BATCHES);
    assert_eq!(batches.len(), COUNTS.len());
    for from in 0..batches.len() {
        for to in from + 1..=batches.len() {
            let bucket = log.copy();
            batches[from..to].iter().for_each(|key| bucket.remove(key));
            let mended = repair(&bucket).unwrap();
            assert_eq!((mended.kept, mended.replaced), ((batches.len() - (to - from)) as u64, 0));
            let lost: usize = COUNTS[from..to].iter().sum();
            assert_eq!((mended.fetched, mended.created > 0), (lost as u64, true));
            assert_eq!((mended.tiles.damaged, mended.heads.len()), (0, 0));
            sound(&bucket, ALL);
        }
    }
}

#[test]
fn damaged_batches_are_replaced_whatever_the_damage() {
    let log = log_of(&COUNTS);
    let batches = keys_below(&log, BATCHES);
    let other = log_of(&[1, 9]);
    for (at, key) in batches.iter().enumerate() {
        let bytes = log.bytes(key).unwrap();
        let mut flipped = bytes.clone();
        flipped[bytes.len() / 2] ^= 1;
        // A well-formed batch of another history.
        let edge = RightEdge::default()
            .grow(&numbered(0, COUNTS[..at].iter().sum()).iter().map(|e| Hash::leaf(e)).collect::<Vec<_>>())
            .edge;
        let forged = batch_of(&edge, numbered(5_000, 7));
        let forged = batch_object::encode(
            origin_hash(ORIGIN),
            &forged,
            edge.root(),
            WriterId::from_bytes([9; 16]),
            [0; 16],
        )
        .0;
        let versions = [flipped, Vec::new(), bytes[..40].to_vec(), forged, other.bytes(&batches[1]).unwrap()];
        for version in versions {
            let bucket = log.copy();
            bucket.set(key, &version);
            if at > 1 {
                // Also remove the batch before it.
                bucket.remove(&batches[at - 1]);
            }
            let mended = repair(&bucket).unwrap();
            assert!(mended.replaced > 0, "{key}");
            sound(&bucket, ALL);
        }
    }
}

#[test]
fn a_damaged_batch_that_no_source_has_is_left_alone() {
    let log = log_of(&COUNTS);
    let batches = keys_below(&log, BATCHES);
    log.remove(&batches[2]);
    let tile = keys_below(&log, "tile/entries/").remove(0);
    log.set(&tile, &[1; 50]);
    let before = log.all();
    let error = repair(&log).unwrap_err();
    assert!(matches!(&error, CopyError::Source { detail, .. } if detail.contains("from 3 on")), "{error}");
    assert_eq!(log.all(), before);
    // A batch that no head covers.
    let (dir, log) = (TempDir::new().unwrap(), log_of(&COUNTS));
    append(&mut open(dir.path(), &log).unwrap(), numbered(ALL, 5));
    sound(&log, ALL + 5);
    let last = keys_below(&log, BATCHES).pop().unwrap();
    log.set(&last, b"x");
    let error = repair(&log).unwrap_err();
    assert!(error.to_string().contains("no signed head covers it"), "{error}");
    log.remove(&last);
    repair(&log).unwrap();
    sound(&log, ALL);
}

#[test]
fn a_damaged_batch_that_a_rule_protects_is_named_and_rebuilt_once_it_is_deleted() {
    let log = log_of(&COUNTS);
    let batches = keys_below(&log, BATCHES);
    log.set(&batches[3], b"x");
    let run = || {
        let denied = log.hooked(|operation, _, _| (operation == Operation::Replace).then_some(Fault::Denied));
        let (key, objects) = (key(), Arc::new(denied));
        let own = Box::new(BundleSource::of_bucket(objects.clone()));
        let (heads, mode) = (SourceHeads::default(), RepairMode::Repair);
        let (has_witnesses, profile, progress) = (false, "opaque", &|_, _| ());
        BucketRepair { objects, key: &key, profile, has_witnesses, mode, heads, progress }
            .run(&mut [NamedSource { name: "its bundles".to_owned(), entries: own }])
    };
    let before = log.all();
    let error = run().unwrap_err().to_string();
    assert!(error.contains(&batches[3]) && error.contains("delete it"), "{error}");
    assert_eq!(log.all(), before);
    log.remove(&batches[3]);
    assert_eq!(run().unwrap().created, 1);
    sound(&log, ALL);
}

#[test]
fn a_log_that_was_moved_away_is_repaired_up_to_its_seal() {
    let log = log_of(&COUNTS);
    let edge =
        RightEdge::default().grow(&numbered(0, ALL).iter().map(|e| Hash::leaf(e)).collect::<Vec<_>>()).edge;
    let seal = Seal {
        origin: origin_hash(ORIGIN),
        size: edge.size(),
        root: edge.root(),
        mover: WriterId::from_bytes([1; 16]),
    };
    let place = TempDir::new().unwrap();
    let out = place.path().join("out");
    let longer = log.copy();
    grow(&longer, 5);
    back_up(&longer, &out, 3_000).unwrap();
    log.set(&layout::batch(edge.next_index()), &seal.to_bytes());
    log.remove(&keys_below(&log, BATCHES)[2]);
    assert_eq!(repair(&log).unwrap().created, 1);
    // A longer backup must not extend a sealed log.
    for mode in [RepairMode::Restore, RepairMode::Repair] {
        let before = log.all();
        let error = from_backup(&log, mode, &out).unwrap_err();
        assert!(matches!(error, CopyError::Store(StoreError::Chain(ChainError::Sealed { .. }))), "{error}");
        assert_eq!(log.all(), before);
    }
    // A backup ends at the seal, too.
    let out = place.path().join("sealed");
    assert_eq!(back_up(&log, &out, 3_000).unwrap().head.head.size, edge.size());
}

#[test]
fn tiles_are_rebuilt_from_batches_and_a_head_comes_from_a_source() {
    let log = log_of(&COUNTS);
    for key in keys_below(&log, TILES) {
        for version in [None, Some(b"x".as_slice()), Some(&[])] {
            let bucket = log.copy();
            version.map_or_else(|| bucket.remove(&key), |bytes| bucket.set(&key, bytes));
            let mended = repair(&bucket).unwrap();
            assert_eq!(
                (mended.tiles.damaged, mended.created, mended.checkpoint),
                (1, 0, CheckpointWas::Current)
            );
            sound(&bucket, ALL);
        }
    }
    let note = log.bytes("checkpoint").unwrap();
    let signed = SignedHead {
        head: crate::checkpoint::open(&note, &[key()]).unwrap().get().clone(),
        note: note.clone(),
    };
    for version in [None, Some(b"x".as_slice()), Some(&[0; 100_000])] {
        let bucket = log.copy();
        version.map_or_else(|| bucket.remove("checkpoint"), |bytes| bucket.set("checkpoint", bytes));
        bucket.remove("origin");
        let before = bucket.all();
        assert!(repair(&bucket).is_err(), "nobody has it");
        assert_eq!(bucket.all(), before);
        let heads = SourceHeads { signed: Some(signed.clone()), witnessed: None };
        let mended = mend(&bucket, RepairMode::Repair, heads, &mut []).unwrap();
        assert_eq!((mended.checkpoint, mended.heads), (CheckpointWas::Lost, vec![HeadKind::Published]));
        assert_eq!(bucket.bytes("checkpoint").unwrap(), note);
        sound(&bucket, ALL);
    }
}

#[test]
fn both_heads_of_a_log_with_witnesses_are_repaired() {
    let log = log_of(&COUNTS);
    let published = log.bytes("checkpoint").unwrap();
    let dir = TempDir::new().unwrap();
    let witnessed = |options: &mut crate::store::bucket::BucketOptions| {
        options.open = with_key();
        options.has_witnesses = true;
    };
    let mut store = open_bucket_with(dir.path(), &log, witnessed).unwrap();
    append(&mut store, numbered(ALL, 100));
    head(&mut store);
    drop(store);
    let newer = log.bytes("checkpoint.signed").unwrap();
    assert_eq!(log.bytes("checkpoint").unwrap(), published);
    let run = |bucket: &MemoryObjects, witnessed: bool| {
        let (key, objects) = (key(), Arc::new(bucket.clone()));
        let open = |note: &Vec<u8>| SignedHead {
            head: crate::checkpoint::open(note, std::slice::from_ref(&key)).unwrap().get().clone(),
            note: note.clone(),
        };
        let heads = SourceHeads { signed: None, witnessed: witnessed.then(|| open(&published)) };
        let repair = BucketRepair {
            objects,
            key: &key,
            profile: "opaque",
            has_witnesses: true,
            mode: RepairMode::Repair,
            heads,
            progress: &|_, _| (),
        };
        repair.run(&mut [])
    };
    // The signed head is lost: the published head is the last known one.
    let bucket = log.copy();
    bucket.remove("checkpoint.signed");
    let mended = run(&bucket, false).unwrap();
    assert_eq!((mended.checkpoint, mended.head.head.size.get()), (CheckpointWas::Lost, ALL as u64));
    assert_eq!(bucket.bytes("checkpoint.signed").unwrap(), published);
    // The published head is lost.
    let bucket = log.copy();
    bucket.remove("checkpoint");
    let mended = run(&bucket, true).unwrap();
    assert_eq!((mended.checkpoint, mended.heads), (CheckpointWas::Current, vec![HeadKind::Published]));
    assert_eq!(bucket.bytes("checkpoint").unwrap(), published);
    sound(&bucket, ALL + 100);
    // Without a source, it stays missing until the next quorum, and the log runs.
    bucket.remove("checkpoint");
    run(&bucket, false).unwrap();
    let dir = TempDir::new().unwrap();
    let store = open_bucket_with(dir.path(), &bucket, witnessed).unwrap();
    assert_eq!(store.checkpoint().unwrap(), newer);
    bucket.set("checkpoint", b"x");
    let error = run(&bucket, false).unwrap_err();
    assert!(error.to_string().contains("quorum of witnesses"), "{error}");
}

/// A copy of the log that has lost one object of each kind.
fn wounded(log: &MemoryObjects) -> MemoryObjects {
    let bucket = log.copy();
    let batches = keys_below(log, BATCHES);
    [&batches[1], &batches[4], "tile/0/001", "origin"].iter().for_each(|key| bucket.remove(key));
    bucket.set(&batches[3], b"x");
    bucket.set("tile/entries/002", b"x");
    bucket
}

#[test]
fn after_any_failed_request_the_same_repair_continues() {
    let log = log_of(&COUNTS);
    let requests = [
        (Operation::Create, BATCHES),
        (Operation::Replace, BATCHES),
        (Operation::Get, BATCHES),
        (Operation::List, BATCHES),
        (Operation::Get, TILES),
        (Operation::Put, TILES),
        (Operation::Get, "checkpoint"),
        (Operation::Create, "origin"),
        (Operation::Get, "origin"),
    ];
    for (operation, key) in requests {
        for fault in [Fault::Failed, Fault::FailedButPersisted, Fault::Busy] {
            for times in 1..4 {
                let bucket = wounded(&log);
                (0..times).for_each(|_| bucket.inject(operation, key, fault));
                let begun = bucket.pending_faults();
                let mut tries = 1;
                while let Err(error) = repair(&bucket) {
                    let is_fault = error.to_string().contains("an injected fault");
                    assert!(is_fault || matches!(error, CopyError::Store(_)), "{error}");
                    tries += 1;
                    assert!(tries < 6, "{operation:?} {key} {fault:?}: {error}");
                }
                assert!(bucket.pending_faults() < begun, "{operation:?} {key}");
                sound(&bucket, ALL);
            }
        }
    }
}
