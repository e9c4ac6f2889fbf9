//! Runs several requests at once.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::threads;

/// Calls `work` for each item, on at most `at_once` threads, fewer if the system refuses them. Returns the results in the order of the items.
///
/// # Errors
/// The first error of `work`. Items that have not begun by then are skipped.
pub fn map<T: Sync, R: Send, E: Send>(
    items: &[T],
    at_once: usize,
    work: impl Fn(&T) -> Result<R, E> + Sync,
) -> Result<Vec<R>, E> {
    let has_failed = AtomicBool::new(false);
    let results = threads::map(items, at_once, |item| {
        let skip = has_failed.load(Ordering::Relaxed);
        (!skip).then(|| work(item).inspect_err(|_| has_failed.store(true, Ordering::Relaxed)))
    });
    // After an error, skipped items have no result.
    results.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::threads::limit;

    #[test]
    fn results_come_in_order_and_an_error_ends_it() {
        let items: Vec<usize> = (0..1_000).collect();
        for threads in [1, 2, 7] {
            let doubled = map(&items, threads, |item| Ok::<usize, ()>(2 * item)).unwrap();
            assert!(doubled.iter().enumerate().all(|(at, item)| *item == 2 * at) && doubled.len() == 1_000);
            let failed = map(&items, threads, |item| if *item == 500 { Err(*item) } else { Ok(()) });
            assert_eq!(failed, Err(500));
        }
        let doubled = limit::with(1, || map(&items, 7, |item| Ok::<usize, ()>(2 * item))).unwrap();
        assert_eq!(doubled.len(), 1_000);
        assert_eq!(map(&[] as &[u8], 4, |_| Ok::<(), ()>(())), Ok(vec![]));
    }
}
