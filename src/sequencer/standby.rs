//! Takes turns with other processes that serve the same log.
//!
//! The store says whose turn it is. That is only advice, which avoids attempts that are bound to fail. The log remains
//! one chain because only one batch can follow another, whatever the processes believe. A standby follows the other
//! process, shows its heads, and accepts no entries.

use std::time::{Duration, Instant};

use super::commands::{CommandReceiver, RETRY_AFTER};
use super::commit::{Committer, Witnessing};
use super::cosigning::Gate;
use super::published::Sender;
use super::standing::{Attempt, Standing};
use super::{Candidate, Role, SubmitError, Trouble, recovery};
use crate::checkpoint;
use crate::store::{SignedHead, StoreError, Turn};

/// Interval at which a standby looks for new entries.
const FOLLOW: Duration = Duration::from_millis(250);
/// Interval at which an idle holder checks its turn.
const LOOK: Duration = Duration::from_millis(500);
/// Interval at which an idle holder looks for batches that another process appended. A request of the previous holder may
/// arrive late, and nobody signs its entries until this process finds them.
const IDLE: Duration = Duration::from_secs(if cfg!(test) { 2 } else { 30 });
/// Attempts to append a batch while other processes are faster. After that, its senders must retry.
const ATTEMPTS: usize = 4;

impl Committer {
    /// Takes the first steps of a start: signs and publishes what is durable, or stands by if another process appends.
    pub fn begin(&mut self, commands: &CommandReceiver) -> Result<(), StoreError> {
        if let Turn::Stand { holder, again } = self.store.turn()? {
            self.stand_by(holder, again, commands);
            return self.follow();
        }
        self.set_role();
        self.begin_term(commands)?;
        match self.advance(&mut Vec::new(), &mut Vec::new()) {
            // Another process was faster between the read and the write, so read again.
            Err(StoreError::Overtaken { .. }) => {
                self.stale = true;
                Ok(())
            }
            begun => begun,
        }
    }

    /// Asks the store whose turn it is, and acts accordingly.
    pub fn take_turns(&mut self, commands: &CommandReceiver) {
        if !self.store.may_be_overtaken() {
            return;
        }
        let taken = match self.store.turn() {
            Ok(Turn::Hold) if self.standing.is_some() => self.take_over(commands),
            Ok(Turn::Hold) => self.look(),
            Ok(Turn::Stand { holder, again }) => {
                let due = self.standing.as_ref().is_none_or(|standing| standing.next_look <= Instant::now());
                self.stand_by(holder, again, commands);
                if due { self.follow() } else { Ok(()) }
            }
            Err(error) => Err(error),
        };
        if let Err(error) = taken {
            self.report_unreadable(&error);
            if let Some(standing) = &mut self.standing {
                standing.next_look = Instant::now() + FOLLOW;
            }
        }
    }

    /// Checks whether another process has appended although it is this process's turn. While this process asks the
    /// witnesses, they may also have seen more of the log than it has.
    fn look(&mut self) -> Result<(), StoreError> {
        let pause = if *self.gate() == Gate::Asking { LOOK } else { IDLE };
        if self.stale || self.looked.elapsed() < pause || matches!(self.gate(), Gate::Shut(_)) {
            return Ok(());
        }
        let before = self.store.edge().size();
        self.catch_up()?;
        if self.store.edge().size() > before && self.cosigning.is_some() && *self.gate() == Gate::Open {
            self.step_back();
        }
        Ok(())
    }

    /// The time at which to ask next whose turn it is.
    pub fn next_look(&self) -> Option<Instant> {
        if !self.store.may_be_overtaken() {
            return None;
        }
        Some(self.standing.as_ref().map_or_else(|| Instant::now() + LOOK, |standing| standing.next_look))
    }

    fn stand_by(&mut self, holder: Option<String>, again: Instant, commands: &CommandReceiver) {
        let next_look = again.min(Instant::now() + FOLLOW);
        let begins = self.standing.is_none();
        let standing = Standing { holder, next_look };
        commands.refuse(Some(standing.refusal()));
        if begins {
            let holder = standing.holder.as_deref().unwrap_or("another server");
            tracing::warn!(%holder, size = %self.store.edge().size(), "standing by: another server appends");
            self.end_term();
        }
        self.standing = Some(standing);
        self.set_role();
    }

    /// Takes over from another process, with the steps of a start: checks the last head against the tree, and asks the
    /// witnesses what they saw.
    fn take_over(&mut self, commands: &CommandReceiver) -> Result<(), StoreError> {
        self.catch_up()?;
        // Before it is over, because witnesses that can't be asked leave this process standing by.
        let standing = self.standing.take();
        if let Err(error) = self.begin_term(commands) {
            self.standing = standing;
            return Err(error.into());
        }
        self.sign_now = true;
        self.set_role();
        tracing::warn!(size = %self.store.edge().size(), "taking over: this server appends");
        Ok(())
    }

    /// Ends the term although it is this process's turn, because another process appended or signed meanwhile, which
    /// makes the witnesses' answers outdated. The next check takes over with the steps of a start. Returns the answer
    /// for waiting senders.
    pub fn step_back(&mut self) -> SubmitError {
        tracing::warn!("another server appended or signed meanwhile: this one asks the witnesses again");
        self.end_term();
        self.standing = Some(Standing { holder: None, next_look: Instant::now() });
        self.set_role();
        SubmitError::AskingWitnesses { suspicion: None, retry_after: RETRY_AFTER }
    }

    /// Returns true if the log has grown since the witnesses were first asked, or can't be read. Entries that a witness
    /// has seen and this process has not may then come from another process.
    pub fn missed_something(&mut self) -> bool {
        if !self.store.may_be_overtaken() {
            return false;
        }
        let caught_up = self.catch_up().inspect_err(|error| self.report_unreadable(error));
        caught_up.is_err() || self.store.edge().size() > self.began_at
    }

    fn report_unreadable(&mut self, error: &StoreError) {
        let trouble = if error.is_damage() { Trouble::Damage } else { Trouble::Storage };
        self.faults.report(trouble, format!("this server can't follow the log: {error}"));
        self.stale = true;
    }

    /// Follows what another process has appended and signed, and shows its newest head.
    fn follow(&mut self) -> Result<(), StoreError> {
        self.catch_up()?;
        let has_witnesses = self.witnessing.is_some();
        let note = if has_witnesses { self.store.witnessed() } else { self.store.checkpoint() };
        let Some(note) = note else { return Ok(()) };
        // Show only a head that the log's key signed and that matches this tree. The next look finds a newer one.
        let Ok(opened) = checkpoint::open(&note, &self.signer.keys()) else { return Ok(()) };
        let (mut witnessed, mut is_shown) = (false, true);
        if let Some(Witnessing { factory, publish_unwitnessed, .. }) = &self.witnessing {
            // A head from before the witnesses were added or changed lacks the quorum.
            witnessed = factory.is_quorum(&opened);
            is_shown = witnessed || *publish_unwitnessed;
        }
        let head = opened.get().clone();
        let is_new = {
            let current = self.publication.current();
            // The head is the same, with renewed cosignatures.
            let is_renewed = current.checkpoint.size == head.size
                && *current.note != *note
                && (witnessed || !current.witnessed);
            current.is_none() || current.checkpoint.size < head.size || is_renewed
        };
        if is_new && is_shown {
            recovery::check_tree(self.store.as_ref(), &head, self.store.edge().size())?;
            self.publish(SignedHead { head, note }, witnessed);
        }
        Ok(())
    }

    fn catch_up(&mut self) -> Result<(), StoreError> {
        if self.stale {
            self.store.reload()?;
        }
        self.store.follow()?;
        self.looked = Instant::now();
        self.read_signed_again()?;
        self.stale = false;
        self.faults.clear(Trouble::Storage);
        self.faults.clear(Trouble::Damage);
        Ok(())
    }

    /// Takes the steps that are due. If another process was faster, follows it and plans the same entries again, so
    /// that duplicates and sequence numbers are judged by the current log.
    pub fn advance_in_turns(
        &mut self,
        mut entries: Vec<Vec<Candidate>>,
        senders: &mut Vec<Sender>,
    ) -> Attempt {
        for _ in 0..ATTEMPTS {
            let overtaken = match self.advance(&mut entries, senders) {
                Ok(()) => return Attempt::Done,
                Err(error @ StoreError::Overtaken { .. }) => error,
                Err(error) => return Attempt::Failed(error),
            };
            tracing::info!("{overtaken}");
            let turn = self.catch_up().and_then(|()| self.store.turn());
            match turn {
                // The witnesses may have seen the other process's heads, and a head that they cosigned may be obsolete.
                Ok(Turn::Hold) if self.cosigning.is_some() => return Attempt::Stand(self.step_back()),
                Ok(Turn::Hold) => {}
                Ok(Turn::Stand { holder, .. }) => {
                    return Attempt::Stand(SubmitError::Standby { holder, retry_after: RETRY_AFTER });
                }
                Err(error) => return Attempt::Failed(error),
            }
        }
        let detail = format!("{ATTEMPTS} times in a row; do two servers append at once?");
        Attempt::Failed(StoreError::Overtaken { detail })
    }

    fn set_role(&mut self) {
        let role = match (self.store.may_be_overtaken(), &self.standing) {
            (false, _) => Role::Alone,
            (true, None) => Role::Holder,
            (true, Some(_)) => Role::Standby,
        };
        self.counts().role = role;
    }
}
