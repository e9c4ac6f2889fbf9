//! Gossip: heads that others were shown, compared with the log's own.

use std::sync::Arc;

use super::conditions::Conditions;
use super::error::{FollowError, is_silence};
use super::event::Code;
use super::evidence::{ITSELF, convict, in_words};
use super::heads::{Relation, relate, same_size_fork};
use super::inbox::{HeadVerdict, PUSHED, ReceivedHead};
use super::log::Tools;
use super::state::PendingHead;
use crate::checkpoint::{self, Checkpoint, LogSigned};
use crate::client::{ClientError, KeptTiles, LogClient};
use crate::merkle::TreeSize;
use crate::proof::fork::ProvenFork;

/// Most heads of one source that wait for a comparison, so that a log that signs more than it shows takes no room
/// from others.
const MAX_OF_A_SOURCE: usize = 16;
const MAX_PENDING: usize = 256;

enum Compared {
    /// The verdict, and whether the head is done: the evidence of a fork may not be written yet.
    Settled(HeadVerdict, bool),
    /// The head is larger than the log's, or can't be compared yet; in words.
    Ahead(String),
}

/// The log's own newest head, as far as comparisons need it.
#[derive(Clone, Copy)]
pub struct OwnHead<'a> {
    pub newest: Option<&'a LogSigned<Checkpoint>>,
    /// Size of the head that the log showed last.
    pub shown: TreeSize,
    /// Whether the log answers. If not, only heads of the same size are compared, which needs no tiles.
    pub answers: bool,
}

pub struct Gossip {
    tools: Arc<Tools>,
    pub(super) pending: Vec<PendingHead>,
}

impl Gossip {
    pub(super) const fn new(tools: Arc<Tools>, pending: Vec<PendingHead>) -> Self {
        Self { tools, pending }
    }

    /// Takes the heads out of the inbox and keeps them; all of them before anything can fail, because whoever pushed
    /// one was told that it will be compared.
    pub(super) fn receive(&mut self) -> Vec<LogSigned<Checkpoint>> {
        let received = self.tools.log.inbox.with(|inbox| std::mem::take(&mut inbox.heads));
        for ReceivedHead { source, head } in &received {
            self.add(source, head);
        }
        received.into_iter().map(|received| received.head).collect()
    }

    /// Keeps a head of the log's own that can't be judged now. The signature on it stays: once its tiles can be
    /// fetched, it may prove a fork.
    pub(super) fn keep(&mut self, head: &LogSigned<Checkpoint>) {
        self.add(ITSELF, head);
    }

    fn add(&mut self, source: &str, head: &LogSigned<Checkpoint>) {
        if self.pending.iter().any(|pending| pending.note.text() == head.note().text()) {
            return;
        }
        let is_full = self.pending.iter().filter(|p| p.source == source).count() >= MAX_OF_A_SOURCE;
        if is_full || self.pending.len() >= MAX_PENDING {
            // The largest one goes: the log may never show a tree as large as it can sign.
            let size = |p: &PendingHead| self.open(p).map_or(TreeSize::ZERO, |head| head.get().size);
            let candidates = self.pending.iter().enumerate().filter(|(_, p)| !is_full || p.source == source);
            let sizes = candidates.map(|(place, pending)| (place, size(pending)));
            let Some((place, largest)) = sizes.max_by_key(|(_, size)| *size) else { return };
            if largest <= head.get().size {
                return;
            }
            self.pending.remove(place);
        }
        let (since, note) = (self.tools.now(), head.note().clone());
        self.pending.push(PendingHead { source: source.to_owned(), since, note });
    }

    fn open(&self, pending: &PendingHead) -> Option<LogSigned<Checkpoint>> {
        checkpoint::open_note(pending.note.clone(), &self.tools.settings().keys).ok()
    }

    fn opened(&self) -> impl Iterator<Item = (&PendingHead, LogSigned<Checkpoint>)> {
        self.pending.iter().filter_map(|pending| Some((pending, self.open(pending)?)))
    }

    /// Whether somebody showed a head of a larger tree than this.
    pub(super) fn knows_larger(&self, size: TreeSize) -> bool {
        self.opened().any(|(_, head)| head.get().size > size)
    }

    /// Reports the forks that need no tiles: those that others proved, and two heads of one size with two roots. Heads
    /// of our own head's size are left to the comparison with it, which says whose is the other one.
    pub(super) fn report_forks(&self, own: OwnHead<'_>) -> Result<(), FollowError> {
        let size = own.newest.map(|head| head.get().size);
        let heads: Vec<_> = self.opened().filter(|(_, head)| Some(head.get().size) != size).collect();
        for (at, (pending, one)) in heads.iter().enumerate() {
            let contradicts = |other: &&(&PendingHead, LogSigned<Checkpoint>)| {
                other.1.get().size == one.get().size && other.1.get().root != one.get().root
            };
            let Some((_, other)) = heads[..at].iter().find(contradicts) else { continue };
            let fork = same_size_fork(one, other, &self.tools.settings().keys);
            convict(&self.tools, &fork, one.get(), &pending.source)?;
        }
        self.report_received_forks()
    }

    fn report_received_forks(&self) -> Result<(), FollowError> {
        let inbox = &self.tools.log.inbox;
        let (mut left, mut result): (Vec<ProvenFork>, _) = (Vec::new(), Ok(()));
        while result.is_ok()
            && let Some(fork) = inbox.with(|inbox| inbox.forks.pop_front())
        {
            let kept = convict(&self.tools, &fork, fork.larger(), PUSHED);
            if !matches!(kept, Ok(true)) {
                left.push(fork);
            }
            result = kept.map(drop);
        }
        // Their senders were told that they are accepted.
        for fork in left {
            inbox.with(|inbox| inbox.add_fork(fork));
        }
        result
    }

    /// Compares the heads that wait, one after the other. None is lost, whatever fails.
    pub(super) fn compare(
        &mut self,
        own: OwnHead<'_>,
        conditions: &mut Conditions,
    ) -> Result<(), FollowError> {
        let tools = self.tools.clone();
        let tiles = KeptTiles::new(tools.tiles());
        let size = own.newest.map(|head| head.get().size);
        let (mut answers, mut result, mut place) = (own.answers, Ok(()), 0);
        while let Some(pending) = self.pending.get(place) {
            tools.check_stop()?;
            // A key that was taken off the policy takes its heads with it.
            let Some(head) = self.open(pending) else {
                self.pending.remove(place);
                continue;
            };
            if !answers && size != Some(head.get().size) {
                place += 1;
                continue;
            }
            let mut is_done = false;
            match self.compare_one(&tiles, own, pending, &head) {
                Ok(Compared::Settled(verdict, done)) => {
                    tools.log.inbox.with(|inbox| inbox.settle(head.get(), verdict));
                    is_done = done;
                }
                Ok(Compared::Ahead(why)) => self.report_ahead(own, pending, &head, &why, conditions)?,
                Err(error) if error.is_the_logs() => {
                    // If the log is silent, each further question would wait for the same.
                    answers = !matches!(&error, FollowError::Client(e) if is_silence(e));
                    result = result.and(Err(error));
                }
                Err(error) => return Err(error),
            }
            if is_done {
                self.pending.remove(place);
            } else {
                place += 1;
            }
        }
        let waiting: Vec<String> = self.opened().map(|(_, head)| name_of(&head)).collect();
        conditions.end_others(Code::HeadAhead, &waiting, "it was compared")?;
        result
    }

    fn compare_one(
        &self,
        tiles: &KeptTiles<&LogClient>,
        own: OwnHead<'_>,
        pending: &PendingHead,
        theirs: &LogSigned<Checkpoint>,
    ) -> Result<Compared, FollowError> {
        let Some(ours) = own.newest else {
            return Ok(Compared::Ahead("the log has not shown any head yet".to_owned()));
        };
        match relate(tiles, ours, theirs, &self.tools.settings().keys) {
            Ok(Relation::Same | Relation::Part) => Ok(Compared::Settled(HeadVerdict::Consistent, true)),
            Ok(Relation::Extends) => {
                Ok(Compared::Ahead("it continues the tree, and the log does not show it".to_owned()))
            }
            Ok(Relation::Forked(fork)) => {
                let is_kept = convict(&self.tools, &fork, theirs.get(), &pending.source)?;
                Ok(Compared::Settled(HeadVerdict::Forked, is_kept))
            }
            // The log has no tiles of a head that it does not show, or those of another tree.
            Err(unclear) if theirs.get().size > ours.get().size => match unclear {
                network @ FollowError::Client(ClientError::Network { .. }) => Err(network),
                unclear => {
                    Ok(Compared::Ahead(format!("whether it continues the tree can't be told yet: {unclear}")))
                }
            },
            Err(unclear) => Err(unclear),
        }
    }

    /// Reports a head that the log does not show, after a while: witnesses and others know most heads before the log
    /// shows them.
    fn report_ahead(
        &self,
        own: OwnHead<'_>,
        pending: &PendingHead,
        head: &LogSigned<Checkpoint>,
        why: &str,
        conditions: &mut Conditions,
    ) -> Result<(), FollowError> {
        let (now, patience) = (self.tools.now(), self.tools.settings().patience.head_ahead);
        // A head that the log shows without a quorum is reported as such.
        if head.get().size <= own.shown || now.saturating_sub(pending.since) < patience {
            return Ok(());
        }
        let Checkpoint { origin, size, root, .. } = head.get();
        let about = name_of(head);
        let who = in_words(&pending.source);
        Ok(conditions.begin(Code::HeadAhead, &about, || {
            let message = format!("{who} holds a head of {origin} of size {size} that the log signed: {why}");
            let event = self.tools.event(Code::HeadAhead, &[&about, &pending.since], message);
            event
                .with("size", size.get())
                .with("root", root.to_base64())
                .with("source", pending.source.as_str())
        })?)
    }
}

fn name_of(head: &LogSigned<Checkpoint>) -> String {
    format!("{}-{}", head.get().size, &head.get().root.to_hex()[..16])
}
