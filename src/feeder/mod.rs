//! Feeding a log's heads to its witnesses, all at once, and gathering their cosignatures.
//!
//! ```text
//! sequencer -- head --> one thread for each witness -- POST add-checkpoint --> witness
//!           <- quorum - Rounds (pure) <------------- verified cosignatures --
//! ```
//!
//! A witness has one request under way, so one that is slow or gone costs nothing but its own cosignature.
//! Nothing that a witness says is believed unless it is signed: by its keys, where it cosigns; by the log's
//! own, where it claims to have seen more of the log than the log has.

mod doubts;
mod last_seen;
mod rounds;
pub(crate) mod settings;
mod worker;

use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::checkpoint::policy::Policy;
use crate::checkpoint::{Checkpoint, LogSigned};
use crate::client::{ClientError, WitnessClient};
use crate::format::FormatError;
use crate::merkle::TreeSize;
use crate::note::{KeyName, MAX_NOTE_SIGNATURES, NoteKey};
use crate::sequencer::{
    CosignerEvent, CosignerEvents, CosignerStatus, Cosigners, CosignersFactory, OpenedLog, Trouble,
};
use crate::store::{SignedHead, StoreReader};
use doubts::{Said, clock_in_words, own_clock_is_off, rollback_in_words};
use rounds::Rounds;
use worker::Worker;

/// How long a log that may publish without a quorum waits for what its witnesses last saw. Longer than a
/// witness may take for two answers.
const START_PATIENCE: Duration = Duration::from_secs(11);

/// A witness as the log knows it: one address, and all keys that the policy names for it.
#[derive(Debug)]
struct Point {
    name: String,
    client: WitnessClient,
    /// Places in the policy's list of witnesses, and the keys there.
    keys: Vec<(usize, NoteKey)>,
}

/// How a witness does, for `/healthz`.
#[derive(Debug, Default)]
struct Progress {
    /// It has said what it last saw.
    heard: bool,
    cosigned: Option<(u64, Instant)>,
    fault: Option<String>,
    said: Said,
}

/// A head to be cosigned. A number of its own tells a head from the same one asked for again.
#[derive(Debug)]
struct Ask {
    number: u64,
    head: SignedHead,
}

struct State {
    /// Gone when the log is closed: a thread that still waits for an answer must not hold its files.
    reader: Option<Arc<dyn StoreReader>>,
    newest: Option<Arc<Ask>>,
    rounds: Rounds,
    progress: Vec<Progress>,
    may_sign: bool,
    /// Faults of the log itself that were logged and still last.
    told: Vec<Trouble>,
    /// A witness has seen what the log does not have: nothing more is asked.
    stopped: bool,
}

struct Shared {
    policy: Policy,
    /// What is wrong with its quorum.
    warning: Option<String>,
    /// The log's own keys.
    log: Vec<NoteKey>,
    points: Vec<Point>,
    events: CosignerEvents,
    /// What the log signed last before it stopped.
    last_signed: Option<SignedHead>,
    started: Instant,
    /// Whether the log may sign although witnesses are silent that could have a newer head.
    impatient: bool,
    state: Mutex<State>,
    wake: Condvar,
}

/// Why a policy's witnesses can't be asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PrepareError {
    /// A URL is none.
    #[error(transparent)]
    Address(#[from] ClientError),
    /// A note has no room for cosignatures by all of their keys.
    #[error("{0}: a signed tree head has no room for more")]
    TooMany(FormatError),
}

/// The threads that ask a log's witnesses. They end when it is dropped.
pub struct Feeder(Arc<Shared>);

impl Feeder {
    /// Prepares to ask the witnesses of `policy` that have a URL. `log` are the log's own keys;
    /// `publish_unwitnessed` as in [`Options`](crate::sequencer::Options::publish_unwitnessed).
    ///
    /// # Errors
    /// [`PrepareError`].
    pub fn prepare(
        policy: Policy,
        log: Vec<NoteKey>,
        publish_unwitnessed: bool,
    ) -> Result<CosignersFactory, PrepareError> {
        let points = points(&policy)?;
        let keys: usize = points.iter().map(|point| point.keys.len()).sum();
        if keys + log.len() > MAX_NOTE_SIGNATURES {
            let (limit, seen) = (MAX_NOTE_SIGNATURES - log.len(), keys);
            let (what, unit) = ("a log's list of witnesses", "keys of witnesses with a URL");
            return Err(PrepareError::TooMany(FormatError::TooLarge { what, limit, unit, seen }));
        }
        let start = move |opened: OpenedLog| {
            let feeder = Self::start(policy, log, points, publish_unwitnessed, opened);
            Arc::new(feeder) as Arc<dyn Cosigners>
        };
        Ok(Box::new(start))
    }

    fn start(
        policy: Policy,
        log: Vec<NoteKey>,
        points: Vec<Point>,
        publish_unwitnessed: bool,
        opened: OpenedLog,
    ) -> Self {
        let state = State {
            reader: Some(opened.reader),
            newest: None,
            rounds: Rounds::default(),
            progress: points.iter().map(|_| Progress::default()).collect(),
            may_sign: false,
            told: Vec::new(),
            stopped: false,
        };
        let shared = Arc::new(Shared {
            // Where no cosignature is required, no silence is safe: they are only asked.
            impatient: publish_unwitnessed || policy.is_quorum_of(|_| false),
            warning: policy.split_warning(),
            policy,
            log,
            points,
            events: opened.events,
            last_signed: opened.last_signed,
            started: Instant::now(),
            state: Mutex::new(state),
            wake: Condvar::new(),
        });
        for place in 0..shared.points.len() {
            let worker = Worker::new(shared.clone(), place);
            let thread = std::thread::Builder::new().name("feeder".to_owned()).spawn(move || worker.run());
            thread.expect("a thread can be started");
        }
        shared.open_if_safe(&mut shared.lock());
        Self(shared)
    }
}

/// The witnesses that can be asked: those with the same address are one, with several keys.
fn points(policy: &Policy) -> Result<Vec<Point>, ClientError> {
    let mut points: Vec<Point> = Vec::new();
    for (place, witness) in policy.witnesses().iter().enumerate() {
        let Some(url) = &witness.url else { continue };
        let client = WitnessClient::new(url)?;
        let key = (place, witness.key.clone());
        if let Some(point) = points.iter_mut().find(|point| point.client.prefix() == client.prefix()) {
            point.keys.push(key);
        } else {
            let name = witness.key.name().as_str().to_owned();
            points.push(Point { name, client, keys: vec![key] });
        }
    }
    Ok(points)
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic while it is held")
    }

    fn origin(&self) -> &KeyName {
        self.log[0].name()
    }

    /// Lets the log sign as soon as those who are silent could not have cosigned a newer head by
    /// themselves: every head that was published had a quorum.
    fn open_if_safe(&self, state: &mut State) {
        if state.may_sign {
            return;
        }
        // A witness without an address can't be asked, and never was.
        let place_is_silent = |place: usize| self.progress(state, place).is_some_and(|p| !p.heard);
        let all_heard = state.progress.iter().all(|progress| progress.heard);
        let out_of_patience =
            self.impatient && self.started.elapsed() >= START_PATIENCE && !self.quorum_is_ahead(state);
        if all_heard || out_of_patience || !self.impatient && !self.policy.is_quorum_of(place_is_silent) {
            state.may_sign = true;
            self.events.report(CosignerEvent::MaySign);
        }
    }
}

impl Shared {
    /// The status of the witness whose key is at this place in the policy.
    fn progress<'a>(&self, state: &'a State, place: usize) -> Option<&'a Progress> {
        let point = self.points.iter().position(|point| point.keys.iter().any(|(at, _)| *at == place));
        point.map(|point| &state.progress[point])
    }

    fn is_ahead(&self, state: &State, place: usize) -> bool {
        self.progress(state, place).is_some_and(|progress| progress.said.ahead.is_some())
    }

    /// Whether the witnesses that claim to have cosigned more than this log has form a quorum. A claim proves
    /// nothing, but every endpoint trusts a quorum, so the log must not ignore it.
    fn quorum_is_ahead(&self, state: &State) -> bool {
        !self.policy.is_quorum_of(|_| false) && self.policy.is_quorum_of(|place| self.is_ahead(state, place))
    }

    /// What the witnesses' answers together say of the log itself.
    fn troubles(&self, state: &State) -> Vec<(Trouble, String)> {
        let mut troubles = Vec::new();
        let claims: Vec<(&str, TreeSize)> = self
            .points
            .iter()
            .zip(&state.progress)
            .filter_map(|(point, progress)| Some((point.name.as_str(), progress.said.ahead?)))
            .collect();
        // A witness that is wrong is its own fault, as long as the others are enough.
        let others_do = state.may_sign
            && !self.quorum_is_ahead(state)
            && self.policy.is_quorum_of(|place| !self.is_ahead(state, place));
        if !claims.is_empty() && !others_do && !state.stopped {
            let ours = state.reader.as_ref().map(|reader| reader.size()).unwrap_or_default();
            troubles.push((Trouble::RollbackSuspected, rollback_in_words(&claims, ours, state.may_sign)));
        }
        if let Some(off) = own_clock_is_off(state.progress.iter().map(|progress| progress.said)) {
            troubles.push((Trouble::Clock, clock_in_words(off)));
        }
        troubles
    }

    /// Logs each fault of the log itself once while it lasts.
    fn log_troubles(&self, state: &mut State) {
        let troubles = self.troubles(state);
        for (trouble, why) in &troubles {
            if !state.told.contains(trouble) {
                tracing::error!("{why}");
            }
        }
        state.told = troubles.into_iter().map(|(trouble, _)| trouble).collect();
    }
}

impl Cosigners for Feeder {
    fn ask(&self, head: &SignedHead) {
        let mut state = self.0.lock();
        if state.stopped {
            return;
        }
        let number = state.newest.as_ref().map_or(1, |ask| ask.number + 1);
        state.rounds.begin(number, head);
        state.newest = Some(Arc::new(Ask { number, head: head.clone() }));
        // A policy that asks for nobody is content before anybody has answered.
        if let Some(head) = state.rounds.add(number, Vec::new(), &self.0.policy, &self.0.log) {
            self.0.events.report(CosignerEvent::Cosigned(head));
        }
        drop(state);
        self.0.wake.notify_all();
    }

    fn is_quorum(&self, head: &LogSigned<Checkpoint>) -> bool {
        self.0.policy.check(head).is_ok()
    }

    fn quorum(&self) -> String {
        self.0.policy.quorum_in_words()
    }

    fn warning(&self) -> Option<String> {
        self.0.warning.clone()
    }

    fn troubles(&self) -> Vec<(Trouble, String)> {
        self.0.troubles(&self.0.lock())
    }

    fn status(&self) -> Vec<CosignerStatus> {
        let state = self.0.lock();
        let own_clock = own_clock_is_off(state.progress.iter().map(|progress| progress.said));
        let status = |(point, progress): (&Point, &Progress)| CosignerStatus {
            name: point.name.clone(),
            url: point.client.prefix().to_owned(),
            cosigned_size: progress.cosigned.map(|(size, _)| size),
            cosigned_seconds_ago: progress.cosigned.map(|(_, at)| at.elapsed().as_secs()),
            // Not its fault where it is this machine's.
            fault: progress.fault.clone().map(|fault| match own_clock {
                Some(off) if progress.said.is_off() => clock_in_words(off),
                _ => fault,
            }),
        };
        self.0.points.iter().zip(&state.progress).map(status).collect()
    }
}

impl Drop for Feeder {
    fn drop(&mut self) {
        self.0.lock().reader = None;
        self.0.wake.notify_all();
    }
}
