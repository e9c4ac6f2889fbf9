//! Over HTTP, on small file systems that fill up: appends are refused with the reason, reads go on, and appends work
//! again without a restart as soon as there is space.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;
use treehead::server::Profile;

use libtest_mimic::Completion;

use crate::common::log::{open, quick};
use crate::common::mounts::{Mount, ext4_image};
use crate::common::needs::Outcome;
use crate::mounted_or_ignored;
use crate::served::Log;

const FULL: &str = "No space left on device";

/// Fills the file system of a file. Dropping it frees the space.
struct Filler<'a>(&'a Path);

impl Filler<'_> {
    fn fill(&self) {
        let mut file = fs::File::options().create(true).append(true).open(self.0).unwrap();
        for size in [1 << 16, 1 << 12, 1 << 9, 1] {
            while file.write_all(&vec![7; size]).is_ok() {}
        }
    }
}

impl Drop for Filler<'_> {
    fn drop(&mut self) {
        fs::remove_file(self.0).unwrap();
    }
}

/// An entry larger than the free end of a file's last block on a full disk.
fn large(name: &str, at: usize) -> Vec<u8> {
    [format!("{name} {at} ").as_bytes(), &[b'.'; 20_000]].concat()
}

/// Sends large entries until one is refused, and returns why.
fn refusal(log: &mut Log, name: &str) -> String {
    for at in 0..400 {
        if let Err(why) = log.add("/add?wait=sequenced", &large(name, at)) {
            return why;
        }
        log.reads_go_on();
    }
    panic!("the disk is full, and nothing is refused");
}

/// A start on a full disk fails with advice, and does not claim to recover by itself.
fn does_not_start_on_a_full_disk(dir: &Path, filler: &Path) {
    let filler = Filler(filler);
    filler.fill();
    let refused = open(dir, Profile::Opaque, quick()).err().expect("there is no room").to_string();
    assert!(refused.ends_with("(free some space)"), "{refused}");
    drop(filler);
    open(dir, Profile::Opaque, quick()).expect("there is room again");
}

/// Fills the disk of a log in `dir` several times, each time for long enough that sled notices, too.
fn fills_up_and_gets_room_again(dir: &Path, filler: &Path) {
    let mut log = Log::start(dir);
    for round in 0..3 {
        let filler = Filler(filler);
        filler.fill();
        let refused = refusal(&mut log, &format!("full {round}"));
        assert!(refused.contains(FULL), "{refused}");
        assert!(refused.contains("(free some space); it goes on by itself then"), "{refused}");
        log.is_ill_of(FULL);
        std::thread::sleep(Duration::from_millis(if round == 1 { 1_200 } else { 0 }));
        for at in 0..10 {
            let refused = log.add("/add?wait=sequenced", &large(&format!("still {round}"), at));
            assert!(refused.is_err_and(|why| why.contains(FULL)), "round {round}, {at}");
            log.reads_go_on();
        }
        log.is_ill_of(FULL);
        drop(filler);
        log.goes_on(&format!("room again {round}"));
    }
    drop(log);
    does_not_start_on_a_full_disk(dir, filler);
}

pub fn a_full_tmpfs() -> Outcome {
    let home = TempDir::new().unwrap();
    let mount = mounted_or_ignored!(Mount::tmpfs("16m", &home.path().join("mnt")));
    fills_up_and_gets_room_again(&mount.path().join("log"), &mount.path().join("filler"));
    Ok(Completion::Completed)
}

pub fn a_full_disk_that_only_sled_and_the_checkpoint_are_on() -> Outcome {
    let home = TempDir::new().unwrap();
    let (dir, place) = (home.path().join("mnt/log"), home.path().join("mnt"));
    let _mount = mounted_or_ignored!(Mount::tmpfs("16m", &place));
    let _inner = mounted_or_ignored!(Mount::tmpfs("64m", &dir.join("journal")));
    let filler = place.join("filler");
    let mut log = Log::start(&dir);
    for round in 0..3 {
        let filled = Filler(&filler);
        filled.fill();
        // The journal has room, the checkpoint is written in place, and the rows of the tree wait in memory. So entries
        // are accepted, until sled finds that it can't write: then they are refused with the reason.
        for at in 0..25 {
            if let Err(why) = log.add("/add?wait=published", &large(&format!("full {round}"), at)) {
                assert!(why.contains(FULL), "round {round}, {at}: {why}");
            }
            log.reads_go_on();
            std::thread::sleep(Duration::from_millis(60));
        }
        drop(filled);
        log.goes_on(&format!("room again {round}"));
    }
    drop(log);
    does_not_start_on_a_full_disk(&dir, &filler);
    Ok(Completion::Completed)
}

pub fn a_full_ext4() -> Outcome {
    let home = TempDir::new().unwrap();
    let (image, place) = (home.path().join("image"), home.path().join("mnt"));
    let mounted = ext4_image(&image, 24, &["-O", "^has_journal"]);
    let _mount = mounted_or_ignored!(mounted.and_then(|()| Mount::image(&image, &place, "rw")));
    fills_up_and_gets_room_again(&place.join("log"), &place.join("filler"));
    Ok(Completion::Completed)
}
