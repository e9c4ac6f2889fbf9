//! Over HTTP, on file systems that stop being writable: appends are refused with the reason, reads go on, and appends
//! work again as soon as writes do.

use std::fs;
use std::path::Path;

use libtest_mimic::Completion;
use tempfile::TempDir;

use crate::common::mounts::{Mount, ext4_image, system};
use crate::common::needs::Outcome;
use crate::mounted_or_ignored;
use crate::served::Log;

const READ_ONLY: &str = "Read-only file system";

/// Makes the journal's segments immutable, or writable again.
fn immutable(dir: &Path, on: bool) -> Result<(), String> {
    for item in fs::read_dir(dir.join("journal")).map_err(|e| e.to_string())? {
        let path = item.map_err(|e| e.to_string())?.path();
        system("chattr", &[if on { "+i" } else { "-i" }, &path.display().to_string()])?;
    }
    Ok(())
}

pub fn a_journal_that_may_not_be_written_for_a_while() -> Outcome {
    let home = TempDir::new().unwrap();
    let (image, place) = (home.path().join("image"), home.path().join("mnt"));
    let mounted = ext4_image(&image, 24, &[]).and_then(|()| Mount::image(&image, &place, "rw"));
    let _mount = mounted_or_ignored!(mounted);
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
    Ok(Completion::Completed)
}

pub fn an_ext4_that_turned_read_only_by_itself() -> Outcome {
    let home = TempDir::new().unwrap();
    let (image, place) = (home.path().join("image"), home.path().join("mnt"));
    let mounted =
        ext4_image(&image, 24, &[]).and_then(|()| Mount::image(&image, &place, "errors=remount-ro"));
    let mount = mounted_or_ignored!(mounted);
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
        // e2fsck exits with 1 if it has repaired something.
        let checked = system("e2fsck", &["-f", "-y", &image.display().to_string()]);
        println!("{checked:?}");
        again = Some(Mount::image(&image, &place, "rw").unwrap());
    });
    log.goes_on("repaired");
    drop(log);
    drop(again);
    Ok(Completion::Completed)
}
