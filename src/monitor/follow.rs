//! Following one log: its newest head, and every entry up to it.
//!
//! ```text
//! 1. fetch the head; a key of the log's signed it, and a quorum of witnesses saw it
//! 2. the head that is known is a part of its tree, or it is a part of ours: by tiles
//! 3. fetch the entries since the cursor, in windows; hash them; the tree so far is a part of the head's
//! 4. look at the entries of the window, deliver the events
//! 5. move the cursor
//! ```
//!
//! Nothing is said of an entry before step 3 has shown that it is in the tree that the log signed.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use super::bell::Bell;
use super::board::{Board, Vouched};
use super::compare::ITSELF;
use super::conditions::Conditions;
use super::delivery::{Delivery, DeliveryError};
use super::event::{Code, Event};
use super::heads::{Relation, Unclear, relate};
use super::rules::{Rules, Start};
use super::state::{LogState, StateError};
use super::times;
use crate::checkpoint::policy::{Cosigned, QuorumError};
use crate::checkpoint::{self, Checkpoint, LogSigned};
use crate::client::{ClientError, LogClient, RemoteTiles};
use crate::clock::Clock;
use crate::disk::DiskIo;
use crate::disk::evidence_dir::EvidenceDir;
use crate::merkle::{Hash, TreeSize, prove_prefix, read_root};

/// How often the state is saved while entries are read; what is read again after a kill.
const SAVE_INTERVAL: Duration = Duration::from_secs(2);
/// Seconds for which a cache before the log may show an old head: longer than caches are usually told to keep
/// anything. The rules for caches are in docs/operating.md.
const STALE_PATIENCE: u64 = 15 * 60;

/// Why a round ended early.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// The log does not answer, or not as it should.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// Entries or tiles are not those of the head.
    #[error("{message}")]
    Lie {
        /// Its name.
        code: &'static str,
        /// What is wrong.
        message: String,
    },
    /// The monitor is stopping.
    #[error("stopped")]
    Stopped,
    /// Events can't be delivered.
    #[error(transparent)]
    Delivery(#[from] DeliveryError),
    /// The state can't be kept.
    #[error(transparent)]
    State(#[from] StateError),
}

impl From<Unclear> for Trouble {
    fn from(unclear: Unclear) -> Self {
        match unclear {
            Unclear::Client(e) => e.into(),
            tiles @ Unclear::Tiles { .. } => Self::Lie { code: "wrong-tile", message: tiles.to_string() },
        }
    }
}

impl Trouble {
    /// Whether the log's operator is to blame rather than the monitor's.
    #[must_use]
    pub const fn is_the_logs(&self) -> bool {
        matches!(self, Self::Client(_) | Self::Lie { .. })
    }
}

/// Answers that no log gives: somebody else sent them, such as a network's sign-in page.
pub const NOT_THE_LOG: [&str; 5] =
    ["redirect", "garbled", "not-a-checkpoint", "checkpoint-signature", "unknown-log"];

/// Whether a log or a peer did not answer, rather than contradict itself. Anybody can send a head that no key
/// of the log signed, so it accuses nobody.
pub fn is_silence(error: &ClientError) -> bool {
    let silent = ["unreachable", "timeout", "closed", "server-error", "busy", "not-found", "refused"];
    silent.iter().chain(&NOT_THE_LOG).any(|code| *code == error.code())
}

/// Tells how far it is with a log: entries done, entries in all.
pub type OnProgress = Arc<dyn Fn(&str, u64, u64) + Send + Sync>;

/// What a follower works with.
pub struct Tools {
    /// What it is told.
    pub rules: Arc<Rules>,
    /// The log.
    pub client: LogClient,
    /// Fetches at once.
    pub parallel: usize,
    /// Where events go.
    pub delivery: Arc<Delivery>,
    /// What others see.
    pub board: Arc<Board>,
    /// Rung when they see more.
    pub bell: Arc<Bell>,
    /// Labels of the peers that are asked.
    pub peers: Vec<String>,
    /// Where forks are kept.
    pub evidence: EvidenceDir,
    /// The state file.
    pub path: PathBuf,
    /// The disk.
    pub io: Arc<dyn DiskIo>,
    /// Seconds since 1970.
    pub clock: Clock,
    /// Set when the monitor stops.
    pub stop: Arc<AtomicBool>,
    /// Told how far it is.
    pub progress: OnProgress,
}

/// Follows one log.
pub struct Follower {
    pub(super) tools: Tools,
    pub(super) state: LogState,
    /// The newest head that continues the tree: the state's `target`.
    pub(super) head: Option<LogSigned<Checkpoint>>,
    pub(super) conditions: Conditions,
    /// Since when the log does not answer.
    pub(super) silent_since: Option<u64>,
    /// Until when the log asked to be left alone, and how it said so.
    pub(super) pause: Option<(Instant, ClientError)>,
    /// Size of the head that the log showed last, with a quorum or without.
    pub(super) shown: TreeSize,
    /// Whether nothing was known of the log.
    pub(super) is_new: bool,
    /// Whether it was told that the log is followed.
    pub(super) is_started: bool,
    /// When it was last told what lasts.
    pub(super) told: Instant,
    saved: Instant,
    /// How long the last save took.
    saving: Duration,
}

impl Follower {
    /// Goes on from where the state says.
    pub fn open(tools: Tools) -> Result<Self, Trouble> {
        let rules = tools.rules.clone();
        let now = (tools.clock)();
        let known = LogState::load(&tools.path, &rules.origin)?;
        // A look at a log that did not answer has left nothing but the time of it.
        let is_new =
            known.as_ref().is_none_or(|known| known.target.is_none() && known.edge.size() == TreeSize::ZERO);
        let state = known.unwrap_or_else(|| LogState::new(rules.origin.clone(), now));
        // A key may have been taken off the policy: then the head is fetched again.
        let open = |note: &crate::note::Note| checkpoint::open_note(note.clone(), &rules.keys).ok();
        let head = state.target.as_ref().and_then(open);
        let conditions = Conditions::of(tools.delivery.clone(), rules.origin.as_str());
        let follower = Self {
            tools,
            state,
            head,
            conditions,
            silent_since: None,
            pause: None,
            shown: TreeSize::ZERO,
            is_new,
            is_started: false,
            told: Instant::now(),
            saved: Instant::now(),
            saving: Duration::ZERO,
        };
        follower.show();
        Ok(follower)
    }

    pub(super) fn now(&self) -> u64 {
        (self.tools.clock)()
    }

    pub(super) fn tiles(&self) -> RemoteTiles<'_> {
        RemoteTiles(&self.tools.client)
    }

    /// Steps 1 to 5.
    ///
    /// # Errors
    /// [`Trouble`]; whatever was done by then is kept.
    pub fn advance(&mut self) -> Result<(), Trouble> {
        // 1. The head, signed by the log.
        let shown = self.tools.client.checkpoint(&self.tools.rules.keys)?;
        let signed = self.look_past_caches(shown)?;
        let now = self.now();
        self.shown = signed.get().size;
        self.tools.board.report(|progress| progress.asked = Some(now));
        self.see_cosignatures(&signed, now);
        let judged = self.judge(&signed);
        if judged.as_ref().is_err_and(|trouble| !trouble.is_the_logs()) {
            // What it comes to could not be told, and the log may never show it again.
            self.keep(&signed);
        }
        let cosigned = judged?;
        // 3. to 5. Without a quorum it is only compared.
        if let (Some(cosigned), Some(head)) = (cosigned, self.head.clone())
            && (head.get().size, head.get().root) == (cosigned.get().size, cosigned.get().root)
        {
            self.catch_up(&head, &cosigned)?;
        }
        Ok(())
    }

    /// The rest of step 1, and step 2. None where the head has no quorum.
    fn judge(&mut self, signed: &LogSigned<Checkpoint>) -> Result<Option<Cosigned<Checkpoint>>, Trouble> {
        let cosigned = self.check_quorum(signed)?;
        // 2. Consistency with the head that is known.
        self.accept(signed.clone(), cosigned.is_some())?;
        Ok(cosigned)
    }

    /// That a quorum saw it; where not, somebody is told.
    fn check_quorum(
        &mut self,
        signed: &LogSigned<Checkpoint>,
    ) -> Result<Option<Cosigned<Checkpoint>>, Trouble> {
        let Checkpoint { origin, size, root, .. } = signed.get();
        match self.tools.rules.policy.check(signed) {
            Ok(cosigned) => {
                self.conditions.end(
                    Code::NoQuorum,
                    "log",
                    &format!("the head of size {size} has its quorum"),
                )?;
                Ok(Some(cosigned))
            }
            Err(error) => {
                let (now, size_text) = (self.now(), size.to_string());
                let code = match &error {
                    QuorumError::BadCosignature { .. } => "bad-cosignature",
                    QuorumError::NotReached { .. } => "not-reached",
                };
                self.conditions.begin(Code::NoQuorum, "log", || {
                    let message = format!("the head of {origin} of size {size} lacks its quorum: {error}");
                    Event::new(
                        Code::NoQuorum,
                        Some(origin.as_str()),
                        &[&size_text, &root.to_hex(), &now.to_string()],
                        now,
                        message,
                    )
                    .with("size", size.get())
                    .with("root", root.to_base64())
                    .with("why", code)
                })?;
                Ok(None)
            }
        }
    }

    /// Takes the log's own head, if it continues what is known.
    fn accept(&mut self, signed: LogSigned<Checkpoint>, has_quorum: bool) -> Result<(), Trouble> {
        let Some(ours) = self.head.clone() else {
            if has_quorum {
                return self.accept_first(signed);
            }
            self.keep(&signed);
            return Ok(());
        };
        self.see_size(&ours, signed.get().size)?;
        let relation = match relate(&self.tiles(), &ours, &signed, &self.tools.rules.keys) {
            Ok(relation) => relation,
            Err(unclear) => {
                // A log that goes back to another history has no tiles of this one any more.
                self.keep(&signed);
                return Err(unclear.into());
            }
        };
        if matches!(relation, Relation::Same | Relation::Extends) && self.state.stale_since.is_none() {
            let size = signed.get().size;
            let message = format!("the log shows a head of size {size}, which continues what it had shown");
            self.conditions.end(Code::LogShrunk, "log", &message)?;
        }
        match relation {
            Relation::Forked(fork) => {
                if !self.convict(&fork, signed.get(), ITSELF)? {
                    // The log may take it back before there is evidence.
                    self.keep(&signed);
                }
                Err(Trouble::Lie {
                    code: "fork",
                    message: format!(
                        "the log shows another history than before, at size {}",
                        fork.smaller().size
                    ),
                })
            }
            // The newer note may have more cosignatures, and later ones.
            Relation::Same if has_quorum => {
                self.set_head(signed);
                Ok(())
            }
            Relation::Extends if has_quorum => {
                self.state.alive = self.now();
                self.set_head(signed);
                Ok(())
            }
            // The quorum may come to see another tree of this size.
            Relation::Extends => {
                self.keep(&signed);
                Ok(())
            }
            Relation::Same | Relation::Part => Ok(()),
        }
    }

    /// A head older than the newest may come from a cache that has not seen the newest yet. Asks the log once
    /// more, past caches, and judges that answer. Reports a cache once; if it stays stale, reports it as if the
    /// log had shown the old head, because others see it too.
    fn look_past_caches(&mut self, shown: LogSigned<Checkpoint>) -> Result<LogSigned<Checkpoint>, Trouble> {
        let Some(ours) = self.head.clone() else { return Ok(shown) };
        let (old, new, now) = (ours.get().size, shown.get().size, self.now());
        if new >= old {
            self.state.stale_since = None;
            return Ok(shown);
        }
        let again = self.tools.client.checkpoint_past_caches(&self.tools.rules.keys, now);
        let (signed, is_cached) = match again {
            Ok(again) if again.head.get().size >= old => (again.head, true),
            Ok(again) if again.is_cached => (again.head, true),
            // The log itself shows it, or does not answer: what it showed is what there is.
            _ => (shown.clone(), false),
        };
        if !is_cached {
            self.state.stale_since = None;
            return Ok(signed);
        }
        // A cache may as well hold a head of another history: it is compared like one that a peer shows.
        self.keep(&shown);
        if self.state.stale_since.is_none() {
            let message = format!(
                "a cache in front of the log served a head of size {new} after one of {old}; the monitor asked the log itself"
            );
            let subject = [old.to_string(), new.to_string()];
            let subject: Vec<&str> = subject.iter().map(String::as_str).collect();
            let note = Event::new(Code::HeadStale, Some(ours.get().origin.as_str()), &subject, now, message)
                .with("size", new.get())
                .with("previous", old.get());
            self.tools.delivery.tell(&[note])?;
            self.state.stale_since = Some(now);
        }
        self.see_size(&ours, new)?;
        Ok(signed)
    }

    /// A smaller head is told of whatever else is wrong with it: a log that was put back from a backup can't
    /// even serve the tiles that would compare it.
    fn see_size(&mut self, ours: &LogSigned<Checkpoint>, new: TreeSize) -> Result<(), Trouble> {
        let (old, now) = (ours.get().size, self.now());
        let is_patient = |since: u64| now.saturating_sub(since) < STALE_PATIENCE;
        if new >= old || self.state.stale_since.is_some_and(is_patient) {
            return Ok(());
        }
        Ok(self.conditions.begin(Code::LogShrunk, "log", || {
            let message = format!("the log showed a head of size {old}, and now one of {new}");
            let subject = [old.to_string(), new.to_string(), now.to_string()];
            let subject: Vec<&str> = subject.iter().map(String::as_str).collect();
            Event::new(Code::LogShrunk, Some(ours.get().origin.as_str()), &subject, now, message)
                .with("size", new.get())
                .with("previous", old.get())
        })?)
    }

    /// Takes a head when none is known: nothing is known of the log at all, or a key was taken off the policy
    /// that had signed the one before.
    fn accept_first(&mut self, signed: LogSigned<Checkpoint>) -> Result<(), Trouble> {
        let Checkpoint { size, root, .. } = signed.get().clone();
        let (old, edge) = (self.state.edge.size(), self.state.edge.root());
        if old > size {
            return Err(Trouble::Lie {
                code: "shrunk",
                message: format!(
                    "the log shows a head of size {size}, and {old} entries were looked at before"
                ),
            });
        }
        if self.tools.rules.start == Start::Head && old == TreeSize::ZERO {
            let edge = read_root(&self.tiles(), size)?;
            expect_root(size, &root, &edge.root())?;
            (self.state.start, self.state.edge) = (size, edge);
            self.begin_comparison();
        } else {
            let prefix = prove_prefix(&self.tiles(), old, (size, &root))?;
            let prefix = prefix.map_err(|error| Unclear::Tiles { size, error })?;
            expect_root(old, &prefix.root, &edge)?;
        }
        self.state.alive = self.now();
        self.set_head(signed);
        Ok(())
    }

    fn set_head(&mut self, signed: LogSigned<Checkpoint>) {
        self.state.target = Some(signed.note().clone());
        self.head = Some(signed);
    }

    /// Saves the state.
    pub fn save(&mut self) -> Result<(), Trouble> {
        let begin = Instant::now();
        self.state.save(self.tools.io.as_ref(), &self.tools.path)?;
        (self.saved, self.saving) = (Instant::now(), begin.elapsed());
        Ok(())
    }

    /// Whether it is time for that while entries are read. A large state is saved less often: a tenth of the
    /// time is enough for it.
    pub(super) fn is_to_be_saved(&self) -> bool {
        self.saved.elapsed() >= SAVE_INTERVAL.max(self.saving * 10)
    }

    /// Shows the world how far it is.
    pub(super) fn show(&self) {
        let LogState { edge, start, verified, alive, witnesses, .. } = &self.state;
        let (cursor, target) = (edge.size(), self.head.as_ref().map_or(edge.size(), |head| head.get().size));
        self.tools.board.report(|progress| {
            (progress.cursor, progress.target, progress.start) = (cursor, target, *start);
            (progress.alive, progress.witnesses) = (*alive, witnesses.clone());
        });
        let keys = &self.tools.rules;
        let opened = verified.as_ref().and_then(|note| checkpoint::open_note(note.clone(), &keys.keys).ok());
        // The policy may ask for more than it did when this was verified.
        if let Some(head) = opened.filter(|head| keys.policy.check(head).is_ok()) {
            // With the signatures that were checked, and no others.
            let note = times::checked_note(&head, &keys.policy).to_string();
            let vouched = Vouched { note, size: head.get().size, root: head.get().root };
            if self.tools.board.vouch(vouched) {
                self.tools.bell.ring();
            }
        }
    }
}

fn expect_root(size: TreeSize, signed: &Hash, made: &Hash) -> Result<(), Trouble> {
    if signed == made {
        return Ok(());
    }
    let (expected, seen) = (signed.to_base64(), made.to_base64());
    Err(Trouble::Lie {
        code: "other-history",
        message: format!(
            "at size {size} the tree that the log signed has root {expected}, and what was looked at makes {seen}"
        ),
    })
}
