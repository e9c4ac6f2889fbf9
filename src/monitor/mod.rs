//! The monitor: follows logs, re-hashes all their entries, reports what somebody should know, and compares tree heads
//! with other monitors, witnesses and endpoints.
//!
//! ```text
//! follower (a thread for each log) -> heads -> entries -> statements -> findings (pure) -> delivery (output, sinks)
//!                                       gossip <- inbox <- peers (a thread each), POST /gossip, POST /evidence
//! ```
//!
//! An event is delivered before the cursor moves past its entry. After a crash some events are delivered again, with the
//! same ids, and none is left out.

mod conditions;
pub mod delivery;
mod entries;
mod error;
pub mod event;
mod evidence;
mod findings;
mod follower;
mod gossip;
mod heads;
mod history;
mod http;
mod inbox;
mod log;
mod manifest;
mod metrics;
mod page;
mod peers;
mod problem;
mod settings;
mod signal;
mod started;
mod state;
mod statements;

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::net::TcpListener;

use crate::client::{ClientError, LogClient};
use crate::disk::{DirLock, DiskError, retried};
use crate::threads::{self, ThreadError};

pub use error::{FollowError, LogLie};
pub use manifest::{MAX_MANIFEST_BYTES, Manifest};
pub use problem::GossipError;
pub use settings::{
    Expect, LogSettings, MonitorSettings, OnProgress, Patience, Peer, Start, Watch, open_publishers,
    open_trusted_publishers,
};
pub use state::StateError;

use delivery::{Condition, Delivery, DeliveryError, DeliverySettings};
use event::Code;
use follower::Follower;
use http::MonitorServer;
use log::{FollowedLog, Tools};
use peers::PeerCaller;
use signal::Signal;

/// How long [`Monitor::once`] waits for its sinks: as long as one may take, and not until the next run of a job that
/// runs each minute.
const FLUSH_PATIENCE: Duration = Duration::from_secs(30);
/// How long threads may take to end.
const LEAVE_PATIENCE: Duration = Duration::from_secs(10);
/// Time between two looks at what others push.
const GOSSIP_INTERVAL: Duration = Duration::from_secs(1);

/// Why a monitor can't be opened, or had to stop.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MonitorError {
    /// Its directory can't be used.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// Its events can't be delivered.
    #[error(transparent)]
    Delivery(#[from] DeliveryError),
    /// The address of a log or a peer is malformed.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The system has no more threads.
    #[error(transparent)]
    Threads(#[from] ThreadError),
    /// An internal error.
    #[error("following {origin} failed in a way that it never should; the monitor's log has the reason")]
    Internal {
        /// Origin of the log.
        origin: String,
    },
    /// A log can't be followed, by the monitor's own fault.
    #[error("{origin} can't be followed: {error}")]
    Follow {
        /// Origin of the log.
        origin: String,
        /// The fault.
        error: Box<FollowError>,
    },
}

/// An open monitor.
pub struct Monitor {
    settings: Arc<MonitorSettings>,
    delivery: Arc<Delivery>,
    logs: Vec<Arc<FollowedLog>>,
    server: Arc<MonitorServer>,
    /// Set when the monitor stops, for those who look at it between two requests.
    stop: Arc<AtomicBool>,
    /// Raised when a follower vouches for a head of another size.
    vouched: Arc<Signal<u64>>,
    _lock: DirLock,
}

/// The result of following all logs once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Once {
    /// Alerts that this run told: facts, and conditions that began.
    pub alerts_told: u64,
    /// Those among them that say more than that a log does not answer.
    pub grave_alerts_told: u64,
    /// Conditions that are open at the end, whenever they began.
    pub open_conditions: Vec<Condition>,
    /// Logs that could not be followed to their head.
    pub not_followed: usize,
    /// Whether all sinks have all events.
    pub delivered: bool,
}

impl Monitor {
    /// Opens the monitor in its directory, which is made if need be. Events go to `out` and to the sinks of `delivery`.
    ///
    /// # Errors
    /// [`MonitorError`], also if another monitor is open in this directory.
    pub fn open(
        settings: MonitorSettings,
        delivery: DeliverySettings,
        out: Box<dyn std::io::Write + Send>,
    ) -> Result<Arc<Self>, MonitorError> {
        let path = settings.dir.join("logs");
        std::fs::create_dir_all(&path).map_err(DiskError::io("create", &path))?;
        let lock = DirLock::acquire(&settings.dir.join("lock"))?;
        let delivery = Delivery::open_with(&settings.dir, delivery, out, settings.io.clone())?;
        let logs: Vec<_> = settings.logs.iter().map(|log| Arc::new(FollowedLog::new(log.clone()))).collect();
        let settings = Arc::new(settings);
        let server = Arc::new(MonitorServer::new(settings.clone(), logs.clone(), delivery.clone()));
        Ok(Arc::new(Self {
            delivery,
            logs,
            server,
            stop: Arc::default(),
            vouched: Arc::default(),
            settings,
            _lock: lock,
        }))
    }

    /// Follows the logs, asks the peers, and serves on `listener` if there is one, until `shutdown` is ready or the
    /// monitor can't go on.
    ///
    /// # Errors
    /// [`MonitorError`] of the first thread that could not go on.
    pub async fn run(
        self: &Arc<Self>,
        listener: Option<TcpListener>,
        progress: OnProgress,
        shutdown: impl Future<Output = ()> + Send,
    ) -> Result<(), MonitorError> {
        let (followers, callers) = (self.followers(&progress)?, self.callers()?);
        let (failed, mut failure) = tokio::sync::mpsc::channel(1);
        // Threads that were started before one that can't be, end.
        let threads = self.start(followers, callers, &failed).inspect_err(|_| self.shut_down())?;
        drop(failed);
        let mut result = Ok(());
        let over = async {
            tokio::select! {
                () = shutdown => {}
                Some(error) = failure.recv() => result = Err(error),
            }
        };
        let served = if let Some(listener) = listener {
            http::serve(listener, self.server.clone(), over).await
        } else {
            over.await;
            Ok(())
        };
        self.shut_down();
        // A thread that hangs in a request, or in an output that nobody reads, is left there: all that counts is durable.
        let until = Instant::now() + LEAVE_PATIENCE;
        while Instant::now() < until && threads.iter().any(|thread| !thread.is_finished()) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        result.and(served.map_err(|e| DiskError::io("serve on", Path::new("the listener"))(e).into()))
    }

    /// Starts a thread for each log and for each peer. The first error of a follower goes to `failed`.
    fn start(
        self: &Arc<Self>,
        followers: Vec<Follower>,
        callers: Vec<PeerCaller>,
        failed: &tokio::sync::mpsc::Sender<MonitorError>,
    ) -> Result<Vec<JoinHandle<()>>, ThreadError> {
        let follow = |follower: Follower| {
            let (monitor, failed) = (self.clone(), failed.clone());
            threads::start("follower", move || {
                if let Err(error) = guarded(follower, |follower| monitor.follow(follower)) {
                    // The first error ends the monitor; further ones are dropped.
                    let _ = failed.try_send(error);
                }
            })
        };
        let call = |caller: PeerCaller| {
            let (interval, vouched, failed) = (self.settings.interval, self.vouched.clone(), failed.clone());
            threads::start("peer", move || {
                let origin = caller.url().to_owned();
                // After a panic the monitor ends as well: it would compare with nobody.
                if catch_unwind(AssertUnwindSafe(|| caller.run(interval, &vouched))).is_err() {
                    let _ = failed.try_send(MonitorError::Internal { origin });
                }
            })
        };
        followers.into_iter().map(follow).chain(callers.into_iter().map(call)).collect()
    }

    /// Follows each log to its present head, asks the peers, and waits for the sinks.
    ///
    /// # Errors
    /// [`MonitorError`].
    pub fn once(self: &Arc<Self>, progress: &OnProgress) -> Result<Once, MonitorError> {
        let followers = self.followers(progress)?;
        // Peers first: their heads are compared with the head that is fetched then.
        let callers = all_at_once(self.callers()?, |mut caller| {
            caller.ask_all();
            caller
        });
        let round =
            |mut follower: Follower| follower.round(true).map_err(|error| follow_error(&follower, error));
        let rounds = all_at_once(followers, |follower| guarded(follower, round));
        let (mut not_followed, mut result) = (0, Ok(()));
        for round in rounds {
            match round {
                Ok(true) => {}
                Ok(false) => not_followed += 1,
                Err(error) => result = result.and(Err(error)),
            }
        }
        if let Err(error) = result {
            self.shut_down();
            return Err(error);
        }
        all_at_once(callers, |mut caller| caller.tell_all());
        let delivered = self.delivery.flush(FLUSH_PATIENCE);
        let told = self.delivery.figures().alerts_told;
        let unreachable = Code::LogUnreachable.as_str();
        let grave = told.iter().filter(|((_, code), _)| code != unreachable).map(|(_, count)| count).sum();
        let open_conditions = self.delivery.open_conditions(usize::MAX);
        self.shut_down();
        let alerts_told = told.values().sum();
        Ok(Once { alerts_told, grave_alerts_told: grave, open_conditions, not_followed, delivered })
    }

    /// The delivery of its events.
    #[must_use]
    pub const fn delivery(&self) -> &Arc<Delivery> {
        &self.delivery
    }

    fn shut_down(&self) {
        self.stop.store(true, Ordering::Relaxed);
        self.vouched.stop();
        self.logs.iter().for_each(|log| log.inbox.stop());
        self.delivery.stop();
    }

    fn followers(&self, progress: &OnProgress) -> Result<Vec<Follower>, MonitorError> {
        let follower = |log: &Arc<FollowedLog>| {
            let tools = Tools {
                client: self.client(&log.settings.url)?,
                monitor: self.settings.clone(),
                delivery: self.delivery.clone(),
                vouched: self.vouched.clone(),
                stop: self.stop.clone(),
                progress: progress.clone(),
                log: log.clone(),
            };
            let origin = log.origin().to_owned();
            Follower::open(tools).map_err(|e| MonitorError::Follow { origin, error: Box::new(e) })
        };
        self.logs.iter().map(follower).collect()
    }

    fn callers(&self) -> Result<Vec<PeerCaller>, MonitorError> {
        let caller = |peer: &Peer| {
            let (client, clock) = (self.client(&peer.url)?, self.settings.clock.clone());
            Ok(PeerCaller::new(peer.clone(), client, &self.logs, clock))
        };
        self.settings.peers.iter().map(caller).collect()
    }

    fn client(&self, url: &str) -> Result<LogClient, ClientError> {
        let builder = LogClient::builder().timeout(self.settings.timeout).at_once(self.settings.parallel);
        match &self.settings.contact {
            Some(contact) => builder.contact(contact).build(url),
            None => builder.build(url),
        }
    }

    /// Follows a log until the monitor stops: a round in each interval, and between two rounds comparisons of the heads
    /// that others send, once a second at most.
    fn follow(&self, mut follower: Follower) -> Result<(), MonitorError> {
        loop {
            let next = Instant::now() + self.settings.interval;
            let left = || next.saturating_duration_since(Instant::now());
            self.attempt(&mut follower, |follower| follower.round(false).map(drop))?;
            loop {
                if !follower.wait(left()) {
                    return Ok(());
                }
                if Instant::now() >= next {
                    break;
                }
                self.attempt(&mut follower, Follower::compare_received)?;
                if !self.vouched.sleep(GOSSIP_INTERVAL.min(left())) {
                    return Ok(());
                }
            }
        }
    }

    /// Tries a step. An error that may be over the next time is only shown as a fault of the monitor.
    fn attempt(
        &self,
        follower: &mut Follower,
        step: impl FnOnce(&mut Follower) -> Result<(), FollowError>,
    ) -> Result<(), MonitorError> {
        match step(follower) {
            Ok(()) => follower.set_fault(follower.fault()),
            Err(FollowError::Stopped) => {}
            Err(_) if self.stop.load(Ordering::Relaxed) => {}
            Err(error) if error.is_temporary() => {
                tracing::error!(origin = follower.origin(), %error, "the monitor can't go on for now, and tries again");
                follower.set_fault(Some(retried(&error)));
            }
            Err(error) => return Err(follow_error(follower, error)),
        }
        Ok(())
    }
}

fn follow_error(follower: &Follower, error: FollowError) -> MonitorError {
    MonitorError::Follow { origin: follower.origin().to_owned(), error: Box::new(error) }
}

/// Follows a log. After a panic the monitor ends: a log that is not followed must not look as if it were.
fn guarded<R>(
    follower: Follower,
    follow: impl FnOnce(Follower) -> Result<R, MonitorError>,
) -> Result<R, MonitorError> {
    let origin = follower.origin().to_owned();
    catch_unwind(AssertUnwindSafe(|| follow(follower))).unwrap_or(Err(MonitorError::Internal { origin }))
}

/// Runs a step of all followers or peers at the same time: one that hangs holds up no other, unless the system has too
/// few threads.
fn all_at_once<T: Send, R: Send>(items: Vec<T>, step: impl Fn(T) -> R + Sync) -> Vec<R> {
    let items: Vec<Mutex<Option<T>>> = items.into_iter().map(|item| Mutex::new(Some(item))).collect();
    threads::map(&items, items.len(), |item| {
        let item = item.lock().expect("nobody else has it").take();
        step(item.expect("each is taken once"))
    })
}
