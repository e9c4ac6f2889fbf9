//! The one thread that appends and signs. [`Committer::advance`] has every durable step, in order.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::commands::{
    CommandReceiver, CommandSender, NO_LINGER_ENTRIES, RETRY_AFTER, Submission, Term, Work,
};
use super::cosigners::{CosignerEvent, CosignerEvents, CosignersFactory, CurrentCosigners, OpenedLog};
use super::cosigning::{Cosigning, Gate};
use super::pace::Pace;
use super::plan::plan;
use super::published::{Publication, Published, Sender};
use super::standing::{Attempt, Standing};
use super::{Candidate, Faults, Figures, Options, StartError, SubmitError, Trouble, recovery};
use crate::checkpoint::{Checkpoint, LogSigner};
use crate::clock;
use crate::disk::retried;
use crate::merkle::TreeSize;
use crate::store::{SignedHead, Store, StoreError};
use crate::threads::ThreadError;

/// The longest time that a log that stops waits for the witnesses to cosign its last head.
const LAST_ROUND: Duration = Duration::from_secs(5);

/// The age of a shared head after which newer cosignatures replace it: less than after which they are renewed.
const RENEWED: Duration = Duration::from_secs(300);

pub struct Committer {
    pub store: Box<dyn Store>,
    pub signer: LogSigner,
    /// The pause before a failed step is tried again.
    retry_interval: Duration,
    /// The last head that was signed and is durable: the only one that a new head may extend.
    signed: Option<Checkpoint>,
    /// Knows when a head was last begun, or failed, and when the next one may be.
    pace: Pace,
    /// The shortest time between two heads that few wait for.
    linger: Duration,
    /// The next head does not wait for its time: nothing is published yet, or the log stops.
    pub sign_now: bool,
    /// After a storage error memory may differ from the files, so the store is reloaded before anything else.
    pub stale: bool,
    /// For a log that has witnesses.
    pub witnessing: Option<Witnessing>,
    /// For a log that has witnesses, while this process appends.
    pub cosigning: Option<Cosigning>,
    pub cosigners: CurrentCosigners,
    term: Term,
    /// The size of the tree when the term began: what the witnesses' last heads were first compared with.
    pub began_at: TreeSize,
    /// `Some` while another process appends.
    pub standing: Option<Standing>,
    /// The time at which this process last knew all entries of the log.
    pub looked: Instant,
    pub publication: Publication,
    pub faults: Faults,
    pub counts: Arc<Mutex<Figures>>,
}

/// The means to ask a log's witnesses.
pub struct Witnessing {
    pub factory: CosignersFactory,
    pub commands: CommandSender,
    pub publish_unwitnessed: bool,
}

impl Committer {
    /// Checks what the store has signed. Nothing is signed or published yet.
    pub fn recover(
        store: Box<dyn Store>,
        signer: LogSigner,
        options: &Options,
        faults: Faults,
    ) -> Result<Self, StartError> {
        let signed = recovery::last_signed(store.as_ref(), &signer)?;
        let publication = Publication::new(signer.origin().clone());
        let mut committer = Self {
            store,
            signer,
            retry_interval: options.publish_interval,
            signed: None,
            pace: Pace::new(options.least_interval, options.publish_interval, Instant::now()),
            linger: options.linger,
            sign_now: true,
            stale: false,
            witnessing: None,
            cosigning: None,
            cosigners: CurrentCosigners::default(),
            term: Term::default(),
            began_at: TreeSize::ZERO,
            standing: None,
            looked: Instant::now(),
            publication,
            faults,
            counts: Arc::default(),
        };
        committer.set_signed(signed);
        Ok(committer)
    }

    /// Begins to append. If the log has witnesses, heads need a quorum from now on, and nothing is signed or accepted
    /// before the witnesses were heard. The head that was published before a restart is published again.
    ///
    /// # Errors
    /// [`ThreadError`] if the witnesses can't be asked; nothing is accepted then.
    pub fn begin_term(&mut self, commands: &CommandReceiver) -> Result<(), ThreadError> {
        self.term.0 += 1;
        self.began_at = self.store.edge().size();
        let Some(witnessing) = &self.witnessing else {
            commands.refuse(None);
            return Ok(());
        };
        commands.refuse(Some(SubmitError::AskingWitnesses { suspicion: None, retry_after: RETRY_AFTER }));
        let last_signed = self.signed.clone().zip(self.store.checkpoint());
        let last_signed = last_signed.map(|(head, note)| SignedHead { head, note });
        let (term, sender) = (self.term, witnessing.commands.clone());
        let events = CosignerEvents::new(move |event| sender.report(term, event));
        let opened = OpenedLog { reader: self.store.reader(), last_signed, events };
        let cosigners = witnessing.factory.start(opened)?;
        let unwitnessed = witnessing.publish_unwitnessed;
        let (store, signed) = (self.store.as_ref(), self.signed.as_ref());
        let published =
            recovery::last_published(store, &self.signer, signed, cosigners.as_ref(), unwitnessed);
        let durable = published.as_ref().filter(|(_, witnessed)| *witnessed).map(|(head, _)| head.head.size);
        self.cosigning = Some(Cosigning::new(cosigners.clone(), unwitnessed, durable.unwrap_or_default()));
        self.cosigners.set(Some(cosigners));
        if let Some((head, witnessed)) = published {
            self.publish(head, witnessed);
        }
        Ok(())
    }

    /// Stops to append: no head is signed, sent to witnesses or awaited any more.
    pub fn end_term(&mut self) {
        self.cosigners.set(None);
        self.cosigning = None;
        self.publication.give_up();
    }

    /// Works until the log is told to stop and everything that came before is done.
    pub fn run(mut self, commands: &mut CommandReceiver) {
        loop {
            let work = commands.next(self.due());
            self.take_turns(commands);
            match work {
                Work::Commit(submissions) => self.turn(submissions),
                Work::Event(term, event) => {
                    self.hear(term, event, commands);
                    self.turn(Vec::new());
                }
                Work::Deadline => self.turn(Vec::new()),
                Work::Stop => return self.finish(commands),
            }
        }
    }

    /// Takes every durable step that is due, in order. At a start this is the recovery: it appends nothing, and
    /// signs and publishes what is durable.
    ///
    /// Removes answered senders from `senders`; those that remain have no answer yet. If another process was faster,
    /// `entries` has the entries that were not appended.
    pub fn advance(
        &mut self,
        entries: &mut Vec<Vec<Candidate>>,
        senders: &mut Vec<Sender>,
    ) -> Result<(), StoreError> {
        // RELOAD after a storage error: everything below rests on what the files say, not on memory.
        self.reload_if_stale()?;
        // PLAN. A crash leaves nothing behind.
        let plan = plan(&self.store.edge(), std::mem::take(entries), &self.store.reader())?;
        if let Some(batch) = &plan.batch {
            // STAGE. A crash leaves a torn batch, which the next start drops, or a whole one, which it applies.
            // Neither was visible to anybody.
            let staged = match self.store.stage(batch) {
                Err(error @ StoreError::Overtaken { .. }) => {
                    *entries = plan.into_submissions();
                    return Err(error);
                }
                staged => staged?,
            };
            // APPLY. A crash leaves the tree behind the journal: the next start catches up.
            self.store.apply(batch, staged)?;
            self.looked = Instant::now();
            self.counts().appended += batch.entries.len() as u64;
        }
        // ANSWER. A crash before it leaves entries durable that nobody was told of: the next start publishes them,
        // and a sender who repeats one gets its first index.
        for (sender, results) in senders.drain(..).zip(plan.results) {
            self.publication.answer(sender, results);
        }
        // SIGN a head over everything that is durable, if one is due and none waits to be published.
        let mut ready = self.cosigning.as_ref().and_then(Cosigning::cosigned).cloned();
        let now = Instant::now();
        if ready.is_none() && self.sign_due().is_some_and(|due| due <= now) {
            self.pace.begin(now);
            let edge = self.store.edge();
            let head = Checkpoint::new(self.signer.origin().clone(), edge.size(), edge.root());
            let note = match (&self.signed, self.store.checkpoint()) {
                // Signed before and never published: at a start, or after a write that failed but persisted.
                (Some(signed), Some(durable)) if *signed == head => durable,
                (signed, durable) => {
                    if let Some(signed) = signed {
                        recovery::prove_extension(self.store.as_ref(), signed, &head)?;
                    }
                    let note = self.sign(&head);
                    // CHECKPOINT. A crash leaves the old one or the new one. Nobody has seen the new one, and it
                    // extends the old one.
                    self.store.replace_checkpoint(durable.as_deref(), &note)?;
                    note
                }
            };
            self.set_signed(Some(head.clone()));
            self.sign_now = false;
            let head = SignedHead { head, note };
            // COSIGN. A crash from here on leaves a durable head that was never published: the next start asks the
            // witnesses again, or publishes it if there are none.
            match &mut self.cosigning {
                Some(cosigning) => cosigning.ask(head, Instant::now()),
                None => ready = Some(head),
            }
        }
        let Some(head) = ready else { return Ok(()) };
        if self.cosigning.is_some() && !self.is_published_with_quorum(&head) {
            // COSIGNED. A crash leaves the older cosigned head or this one. The next start publishes the older one
            // until the witnesses, who know this one, have cosigned again.
            self.store.replace_witnessed(&head.note)?;
        }
        // PUBLISH: the head is durable, and so is what it covers.
        self.publish_durable(head);
        Ok(())
    }

    /// Signs a head, and measures what that costs.
    fn sign(&mut self, head: &Checkpoint) -> Vec<u8> {
        let begun = Instant::now();
        let note = self.signer.sign(head, clock::now()).to_string().into_bytes();
        self.pace.signed(begun.elapsed());
        note
    }

    /// Returns true if a head of this size is published with its quorum. More or newer cosignatures on it are not worth two
    /// fsyncs: lost in a crash, they are asked for again. Others who show the head see those that were renewed.
    fn is_published_with_quorum(&self, head: &SignedHead) -> bool {
        let published = self.publication.current();
        let is_fresh = !self.store.may_be_overtaken() || published.at.elapsed() < RENEWED;
        published.witnessed && published.checkpoint.size == head.head.size && is_fresh
    }

    /// Publishes a head that is durable, together with its quorum if the log has witnesses.
    fn publish_durable(&mut self, head: SignedHead) {
        let Some(cosigning) = &mut self.cosigning else { return self.publish(head, false) };
        if cosigning.settle() {
            self.faults.clear(Trouble::Quorum);
        }
        if head.head.size >= self.publication.current().checkpoint.size {
            self.publish(head, true);
        } else {
            // A larger head was published without its quorum, as the settings say. Those who asked for a quorum
            // are answered with this one; nobody is shown a smaller tree.
            self.publication.answer_with(&Published::new(head, true));
        }
    }

    pub fn publish(&mut self, head: SignedHead, witnessed: bool) {
        let is_new = {
            let before = self.publication.current();
            before.is_none() || before.checkpoint != head.head
        };
        let lacks_quorum = self.cosigning.is_some() && !witnessed;
        self.counts().published += u64::from(is_new);
        self.counts().published_unwitnessed += u64::from(is_new && lacks_quorum);
        self.publication.publish(&Published::new(head, witnessed));
    }

    /// One turn of the thread: takes the steps that are due, and answers those whose entries could not be stored.
    fn turn(&mut self, submissions: Vec<Submission>) {
        self.check_overdue(Instant::now());
        if let Some(standing) = &self.standing {
            let why = standing.refusal();
            return submissions.into_iter().for_each(|sent| sent.sender.refuse(sent.candidates.len(), &why));
        }
        // They were queued before. Appended now, they could stand where lost entries stood.
        let why = match self.gate() {
            Gate::Open => None,
            Gate::Shut(why) => Some(SubmitError::RolledBack(why.clone())),
            Gate::Asking => Some(SubmitError::AskingWitnesses { suspicion: None, retry_after: RETRY_AFTER }),
        };
        let submissions = if let Some(why) = why {
            submissions.into_iter().for_each(|sent| sent.sender.refuse(sent.candidates.len(), &why));
            Vec::new()
        } else {
            submissions
        };
        if !self.stale || !submissions.is_empty() {
            self.attempt(submissions);
        }
        // A failed step is tried again after an interval, also while new submissions keep coming.
        if self.standing.is_none() && self.stale && self.due().is_some_and(|due| due <= Instant::now()) {
            self.attempt(Vec::new());
        }
    }

    /// Takes the steps that are due. Reports a failure, and refuses the senders who were not answered before it.
    fn attempt(&mut self, submissions: Vec<Submission>) {
        let (entries, mut senders): (Vec<_>, Vec<_>) =
            submissions.into_iter().map(|sent| (sent.candidates, sent.sender)).unzip();
        let counts: Vec<usize> = entries.iter().map(Vec::len).collect();
        let error = match self.advance_in_turns(entries, &mut senders) {
            Attempt::Done => return,
            Attempt::Stand(why) => {
                return senders
                    .into_iter()
                    .zip(counts)
                    .for_each(|(sender, entries)| sender.refuse(entries, &why));
            }
            Attempt::Failed(error) => error,
        };
        self.stale = true;
        let damaged = match &error {
            StoreError::Damaged { .. } => true,
            #[cfg(feature = "bucket")]
            StoreError::Chain(error) => error.is_damage(),
            _ => false,
        };
        let trouble = if damaged { Trouble::Damage } else { Trouble::Storage };
        if senders.is_empty() {
            self.faults.report(trouble, format!("the tree head could not be published: {error}"));
            // The next try is an interval away.
            self.pace.begin(Instant::now());
            if !self.has_cosigned() {
                self.publication.give_up();
            }
            return;
        }
        self.faults.report(trouble, format!("a batch could not be stored: {error}"));
        let why = retried(&error);
        let why = if damaged { SubmitError::Damaged(why) } else { SubmitError::Storage(why) };
        senders.into_iter().zip(counts).for_each(|(sender, entries)| sender.refuse(entries, &why));
    }

    /// Reads everything again if a storage error has happened.
    fn reload_if_stale(&mut self) -> Result<(), StoreError> {
        if !self.stale {
            return Ok(());
        }
        self.store.reload()?;
        self.read_signed_again()?;
        self.stale = false;
        self.faults.clear(Trouble::Storage);
        self.faults.clear(Trouble::Damage);
        tracing::info!(size = %self.store.edge().size(), "the store was reloaded");
        Ok(())
    }

    /// Reads the head that was signed last, by this process or another one.
    pub fn read_signed_again(&mut self) -> Result<(), StoreError> {
        let out = self.last_out();
        let signed = recovery::last_signed_again(self.store.as_ref(), &self.signer, &out)?;
        self.set_signed(signed);
        Ok(())
    }

    /// Acts on an event of the cosigners, unless it is of an earlier term.
    fn hear(&mut self, term: Term, event: CosignerEvent, commands: &CommandReceiver) {
        let may_miss = term == self.term && self.cosigning.is_some() && !matches!(self.gate(), Gate::Shut(_));
        if may_miss && matches!(event, CosignerEvent::MustNotSign(_)) && self.missed_something() {
            self.step_back();
        }
        let Some(cosigning) = self.cosigning.as_mut().filter(|_| term == self.term) else { return };
        match (event, cosigning.gate()) {
            (CosignerEvent::MaySign, Gate::Asking) => {
                cosigning.open();
                // Also a head that is signed and durable may lack its quorum.
                self.sign_now = true;
                self.faults.clear(Trouble::Quorum);
                // A rollback in an earlier term: the lost entries were restored.
                self.faults.clear(Trouble::Rollback);
                commands.refuse(None);
                tracing::info!("the witnesses have seen nothing of this log that it does not have: it signs");
            }
            (CosignerEvent::MustNotSign(why), Gate::Asking | Gate::Open) => {
                cosigning.shut(why.clone());
                self.publication.give_up();
                commands.refuse(Some(SubmitError::RolledBack(why.clone())));
                self.faults.clear(Trouble::Quorum);
                self.faults.report(Trouble::Rollback, why);
            }
            (CosignerEvent::Cosigned(head), _) => cosigning.take(head),
            // One witness decides; the others would say the same.
            (CosignerEvent::MaySign | CosignerEvent::MustNotSign(_), _) => {}
        }
    }

    /// Gives up on senders who have waited long enough, and reports a quorum that is late.
    fn check_overdue(&mut self, now: Instant) {
        self.publication.give_up_overdue(now);
        let Some(cosigning) = &mut self.cosigning else { return };
        let overdue = cosigning.check(now, &self.publication.current());
        if let Some(overdue) = overdue {
            if let Some(head) = overdue.publish {
                self.publish(head, false);
            }
            self.faults.report(Trouble::Quorum, overdue.fault);
        }
    }

    /// Publishes the last head before the thread ends.
    fn finish(&mut self, commands: &mut CommandReceiver) {
        if self.standing.is_some() || !self.is_behind() || *self.gate() != Gate::Open {
            return;
        }
        // A head that waits to be published comes first, then the last one is signed.
        if self.has_cosigned() {
            self.attempt(Vec::new());
        }
        self.sign_now = true;
        if self.standing.is_none() {
            self.attempt(Vec::new());
        }
        let until = Instant::now() + LAST_ROUND;
        while self.is_behind() && !self.stale && self.standing.is_none() {
            let Some((term, event)) = commands.next_event(until) else { break };
            self.hear(term, event, commands);
            if self.has_cosigned() {
                self.attempt(Vec::new());
            }
        }
        if self.is_behind() && !self.stale {
            let size = self.publication.current().checkpoint.size;
            let why = format!(
                "the last entries are durable, and too few witnesses have cosigned a tree head above size {size}: the next start asks again"
            );
            self.faults.report(Trouble::Quorum, why);
        }
        self.publication.give_up();
    }

    /// When something is to be done although nothing comes.
    fn due(&self) -> Option<Instant> {
        let look = self.next_look();
        if self.standing.is_some() {
            return look;
        }
        if self.stale {
            return look.into_iter().chain([self.pace.begun() + self.retry_interval]).min();
        }
        let check = self.cosigning.as_ref().and_then(Cosigning::next_check);
        [self.sign_due(), check, self.publication.next_overdue(), look].into_iter().flatten().min()
    }

    /// When the next head is to be signed, if one is.
    fn sign_due(&self) -> Option<Instant> {
        if *self.gate() != Gate::Open || self.entries_without_head() == 0 && !self.sign_now {
            return None;
        }
        if self.sign_now {
            return Some(self.pace.begun());
        }
        let few_wait = !self.linger.is_zero() && self.publication.waiting() < NO_LINGER_ENTRIES;
        let due = self.pace.next(if few_wait { self.linger } else { Duration::ZERO });
        Some(self.cosigning.as_ref().map_or(due, |cosigning| cosigning.may_sign_at(due)))
    }

    pub fn gate(&self) -> &Gate {
        self.cosigning.as_ref().map_or(&Gate::Open, Cosigning::gate)
    }

    /// Returns true if a head with its quorum waits to be published.
    fn has_cosigned(&self) -> bool {
        self.cosigning.as_ref().is_some_and(|cosigning| cosigning.cosigned().is_some())
    }

    /// Returns true if a durable entry is under no published head.
    fn is_behind(&self) -> bool {
        let published = self.publication.current().checkpoint.size;
        self.stale || self.has_cosigned() || published != self.store.edge().size()
    }

    /// Number of durable entries for which no head has gone out.
    fn entries_without_head(&self) -> u64 {
        // Without witnesses the published head counts: a reload may find one that was signed and never published.
        let out = match &self.cosigning {
            None => self.publication.current().checkpoint.size,
            Some(cosigning) => cosigning.asked().map_or(TreeSize::ZERO, |asked| asked.size),
        };
        self.store.edge().size().get().abs_diff(out.get())
    }

    /// The last head that has left this process: published, or sent to the witnesses.
    fn last_out(&self) -> Checkpoint {
        let published = self.publication.current().checkpoint.clone();
        let asked = self.cosigning.as_ref().and_then(Cosigning::asked).cloned();
        asked.filter(|asked| asked.size > published.size).unwrap_or(published)
    }

    fn set_signed(&mut self, signed: Option<Checkpoint>) {
        let size = signed.as_ref().map(|signed| signed.size).unwrap_or_default();
        self.signed = signed;
        self.counts().signed_size = size.get();
    }

    pub fn counts(&self) -> MutexGuard<'_, Figures> {
        self.counts.lock().expect("no panic while it is held")
    }
}
