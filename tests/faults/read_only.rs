//! A disk that refuses to be written, and then does not any more.
//!
//! A running log keeps its last segment open for writing, and while it does, the system refuses to
//! remount its file system read-only: "mount point is busy". So it can turn read-only only by
//! itself, after an error that it found, and then not back before it was unmounted. What a
//! log does when it gets `EROFS` for a while is tested with a disk that says so.

use std::sync::Arc;

use treehead::disk::SledIo;
use treehead::sequencer::SubmitError;

use super::faulty::{Faulty, How, Plan};
use crate::common::driver::{Driver, Ledger, audit, entries, open_store};
use crate::common::mounts::quick_dir;

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
