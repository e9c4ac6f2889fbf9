//! The monitor: follows logs, re-hashes all that they hold, tells what somebody should know, and compares tree
//! heads with other monitors, witnesses and endpoints.
//!
//! ```text
//! follow (a thread a log) -> read -> look (pure) -> desk (output, sinks, alerts) -> cursor
//!    ^ compare (gossip) <- board <- peers (a thread each), POST /gossip
//! ```
//!
//! An event is delivered before the cursor moves past what it is about: after a crash at any moment some are
//! told twice, with the same ids, and none is left out.

mod accuse;
mod bell;
mod board;
mod catch_up;
mod compare;
mod conditions;
mod convicted;
pub mod delivery;
pub mod event;
mod expect;
mod follow;
mod heads;
mod http;
mod lasting;
mod look;
mod metrics;
mod page;
mod peers;
mod problem;
mod read;
mod recent;
mod rules;
mod sequences;
mod start;
mod state;
mod stop;
mod times;
mod watch;

use std::future::Future;
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::net::TcpListener;

use crate::client::{ClientError, LogClient};
use crate::clock::{self, Clock};
use crate::disk::evidence_dir::EvidenceDir;
use crate::disk::{DirLock, DiskError, DiskIo, RealDisk, retried};
use crate::http::ClientAddress;
use crate::http::admission::Admission;
use crate::http::outcomes::Outcomes;
use crate::http::rate_limit::{Rate, RateLimits};

pub use expect::{MAX_MANIFEST_BYTES, Manifest};
pub use follow::{OnProgress, Trouble};
pub use peers::Peer;
pub use problem::GossipError;
use problem::{GOSSIP_KNOWN, GOSSIP_QUEUED};
pub use rules::{Expect, Patience, Rules, Start, open_publishers};
pub use state::StateError;
pub use watch::Watch;

use bell::Bell;
use board::Board;
use delivery::{Condition, Delivery, DeliveryError, DeliverySettings};
use follow::{Follower, Tools};
use peers::Caller;
use stop::Stop;

/// How long a monitor that follows logs once waits for its sinks: as long as one may take, and not until the
/// next run of a job that comes each minute.
const FLUSH_PATIENCE: Duration = Duration::from_secs(30);

/// How long threads may take to end.
const LEAVE_PATIENCE: Duration = Duration::from_secs(10);
/// Between two looks at what others push.
const MOMENT: Duration = Duration::from_secs(1);

/// Heads that everybody together may push: each costs a signature check, a third of a millisecond at most.
const EVERYBODY: Rate = Rate { burst: 200, every: Duration::from_millis(20) };
/// Those that one address may push. Endpoints do after an update; a whole office may be behind one address.
const EACH: Rate = Rate { burst: 20, every: Duration::from_secs(1) };

/// What a monitor is told.
pub struct Settings {
    /// Its directory: what it knows, and what it found.
    pub dir: PathBuf,
    /// Between two looks at a log or a peer.
    pub interval: Duration,
    /// Requests to one log at once.
    pub parallel: usize,
    /// How long one request may take.
    pub timeout: Duration,
    /// Told to logs and peers with each request, so that they can reach whoever runs it.
    pub contact: Option<String>,
    /// The logs.
    pub logs: Vec<Arc<Rules>>,
    /// Whom it asks for heads.
    pub peers: Vec<Peer>,
    /// Reverse proxies: of what comes from one, the address that it names counts.
    pub trusted_proxies: Vec<IpAddr>,
    /// Seconds since 1970; tests have their own.
    pub clock: Clock,
    /// The disk; tests have their own.
    pub io: Arc<dyn DiskIo>,
}

impl Settings {
    /// With the system's clock and disk, and a minute between looks.
    #[must_use]
    pub fn new(dir: PathBuf) -> Self {
        Self {
            dir,
            interval: Duration::from_secs(60),
            parallel: 4,
            timeout: Duration::from_secs(60),
            contact: None,
            logs: Vec::new(),
            peers: Vec::new(),
            trusted_proxies: Vec::new(),
            clock: clock::system(),
            io: Arc::new(RealDisk),
        }
    }
}

/// Why a monitor can't be opened, or had to stop.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MonitorError {
    /// Its directory.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// Its events can't be delivered.
    #[error(transparent)]
    Delivery(#[from] DeliveryError),
    /// A log or a peer has an address that is none.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A log can't be followed for reasons of nobody's.
    #[error("following {origin} failed in a way that it never should; the monitor's log has the reason")]
    Internal {
        /// The log.
        origin: String,
    },
    /// A log can't be followed for reasons of the monitor's own.
    #[error("{origin} can't be followed: {trouble}")]
    Follow {
        /// The log.
        origin: String,
        /// Why.
        trouble: Box<Trouble>,
    },
}

/// An open monitor.
pub struct Monitor {
    settings: Settings,
    delivery: Arc<Delivery>,
    boards: Vec<Arc<Board>>,
    stop: Stop,
    /// Wakes those who ask peers.
    bell: Arc<Bell>,
    outcomes: Outcomes,
    admission: Admission,
    limits: Mutex<RateLimits>,
    /// Since when limits count.
    opened: Instant,
    /// What keeps it from doing its part, by log.
    faults: Mutex<Vec<String>>,
    _lock: DirLock,
}

/// Outcome of following the logs once.
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
    /// Opens the monitor in its directory, which is made if need be. Events go to `out`, and where `desk` says.
    ///
    /// # Errors
    /// [`MonitorError`]; a second monitor on one directory is refused.
    pub fn open(
        settings: Settings,
        delivery: DeliverySettings,
        out: Box<dyn std::io::Write + Send>,
    ) -> Result<Arc<Self>, MonitorError> {
        let dir = settings.dir.clone();
        let make = |path: &Path| std::fs::create_dir_all(path).map_err(DiskError::io("create", path));
        make(&dir.join("logs"))?;
        let lock = DirLock::acquire(&dir.join("lock"))?;
        let delivery = Delivery::open_with(&dir, delivery, out, settings.io.clone())?;
        let boards = settings.logs.iter().map(|rules| Arc::new(Board::new(rules.origin.clone()))).collect();
        Ok(Arc::new(Self {
            delivery,
            boards,
            stop: Stop::default(),
            bell: Arc::default(),
            outcomes: Outcomes::new(&[&[GOSSIP_KNOWN, GOSSIP_QUEUED], GossipError::COUNTED].concat()),
            admission: Admission::default(),
            limits: Mutex::new(RateLimits::new(EVERYBODY, EACH)),
            opened: Instant::now(),
            faults: Mutex::default(),
            settings,
            _lock: lock,
        }))
    }

    /// Follows the logs, asks the peers, and serves on `listener` if there is one, until `shutdown` is ready
    /// or the monitor can't go on.
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
        let (ended, mut end) = tokio::sync::mpsc::channel(1);
        let mut threads: Vec<JoinHandle<()>> = Vec::new();
        for follower in followers {
            let (monitor, ended) = (self.clone(), ended.clone());
            threads.push(thread::spawn(move || {
                let origin = follower.origin();
                // A log that is no longer followed must not look as if it were.
                let followed = catch_unwind(AssertUnwindSafe(|| monitor.follow(follower)));
                if let Err(error) = followed.unwrap_or(Err(MonitorError::Internal { origin })) {
                    // The first one ends it all; nobody waits for others.
                    let _ = ended.try_send(error);
                }
            }));
        }
        for caller in callers {
            let (interval, bell) = (self.settings.interval, self.bell.clone());
            threads.push(thread::spawn(move || caller.run(interval, &bell)));
        }
        drop(ended);
        let mut result = Ok(());
        let over = async {
            tokio::select! {
                () = shutdown => {}
                Some(error) = end.recv() => result = Err(error),
            }
        };
        let served = if let Some(listener) = listener {
            http::serve(listener, self.clone(), over).await
        } else {
            over.await;
            Ok(())
        };
        self.shut_down();
        // What hangs in a request, or in an output that nobody reads, is left there: all that counts is durable.
        let patience = Instant::now() + LEAVE_PATIENCE;
        while Instant::now() < patience && threads.iter().any(|thread| !thread.is_finished()) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        result.and(served.map_err(|e| DiskError::io("serve on", Path::new("the listener"))(e).into()))
    }

    /// Follows each log to its present head, asks the peers, and waits for the sinks.
    ///
    /// # Errors
    /// [`MonitorError`].
    pub fn once(self: &Arc<Self>, progress: &OnProgress) -> Result<Once, MonitorError> {
        let followers = self.followers(progress)?;
        // Peers first: what they show is compared with the head that is fetched then.
        let callers = at_once(self.callers()?, Caller::call);
        let rounds = followers.into_iter().map(|mut follower| {
            thread::spawn(move || {
                follower.round(true).map_err(|trouble| follow_error(&follower.origin(), trouble))
            })
        });
        let (mut not_followed, mut failed) = (0, Ok(()));
        for round in rounds.collect::<Vec<_>>() {
            match round.join().expect("following does not panic") {
                Ok(true) => {}
                Ok(false) => not_followed += 1,
                Err(error) => failed = failed.and(Err(error)),
            }
        }
        if let Err(error) = failed {
            self.shut_down();
            return Err(error);
        }
        at_once(callers, Caller::tell_all);
        let delivered = self.delivery.flush(FLUSH_PATIENCE);
        let told = self.delivery.figures().alerts_told;
        let unreachable = event::Code::LogUnreachable.as_str();
        let grave = told.iter().filter(|((_, code), _)| code != unreachable).map(|(_, count)| count).sum();
        let open_conditions = self.delivery.open_conditions(usize::MAX);
        self.shut_down();
        let alerts_told = told.values().sum();
        Ok(Once { alerts_told, grave_alerts_told: grave, open_conditions, not_followed, delivered })
    }

    fn shut_down(&self) {
        self.stop.give();
        self.bell.stop();
        self.boards.iter().for_each(|board| board.stop());
        self.delivery.stop();
    }

    fn followers(&self, progress: &OnProgress) -> Result<Vec<Follower>, MonitorError> {
        let follower = |(rules, board): (&Arc<Rules>, &Arc<Board>)| {
            let tools = Tools {
                rules: rules.clone(),
                client: self.client(&rules.url)?,
                parallel: self.settings.parallel,
                delivery: self.delivery.clone(),
                board: board.clone(),
                bell: self.bell.clone(),
                peers: self.settings.peers.iter().map(|peer| peer.label.clone()).collect(),
                evidence: self.evidence(),
                path: self.settings.dir.join("logs").join(format!("{}.json", board.hash.to_hex())),
                io: self.settings.io.clone(),
                clock: self.settings.clock.clone(),
                stop: self.stop.flag(),
                progress: progress.clone(),
            };
            Follower::open(tools).map_err(|trouble| follow_error(rules.origin.as_str(), trouble))
        };
        self.settings.logs.iter().zip(&self.boards).map(follower).collect()
    }

    fn client(&self, url: &str) -> Result<LogClient, ClientError> {
        let builder = LogClient::builder().timeout(self.settings.timeout).at_once(self.settings.parallel);
        match &self.settings.contact {
            Some(contact) => builder.contact(contact).build(url),
            None => builder.build(url),
        }
    }

    fn callers(&self) -> Result<Vec<Caller>, MonitorError> {
        let logs: Vec<_> = self.settings.logs.iter().cloned().zip(self.boards.iter().cloned()).collect();
        let caller = |peer: &Peer| {
            Ok(Caller {
                peer: peer.clone(),
                client: self.client(&peer.url)?,
                logs: logs.clone(),
                clock: self.settings.clock.clone(),
                told: std::collections::HashMap::new(),
                asked: std::collections::HashMap::new(),
                failed: std::collections::HashMap::new(),
            })
        };
        self.settings.peers.iter().map(caller).collect()
    }

    fn follow(&self, mut follower: Follower) -> Result<(), MonitorError> {
        loop {
            let next = Instant::now() + self.settings.interval;
            self.attempt(&mut follower, |follower| follower.round(false).map(drop))?;
            // Between two rounds only heads that somebody shows are compared, every moment at most.
            loop {
                let left = next.saturating_duration_since(Instant::now());
                if !follower.wait(left) {
                    return Ok(());
                }
                if Instant::now() >= next {
                    break;
                }
                self.attempt(&mut follower, Follower::compare_during)?;
                let left = next.saturating_duration_since(Instant::now());
                if !self.stop.rest(MOMENT.min(left)) {
                    return Ok(());
                }
            }
        }
    }

    /// Tries once; what may be better the next time is only told.
    fn attempt(
        &self,
        follower: &mut Follower,
        step: impl FnOnce(&mut Follower) -> Result<(), Trouble>,
    ) -> Result<(), MonitorError> {
        let origin = follower.origin();
        match step(follower) {
            Ok(()) => self.set_fault(&origin, follower.own_fault()),
            Err(Trouble::Stopped) => {}
            Err(_) if self.stop.is_given() => {}
            // Disks fill up and are emptied again; what was not kept, or not told, is done again.
            Err(
                trouble @ (Trouble::State(_)
                | Trouble::Delivery(DeliveryError::Disk(_) | DeliveryError::OutputFull(_))),
            ) => {
                tracing::error!(origin, error = %trouble, "the monitor can't go on for now, and tries again");
                self.set_fault(&origin, Some(retried(&trouble)));
            }
            Err(trouble) => return Err(follow_error(&origin, trouble)),
        }
        Ok(())
    }

    fn set_fault(&self, origin: &str, fault: Option<String>) {
        let mut faults = self.faults.lock().expect("no panic while it is held");
        let begin = format!("{origin}: ");
        faults.retain(|known| !known.starts_with(&begin));
        faults.extend(fault.map(|fault| begin + &fault));
    }

    /// What keeps it from doing its part.
    fn faults(&self) -> Vec<String> {
        self.faults.lock().expect("no panic while it is held").clone()
    }

    fn now(&self) -> u64 {
        (self.settings.clock)()
    }

    fn boards(&self) -> &[Arc<Board>] {
        &self.boards
    }

    fn rules(&self) -> &[Arc<Rules>] {
        &self.settings.logs
    }

    fn evidence(&self) -> EvidenceDir {
        EvidenceDir::new(self.settings.dir.join("evidence"))
    }

    /// Where its events go.
    #[must_use]
    pub const fn delivery(&self) -> &Arc<Delivery> {
        &self.delivery
    }

    const fn outcomes(&self) -> &Outcomes {
        &self.outcomes
    }

    const fn admission(&self) -> &Admission {
        &self.admission
    }

    fn trusted_proxies(&self) -> &[IpAddr] {
        &self.settings.trusted_proxies
    }

    /// Whether somebody may push a head now.
    fn admit(&self, client: ClientAddress) -> Result<(), GossipError> {
        let mut limits = self.limits.lock().expect("no panic while it is held");
        limits
            .admit(client.address(), self.opened.elapsed())
            .map_err(|wait| GossipError::TooMany(wait.as_secs() + 1))
    }
}

/// All of them at the same time: a peer that hangs holds up no other.
fn at_once(callers: Vec<Caller>, step: fn(&mut Caller)) -> Vec<Caller> {
    let steps = callers.into_iter().map(|mut caller| {
        thread::spawn(move || {
            step(&mut caller);
            caller
        })
    });
    let steps: Vec<_> = steps.collect();
    steps.into_iter().filter_map(|step| step.join().ok()).collect()
}

fn follow_error(origin: &str, trouble: Trouble) -> MonitorError {
    MonitorError::Follow { origin: origin.to_owned(), trouble: Box::new(trouble) }
}
