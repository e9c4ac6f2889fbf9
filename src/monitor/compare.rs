//! Gossip: heads that others were shown, compared with the log's own, and what a fork comes to.

use super::board::{Letter, Verdict};
use super::event::{Code, Event};
use super::follow::{Follower, Trouble};
use super::heads::{Relation, Unclear, relate};
use super::look::Claim;
use super::state::Pending;
use super::times;
use crate::checkpoint::{self, Checkpoint, LogSigned};
use crate::client::ClientError;
use crate::evidence::ProvenFork;
use crate::merkle::{Hash, LeafIndex, TILE_WIDTH, Tile, TileId, prove_inclusion};
use crate::release::{EntryValues, Facts, Publishers, Release, Statement};

/// Heads that wait for a comparison, at most: a log that signs more of them than it shows is told of anyway.
const MAX_PENDING: usize = 64;

/// Those of them that the log itself showed: one without a quorum shows many, and others' are to find room.
const MAX_OWN: usize = 8;

/// Who showed a head that the log gave this monitor.
pub(super) const ITSELF: &str = "the log itself";

/// What a comparison came to.
enum Compared {
    /// A part of the log's tree.
    Consistent,
    /// Ours is a part of it, or that can't be told yet: in words.
    Ahead(String),
    /// A fork was found, and told.
    Forked,
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

    /// The same while the log is being followed: without fetching its head again.
    pub(super) fn compare_during(&mut self) -> Result<(), Trouble> {
        self.open_letters()?;
        self.compare_pending(true)
    }

    /// Whether somebody showed a larger head than the log's.
    fn knows_of_more(&self) -> bool {
        let size = self.head.as_ref().map_or(self.shown, |head| head.get().size.max(self.shown));
        let larger = |pending: &Pending| {
            checkpoint::open_note(pending.note.clone(), &self.tools.rules.keys)
                .is_ok_and(|head| head.get().size > size)
        };
        self.state.pending.iter().any(larger)
    }

    fn open_letters(&mut self) -> Result<(), Trouble> {
        let now = self.now();
        let letters = self.tools.board.letters();
        for Letter { source, head } in letters {
            self.see_cosignatures(&head, now);
            self.check_pushed_quorum(&source, &head)?;
            self.put(source, &head);
        }
        Ok(())
    }

    /// Keeps a head of the log's own that can't be judged now. What is signed stays so: once the tiles are to
    /// be had, it may prove a fork.
    pub(super) fn keep(&mut self, head: &LogSigned<Checkpoint>) {
        if self.state.pending.iter().filter(|pending| pending.source == ITSELF).count() < MAX_OWN {
            self.put(ITSELF.to_owned(), head);
        }
    }

    fn put(&mut self, source: String, head: &LogSigned<Checkpoint>) {
        let (since, note) = (self.now(), head.note().clone());
        let is_known = self.state.pending.iter().any(|pending| pending.note.text() == note.text());
        if !is_known && self.state.pending.len() < MAX_PENDING {
            self.state.pending.push(Pending { source, since, note });
        }
    }

    fn compare_pending(&mut self, mut answers: bool) -> Result<(), Trouble> {
        let size = self.head.as_ref().map(|head| head.get().size);
        let mut first_trouble = Ok(());
        let mut waiting = Vec::new();
        for pending in std::mem::take(&mut self.state.pending) {
            // A key that was taken off the policy takes its heads with it.
            let Ok(head) = checkpoint::open_note(pending.note.clone(), &self.tools.rules.keys) else {
                continue;
            };
            if !answers && size != Some(head.get().size) {
                waiting.push(pending);
                continue;
            }
            let compared = self.compare(&pending.source, &head);
            let about = format!("{}-{}", head.get().size, &head.get().root.to_hex()[..16]);
            match compared {
                Ok(Compared::Consistent) => {
                    self.tools.board.settle(head.get(), Verdict::Consistent);
                    self.conditions.end(Code::HeadAhead, &about, "the log shows it now")?;
                    self.conditions.end(
                        Code::NoQuorum,
                        &about,
                        "it is a part of a tree that has its quorum",
                    )?;
                }
                Ok(Compared::Forked) => {
                    self.tools.board.settle(head.get(), Verdict::Forked);
                    self.conditions.end(Code::HeadAhead, &about, "it is a fork")?;
                }
                Ok(Compared::Ahead(why)) => {
                    self.tell_ahead(&pending, &head, &about, &why)?;
                    waiting.push(pending);
                }
                Err(trouble) if trouble.is_the_logs() => {
                    waiting.push(pending);
                    // Each further question would wait for the same answer.
                    answers = false;
                    first_trouble = first_trouble.and(Err(trouble));
                }
                Err(trouble) => {
                    waiting.push(pending);
                    first_trouble = Err(trouble);
                }
            }
        }
        // Saved by the caller: a crash before loses nothing that its sender does not show again.
        self.state.pending = waiting;
        first_trouble
    }

    fn compare(&mut self, source: &str, theirs: &LogSigned<Checkpoint>) -> Result<Compared, Trouble> {
        let Some(ours) = self.head.clone() else {
            return Ok(Compared::Ahead("the log has not shown any head yet".to_owned()));
        };
        match relate(&self.tiles(), &ours, theirs, &self.tools.rules.keys) {
            Ok(Relation::Same | Relation::Part) => Ok(Compared::Consistent),
            Ok(Relation::Extends) => {
                Ok(Compared::Ahead("it continues the tree, and the log does not show it".to_owned()))
            }
            Ok(Relation::Forked(fork)) => {
                self.convict(&fork, source)?;
                Ok(Compared::Forked)
            }
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
        about: &str,
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
        let since = pending.since.to_string();
        let source = pending.source.clone();
        Ok(self.conditions.begin(Code::HeadAhead, about, || {
            let message =
                format!("{source} holds a head of {origin} of size {size} that the log signed: {why}");
            Event::new(Code::HeadAhead, Some(origin.as_str()), &[about, &since], now, message)
                .with("size", size.get())
                .with("root", root.to_base64())
                .with("source", source)
        })?)
    }

    /// A head that an endpoint or a monitor relied on has to have its quorum; a witness shows its own
    /// cosignature alone.
    fn check_pushed_quorum(&mut self, source: &str, head: &LogSigned<Checkpoint>) -> Result<(), Trouble> {
        let Checkpoint { origin, size, root, .. } = head.get();
        if source.starts_with("witness ") {
            return Ok(());
        }
        let Err(error) = self.tools.rules.policy.check(head) else { return Ok(()) };
        let now = self.now();
        let about = format!("{size}-{}", &root.to_hex()[..16]);
        Ok(self.conditions.begin(Code::NoQuorum, &about, || {
            let message =
                format!("{source} was shown a head of {origin} of size {size} without its quorum: {error}");
            Event::new(Code::NoQuorum, Some(origin.as_str()), &[&about], now, message)
                .with("size", size.get())
                .with("root", root.to_base64())
                .with("source", source)
        })?)
    }

    /// Keeps the evidence, and tells.
    pub(super) fn convict(&mut self, fork: &ProvenFork, source: &str) -> Result<(), Trouble> {
        let now = self.now();
        let how = if source == ITSELF { "log" } else { "gossip" };
        let name = fork.file_name();
        let kept = self.tools.evidence.keep(fork);
        let (file, trouble) = match &kept {
            Ok(kept) => (Some(kept.path.display().to_string()), String::new()),
            Err(e) => {
                // Not to be lost with the disk.
                let evidence = String::from_utf8_lossy(&fork.to_bytes()).into_owned();
                tracing::error!(file = name, evidence, error = %e, "a log signed two histories, and the evidence can't be written: keep this line");
                (None, format!("; the evidence could not be written, and is in the monitor's own log: {e}"))
            }
        };
        let (small, large) = (fork.smaller(), fork.larger());
        let message = format!(
            "{} signed two histories: a head of size {} with root {}, and one of size {} with root {} that does not continue it; shown by {source}{trouble}",
            fork.origin(),
            small.size,
            small.root.to_base64(),
            large.size,
            large.root.to_base64(),
        );
        let event = Event::new(Code::Fork, Some(fork.origin().as_str()), &[&name], now, message)
            .with("smaller", small.size.get())
            .with("larger", large.size.get())
            .with("source", source)
            .with("found_in", how)
            .with("file", name.as_str());
        let event = match file {
            Some(file) => event.with("evidence", file),
            None => event,
        };
        self.tools.desk.deliver(&[event])?;
        self.tools.board.report(|progress| progress.forks += 1);
        Ok(())
    }

    /// Remembers who cosigned, and that the log lives.
    pub(super) fn see_cosignatures(&mut self, head: &LogSigned<Checkpoint>, now: u64) {
        for (name, time) in times::cosigned_by(head, &self.tools.rules.policy) {
            // A clock that runs ahead proves no life in the future.
            let time = time.min(now);
            let latest = self.state.witnesses.entry(name).or_insert(time);
            *latest = time.max(*latest);
            self.state.alive = time.max(self.state.alive);
        }
    }

    /// The release at the leaf that a withdrawal names, proven to be in the tree, with its signers.
    pub(super) fn find_release(
        &self,
        claim: &Claim,
        first: LeafIndex,
        entries: &[&[u8]],
        publishers: Option<&Publishers>,
        head: &LogSigned<Checkpoint>,
    ) -> Result<Option<(Release, Hash, Vec<String>)>, Trouble> {
        let at = claim.withdrawal.index;
        // It withdraws what was before it.
        if at >= claim.leaf {
            return Ok(None);
        }
        let here =
            at.get().checked_sub(first.get()).and_then(|place| entries.get(usize::try_from(place).ok()?));
        let entry = match here {
            Some(entry) => entry.to_vec(),
            None => self.fetch_entry(at, head.get())?,
        };
        let hash = Hash::leaf(&entry);
        // Its keys may be revoked by now: what counts is who it was.
        let nobody = Publishers::default();
        let values = Facts::values(&entry, publishers.unwrap_or(&nobody));
        Ok(values.and_then(|EntryValues { signers, statement }| match statement {
            Statement::Release(release) => Some((release, hash, signers)),
            _ => None,
        }))
    }

    fn fetch_entry(&self, at: LeafIndex, head: &Checkpoint) -> Result<Vec<u8>, Trouble> {
        let id = TileId::Entries { index: at.get() / TILE_WIDTH };
        let tile = Tile::in_tree(id, head.size).expect("it is below the cursor");
        let mut entries = self.tiles().entries(tile)?;
        let entry = entries.swap_remove(usize::try_from(at.get() % TILE_WIDTH).expect("below 256"));
        prove_inclusion(&self.tiles(), at, &Hash::leaf(&entry), head.size, &head.root)?
            .map_err(ClientError::from)?;
        Ok(entry)
    }
}
