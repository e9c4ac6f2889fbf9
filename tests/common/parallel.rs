//! Checks of many cases on all cores.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Checks the cases on all cores, until `enough` of them have failed. Returns their errors.
pub fn failures<T: Sync>(
    cases: &[T],
    enough: usize,
    check: impl Fn(&T) -> Result<(), String> + Sync,
) -> Vec<String> {
    let (next, failures) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || {
        while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
            if let Err(e) = check(case) {
                failures.lock().unwrap().push(e);
            }
            if failures.lock().unwrap().len() >= enough {
                return;
            }
        }
    };
    std::thread::scope(|scope| {
        let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        (0..cores).for_each(|_| drop(scope.spawn(work)));
    });
    failures.into_inner().unwrap()
}

/// Asserts that all cases pass; otherwise reports nine of the errors.
#[track_caller]
pub fn assert_all<T: Sync>(cases: &[T], check: impl Fn(&T) -> Result<(), String> + Sync) {
    let failures = failures(cases, 9, check);
    assert!(failures.is_empty(), "at least {} of {} failed: {failures:#?}", failures.len(), cases.len());
}
