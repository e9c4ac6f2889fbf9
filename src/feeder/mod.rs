//! Sends a log's heads to all of its witnesses at once, and gathers their cosignatures.
//!
//! ```text
//! sequencer -- head --> one thread for each witness -- POST add-checkpoint --> witness
//!           <- quorum - Rounds (pure) <------------- verified cosignatures --
//! ```
//!
//! Each witness has one request under way, so a slow or absent one costs nothing but its own cosignature. The feeder
//! believes nothing that is not signed: a cosignature by the witness's keys, a claim to have seen more of the log than
//! the log has by the log's own.

mod diagnosis;
mod last_seen;
mod rounds;
#[cfg(feature = "cli")]
pub(crate) mod settings;
mod worker;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
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
use crate::threads::{self, ThreadError};
use diagnosis::{Symptoms, describe_clock, describe_rollback, own_clock_error};
use rounds::Rounds;
use worker::Worker;

/// The time that a log that may publish without a quorum waits to learn what its witnesses last saw: longer than a witness
/// may take for two answers.
const START_PATIENCE: Duration = Duration::from_secs(11);

/// A witness at one address, with all keys that the policy names for it.
#[derive(Debug, Clone)]
struct FedWitness {
    name: String,
    client: WitnessClient,
    /// Positions in the policy's list of witnesses, and the keys there.
    keys: Vec<(usize, NoteKey)>,
}

/// The progress of one witness, for `/healthz`.
#[derive(Debug, Default)]
struct Progress {
    /// The witness has said what it last saw.
    heard: bool,
    /// Tree size of the last head that it cosigned, and when.
    cosigned: Option<(u64, Instant)>,
    /// Why it did not cosign when it was last asked.
    fault: Option<String>,
    symptoms: Symptoms,
}

struct FeederState {
    /// `None` once the log is closed: a thread that still waits for an answer must not hold the log's files.
    reader: Option<Arc<dyn StoreReader>>,
    rounds: Rounds,
    progress: Vec<Progress>,
    may_sign: bool,
    /// Troubles of the log itself that were logged and still last.
    logged: Vec<Trouble>,
    /// A witness has seen what the log does not have: no more heads are sent.
    stopped: bool,
}

struct FeederCore {
    policy: Policy,
    /// A warning about the policy's quorum, in words.
    warning: Option<String>,
    /// The log's own keys.
    log: Vec<NoteKey>,
    witnesses: Vec<FedWitness>,
    events: CosignerEvents,
    /// The head that the log signed last before it stopped.
    last_signed: Option<SignedHead>,
    started: Instant,
    /// True if the log may sign after a while although silent witnesses could have a newer head.
    impatient: bool,
    state: Mutex<FeederState>,
    wake: Condvar,
}

/// Why a policy's witnesses can't be asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PrepareError {
    /// A URL is malformed.
    #[error(transparent)]
    Address(#[from] ClientError),
    /// The witnesses have more keys than a note has room for cosignatures.
    #[error("{0}: a signed tree head has no room for more")]
    TooMany(FormatError),
}

/// The threads that ask a log's witnesses. They end when it is dropped.
pub struct Feeder(Arc<FeederCore>);

impl Feeder {
    /// Prepares to ask the witnesses of `policy` that have a URL. `log` holds the log's own keys;
    /// `publish_unwitnessed` as in [`Options`](crate::sequencer::Options::publish_unwitnessed).
    ///
    /// # Errors
    /// [`PrepareError`].
    pub fn prepare(
        policy: Policy,
        log: Vec<NoteKey>,
        publish_unwitnessed: bool,
    ) -> Result<CosignersFactory, PrepareError> {
        let witnesses = witnesses_of(&policy)?;
        let keys: usize = witnesses.iter().map(|witness| witness.keys.len()).sum();
        if keys + log.len() > MAX_NOTE_SIGNATURES {
            let (limit, seen) = (MAX_NOTE_SIGNATURES - log.len(), keys);
            let (what, unit) = ("a log's list of witnesses", "keys of witnesses with a URL");
            return Err(PrepareError::TooMany(FormatError::TooLarge { what, limit, unit, seen }));
        }
        let quorum = policy.clone();
        let is_quorum = move |head: &LogSigned<Checkpoint>| quorum.check(head).is_ok();
        Ok(CosignersFactory::new(is_quorum, move |OpenedLog { reader, last_signed, events }| {
            let state = FeederState {
                reader: Some(reader),
                rounds: Rounds::default(),
                progress: witnesses.iter().map(|_| Progress::default()).collect(),
                may_sign: false,
                logged: Vec::new(),
                stopped: false,
            };
            let feeder = Self::start(FeederCore {
                // If the policy requires no cosignature, silence is never safe, and asking is all that can be done.
                impatient: publish_unwitnessed || policy.is_quorum_of(|_| false),
                warning: policy.split_warning(),
                policy: policy.clone(),
                log: log.clone(),
                witnesses: witnesses.clone(),
                events,
                last_signed,
                started: Instant::now(),
                state: Mutex::new(state),
                wake: Condvar::new(),
            })?;
            Ok(Arc::new(feeder))
        }))
    }

    fn start(core: FeederCore) -> Result<Self, ThreadError> {
        let core = Arc::new(core);
        // Dropped if a thread can't be started: that ends the others.
        let feeder = Self(core.clone());
        for place in 0..core.witnesses.len() {
            let (worker, own) = (Worker::new(core.clone(), place), core.clone());
            threads::start("feeder", move || {
                if catch_unwind(AssertUnwindSafe(|| worker.run())).is_err() {
                    own.panicked(place);
                }
            })?;
        }
        core.open_if_safe(&mut core.lock());
        Ok(feeder)
    }
}

/// The witnesses that have an address; those with the same address are one witness with several keys.
fn witnesses_of(policy: &Policy) -> Result<Vec<FedWitness>, ClientError> {
    let mut witnesses: Vec<FedWitness> = Vec::new();
    for (place, witness) in policy.witnesses().iter().enumerate() {
        let Some(url) = &witness.url else { continue };
        let client = WitnessClient::new(url)?;
        let key = (place, witness.key.clone());
        if let Some(witness) = witnesses.iter_mut().find(|witness| witness.client.prefix() == client.prefix())
        {
            witness.keys.push(key);
        } else {
            let name = witness.key.name().as_str().to_owned();
            witnesses.push(FedWitness { name, client, keys: vec![key] });
        }
    }
    Ok(witnesses)
}

impl FeederCore {
    /// Notes that the thread of a witness panicked: nobody asks that witness any more.
    fn panicked(&self, place: usize) {
        let why = "an internal error: the thread that asks it panicked; restart the log";
        tracing::error!(witness = self.witnesses[place].name, why);
        // The panic may have come while it was held.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.progress[place].fault = Some(why.to_owned());
    }

    fn lock(&self) -> MutexGuard<'_, FeederState> {
        self.state.lock().expect("no panic while it is held")
    }

    fn origin(&self) -> &KeyName {
        self.log[0].name()
    }

    /// Lets the log sign as soon as the silent witnesses could not have cosigned a newer head by themselves: every
    /// published head had a quorum.
    fn open_if_safe(&self, state: &mut FeederState) {
        if state.may_sign {
            return;
        }
        // A witness without an address never cosigned anything.
        let place_is_silent = |place: usize| self.progress(state, place).is_some_and(|p| !p.heard);
        let all_heard = state.progress.iter().all(|progress| progress.heard);
        let out_of_patience =
            self.impatient && self.started.elapsed() >= START_PATIENCE && !self.quorum_is_ahead(state);
        if all_heard || out_of_patience || !self.impatient && !self.policy.is_quorum_of(place_is_silent) {
            state.may_sign = true;
            self.events.report(CosignerEvent::MaySign);
        }
    }

    /// The progress of the witness whose key is at this position in the policy.
    fn progress<'a>(&self, state: &'a FeederState, place: usize) -> Option<&'a Progress> {
        let witness =
            self.witnesses.iter().position(|witness| witness.keys.iter().any(|(at, _)| *at == place));
        witness.map(|witness| &state.progress[witness])
    }

    fn is_ahead(&self, state: &FeederState, place: usize) -> bool {
        self.progress(state, place).is_some_and(|progress| progress.symptoms.ahead.is_some())
    }

    /// Returns true if the witnesses that claim to have cosigned more than this log has form a quorum. A claim proves nothing,
    /// but every endpoint trusts a quorum, so the log must not ignore it.
    fn quorum_is_ahead(&self, state: &FeederState) -> bool {
        !self.policy.is_quorum_of(|_| false) && self.policy.is_quorum_of(|place| self.is_ahead(state, place))
    }

    /// Diagnoses the log itself from the answers of all its witnesses.
    fn troubles(&self, state: &FeederState) -> Vec<(Trouble, String)> {
        let mut troubles = Vec::new();
        let claims: Vec<(&str, TreeSize)> = self
            .witnesses
            .iter()
            .zip(&state.progress)
            .filter_map(|(witness, progress)| Some((witness.name.as_str(), progress.symptoms.ahead?)))
            .collect();
        // As long as the others form a quorum, a claim is the fault of the witness that makes it.
        let others_do = state.may_sign
            && !self.quorum_is_ahead(state)
            && self.policy.is_quorum_of(|place| !self.is_ahead(state, place));
        if !claims.is_empty() && !others_do && !state.stopped {
            let ours = state.reader.as_ref().map(|reader| reader.size()).unwrap_or_default();
            troubles.push((Trouble::RollbackSuspected, describe_rollback(&claims, ours, state.may_sign)));
        }
        if let Some(off) = own_clock_error(state.progress.iter().map(|progress| progress.symptoms)) {
            troubles.push((Trouble::Clock, describe_clock(off)));
        }
        troubles
    }

    /// Logs each trouble of the log itself once while it lasts.
    fn log_troubles(&self, state: &mut FeederState) {
        let troubles = self.troubles(state);
        for (trouble, why) in &troubles {
            if !state.logged.contains(trouble) {
                tracing::error!("{why}");
            }
        }
        state.logged = troubles.into_iter().map(|(trouble, _)| trouble).collect();
    }
}

impl Cosigners for Feeder {
    fn ask(&self, head: &SignedHead) {
        let mut state = self.0.lock();
        if state.stopped {
            return;
        }
        let number = state.rounds.begin(head);
        // A policy that requires nobody has its quorum before anybody has answered.
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
        let own_clock = own_clock_error(state.progress.iter().map(|progress| progress.symptoms));
        let status = |(witness, progress): (&FedWitness, &Progress)| CosignerStatus {
            name: witness.name.clone(),
            url: witness.client.prefix().to_owned(),
            cosigned_size: progress.cosigned.map(|(size, _)| size),
            cosigned_seconds_ago: progress.cosigned.map(|(_, at)| at.elapsed().as_secs()),
            // If this machine's clock is wrong, the witness is not at fault.
            fault: progress.fault.clone().map(|fault| match own_clock {
                Some(off) if progress.symptoms.clocks_differ() => describe_clock(off),
                _ => fault,
            }),
        };
        self.0.witnesses.iter().zip(&state.progress).map(status).collect()
    }
}

impl Drop for Feeder {
    fn drop(&mut self) {
        self.0.lock().reader = None;
        self.0.wake.notify_all();
    }
}
