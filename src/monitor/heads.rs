//! The log's own heads: fetched, authenticated, and related to the newest one that is known; and how two heads relate.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::conditions::Conditions;
use super::error::{FollowError, wrong_tiles};
use super::event::Code;
use super::log::Tools;
use super::settings::CLOCK_ALLOWANCE;
use super::state::HeadState;
use crate::checkpoint::policy::{Cosigned, Policy, QuorumError};
use crate::checkpoint::{self, Checkpoint, LogKey, LogSigned, cosignature};
use crate::client::ClientError;
use crate::merkle::{Prefix, TileReader, TreeSize, prove_prefix};
use crate::proof::fork::{ForkEvidence, ProvenFork};

/// Seconds for which a cache in front of the log may serve an old head: longer than caches are usually told to keep
/// anything. The rules for caches are in docs/operating.md.
const STALE_PATIENCE: u64 = 15 * 60;

/// A head that the log or a cache in front of it served.
pub struct FetchedHead {
    pub head: LogSigned<Checkpoint>,
    /// An older head that a cache served before that.
    pub stale: Option<LogSigned<Checkpoint>>,
}

/// The place of a head in what is known.
pub enum Judged {
    /// No head is known yet, and a quorum saw this one.
    First(Box<Cosigned<Checkpoint>>),
    /// It is the newest head, and a quorum saw it.
    Newest(Box<Cosigned<Checkpoint>>),
    /// It may become the newest head once a quorum saw it; the quorum may come to see another tree of this size.
    Unwitnessed,
    /// It is a part of the newest head's tree.
    Known,
    Forked(Box<ProvenFork>),
    /// It can't be compared now. A log that goes back to another history has no tiles of this one any more.
    Unclear(FollowError),
}

#[derive(Debug)]
pub enum Relation {
    Same,
    Part,
    Extends,
    /// Neither continues the other: the log signed two histories.
    Forked(Box<ProvenFork>),
}

pub struct LogHeads {
    tools: Arc<Tools>,
    pub(super) state: HeadState,
    /// The newest head that continues the tree: the state's target, if the policy still has its key.
    pub(super) newest: Option<LogSigned<Checkpoint>>,
    /// Size of the head that the log showed last, with a quorum or without.
    pub(super) shown: TreeSize,
}

impl LogHeads {
    pub(super) fn new(tools: Arc<Tools>, state: HeadState) -> Self {
        // If a key was taken off the policy, the head is fetched again.
        let open =
            |note: &crate::note::Note| checkpoint::open_note(note.clone(), &tools.settings().keys).ok();
        let newest = state.target.as_ref().and_then(open);
        Self { tools, state, newest, shown: TreeSize::ZERO }
    }

    /// Fetches the log's head. One that is older than the newest may come from a cache that has not seen the newest
    /// yet: then the log is asked once more, past caches.
    pub(super) fn fetch(&mut self) -> Result<FetchedHead, FollowError> {
        let keys = &self.tools.settings().keys;
        let shown = self.tools.client.checkpoint(keys)?;
        let Some(newest) = &self.newest else { return Ok(FetchedHead { head: shown, stale: None }) };
        let old = newest.get().size;
        if shown.get().size < old {
            match self.tools.client.checkpoint_past_caches(keys, self.tools.now()) {
                Ok(again) if again.is_cached || again.head.get().size >= old => {
                    return Ok(FetchedHead { head: again.head, stale: Some(shown) });
                }
                // The log itself shows it, or does not answer: what it showed is what there is.
                _ => {}
            }
        }
        self.state.stale_since = None;
        Ok(FetchedHead { head: shown, stale: None })
    }

    /// Reports a cache that serves an older head, once. If it stays so, it is reported as if the log had shown the
    /// old head, because others see it too.
    pub(super) fn report_stale(
        &mut self,
        stale: &Checkpoint,
        conditions: &mut Conditions,
    ) -> Result<(), FollowError> {
        if self.state.stale_since.is_none() {
            let (old, new, now) = (self.newest_size(), stale.size, self.tools.now());
            let message = format!(
                "a cache in front of the log served a head of size {new} after one of {old}; the monitor asked the log itself"
            );
            let event = self.tools.event(Code::HeadStale, &[&old, &new], message);
            let event = event.with("size", new.get()).with("previous", old.get());
            self.tools.delivery.tell(&[event])?;
            self.state.stale_since = Some(now);
        }
        self.report_shrunk(stale.size, conditions)
    }

    /// Takes note that the log answered with this head.
    pub(super) fn see(&mut self, head: &LogSigned<Checkpoint>) {
        let now = self.tools.now();
        self.shown = head.get().size;
        self.tools.log.report(|status| status.asked = Some(now));
        self.see_cosignatures(head);
    }

    /// Remembers who cosigned. A newer cosignature is a sign that the log lives.
    pub(super) fn see_cosignatures(&mut self, head: &LogSigned<Checkpoint>) {
        let now = self.tools.now();
        for (name, time) in cosigned_by(head, &self.tools.settings().policy) {
            // A clock that is far ahead says nothing: believed, it would look alive for years.
            if time > now.saturating_add(CLOCK_ALLOWANCE) {
                continue;
            }
            let latest = self.state.witnesses.entry(name).or_insert(0);
            if time > *latest {
                *latest = time;
                self.state.alive = self.state.alive.max(time.min(now));
            }
        }
    }

    /// Checks the quorum of a head, relates it to the newest one, and adopts it if a quorum saw it and it continues
    /// the tree.
    pub(super) fn judge(
        &mut self,
        signed: &LogSigned<Checkpoint>,
        conditions: &mut Conditions,
    ) -> Result<Judged, FollowError> {
        let cosigned = self.check_quorum(signed, conditions)?.map(Box::new);
        let Some(newest) = self.newest.clone() else {
            return Ok(cosigned.map_or(Judged::Unwitnessed, Judged::First));
        };
        self.report_shrunk(signed.get().size, conditions)?;
        let relation = match relate(&self.tools.tiles(), &newest, signed, &self.tools.settings().keys) {
            Ok(relation) => relation,
            Err(unclear) => return Ok(Judged::Unclear(unclear)),
        };
        if matches!(relation, Relation::Same | Relation::Extends) && self.state.stale_since.is_none() {
            let size = signed.get().size;
            let message = format!("the log shows a head of size {size}, which continues what it had shown");
            conditions.end(Code::LogShrunk, "log", &message)?;
        }
        Ok(match (relation, cosigned) {
            (Relation::Forked(fork), _) => Judged::Forked(fork),
            // The newer note may have more cosignatures, and later ones.
            (Relation::Same, Some(cosigned)) => {
                self.adopt(signed.clone());
                Judged::Newest(cosigned)
            }
            (Relation::Extends, Some(cosigned)) => {
                self.adopt_grown(signed.clone());
                Judged::Newest(cosigned)
            }
            (Relation::Extends, None) => Judged::Unwitnessed,
            (Relation::Same | Relation::Part, _) => Judged::Known,
        })
    }

    /// Adopts a head of a larger tree, or the first one that is known.
    pub(super) fn adopt_grown(&mut self, head: LogSigned<Checkpoint>) {
        self.state.alive = self.tools.now();
        self.adopt(head);
    }

    fn adopt(&mut self, head: LogSigned<Checkpoint>) {
        self.state.target = Some(head.note().clone());
        self.newest = Some(head);
    }

    fn newest_size(&self) -> TreeSize {
        self.newest.as_ref().map_or(TreeSize::ZERO, |head| head.get().size)
    }

    fn check_quorum(
        &self,
        signed: &LogSigned<Checkpoint>,
        conditions: &mut Conditions,
    ) -> Result<Option<Cosigned<Checkpoint>>, FollowError> {
        let Checkpoint { origin, size, root, .. } = signed.get();
        let error = match self.tools.settings().policy.check(signed) {
            Ok(cosigned) => {
                let message = format!("the head of size {size} has its quorum");
                conditions.end(Code::NoQuorum, "log", &message)?;
                return Ok(Some(cosigned));
            }
            Err(error) => error,
        };
        let why = match &error {
            QuorumError::BadCosignature { .. } => "bad-cosignature",
            QuorumError::NotReached { .. } => "not-reached",
        };
        let now = self.tools.now();
        conditions.begin(Code::NoQuorum, "log", || {
            let message = format!("the head of {origin} of size {size} lacks its quorum: {error}");
            let event = self.tools.event(Code::NoQuorum, &[size, &root.to_hex(), &now], message);
            event.with("size", size.get()).with("root", root.to_base64()).with("why", why)
        })?;
        Ok(None)
    }

    /// Reports a head that is smaller than the newest one, whatever else is wrong with it: a log that was restored
    /// from a backup can't even serve the tiles that would compare them.
    fn report_shrunk(&self, new: TreeSize, conditions: &mut Conditions) -> Result<(), FollowError> {
        let (old, now) = (self.newest_size(), self.tools.now());
        let is_patient = |since: u64| now.saturating_sub(since) < STALE_PATIENCE;
        if new >= old || self.state.stale_since.is_some_and(is_patient) {
            return Ok(());
        }
        Ok(conditions.begin(Code::LogShrunk, "log", || {
            let message = format!("the log showed a head of size {old}, and now one of {new}");
            let event = self.tools.event(Code::LogShrunk, &[&old, &new, &now], message);
            event.with("size", new.get()).with("previous", old.get())
        })?)
    }
}

/// The latest cosignature of each witness of the policy, by the name of its key. Other lines are left out, because
/// anybody may add lines to a note.
fn cosigned_by(head: &LogSigned<Checkpoint>, policy: &Policy) -> BTreeMap<String, u64> {
    let mut latest = BTreeMap::new();
    for line in head.note().signatures() {
        let witness = policy.witnesses().iter().find(|witness| line.names(&witness.key));
        let Some(key) = witness.map(|witness| &witness.key) else { continue };
        let Some(time) = cosignature::verify(key, head.note().text(), line.bytes()) else { continue };
        let known = latest.entry(key.name().to_string()).or_insert(time);
        *known = time.max(*known);
    }
    latest
}

/// Compares two heads by the log's tiles: the smaller one has to be a prefix of the larger.
pub fn relate<R: TileReader<Error = ClientError>>(
    tiles: &R,
    ours: &LogSigned<Checkpoint>,
    theirs: &LogSigned<Checkpoint>,
    keys: &[LogKey],
) -> Result<Relation, FollowError> {
    let (we, they) = (ours.get(), theirs.get());
    if we.size == they.size {
        if we.root == they.root {
            return Ok(Relation::Same);
        }
        return Ok(Relation::Forked(Box::new(same_size_fork(ours, theirs, keys))));
    }
    let (smaller, larger) = if we.size < they.size { (ours, theirs) } else { (theirs, ours) };
    let (size, root) = (larger.get().size, larger.get().root);
    let prefix = prove_prefix(tiles, smaller.get().size, (size, &root))?;
    let Prefix { root, proof } = prefix.map_err(|error| wrong_tiles(size, &error))?;
    if root == smaller.get().root {
        return Ok(if we.size < they.size { Relation::Extends } else { Relation::Part });
    }
    let evidence = ForkEvidence::unequal(smaller.note().clone(), larger.note().clone(), root, proof);
    Ok(Relation::Forked(Box::new(proven(evidence, keys))))
}

/// The fork that two heads of one size with different roots prove.
pub fn same_size_fork(
    one: &LogSigned<Checkpoint>,
    other: &LogSigned<Checkpoint>,
    keys: &[LogKey],
) -> ProvenFork {
    proven(ForkEvidence::same_size(one.note().clone(), other.note().clone()), keys)
}

fn proven(evidence: ForkEvidence, keys: &[LogKey]) -> ProvenFork {
    // Both heads were opened with these keys, and the tiles made the root of the larger one.
    evidence.judge(keys).expect("two signed heads that contradict each other")
}
