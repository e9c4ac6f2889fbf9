//! The thread that gets and keeps the [lease](super::lease).

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use super::lease::{Decision, Lease};
use crate::bucket::Objects;
use crate::store::Turn;

/// The time after which a store that stands by asks again, at the latest.
const ASK_AGAIN: Duration = Duration::from_millis(250);
/// The shortest pause between two looks at the lease, and after an error.
const LEAST_PAUSE: Duration = Duration::from_millis(50);

/// Lengths of the lease after which a process that has not asked whose turn it is counts as stuck.
const SILENCE: u32 = if cfg!(test) { 3 } else { 10 };

/// Keeps the lease in a thread of its own until it is dropped; then it gives the lease up.
pub struct LeaseKeeper {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// The state of the lease, for metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseState {
    /// This process holds the lease until then.
    pub held_until: Option<Instant>,
    /// The address of the other process that holds it.
    pub holder: Option<String>,
    /// The number of the present holder.
    pub term: u64,
    /// Requests about the lease that failed.
    pub errors: u64,
    /// The last one of them, until one succeeds.
    pub error: Option<String>,
}

struct Shared {
    inner: Mutex<Inner>,
    changed: Condvar,
}

struct Inner {
    state: LeaseState,
    is_wanted: bool,
    /// When this process last asked whose turn it is.
    asked: Instant,
    must_stop: bool,
}

impl Shared {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no panic while it is held")
    }
}

impl LeaseKeeper {
    /// Looks at the lease once, takes it if nobody holds it and it `is_wanted`, and starts the thread.
    ///
    /// # Errors
    /// The system's, if it has no more threads. Errors of the bucket are tried again, and are in [`state`](Self::state).
    pub fn start(lease: Lease, objects: Arc<dyn Objects>, is_wanted: bool) -> io::Result<Self> {
        let state = LeaseState { held_until: None, holder: None, term: 0, errors: 0, error: None };
        let inner = Mutex::new(Inner { state, is_wanted, asked: Instant::now(), must_stop: false });
        let shared = Arc::new(Shared { inner, changed: Condvar::new() });
        let mut keeping = Keeping { lease, objects, shared: shared.clone() };
        keeping.step();
        let thread = Builder::new().name("lease".to_owned()).spawn(move || keeping.run())?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Says whether this process wants the lease. One that does not want it gives it up.
    pub fn want(&self, is_wanted: bool) {
        let mut inner = self.shared.inner();
        if inner.is_wanted != is_wanted {
            inner.is_wanted = is_wanted;
            self.shared.changed.notify_all();
        }
    }

    /// Says if this process should append now, as [`Store::turn`](crate::store::Store::turn) says it. Asks nobody.
    #[must_use]
    pub fn turn(&self, now: Instant) -> Turn {
        let LeaseState { held_until, holder, .. } = {
            let mut inner = self.shared.inner();
            inner.asked = now;
            inner.state.clone()
        };
        if held_until.is_some_and(|until| until > now) {
            return Turn::Hold;
        }
        Turn::Stand { holder, again: now + ASK_AGAIN }
    }

    /// The state of the lease.
    #[must_use]
    pub fn state(&self) -> LeaseState {
        self.shared.inner().state.clone()
    }
}

impl Drop for LeaseKeeper {
    fn drop(&mut self) {
        self.shared.inner().must_stop = true;
        self.shared.changed.notify_all();
        // If the thread panicked, the lease runs out by itself.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// The part of the keeper that is in the thread.
struct Keeping {
    lease: Lease,
    objects: Arc<dyn Objects>,
    shared: Arc<Shared>,
}

impl Keeping {
    fn run(mut self) {
        while self.wait() {
            self.step();
        }
        if let Err(error) = self.lease.release(self.objects.as_ref(), Instant::now()) {
            tracing::warn!("the lease could not be given up, and runs out: {error}");
        }
    }

    /// Waits until something is to be done. Returns false if the thread must stop.
    fn wait(&self) -> bool {
        let begun = Instant::now();
        let mut inner = self.shared.inner();
        let is_wanted = inner.is_wanted;
        // A lease that is free is not taken while it is not wanted.
        let due = if is_wanted { self.lease.due(begun) } else { begun + self.lease.length() / 3 };
        let due = due.max(begun + LEAST_PAUSE);
        while !inner.must_stop && inner.is_wanted == is_wanted {
            let Some(pause) = due.checked_duration_since(Instant::now()).filter(|pause| !pause.is_zero())
            else {
                break;
            };
            inner = self.shared.changed.wait_timeout(inner, pause).expect("no panic while it is held").0;
        }
        !inner.must_stop
    }

    fn step(&mut self) {
        // A process that does not ask is stuck, and keeps nobody else from appending.
        let is_wanted = {
            let inner = self.shared.inner();
            inner.is_wanted && inner.asked.elapsed() < SILENCE * self.lease.length()
        };
        let stepped = self.lease.step(self.objects.as_ref(), is_wanted, Instant::now);
        // After an error, what was known before holds until it runs out.
        let decision = self.lease.decision(Instant::now());
        let mut inner = self.shared.inner();
        let state = &mut inner.state;
        let held = matches!(decision, Decision::Hold(_));
        match (state.held_until.is_some(), held) {
            (false, true) => {
                tracing::info!(term = self.lease.term(), "this server holds the lease, and appends");
            }
            (true, false) => tracing::warn!("this server does not hold the lease any more"),
            _ => {}
        }
        state.held_until = match decision {
            Decision::Hold(until) => Some(until),
            _ => None,
        };
        state.holder = self.lease.holder().map(str::to_owned);
        state.term = self.lease.term();
        state.error = stepped.err().map(|error| error.to_string());
        state.errors += u64::from(state.error.is_some());
    }
}
