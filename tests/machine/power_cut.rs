//! A log on an ext4 whose power is cut.
//!
//! The backing file of the loop device holds what the file system wrote to the device, without what is only in the
//! page cache. So a copy of it is what a power cut leaves, if it is a copy of one moment. A copy takes some
//! milliseconds. If the file system wrote meanwhile, its own journal and the blocks that the journal describes could
//! be of different times, which no power cut does. So the test first holds the writer before its next step. The copy
//! counts only if the device's own counters show that no write was finished or in progress from before the copy began
//! until after it ended. Otherwise the test copies again, with the writer still held. The promises are taken before
//! the first copy, so a later copy can only have more.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use libtest_mimic::Completion;
use tempfile::TempDir;
use treehead::disk::{RealDisk, SledIo};
use treehead::store::Layout;

use crate::common::driver::{Driver, Ledger, Noted, audit, entries, open_store};
use crate::common::faulty_disk::{Failure, FaultyDisk, Mode, Plan};
use crate::common::mounts::{Mount, ext4_image, quick_dir, reboot, system};
use crate::common::needs::Outcome;
use crate::common::promises::Promises;
use crate::common::random::Random;
use crate::mounted_or_ignored;

const IMAGE_MEBIBYTES: u64 = 64;
/// Entries of a log whose sled will be rebuilt.
const OLD_ENTRIES: usize = 3_000;

/// Turns the power off however a round ends: nothing may wait for the disk for ever.
struct Off<'a>(&'a FaultyDisk);

const OFF: Mode = Mode::Failing(Failure::NotDone);

impl Drop for Off<'_> {
    fn drop(&mut self) {
        self.0.set(OFF);
    }
}

/// The moment of the cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    /// While an empty log opens for the first time.
    Fresh,
    /// In the first second of its life.
    FirstSecond,
    /// While segments are as small as batches, so that most cuts meet a change.
    SegmentChange,
    /// While an old log rebuilds sled, or right after.
    Rebuild,
}

const MOMENTS: [Moment; 4] = [Moment::Fresh, Moment::FirstSecond, Moment::SegmentChange, Moment::Rebuild];

impl Moment {
    fn delay(self, random: &mut Random) -> Duration {
        let (least, most) = match self {
            Self::Fresh => (0, 25),
            Self::FirstSecond => (10, 1_000),
            Self::SegmentChange => (20, 300),
            Self::Rebuild => (0, 120),
        };
        Duration::from_micros(least * 1_000 + random.below((most - least) * 1_000))
    }

    fn segment_bytes(self) -> u64 {
        if self == Self::SegmentChange { 4_096 } else { 1 << 20 }
    }
}

/// Images to start from, made once.
struct Images {
    home: TempDir,
    old: Promises,
}

impl Images {
    fn make() -> Result<Self, String> {
        let images = Self { home: quick_dir(), old: Promises::default() };
        let (empty, old) = (images.path("empty"), images.path("old"));
        ext4_image(&empty, IMAGE_MEBIBYTES, &[])?;
        copy(&empty, &old)?;
        let mount = Mount::image(&old, &images.path("mnt"), "rw")?;
        let ledger = Arc::<Ledger>::default();
        let io: Arc<dyn SledIo> = Arc::new(RealDisk);
        let store = open_store(&mount.path().join("log"), &io, 1 << 20).map_err(|e| e.to_string())?;
        let driver = Driver::start(Box::new(store), ledger.clone())?;
        for batch in entries("old", OLD_ENTRIES).chunks(100) {
            driver.submit(batch)?;
        }
        driver.settle()?;
        driver.sequencer.shut_down()?;
        drop(driver);
        fs::remove_dir_all(Layout::new(&mount.path().join("log")).sled()).map_err(|e| e.to_string())?;
        mount.unmount()?;
        let old = ledger.lock().clone();
        Ok(Self { old, ..images })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }
}

fn copy(from: &Path, to: &Path) -> Result<(), String> {
    system("cp", &["--sparse=always", &from.display().to_string(), &to.display().to_string()])
}

/// The numbers of the device's finished writes and of its requests in flight.
fn writes(device: &str) -> Result<(u64, u64), String> {
    let stat = fs::read_to_string(format!("/sys/block/{device}/stat")).map_err(|e| e.to_string())?;
    // Documentation/block/stat.rst: the fifth field counts writes, the ninth the requests in flight.
    let fields: Vec<u64> = stat.split_whitespace().filter_map(|field| field.parse().ok()).collect();
    let field = |at: usize| fields.get(at).copied().ok_or_else(|| format!("{device} has no field {at}"));
    Ok((field(4)?, field(8)?))
}

/// Copies the image as the block layer has it, at a moment without writes. Returns the number of tries.
fn copy_when_quiet(device: &str, from: &Path, to: &Path) -> Result<usize, String> {
    let deadline = Instant::now() + Duration::from_secs(30);
    for tries in 1.. {
        let before = writes(device)?;
        copy(from, to)?;
        if before.1 == 0 && writes(device)? == before {
            return Ok(tries);
        }
        if Instant::now() > deadline {
            return Err(format!("{device} is never quiet"));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    unreachable!("it returns before it has counted to the end")
}

/// Runs a log under load until the power is cut.
fn run(dir: &Path, disk: &Arc<FaultyDisk>, ledger: &Arc<Ledger>, moment: Moment, seed: u64) {
    let io: Arc<dyn SledIo> = disk.clone();
    let Ok(store) = open_store(dir, &io, moment.segment_bytes()) else { return };
    let noted = Noted { store, notary: ledger.clone() };
    let Ok(driver) = Driver::start(Box::new(noted), ledger.clone()) else { return };
    std::thread::scope(|scope| {
        for writer in 0..3 {
            let (driver, mut random) = (&driver, Random(seed + writer));
            scope.spawn(move || {
                for round in 0.. {
                    let many = if random.below(10) == 0 { 400 } else { 12 };
                    let count = usize::try_from(1 + random.below(many)).unwrap();
                    let _ = driver.submit(&entries(&format!("{seed}/{writer}/{round}"), count)).unwrap();
                    if disk.mode() == OFF {
                        return;
                    }
                }
            });
        }
    });
}

/// The result of a round.
#[derive(Debug)]
struct Round {
    acknowledged: u64,
    found: u64,
    tries: usize,
}

/// Runs a log, cuts the power, and checks what is left.
fn round(images: &Images, moment: Moment, lying: bool, seed: u64) -> Result<Round, String> {
    let begin = if moment == Moment::Rebuild { "old" } else { "empty" };
    let (live, cut) = (images.path("live"), images.path("cut"));
    copy(&images.path(begin), &live)?;
    let mount = Mount::image(&live, &images.path("mnt"), "rw")?;
    let device = mount.device().ok_or("the mount has no device")?;
    let ledger = Arc::<Ledger>::default();
    if moment == Moment::Rebuild {
        *ledger.lock() = images.old.clone();
    }
    // A lying disk claims that it did each fdatasync, and did none.
    let plan = if lying { Plan::claim_all("sync_data") } else { Plan::NONE };
    let disk = Arc::new(FaultyDisk::new(plan));
    let delay = moment.delay(&mut Random(seed));
    let dir = mount.path().join("log");
    let (promises, tries) = std::thread::scope(|scope| {
        let _off = Off(&disk);
        scope.spawn(|| run(&dir, &disk, &ledger, moment, seed));
        std::thread::sleep(delay);
        disk.set(Mode::Held);
        let promises = ledger.lock().clone();
        copy_when_quiet(&device, &live, &cut).map(|tries| (promises, tries))
    })?;
    mount.unmount()?;
    // Entries that were submitted when the power was cut may be there, too.
    let promises = Promises { sent: ledger.lock().sent.clone(), ..promises };
    let mount = Mount::image(&cut, &images.path("mnt"), "rw")?;
    let dir = mount.path().join("log");
    reboot(&dir);
    let io: Arc<dyn SledIo> = Arc::new(RealDisk);
    let found = audit(&dir, &promises, &io, moment.segment_bytes());
    mount.unmount()?;
    Ok(Round { acknowledged: promises.entries.len() as u64, found: found?, tries })
}

pub fn ten_power_cuts_lose_nothing_that_was_acknowledged() -> Outcome {
    let images = mounted_or_ignored!(Images::make());
    let rounds = std::env::var("TREEHEAD_POWER_CUT_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(10);
    let (mut acknowledged, mut more, mut again) = (0, 0, 0);
    for seed in 0..rounds {
        let moment = MOMENTS[usize::try_from(seed).unwrap() % MOMENTS.len()];
        let done = round(&images, moment, false, 7_000 + seed);
        let done = done.unwrap_or_else(|e| panic!("round {seed}, {moment:?}: {e}"));
        println!("round {seed}, {moment:?}: {done:?}");
        acknowledged += done.acknowledged;
        more += done.found - done.acknowledged;
        again += done.tries - 1;
    }
    println!(
        "{rounds} power cuts: {acknowledged} entries acknowledged, {more} more found, {again} copies made again"
    );
    assert!(acknowledged > rounds * 10, "the cuts met a log that was appending: {acknowledged}");
    Ok(Completion::Completed)
}

pub fn a_log_that_skips_its_fdatasyncs_is_caught() -> Outcome {
    let images = mounted_or_ignored!(Images::make());
    let losses: Vec<String> = (0..4).filter_map(|seed| lost(&images, 8_000 + seed)).collect();
    println!("{} of 4: {losses:#?}", losses.len());
    assert!(losses.len() >= 2, "{losses:?}");
    Ok(Completion::Completed)
}

/// The broken promise after a round on a lying disk.
fn lost(images: &Images, seed: u64) -> Option<String> {
    round(images, Moment::FirstSecond, true, seed).err()
}
