//! Backups of a log in a bucket, and restores into one.

use std::path::Path;

use tempfile::TempDir;

use super::*;
use crate::disk::RealDisk;
use crate::store::bucket::BucketToCopy;
use crate::store::tests::fixtures::open_disk;
use crate::store::{BackedUp, Backup, Restore, check_backup};

pub(super) fn back_up(
    objects: &MemoryObjects,
    out: &Path,
    segment_bytes: u64,
) -> Result<BackedUp, CopyError> {
    let (key, io) = (key(), Arc::new(RealDisk));
    let from = BucketToCopy::new(Arc::new(objects.clone()), &key, false, segment_bytes, io.clone());
    let log = Path::new("nothing");
    let (all, now) = (false, 1_790_000_000);
    Backup { log, from: &from, out, key: &key, files: &[], io, all, now, progress: &|_, _| () }.run()
}

/// Checks that a restore into a directory has these entries.
fn restores_to_a_directory(backup: &Path, count: usize) {
    let (dir, key, io) = (TempDir::new().unwrap(), key(), Arc::new(RealDisk));
    let dir = dir.path();
    Restore { backup, dir, key: &key, io, segment_bytes: 1 << 20, progress: &|_, _| () }.run().unwrap();
    check(&open_disk(dir, with_key).unwrap(), &numbered(0, count));
}

#[test]
fn a_backup_is_made_from_batches_and_later_ones_copy_only_new_batches() {
    let (place, log) = (TempDir::new().unwrap(), log_of(&COUNTS));
    let out = place.path().join("out");
    // A small limit, so that there are several segments.
    let done = back_up(&log, &out, 3_000).unwrap();
    assert_eq!((done.head.head.size.get(), done.kept, done.read_bytes), (ALL as u64, 0, done.bytes));
    assert!(done.copied > 3, "{done:?}");
    check_backup(&out, &key(), &|_, _| ()).unwrap();
    restores_to_a_directory(&out, ALL);
    // If nothing is new, a backup reads only the heads.
    let gets = || log.requests().of(Operation::Get).requests;
    let before = gets();
    let again = back_up(&log, &out, 3_000).unwrap();
    assert_eq!((again.copied, again.kept, again.before.unwrap().get()), (0, done.copied, ALL as u64));
    assert_eq!(gets() - before, 2, "the heads");
    // If the log grew, the last segment grows or new ones follow; the backup reads only the new batch.
    grow(&log, 40);
    let before = gets();
    let more = back_up(&log, &out, 3_000).unwrap();
    assert!(more.copied <= 2 && more.kept >= done.copied - 1, "{more:?}");
    assert_eq!(gets() - before, 3, "the heads, and one batch");
    restores_to_a_directory(&out, ALL + 40);
    // A segment that is damaged, or of another history, is copied again.
    let last =
        std::fs::read_dir(out.join("journal")).unwrap().map(|item| item.unwrap().path()).max().unwrap();
    let mut bytes = std::fs::read(&last).unwrap();
    let at = bytes.len() - 20;
    bytes[at] ^= 1;
    std::fs::write(&last, &bytes).unwrap();
    back_up(&log, &out, 3_000).unwrap();
    restores_to_a_directory(&out, ALL + 40);
    let refused = back_up(&log_of(&[ALL + 41]), &out, 3_000);
    assert!(refused.is_ok(), "the same entries in other batches: {refused:?}");
    // Refuse an older bucket, or another one.
    assert!(matches!(back_up(&log_of(&COUNTS), &out, 3_000), Err(CopyError::Newer { .. })));
    let other = log_of(&[1]);
    let dir = TempDir::new().unwrap();
    append(&mut open(dir.path(), &other).unwrap(), numbered(5_000, 2_000));
    head(&mut open(dir.path(), &other).unwrap());
    assert!(matches!(back_up(&other, &out, 3_000), Err(CopyError::Fork { .. })));
    restores_to_a_directory(&out, ALL + 41);
}

#[test]
fn an_interrupted_backup_leaves_the_previous_one() {
    let (place, log) = (TempDir::new().unwrap(), log_of(&COUNTS[..5]));
    let out = place.path().join("out");
    back_up(&log, &out, 3_000).unwrap();
    COUNTS[5..].iter().for_each(|count| grow(&log, *count));
    for (operation, key) in
        [(Operation::Get, "checkpoint"), (Operation::List, BATCHES), (Operation::Get, BATCHES)]
    {
        log.inject(operation, key, Fault::Failed);
        assert!(back_up(&log, &out, 3_000).is_err());
        assert_eq!(check_backup(&out, &self::key(), &|_, _| ()).unwrap().head.size.get(), 512);
    }
    let lost = log.copy();
    lost.remove(keys_below(&log, BATCHES).last().unwrap());
    let error = back_up(&lost, &out, 3_000).unwrap_err();
    assert!(error.to_string().contains("rolled back"), "{error}");
    restores_to_a_directory(&out, 512);
    back_up(&log, &out, 3_000).unwrap();
    restores_to_a_directory(&out, ALL);
}

#[test]
fn a_backup_is_restored_into_a_bucket_that_has_nothing_or_less() {
    let (place, log) = (TempDir::new().unwrap(), log_of(&COUNTS));
    let out = place.path().join("out");
    back_up(&log, &out, 3_000).unwrap();
    let empty = MemoryObjects::default();
    let mended = from_backup(&empty, RepairMode::Restore, &out).unwrap();
    assert_eq!((mended.size.get(), mended.kept, mended.heads), (ALL as u64, 0, vec![HeadKind::Published]));
    sound(&empty, ALL);
    assert_eq!(keys_below(&empty, ""), keys_below(&log, ""));
    let again = from_backup(&empty, RepairMode::Restore, &out).unwrap();
    assert_eq!((again.created, again.tiles.damaged, again.heads.len()), (0, 0, 0));
    // A bucket that was rolled back, and one that lost its last batches but has its head.
    let old = log_of(&COUNTS[..3]);
    let mended = from_backup(&old, RepairMode::Restore, &out).unwrap();
    assert_eq!((mended.kept, mended.checkpoint), (3, CheckpointWas::Older));
    sound(&old, ALL);
    let short = log.copy();
    keys_below(&log, BATCHES)[4..].iter().for_each(|key| short.remove(key));
    let mended = from_backup(&short, RepairMode::Restore, &out).unwrap();
    assert_eq!((mended.kept, mended.replaced, mended.checkpoint), (4, 0, CheckpointWas::Current));
    sound(&short, ALL);
}

#[test]
fn a_restore_changes_nothing_that_is_newer_damaged_or_of_another_history() {
    let (place, log) = (TempDir::new().unwrap(), log_of(&COUNTS));
    let out = place.path().join("out");
    back_up(&log, &out, 3_000).unwrap();
    let refused = |bucket: &MemoryObjects| {
        let before = bucket.all();
        let error = from_backup(bucket, RepairMode::Restore, &out).unwrap_err();
        assert_eq!(bucket.all(), before, "{error}");
        error
    };
    let newer = log.copy();
    grow(&newer, 5);
    assert!(matches!(refused(&newer), CopyError::Newer { .. }));
    // Batches that no head covers also make a bucket newer.
    let newer = log.copy();
    let dir = TempDir::new().unwrap();
    append(&mut open(dir.path(), &newer).unwrap(), numbered(ALL, 5));
    assert!(matches!(refused(&newer), CopyError::Newer { .. }));
    let damaged = log.copy();
    damaged.set(&keys_below(&log, BATCHES)[2], b"x");
    assert!(refused(&damaged).to_string().contains("treehead repair"));
    let damaged = log.copy();
    damaged.set("checkpoint", b"x");
    assert!(refused(&damaged).to_string().contains("treehead repair"));
    let other = log_of(&[2]);
    let dir = TempDir::new().unwrap();
    append(&mut open(dir.path(), &other).unwrap(), numbered(7_000, 3));
    head(&mut open(dir.path(), &other).unwrap());
    assert!(matches!(refused(&other), CopyError::Fork { .. }));
    // Another log without a head.
    other.remove("checkpoint");
    assert!(matches!(refused(&other), CopyError::Fork { .. }));
}

#[test]
fn after_any_failed_request_the_same_restore_continues() {
    let (place, log) = (TempDir::new().unwrap(), log_of(&COUNTS));
    let out = place.path().join("out");
    back_up(&log, &out, 3_000).unwrap();
    for (operation, key) in [
        (Operation::Create, BATCHES),
        (Operation::Put, TILES),
        (Operation::Create, "checkpoint"),
        (Operation::Create, "profile"),
        (Operation::List, BATCHES),
    ] {
        for fault in [Fault::Failed, Fault::FailedButPersisted, Fault::Busy] {
            for times in 1..4 {
                let bucket = MemoryObjects::default();
                (0..times).for_each(|_| bucket.inject(operation, key, fault));
                let mut tries = 1;
                while let Err(error) = from_backup(&bucket, RepairMode::Restore, &out) {
                    // Until the bucket has a head, it is not a log.
                    let is_log = bucket.bytes("checkpoint").is_some();
                    assert!(!is_log || key == "checkpoint", "{error}");
                    tries += 1;
                    assert!(tries < 6, "{operation:?} {key} {fault:?}: {error}");
                }
                sound(&bucket, ALL);
            }
        }
    }
}
