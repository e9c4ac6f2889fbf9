//! Shares the bundles of a stream among workers, bounds the memory that they hold, and keeps pauses that the log asks
//! for.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::ClientError;
use super::fetched_bundle::Bundle;

/// Most bytes of all bundles that are under way or not taken yet. The bundle that the reader waits for, of at most 16
/// MiB, may exceed this, or the stream would stall.
pub(super) const MOST_HELD: usize = 32 * 1024 * 1024;
/// Bytes assumed for the first bundles, and the least assumed later.
const FIRST_GUESS: usize = 512 * 1024;
/// Interval at which a wait looks at the stop flag.
const TICK: Duration = Duration::from_millis(50);
/// Bundles that must arrive before one more worker may ask a log that was busy.
const RECOVERY: usize = 16;

/// Shared by the workers of a stream.
#[derive(Debug)]
pub(super) struct Flow {
    state: Mutex<FlowState>,
    changed: Condvar,
    stop: Arc<AtomicBool>,
    parallel: usize,
}

#[derive(Debug)]
struct FlowState {
    /// The first bundle that no worker has taken.
    next: u64,
    /// The end of the range; lower once a bundle failed.
    end: u64,
    /// The bundle that the reader gets next.
    wanted: u64,
    done: BTreeMap<u64, Result<Bundle, ClientError>>,
    /// Bytes of each bundle that is under way or done.
    charges: BTreeMap<u64, usize>,
    /// Their sum.
    held: usize,
    /// Bytes assumed for the next bundle.
    guess: usize,
    asking: usize,
    /// Requests allowed at once: fewer while the log is busy.
    allowed: usize,
    /// Bundles that arrived since `allowed` changed.
    well: usize,
    not_before: Option<Instant>,
    closed: bool,
    /// A worker panicked: its bundle never comes.
    panicked: bool,
}

/// Wakes the reader if the worker that holds this panics.
pub(super) struct Watch<'a>(&'a Flow);

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.lock().panicked = true;
            self.0.changed.notify_all();
        }
    }
}

impl FlowState {
    fn charge(&mut self, bundle: u64, bytes: usize) {
        let before = self.charges.insert(bundle, bytes).unwrap_or(0);
        self.held = self.held - before + bytes;
    }

    fn release(&mut self, bundle: u64) {
        self.held -= self.charges.remove(&bundle).unwrap_or(0);
    }

    fn has_room(&self, bundle: u64, bytes: usize) -> bool {
        let own = self.charges.get(&bundle).copied().unwrap_or(0);
        bundle == self.wanted || self.held - own + bytes <= MOST_HELD
    }

    /// `Ok` if a worker that waits until `then` may ask now; otherwise the least time until it may.
    fn may_ask(&self, then: Instant) -> Result<(), Duration> {
        let then = self.not_before.map_or(then, |other| other.max(then));
        match then.checked_duration_since(Instant::now()) {
            Some(left) if !left.is_zero() => Err(left.min(TICK)),
            _ if self.asking >= self.allowed => Err(TICK),
            _ => Ok(()),
        }
    }
}

impl Flow {
    /// For bundles `first..end`.
    pub fn new(first: u64, end: u64, parallel: usize, stop: Arc<AtomicBool>) -> Self {
        let state = FlowState {
            next: first,
            end,
            wanted: first,
            done: BTreeMap::new(),
            charges: BTreeMap::new(),
            held: 0,
            guess: FIRST_GUESS,
            asking: 0,
            allowed: parallel,
            well: 0,
            not_before: None,
            closed: false,
            panicked: false,
        };
        Self { state: Mutex::new(state), changed: Condvar::new(), stop, parallel }
    }

    fn lock(&self) -> MutexGuard<'_, FlowState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, FlowState>, time: Duration) -> MutexGuard<'a, FlowState> {
        self.changed.wait_timeout(state, time).unwrap_or_else(PoisonError::into_inner).0
    }

    fn is_over(&self, state: &FlowState) -> bool {
        state.closed || self.stop.load(Ordering::Relaxed)
    }

    /// A guard for a worker to hold while it works.
    pub const fn watch(&self) -> Watch<'_> {
        Watch(self)
    }

    /// Waits for the turn of the next bundle to fetch; `None` if there is none left.
    pub fn take(&self) -> Option<u64> {
        let next = |state: &FlowState| (state.next < state.end).then_some((state.next, state.guess));
        self.turn(self.lock(), Instant::now(), next)
    }

    /// Waits until the bundle that `choose` names may be asked for, no sooner than `then`, and until there is room for
    /// the bytes that it names. `None` once `choose` names none, or the stream is over.
    fn turn(
        &self,
        mut state: MutexGuard<'_, FlowState>,
        then: Instant,
        choose: impl Fn(&FlowState) -> Option<(u64, usize)>,
    ) -> Option<u64> {
        loop {
            let (bundle, bytes) = choose(&state).filter(|_| !self.is_over(&state))?;
            let ahead = bundle - state.wanted >= 2 * self.parallel as u64;
            let time = match state.may_ask(then) {
                Ok(()) if !ahead && state.has_room(bundle, bytes) => {
                    state.charge(bundle, bytes);
                    state.next = state.next.max(bundle + 1);
                    state.asking += 1;
                    return Some(bundle);
                }
                Ok(()) => TICK,
                Err(time) => time,
            };
            state = self.wait(state, time);
        }
    }

    /// Reserves room for an answer of `bytes` bytes; `false` if there is none.
    pub fn admit(&self, bundle: u64, bytes: usize) -> bool {
        let mut state = self.lock();
        let own = state.charges.get(&bundle).copied().unwrap_or(0);
        if bytes > own {
            if !state.has_room(bundle, bytes) {
                return false;
            }
            state.charge(bundle, bytes);
        }
        !self.is_over(&state)
    }

    /// Makes all workers pause, as the log asked; afterwards fewer of them ask at once.
    pub fn pause_all(&self, pause: Duration) {
        let mut state = self.lock();
        let then = Instant::now() + pause;
        state.not_before = Some(state.not_before.map_or(then, |other| other.max(then)));
        state.allowed = (state.allowed / 2).max(1);
        state.well = 0;
    }

    /// Waits until a bundle may be asked for again, after `pause` and with room for `bytes`. False if the stream needs
    /// it no more.
    pub fn again(&self, bundle: u64, pause: Duration, bytes: Option<usize>) -> bool {
        let then = Instant::now() + pause;
        let mut state = self.lock();
        state.asking -= 1;
        let bytes = bytes.unwrap_or(state.guess);
        state.charge(bundle, 0);
        self.changed.notify_all();
        let same = |state: &FlowState| (bundle < state.end).then_some((bundle, bytes));
        let is_needed = self.turn(state, then, same).is_some();
        if !is_needed {
            // `put` gives the place among those who ask back, whatever the outcome.
            self.lock().asking += 1;
        }
        is_needed
    }

    /// Stores the result for a bundle that a worker took.
    pub fn put(&self, bundle: u64, result: Result<Bundle, ClientError>) {
        let mut state = self.lock();
        state.asking -= 1;
        if let Ok(fetched) = &result {
            state.charge(bundle, fetched.held_bytes());
            // The next one needs room to be fetched, also if only its hashes are kept.
            state.guess = fetched.fetched.max(state.guess - state.guess / 8).max(FIRST_GUESS);
            state.well += 1;
            if state.well >= RECOVERY && state.allowed < self.parallel {
                state.allowed += 1;
                state.well = 0;
            }
        } else {
            // The stream ends with a failure.
            state.release(bundle);
            state.end = state.end.min(bundle + 1);
        }
        state.done.insert(bundle, result);
        self.changed.notify_all();
    }

    /// Ends the stream with an error in place of its first bundle, which no worker has taken.
    pub fn put_unasked(&self, first: u64, error: ClientError) {
        let mut state = self.lock();
        state.end = first + 1;
        state.next = state.end;
        state.done.insert(first, Err(error));
    }

    /// The next bundle in order, or the error that ends the stream; `None` at its end.
    ///
    /// # Panics
    /// If a worker panicked.
    pub fn next(&self) -> Option<Result<Bundle, ClientError>> {
        let mut state = self.lock();
        loop {
            if state.closed || state.wanted >= state.end {
                return None;
            }
            if self.stop.load(Ordering::Relaxed) {
                state.closed = true;
                return Some(Err(ClientError::Stopped));
            }
            let wanted = state.wanted;
            if let Some(result) = state.done.remove(&wanted) {
                state.release(wanted);
                state.wanted += 1;
                state.closed = result.is_err();
                self.changed.notify_all();
                return Some(result);
            }
            assert!(!state.panicked, "a worker panicked");
            state = self.wait(state, TICK);
        }
    }

    /// Ends the workers, each after the request that it is in.
    pub fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1024 * 1024;
    const HOUR: Duration = Duration::from_secs(3_600);

    fn flow(bundles: u64, parallel: usize) -> Flow {
        Flow::new(0, bundles, parallel, Arc::default())
    }

    fn failed() -> Result<Bundle, ClientError> {
        Err(ClientError::Address("nowhere".to_owned()))
    }

    #[test]
    fn what_is_held_is_bounded_but_for_what_is_waited_for() {
        let flow = flow(100, 4);
        assert_eq!((0..4).map(|_| flow.take().unwrap()).collect::<Vec<_>>(), [0, 1, 2, 3]);
        assert!(flow.admit(1, 16 * MIB) && flow.admit(2, 14 * MIB));
        assert!(!flow.admit(3, 2 * MIB), "30 MiB and two guesses are held");
        assert!(flow.admit(3, MIB));
        assert_eq!(flow.lock().held, 31 * MIB + FIRST_GUESS);
        assert!(flow.admit(0, 16 * MIB), "the one that is waited for always may");
        assert_eq!(flow.lock().held, 47 * MIB);
        // What was refused waits without holding anything, and the reader's turn comes to it.
        assert!(!flow.admit(3, 16 * MIB));
        flow.put(0, failed());
        assert_eq!(flow.lock().held, 31 * MIB);
        assert!(!flow.again(3, Duration::ZERO, Some(16 * MIB)), "what comes after a failure nobody wants");
        assert_eq!(flow.lock().held, 30 * MIB);
    }

    #[test]
    fn a_pause_is_for_everybody_and_fewer_ask_after_it() {
        let flow = flow(100, 8);
        assert_eq!(flow.take(), Some(0));
        assert_eq!(flow.lock().may_ask(Instant::now()), Ok(()));
        flow.pause_all(HOUR);
        flow.pause_all(Duration::ZERO);
        assert!(flow.lock().may_ask(Instant::now()).is_err(), "a shorter pause does not end a longer one");
        assert_eq!(flow.lock().allowed, 2);
        (0..5).for_each(|_| flow.pause_all(HOUR));
        assert_eq!(flow.lock().allowed, 1);
        // Nobody sleeps through being told to stop.
        flow.stop.store(true, Ordering::Relaxed);
        assert_eq!(flow.take(), None);
        assert!(!flow.again(0, HOUR, None));
        assert!(matches!(flow.next(), Some(Err(ClientError::Stopped))));
        assert!(flow.next().is_none());
    }

    #[test]
    fn nobody_runs_far_ahead_of_the_reader() {
        let flow = Arc::new(flow(100, 2));
        for bundle in 0..4 {
            assert_eq!(flow.take(), Some(bundle));
            flow.lock().asking -= 1;
        }
        let worker = flow.clone();
        let waiting = std::thread::spawn(move || worker.take());
        std::thread::sleep(2 * TICK);
        assert!(!waiting.is_finished());
        flow.close();
        assert_eq!(waiting.join().unwrap(), None);
    }

    #[test]
    fn a_failure_is_the_last_that_is_read() {
        let flow = flow(100, 4);
        (0..3).for_each(|bundle| assert_eq!(flow.take(), Some(bundle)));
        flow.put(1, failed());
        assert_eq!(flow.take(), None, "nobody goes on after it");
        flow.put(2, failed());
        flow.put(0, failed());
        assert!(flow.next().unwrap().is_err());
        assert!(flow.next().is_none());
    }

    #[test]
    #[should_panic(expected = "a worker panicked")]
    fn a_worker_that_panics_hangs_nobody() {
        let flow = flow(100, 1);
        let worker = std::thread::scope(|scope| {
            let work = || {
                let _watch = flow.watch();
                flow.take();
                panic!("as a bug would");
            };
            scope.spawn(work).join()
        });
        assert!(worker.is_err());
        flow.next();
    }
}
