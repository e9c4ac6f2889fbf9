//! Exports of a log in a directory to a bucket.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tempfile::TempDir;

use crate::bucket::tests::memory::{Fault, MemoryObjects};
use crate::bucket::{BucketError, Objects, Operation};
use crate::checkpoint;
use crate::disk::RealDisk;
use crate::merkle::{Hash, RightEdge, tiles_of};
use crate::note::MAX_NOTE_BYTES;
use crate::store::bucket::{BucketToCopy, ExportBucket};
use crate::store::tests::fixtures::{
    append, copy_dir, numbered, open_bucket, open_disk, options, signed, signer, unlocked,
};
use crate::store::{Export, ExportDirectory, ExportError, ExportPlace, Exported, JournalToCopy, Store as _};

/// Appends batches to the log in a directory and signs a head.
fn grow(dir: &Path, batches: &[usize]) {
    let mut disk = unlocked(|| open_disk(dir, options)).unwrap();
    if disk.checkpoint().is_none() {
        disk.replace_checkpoint(None, &signed(&disk.edge())).unwrap();
    }
    for count in batches {
        let size = usize::try_from(disk.edge().size().get()).unwrap();
        append(&mut disk, numbered(size, *count));
    }
    let old = disk.checkpoint();
    disk.replace_checkpoint(old.as_deref(), &signed(&disk.edge())).unwrap();
}

const BATCHES: [usize; 7] = [1, 300, 2, 257, 60, 3, 70];

fn log(batches: &[usize]) -> TempDir {
    let dir = TempDir::new().unwrap();
    grow(dir.path(), batches);
    dir
}

fn export(dir: &Path, out: &dyn ExportPlace) -> Result<Exported, ExportError> {
    let keys = [signer().public().clone()];
    let from = &JournalToCopy::new(dir, &keys[0], Arc::new(RealDisk));
    Export { from, keys: &keys, witnesses: None, publish_unwitnessed: false, out, progress: &|_, _| () }.run()
}

fn place(objects: impl Objects + 'static) -> ExportBucket {
    let mut place = ExportBucket::new(Arc::new(objects), 3);
    place.pause = Duration::from_millis(1);
    place
}

fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for item in fs::read_dir(dir).unwrap() {
        let (path, name) = {
            let item = item.unwrap();
            (item.path(), item.file_name().into_string().unwrap())
        };
        if path.is_dir() {
            found.extend(files(&path).into_iter().map(|(below, bytes)| (format!("{name}/{below}"), bytes)));
        } else {
            found.insert(name, fs::read(path).unwrap());
        }
    }
    found
}

/// Checks that the bucket has every tile of its checkpoint, if it has one.
fn check_whole(objects: &MemoryObjects) {
    let Some(note) = objects.bytes("checkpoint") else { return };
    let size = checkpoint::open(&note, &[signer().public().clone()]).unwrap().get().size;
    for tile in tiles_of(size) {
        assert!(objects.bytes(&tile.to_string()).is_some(), "{tile} of the head of {size}");
    }
}

fn requests(objects: &MemoryObjects, operation: Operation) -> u64 {
    objects.requests().of(operation).requests
}

#[test]
fn an_export_writes_all_files_first_and_later_only_new_ones() {
    let (dir, out, objects) = (log(&BATCHES), TempDir::new().unwrap(), MemoryObjects::default());
    let (directory, bucket) = (ExportDirectory::new(out.path()), place(objects.clone()));
    let grown: [&[usize]; 4] = [&[], &[], &[5, 80, 1], &[300, 1]];
    for (run, batches) in grown.into_iter().enumerate() {
        grow(dir.path(), batches);
        let before = [Operation::Create, Operation::Replace, Operation::Get, Operation::List]
            .map(|operation| requests(&objects, operation));
        let exported = export(dir.path(), &bucket).unwrap();
        let after = [Operation::Create, Operation::Replace, Operation::Get, Operation::List]
            .map(|operation| requests(&objects, operation));
        assert_eq!(export(dir.path(), &directory).unwrap(), exported, "run {run}");
        let (there, expected) = (objects.all(), files(out.path()));
        assert!(expected.iter().all(|(name, bytes)| there.get(name) == Some(bytes)), "run {run}");
        // In a directory, the export deletes the partial tiles of those that became full before the last run.
        let more = there.keys().filter(|key| !expected.contains_key(*key));
        let is_lost = |key: &String| run == 3 && there.contains_key(key.split_once(".p/").unwrap().0);
        assert!(more.into_iter().all(is_lost), "run {run}");
        check_whole(&objects);
        let [created, replaced, read, listed] = std::array::from_fn(|at| after[at] - before[at]);
        let is_first = u64::from(run == 0);
        assert_eq!(created, exported.written + is_first, "run {run}");
        assert_eq!((replaced, read, listed), (u64::from(run > 1), 2, 1), "run {run}");
        assert_eq!(exported.written == 0, run == 1);
    }
    let octets = "application/octet-stream".to_owned();
    let immutable = (octets, Some("public, max-age=31536000, immutable".to_owned()));
    for key in objects.all().keys() {
        let expected = if key == "checkpoint" {
            ("text/plain; charset=utf-8".to_owned(), Some("no-cache".to_owned()))
        } else {
            immutable.clone()
        };
        assert_eq!(objects.headers(key).unwrap(), expected, "{key}");
        assert_eq!(objects.tagging(key), None, "{key} has no expiry tag");
    }
    assert!(objects.all().keys().any(|key| key.contains(".p/")));
    bucket.write_file("index.html", "text/html", b"x").unwrap();
    assert_eq!(objects.headers("index.html").unwrap(), ("text/html".to_owned(), Some("no-cache".to_owned())));
    assert_eq!(bucket.read_file("index.html").unwrap().unwrap(), b"x");
    // The head may be a new one of the same tree, and the tree may be empty.
    let empty = log(&[]);
    export(empty.path(), &place(MemoryObjects::default())).unwrap();
}

#[test]
fn a_log_in_a_bucket_is_exported_like_one_in_a_directory() {
    let (dir, cache, served) = (log(&BATCHES), TempDir::new().unwrap(), MemoryObjects::default());
    let mut store = open_bucket(cache.path(), &served).unwrap();
    store.replace_checkpoint(None, &signed(&store.edge())).unwrap();
    let mut size = 0;
    for count in BATCHES {
        append(&mut store, numbered(size, count));
        size += count;
    }
    let old = store.checkpoint();
    store.replace_checkpoint(old.as_deref(), &signed(&store.edge())).unwrap();
    // Append entries that no head covers.
    append(&mut store, numbered(size, 40));
    let keys = [signer().public().clone()];
    let from = BucketToCopy::new(Arc::new(served.clone()), &keys[0], false, 9_000, Arc::new(RealDisk));
    let export_from = |out: &dyn ExportPlace| {
        let (from, keys) = (&from, &keys);
        Export { from, keys, witnesses: None, publish_unwitnessed: false, out, progress: &|_, _| () }.run()
    };
    let (expected, objects, out) =
        (MemoryObjects::default(), MemoryObjects::default(), TempDir::new().unwrap());
    let exported = export(dir.path(), &place(expected.clone())).unwrap();
    assert_eq!(export_from(&place(objects.clone())).unwrap(), exported);
    assert_eq!(export_from(&ExportDirectory::new(out.path())).unwrap(), exported);
    assert!(objects.all() == expected.all() && files(out.path()) == expected.all());
    let error = export_from(&place(served.clone())).unwrap_err();
    assert!(matches!(error, ExportError::NotAnExport { .. }), "{error}");
}

/// A handle on `objects` that is denied every request from a number on. `persists` is true if that one takes effect.
fn cut_at(objects: &MemoryObjects, request: usize, persists: bool) -> MemoryObjects {
    let left = AtomicUsize::new(request);
    objects.hooked(move |_, _, _| {
        match left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)) {
            Ok(left) if left > 1 => None,
            Ok(_) if persists => Some(Fault::DeniedButPersisted),
            _ => Some(Fault::Denied),
        }
    })
}

#[test]
fn an_export_interrupted_at_any_request_has_no_head_without_its_tiles_and_can_continue() {
    let (dir, whole) = (log(&BATCHES), MemoryObjects::default());
    let begun = MemoryObjects::default();
    export(dir.path(), &place(begun.clone())).unwrap();
    let old = begun.bytes("checkpoint").unwrap();
    grow(dir.path(), &[5, 80, 1]);
    export(dir.path(), &place(whole.clone())).unwrap();
    for persists in [false, true] {
        for from in [&MemoryObjects::default(), &begun] {
            let mut cuts = 0;
            loop {
                let objects = from.copy();
                let result = export(dir.path(), &place(cut_at(&objects, cuts + 1, persists)));
                check_whole(&objects);
                if result.is_ok() {
                    break;
                }
                let note = objects.bytes("checkpoint");
                assert!(note.is_none() || note.as_ref() == Some(&old) || note == whole.bytes("checkpoint"));
                export(dir.path(), &place(objects.clone())).unwrap();
                check_whole(&objects);
                assert!(whole.all().iter().all(|(key, bytes)| objects.bytes(key).as_ref() == Some(bytes)));
                cuts += 1;
            }
            assert!(cuts > 10, "{cuts}");
        }
    }
}

#[test]
fn a_failed_request_is_retried_whether_or_not_it_took_effect() {
    let (dir, whole) = (log(&BATCHES), MemoryObjects::default());
    export(dir.path(), &place(whole.clone())).unwrap();
    let begun = whole.copy();
    grow(dir.path(), &[5]);
    export(dir.path(), &place(whole.clone())).unwrap();
    for fault in [Fault::Failed, Fault::FailedButPersisted, Fault::Busy, Fault::Twice] {
        for key in whole.all().keys() {
            for (from, operation) in
                [(&MemoryObjects::default(), Operation::Create), (&begun, Operation::Replace)]
            {
                let objects = from.copy();
                objects.inject(operation, key, fault);
                export(dir.path(), &place(objects.clone())).unwrap();
                check_whole(&objects);
                assert_eq!(objects.bytes("checkpoint"), whole.bytes("checkpoint"), "{fault:?} {key}");
            }
        }
    }
    // The number of attempts is limited.
    let objects = MemoryObjects::default();
    (0..50).for_each(|_| objects.inject(Operation::Create, "tile/0/001", Fault::Busy));
    let error = export(dir.path(), &place(objects.clone())).unwrap_err();
    assert!(matches!(&error, ExportError::Bucket(e) if matches!(**e, BucketError::Busy { .. })), "{error}");
    assert_eq!(objects.bytes("checkpoint"), None);
}

#[test]
fn other_prefixes_logs_and_trees_are_refused_and_unchanged() {
    let dir = log(&BATCHES);
    let refused = |objects: &MemoryObjects| {
        let before = objects.all();
        let error = export(dir.path(), &place(objects.clone())).unwrap_err();
        let same = before.iter().all(|(key, bytes)| objects.bytes(key).as_ref() == Some(bytes));
        assert!(same, "{error}");
        assert_eq!(objects.bytes("checkpoint"), before.get("checkpoint").cloned());
        error
    };
    for (key, what) in [
        ("batch/00000000000000000000", "the bucket of a log"),
        ("origin", "the bucket of a log"),
        ("lease", "the bucket of a log"),
        ("index/manifest", "the bucket of a log"),
        ("checkpoint.signed", "the bucket of a log"),
        ("pictures/1", "a prefix with other objects below it"),
    ] {
        let objects = MemoryObjects::default();
        objects.set(key, b"x");
        let error = refused(&objects);
        assert!(matches!(error, ExportError::NotAnExport { .. }), "{error}");
        assert!(error.to_string().contains(what) && objects.all().len() == 1, "{error}");
        // Refuse it even if there is also an export.
        objects.set("checkpoint", &fs::read(dir.path().join("checkpoint")).unwrap());
        if key != "pictures/1" {
            assert!(matches!(refused(&objects), ExportError::NotAnExport { .. }), "{key}");
        }
    }
    // Find it behind more objects than one page of a list holds.
    let crowded = MemoryObjects::default();
    (0..1_001).for_each(|at| crowded.set(&format!("a/{at}"), b"x"));
    assert!(matches!(refused(&crowded), ExportError::NotAnExport { .. }));
    crowded.set("checkpoint", b"no note");
    assert!(matches!(refused(&crowded), ExportError::OtherLog { .. }));
    crowded.set("batch/00000000000000000000", b"x");
    assert!(matches!(refused(&crowded), ExportError::NotAnExport { .. }));
    // Ignore the remains of a probe.
    let probed = MemoryObjects::default();
    probed.set("probe/1", b"x");
    export(dir.path(), &place(probed.clone())).unwrap();
    // Refuse an older copy of the log, and another tree under the log's key.
    let older = TempDir::new().unwrap();
    copy_dir(dir.path(), older.path());
    grow(dir.path(), &[9]);
    let newer = MemoryObjects::default();
    export(dir.path(), &place(newer.clone())).unwrap();
    let error = export(older.path(), &place(newer.clone())).unwrap_err();
    assert!(matches!(error, ExportError::Newer { .. }), "{error}");
    for size in [200_u8, 20] {
        let forked = MemoryObjects::default();
        let leaves: Vec<Hash> = (0..size).map(|at| Hash::leaf(&[at])).collect();
        forked.set("checkpoint", &signed(&RightEdge::default().grow(&leaves).edge));
        let error = refused(&forked);
        assert!(matches!(&error, ExportError::Differs { file } if file == "checkpoint in memory"), "{error}");
        assert_eq!(forked.all().len(), 1);
    }
    for bytes in [&b"other"[..], &[7; 8_192], &[7; 9_000]] {
        let differs = MemoryObjects::default();
        differs.set("tile/0/001", bytes);
        let error = refused(&differs);
        assert!(matches!(&error, ExportError::Differs { file } if file == "tile/0/001 in memory"), "{error}");
    }
}

#[test]
fn a_checkpoint_that_another_export_replaced_stays() {
    let objects = MemoryObjects::default();
    let place = place(objects.clone());
    assert!(place.replace_checkpoint(None, b"one").unwrap());
    assert!(place.replace_checkpoint(None, b"one").unwrap(), "an answer was lost");
    assert!(!place.replace_checkpoint(None, b"two").unwrap());
    assert!(place.replace_checkpoint(Some(b"one"), b"two").unwrap());
    assert!(!place.replace_checkpoint(Some(b"one"), b"three").unwrap());
    objects.remove("checkpoint");
    assert!(!place.replace_checkpoint(Some(b"two"), b"three").unwrap());
    assert_eq!(objects.get("checkpoint", MAX_NOTE_BYTES).unwrap(), None);
}
