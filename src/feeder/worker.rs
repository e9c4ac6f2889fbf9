//! The thread of one witness: asks what the witness last saw, then has it cosign one head after the other.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::diagnosis::skew;
use super::last_seen::{LastSeen, compare};
use super::{FedWitness, FeederCore};
use crate::checkpoint::cosignature;
use crate::client::{Backoff, ClientError, CosignAnswer};
use crate::clock;
use crate::endpoint::FUTURE_ALLOWANCE_SECONDS;
use crate::merkle::{Hash, TreeSize, prove_consistency, read_root};
use crate::note::{Note, NoteSignature};
use crate::proof::wire::AddCheckpoint;
use crate::sequencer::CosignerEvent;
use crate::store::{SignedHead, StoreError, StoreReader};

/// The pause after the first failure; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause between two tries: a witness that is back is asked again within this time.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// The longest pause while the log waits to learn what the witness last saw.
const LONGEST_START_PAUSE: Duration = Duration::from_secs(2);
/// Most requests for one head: one from the size that was remembered, one from the size that the witness names, and
/// one more in case somebody else has fed the witness meanwhile.
const TRIES: u32 = 3;

pub struct Worker {
    core: Arc<FeederCore>,
    /// The witness's position in the list.
    place: usize,
    /// The largest tree size that the witness is known to have cosigned.
    known: TreeSize,
}

/// Why a head was not cosigned.
#[derive(Debug, thiserror::Error)]
enum FeedError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The witness's answer is wrong.
    #[error("{0}")]
    Wrong(String),
    /// The witness claims to have cosigned this tree size, larger than the log's, without proof. Either may be wrong.
    #[error(
        "it claims to have cosigned tree size {0}, but shows no head of that size signed by this log; either that is wrong, or this copy of the log is an older one"
    )]
    Ahead(TreeSize),
    /// The log is being closed.
    #[error("the log is being closed")]
    Closed,
}

impl Worker {
    pub fn new(core: Arc<FeederCore>, place: usize) -> Self {
        Self { core, place, known: TreeSize::ZERO }
    }

    fn witness(&self) -> &FedWitness {
        &self.core.witnesses[self.place]
    }

    pub fn run(mut self) {
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_START_PAUSE);
        while let Err(error) = self.learn_last_seen() {
            self.report(&error);
            if !self.sleep(backoff.pause()) {
                return;
            }
            // The other witnesses may be enough by now, or the time may be up.
            self.core.open_if_safe(&mut self.core.lock());
        }
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        let mut done = 0;
        while let Some((number, head)) = self.wait_for_head(done) {
            match self.cosign(&head) {
                Ok(cosignatures) => {
                    self.deliver(number, head.head.size, cosignatures);
                    done = number;
                    backoff.reset();
                }
                Err(error) => {
                    self.report(&error);
                    if !self.sleep(backoff.pause()) {
                        return;
                    }
                }
            }
        }
    }

    /// Waits for a head whose number is above `done`. Returns `None` once the log is closed.
    fn wait_for_head(&self, done: u64) -> Option<(u64, SignedHead)> {
        let mut state = self.core.lock();
        loop {
            state.reader.as_ref()?;
            match state.rounds.newest() {
                Some((number, head)) if number > done && !state.stopped => {
                    return Some((number, head.clone()));
                }
                _ => state = self.core.wake.wait(state).expect("no panic while it is held"),
            }
        }
    }

    /// Sleeps. Returns false if the log is closed meanwhile.
    fn sleep(&self, pause: Duration) -> bool {
        let until = Instant::now() + pause;
        let mut state = self.core.lock();
        while state.reader.is_some() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            state = self.core.wake.wait_timeout(state, left).expect("no panic while it is held").0;
        }
        false
    }

    fn reader(&self) -> Result<Arc<dyn StoreReader>, FeedError> {
        self.core.lock().reader.clone().ok_or(FeedError::Closed)
    }

    /// Logs the first failure of the witness since it last cosigned, and notes the latest one for `/healthz`.
    fn report(&self, error: &FeedError) {
        if matches!(error, FeedError::Closed) {
            return;
        }
        let fault = error.to_string();
        let (name, url) = (&self.witness().name, self.witness().client.prefix());
        let mut state = self.core.lock();
        let progress = &mut state.progress[self.place];
        if progress.fault.is_none() {
            tracing::warn!(witness = %name, url, "a witness does not cosign: {fault}");
        }
        progress.fault = Some(fault);
        progress.symptoms.ahead = match error {
            FeedError::Ahead(size) => Some(*size),
            // No answer: the earlier one stands.
            FeedError::Client(_) => progress.symptoms.ahead,
            _ => None,
        };
        self.core.log_troubles(&mut state);
    }

    /// Asks what the witness last saw of this log, before the log signs anything.
    fn learn_last_seen(&mut self) -> Result<(), FeedError> {
        match self.witness().client.last_seen(self.core.origin())? {
            Some(note) => self.check_last_seen(note)?,
            // The witness has nothing of this log, or serves no checkpoints at this address: a request tells which.
            None => self.known = self.ask_for_size()?,
        }
        let mut state = self.core.lock();
        let progress = &mut state.progress[self.place];
        (progress.heard, progress.symptoms.ahead) = (true, None);
        self.core.open_if_safe(&mut state);
        Ok(())
    }

    /// Compares the witness's last head with the log's tree, and stops the log if it must not sign.
    fn check_last_seen(&mut self, note: Note) -> Result<(), FeedError> {
        let reader = self.reader()?;
        match compare(&self.witness().name, note, &self.core.log, reader.as_ref())? {
            LastSeen::Ours(size) => {
                self.known = size;
                Ok(())
            }
            LastSeen::NotOurs(size, why) => {
                let mut state = self.core.lock();
                state.stopped = true;
                self.core.events.report(CosignerEvent::MustNotSign(why));
                drop(state);
                Err(FeedError::Wrong(format!(
                    "it has cosigned the log's tree head at size {size}, which this copy of the log does not have"
                )))
            }
            LastSeen::NotSigned(why) => Err(FeedError::Wrong(why)),
        }
    }

    /// Learns the tree size from which the witness continues, by asking it to cosign the head that the log signed last
    /// before it stopped.
    fn ask_for_size(&self) -> Result<TreeSize, FeedError> {
        let Some(last) = &self.core.last_signed else { return Ok(TreeSize::ZERO) };
        let checkpoint = Note::parse(&last.note).expect("the log made it");
        let request = AddCheckpoint { old: last.head.size, proof: Vec::new(), checkpoint };
        match self.witness().client.add_checkpoint(&request)? {
            CosignAnswer::Cosigned(_) => Ok(last.head.size),
            CosignAnswer::Conflict(size) if size <= self.reader()?.applied()? => Ok(size),
            CosignAnswer::Conflict(size) => Err(FeedError::Ahead(size)),
        }
    }

    /// Has the witness cosign a head. Returns the cosignatures that count, with the positions of their keys.
    fn cosign(&mut self, head: &SignedHead) -> Result<Vec<(usize, NoteSignature)>, FeedError> {
        let note = Note::parse(&head.note).expect("the log made it");
        for _ in 0..TRIES {
            if self.known > head.head.size {
                return Err(self.ahead(self.known));
            }
            let proof = self.prove(head)?;
            let request = AddCheckpoint { old: self.known, proof, checkpoint: note.clone() };
            match self.witness().client.add_checkpoint(&request) {
                Ok(CosignAnswer::Cosigned(lines)) => {
                    let cosignatures = self.check(head, lines)?;
                    self.known = head.head.size;
                    return Ok(cosignatures);
                }
                Ok(CosignAnswer::Conflict(size)) if size == self.known => {
                    let why =
                        format!("it goes on from tree size {size}, and refuses a request that does (409)");
                    return Err(FeedError::Wrong(why));
                }
                Ok(CosignAnswer::Conflict(size)) => self.known = size,
                // The witness has another root at this size. If the log signed it, the log has forked.
                Err(ClientError::Status { status: 422, url, detail, .. }) => {
                    self.recheck_last_seen()?;
                    let why = format!("{url} does not accept the consistency proof (422): {detail}");
                    return Err(FeedError::Wrong(why));
                }
                Err(e) => return Err(e.into()),
            }
        }
        Err(FeedError::Wrong("it names another tree size each time that it is asked".to_owned()))
    }

    /// The failure of a witness that claims a larger head than the one to cosign. Somebody else may have fed it that
    /// head; then it can show it.
    fn ahead(&mut self, size: TreeSize) -> FeedError {
        self.known = TreeSize::ZERO;
        match self.recheck_last_seen() {
            Err(error) => error,
            Ok(()) if self.known < size => FeedError::Ahead(size),
            Ok(()) => FeedError::Wrong(format!("it has cosigned tree size {size} already")),
        }
    }

    fn recheck_last_seen(&mut self) -> Result<(), FeedError> {
        match self.witness().client.last_seen(self.core.origin())? {
            Some(note) => self.check_last_seen(note),
            None => Ok(()),
        }
    }

    fn prove(&self, head: &SignedHead) -> Result<Vec<Hash>, FeedError> {
        let reader = self.reader()?;
        let old_root = read_root(reader.as_ref(), self.known)?.root();
        let (old, new) = ((self.known, &old_root), (head.head.size, &head.head.root));
        let proof = prove_consistency(reader.as_ref(), old, new)?;
        proof.map_err(|e| StoreError::TreeDamaged { detail: e.to_string() }.into())
    }

    /// Selects the cosignatures by keys that the settings name for this witness. Each of them must be valid.
    fn check(
        &self,
        head: &SignedHead,
        lines: Vec<NoteSignature>,
    ) -> Result<Vec<(usize, NoteSignature)>, FeedError> {
        let text = head.head.to_string();
        let now = clock::now();
        let mut good = Vec::new();
        for line in lines {
            // "The client MUST ignore any cosignatures from unknown keys."
            let Some((place, key)) = self.witness().keys.iter().find(|(_, key)| line.names(key)) else {
                continue;
            };
            let time = cosignature::verify(key, &text, line.bytes()).ok_or_else(|| {
                let (name, id) = (key.name(), key.id());
                FeedError::Wrong(format!("its cosignature by {name}+{id} is not valid"))
            })?;
            self.core.lock().progress[self.place].symptoms.skew = skew(time, now);
            // "The cosignature MUST NOT omit the timestamp." Endpoints reject one from the future, and those with
            // `--max-age` an old one: either would spoil the proof for everybody.
            if time.abs_diff(now) > FUTURE_ALLOWANCE_SECONDS {
                // If the other witnesses agree on the time, `status` blames this machine.
                let why = format!(
                    "its clock is wrong: it cosigned at {time}, and it is {now} here (POSIX seconds); or this machine's is"
                );
                return Err(FeedError::Wrong(why));
            }
            good.push((*place, line));
        }
        if good.is_empty() {
            let expected: Vec<String> =
                self.witness().keys.iter().map(|(_, key)| format!("{}+{}", key.name(), key.id())).collect();
            let why = format!(
                "it cosigned with none of the keys in the settings: expected {}",
                expected.join(", ")
            );
            return Err(FeedError::Wrong(why));
        }
        Ok(good)
    }

    /// Adds cosignatures to their round, and reports the head if it reaches a quorum.
    fn deliver(&self, number: u64, size: TreeSize, cosignatures: Vec<(usize, NoteSignature)>) {
        let mut state = self.core.lock();
        let progress = &mut state.progress[self.place];
        progress.cosigned = Some((size.get(), Instant::now()));
        progress.symptoms.ahead = None;
        if progress.fault.take().is_some() {
            tracing::info!(witness = %self.witness().name, "a witness cosigns again");
        }
        self.core.log_troubles(&mut state);
        let head = state.rounds.add(number, cosignatures, &self.core.policy, &self.core.log);
        // Reported under the lock, so that heads arrive in the order in which they reach their quorum.
        if let Some(head) = head {
            self.core.events.report(CosignerEvent::Cosigned(head));
        }
    }
}
