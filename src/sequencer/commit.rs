//! The one thread that appends and signs.
//!
//! Commit order: stage in the journal -> apply to the tree -> answer -> sign -> durable checkpoint
//! -> publish. A comment at each step says what a crash there means; recovery is
//! [`Committer::recover`] and then this same loop.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::answer::Waiting;
use super::plan::{Known, plan};
use super::pool::{Pool, Submission, Work};
use super::{Fault, Published, StartError, SubmitError};
use crate::checkpoint::{self, Checkpoint};
use crate::merkle::{Hash, LeafIndex, TreeSize, prove_consistency, read_root};
use crate::note::NoteSigner;
use crate::store::{Batch, Store, StoreError, StoreReader};

/// A head for each entry would cost a signature and two fsyncs each: so much pause is kept at least.
const LEAST_INTERVAL: Duration = Duration::from_millis(10);
/// So many waiting entries make a head wait for the whole interval, fewer for their part of it: few
/// entries are published at once, many together.
const BUSY_ENTRIES: u32 = 1_000;

pub struct Committer {
    store: Box<dyn Store>,
    signer: NoteSigner,
    publish_interval: Duration,
    published: watch::Sender<Published>,
    waiting_for_head: Waiting,
    /// The last head that was signed and is durable: the only thing a new head may extend.
    signed: Option<Checkpoint>,
    last_publish: Instant,
    /// A storage error happened: memory is not to be trusted until the store was reloaded.
    stale: bool,
    fault: Fault,
}

struct Reader(Arc<dyn StoreReader>);

impl Known for Reader {
    fn leaf(&self, leaf: &Hash) -> Result<Option<LeafIndex>, StoreError> {
        self.0.find_leaf(leaf)
    }

    fn claim(&self, key: &Hash) -> Result<Option<Hash>, StoreError> {
        self.0.find_claim(key)
    }
}

impl Committer {
    /// Takes a store that was just opened, and publishes its head.
    pub fn recover(
        store: Box<dyn Store>,
        signer: NoteSigner,
        publish_interval: Duration,
        fault: Fault,
    ) -> Result<(Self, watch::Receiver<Published>), StartError> {
        let signed = check_last_checkpoint(store.as_ref(), &signer)?;
        // Readers need some head from the start. Where the store has none, or more than was signed,
        // the first publication below replaces this before anybody can ask.
        let placeholder = Published {
            checkpoint: Checkpoint::new(
                signer.public().name().clone(),
                store.edge().size(),
                store.edge().root(),
            ),
            note: Arc::default(),
            at: Instant::now(),
        };
        let (published, watch) = watch::channel(placeholder);
        let last_publish = Instant::now();
        let mut committer = Self {
            store,
            signer,
            publish_interval,
            published,
            waiting_for_head: Waiting::default(),
            signed,
            last_publish,
            stale: false,
            fault,
        };
        committer.publish()?;
        Ok((committer, watch))
    }

    /// Works until the pool is closed and empty.
    pub fn run(mut self, pool: &Pool) {
        loop {
            match pool.take(self.due()) {
                Work::Commit(submissions) => self.commit(submissions),
                Work::Deadline => {}
                Work::Closed => break,
            }
            if self.due().is_some_and(|due| due <= Instant::now()) {
                self.try_publish();
            }
        }
        if self.is_behind() {
            self.try_publish();
        }
    }

    /// Whether something durable is not in the published head yet.
    fn is_behind(&self) -> bool {
        self.stale || self.waiting() != 0
    }

    /// Entries that are durable and in no published head.
    fn waiting(&self) -> u64 {
        // Not the signed one: a reload may find a head that was signed, and never shown.
        self.store.edge().size().get().abs_diff(self.published.borrow().checkpoint.size.get())
    }

    /// When the next head is to be published, if one is.
    fn due(&self) -> Option<Instant> {
        if self.stale {
            return Some(self.last_publish + self.publish_interval);
        }
        let waiting = u32::try_from(self.waiting()).unwrap_or(u32::MAX).min(BUSY_ENTRIES);
        let part = self.publish_interval / BUSY_ENTRIES * waiting;
        (waiting > 0).then(|| self.last_publish + part.max(LEAST_INTERVAL).min(self.publish_interval))
    }

    fn commit(&mut self, submissions: Vec<Submission>) {
        let (candidates, replies): (Vec<_>, Vec<_>) =
            submissions.into_iter().map(|submission| (submission.candidates, submission.reply)).unzip();
        let counts: Vec<usize> = candidates.iter().map(Vec::len).collect();
        let committed = self.reload_if_stale().and_then(|()| {
            let plan = plan(&self.store.edge(), candidates, &Reader(self.store.reader()))?;
            if let Some(batch) = &plan.batch {
                self.append(batch)?;
            }
            Ok(plan.results)
        });
        // A crash before the answers leaves entries durable that nobody was told of: they are
        // published after the restart, and who sends them again gets their first index.
        let results = committed.unwrap_or_else(|error| {
            self.fail(&error, "a batch could not be stored");
            let refused = SubmitError::Storage(error.to_string());
            counts.iter().map(|count| vec![Err(refused.clone()); *count]).collect()
        });
        let published = self.published.borrow().clone();
        for (reply, results) in replies.into_iter().zip(results) {
            self.waiting_for_head.answer(reply, results, &published);
        }
    }

    fn append(&mut self, batch: &Batch) -> Result<(), StoreError> {
        // A crash in here leaves a torn batch, which recovery drops, or a whole one, which recovery
        // applies. Nobody was told of either.
        let staged = self.store.stage(batch)?;
        // A crash in here leaves the tree behind the journal: recovery catches up.
        self.store.apply(batch, staged)
    }

    /// After a storage error memory may differ from what is durable, so everything is read again.
    fn reload_if_stale(&mut self) -> Result<(), StoreError> {
        if !self.stale {
            return Ok(());
        }
        self.store.reload()?;
        // A checkpoint that "failed" may be durable all the same; then it is the last one signed.
        self.signed = check_last_checkpoint(self.store.as_ref(), &self.signer).map_err(|e| match e {
            StartError::Store(e) => e,
            StartError::Checkpoint(e) => {
                StoreError::Damaged { what: "the checkpoint file".to_owned(), detail: e.to_string() }
            }
        })?;
        let shown = self.published.borrow().checkpoint.size;
        let signed = self.signed.as_ref().map_or(TreeSize::ZERO, |signed| signed.size);
        if signed < shown {
            // Files that went back under a running log: memory knows better what the world has seen.
            return Err(StoreError::JournalShort { signed: shown, seen: signed });
        }
        self.stale = false;
        self.fault.set(None);
        tracing::info!(size = %self.store.edge().size(), "the store was reloaded");
        Ok(())
    }

    fn try_publish(&mut self) {
        // Also after a failure: the next try is an interval away, not at once.
        self.last_publish = Instant::now();
        if let Err(error) = self.reload_if_stale().and_then(|()| self.publish()) {
            self.fail(&error, "the tree head could not be published");
            self.waiting_for_head.give_up();
        }
    }

    fn fail(&mut self, error: &StoreError, what: &'static str) {
        let fault = Some(format!("{what}: {error}"));
        // It is tried again many times a second; the same reason is worth one line.
        if self.fault.get() != fault {
            tracing::error!(%error, what);
        }
        self.fault.set(fault);
        self.stale = true;
    }

    /// Signs the head of what is durable, makes that durable, and shows it.
    fn publish(&mut self) -> Result<(), StoreError> {
        let edge = self.store.edge();
        let head = Checkpoint::new(self.signer.public().name().clone(), edge.size(), edge.root());
        let note = match (&self.signed, self.store.checkpoint()) {
            // Signed before, durable, and perhaps never shown: after a start, or a write that failed
            // but persisted.
            (Some(signed), Some(durable)) if *signed == head => durable,
            (signed, durable) => {
                if let Some(signed) = signed {
                    self.prove_extension(signed, &head)?;
                }
                let note = head.sign(&self.signer).to_string().into_bytes();
                // A crash before or in here leaves the old checkpoint or the new one. Nobody has
                // seen the new one, and it is an extension of the old.
                self.store.replace_checkpoint(durable.as_deref(), &note)?;
                note
            }
        };
        self.last_publish = Instant::now();
        self.signed = Some(head.clone());
        // A crash here leaves a head that is durable and was never shown: the next start shows it.
        let published = Published { checkpoint: head, note: note.into(), at: self.last_publish };
        self.published.send_replace(published.clone());
        self.waiting_for_head.published(&published);
        Ok(())
    }

    /// Never signs a head that is no proven extension of the last one: what is damaged or wrong in
    /// here must not become a fork out there.
    fn prove_extension(&self, signed: &Checkpoint, head: &Checkpoint) -> Result<(), StoreError> {
        let reader = self.store.reader();
        let (old, new) = ((signed.size, &signed.root), (head.size, &head.root));
        match prove_consistency(reader.as_ref(), old, new)? {
            Ok(_) => Ok(()),
            Err(e) => Err(StoreError::TreeDamaged {
                detail: format!(
                    "the head at {} is no extension of the signed one at {}: {e}",
                    head.size, signed.size
                ),
            }),
        }
    }
}

/// The last checkpoint has to be signed by this log's key, and the tree has to extend it.
fn check_last_checkpoint(store: &dyn Store, signer: &NoteSigner) -> Result<Option<Checkpoint>, StartError> {
    let Some(bytes) = store.checkpoint() else { return Ok(None) };
    let signed = checkpoint::open(&bytes, std::slice::from_ref(signer.public()))?.get().clone();
    let seen = store.edge().size();
    if signed.size > seen {
        return Err(StoreError::JournalShort { signed: signed.size, seen }.into());
    }
    let root = read_root(store.reader().as_ref(), signed.size)?.root();
    if root != signed.root {
        let (expected, seen) = (signed.root.to_base64(), root.to_base64());
        return Err(StoreError::JournalForked { size: signed.size, expected, seen }.into());
    }
    Ok(Some(signed))
}
