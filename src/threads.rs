//! Starting threads.
//!
//! `std::thread::spawn` panics when the system has no thread left, as in a container at its limit of processes. So all
//! threads are started here: whoever can't go on without one gets an error, and work that several threads share is done
//! by the calling one at least.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, Builder, JoinHandle, Scope, ScopedJoinHandle};

/// The system refused to start a thread.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "could not start {what}: expected the system to allow {wanted}, saw {seen}; raise the limit of processes and threads (`ulimit -u`, pids.max of a container, TasksMax= of a systemd service), or end other programs"
)]
pub struct ThreadError {
    /// Whatever needs the thread: `the thread sequencer`.
    what: String,
    /// How many threads are needed, in words.
    wanted: String,
    /// The system's error, or how many threads it allows.
    seen: String,
}

impl ThreadError {
    fn new(name: &str, error: &io::Error) -> Self {
        let (what, wanted) = (format!("the thread {name}"), "one more thread".to_owned());
        Self { what, wanted, seen: error.to_string() }
    }
}

fn builder(name: &str) -> Builder {
    Builder::new().name(name.to_owned())
}

/// Starts a thread.
///
/// # Errors
/// [`ThreadError`]; `work` is dropped then.
pub fn start<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, ThreadError> {
    #[cfg(test)]
    limit::spend().map_err(|error| ThreadError::new(name, &error))?;
    builder(name).spawn(work).map_err(|error| ThreadError::new(name, &error))
}

/// Starts a thread that waits for its input, for those who must not have the input, such as a running process, without a
/// thread to take it. If the sender is dropped, the thread ends without a result.
///
/// # Errors
/// [`ThreadError`].
pub fn start_waiting<P: Send + 'static, T: Send + 'static>(
    name: &str,
    work: impl FnOnce(P) -> T + Send + 'static,
) -> Result<(SyncSender<P>, JoinHandle<Option<T>>), ThreadError> {
    let (give, given) = sync_channel(1);
    let thread = start(name, move || given.recv().ok().map(work))?;
    Ok((give, thread))
}

/// Starts a thread that ends with `scope`.
///
/// # Errors
/// [`ThreadError`]; `work` is dropped then.
pub fn start_in<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    name: &str,
    work: impl FnOnce() -> T + Send + 'scope,
) -> Result<ScopedJoinHandle<'scope, T>, ThreadError> {
    #[cfg(test)]
    limit::spend().map_err(|error| ThreadError::new(name, &error))?;
    builder(name).spawn_scoped(scope, work).map_err(|error| ThreadError::new(name, &error))
}

/// Checks that the system allows `count` more threads, by having that many at once for a moment. `what` is whatever needs
/// them: `a server`. Another program may take them afterwards.
///
/// # Errors
/// [`ThreadError`].
pub fn check(what: &str, count: usize) -> Result<(), ThreadError> {
    let end = Mutex::new(());
    let hold = end.lock().unwrap_or_else(PoisonError::into_inner);
    thread::scope(|scope| {
        let wait = || drop(end.lock());
        let mut started = Vec::with_capacity(count);
        let all = (0..count).try_for_each(|at| {
            let thread = start_in(scope, "check", wait).map(|thread| started.push(thread));
            thread.map_err(|error| ThreadError {
                what: what.to_owned(),
                wanted: format!("{count} more threads"),
                seen: format!("{at} ({})", error.seen),
            })
        });
        drop(hold);
        // The scope waits for their work, and joining also for the system, which counts them until then.
        started.into_iter().for_each(|thread| drop(thread.join()));
        all
    })
}

/// Maps items on the calling thread and up to `threads` - 1 others; fewer if the system refuses them. The results are in
/// the order of the items.
///
/// # Panics
/// If `work` panics.
pub fn map<T: Sync, R: Send>(items: &[T], threads: usize, work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::with_capacity(items.len())));
    let run = || {
        while let Some((at, item)) = take(&next, items) {
            let result = work(item);
            done.lock().unwrap_or_else(PoisonError::into_inner).push((at, result));
        }
    };
    thread::scope(|scope| {
        let others = 1..threads.min(items.len());
        // Dropping the handles leaves the threads to the scope.
        others.map_while(|_| start_in(scope, "worker", run).ok()).for_each(drop);
        run();
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, result)| result).collect()
}

fn take<'a, T>(next: &AtomicUsize, items: &'a [T]) -> Option<(usize, &'a T)> {
    let at = next.fetch_add(1, Ordering::Relaxed);
    Some((at, items.get(at)?))
}

/// A system with few threads, for tests.
#[cfg(test)]
pub(crate) mod limit {
    use std::cell::Cell;
    use std::io;

    thread_local! {
        static LEFT: Cell<Option<usize>> = const { Cell::new(None) };
    }

    /// Runs `work`, which can start no more than `threads` threads from the calling thread.
    pub fn with<R>(threads: usize, work: impl FnOnce() -> R) -> R {
        LEFT.set(Some(threads));
        let result = work();
        LEFT.set(None);
        result
    }

    pub(super) fn spend() -> io::Result<()> {
        match LEFT.get() {
            None => Ok(()),
            Some(0) => Err(io::ErrorKind::WouldBlock.into()),
            Some(left) => {
                LEFT.set(Some(left - 1));
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_thread_the_work_is_not_done_and_the_error_says_what_helps() {
        let error = limit::with(0, || start("sequencer", || unreachable!("it is not started"))).unwrap_err();
        let text = error.to_string();
        assert!(
            text.starts_with(
                "could not start the thread sequencer: expected the system to allow one more thread, saw"
            ),
            "{text}"
        );
        assert!(text.contains("pids.max of a container"), "{text}");
        assert_eq!(start("one", || 7).unwrap().join().unwrap(), 7);
    }

    #[test]
    fn a_check_says_how_many_threads_there_are() {
        let error = limit::with(5, || check("a server", 6)).unwrap_err().to_string();
        assert!(error.contains("expected the system to allow 6 more threads, saw 5 ("), "{error}");
        limit::with(6, || check("a server", 6)).unwrap();
    }

    #[test]
    fn items_are_mapped_in_order_by_however_many_threads_there_are() {
        let items: Vec<usize> = (0..500).collect();
        for left in [0, 1, 100] {
            let doubled = limit::with(left, || map(&items, 4, |item| 2 * item));
            assert!(doubled.iter().enumerate().all(|(at, double)| *double == 2 * at) && doubled.len() == 500);
        }
        assert_eq!(map(&[] as &[u8], 4, |_| ()), []);
    }
}
