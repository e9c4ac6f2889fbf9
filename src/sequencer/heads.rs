//! Heads: signed, made durable, cosigned, shown.
//!
//! ```text
//! sign -> durable checkpoint -> (no witnesses) ------------------------> shown
//!                            -> asked -> quorum -> durable with cosignatures -> shown
//! ```

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::watch;

use super::answer::Waiting;
use super::cosigners::Cosigners;
use super::{Published, StartError};
use crate::checkpoint::{self, Checkpoint, LogSigner};
use crate::merkle::{Hash, TreeSize, prove_consistency, read_root};
use crate::store::{SignedHead, Store, StoreError};

/// How long a head waits for its quorum before the next one is signed, and before somebody is told: far
/// longer than a round trip to the other side of the world and an fsync there.
const ROUND: Duration = Duration::from_secs(1);
/// How old cosignatures get while nothing is appended: endpoints with `--max-age` want to know that the log
/// has not stalled.
const REFRESH: Duration = Duration::from_secs(600);

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

/// A log's dealings with its witnesses.
struct Cosigning {
    cosigners: Arc<dyn Cosigners>,
    /// Whether heads without a quorum are shown after all.
    unwitnessed: bool,
    gate: Gate,
    /// The newest head that they were asked for, since when, and whether it was said to be overdue.
    asked: Option<(SignedHead, Instant, bool)>,
    /// A head with its quorum that could not be made durable yet.
    pending: Option<SignedHead>,
}

pub struct Heads {
    signer: LogSigner,
    published: watch::Sender<Published>,
    /// The last head that was signed and is durable: the only thing a new head may extend.
    signed: Option<Checkpoint>,
    last_signed: Instant,
    cosigning: Option<Cosigning>,
    pub waiting: Waiting,
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
        let (waiting, last_signed) = (Waiting::default(), Instant::now());
        Ok((Self { signer, published, signed, last_signed, cosigning: None, waiting }, watch))
    }

    /// From now on heads need a quorum. What once had one is shown again.
    pub fn start_cosigning(&mut self, store: &dyn Store, cosigners: Arc<dyn Cosigners>, unwitnessed: bool) {
        let shown = store.witnessed().and_then(|note| {
            let signed = checkpoint::open(&note, &self.signer.keys()).ok()?;
            let head = signed.get();
            if !cosigners.is_quorum(&signed) {
                return None;
            }
            // A file that was lost, damaged, or is from before the settings changed only costs the wait for
            // a new quorum. It is never more than the signed head, which was durable first.
            let is_prefix = self.signed.as_ref().is_some_and(|last| head.size <= last.size)
                && read_root(store.reader().as_ref(), head.size).is_ok_and(|edge| edge.root() == head.root);
            is_prefix.then(|| SignedHead { head: head.clone(), note })
        });
        let cosigning = Cosigning { cosigners, unwitnessed, gate: Gate::Asking, asked: None, pending: None };
        self.cosigning = Some(cosigning);
        if let Some(shown) = shown {
            self.show(shown, true);
        }
    }

    pub fn gate(&self) -> Gate {
        self.cosigning.as_ref().map_or(Gate::Open, |cosigning| cosigning.gate.clone())
    }

    pub fn set_gate(&mut self, gate: Gate) {
        if let Some(cosigning) = &mut self.cosigning {
            cosigning.gate = gate;
        }
    }

    pub fn published(&self) -> Published {
        self.published.borrow().clone()
    }

    pub const fn signed(&self) -> Option<&Checkpoint> {
        self.signed.as_ref()
    }

    /// Size of the last signed head.
    fn signed_size(&self) -> TreeSize {
        self.signed.as_ref().map_or(TreeSize::ZERO, |signed| signed.size)
    }

    /// Entries in a tree of `size` that no head has gone out for.
    pub fn unsigned(&self, size: TreeSize) -> u64 {
        // Without witnesses what counts is the shown one: a reload may find a head that was signed, and
        // never shown.
        let out = match &self.cosigning {
            None => self.published.borrow().checkpoint.size,
            Some(cosigning) => cosigning.asked.as_ref().map_or(TreeSize::ZERO, |(asked, ..)| asked.head.size),
        };
        size.get().abs_diff(out.get())
    }

    /// The head that waits for its quorum, since when, and whether that was said to be overdue.
    fn unsettled(&self) -> Option<(&SignedHead, Instant, bool)> {
        let (asked, since, overdue) = self.cosigning.as_ref()?.asked.as_ref()?;
        let published = self.published.borrow();
        let settled = published.witnessed && published.checkpoint.size >= asked.head.size;
        (!settled).then_some((asked, *since, *overdue))
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
        self.unsettled().map_or(due, |(_, since, _)| due.max(since + ROUND))
    }

    pub const fn last_signed(&self) -> Instant {
        self.last_signed
    }

    /// Counts a try to sign that failed.
    pub fn tried(&mut self) {
        self.last_signed = Instant::now();
    }

    /// When something other than signing is to be done: a head is overdue, or its cosignatures are old.
    pub fn next_check(&self) -> Option<Instant> {
        let round = match (self.unsettled(), self.cosigning.as_ref().and_then(|c| c.asked.as_ref())) {
            (Some((_, since, false)), _) => Some(since + ROUND),
            (Some((_, _, true)), _) | (None, None) => None,
            (None, Some((_, since, _))) => Some(*since + REFRESH),
        };
        round.into_iter().chain(self.waiting.next_to_give_up()).min()
    }

    /// Does what [`next_check`](Self::next_check) is for. Says what is lacking where a head is overdue.
    pub fn check(&mut self, now: Instant) -> Option<String> {
        self.waiting.give_up_the_patient(now);
        let overdue = match self.unsettled() {
            Some((head, since, false)) if since + ROUND <= now => Some(head.clone()),
            _ => None,
        };
        let settled = self.unsettled().is_none();
        let cosigning = self.cosigning.as_mut()?;
        let (asked, since, told) = cosigning.asked.as_mut()?;
        if settled && *since + REFRESH <= now {
            *since = now;
            cosigning.cosigners.ask(asked);
        }
        let head = overdue?;
        *told = true;
        let expected = cosigning.cosigners.quorum();
        if !cosigning.unwitnessed {
            let shown = self.published.borrow().checkpoint.size;
            return Some(format!(
                "too few witnesses cosign: expected {expected}; no tree head above size {shown} is published before they do"
            ));
        }
        self.show(head, false);
        Some(format!(
            "too few witnesses cosign: expected {expected}; tree heads are published without them, as the settings say: a split view would go unnoticed"
        ))
    }

    /// Reads again what is signed, after a reload of the store.
    pub fn reload(&mut self, store: &dyn Store) -> Result<(), StoreError> {
        // A checkpoint that "failed" may be durable all the same; then it is the last one signed.
        self.signed = check_last_checkpoint(store, &self.signer).map_err(|e| match e {
            StartError::Store(e) => e,
            StartError::Checkpoint(e) => {
                StoreError::Damaged { what: "the checkpoint file".to_owned(), detail: e.to_string() }
            }
        })?;
        let shown = self.published.borrow().checkpoint.size;
        if self.signed_size() < shown {
            // Files that went back under a running log: memory knows better what the world has seen.
            return Err(StoreError::JournalShort { signed: shown, seen: self.signed_size() });
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
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
                let note = self.signer.sign(&head, now).to_string().into_bytes();
                // A crash before or in here leaves the old checkpoint or the new one. Nobody has
                // seen the new one, and it is an extension of the old.
                store.replace_checkpoint(durable.as_deref(), &note)?;
                note
            }
        };
        self.last_signed = Instant::now();
        self.signed = Some(head.clone());
        let head = SignedHead { head, note };
        // A crash here leaves a head that is durable and was never shown: the next start shows it, or asks
        // the witnesses again.
        match &mut self.cosigning {
            None => self.show(head, false),
            Some(cosigning) => {
                cosigning.cosigners.ask(&head);
                cosigning.asked = Some((head, self.last_signed, false));
            }
        }
        Ok(())
    }

    /// Takes a head with its quorum, unless a newer one is shown already.
    pub fn take_witnessed(&mut self, head: SignedHead) {
        let shown = self.published.borrow().checkpoint.size;
        let Some(cosigning) = &mut self.cosigning else { return };
        if head.head.size >= shown && cosigning.pending.as_ref().is_none_or(|p| p.head.size <= head.head.size)
        {
            cosigning.pending = Some(head);
        }
    }

    /// Makes a head durable that has its quorum, and shows it.
    pub fn show_pending(&mut self, store: &mut dyn Store) -> Result<bool, StoreError> {
        let Some(head) = self.cosigning.as_ref().and_then(|cosigning| cosigning.pending.clone()) else {
            return Ok(false);
        };
        let known = {
            let published = self.published.borrow();
            published.witnessed && published.checkpoint.size == head.head.size
        };
        if !known {
            // A crash in here leaves the older one or this one. The older one is shown after the restart
            // until the witnesses, who know this one, have cosigned again.
            store.replace_witnessed(&head.note)?;
        }
        // More or newer cosignatures on what is shown already are not worth two fsyncs: lost in a crash,
        // they are asked for again.
        if let Some(cosigning) = &mut self.cosigning {
            cosigning.pending = None;
        }
        self.show(head, true);
        Ok(true)
    }

    fn show(&mut self, head: SignedHead, witnessed: bool) {
        let published =
            Published { checkpoint: head.head, note: head.note.into(), at: Instant::now(), witnessed };
        self.published.send_replace(published.clone());
        self.waiting.published(&published);
    }
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
