//! Journal and checkpoint: every byte flipped, every truncation, each file missing.

use std::fs;
use std::path::Path;

use treehead::disk::note_of;
use treehead::store::{Layout, Store as _, StoreError};

use crate::home::{
    SEGMENT_HEAD_BYTES, append, check_says, check_served, copy_dir, each, entry, fill, head, last_batch,
    log_of, open, publish, segments,
};

const COUNT: usize = 60;
const STEP: usize = 7;
const REPAIR: &str = "repair the log";

/// The outcome of opening a damaged log: refused with advice, or the same content as before.
#[track_caller]
fn opens_or_says(dir: &Path, what: &str, served: usize) -> bool {
    match open(dir) {
        Ok(store) => {
            check_served(&store, served);
            true
        }
        Err(e) => {
            assert!(e.is_damage(), "{what}: {e}");
            let file = match &e {
                StoreError::CheckpointDamaged { .. } | StoreError::CheckpointMissing { .. } => "checkpoint",
                StoreError::Damaged { .. } => "journal/0",
                _ => "the journal",
            };
            check_says(&e.to_string(), file, REPAIR);
            false
        }
    }
}

/// With sled closed, and without sled, in which case the whole journal is read.
fn logs() -> Vec<tempfile::TempDir> {
    let closed = log_of(COUNT, STEP);
    assert!(segments(closed.path()).len() >= 3, "several segments");
    let bare = tempfile::tempdir().unwrap();
    copy_dir(closed.path(), bare.path());
    fs::remove_dir_all(Layout::new(bare.path()).sled()).unwrap();
    vec![closed, bare]
}

#[test]
fn every_byte_of_the_journal_flipped_is_refused_or_never_served() {
    let bare = logs().pop().unwrap();
    for path in segments(bare.path()) {
        let (whole, name) = (fs::read(&path).unwrap(), path.strip_prefix(bare.path()).unwrap());
        each(bare.path(), whole.len(), |dir, at| {
            let mut spoiled = whole.clone();
            spoiled[at] ^= 1 << (at % 8);
            fs::write(dir.join(name), spoiled).unwrap();
            let _ = fs::remove_dir_all(Layout::new(dir).sled());
            // All of it was signed, so no flip counts as a torn batch.
            let what = format!("{} {at}", name.display());
            assert!(!opens_or_says(dir, &what, COUNT), "{what}");
        });
    }
}

#[test]
fn behind_a_sound_sled_a_flip_is_refused_when_it_is_read() {
    // A start does not read the part that sled has applied; readers compare it with the tree, and fsck reads all of it
    // (`program.rs`).
    let closed = logs().remove(0);
    for path in segments(closed.path()) {
        let whole = fs::read(&path).unwrap();
        for at in (0..whole.len()).step_by(11) {
            let mut spoiled = whole.clone();
            spoiled[at] ^= 0x20;
            fs::write(&path, &spoiled).unwrap();
            let dir = tempfile::tempdir().unwrap();
            copy_dir(closed.path(), dir.path());
            let Ok(store) = open(dir.path()) else { continue };
            let reader = treehead::store::Store::reader(&store);
            match reader.bundle(0, COUNT) {
                Ok(bytes) => {
                    let entries = treehead::proof::bundle::split(&bytes, COUNT).unwrap();
                    assert_eq!(entries, (0..COUNT).map(entry).collect::<Vec<_>>());
                }
                Err(e) => check_says(&e.to_string(), "journal", REPAIR),
            }
        }
        fs::write(&path, whole).unwrap();
    }
}

#[test]
fn every_truncation_of_the_journal_is_refused() {
    for log in logs() {
        for path in segments(log.path()) {
            let whole = fs::read(&path).unwrap();
            let name = path.strip_prefix(log.path()).unwrap();
            let step = if log.path().join("sled").exists() { 13 } else { 1 };
            each(log.path(), whole.len() / step, |dir, at| {
                fs::write(dir.join(name), &whole[..at * step]).unwrap();
                let what = format!("{} cut to {}", name.display(), at * step);
                assert!(!opens_or_says(dir, &what, COUNT), "{what}");
            });
            fs::remove_file(&path).unwrap();
            assert!(!opens_or_says(log.path(), "missing", COUNT));
            fs::write(&path, whole).unwrap();
        }
        check_served(&open(log.path()).unwrap(), COUNT);
    }
}

#[test]
fn every_byte_and_length_of_the_checkpoint() {
    let log = log_of(COUNT, STEP);
    let path = Layout::new(log.path()).checkpoint();
    let slots = fs::read(&path).unwrap();
    // As `init`, `restore` and `repair` write it.
    let whole = head(COUNT);
    let refused = |bytes: &[u8], what: &str| {
        fs::write(&path, bytes).unwrap();
        match open(log.path()) {
            Err(e @ StoreError::CheckpointDamaged { .. }) => check_says(&e.to_string(), "checkpoint", REPAIR),
            Err(e) => panic!("{what}: {e}"),
            Ok(_) => panic!("{what}: {}", String::from_utf8_lossy(bytes)),
        }
    };
    for at in 0..whole.len() {
        for bit in [0, 1, 5, 7] {
            let mut spoiled = whole.clone();
            spoiled[at] ^= 1 << bit;
            refused(&spoiled, &format!("byte {at} bit {bit}"));
        }
        refused(&whole[..at], &format!("cut to {at}"));
    }
    fs::remove_file(&path).unwrap();
    let e = open(log.path()).err().unwrap();
    assert!(matches!(e, StoreError::CheckpointMissing { .. }), "{e}");
    check_says(&e.to_string(), "checkpoint", REPAIR);
    fs::write(&path, slots).unwrap();
    check_served(&open(log.path()).unwrap(), COUNT);
}

#[test]
fn every_byte_of_the_checkpoints_slots_leaves_one_of_the_two_heads() {
    let log = log_of(COUNT, STEP);
    let path = Layout::new(log.path()).checkpoint();
    let whole = fs::read(&path).unwrap();
    let halves = whole.split_at(whole.len() / 2);
    let used = |half: &[u8]| half.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let last = note_of(&whole);
    assert_eq!(last, head(COUNT));
    let mut seen = std::collections::BTreeSet::new();
    for at in (0..used(halves.0)).chain(halves.0.len()..halves.0.len() + used(halves.1)) {
        let mut spoiled = whole.clone();
        spoiled[at] ^= 1 << (at % 8);
        fs::write(&path, &spoiled).unwrap();
        let store = open(log.path()).unwrap();
        // Perhaps it looks like a write that was cut off: then the head before it counts, which the log signed, too.
        seen.insert(store.checkpoint().unwrap());
        check_served(&store, COUNT);
    }
    assert!(seen.len() == 2 && seen.contains(&last), "the newest head and the one before");
    // No slot is left.
    let mut spoiled = whole.clone();
    spoiled[used(halves.0) - 1] ^= 1;
    spoiled[halves.0.len() + used(halves.1) - 1] ^= 1;
    for bytes in [&spoiled, &whole[..whole.len() - 1], &whole[..100], &vec![0; whole.len()]] {
        fs::write(&path, bytes).unwrap();
        let Err(e @ StoreError::CheckpointDamaged { .. }) = open(log.path()) else { panic!("it opens") };
        check_says(&e.to_string(), "checkpoint", REPAIR);
    }
}

#[test]
fn an_older_journal_under_its_newer_checkpoint_is_recognised() {
    let (old, new) = (log_of(COUNT - 14, STEP), log_of(COUNT, STEP));
    // Everything but the checkpoint goes back, as if a backup tool restored the directory.
    fs::copy(Layout::new(new.path()).checkpoint(), Layout::new(old.path()).checkpoint()).unwrap();
    let e = open(old.path()).err().unwrap();
    let StoreError::JournalShort { signed, seen } = &e else { panic!("{e}") };
    assert_eq!((signed.get(), seen.get()), (60, 46));
    check_says(&e.to_string(), "expected at least 60", REPAIR);
}

#[test]
fn the_last_batch_that_was_never_published_is_dropped_and_nothing_else() {
    // Nobody was told that the batch was published. It looks like a torn write, so all of it is dropped.
    let log = log_of(COUNT, STEP);
    let mut store = open(log.path()).unwrap();
    let before = segments(log.path());
    append(&mut store, (COUNT..COUNT + 5).map(entry).collect());
    drop(store);
    let last = segments(log.path()).pop().unwrap();
    let whole = fs::read(&last).unwrap();
    // In its own segment, or behind the others.
    let start = if before.contains(&last) { last_batch(&whole) } else { SEGMENT_HEAD_BYTES };
    each(log.path(), whole.len() - start, |_, at| {
        let mut spoiled = whole.clone();
        spoiled[start + at] ^= 1 << (at % 8);
        for bytes in [&spoiled, &whole[..start + at]] {
            let dir = tempfile::tempdir().unwrap();
            copy_dir(&log.path().join("journal"), &dir.path().join("journal"));
            fs::write(dir.path().join("checkpoint"), head(COUNT)).unwrap();
            fs::write(dir.path().join("journal").join(last.file_name().unwrap()), bytes).unwrap();
            check_served(&open(dir.path()).unwrap(), COUNT);
        }
    });
}

#[test]
fn a_new_log_whose_first_second_was_cut_short_starts() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()).unwrap());
    assert!(!Layout::new(dir.path()).checkpoint().exists(), "nothing was signed yet");
    let mut store = open(dir.path()).unwrap();
    publish(&mut store);
    fill(&mut store, 9, 3);
    check_served(&store, 9);
}
