//! The thread that takes and renews the [lease](super::lease).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::lease::{Decision, Lease};
use super::options::BucketOptions;
use crate::bucket::Objects;
use crate::store::Turn;
use crate::threads::{self, ThreadError};

/// Longest interval at which a standby's store asks for its turn.
const ASK_AGAIN: Duration = Duration::from_millis(250);
/// Shortest pause between reads of the lease, and after an error.
const LEAST_PAUSE: Duration = Duration::from_millis(50);

/// A process counts as stuck if it has not asked for its turn for this many lease lengths.
const SILENCE: u32 = if cfg!(test) { 3 } else { 10 };

/// Takes and renews the lease in a thread of its own. Dropping the keeper releases the lease.
pub struct LeaseKeeper {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// The state of the lease, for metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseState {
    /// The time until which this process holds the lease; `None` if it does not.
    pub held_until: Option<Instant>,
    /// The holder's address, if another process holds the lease.
    pub holder: Option<String>,
    /// The number of the current holder.
    pub term: u64,
    /// Number of failed requests for the lease.
    pub errors: u64,
    /// The last failure, until a request succeeds.
    pub error: Option<String>,
}

struct Shared {
    inner: Mutex<Inner>,
    changed: Condvar,
}

struct Inner {
    state: LeaseState,
    is_wanted: bool,
    /// The time at which this process last asked for its turn.
    asked: Instant,
    must_stop: bool,
}

impl Shared {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no panic while it is held")
    }
}

impl LeaseKeeper {
    /// Starts a keeper for the lease in the options; `None` if they have none.
    ///
    /// # Errors
    /// [`ThreadError`].
    pub fn of(options: &BucketOptions) -> Result<Option<Self>, ThreadError> {
        let BucketOptions { objects, writer, address, lease_seconds, .. } = options;
        let Some(seconds) = lease_seconds else { return Ok(None) };
        let lease = Lease::new(*writer, address.clone(), *seconds);
        // An answer is useless after the lease has expired, and a request that hangs must not delay a takeover.
        let objects = objects.within(lease.length()).unwrap_or_else(|| objects.clone());
        Self::start(lease, objects, true).map(Some)
    }

    /// Reads the lease, takes it if it `is_wanted` and nobody holds it, and starts the thread.
    ///
    /// # Errors
    /// [`ThreadError`]. The thread retries after errors of the bucket and reports them
    /// in [`state`](Self::state).
    pub fn start(lease: Lease, objects: Arc<dyn Objects>, is_wanted: bool) -> Result<Self, ThreadError> {
        let state = LeaseState { held_until: None, holder: None, term: 0, errors: 0, error: None };
        let inner = Mutex::new(Inner { state, is_wanted, asked: Instant::now(), must_stop: false });
        let shared = Arc::new(Shared { inner, changed: Condvar::new() });
        let mut keeping = KeeperThread { lease, objects, shared: shared.clone() };
        keeping.step();
        let thread = threads::start("lease", move || keeping.run())?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Sets whether this process wants the lease. If not, the thread releases it.
    pub fn want(&self, is_wanted: bool) {
        let mut inner = self.shared.inner();
        if inner.is_wanted != is_wanted {
            inner.is_wanted = is_wanted;
            self.shared.changed.notify_all();
        }
    }

    /// Decides whether this process should append now, as [`Store::turn`](crate::store::Store::turn) returns it. Sends
    /// no request.
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
        // If the thread panicked, the lease expires by itself.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// The keeper's thread.
struct KeeperThread {
    lease: Lease,
    objects: Arc<dyn Objects>,
    shared: Arc<Shared>,
}

impl KeeperThread {
    fn run(mut self) {
        while self.wait() {
            // Without this thread, the server would stand by for good.
            if catch_unwind(AssertUnwindSafe(|| self.step())).is_err() {
                let mut inner = self.shared.inner();
                inner.state.error = Some("the lease thread panicked, and continues".to_owned());
                inner.state.errors += 1;
            }
        }
        if let Err(error) = self.lease.release(self.objects.as_ref(), Instant::now()) {
            tracing::warn!("could not release the lease, so it expires by itself: {error}");
        }
    }

    /// Waits until the next step is due. Returns false if the thread must stop.
    fn wait(&self) -> bool {
        let begun = Instant::now();
        let mut inner = self.shared.inner();
        let is_wanted = inner.is_wanted;
        // An unwanted lease needs no action even if it is free.
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
        // A process that does not ask is stuck, and must not keep the lease.
        let is_wanted = {
            let inner = self.shared.inner();
            inner.is_wanted && inner.asked.elapsed() < SILENCE * self.lease.length()
        };
        let stepped = self.lease.step(self.objects.as_ref(), is_wanted, Instant::now);
        // After an error, the last known version counts until it expires.
        let decision = self.lease.decision(Instant::now());
        let mut inner = self.shared.inner();
        let state = &mut inner.state;
        let held = matches!(decision, Decision::Hold(_));
        match (state.held_until.is_some(), held) {
            (false, true) => {
                tracing::info!(term = self.lease.term(), "this server holds the lease and appends");
            }
            (true, false) => tracing::warn!("this server no longer holds the lease"),
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
