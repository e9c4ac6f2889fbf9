//! A disk that refuses to be written, and then does not any more.
//!
//! A running log keeps its last segment open for writing, and while it does, the system refuses to
//! remount its file system read-only: "mount point is busy". So it can turn read-only only by
//! itself, after an error that it found, and then not back before it was unmounted. What a
//! log does when it gets `EROFS` for a while is tested with a disk that says so.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use tempfile::TempDir;
use treehead::disk::SledIo;
use treehead::sequencer::SubmitError;

use super::faulty::{Faulty, How, Plan};
use super::served::Log;
use crate::common::driver::{Driver, Ledger, audit, entries, open_store};
use crate::common::mounts::{Mount, ext4_image, quick_dir, skip, system};

const READ_ONLY: &str = "Read-only file system";

#[test]
fn while_every_write_says_read_only_reads_go_on_and_appends_do_afterwards() {
    let (dir, ledger) = (quick_dir(), Arc::<Ledger>::default());
    let faulty = Arc::new(Faulty::new(Plan { error: 30, ..Plan::NONE }));
    let io: Arc<dyn SledIo> = faulty.clone();
    let store = open_store(dir.path(), &io, 5_000).unwrap();
    let driver = Driver::start(Box::new(store), ledger.clone()).unwrap();
    for (round, how) in [How::Failed, How::FailedButPersisted, How::Half].into_iter().enumerate() {
        assert!(driver.submit(&entries(&format!("before {round}"), 40)).unwrap().iter().all(Result::is_ok));
        driver.settle().unwrap();
        faulty.fail_until_told(Some(how));
        for at in 0..5 {
            let refused = driver.submit(&entries(&format!("during {round}, {at}"), 3)).unwrap();
            for why in refused {
                let Err(SubmitError::Storage(why)) = why else { panic!("{how:?}: {why:?}") };
                assert!(why.contains(READ_ONLY) && why.contains("is mounted read-only"), "{why}");
            }
            assert!(driver.sequencer.fault().is_some_and(|fault| fault.contains(READ_ONLY)));
            driver.check().unwrap();
        }
        faulty.fail_until_told(None);
        driver.settle().unwrap();
        driver.goes_on(&format!("round {round}")).unwrap();
    }
    driver.sequencer.shut_down().unwrap();
    drop(driver);
    let promises = ledger.lock().clone();
    audit(dir.path(), &promises, &io, 5_000).unwrap();
}

/// The journal's segments may be changed by nobody, or again by their owner.
fn immutable(dir: &Path, on: bool) -> Result<(), String> {
    for item in fs::read_dir(dir.join("journal")).map_err(|e| e.to_string())? {
        let path = item.map_err(|e| e.to_string())?.path();
        system("chattr", &[if on { "+i" } else { "-i" }, &path.display().to_string()])?;
    }
    Ok(())
}

#[test]
fn a_journal_that_may_not_be_written_for_a_while() {
    let home = TempDir::new().unwrap();
    let (image, place) = (home.path().join("image"), home.path().join("mnt"));
    let mounted = ext4_image(&image, 24, &[]).and_then(|()| Mount::image(&image, &place, "rw"));
    let _mount = match mounted {
        Ok(mount) => mount,
        Err(why) => return skip("a journal that may not be written", &why),
    };
    let dir = place.join("log");
    let mut log = Log::start(&dir);
    for round in 0..2 {
        immutable(&dir, true).unwrap();
        for at in 0..5 {
            let why = log.add("/add", format!("immutable {round} {at}").as_bytes()).unwrap_err();
            assert!(why.contains("Operation not permitted"), "{why}");
            log.reads_go_on();
        }
        log.is_ill_of("Operation not permitted");
        immutable(&dir, false).unwrap();
        log.goes_on(&format!("permitted {round}"));
    }
}

#[test]
fn an_ext4_that_turned_read_only_by_itself() {
    let home = TempDir::new().unwrap();
    let (image, place) = (home.path().join("image"), home.path().join("mnt"));
    let mounted =
        ext4_image(&image, 24, &[]).and_then(|()| Mount::image(&image, &place, "errors=remount-ro"));
    let mount = match mounted {
        Ok(mount) => mount,
        Err(why) => return skip("an ext4 that turns read-only", &why),
    };
    let dir = place.join("log");
    let mut log = Log::start(&dir);
    assert!(mount.remount("ro").is_err_and(|why| why.contains("busy")), "the journal is open for writing");
    log.goes_on("after it was not remounted");
    let device = mount.device().unwrap();
    fs::write(format!("/sys/fs/ext4/{device}/trigger_fs_error"), "1").unwrap();
    for at in 0..5 {
        let why = log.add("/add", format!("read-only {at}").as_bytes()).unwrap_err();
        assert!(why.contains(READ_ONLY) && why.contains("is mounted read-only"), "{why}");
        log.reads_go_on();
    }
    log.is_ill_of(READ_ONLY);
    let mut again = None;
    let mut log = log.restarted_after(|| {
        mount.unmount().unwrap();
        // It exits with 1 where it has repaired something.
        let checked = system("e2fsck", &["-f", "-y", &image.display().to_string()]);
        println!("{checked:?}");
        again = Some(Mount::image(&image, &place, "rw").unwrap());
    });
    log.goes_on("repaired");
    drop(log);
    drop(again);
}
