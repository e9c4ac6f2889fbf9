//! Runs the writers, each with a connection of its own, all on one thread: that leaves the other cores to the log, and
//! needs no locks.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::{JoinSet, LocalSet};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::append::{Append, Asked};
use super::connection::{Answer, Connection, ConnectionError};
use super::measure::{Measured, Progress};
use super::pace::{Pace, Turn};
use super::{LoadError, Plan};
use crate::client::{Backoff, ClientError, ProblemCode, refused};
use crate::threads;

/// Most connections that are being made at once: fewer than any server's queue holds.
const CONNECTING: usize = 64;
/// A writer's first pause after an error; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// A writer's longest pause after an error.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// The longest pause after a 429 unless the plan has another, also if the log asks for a longer one.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// The pause after a 429 without `Retry-After`.
const BUSY_PAUSE: Duration = Duration::from_secs(1);
/// The time between two reports of progress; four make a second.
const TICK: Duration = Duration::from_millis(250);
const TICKS_PER_SECOND: usize = 4;

struct Run {
    append: Rc<Append>,
    address: SocketAddr,
    url: String,
    pace: Pace,
    patience: Duration,
    measured: RefCell<Measured>,
    last_answer: Cell<Instant>,
    stopped: Cell<bool>,
    stop: Notify,
    /// A refusal that every other request would get as well.
    refused: RefCell<Option<ClientError>>,
}

/// Appends on the calling thread until the time is over or `stop` is ready.
pub fn drive(
    append: Rc<Append>,
    plan: &Plan,
    stop: impl Future<Output = ()>,
    watch: &mut dyn FnMut(&Progress),
) -> Result<Measured, LoadError> {
    // The runtime panics if it can't start a thread for the look-up of a name.
    threads::check("the load", 1).map_err(|error| LoadError::System(error.to_string()))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| LoadError::System(format!("could not start: {e}")))?;
    let metrics = runtime.metrics();
    let local = LocalSet::new();
    let mut measured = local.block_on(&runtime, async {
        let address = plan.target.resolve().await?;
        let connections = connect(address, plan).await?;
        let start = Instant::now();
        let run = Rc::new(Run {
            append,
            address,
            url: plan.target.url().to_owned(),
            pace: Pace::new(start, plan.duration, plan.rate, plan.batch),
            patience: plan.patience,
            measured: RefCell::default(),
            last_answer: Cell::new(start),
            stopped: Cell::new(false),
            stop: Notify::new(),
            refused: RefCell::default(),
        });
        let worked = metrics.worker_total_busy_duration(0);
        run_writers(&run, connections, stop, watch).await;
        let worked = metrics.worker_total_busy_duration(0).saturating_sub(worked);
        run.finish(worked)
    })?;
    // Drops the tasks that still read abandoned answers.
    drop(local);
    measured.generator_busy = measured.generator_busy.min(1.0);
    Ok(measured)
}

async fn connect(address: SocketAddr, plan: &Plan) -> Result<Vec<Connection>, LoadError> {
    let mut open: Vec<Connection> = Vec::with_capacity(plan.writers);
    while open.len() < plan.writers {
        let mut opening = JoinSet::new();
        for _ in open.len()..plan.writers.min(open.len() + CONNECTING) {
            opening.spawn_local(Connection::open(address));
        }
        while let Some(opened) = opening.join_next().await {
            match opened.expect("connecting does not panic") {
                Ok(connection) => open.push(connection),
                Err(error) if error.is_out_of_files() => {
                    return Err(LoadError::OutOfFiles { open: open.len(), wanted: plan.writers });
                }
                Err(error) => {
                    let url = plan.target.url().to_owned();
                    return Err(LoadError::Connect { url, detail: error.to_string() });
                }
            }
        }
    }
    Ok(open)
}

/// Runs all writers to their end, and reports progress meanwhile.
async fn run_writers(
    run: &Rc<Run>,
    connections: Vec<Connection>,
    stop: impl Future<Output = ()>,
    watch: &mut dyn FnMut(&Progress),
) {
    let mut writers = JoinSet::new();
    for connection in connections {
        writers.spawn_local(write(run.clone(), connection));
    }
    let mut stop = pin!(stop);
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut counts = std::collections::VecDeque::from([0; TICKS_PER_SECOND]);
    loop {
        tokio::select! {
            finished = writers.join_next() => match finished {
                Some(finished) => finished.expect("writers do not panic"),
                None => return,
            },
            () = &mut stop, if !run.stopped.get() => run.stop(),
            _ = ticks.tick() => {
                let mut progress = run.progress();
                progress.last_second = progress.entries - counts.pop_front().unwrap_or_default();
                counts.push_back(progress.entries);
                watch(&progress);
            }
        }
    }
}

/// One writer: a request, its answer, the next request.
async fn write(run: Rc<Run>, connection: Connection) {
    let mut connection = Some(connection);
    let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
    // An entry that a 429 refused is sent again: it may have cost a signature.
    let mut refused = None;
    while let Some(turn) = run.next_turn().await {
        let mut open = match connection.take().filter(|open| !open.is_closed()) {
            Some(open) => open,
            None => match Connection::open(run.address).await {
                Ok(open) => open,
                Err(error) => {
                    run.failed(&error, &mut backoff).await;
                    continue;
                }
            },
        };
        let ask = match refused.take() {
            Some(ask) => ask,
            None => run.append.next().await,
        };
        let sent = Instant::now();
        let answer = match open.send(run.append.request(&ask)).await {
            Ok(answer) => answer,
            Err(error) => {
                run.failed(&error, &mut backoff).await;
                continue;
            }
        };
        match answer.status {
            200 => {
                run.answered(&ask, &answer, turn.latency_start(sent));
                connection = Some(open);
                backoff.reset();
            }
            429 => {
                run.measured.borrow_mut().busy.record(sent.elapsed());
                (connection, refused) = (Some(open), Some(ask));
                let named = answer.retry_after.map_or(BUSY_PAUSE, Duration::from_secs);
                run.rest(named.min(run.patience)).await;
            }
            // The request is at fault, not the connection.
            400..500 => {
                run.count_refusal(&answer);
                connection = Some(open);
            }
            // A failing server may have dropped half a body, or be about to stop: the connection goes.
            _ => {
                run.count_refusal(&answer);
                run.rest(backoff.pause()).await;
            }
        }
    }
}

impl Run {
    /// Waits until the next request is to be sent. Returns `None` once the run is over.
    async fn next_turn(&self) -> Option<Turn> {
        let turn = self.pace.next()?;
        if let Turn::At(due) = turn
            && due > Instant::now()
        {
            self.sleep_until(due).await;
        }
        (turn == Turn::Now || !self.stopped.get()).then_some(turn)
    }

    /// Sleeps, unless the run is or gets stopped.
    async fn sleep_until(&self, until: Instant) {
        let stopped = self.stop.notified();
        if self.stopped.get() {
            return;
        }
        tokio::select! {
            () = sleep_until(until) => {}
            () = stopped => {}
        }
    }

    /// Pauses, at most until the end of the run.
    async fn rest(&self, pause: Duration) {
        self.sleep_until((Instant::now() + pause).min(self.pace.end())).await;
    }

    async fn failed(&self, error: &ConnectionError, backoff: &mut Backoff) {
        self.measured.borrow_mut().errors.count(None, Some(error.code()));
        self.rest(backoff.pause()).await;
    }

    fn answered(&self, ask: &Asked, answer: &Answer, from: Instant) {
        let now = Instant::now();
        self.last_answer.set(now);
        let mut measured = self.measured.borrow_mut();
        measured.answered += 1;
        measured.latency.record(now.saturating_duration_since(from));
        self.append.answered(ask, answer, now - self.pace.start(), &mut measured);
    }

    /// Counts an answer that is an error. If nothing was ever accepted, the run ends: nothing else will be, and a server
    /// that stands by names the one to measure.
    fn count_refusal(&self, answer: &Answer) {
        let error = refused(&self.url, answer.status, &answer.body, answer.retry_after);
        let mut measured = self.measured.borrow_mut();
        measured.errors.count(Some(answer.status), error.problem_code().map(ProblemCode::as_str));
        let stands_by = matches!(error.problem_code(), Some(ProblemCode::Standby { .. }));
        if measured.answered == 0 && (stands_by || answer.status < 500 && answer.status != 408) {
            *self.refused.borrow_mut() = Some(error);
            self.stop();
        }
    }

    fn stop(&self) {
        self.stopped.set(true);
        self.pace.stop();
        self.stop.notify_waiters();
    }

    fn progress(&self) -> Progress {
        let measured = self.measured.borrow();
        Progress {
            elapsed: self.pace.start().elapsed(),
            entries: measured.entries,
            last_second: 0,
            p99: measured.latency.quantile(990),
            busy: measured.busy.count(),
            errors: measured.errors.total(),
        }
    }

    /// Sums up the run; `worked` is the time for which the thread was not waiting.
    fn finish(&self, worked: Duration) -> Result<Measured, LoadError> {
        if let Some(refused) = self.refused.take().filter(|_| self.measured.borrow().answered == 0) {
            return Err(refused.into());
        }
        let mut measured = self.measured.take();
        let start = self.pace.start();
        measured.unsent = self.pace.unsent();
        measured.elapsed = self.last_answer.get().max(self.pace.end()) - start;
        measured.generator_busy = worked.as_secs_f64() / start.elapsed().as_secs_f64().max(f64::EPSILON);
        Ok(measured)
    }
}
