//! sled: whatever happens to its files, the log serves the same, or fsck finds the damage.

use std::fs;
use std::path::Path;

use tempfile::TempDir;
use treehead::store::Layout;

use crate::home::{append, check_served, copy_dir, entry, files_of, fill, log_of, open};

const COUNT: usize = 300;

/// A log as a killed process leaves it: sled was never closed.
fn killed() -> TempDir {
    let (dir, after) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let mut store = open(dir.path()).unwrap();
    fill(&mut store, COUNT, 50);
    copy_dir(dir.path(), after.path());
    after
}

/// Opens, and compares everything.
fn is_healed(dir: &Path) {
    check_served(&open(dir).unwrap(), COUNT);
}

/// Like `is_healed`, then appends and opens again.
fn is_healed_for_good(dir: &Path) {
    let mut store = open(dir).unwrap();
    check_served(&store, COUNT);
    append(&mut store, vec![entry(COUNT)]);
    drop(store);
    check_served(&open(dir).unwrap(), COUNT + 1);
}

fn spoiled(log: &Path, file: &Path, bytes: Option<&[u8]>) -> TempDir {
    let dir = TempDir::new().unwrap();
    copy_dir(log, dir.path());
    let path = dir.path().join(file);
    match bytes {
        Some(bytes) => fs::write(path, bytes).unwrap(),
        None => fs::remove_file(path).unwrap(),
    }
    dir
}

/// The next number of a fixed sequence, so that each run damages the same places.
fn next(seed: &mut u64) -> usize {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    usize::try_from(*seed >> 33).unwrap()
}

#[test]
fn flips_truncations_and_garbage_in_any_file_of_sled_change_nothing_that_is_served() {
    let mut seed = 7;
    for log in [log_of(COUNT, 50), killed()] {
        let files: Vec<_> =
            files_of(log.path()).into_iter().filter(|path| path.starts_with("sled")).collect();
        assert!(!files.is_empty());
        for file in files {
            let whole = fs::read(log.path().join(&file)).unwrap();
            is_healed_for_good(spoiled(log.path(), &file, None).path());
            is_healed(spoiled(log.path(), &file, Some(b"")).path());
            is_healed(spoiled(log.path(), &file, Some(&vec![0x5a; whole.len()])).path());
            let used = whole.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
            for _ in 0..if used > 4_096 { 12 } else { 3.min(used) } {
                let at = next(&mut seed) % used;
                let mut bytes = whole.clone();
                bytes[at] ^= 1 << (next(&mut seed) % 8);
                is_healed(spoiled(log.path(), &file, Some(&bytes)).path());
                is_healed(spoiled(log.path(), &file, Some(&whole[..at])).path());
            }
        }
    }
}

#[test]
fn an_empty_database_and_another_log_s_are_made_anew() {
    let log = log_of(COUNT, 50);
    let sled_dir = Layout::new(log.path()).sled();
    fs::remove_dir_all(&sled_dir).unwrap();
    drop(sled::open(&sled_dir).unwrap());
    is_healed(log.path());
    let (log, other) = (log_of(COUNT, 50), log_of(20, 5));
    fs::remove_dir_all(Layout::new(log.path()).sled()).unwrap();
    copy_dir(&Layout::new(other.path()).sled(), &Layout::new(log.path()).sled());
    is_healed(log.path());
}

#[test]
fn the_mark_that_says_which_boot_may_be_anything() {
    for mark in [b"".as_slice(), b"another boot", &[0xff; 300]] {
        let log = killed();
        fs::write(Layout::new(log.path()).sled_mark(), mark).unwrap();
        is_healed(log.path());
    }
    let log = killed();
    fs::remove_file(Layout::new(log.path()).sled_mark()).unwrap();
    is_healed(log.path());
}

#[test]
fn locks_hold_nothing_that_could_be_lost() {
    let log = log_of(COUNT, 50);
    fs::write(Layout::new(log.path()).lock(), "noise").unwrap();
    check_served(&open(log.path()).unwrap(), COUNT);
    fs::remove_file(Layout::new(log.path()).lock()).unwrap();
    is_healed(log.path());
}
