//! The tree's rows, which go to sled later than they are readable.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::*;
use crate::disk::{DiskIo, SledError};

/// A disk that refuses rows when told, or writes them and says that it refused.
#[derive(Default)]
struct Refusing {
    refuses: AtomicBool,
    writes_anyway: bool,
}

impl DiskIo for Refusing {}

impl SledIo for Refusing {
    fn write_rows(&self, write: &mut dyn FnMut() -> Result<(), SledError>) -> Result<(), SledError> {
        if !self.refuses.load(Ordering::SeqCst) {
            return write();
        }
        if self.writes_anyway {
            write()?;
        }
        Err(DiskError::io("write", "sled")(std::io::ErrorKind::StorageFull.into()).into())
    }
}

fn open_with(dir: &Path, io: &Arc<Refusing>, row_lag: Duration) -> DiskStore {
    open_disk(dir, || OpenOptions { io: io.clone(), row_lag, ..options() }).unwrap()
}

#[test]
fn rows_that_wait_are_readable_and_are_written_when_the_log_is_closed() {
    let dir = TempDir::new().unwrap();
    let mut store = open_with(dir.path(), &Arc::default(), Duration::from_secs(3_600));
    entries(0, 900).chunks(90).for_each(|batch| append(&mut store, batch.to_vec()));
    check_all(&store, 900);
    drop(store);
    let (store, caught_up) = reopen(dir.path());
    assert!(!caught_up);
    check_all(&store, 900);
}

#[test]
fn rows_that_a_kill_took_are_read_again_from_the_journal() {
    let (dir, killed) = (log_of(300), TempDir::new().unwrap());
    let mut store = open_with(dir.path(), &Arc::default(), Duration::from_secs(3_600));
    entries(300, 600).chunks(90).for_each(|batch| append(&mut store, batch.to_vec()));
    copy_dir(dir.path(), killed.path());
    let (store, caught_up) = reopen(killed.path());
    assert!(caught_up);
    check_all(&store, 900);
}

#[test]
fn rows_that_could_not_be_written_fail_a_later_batch_and_a_reload_makes_them_good() {
    for writes_anyway in [false, true] {
        let dir = log_of(300);
        let io = Arc::new(Refusing { writes_anyway, ..Refusing::default() });
        let mut store = open_with(dir.path(), &io, Duration::from_millis(1));
        io.refuses.store(true, Ordering::SeqCst);
        let (mut count, deadline) = (300, Instant::now() + Duration::from_secs(10));
        loop {
            let batch = batch_of(&store.edge(), entries(count, 90));
            let staged = store.stage(&batch).unwrap();
            count += 90;
            if let Err(error) = store.apply(&batch, staged) {
                assert!(matches!(error, StoreError::Disk(DiskError::Io { .. })), "{error}");
                break;
            }
            check_all(&store, count);
            assert!(Instant::now() < deadline, "it is never told");
        }
        assert!(matches!(
            store.stage(&batch_of(&store.edge(), entries(count, 1))),
            Err(StoreError::Reloading)
        ));
        io.refuses.store(false, Ordering::SeqCst);
        store.reload().unwrap();
        check_all(&store, count);
        append(&mut store, entries(count, 90));
        check_all(&store, count + 90);
        drop(store);
        assert!(!reopen(dir.path()).1);
    }
}
