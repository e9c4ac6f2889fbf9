use std::sync::atomic::AtomicUsize;

use super::*;
use crate::endpoint::succession::tests::{ORIGIN, file, file_of, log, proof, publishers, rule};
use crate::endpoint::tests::manifests::Faulty;

fn learn(state: &TrustDir, given: u64, new: u64, seeds: &[u8]) -> Result<u64, TrustDirError> {
    let (new, given) = (file(new), file(given));
    state.learn(given, &new.to_bytes(), &[&proof(&new, seeds)], &|_| {}).map(|file| file.number())
}

fn counts(state: &TrustDir, given: u64) -> u64 {
    state.newest(file(given)).unwrap().number()
}

fn code(error: &TrustDirError) -> &'static str {
    match error {
        TrustDirError::Refused(error) | TrustDirError::Open(OpenError::Fork(error)) => error.code().as_str(),
        other => panic!("{other}"),
    }
}

fn remembered(dir: &Path) -> Option<u64> {
    fs::read(dir.join(TRUST_FILE)).ok().map(|bytes| TrustFile::parse(&bytes).unwrap().number())
}

#[test]
fn only_proven_files_are_remembered_and_the_higher_number_counts() {
    let dir = tempfile::tempdir().unwrap();
    let state = TrustDir::new(dir.path().join("state"));
    assert_eq!((counts(&state, 1), learn(&state, 1, 2, &[1, 3]).unwrap()), (1, 2));
    assert_eq!(learn(&state, 1, 3, &[1, 3]).unwrap(), 3);
    // The file that the endpoint was given is older by now.
    assert_eq!((counts(&state, 1), counts(&state, 2), counts(&state, 3)), (3, 3, 3));
    assert_eq!(code(&learn(&state, 1, 2, &[1, 3]).unwrap_err()), "trust-rollback");
    assert_eq!(code(&learn(&state, 1, 5, &[1, 3]).unwrap_err()), "trust-gap");
    assert_eq!(code(&learn(&state, 1, 4, &[1]).unwrap_err()), "trust-too-few-signers");
    // A newer one that an installer brings counts as long as it is there.
    assert_eq!((counts(&state, 7), counts(&state, 1)), (7, 3));
    assert_eq!(learn(&state, 7, 7, &[1]).unwrap(), 7, "there is nothing to do");
    assert_eq!(remembered(&dir.path().join("state")), Some(3), "what was given is not remembered");
    assert_eq!(learn(&state, 7, 8, &[1, 3]).unwrap(), 8);
    assert_eq!(counts(&state, 1), 8);
    assert_eq!(learn(&state, 1, 8, &[1]).unwrap(), 8, "the same once more");
}

#[test]
fn two_files_with_one_number_are_refused_and_a_proven_fork_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let state = TrustDir::new(dir.path());
    learn(&state, 1, 2, &[1, 3]).unwrap();
    let other = file_of(2, &[log(100, ORIGIN)], publishers(), rule(1));
    assert_eq!(code(&state.newest(other.clone()).unwrap_err().into()), "trust-fork");
    for (seeds, kept) in [(&[1][..], 0), (&[1, 3], 3), (&[1, 3], 3)] {
        let error = state.learn(file(1), &other.to_bytes(), &[&proof(&other, seeds)], &|_| {}).unwrap_err();
        assert_eq!(code(&error), "trust-fork");
        let evidence = fs::read_dir(dir.path().join("evidence")).map_or(0, Iterator::count);
        assert_eq!(evidence, kept, "both files and the proof");
    }
    assert_eq!(remembered(dir.path()), Some(2));
    assert_eq!(fs::read(dir.path().join(TRUST_FILE)).unwrap(), file(2).to_bytes());
}

#[test]
fn a_damaged_memory_is_an_error_and_never_the_given_file() {
    let dir = tempfile::tempdir().unwrap();
    let state = TrustDir::new(dir.path());
    fs::write(dir.path().join(TRUST_FILE), b"{}").unwrap();
    assert!(matches!(state.newest(file(1)), Err(OpenError::Remembered { .. })));
    assert!(matches!(learn(&state, 1, 2, &[1, 3]), Err(TrustDirError::Open(_))));
    fs::remove_file(dir.path().join(TRUST_FILE)).unwrap();
    fs::create_dir(dir.path().join(TRUST_FILE)).unwrap();
    assert!(matches!(state.newest(file(1)), Err(OpenError::File(_))));
}

/// "Failed" and "failed but persisted", alone and with everything after it: the remembered file is the one before or the
/// one after, and the same update then goes as if nothing had happened.
#[test]
fn a_step_that_fails_leaves_a_whole_file_and_the_update_can_be_taken_again() {
    let mut failed = 0;
    for (is_done, is_dead) in [(false, false), (false, true), (true, false), (true, true)] {
        for at in 0.. {
            let dir = tempfile::tempdir().unwrap();
            learn(&TrustDir::new(dir.path()), 1, 2, &[1, 3]).unwrap();
            let disk = Faulty { at, is_dead, is_done, steps: AtomicUsize::new(0) };
            let state = TrustDir::with_io(dir.path(), Arc::new(disk));
            let Err(error) = learn(&state, 1, 3, &[1, 3]) else { break };
            assert!(matches!(error, TrustDirError::State(MemoryError::File(_))), "{error}");
            failed += 1;
            assert!(matches!(remembered(dir.path()), Some(2 | 3)));
            let state = TrustDir::new(dir.path());
            assert_eq!(learn(&state, 1, 3, &[1, 3]).unwrap(), 3);
            assert_eq!((counts(&state, 1), remembered(dir.path())), (3, Some(3)));
        }
    }
    assert!(failed >= 4 * 5, "create, write, sync, rename, sync of the directory: {failed}");
}
