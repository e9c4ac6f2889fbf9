//! Compare-and-swap, the state after a restart, and the files that a start refuses.

use crate::checkpoint::origin_hash;
use std::fs;

use super::*;
use crate::disk::DiskError;

fn name() -> KeyName {
    KeyName::new("witness.example/w").unwrap()
}

fn origin() -> Origin {
    Origin::new("log.example/a").unwrap()
}

fn record(size: u64) -> Record {
    test_record("log.example/a", size)
}

fn made() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(JOURNAL), Ledger::empty_journal(&name())).unwrap();
    dir
}

fn open(dir: &tempfile::TempDir) -> Ledger {
    Ledger::open(dir.path(), &name()).unwrap()
}

/// Whether the head was replaced. Panics on any error but a conflict.
fn replace(ledger: &Ledger, expected: Option<Head>, record: Record) -> bool {
    match ledger.replace(expected, record).unwrap().blocking_recv().unwrap() {
        Ok(()) => true,
        Err(NotReplaced::Conflict) => false,
        Err(NotReplaced::Storage(e)) => panic!("{e}"),
    }
}

#[test]
fn a_head_is_replaced_by_who_saw_it() {
    let dir = made();
    let ledger = open(&dir);
    assert_eq!(ledger.head(&origin()), None);
    assert!(!replace(&ledger, Some(record(3).head), record(7)), "there is none yet");
    assert!(replace(&ledger, None, record(7)));
    assert!(!replace(&ledger, None, record(7)), "there is one by now");
    assert!(!replace(&ledger, Some(record(6).head), record(8)), "another size");
    let forked = Head { root: Hash::leaf(b"another"), ..record(7).head };
    assert!(!replace(&ledger, Some(forked), record(8)), "another root");
    assert!(
        replace(&ledger, Some(Head { time: 1, ..record(7).head }), record(9)),
        "whenever it was cosigned"
    );
    assert_eq!(ledger.head(&origin()), Some(record(9).head));
    assert_eq!(ledger.record(&origin_hash(&origin())).unwrap(), Some(record(9)));
    assert_eq!(ledger.record(&origin_hash(&name())).unwrap(), None);
}

#[test]
fn of_those_that_saw_the_same_head_one_replaces_it() {
    let dir = made();
    let ledger = open(&dir);
    assert!(replace(&ledger, None, record(1)));
    // Requested before any of them is answered, so that they come in one batch or in several.
    let answers: Vec<_> =
        (2..50).map(|size| ledger.replace(Some(record(1).head), record(size)).unwrap()).collect();
    let won: Vec<bool> = answers.into_iter().map(|a| a.blocking_recv().unwrap().is_ok()).collect();
    assert_eq!(won.iter().filter(|won| **won).count(), 1);
    assert!(won[0], "first come, first served");
    assert_eq!(ledger.head(&origin()), Some(record(2).head));
    // In a chain, each one saw the one before.
    let chain: Vec<_> =
        (3..50).map(|size| ledger.replace(Some(record(size - 1).head), record(size)).unwrap()).collect();
    assert!(chain.into_iter().all(|answer| answer.blocking_recv().unwrap().is_ok()));
    assert_eq!(ledger.head(&origin()), Some(record(49).head));
}

#[test]
fn an_announced_record_that_never_comes_holds_up_nobody() {
    let dir = made();
    let ledger = open(&dir);
    let announced = ledger.announce();
    assert!(replace(&ledger, None, record(1)));
    assert!((2..20).all(|size| replace(&ledger, Some(record(size - 1).head), record(size))));
    drop(announced);
    assert_eq!(ledger.head(&origin()), Some(record(19).head));
}

#[test]
#[should_panic(expected = "the log grows")]
fn a_head_never_shrinks() {
    let dir = made();
    let _ = open(&dir).replace(Some(record(7).head), record(6));
}

#[test]
fn everything_is_there_after_a_restart() {
    let dir = made();
    for round in 0..4 {
        let ledger = open(&dir);
        for at in 0..20 {
            let origin = format!("log.example/{at}");
            let expected = (round > 0).then(|| test_record(&origin, round).head);
            assert!(replace(&ledger, expected, test_record(&origin, round + 1)));
        }
        drop(ledger);
        assert!(!dir.path().join("sled.open").exists(), "sled was closed");
        match round {
            0 => fs::remove_dir_all(dir.path().join("sled")).unwrap(),
            // As a power cut leaves it.
            1 => fs::write(dir.path().join("sled.open"), "another boot").unwrap(),
            // A crash in the middle of a batch.
            2 => {
                let path = dir.path().join(JOURNAL);
                let torn = [fs::read(&path).unwrap(), b"THHEADS\n\0\0".to_vec()].concat();
                fs::write(&path, torn).unwrap();
            }
            _ => {}
        }
    }
    let ledger = open(&dir);
    for at in 0..20 {
        let expected = test_record(&format!("log.example/{at}"), 4);
        assert_eq!(ledger.record(&expected.key()).unwrap(), Some(expected));
    }
    assert_eq!(ledger.heads().len(), 20);
    assert!(ledger.faults().is_empty());
}

#[test]
fn a_second_process_is_refused() {
    let dir = made();
    let first = open(&dir);
    let second = Ledger::open(dir.path(), &name()).err().unwrap();
    assert!(matches!(second, LedgerError::Disk(DiskError::Locked { .. })), "{second}");
    drop(first);
    drop(open(&dir));
}

#[test]
fn a_journal_that_is_gone_or_damaged_is_never_taken_for_a_new_one() {
    let dir = made();
    let path = dir.path().join(JOURNAL);
    let ledger = open(&dir);
    assert!(replace(&ledger, None, record(7)) && replace(&ledger, Some(record(7).head), record(8)));
    drop(ledger);
    let whole = fs::read(&path).unwrap();
    let refused = |what: &str| {
        let error = Ledger::open(dir.path(), &name()).err().expect("it must not sign").to_string();
        assert!(error.contains(what) && error.contains("docs/witness.md"), "{error}");
    };
    fs::remove_file(&path).unwrap();
    refused("is missing");
    fs::write(&path, b"").unwrap();
    refused("damaged at byte 0");
    let mut bytes = whole.clone();
    bytes[60] ^= 1;
    fs::write(&path, bytes).unwrap();
    refused("damaged at byte 44");
    fs::write(&path, &whole).unwrap();
    let other = KeyName::new("witness.example/other").unwrap();
    assert!(matches!(Ledger::open(dir.path(), &other), Err(LedgerError::Damaged { at: 8, .. })));
    assert_eq!(open(&dir).head(&origin()), Some(record(8).head));
}

#[test]
fn an_older_journal_beside_a_newer_sled_is_refused() {
    let dir = made();
    let path = dir.path().join(JOURNAL);
    let empty = fs::read(&path).unwrap();
    let ledger = open(&dir);
    assert!(replace(&ledger, None, record(7)));
    let older = fs::read(&path).unwrap();
    assert!(replace(&ledger, Some(record(7).head), record(8)));
    drop(ledger);
    let newest = fs::read(&path).unwrap();
    for old in [empty, older] {
        fs::write(&path, &old).unwrap();
        let error = Ledger::open(dir.path(), &name()).err().unwrap();
        assert!(matches!(error, LedgerError::RolledBack { .. }), "{error}");
        assert_eq!(fs::read(&path).unwrap(), old, "it is as it was");
    }
    fs::write(&path, &newest).unwrap();
    assert_eq!(open(&dir).head(&origin()), Some(record(8).head));
}

#[test]
fn a_power_cut_does_not_hide_that_the_journal_is_older() {
    let dir = made();
    let (path, mark) = (dir.path().join(JOURNAL), dir.path().join("sled.open"));
    let empty = fs::read(&path).unwrap();
    let ledger = open(&dir);
    assert!(replace(&ledger, None, record(7)));
    drop(ledger);
    let newest = fs::read(&path).unwrap();
    fs::write(&path, &empty).unwrap();
    // Each start reports it, not only the first.
    for _ in 0..2 {
        fs::write(&mark, "another boot").unwrap();
        let error = Ledger::open(dir.path(), &name()).err().unwrap();
        assert!(matches!(error, LedgerError::RolledBack { .. }), "{error}");
    }
    fs::write(&path, &newest).unwrap();
    assert_eq!(open(&dir).head(&origin()), Some(record(7).head));
    // An unreadable file proves nothing.
    fs::write(&path, &empty).unwrap();
    fs::write(&mark, "another boot").unwrap();
    fs::remove_dir_all(dir.path().join("sled")).unwrap();
    fs::create_dir(dir.path().join("sled")).unwrap();
    fs::write(dir.path().join("sled").join("db"), [7; 4_096]).unwrap();
    fs::write(dir.path().join("sled").join("conf"), "nonsense").unwrap();
    assert_eq!(open(&dir).head(&origin()), None);
}

/// sled panics whenever it is written.
struct Panics;

impl crate::disk::DiskIo for Panics {}

impl SledIo for Panics {
    fn write_rows(&self, _write: &mut dyn FnMut() -> Result<(), SledError>) -> Result<(), SledError> {
        panic!("a page that sled did not expect");
    }
}

#[test]
fn a_panic_of_sled_stops_no_cosigning() {
    let dir = made();
    let ledger = Ledger::open_with(dir.path(), &name(), Arc::new(Panics), JOURNAL_BYTES).unwrap();
    assert!(replace(&ledger, None, record(7)) && replace(&ledger, Some(record(7).head), record(8)));
    assert_eq!(ledger.record(&origin_hash(&origin())).unwrap(), Some(record(8)), "from memory");
    // Nobody waits for sled, so it fails a moment later.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while ledger.faults().is_empty() {
        assert!(std::time::Instant::now() < deadline, "the fault is told");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    let faults = ledger.faults();
    assert!(matches!(faults.as_slice(), [fault] if fault.contains("sled panicked")), "{faults:?}");
    drop(ledger);
    assert_eq!(open(&dir).head(&origin()), Some(record(8).head));
}

#[test]
fn a_journal_that_has_grown_is_written_anew() {
    let dir = made();
    let ledger = Ledger::open_with(dir.path(), &name(), Arc::new(RealDisk), 2_000).unwrap();
    let (mut expected, mut largest) = (None, 0);
    for size in 1..200 {
        assert!(replace(&ledger, expected, record(size)));
        expected = Some(record(size).head);
        largest = largest.max(fs::metadata(dir.path().join(JOURNAL)).unwrap().len());
    }
    assert!((2_000..3_000).contains(&largest), "{largest}");
    drop(ledger);
    assert_eq!(open(&dir).head(&origin()), Some(record(199).head));
}

#[test]
fn after_the_end_nothing_is_taken() {
    let dir = made();
    let ledger = open(&dir);
    assert!(replace(&ledger, None, record(1)));
    ledger.shut_down();
    assert!(ledger.replace(Some(record(1).head), record(2)).is_none());
    assert_eq!(ledger.head(&origin()), Some(record(1).head), "reads go on");
}

#[test]
fn a_journal_that_somebody_else_changed_is_written_anew_from_memory() {
    let changes: [fn(&std::path::Path); 3] = [
        |path| fs::File::options().write(true).open(path).unwrap().set_len(60).unwrap(),
        |path| fs::write(path, "noise that is longer than what was there".repeat(100)).unwrap(),
        |path| fs::remove_file(path).unwrap(),
    ];
    for change in changes {
        let dir = made();
        let ledger = open(&dir);
        assert!(replace(&ledger, None, record(7)));
        change(&dir.path().join(JOURNAL));
        let refused = ledger.replace(Some(record(7).head), record(8)).unwrap().blocking_recv().unwrap();
        assert!(matches!(refused, Err(NotReplaced::Storage(_))), "{refused:?}");
        assert!(replace(&ledger, Some(record(7).head), record(9)), "memory has all that was let out");
        drop(ledger);
        assert_eq!(open(&dir).head(&origin()), Some(record(9).head));
    }
}

#[test]
fn a_ledger_without_enough_threads_is_not_opened_and_forgets_nothing() {
    let dir = made();
    assert!(replace(&open(&dir), None, record(7)));
    for threads in 0.. {
        match crate::threads::limit::with(threads, || Ledger::open(dir.path(), &name())) {
            Err(LedgerError::Threads(error)) => assert!(threads < 20, "{error}"),
            Err(error) => panic!("{error}"),
            Ok(ledger) => {
                assert_eq!(ledger.head(&origin()), Some(record(7).head));
                assert!(replace(&ledger, Some(record(7).head), record(8)));
                return;
            }
        }
    }
}
