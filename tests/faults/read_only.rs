//! A disk that refuses writes for a while.
//!
//! A running log keeps its last segment open for writing, so the system refuses to remount its file system
//! read-only: "mount point is busy". A file system can only turn read-only by itself, after an error that it found,
//! and then stays so until it is unmounted. So a fake disk answers `EROFS` for a while here.

use std::sync::Arc;

use treehead::disk::SledIo;
use treehead::sequencer::SubmitError;

use crate::common::driver::{Driver, Ledger, audit, entries, open_store};
use crate::common::faulty_disk::{Failure, FaultyDisk, Mode, Plan};
use crate::common::mounts::quick_dir;

const READ_ONLY: &str = "Read-only file system";

#[test]
fn while_every_write_says_read_only_reads_go_on_and_appends_do_afterwards() {
    let (dir, ledger) = (quick_dir(), Arc::<Ledger>::default());
    let disk = Arc::new(FaultyDisk::new(Plan { errno: 30, ..Plan::NONE }));
    let io: Arc<dyn SledIo> = disk.clone();
    let store = open_store(dir.path(), &io, 5_000).unwrap();
    let driver = Driver::start(Box::new(store), ledger.clone()).unwrap();
    for (round, failure) in [Failure::NotDone, Failure::DoneAnyway, Failure::HalfDone].into_iter().enumerate()
    {
        assert!(driver.submit(&entries(&format!("before {round}"), 40)).unwrap().iter().all(Result::is_ok));
        driver.settle().unwrap();
        disk.set(Mode::Failing(failure));
        for at in 0..5 {
            let refused = driver.submit(&entries(&format!("during {round}, {at}"), 3)).unwrap();
            for why in refused {
                let Err(SubmitError::Storage(why)) = why else { panic!("{failure:?}: {why:?}") };
                assert!(why.contains(READ_ONLY) && why.contains("is mounted read-only"), "{why}");
            }
            assert!(driver.sequencer.fault().is_some_and(|fault| fault.contains(READ_ONLY)));
            driver.check().unwrap();
        }
        disk.set(Mode::Planned);
        driver.settle().unwrap();
        driver.goes_on(&format!("round {round}")).unwrap();
    }
    driver.sequencer.shut_down().unwrap();
    drop(driver);
    let promises = ledger.lock().clone();
    audit(dir.path(), &promises, &io, 5_000).unwrap();
}
