//! One witness's thread: hears what the witness last saw, then has one head after the other cosigned.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::doubts::skew;
use super::last_seen::{LastSeen, compare};
use super::{Ask, Point, Shared};
use crate::checkpoint::cosignature;
use crate::client::{ClientError, CosignAnswer};
use crate::clock;
use crate::endpoint::FUTURE_ALLOWANCE_SECONDS;
use crate::merkle::{TreeSize, prove_consistency, read_root};
use crate::note::{Note, NoteSignature};
use crate::proof::wire::AddCheckpoint;
use crate::sequencer::CosignerEvent;
use crate::store::{SignedHead, StoreError, StoreReader};

/// Pause after the first failure; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Longest pause between two tries: a witness that comes back is asked again within this time.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Longest pause while the log waits for what the witness last saw.
const LONGEST_START_PAUSE: Duration = Duration::from_secs(2);
/// Requests for one head: one for the size that was remembered, one for the size that the witness names,
/// and one more in case somebody else has fed it meanwhile.
const TRIES: u32 = 3;

pub struct Worker {
    shared: Arc<Shared>,
    /// Place of this witness in the list.
    place: usize,
    /// Size of the last head that the witness cosigned, as far as is known.
    known: TreeSize,
}

/// Why a head was not cosigned.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What it says can't be so.
    #[error("{0}")]
    Wrong(String),
    /// It claims more than this log has, and proves nothing. Either of the two may be wrong.
    #[error(
        "it claims to have cosigned tree size {0}, but shows no head of that size signed by this log; either that is wrong, or this copy of the log is an older one"
    )]
    Ahead(TreeSize),
    /// The log is being closed.
    #[error("the log is being closed")]
    Closed,
}

impl Worker {
    pub fn new(shared: Arc<Shared>, place: usize) -> Self {
        Self { shared, place, known: TreeSize::ZERO }
    }

    fn point(&self) -> &Point {
        &self.shared.points[self.place]
    }

    pub fn run(mut self) {
        let mut pause = FIRST_PAUSE;
        while let Err(trouble) = self.hear() {
            self.tell(&trouble);
            if !self.rest(pause) {
                return;
            }
            pause = (pause * 2).min(LONGEST_START_PAUSE);
            // Perhaps the others are enough by now, or time is up.
            self.shared.open_if_safe(&mut self.shared.lock());
        }
        pause = FIRST_PAUSE;
        let mut done = 0;
        while let Some(ask) = self.next(done) {
            match self.cosign(&ask.head) {
                Ok(cosignatures) => {
                    self.deliver(&ask, cosignatures);
                    (done, pause) = (ask.number, FIRST_PAUSE);
                }
                Err(trouble) => {
                    self.tell(&trouble);
                    if !self.rest(pause) {
                        return;
                    }
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    /// Waits for a head that is newer than `done`; none where the log is closed.
    fn next(&self, done: u64) -> Option<Arc<Ask>> {
        let mut state = self.shared.lock();
        loop {
            state.reader.as_ref()?;
            match &state.newest {
                Some(ask) if ask.number > done => return Some(ask.clone()),
                _ => state = self.shared.wake.wait(state).expect("no panic while it is held"),
            }
        }
    }

    /// Rests for so long; false where the log is closed meanwhile.
    fn rest(&self, pause: Duration) -> bool {
        let until = Instant::now() + pause;
        let mut state = self.shared.lock();
        while state.reader.is_some() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            state = self.shared.wake.wait_timeout(state, left).expect("no panic while it is held").0;
        }
        false
    }

    fn reader(&self) -> Result<Arc<dyn StoreReader>, Trouble> {
        self.shared.lock().reader.clone().ok_or(Trouble::Closed)
    }

    /// Says once that something is wrong with this witness, however its excuses vary; `/healthz` shows the
    /// latest of them.
    fn tell(&self, trouble: &Trouble) {
        if matches!(trouble, Trouble::Closed) {
            return;
        }
        let fault = trouble.to_string();
        let (name, url) = (&self.point().name, self.point().client.prefix());
        let mut state = self.shared.lock();
        let progress = &mut state.progress[self.place];
        if progress.fault.is_none() {
            tracing::warn!(witness = %name, url, "a witness does not cosign: {fault}");
        }
        progress.fault = Some(fault);
        progress.said.ahead = match trouble {
            Trouble::Ahead(size) => Some(*size),
            // It said nothing now, and what it said before stands.
            Trouble::Client(_) => progress.said.ahead,
            _ => None,
        };
        self.shared.log_troubles(&mut state);
    }

    /// Asks what the witness last saw of this log, before the log signs anything.
    fn hear(&mut self) -> Result<(), Trouble> {
        match self.point().client.last_seen(self.shared.origin())? {
            Some(note) => self.judge(note)?,
            // It has nothing of this log, or nothing to show at this address: then it has to say so to a
            // request as well.
            None => self.known = self.ask_for_size()?,
        }
        let mut state = self.shared.lock();
        let progress = &mut state.progress[self.place];
        (progress.heard, progress.said.ahead) = (true, None);
        self.shared.open_if_safe(&mut state);
        Ok(())
    }

    /// Compares a head that the witness shows with the log's tree, and stops the log where it must not sign.
    fn judge(&mut self, note: Note) -> Result<(), Trouble> {
        let reader = self.reader()?;
        match compare(&self.point().name, note, &self.shared.log, reader.as_ref())? {
            LastSeen::Ours(size) => {
                self.known = size;
                Ok(())
            }
            LastSeen::NotOurs(size, why) => {
                let mut state = self.shared.lock();
                state.stopped = true;
                state.newest = None;
                self.shared.events.report(CosignerEvent::MustNotSign(why));
                drop(state);
                Err(Trouble::Wrong(format!(
                    "it has cosigned the log's tree head at size {size}, which this copy of the log does not have"
                )))
            }
            LastSeen::NotSigned(why) => Err(Trouble::Wrong(why)),
        }
    }

    /// The size from which the witness goes on, by asking it to cosign once more what the log signed last
    /// before it stopped.
    fn ask_for_size(&self) -> Result<TreeSize, Trouble> {
        let Some(last) = &self.shared.last_signed else { return Ok(TreeSize::ZERO) };
        let checkpoint = Note::parse(&last.note).expect("the log made it");
        let request = AddCheckpoint { old: last.head.size, proof: Vec::new(), checkpoint };
        match self.point().client.add_checkpoint(&request)? {
            CosignAnswer::Cosigned(_) => Ok(last.head.size),
            CosignAnswer::Conflict(size) if size <= self.reader()?.applied()? => Ok(size),
            CosignAnswer::Conflict(size) => Err(Trouble::Ahead(size)),
        }
    }

    /// Has the witness cosign a head; gives the cosignatures that count, with the places of their keys.
    fn cosign(&mut self, head: &SignedHead) -> Result<Vec<(usize, NoteSignature)>, Trouble> {
        let note = Note::parse(&head.note).expect("the log made it");
        for _ in 0..TRIES {
            if self.known > head.head.size {
                return Err(self.ahead(self.known));
            }
            let proof = self.prove(head)?;
            let request = AddCheckpoint { old: self.known, proof, checkpoint: note.clone() };
            match self.point().client.add_checkpoint(&request) {
                Ok(CosignAnswer::Cosigned(lines)) => {
                    let cosignatures = self.check(head, lines)?;
                    self.known = head.head.size;
                    return Ok(cosignatures);
                }
                Ok(CosignAnswer::Conflict(size)) if size == self.known => {
                    let why =
                        format!("it goes on from tree size {size}, and refuses a request that does (409)");
                    return Err(Trouble::Wrong(why));
                }
                Ok(CosignAnswer::Conflict(size)) => self.known = size,
                // It has another root at this size, it says. If it shows a head that the log signed, the
                // log has forked.
                Err(ClientError::Status { status: 422, url, detail, .. }) => {
                    self.look_again()?;
                    let why = format!("{url} does not accept the consistency proof (422): {detail}");
                    return Err(Trouble::Wrong(why));
                }
                Err(e) => return Err(e.into()),
            }
        }
        Err(Trouble::Wrong("it names another tree size each time that it is asked".to_owned()))
    }

    /// The witness claims a larger head than the one that it is to cosign. It may have got it from somebody
    /// else; if so, it can show it.
    fn ahead(&mut self, size: TreeSize) -> Trouble {
        self.known = TreeSize::ZERO;
        match self.look_again() {
            Err(trouble) => trouble,
            Ok(()) if self.known < size => Trouble::Ahead(size),
            Ok(()) => Trouble::Wrong(format!("it has cosigned tree size {size} already")),
        }
    }

    fn look_again(&mut self) -> Result<(), Trouble> {
        match self.point().client.last_seen(self.shared.origin())? {
            Some(note) => self.judge(note),
            None => Ok(()),
        }
    }

    fn prove(&self, head: &SignedHead) -> Result<Vec<crate::merkle::Hash>, Trouble> {
        let reader = self.reader()?;
        let old_root = read_root(reader.as_ref(), self.known)?.root();
        let (old, new) = ((self.known, &old_root), (head.head.size, &head.head.root));
        let proof = prove_consistency(reader.as_ref(), old, new)?;
        proof.map_err(|e| StoreError::TreeDamaged { detail: e.to_string() }.into())
    }

    /// The cosignatures by keys that the settings name for this witness. All of these have to be good.
    fn check(
        &self,
        head: &SignedHead,
        lines: Vec<NoteSignature>,
    ) -> Result<Vec<(usize, NoteSignature)>, Trouble> {
        let text = head.head.to_string();
        let now = clock::now();
        let mut good = Vec::new();
        for line in lines {
            // "The client MUST ignore any cosignatures from unknown keys."
            let Some((place, key)) = self.point().keys.iter().find(|(_, key)| line.names(key)) else {
                continue;
            };
            let time = cosignature::verify(key, &text, line.bytes()).ok_or_else(|| {
                let (name, id) = (key.name(), key.id());
                Trouble::Wrong(format!("its cosignature by {name}+{id} is not valid"))
            })?;
            let told = skew(time, now);
            self.shared.lock().progress[self.place].said.skew = told;
            // "The cosignature MUST NOT omit the timestamp." One from the future would be refused by
            // endpoints, and an old one by those with `--max-age`: either would spoil the proof for all.
            if time.abs_diff(now) > FUTURE_ALLOWANCE_SECONDS {
                // Where other witnesses have the same time, `status` says that it is this machine.
                let why = format!(
                    "its clock is wrong: it cosigned at {time}, and it is {now} here (POSIX seconds); or this machine's is"
                );
                return Err(Trouble::Wrong(why));
            }
            good.push((*place, line));
        }
        if good.is_empty() {
            let expected: Vec<String> =
                self.point().keys.iter().map(|(_, key)| format!("{}+{}", key.name(), key.id())).collect();
            let why = format!(
                "it cosigned with none of the keys in the settings: expected {}",
                expected.join(", ")
            );
            return Err(Trouble::Wrong(why));
        }
        Ok(good)
    }

    /// Adds cosignatures to their round, and tells the sequencer if that makes a quorum.
    fn deliver(&self, ask: &Ask, cosignatures: Vec<(usize, NoteSignature)>) {
        let mut state = self.shared.lock();
        let progress = &mut state.progress[self.place];
        progress.cosigned = Some((ask.head.head.size.get(), Instant::now()));
        progress.said.ahead = None;
        if progress.fault.take().is_some() {
            tracing::info!(witness = %self.point().name, "a witness cosigns again");
        }
        self.shared.log_troubles(&mut state);
        let head = state.rounds.add(ask.number, cosignatures, &self.shared.policy, &self.shared.log);
        // Told under the lock, so that heads arrive in the order in which they got their quorum.
        if let Some(head) = head {
            self.shared.events.report(CosignerEvent::Cosigned(head));
        }
    }
}
