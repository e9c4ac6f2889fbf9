//! Writing the tree's rows to sled: rarely, in large steps, and off the thread that appends.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use super::tree::{Cursor, Place, Tree};
use crate::disk::{SledError, SledIo};
use crate::merkle::Growth;
use crate::threads::{self, ThreadError};

/// Rows that are written at once without waiting: eight megabytes of tiles.
const MANY_ROWS: usize = 2_048;
/// Rows that may wait in memory; while more do, appends wait.
const MOST_ROWS: usize = 4 * MANY_ROWS;

/// The tree, for the one thread that appends.
pub struct RowWriter {
    tree: Tree,
    io: Arc<dyn SledIo>,
    /// `None` if each batch is written before `apply` returns.
    thread: Option<JoinHandle<()>>,
    on_rows: OnRows,
    signals: Arc<Signals>,
}

/// Told whenever rows were written, by the thread that wrote them.
pub type OnRows = Arc<dyn Fn() + Send + Sync>;

#[derive(Default)]
struct Signals {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Rows wait, about so many.
    waiting: usize,
    closing: bool,
    ended: bool,
    /// Why the thread ended, if it failed; taken once.
    failure: Option<SledError>,
}

impl Signals {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic while it is held")
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.changed.notify_all();
    }
}

impl RowWriter {
    /// Writes rows at most `lag` after they were applied, on a thread of its own; without a lag, at once. Calls `on_rows`
    /// after each time.
    ///
    /// # Errors
    /// [`ThreadError`].
    pub fn new(tree: Tree, io: Arc<dyn SledIo>, lag: Duration, on_rows: OnRows) -> Result<Self, ThreadError> {
        let signals = Arc::<Signals>::default();
        let start = || {
            let (tree, io, signals, on_rows) = (tree.clone(), io.clone(), signals.clone(), on_rows.clone());
            let run = move || {
                // sled may panic on pages that it did not expect.
                let ran = catch_unwind(AssertUnwindSafe(|| {
                    run(&tree, io.as_ref(), lag, &signals, on_rows.as_ref())
                }));
                let ran = ran.unwrap_or_else(|_| Err(SledError::Damaged("sled panicked".to_owned())));
                signals.change(|state| {
                    state.ended = true;
                    state.failure = ran.err();
                });
            };
            threads::start("tree", run)
        };
        let thread = if lag.is_zero() { None } else { Some(start()?) };
        Ok(Self { tree, io, thread, on_rows, signals })
    }

    /// Applies one batch or several, of which the last is at `place`. The rows are readable when this returns.
    ///
    /// # Errors
    /// Why rows could not be written, of this batch or of earlier ones: the tree has to be opened anew, and
    /// catches up with the entries.
    pub fn apply(&self, growth: &Growth, bundles: &[(u64, Place)], place: Place) -> Result<(), SledError> {
        let cursor = Cursor { size: growth.edge.size(), root: growth.edge.root(), place };
        self.apply_rows(growth, bundles, Some(cursor))
    }

    /// Applies batches as [`Tree::apply`] does.
    ///
    /// # Errors
    /// As [`apply`](Self::apply).
    pub fn apply_rows(
        &self,
        growth: &Growth,
        bundles: &[(u64, Place)],
        cursor: Option<Cursor>,
    ) -> Result<(), SledError> {
        let waiting = self.tree.apply(growth, bundles, cursor);
        if self.thread.is_none() {
            self.tree.write(self.io.as_ref())?;
            (self.on_rows)();
            return Ok(());
        }
        let mut state = self.signals.state();
        let before = std::mem::replace(&mut state.waiting, waiting);
        if before == 0 || waiting >= MANY_ROWS {
            self.signals.changed.notify_all();
        }
        let is_full = |state: &mut State| state.waiting > MOST_ROWS && !state.ended;
        let mut state = self.signals.changed.wait_while(state, is_full).expect("no panic while it is held");
        if !state.ended {
            return Ok(());
        }
        let gone = || SledError::Damaged("the thread that writes the tree ended".to_owned());
        Err(state.failure.take().unwrap_or_else(gone))
    }
}

impl Drop for RowWriter {
    /// Writes what waits. After a failure, opening catches up.
    fn drop(&mut self) {
        self.signals.change(|state| state.closing = true);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        if let Some(error) = self.signals.state().failure.take() {
            tracing::warn!(%error, "rows of the tree were not written; it will catch up from the entries");
        }
    }
}

fn run(
    tree: &Tree,
    io: &dyn SledIo,
    lag: Duration,
    signals: &Signals,
    on_rows: &dyn Fn(),
) -> Result<(), SledError> {
    loop {
        let is_idle = |state: &mut State| state.waiting == 0 && !state.closing;
        drop(signals.changed.wait_while(signals.state(), is_idle).expect("no panic while it is held"));
        let is_little = |state: &mut State| state.waiting < MANY_ROWS && !state.closing;
        let (mut state, _) = signals
            .changed
            .wait_timeout_while(signals.state(), lag, is_little)
            .expect("no panic while it is held");
        state.waiting = 0;
        let closing = state.closing;
        drop(state);
        signals.changed.notify_all();
        tree.write(io)?;
        on_rows();
        if closing {
            return Ok(());
        }
    }
}
