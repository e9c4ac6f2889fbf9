//! Backups of a running log, and logs restored from them.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tempfile::TempDir;
use treehead::disk::{DiskError, DiskIo, RealDisk};
use treehead::merkle::{Hash, RightEdge};
use treehead::note::NoteKey;
use treehead::server::Profile;
use treehead::store::{
    BackedUp, Backup, Companion, CopyError, JournalToCopy, Layout, OpenOptions, Restore, Restored,
    Store as _, StoreError, check_backup,
};

use crate::common::log::{self, Served, numbered};
use crate::home::{
    SEGMENT_BYTES, append, check_served, contents, crash_after, entry, fill, grow, head_of, key, log_of,
    open, open_with, segments,
};

fn back_up_with(log: &Path, out: &Path, key: &NoteKey, io: Arc<dyn DiskIo>) -> Result<BackedUp, CopyError> {
    back_up_at(0, false, log, out, key, io)
}

fn back_up_at(
    now: u64,
    all: bool,
    log: &Path,
    out: &Path,
    key: &NoteKey,
    io: Arc<dyn DiskIo>,
) -> Result<BackedUp, CopyError> {
    let files = [Companion { name: "log.vkey", secret: false }];
    let from = &JournalToCopy::new(log, key, io.clone());
    Backup { log, from, out, key, files: &files, io, all, now, progress: &|_, _| () }.run()
}

fn back_up(log: &Path, out: &Path) -> Result<BackedUp, CopyError> {
    back_up_with(log, out, &key(), Arc::new(RealDisk))
}

fn back_up_all(log: &Path, out: &Path) -> Result<BackedUp, CopyError> {
    back_up_at(0, true, log, out, &key(), Arc::new(RealDisk))
}

fn restore_with(backup: &Path, dir: &Path, io: Arc<dyn DiskIo>) -> Result<Restored, CopyError> {
    let key = key();
    Restore { backup, dir, key: &key, io, segment_bytes: SEGMENT_BYTES, progress: &|_, _| () }.run()
}

fn restore(backup: &Path, dir: &Path) -> Result<Restored, CopyError> {
    restore_with(backup, dir, Arc::new(RealDisk))
}

/// A log restored from the backup has exactly these entries.
fn restores_to(backup: &Path, count: usize) {
    let dir = TempDir::new().unwrap();
    assert_eq!(restore(backup, dir.path()).unwrap().head.head.size.get(), count as u64);
    check_served(&open(dir.path()).unwrap(), count);
}

#[test]
fn twenty_backups_of_a_log_under_load_are_whole_each() {
    let temp = TempDir::new().unwrap();
    let (home, out) = (temp.path().join("log"), temp.path().join("out"));
    fs::create_dir(&home).unwrap();
    let mut served = Served::start(&home, Profile::Opaque, log::quick());
    let (address, stop) = (served.address, Arc::new(AtomicBool::new(false)));
    let all = numbered(200_000);
    let (load, entries) = (stop.clone(), all.clone());
    let writer = std::thread::spawn(move || {
        for some in entries.chunks(100).take_while(|_| !load.load(Ordering::SeqCst)) {
            crate::common::http::post(address, "/add-batch", &log::batch(some));
        }
    });
    let (vkey, mut last) = (log::vkey(), 0);
    for round in 0..20 {
        let done = back_up_with(&home, &out, &vkey, Arc::new(RealDisk)).unwrap();
        let size = usize::try_from(done.head.head.size.get()).unwrap();
        assert!(size >= last, "heads only grow");
        let leaves: Vec<Hash> = all[..size].iter().map(|entry| Hash::leaf(entry)).collect();
        let root = RightEdge::default().grow(&leaves).edge.root();
        assert_eq!(root, done.head.head.root, "round {round}");
        let fresh = temp.path().join(format!("restored {round}"));
        fs::create_dir(&fresh).unwrap();
        let into = Restore {
            backup: &out,
            dir: &fresh,
            key: &vkey,
            io: Arc::new(RealDisk),
            segment_bytes: 1 << 16,
            progress: &|_, _| (),
        };
        into.run().unwrap();
        let options = || OpenOptions { log_key: Some(vkey.clone()), ..OpenOptions::new(log::ORIGIN) };
        let store = open_with(&fresh, options).unwrap();
        assert_eq!((store.edge().size().get(), store.edge().root()), (size as u64, root), "nothing unsigned");
        drop(store);
        fs::remove_dir_all(fresh).unwrap();
        last = size;
    }
    stop.store(true, Ordering::SeqCst);
    writer.join().unwrap();
    assert!(last > 1_000, "it was under load: {last}");
    served.stop();
}

#[test]
fn a_second_run_copies_only_what_is_new() {
    let (log, out) = (log_of(60, 7), TempDir::new().unwrap());
    let first = back_up(log.path(), out.path()).unwrap();
    assert_eq!((first.kept, first.copied), (0, segments(log.path()).len() as u64));
    assert_eq!(
        fs::read(out.path().join("log.vkey")).unwrap(),
        fs::read(log.path().join("log.vkey")).unwrap()
    );
    assert!(!out.path().join("sled").exists());
    let again = back_up(log.path(), out.path()).unwrap();
    assert_eq!((again.kept, again.copied, again.copied_bytes), (first.copied, 0, 0));
    let mut store = open(log.path()).unwrap();
    fill(&mut store, 90, 7);
    // While it is served: backups need no lock.
    let more = back_up(log.path(), out.path()).unwrap();
    assert!(more.kept >= first.copied - 1 && more.copied >= 1, "{more:?}");
    restores_to(out.path(), 90);
}

#[test]
fn what_was_never_signed_is_not_in_a_backup() {
    let (log, out) = (log_of(60, 7), TempDir::new().unwrap());
    append(&mut open(log.path()).unwrap(), (60..65).map(entry).collect());
    assert_eq!(back_up(log.path(), out.path()).unwrap().head.head.size.get(), 60);
    restores_to(out.path(), 60);
    let journal =
        |dir: &Path| segments(dir).iter().map(|path| fs::metadata(path).unwrap().len()).sum::<u64>();
    assert!(journal(out.path()) < journal(log.path()));
}

#[test]
fn an_empty_log_is_backed_up_and_restored() {
    let (log, out) = (log_of(0, 7), TempDir::new().unwrap());
    assert_eq!(back_up(log.path(), out.path()).unwrap().bytes, 0);
    restores_to(out.path(), 0);
}

#[test]
fn a_run_that_is_cut_off_anywhere_leaves_the_older_backup() {
    let log = log_of(30, 7);
    let older = TempDir::new().unwrap();
    back_up(log.path(), older.path()).unwrap();
    fill(&mut open(log.path()).unwrap(), 60, 7);
    for first_run in [false, true] {
        for steps in 0.. {
            let out = TempDir::new().unwrap();
            if !first_run {
                crate::home::copy_dir(older.path(), out.path());
            }
            let cut = back_up_with(log.path(), out.path(), &key(), crash_after(steps));
            if !first_run {
                let size = check_backup(out.path(), &key(), &|_, _| ()).unwrap().head.size.get();
                assert!(size == 60 || (cut.is_err() && size == 30), "after {steps} steps: {size}");
                if steps % 4 == 0 {
                    restores_to(out.path(), usize::try_from(size).unwrap());
                }
            }
            back_up(log.path(), out.path()).unwrap_or_else(|e| panic!("after {steps} steps: {e}"));
            if steps % 5 == 0 {
                restores_to(out.path(), 60);
            }
            if cut.is_ok() {
                assert!(steps > 10, "{steps}");
                break;
            }
        }
    }
}

#[test]
fn a_spoiled_backup_is_mended_by_the_next_run_and_never_restored() {
    let (log, out) = (log_of(60, 7), TempDir::new().unwrap());
    back_up(log.path(), out.path()).unwrap();
    for path in segments(out.path()) {
        let whole = fs::read(&path).unwrap();
        for at in (0..whole.len()).step_by(17) {
            let mut spoiled = whole.clone();
            spoiled[at] ^= 0x40;
            fs::write(&path, &spoiled).unwrap();
            let dir = TempDir::new().unwrap();
            let refused = restore(out.path(), dir.path()).unwrap_err();
            assert!(matches!(&refused, CopyError::Source { .. }), "{refused}");
            assert!(contents(dir.path()).is_empty(), "nothing was touched");
        }
        assert_eq!(back_up_all(log.path(), out.path()).unwrap().copied, 1);
        assert_eq!(fs::read(&path).unwrap(), whole);
    }
    restores_to(out.path(), 60);
}

const DAY: u64 = 24 * 60 * 60;

/// Backs up a log at a time. Returns the segments that were copied, and whether everything was read back.
fn back_up_on(day: u64, log: &Path, out: &Path) -> (u64, bool) {
    let done = back_up_at(day * DAY, false, log, out, &key(), Arc::new(RealDisk)).unwrap();
    (done.copied, done.read_bytes == done.bytes)
}

fn flip(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_flipped_byte_in_any_segment_of_a_backup_is_found_within_a_month() {
    let (log, out) = (log_of(300, 7), TempDir::new().unwrap());
    let count = segments(log.path()).len() as u64;
    assert!(count > 9, "{count}");
    assert_eq!(back_up_on(100, log.path(), out.path()), (count, true));
    assert_eq!(back_up_on(100, log.path(), out.path()), (0, false), "the sealed ones are trusted");
    let mut day = 101;
    for path in segments(out.path()) {
        let whole = fs::read(&path).unwrap();
        flip(&path);
        let start = day;
        while back_up_on(day, log.path(), out.path()).0 == 0 {
            day += 1;
            assert!(day - start <= 30, "{} was not read", path.display());
        }
        assert_eq!(fs::read(&path).unwrap(), whole);
    }
    flip(&segments(out.path())[3]);
    assert_eq!(back_up_on(day + 30, log.path(), out.path()), (1, true), "one run a month reads everything");
    restores_to(out.path(), 300);
}

#[test]
fn a_segment_of_another_length_is_read_at_once() {
    let (log, out) = (log_of(200, 7), TempDir::new().unwrap());
    back_up(log.path(), out.path()).unwrap();
    for path in segments(out.path()) {
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        assert_eq!(back_up(log.path(), out.path()).unwrap().copied, 1);
        fs::write(&path, [&whole[..], &[0]].concat()).unwrap();
        assert_eq!(back_up(log.path(), out.path()).unwrap().copied, 1);
        fs::remove_file(&path).unwrap();
        assert_eq!(back_up(log.path(), out.path()).unwrap().copied, 1);
        assert_eq!(fs::read(&path).unwrap(), whole);
    }
    // At the source it shows that the backup's copy has to be looked at, which is sound.
    let path = &segments(log.path())[2];
    let bytes = fs::read(path).unwrap();
    fs::write(path, &bytes[..bytes.len() - 1]).unwrap();
    let trusted = back_up(log.path(), out.path()).unwrap();
    assert_eq!((trusted.copied, trusted.kept), (0, segments(out.path()).len() as u64));
    restores_to(out.path(), 200);
}

#[test]
fn a_note_that_does_not_check_or_is_another_logs_counts_as_absent() {
    let (log, out, other) = (log_of(100, 7), TempDir::new().unwrap(), TempDir::new().unwrap());
    back_up(log.path(), out.path()).unwrap();
    back_up(fork(100).path(), other.path()).unwrap();
    let path = out.path().join("verified");
    let note = fs::read(&path).unwrap();
    let foreign = fs::read(other.path().join("verified")).unwrap();
    let bad = [Vec::new(), note[..note.len() - 2].to_vec(), b"\xff\n\n".to_vec(), foreign];
    for bad in bad {
        fs::write(&path, &bad).unwrap();
        let done = back_up(log.path(), out.path()).unwrap();
        assert_eq!((done.read_bytes, done.copied), (done.bytes, 0));
        assert!(back_up(log.path(), out.path()).unwrap().read_bytes < done.bytes, "there is a note again");
    }
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(matches!(back_up(log.path(), out.path()), Err(CopyError::Store(StoreError::Disk(_)))));
}

#[test]
fn a_run_that_is_cut_off_anywhere_leaves_a_note_that_is_right() {
    let log = log_of(60, 7);
    let older = TempDir::new().unwrap();
    back_up(log.path(), older.path()).unwrap();
    fill(&mut open(log.path()).unwrap(), 120, 7);
    for steps in 0.. {
        let out = TempDir::new().unwrap();
        crate::home::copy_dir(older.path(), out.path());
        // A damaged segment, which this run finds or not.
        flip(&segments(out.path())[steps % 3]);
        let cut = back_up_at(31 * DAY, false, log.path(), out.path(), &key(), crash_after(steps));
        let done = back_up_at(31 * DAY, false, log.path(), out.path(), &key(), Arc::new(RealDisk)).unwrap();
        assert!(cut.is_err() || done.copied == 0, "after {steps} steps");
        // Nothing is left that the note vouches for and that is not right.
        assert_eq!(back_up_all(log.path(), out.path()).unwrap().copied, 0, "after {steps} steps");
        if cut.is_ok() {
            assert!(steps > 10, "{steps}");
            break;
        }
    }
}

#[test]
fn a_damaged_log_does_not_go_over_a_good_backup() {
    let (log, out) = (log_of(30, 7), TempDir::new().unwrap());
    back_up(log.path(), out.path()).unwrap();
    fill(&mut open(log.path()).unwrap(), 60, 7);
    let path = segments(log.path()).pop().unwrap();
    let whole = fs::read(&path).unwrap();
    for at in (0..whole.len()).step_by(9) {
        let mut spoiled = whole.clone();
        spoiled[at] ^= 1;
        fs::write(&path, spoiled).unwrap();
        let refused = back_up(log.path(), out.path()).unwrap_err();
        assert!(matches!(&refused, CopyError::Store(e) if e.is_damage()), "{at}: {refused}");
        assert!(refused.to_string().contains("repair the log from"), "{refused}");
        assert_eq!(check_backup(out.path(), &key(), &|_, _| ()).unwrap().head.size.get(), 30);
    }
    fs::write(&path, whole).unwrap();
    back_up(log.path(), out.path()).unwrap();
    restores_to(out.path(), 60);
}

#[test]
fn a_backup_goes_only_where_one_is() {
    let (log, other) = (log_of(30, 7), log_of(20, 5));
    let before = contents(other.path());
    let refused = back_up(log.path(), other.path()).unwrap_err();
    assert!(matches!(refused, CopyError::NotABackup { .. }), "a log is no backup: {refused}");
    assert_eq!(contents(other.path()), before);
    // A log that is now behind its backup.
    let (out, old) = (TempDir::new().unwrap(), log_of(21, 7));
    back_up(log.path(), out.path()).unwrap();
    let refused = back_up(old.path(), out.path()).unwrap_err();
    let CopyError::Newer { there, here, .. } = &refused else { panic!("{refused}") };
    assert_eq!((there.get(), here.get()), (30, 21));
    assert!(refused.to_string().contains("9 of its entries would be lost"), "{refused}");
}

/// A log of `count` entries that the other logs don't have.
fn fork(count: usize) -> TempDir {
    let dir = TempDir::new().unwrap();
    let mut store = open(dir.path()).unwrap();
    let entries: Vec<Vec<u8>> = (0..count).map(|at| format!("other {at}").into_bytes()).collect();
    entries.chunks(7).for_each(|some| append(&mut store, some.to_vec()));
    let head = head_of(&grow(&RightEdge::default(), &entries).edge);
    store.replace_checkpoint(None, &head).unwrap();
    drop(store);
    dir
}

#[test]
fn a_restore_never_takes_anything_away() {
    let (log, out) = (log_of(60, 7), TempDir::new().unwrap());
    back_up(log.path(), out.path()).unwrap();
    let refused = |dir: &Path| {
        let before = contents(dir);
        let refused = restore(out.path(), dir).unwrap_err();
        assert_eq!(contents(dir), before, "{refused}");
        refused
    };
    // Newer by its checkpoint, by its journal, or by a checkpoint whose journal is lost.
    let newer = log_of(67, 7);
    let CopyError::Newer { there, .. } = refused(newer.path()) else { panic!() };
    assert_eq!(there.get(), 67);
    fs::copy(Layout::new(log.path()).checkpoint(), Layout::new(newer.path()).checkpoint()).unwrap();
    assert!(matches!(refused(newer.path()), CopyError::Newer { .. }), "unsigned entries count too");
    let lost = log_of(67, 7);
    fs::remove_dir_all(Layout::new(lost.path()).journal()).unwrap();
    assert!(matches!(refused(lost.path()), CopyError::Newer { .. }));
    // Another history, smaller or as large.
    for count in [7, 30, 60] {
        let other = fork(count);
        let e = refused(other.path());
        assert!(matches!(e, CopyError::Fork { .. }), "{count}: {e}");
        let e = back_up(other.path(), out.path()).unwrap_err();
        assert!(matches!(e, CopyError::Newer { .. } | CopyError::Fork { .. }), "{count}: {e}");
    }
    assert!(matches!(back_up(fork(70).path(), out.path()), Err(CopyError::Fork { .. })));
    // While it is served.
    let held = log_of(30, 7);
    let store = open(held.path()).unwrap();
    assert!(matches!(refused(held.path()), CopyError::Store(StoreError::Disk(DiskError::Locked { .. }))));
    drop(store);
    // A deleted checkpoint, and a damaged journal: `treehead repair` has to help.
    fs::remove_file(Layout::new(held.path()).checkpoint()).unwrap();
    assert!(matches!(refused(held.path()), CopyError::Store(StoreError::CheckpointMissing { .. })));
    restores_to(out.path(), 60);
}

#[test]
fn an_older_log_is_brought_forward_at_whatever_step_it_is_cut_off() {
    let (log, out) = (log_of(60, 7), TempDir::new().unwrap());
    back_up(log.path(), out.path()).unwrap();
    let old = log_of(28, 7);
    for steps in 0.. {
        let dir = TempDir::new().unwrap();
        crate::home::copy_dir(old.path(), dir.path());
        let cut = restore_with(out.path(), dir.path(), crash_after(steps));
        let copy = TempDir::new().unwrap();
        crate::home::copy_dir(dir.path(), copy.path());
        let store = open(copy.path()).unwrap_or_else(|e| panic!("after {steps} steps: {e}"));
        let size = usize::try_from(store.edge().size().get()).unwrap();
        assert!(size == 60 || (size == 28 && cut.is_err()), "{size}");
        check_served(&store, size);
        let again = restore(out.path(), dir.path()).unwrap();
        assert_eq!(again.head.head.size.get(), 60);
        check_served(&open(dir.path()).unwrap(), 60);
        if cut.is_ok() {
            assert!(steps > 10, "{steps}");
            assert_eq!(again.before.get(), 60, "there was nothing left to do");
            assert!(again.kept_as.is_none());
            return;
        }
    }
}
