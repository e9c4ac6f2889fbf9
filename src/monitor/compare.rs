//! Gossip: heads that others were shown, compared with the log's own, and what a fork comes to.

use super::board::{Letter, PUSHED, Verdict};
use super::convicted::fork_event;
use super::event::{Code, Event};
use super::follow::{Follower, Trouble, is_silence};
use super::heads::{Relation, Unclear, forked, relate};
use super::state::Pending;
use super::times;
use crate::checkpoint::{self, Checkpoint, LogSigned};
use crate::client::{ClientError, KeptTiles, RemoteTiles};
use crate::merkle::TreeSize;
use crate::proof::fork::{ForkEvidence, ProvenFork};

/// Heads of one source that wait for a comparison, at most. A log that signs more of them than it shows fills
/// nobody else's room.
const MAX_OF_A_SOURCE: usize = 16;
/// Heads that wait in all.
const MAX_PENDING: usize = 256;

/// Who showed a head that the log gave this monitor.
pub(super) const ITSELF: &str = "the log itself";

/// What a comparison came to.
enum Compared {
    /// A part of the log's tree.
    Consistent,
    /// Ours is a part of it, or that can't be told yet: in words.
    Ahead(String),
    /// A fork was found, told, and kept.
    Forked,
    /// It was found and told, and could not be written down yet.
    NotKept,
}

impl Follower {
    /// Compares what came in, and what could not be compared before. With the log's tiles where it `answers`;
    /// two heads of one size need none.
    pub fn compare_letters(&mut self, answers: bool) -> Result<(), Trouble> {
        self.open_letters()?;
        if answers && self.knows_of_more() {
            // The log may have grown past what others were shown.
            self.advance()?;
        }
        self.compare_pending(answers)
    }

    /// The same between two rounds, without fetching the log's head again: whoever pushes heads sends nobody to
    /// the log. What is larger waits for the next round.
    ///
    /// # Errors
    /// As [`round`](Self::round).
    pub fn compare_during(&mut self) -> Result<(), Trouble> {
        let before = self.state.pending.clone();
        self.open_letters()?;
        let compared = self.compare_pending(self.is_not_paused());
        if self.state.pending != before {
            self.save()?;
        }
        match compared {
            // It is told at the end of the next round, if it lasts until then.
            Err(trouble) if trouble.is_the_logs() => Ok(()),
            other => other,
        }
    }

    fn head_of(&self, pending: &Pending) -> Option<LogSigned<Checkpoint>> {
        checkpoint::open_note(pending.note.clone(), &self.tools.rules.keys).ok()
    }

    /// Whether somebody showed a larger head than the log's.
    fn knows_of_more(&self) -> bool {
        let size = self.head.as_ref().map_or(self.shown, |head| head.get().size.max(self.shown));
        self.state
            .pending
            .iter()
            .filter_map(|pending| self.head_of(pending))
            .any(|head| head.get().size > size)
    }

    fn open_letters(&mut self) -> Result<(), Trouble> {
        let now = self.now();
        // All of them, before anything can fail: who pushed one was told that it is compared.
        for Letter { source, head } in self.tools.board.letters() {
            self.see_cosignatures(&head, now);
            self.put(source, &head);
        }
        self.compare_with_each_other()?;
        self.tell_accusations()
    }

    /// Forks that somebody else proved.
    fn tell_accusations(&mut self) -> Result<(), Trouble> {
        let mut left = Vec::new();
        let mut told = Ok(());
        while let (Ok(()), Some(fork)) = (&told, self.tools.board.accusation()) {
            match self.convict(&fork, fork.larger(), PUSHED) {
                Ok(true) => {}
                Ok(false) => left.push(fork),
                Err(trouble) => {
                    left.push(fork);
                    told = Err(trouble);
                }
            }
        }
        // Whoever showed them was told that they are taken.
        for fork in left {
            self.tools.board.accuse(fork);
        }
        told
    }

    /// Keeps a head of the log's own that can't be judged now. What is signed stays so: once the tiles are to
    /// be had, it may prove a fork.
    pub(super) fn keep(&mut self, head: &LogSigned<Checkpoint>) {
        self.put(ITSELF.to_owned(), head);
    }

    fn put(&mut self, source: String, head: &LogSigned<Checkpoint>) {
        let note = head.note().clone();
        if self.state.pending.iter().any(|pending| pending.note.text() == note.text()) {
            return;
        }
        let since = self.now();
        let of_source = |pending: &&Pending| pending.source == source;
        let full = self.state.pending.iter().filter(of_source).count() >= MAX_OF_A_SOURCE;
        if full || self.state.pending.len() >= MAX_PENDING {
            // The largest one goes: nobody may ever be shown a tree as large as a log can sign.
            let size =
                |pending: &Pending| self.head_of(pending).map_or(TreeSize::ZERO, |head| head.get().size);
            let sizes =
                self.state.pending.iter().map(|pending| (pending.source == source || !full, size(pending)));
            let candidates = sizes.enumerate().filter(|(_, (may_go, _))| *may_go);
            let Some((place, (_, largest))) = candidates.max_by_key(|(_, (_, size))| *size) else { return };
            if largest <= head.get().size {
                return;
            }
            self.state.pending.remove(place);
        }
        self.state.pending.push(Pending { source, since, note });
    }

    /// Two heads of one size with two roots are a fork, whatever the log shows. Those of our head's size are
    /// compared with ours, which says whose is the other one.
    fn compare_with_each_other(&mut self) -> Result<(), Trouble> {
        let ours = self.head.as_ref().map(|head| head.get().size);
        let heads: Vec<(String, LogSigned<Checkpoint>)> = self
            .state
            .pending
            .iter()
            .filter_map(|pending| Some((pending.source.clone(), self.head_of(pending)?)))
            .filter(|(_, head)| Some(head.get().size) != ours)
            .collect();
        for (at, (source, one)) in heads.iter().enumerate() {
            let other = heads[..at]
                .iter()
                .find(|(_, other)| other.get().size == one.get().size && other.get().root != one.get().root);
            let Some((_, other)) = other else { continue };
            let evidence = ForkEvidence::same_size(one.note().clone(), other.note().clone());
            if let Relation::Forked(fork) = forked(evidence, &self.tools.rules.keys) {
                self.convict(&fork, one.get(), source)?;
            }
        }
        Ok(())
    }

    /// One after the other; whatever fails, none is lost.
    fn compare_pending(&mut self, mut answers: bool) -> Result<(), Trouble> {
        let client = self.tools.client.clone();
        let tiles = KeptTiles::new(RemoteTiles(&client));
        let size = self.head.as_ref().map(|head| head.get().size);
        let mut trouble = Ok(());
        let mut place = 0;
        while place < self.state.pending.len() {
            self.check_stop()?;
            let pending = self.state.pending[place].clone();
            // A key that was taken off the policy takes its heads with it.
            let Some(head) = self.head_of(&pending) else {
                self.state.pending.remove(place);
                continue;
            };
            if !answers && size != Some(head.get().size) {
                place += 1;
                continue;
            }
            match self.compare(&tiles, &pending.source, &head) {
                Ok(Compared::Consistent) => {
                    self.tools.board.settle(head.get(), Verdict::Consistent);
                    self.state.pending.remove(place);
                }
                Ok(Compared::Forked) => {
                    self.tools.board.settle(head.get(), Verdict::Forked);
                    self.state.pending.remove(place);
                }
                Ok(Compared::NotKept) => {
                    self.tools.board.settle(head.get(), Verdict::Forked);
                    place += 1;
                }
                Ok(Compared::Ahead(why)) => {
                    self.tell_ahead(&pending, &head, &why)?;
                    place += 1;
                }
                Err(error) if error.is_the_logs() => {
                    // Where it does not answer, each further question would wait for the same.
                    answers = !matches!(&error, Trouble::Client(e) if is_silence(e));
                    trouble = trouble.and(Err(error));
                    place += 1;
                }
                Err(error) => return Err(error),
            }
        }
        let waiting: Vec<String> = self
            .state
            .pending
            .iter()
            .filter_map(|pending| self.head_of(pending))
            .map(|head| about(&head))
            .collect();
        self.conditions.end_others(Code::HeadAhead, &waiting, "it was compared")?;
        trouble
    }

    fn compare(
        &mut self,
        tiles: &KeptTiles<RemoteTiles<'_>>,
        source: &str,
        theirs: &LogSigned<Checkpoint>,
    ) -> Result<Compared, Trouble> {
        let Some(ours) = self.head.clone() else {
            return Ok(Compared::Ahead("the log has not shown any head yet".to_owned()));
        };
        match relate(tiles, &ours, theirs, &self.tools.rules.keys) {
            Ok(Relation::Same | Relation::Part) => Ok(Compared::Consistent),
            Ok(Relation::Extends) => {
                Ok(Compared::Ahead("it continues the tree, and the log does not show it".to_owned()))
            }
            Ok(Relation::Forked(fork)) => Ok(if self.convict(&fork, theirs.get(), source)? {
                Compared::Forked
            } else {
                Compared::NotKept
            }),
            // The log has no tiles of a head that it does not show, or those of another tree.
            Err(unclear) if theirs.get().size > ours.get().size => match unclear {
                Unclear::Client(e @ ClientError::Network { .. }) => Err(e.into()),
                unclear => {
                    Ok(Compared::Ahead(format!("whether it continues the tree can't be told yet: {unclear}")))
                }
            },
            Err(unclear) => Err(unclear.into()),
        }
    }

    /// A head that witnesses and others know before the log shows it is nothing new, for a while.
    fn tell_ahead(
        &mut self,
        pending: &Pending,
        head: &LogSigned<Checkpoint>,
        why: &str,
    ) -> Result<(), Trouble> {
        let now = self.now();
        // What the log shows without a quorum is told as such.
        if head.get().size <= self.shown
            || now.saturating_sub(pending.since) < self.tools.rules.patience.head_ahead
        {
            return Ok(());
        }
        let Checkpoint { origin, size, root, .. } = head.get();
        let (since, about) = (pending.since.to_string(), about(head));
        let who = in_words(&pending.source);
        Ok(self.conditions.begin(Code::HeadAhead, &about, || {
            let message = format!("{who} holds a head of {origin} of size {size} that the log signed: {why}");
            Event::new(Code::HeadAhead, Some(origin.as_str()), &[&about, &since], now, message)
                .with("size", size.get())
                .with("root", root.to_base64())
                .with("source", pending.source.as_str())
        })?)
    }

    /// Keeps the evidence, unless there is some of `theirs` already, and tells. Whether it is kept.
    pub(super) fn convict(
        &mut self,
        fork: &ProvenFork,
        theirs: &Checkpoint,
        source: &str,
    ) -> Result<bool, Trouble> {
        let known = self.tools.evidence.fork_of(theirs, &self.tools.rules.keys);
        let known = known.ok().flatten();
        let fork = known.as_ref().unwrap_or(fork);
        let now = self.now();
        let who = in_words(source);
        let how = if source == ITSELF { "log" } else { "gossip" };
        let name = fork.file_name();
        let (file, trouble, is_done) = match self.tools.evidence.keep(fork) {
            Ok(kept) => {
                if kept.new {
                    self.tools.board.report(|progress| progress.forks += 1);
                    tracing::error!(file = %kept.path.display(), "a log signed two histories: keep this file");
                }
                (Some(kept.path.display().to_string()), String::new(), true)
            }
            // One proof is enough to convict it. The room may also be taken by other logs' forks, or by other
            // files of this user.
            Err(e)
                if e.kind() == std::io::ErrorKind::QuotaExceeded
                    && self.tools.evidence.has_any_of(fork.origin()) =>
            {
                return Ok(true);
            }
            Err(e) => {
                tracing::error!(file = name, error = %e, "a log signed two histories, and the evidence can't be written; it is tried again");
                (None, format!("; the evidence could not be written yet: {e}"), false)
            }
        };
        let event = fork_event(fork, now, &format!("shown by {who}{trouble}"))
            .with("source", source)
            .with("found_in", how);
        let event = match file {
            Some(file) => event.with("evidence", file),
            None => event,
        };
        self.tools.delivery.tell(&[event])?;
        Ok(is_done)
    }

    /// Remembers who cosigned, and that the log lives: where a witness has cosigned since it was last seen.
    pub(super) fn see_cosignatures(&mut self, head: &LogSigned<Checkpoint>, now: u64) {
        for (name, time) in times::cosigned_by(head, &self.tools.rules.policy) {
            // A clock that is far ahead says nothing: repeated, it would look alive for years.
            if time > now.saturating_add(times::CLOCK_ALLOWANCE) {
                continue;
            }
            let latest = self.state.witnesses.entry(name).or_insert(0);
            if time > *latest {
                *latest = time;
                self.state.alive = self.state.alive.max(time.min(now));
            }
        }
    }
}

fn in_words(source: &str) -> &str {
    if source == PUSHED { "somebody who pushed it" } else { source }
}

/// What a head is called among conditions.
fn about(head: &LogSigned<Checkpoint>) -> String {
    format!("{}-{}", head.get().size, &head.get().root.to_hex()[..16])
}
