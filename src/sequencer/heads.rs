//! Heads: signed, made durable, cosigned, shown.
//!
//! ```text
//! sign -> durable checkpoint -> (no witnesses) ------------------------> shown
//!                            -> asked -> quorum -> durable with cosignatures -> shown
//! ```

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::answer::Waiting;
use super::cosigners::Cosigners;
use super::figures::Counts;
use super::{Published, StartError};
use crate::checkpoint::{self, Checkpoint, LogSigner};
use crate::clock;
use crate::merkle::{Hash, TreeSize, prove_consistency, read_root};
use crate::store::{SignedHead, Store, StoreError};

/// How long a head waits for its quorum before somebody is told, and at first before the next one is
/// signed: far longer than a round trip to the other side of the world and an fsync there.
const ROUND: Duration = Duration::from_secs(1);
/// How long a head waits at most before the next one is signed. Until then the wait doubles from head to
/// head, so that witnesses that take seconds, each at its own pace, come to cosign the same one.
const LONGEST_ROUND: Duration = Duration::from_secs(16);
/// How old cosignatures get while nothing is appended: endpoints with `--max-age` want to know that the log
/// has not stalled.
const REFRESH: Duration = Duration::from_secs(600);
/// How long the witnesses may take to say what they last saw before somebody is told: each has five seconds
/// for an answer.
const START: Duration = Duration::from_secs(6);

/// What the witnesses allow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gate {
    /// They are being asked what they last saw.
    Asking,
    /// The log may sign.
    Open,
    /// The log must not sign, for this reason.
    Shut(String),
}

/// The newest head that cosignatures were asked for.
struct Asked {
    head: SignedHead,
    since: Instant,
    /// It, or a larger one, has its quorum since then.
    settled: bool,
    /// It was said to be overdue.
    told: bool,
}

/// A log's dealings with its witnesses.
struct Cosigning {
    cosigners: Arc<dyn Cosigners>,
    /// Whether heads without a quorum are shown after all.
    unwitnessed: bool,
    gate: Gate,
    /// When they were first asked what they saw, and whether it was said that this takes long.
    started: (Instant, bool),
    asked: Option<Asked>,
    /// How long a head waits for its quorum before the next one is signed.
    round: Duration,
    /// A head with its quorum that could not be made durable yet.
    pending: Option<SignedHead>,
    /// Tree size of the last one that was.
    durable: TreeSize,
}

impl Cosigning {
    /// The head that waits for its quorum.
    fn unsettled(&self) -> Option<&Asked> {
        self.asked.as_ref().filter(|asked| !asked.settled)
    }
}

pub struct Heads {
    signer: LogSigner,
    published: watch::Sender<Published>,
    /// The last head that was signed and is durable: the only thing a new head may extend.
    signed: Option<Checkpoint>,
    last_signed: Instant,
    cosigning: Option<Cosigning>,
    pub waiting: Waiting,
    pub counts: Arc<Counts>,
}

impl Heads {
    /// The heads of a store that was just opened; nothing is signed or shown yet.
    pub fn recover(
        store: &dyn Store,
        signer: LogSigner,
    ) -> Result<(Self, watch::Receiver<Published>), StartError> {
        let signed = check_last_checkpoint(store, &signer)?;
        // Readers need some head from the start. This one has no note, and is replaced before anybody can
        // ask, or is told apart by that.
        let (published, watch) = watch::channel(Published {
            checkpoint: Checkpoint::new(signer.origin().clone(), TreeSize::ZERO, Hash::EMPTY_ROOT),
            note: Arc::default(),
            at: Instant::now(),
            witnessed: false,
        });
        let (waiting, last_signed, counts) = (Waiting::default(), Instant::now(), Arc::default());
        let mut heads =
            Self { signer, published, signed: None, last_signed, cosigning: None, waiting, counts };
        heads.set_signed(signed);
        Ok((heads, watch))
    }

    /// From now on heads need a quorum. What once was shown is shown again.
    pub fn start_cosigning(&mut self, store: &dyn Store, cosigners: Arc<dyn Cosigners>, unwitnessed: bool) {
        // The last signed head carries its quorum where a repair has brought it; and where heads are shown
        // without one, it was shown.
        let candidates = [store.witnessed(), store.checkpoint()].into_iter().flatten();
        let shown = candidates.filter_map(|note| self.shown_before(store, &cosigners, note, unwitnessed));
        let shown = shown.max_by_key(|(head, witnessed)| (head.head.size, *witnessed));
        let durable = shown.as_ref().filter(|(_, witnessed)| *witnessed).map(|(head, _)| head.head.size);
        self.cosigning = Some(Cosigning {
            cosigners,
            unwitnessed,
            gate: Gate::Asking,
            started: (Instant::now(), false),
            asked: None,
            round: ROUND,
            pending: None,
            durable: durable.unwrap_or_default(),
        });
        if let Some((head, witnessed)) = shown {
            self.show(head, witnessed);
        }
    }

    /// A head that may have been shown before a restart, and whether it has its quorum. A file that was
    /// lost, damaged, or is from before the settings changed only costs the wait for a new quorum.
    fn shown_before(
        &self,
        store: &dyn Store,
        cosigners: &Arc<dyn Cosigners>,
        note: Vec<u8>,
        unwitnessed: bool,
    ) -> Option<(SignedHead, bool)> {
        let signed = checkpoint::open(&note, &self.signer.keys()).ok()?;
        let (head, witnessed) = (signed.get().clone(), cosigners.is_quorum(&signed));
        // It is never more than the signed head, which was durable first.
        let is_prefix = self.signed.as_ref().is_some_and(|last| head.size <= last.size)
            && read_root(store.reader().as_ref(), head.size).is_ok_and(|edge| edge.root() == head.root);
        ((witnessed || unwitnessed) && is_prefix).then_some((SignedHead { head, note }, witnessed))
    }

    pub fn gate(&self) -> &Gate {
        self.cosigning.as_ref().map_or(&Gate::Open, |cosigning| &cosigning.gate)
    }

    /// The witnesses have seen nothing that this log does not have.
    pub fn open(&mut self) {
        if let Some(cosigning) = &mut self.cosigning {
            cosigning.gate = Gate::Open;
        }
    }

    /// The log must not sign any more, nor show what it signed and nobody has seen: that may be the second
    /// history.
    pub fn shut(&mut self, why: String) {
        if let Some(cosigning) = &mut self.cosigning {
            cosigning.gate = Gate::Shut(why);
            cosigning.asked = None;
            cosigning.pending = None;
        }
        self.waiting.give_up();
    }

    pub fn published(&self) -> Published {
        self.published.borrow().clone()
    }

    fn set_signed(&mut self, signed: Option<Checkpoint>) {
        self.signed = signed;
        self.counts.signed_size.store(self.signed_size().get(), Ordering::Relaxed);
    }

    pub const fn signed(&self) -> Option<&Checkpoint> {
        self.signed.as_ref()
    }

    /// Size of the last signed head.
    fn signed_size(&self) -> TreeSize {
        self.signed.as_ref().map_or(TreeSize::ZERO, |signed| signed.size)
    }

    /// The last head that has left this process: shown, or sent to the witnesses.
    fn out(&self) -> Checkpoint {
        let asked = self.cosigning.as_ref().and_then(|cosigning| cosigning.asked.as_ref());
        let shown = self.published.borrow().checkpoint.clone();
        asked.map(|asked| asked.head.head.clone()).filter(|asked| asked.size > shown.size).unwrap_or(shown)
    }

    /// Entries in a tree of `size` that no head has gone out for.
    pub fn unsigned(&self, size: TreeSize) -> u64 {
        // Without witnesses what counts is the shown one: a reload may find a head that was signed, and
        // never shown.
        let out = match &self.cosigning {
            None => self.published.borrow().checkpoint.size,
            Some(cosigning) => cosigning.asked.as_ref().map_or(TreeSize::ZERO, |asked| asked.head.head.size),
        };
        size.get().abs_diff(out.get())
    }

    /// Whether anything durable is in no shown head yet.
    pub fn is_behind(&self, size: TreeSize) -> bool {
        self.published.borrow().checkpoint.size != size || self.has_pending()
    }

    pub fn has_pending(&self) -> bool {
        self.cosigning.as_ref().is_some_and(|cosigning| cosigning.pending.is_some())
    }

    /// When the next head may be signed, given when it would be without witnesses: one after the other, so
    /// that witnesses of different speed agree on the same ones.
    pub fn may_sign_at(&self, due: Instant) -> Instant {
        let Some(cosigning) = &self.cosigning else { return due };
        cosigning.unsettled().map_or(due, |asked| due.max(asked.since + cosigning.round))
    }

    pub const fn last_signed(&self) -> Instant {
        self.last_signed
    }

    /// Counts a try to sign that failed.
    pub fn tried(&mut self) {
        self.last_signed = Instant::now();
    }

    /// When something other than signing is to be done: a head or a start is overdue, or cosignatures are
    /// old.
    pub fn next_check(&self) -> Option<Instant> {
        let cosigning = self.cosigning.as_ref();
        let start = cosigning.filter(|c| c.gate == Gate::Asking && !c.started.1).map(|c| c.started.0 + START);
        let asked = cosigning.and_then(|cosigning| cosigning.asked.as_ref());
        let round = asked.and_then(|asked| match (asked.settled, asked.told) {
            (true, _) => Some(asked.since + REFRESH),
            (false, false) => Some(asked.since + ROUND),
            (false, true) => None,
        });
        start.into_iter().chain(round).chain(self.waiting.next_to_give_up()).min()
    }

    /// Does what [`next_check`](Self::next_check) is for. Says what is lacking where something is overdue.
    pub fn check(&mut self, now: Instant) -> Option<String> {
        self.waiting.give_up_the_patient(now);
        let (shown, nothing_shown) = {
            let published = self.published.borrow();
            (published.checkpoint.size, published.note.is_empty())
        };
        let cosigning = self.cosigning.as_mut()?;
        if cosigning.gate == Gate::Asking && !cosigning.started.1 && cosigning.started.0 + START <= now {
            cosigning.started.1 = true;
            let expected = cosigning.cosigners.quorum();
            return Some(format!(
                "the log asks its witnesses what they saw last, and too few have answered: expected {expected}; it takes and signs nothing before it knows"
            ));
        }
        let asked = cosigning.asked.as_mut()?;
        if asked.settled && asked.since + REFRESH <= now {
            (asked.since, asked.settled, asked.told) = (now, false, false);
            cosigning.cosigners.ask(&asked.head);
        }
        if asked.settled || asked.told || asked.since + ROUND > now {
            return None;
        }
        asked.told = true;
        let expected = cosigning.cosigners.quorum();
        if !cosigning.unwitnessed {
            return Some(format!(
                "too few witnesses cosign: expected {expected}; no tree head above size {shown} is published before they do"
            ));
        }
        let head = asked.head.clone();
        // What is shown already, perhaps with an older quorum, is not made worse.
        if head.head.size > shown || nothing_shown {
            self.show(head, false);
        }
        Some(format!(
            "too few witnesses cosign: expected {expected}; tree heads are published without them, as the settings say: a split view would go unnoticed"
        ))
    }

    /// Reads again what is signed, after a reload of the store.
    pub fn reload(&mut self, store: &dyn Store) -> Result<(), StoreError> {
        // A checkpoint that "failed" may be durable all the same; then it is the last one signed.
        let signed = check_last_checkpoint(store, &self.signer).map_err(|e| match e {
            StartError::Store(e) => e,
            StartError::Checkpoint(e) => {
                StoreError::Damaged { what: "the checkpoint file".to_owned(), detail: e.to_string() }
            }
        })?;
        self.set_signed(signed);
        let out = self.out();
        let signed = self.signed_size();
        if signed < out.size {
            // Files that went back under a running log: memory knows better what the world has seen.
            return Err(StoreError::JournalShort { signed: out.size, seen: signed });
        }
        let root = read_root(store.reader().as_ref(), out.size)?.root();
        if root != out.root {
            let (expected, seen) = (out.root.to_base64(), root.to_base64());
            return Err(StoreError::JournalForked { size: out.size, expected, seen });
        }
        Ok(())
    }

    /// Signs the head of what is durable and makes that durable. Then it is shown, or cosignatures are
    /// asked for.
    pub fn sign(&mut self, store: &mut dyn Store) -> Result<(), StoreError> {
        let edge = store.edge();
        let head = Checkpoint::new(self.signer.origin().clone(), edge.size(), edge.root());
        let note = match (&self.signed, store.checkpoint()) {
            // Signed before, durable, and perhaps never shown: after a start, or a write that failed
            // but persisted.
            (Some(signed), Some(durable)) if *signed == head => durable,
            (signed, durable) => {
                if let Some(signed) = signed {
                    prove_extension(store, signed, &head)?;
                }
                let note = self.signer.sign(&head, clock::now()).to_string().into_bytes();
                // A crash before or in here leaves the old checkpoint or the new one. Nobody has
                // seen the new one, and it is an extension of the old.
                store.replace_checkpoint(durable.as_deref(), &note)?;
                note
            }
        };
        self.last_signed = Instant::now();
        self.set_signed(Some(head.clone()));
        let head = SignedHead { head, note };
        // A crash here leaves a head that is durable and was never shown: the next start shows it, or asks
        // the witnesses again.
        match &mut self.cosigning {
            None => self.show(head, false),
            Some(cosigning) => {
                if cosigning.unsettled().is_some() {
                    cosigning.round = (cosigning.round * 2).min(LONGEST_ROUND);
                }
                cosigning.cosigners.ask(&head);
                let since = self.last_signed;
                cosigning.asked = Some(Asked { head, since, settled: false, told: false });
            }
        }
        Ok(())
    }

    /// Takes a head with its quorum, unless a newer one had its own before.
    pub fn take_witnessed(&mut self, head: SignedHead) {
        let Some(cosigning) = &mut self.cosigning else { return };
        let newest = cosigning.pending.as_ref().map_or(cosigning.durable, |pending| pending.head.size);
        if head.head.size >= newest && !matches!(cosigning.gate, Gate::Shut(_)) {
            cosigning.pending = Some(head);
        }
    }

    /// Makes a head durable that has its quorum, and shows it. Whether that was the newest one; `None` where
    /// there is none.
    pub fn show_pending(&mut self, store: &mut dyn Store) -> Result<Option<bool>, StoreError> {
        let Some(cosigning) = &mut self.cosigning else { return Ok(None) };
        let Some(head) = cosigning.pending.clone() else { return Ok(None) };
        let (size, shown) = (head.head.size, self.published.borrow().clone());
        if !shown.witnessed || shown.checkpoint.size != size {
            // A crash in here leaves the older one or this one. The older one is shown after the restart
            // until the witnesses, who know this one, have cosigned again.
            store.replace_witnessed(&head.note)?;
        }
        // More or newer cosignatures on what is shown already are not worth two fsyncs: lost in a crash,
        // they are asked for again.
        cosigning.pending = None;
        cosigning.durable = size;
        let newest = cosigning.asked.as_mut().is_none_or(|asked| {
            asked.settled |= size >= asked.head.head.size;
            asked.settled
        });
        if newest {
            cosigning.round = ROUND;
        }
        if size >= shown.checkpoint.size {
            self.show(head, true);
        } else {
            // A larger one is shown without its quorum, as the settings say. Who asked for a quorum is
            // answered with this one; nobody is shown a smaller tree.
            self.waiting.published(&published(head, true));
        }
        Ok(Some(newest))
    }

    fn show(&mut self, head: SignedHead, witnessed: bool) {
        let is_new = {
            let before = self.published.borrow();
            before.note.is_empty() || before.checkpoint != head.head
        };
        Counts::add(&self.counts.published, usize::from(is_new));
        let lacks_quorum = self.cosigning.is_some() && !witnessed;
        Counts::add(&self.counts.published_unwitnessed, usize::from(lacks_quorum && is_new));
        let published = published(head, witnessed);
        self.published.send_replace(published.clone());
        self.waiting.published(&published);
    }
}

fn published(head: SignedHead, witnessed: bool) -> Published {
    Published { checkpoint: head.head, note: head.note.into(), at: Instant::now(), witnessed }
}

/// Never signs a head that is no proven extension of the last one: what is damaged or wrong in here must
/// not become a fork out there.
fn prove_extension(store: &dyn Store, signed: &Checkpoint, head: &Checkpoint) -> Result<(), StoreError> {
    let reader = store.reader();
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

/// The last checkpoint has to be signed by this log's key, and the tree has to extend it.
fn check_last_checkpoint(store: &dyn Store, signer: &LogSigner) -> Result<Option<Checkpoint>, StartError> {
    let Some(bytes) = store.checkpoint() else { return Ok(None) };
    let signed = checkpoint::open(&bytes, &signer.keys())?.get().clone();
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
