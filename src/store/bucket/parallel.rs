//! Runs several requests at once.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Calls `work` for each item, on at most `threads` threads. Returns the results in the order of the items.
///
/// # Errors
/// The first error of `work`. Items that have not begun by then are skipped.
pub fn map<T: Sync, R: Send, E: Send>(
    items: &[T],
    threads: usize,
    work: impl Fn(&T) -> Result<R, E> + Sync,
) -> Result<Vec<R>, E> {
    if threads < 2 || items.len() < 2 {
        return items.iter().map(work).collect();
    }
    let results: Mutex<Vec<Option<Result<R, E>>>> = Mutex::new(items.iter().map(|_| None).collect());
    let next = AtomicUsize::new(0);
    let run = || {
        while let Some((at, item)) =
            Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|at| Some((at, items.get(at)?)))
        {
            let result = work(item);
            if result.is_err() {
                next.store(items.len(), Ordering::Relaxed);
            }
            results.lock().expect("no panic while it is held")[at] = Some(result);
        }
    };
    thread::scope(|scope| (0..threads.min(items.len())).for_each(|_| drop(scope.spawn(run))));
    let mut results = results.into_inner().expect("no panic while it is held");
    // After an error, skipped items have no result.
    if let Some(at) = results.iter().position(|result| matches!(result, Some(Err(_)))) {
        results.swap(0, at);
        results.truncate(1);
    }
    results.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order_and_an_error_ends_it() {
        let items: Vec<usize> = (0..1_000).collect();
        for threads in [1, 2, 7] {
            let doubled = map(&items, threads, |item| Ok::<usize, ()>(2 * item)).unwrap();
            assert!(doubled.iter().enumerate().all(|(at, item)| *item == 2 * at) && doubled.len() == 1_000);
            let failed = map(&items, threads, |item| if *item == 500 { Err(*item) } else { Ok(()) });
            assert_eq!(failed, Err(500));
        }
        assert_eq!(map(&[] as &[u8], 4, |_| Ok::<(), ()>(())), Ok(vec![]));
    }
}
