//! The one thread that appends and signs.
//!
//! Commit order: stage in the journal -> apply to the tree -> answer -> sign -> durable checkpoint
//! -> cosigned -> publish. A comment at each step says what a crash there means; recovery is
//! [`Committer::recover`] and then this same loop.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::cosigners::{Cosigners, Word};
use super::figures::Counts;
use super::heads::{Gate, Heads};
use super::plan::{Known, plan};
use super::pool::{Pool, Submission, Work};
use super::{Candidate, Fault, Published, Results, StartError, SubmitError, Trouble};
use crate::checkpoint::LogSigner;
use crate::disk::retried;
use crate::merkle::{Hash, LeafIndex};
use crate::store::{Batch, SignedHead, Store, StoreError, StoreReader, Stored};

/// A head for each entry would cost a signature and two fsyncs each: so much pause is kept at least.
const LEAST_INTERVAL: Duration = Duration::from_millis(10);
/// So many waiting entries make a head wait for the whole interval, fewer for their part of it: few
/// entries are published at once, many together.
const BUSY_ENTRIES: u32 = 1_000;
/// How long a log that stops waits for the witnesses to cosign its last head.
const LAST_ROUND: Duration = Duration::from_secs(5);

pub struct Committer {
    store: Box<dyn Store>,
    publish_interval: Duration,
    heads: Heads,
    /// A storage error happened: memory is not to be trusted until the store was reloaded.
    stale: bool,
    fault: Fault,
}

struct Reader(Arc<dyn StoreReader>);

impl Known for Reader {
    fn leaf(&self, leaf: &Hash) -> Result<Option<LeafIndex>, StoreError> {
        self.0.find_leaf(leaf)
    }

    fn payload(&self, payload: &Hash) -> Result<Option<Stored>, StoreError> {
        self.0.find_payload(payload)
    }

    fn claim(&self, key: &Hash) -> Result<Option<(Stored, Hash)>, StoreError> {
        self.0.find_claim(key)
    }
}

impl Committer {
    /// Takes a store that was just opened. [`start`](Self::start) comes next.
    pub fn recover(
        store: Box<dyn Store>,
        signer: LogSigner,
        publish_interval: Duration,
        fault: Fault,
    ) -> Result<(Self, watch::Receiver<Published>), StartError> {
        let (heads, watch) = Heads::recover(store.as_ref(), signer)?;
        Ok((Self { store, publish_interval, heads, stale: false, fault }, watch))
    }

    /// What is counted.
    pub fn counts(&self) -> Arc<Counts> {
        self.heads.counts.clone()
    }

    /// What the log signed last.
    pub fn last_signed(&self) -> Option<SignedHead> {
        Some(SignedHead { head: self.heads.signed()?.clone(), note: self.store.checkpoint()? })
    }

    /// Shows the head of the store; with witnesses, the last one that had a quorum, and nothing is signed
    /// before they were heard.
    pub fn start(&mut self, cosigners: Option<(Arc<dyn Cosigners>, bool)>) -> Result<(), StartError> {
        match cosigners {
            None => self.heads.sign(self.store.as_mut())?,
            Some((cosigners, unwitnessed)) => {
                self.heads.start_cosigning(self.store.as_ref(), cosigners, unwitnessed);
            }
        }
        Ok(())
    }

    /// Works until the pool is closed and empty.
    pub fn run(mut self, pool: &Pool) {
        loop {
            match pool.take(self.due()) {
                Work::Commit(submissions) => self.commit(submissions),
                Work::Word(word) => self.hear(word, pool),
                Work::Deadline => {}
                Work::Closed => break,
            }
            self.do_what_is_due();
        }
        if self.is_behind() && *self.heads.gate() == Gate::Open {
            // A head that waits to be shown comes first, then the last one is signed.
            if self.heads.has_pending() {
                self.try_publish();
            }
            self.try_publish();
            self.wait_for_the_last_round(pool);
        }
    }

    fn is_behind(&self) -> bool {
        self.stale || self.heads.is_behind(self.store.edge().size())
    }

    /// The last head may still reach its quorum; if it does not, it is told, and the next start asks again.
    fn wait_for_the_last_round(&mut self, pool: &Pool) {
        let until = Instant::now() + LAST_ROUND;
        while self.is_behind() && !self.stale {
            match pool.hear(until) {
                Some(word) => self.hear(word, pool),
                None => break,
            }
            if self.heads.has_pending() {
                self.try_publish();
            }
        }
        if self.is_behind() && !self.stale {
            let size = self.heads.published().checkpoint.size;
            let why = format!(
                "the last entries are durable, and too few witnesses have cosigned a tree head above size {size}: the next start asks again"
            );
            self.fault.tell(Trouble::Quorum, why);
        }
        self.heads.waiting.give_up();
    }

    /// When there is something to do, if nothing comes meanwhile.
    fn due(&self) -> Option<Instant> {
        if self.stale {
            return Some(self.heads.last_signed() + self.publish_interval);
        }
        self.sign_due().into_iter().chain(self.heads.next_check()).min()
    }

    /// When the next head is to be signed, if one is.
    fn sign_due(&self) -> Option<Instant> {
        let waiting = self.heads.unsigned(self.store.edge().size());
        let waiting = u32::try_from(waiting).unwrap_or(u32::MAX).min(BUSY_ENTRIES);
        if waiting == 0 || *self.heads.gate() != Gate::Open {
            return None;
        }
        let part = self.publish_interval / BUSY_ENTRIES * waiting;
        let due = self.heads.last_signed() + part.max(LEAST_INTERVAL).min(self.publish_interval);
        Some(self.heads.may_sign_at(due))
    }

    fn do_what_is_due(&mut self) {
        let now = Instant::now();
        if let Some(lacking) = self.heads.check(now) {
            self.fault.tell(Trouble::Quorum, lacking);
        }
        let due = if self.stale { self.due() } else { self.sign_due() };
        if self.heads.has_pending() && !self.stale || due.is_some_and(|due| due <= now) {
            self.try_publish();
        }
    }

    fn hear(&mut self, word: Word, pool: &Pool) {
        match word {
            Word::MaySign if *self.heads.gate() == Gate::Asking => {
                self.heads.open();
                self.fault.clear(Trouble::Quorum);
                pool.refuse(None);
                tracing::info!("the witnesses have seen nothing of this log that it does not have: it signs");
                // Also a head that is signed and durable may not have its quorum yet.
                self.try_publish();
            }
            Word::MaySign => {}
            // One witness is enough; the others would say the same of themselves.
            Word::MustNotSign(_) if matches!(self.heads.gate(), Gate::Shut(_)) => {}
            Word::MustNotSign(why) => {
                self.heads.shut(why.clone());
                pool.refuse(Some(SubmitError::RolledBack(why.clone())));
                self.fault.clear(Trouble::Quorum);
                self.fault.tell(Trouble::Rollback, why);
            }
            Word::Witnessed(head) => self.heads.take_witnessed(head),
        }
    }

    fn commit(&mut self, submissions: Vec<Submission>) {
        let (candidates, replies): (Vec<_>, Vec<_>) =
            submissions.into_iter().map(|submission| (submission.candidates, submission.reply)).unzip();
        let counts: Vec<usize> = candidates.iter().map(Vec::len).collect();
        let refuse = |refused: &SubmitError| -> Vec<Results> {
            counts.iter().map(|count| vec![Err(refused.clone()); *count]).collect()
        };
        let results = if let Gate::Shut(why) = self.heads.gate() {
            // They were in the pool already. What is appended now would stand where lost entries stood.
            refuse(&SubmitError::RolledBack(why.clone()))
        } else {
            // A crash before the answers leaves entries durable that nobody was told of: they are
            // published after the restart, and who sends them again gets their first index.
            self.plan_and_append(candidates).unwrap_or_else(|error| {
                self.fail(&error, "a batch could not be stored");
                let why = retried(&error);
                refuse(&match error {
                    StoreError::Damaged { .. } => SubmitError::Damaged(why),
                    _ => SubmitError::Storage(why),
                })
            })
        };
        let published = self.heads.published();
        for (reply, results) in replies.into_iter().zip(results) {
            self.heads.waiting.answer(reply, results, &published);
        }
    }

    fn plan_and_append(&mut self, candidates: Vec<Vec<Candidate>>) -> Result<Vec<Results>, StoreError> {
        self.reload_if_stale()?;
        let plan = plan(&self.store.edge(), candidates, &Reader(self.store.reader()))?;
        if let Some(batch) = &plan.batch {
            self.append(batch)?;
        }
        Ok(plan.results)
    }

    fn append(&mut self, batch: &Batch) -> Result<(), StoreError> {
        // A crash in here leaves a torn batch, which recovery drops, or a whole one, which recovery
        // applies. Nobody was told of either.
        let staged = self.store.stage(batch)?;
        // A crash in here leaves the tree behind the journal: recovery catches up.
        self.store.apply(batch, staged)?;
        Counts::add(&self.heads.counts.appended, batch.entries.len());
        Ok(())
    }

    /// After a storage error memory may differ from what is durable, so everything is read again.
    fn reload_if_stale(&mut self) -> Result<(), StoreError> {
        if !self.stale {
            return Ok(());
        }
        self.store.reload()?;
        self.heads.reload(self.store.as_ref())?;
        self.stale = false;
        self.fault.clear(Trouble::Storage);
        self.fault.clear(Trouble::Damage);
        tracing::info!(size = %self.store.edge().size(), "the store was reloaded");
        Ok(())
    }

    /// Shows a head that has its quorum, and signs the next one where that is due.
    fn try_publish(&mut self) {
        let pending = self.heads.has_pending();
        let published = self.reload_if_stale().and_then(|()| self.publish());
        match published {
            Ok(Some(true)) => self.fault.clear(Trouble::Quorum),
            Ok(_) => {}
            Err(error) => {
                // The next try is an interval away, not at once.
                self.heads.tried();
                self.fail(&error, "the tree head could not be published");
                if !pending {
                    self.heads.waiting.give_up();
                }
            }
        }
    }

    fn publish(&mut self) -> Result<Option<bool>, StoreError> {
        let shown = self.heads.show_pending(self.store.as_mut())?;
        if *self.heads.gate() == Gate::Open && shown.is_none() {
            self.heads.sign(self.store.as_mut())?;
        }
        Ok(shown)
    }

    fn fail(&mut self, error: &StoreError, what: &'static str) {
        let damaged = matches!(error, StoreError::Damaged { .. });
        let trouble = if damaged { Trouble::Damage } else { Trouble::Storage };
        self.fault.tell(trouble, format!("{what}: {error}"));
        self.stale = true;
    }
}
