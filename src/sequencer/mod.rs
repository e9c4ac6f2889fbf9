//! From submitted entries to a signed, published tree head.
//!
//! ```text
//! queued -> sequenced (leaf index assigned, durable) -> published (under a signed checkpoint)
//!                                                    -> witnessed (cosigned by a quorum)
//! ```
//!
//! Senders check and hash their entries on their own threads. One thread commits: it takes commands from one
//! channel (add, cosigned, stop), and `Committer::advance` has its durable steps, in order.
//!
//! | file | what it has |
//! | --- | --- |
//! | `submission` | entries and their outcome |
//! | `commands` | the channel to the commit thread, and its bounds |
//! | `commit` | the commit thread: plan, stage, apply, sign, checkpoint, cosign, publish |
//! | `pace` | how soon heads follow each other (pure) |
//! | `plan` | which entries are new (pure) |
//! | `cosigners`, `cosigning` | whoever collects cosignatures, and the heads that wait for them |
//! | `published` | the published head, and the senders who wait for one |
//! | `recovery` | checks of signed heads against the tree |
//! | `standing`, `standby` | taking turns with other processes that serve the same log |
//! | `trouble` | faults, for operators |

mod commands;
mod commit;
mod cosigners;
mod cosigning;
mod pace;
mod plan;
mod published;
mod recovery;
mod standby;
mod standing;
mod submission;
mod trouble;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{oneshot, watch};

use crate::checkpoint::LogSigner;
use crate::disk::retried;
pub use crate::format::Wait;
use crate::merkle::TreeSize;
use crate::store::{Store, StoreError, StoreReader};
use crate::threads::{self, ThreadError};
pub(crate) use commands::RETRY_AFTER;
use commands::{CommandReceiver, CommandSender, Place, RETRY_AFTER_SUSPICION, Submission, channel};
use commit::{Committer, Witnessing};
use cosigners::CurrentCosigners;
pub use cosigners::{CosignerEvent, CosignerEvents, CosignerStatus, Cosigners, CosignersFactory, OpenedLog};
pub use published::Published;
use published::Sender;
pub use submission::{Candidate, Outcome, Results, Sequenced, SubmitError};
use trouble::Faults;
pub use trouble::{Advice, Trouble};

/// The settings of a sequencer.
#[derive(Debug, Clone)]
pub struct Options {
    /// The longest pause between two heads while entries wait for one. Heads follow each other as soon as the
    /// last one is durable, has its quorum if the log has witnesses, and signing takes at most a tenth of one
    /// core: the interval only bounds the pause where a signature is slow. A failed step is tried again after it.
    pub publish_interval: Duration,
    /// The shortest pause between two heads.
    pub least_interval: Duration,
    /// Most entries that wait to be sequenced: a few batches' worth, so that nobody waits long.
    pub pool_entries: usize,
    /// Most bytes of entries that wait.
    pub pool_bytes: usize,
    /// The shortest time between two batches, and between two heads, that fewer than 64 entries wait for: for stores where
    /// each request costs money.
    pub linger: Duration,
    /// True if a log with witnesses publishes heads that too few of them cosigned in time. Someone who is shown
    /// such a head can't tell whether others were shown another one.
    pub publish_unwitnessed: bool,
    /// The program's advice on faults, for the log's operator.
    pub advice: Advice,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            publish_interval: Duration::from_millis(100),
            least_interval: Duration::from_millis(2),
            pool_entries: 4 * crate::store::MAX_BATCH_ENTRIES,
            pool_bytes: 2 * crate::store::MAX_BATCH_BYTES,
            linger: Duration::ZERO,
            publish_unwitnessed: false,
            advice: |_| None,
        }
    }
}

/// Why a log can't start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The last checkpoint in the store is not signed by this log's key.
    #[error("the last checkpoint is not this log's: {0}; is log.key the key of this directory?")]
    Checkpoint(#[from] crate::checkpoint::CheckpointError),
    /// The store can't be read, or does not hold what was signed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The system has no more threads.
    #[error(transparent)]
    Threads(#[from] ThreadError),
}

/// A log's figures for operators. Counts begin when this process opened the log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Figures {
    /// Entries that wait to be sequenced.
    pub waiting: usize,
    /// Most entries that may wait.
    pub most_waiting: usize,
    /// True if the log accepts submissions and signs heads: not before it has heard its witnesses, not after they
    /// have shown that its files are old, not while another process appends, and not once it stops.
    pub may_sign: bool,
    /// This process's part among those that serve the log.
    pub role: Role,
    /// Size of the last head that was signed and is durable, published or not.
    pub signed_size: u64,
    /// Entries appended, without duplicates.
    pub appended: u64,
    /// Heads published. A head that is published again with other cosignatures counts once.
    pub published: u64,
    /// Heads published without the quorum that the log's settings name.
    pub published_unwitnessed: u64,
}

/// The part of a process among those that serve one log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Role {
    /// No other process can serve the log.
    #[default]
    Alone,
    /// This one appends; others may take over.
    Holder,
    /// Another one appends; this one follows and answers reads.
    Standby,
}

impl Role {
    /// The role's stable name, for machines.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Alone => "alone",
            Self::Holder => "holder",
            Self::Standby => "standby",
        }
    }
}

/// A running sequencer. Dropping it stops it: the store is closed, and its directory free again.
pub struct Sequencer {
    commands: CommandSender,
    published: watch::Receiver<Published>,
    reader: Arc<dyn StoreReader>,
    cosigners: CurrentCosigners,
    has_witnesses: bool,
    faults: Faults,
    /// Counted by the commit thread; the pool's figures are missing.
    counts: Arc<Mutex<Figures>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Sequencer {
    /// Checks the last checkpoint against the tree, publishes what is durable, and starts the commit thread. A log
    /// with witnesses signs nothing before they have said what they last saw, and publishes a head once a quorum has
    /// cosigned it.
    ///
    /// # Errors
    /// [`StartError`] if another key signed the checkpoint, the tree does not extend it, or the system has no more threads.
    pub fn start(
        store: Box<dyn Store>,
        signer: impl Into<LogSigner>,
        options: &Options,
        cosigners: Option<CosignersFactory>,
    ) -> Result<Self, StartError> {
        let (commands, receiver) = channel(options.pool_entries, options.pool_bytes, options.linger);
        let (reader, faults) = (store.reader(), Faults::new(options.advice));
        let mut committer = Committer::recover(store, signer.into(), options, faults.clone())?;
        let published = committer.publication.subscribe();
        let has_witnesses = cosigners.is_some();
        committer.witnessing = cosigners.map(|factory| Witnessing {
            factory,
            commands: commands.clone(),
            publish_unwitnessed: options.publish_unwitnessed,
        });
        committer.begin(&receiver)?;
        let (counts, cosigners) = (committer.counts.clone(), committer.cosigners.clone());
        let thread = Mutex::new(Some(spawn(committer, receiver, faults.clone())?));
        Ok(Self { commands, published, reader, cosigners, has_witnesses, faults, counts, thread })
    }

    /// Queues entries, all or none. The outcome arrives once all of them are in the state that `wait` names; or
    /// once it is clear, or has taken too long, that no such head is published.
    ///
    /// The receiver fails if the commit thread ends before it could answer.
    ///
    /// # Errors
    /// [`SubmitError`] if nothing was accepted.
    pub fn submit(
        &self,
        candidates: Vec<Candidate>,
        wait: Wait,
    ) -> Result<oneshot::Receiver<Outcome>, SubmitError> {
        let (sender, outcome) = Sender::new(wait);
        let added = self.commands.add(Submission { candidates, sender });
        added.map_err(|refused| self.explain(refused))?;
        Ok(outcome)
    }

    /// Queues entries for which room was [reserved](Self::reserve).
    ///
    /// # Errors
    /// As [`submit`](Self::submit).
    pub(crate) fn submit_reserved(
        &self,
        place: Place,
        candidates: Vec<Candidate>,
        wait: Wait,
    ) -> Result<oneshot::Receiver<Outcome>, SubmitError> {
        let (sender, outcome) = Sender::new(wait);
        let added = self.commands.add_reserved(place, Submission { candidates, sender });
        added.map_err(|refused| self.explain(refused))?;
        Ok(outcome)
    }

    /// Reserves room for a submission before its entries are checked, which may take long: what finds no room is not
    /// checked in vain.
    ///
    /// # Errors
    /// As [`submit`](Self::submit).
    pub(crate) fn reserve(&self, entries: usize, bytes: usize) -> Result<Place, SubmitError> {
        self.commands.reserve(entries, bytes).map_err(|refused| self.explain(refused))
    }

    /// Checks whether there is room for a submission of this many bytes. If not, the caller need not receive it.
    ///
    /// # Errors
    /// As [`submit`](Self::submit).
    pub fn has_room(&self, bytes: usize) -> Result<(), SubmitError> {
        self.commands.check_room(1, bytes).map_err(|refused| self.explain(refused))
    }

    /// The published head, and a way to wait for the next one.
    #[must_use]
    pub fn published(&self) -> watch::Receiver<Published> {
        self.published.clone()
    }

    /// Size of the published tree.
    #[must_use]
    pub fn published_size(&self) -> TreeSize {
        self.published.borrow().checkpoint.size
    }

    /// The store, for reading.
    #[must_use]
    pub fn reader(&self) -> &Arc<dyn StoreReader> {
        &self.reader
    }

    /// The collector of cosignatures, if the log has witnesses and this process appends.
    #[must_use]
    pub fn cosigners(&self) -> Option<Arc<dyn Cosigners>> {
        self.cosigners.get()
    }

    /// True if the log has witnesses.
    #[must_use]
    pub const fn has_witnesses(&self) -> bool {
        self.has_witnesses
    }

    /// Why the log can't append or publish as it should at the moment, the worst reason first: faults of the commit
    /// thread, damage that a reader saw, and what the witnesses suggest.
    #[must_use]
    pub fn faults(&self) -> BTreeMap<Trouble, String> {
        let mut faults = self.faults.all();
        faults.values_mut().for_each(|why| *why = retried(&*why));
        if let Some(damage) = self.reader.damage() {
            faults.entry(Trouble::Damage).or_insert(damage);
        }
        for (trouble, why) in self.troubles_by_witnesses() {
            faults.entry(trouble).or_insert(why);
        }
        faults.iter_mut().for_each(|(trouble, why)| *why = self.faults.advise(*trouble, why));
        faults
    }

    /// The worst of the [`faults`](Self::faults).
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        self.faults().into_values().next()
    }

    /// The log's figures.
    #[must_use]
    pub fn figures(&self) -> Figures {
        let (waiting, may_sign) = self.commands.load();
        let counts = *self.counts.lock().expect("no panic while it is held");
        Figures { waiting, most_waiting: self.commands.most_entries(), may_sign, ..counts }
    }

    /// Refuses further submissions, commits and publishes what waits, and returns when that is done.
    ///
    /// # Errors
    /// The fault of the log itself that kept it from publishing everything; what was acknowledged is durable.
    /// Missing witnesses are no such fault: [`faults`](Self::faults) has it.
    pub fn shut_down(&self) -> Result<(), String> {
        self.stop();
        let own = |trouble: &Trouble| matches!(trouble, Trouble::Panic | Trouble::Damage | Trouble::Storage);
        self.faults.all().into_iter().find(|(trouble, _)| own(trouble)).map_or(Ok(()), |(_, why)| Err(why))
    }

    /// Adds to a refusal what the witnesses claim: then it may last until the operator does something.
    fn explain(&self, refused: SubmitError) -> SubmitError {
        if !matches!(refused, SubmitError::AskingWitnesses { .. }) {
            return refused;
        }
        let mut suspicions = self.troubles_by_witnesses().into_iter();
        match suspicions.find_map(|(trouble, why)| (trouble == Trouble::RollbackSuspected).then_some(why)) {
            None => refused,
            suspicion => SubmitError::AskingWitnesses { suspicion, retry_after: RETRY_AFTER_SUSPICION },
        }
    }

    fn troubles_by_witnesses(&self) -> Vec<(Trouble, String)> {
        self.cosigners.get().map(|cosigners| cosigners.troubles()).unwrap_or_default()
    }

    fn stop(&self) {
        self.commands.stop();
        let thread = self.thread.lock().expect("no panic while it is held").take();
        if let Some(thread) = thread {
            // Its panics were caught and reported when they happened.
            let _ = thread.join();
        }
    }
}

/// Starts the commit thread.
fn spawn(
    committer: Committer,
    mut commands: CommandReceiver,
    faults: Faults,
) -> Result<JoinHandle<()>, ThreadError> {
    let work = move || {
        if catch_unwind(AssertUnwindSafe(|| committer.run(&mut commands))).is_err() {
            let why = "the sequencer panicked: restart the log; what was acknowledged is in the journal";
            faults.report(Trouble::Panic, why.to_owned());
            // The receiver is dropped only now: senders who learn from it that nobody answers find the fault.
        }
        drop(commands);
    };
    threads::start("sequencer", work)
}

impl Drop for Sequencer {
    fn drop(&mut self) {
        self.stop();
    }
}

#[cfg(test)]
mod tests;
