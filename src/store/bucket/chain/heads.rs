//! Reads, checks and replaces the heads over the chain.

use super::{ATTEMPTS, Chain, unclear};
use crate::bucket::{BucketError, Creation, Object, Replacement, Tag};
use crate::checkpoint::{self, Checkpoint};
use crate::merkle::{Hash, TreeSize};
use crate::note::MAX_NOTE_BYTES;
use crate::store::SignedHead;
use crate::store::bucket::chain_error::ChainError;
use crate::store::bucket::layout::{self, HeadKind};

/// The outcome of [`Chain::replace_head`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadReplaced {
    /// The head is durable.
    Done,
    /// The bucket has another head of the same chain, which [`Chain::head`] returns: a larger one, one of the same size
    /// with other signatures, or a smaller one that replaced the head that this process knew.
    Overtaken,
}

/// A head as the bucket holds it.
pub(super) struct KnownHead {
    pub signed: SignedHead,
    pub tag: Tag,
}

impl Chain {
    /// Reads a head. Returns true if it differs from the known one.
    ///
    /// # Errors
    /// [`ChainError::RolledBack`] if the head is smaller than the known one, [`ChainError::HeadDamaged`],
    /// [`ChainError::HeadMissing`], [`ChainError::Forked`], the bucket's errors and those of `root_at`.
    pub fn read_head<E: From<ChainError>>(
        &mut self,
        kind: HeadKind,
        root_at: impl Fn(TreeSize) -> Result<Hash, E>,
    ) -> Result<bool, E> {
        let object = self.get_head(kind)?;
        let is_new = self.adopt(kind, object, root_at)?;
        self.is_head_known[kind as usize] = true;
        Ok(is_new)
    }

    /// Replaces the [known head](Self::head) with a later one of this chain. The bucket must already have all tiles of
    /// the new head. `root_at` is as for [`open`](Self::open).
    ///
    /// # Errors
    /// [`ChainError::Forked`] and [`ChainError::HeadDamaged`] if the head in the bucket, or the new one, is not a head
    /// of this chain; [`ChainError::RolledBack`] if the head in the bucket is smaller than the known one;
    /// [`ChainError::Unclear`] if the new head is or may become durable; the bucket's errors and those of `root_at`.
    pub fn replace_head<E: From<ChainError>>(
        &mut self,
        kind: HeadKind,
        note: &[u8],
        root_at: impl Fn(TreeSize) -> Result<Hash, E>,
    ) -> Result<HeadReplaced, E> {
        let key = kind.as_str();
        // 1. CHECK that the new head is on the chain, before anybody can read it.
        let new = self.parse_head(kind, note.to_vec())?;
        if new.head.size > self.edge.size() {
            let seen = format!("a head of {} leaves over batches up to {}", new.head.size, self.edge.size());
            return Err(ChainError::HeadDamaged { key: key.to_owned(), detail: seen }.into());
        }
        self.check_root(kind, &new.head, &root_at)?;
        // 2. LOOK, after an unclear answer: the earlier write may have succeeded.
        if !self.is_head_known[kind as usize]
            && let Some(outcome) = self.look_for(kind, &new, &root_at)?
        {
            return Ok(outcome);
        }
        let mut detail = String::new();
        for _ in 0..ATTEMPTS {
            let known = self.heads[kind as usize].as_ref();
            if known.is_some_and(|known| known.signed.head.size > new.head.size) {
                return Ok(HeadReplaced::Overtaken);
            }
            self.is_head_known[kind as usize] = false;
            // 3. REPLACE. A crash leaves the old head or the new one. A late write is harmless: the new head covers durable
            // batches and tiles, and the tag lets it replace only the old head.
            let replaced = match known {
                Some(known) => self.options.objects.replace(key, note, &known.tag, &layout::HEAD),
                None => self.options.objects.create(key, note, &layout::HEAD).map(|created| match created {
                    Creation::Created(tag) => Replacement::Replaced(tag),
                    Creation::Exists => Replacement::Stale,
                }),
            };
            match replaced {
                Ok(Replacement::Replaced(tag)) => {
                    self.set_head(kind, new, tag);
                    return Ok(HeadReplaced::Done);
                }
                Ok(Replacement::Stale | Replacement::Missing) => {
                    "the bucket has another head".clone_into(&mut detail);
                }
                Err(error) if error.may_be_done() => detail = error.to_string(),
                Err(error) => return Err(ChainError::Bucket(error).into()),
            }
            // 4. READ, as for a batch.
            if let Some(outcome) = self.look_for(kind, &new, &root_at)? {
                return Ok(outcome);
            }
            // 5. AGAIN: the bucket still has the old head.
        }
        self.is_head_known[kind as usize] = false;
        Err(ChainError::Unclear { key: key.to_owned(), detail }.into())
    }

    /// Reads a head that this process tries to replace with `new`. `None` if it is still the known one.
    fn look_for<E: From<ChainError>>(
        &mut self,
        kind: HeadKind,
        new: &SignedHead,
        root_at: impl Fn(TreeSize) -> Result<Hash, E>,
    ) -> Result<Option<HeadReplaced>, E> {
        let object = self.get_head(kind).map_err(|error| unclear(kind.as_str(), error))?;
        let is_mine = object.as_ref().is_some_and(|object| object.bytes == new.note);
        let is_new = self.adopt(kind, object, root_at)?;
        self.is_head_known[kind as usize] = true;
        Ok(match (is_mine, is_new) {
            (true, _) => Some(HeadReplaced::Done),
            (false, true) => Some(HeadReplaced::Overtaken),
            (false, false) => None,
        })
    }

    fn get_head(&self, kind: HeadKind) -> Result<Option<Object>, ChainError> {
        let key = kind.as_str();
        self.options.objects.get(key, MAX_NOTE_BYTES).map_err(|error| match error {
            BucketError::TooLarge { .. } => {
                ChainError::HeadDamaged { key: key.to_owned(), detail: error.to_string() }
            }
            error => error.into(),
        })
    }

    /// Checks the heads whose sizes lie within the new leaves.
    pub(super) fn check_heads_over(&self, leaf_hashes: &[Hash]) -> Result<(), ChainError> {
        for kind in HeadKind::ALL {
            let Some(SignedHead { head, .. }) = self.head(kind) else { continue };
            let covered = head.size.get().checked_sub(self.edge.size().get());
            let covered = covered.and_then(|covered| usize::try_from(covered).ok());
            if let Some(leaves) = covered.and_then(|covered| leaf_hashes.get(..covered)) {
                let mut edge = self.edge.clone();
                edge.extend(leaves);
                check_equal(kind, head, edge.root())?;
            }
        }
        Ok(())
    }

    /// Checks the object read under a head's key, and makes it the known head. Returns true if it differs from the
    /// previous one.
    fn adopt<E: From<ChainError>>(
        &mut self,
        kind: HeadKind,
        object: Option<Object>,
        root_at: impl Fn(TreeSize) -> Result<Hash, E>,
    ) -> Result<bool, E> {
        let key = kind.as_str();
        let known = &mut self.heads[kind as usize];
        let Some(Object { bytes, tag }) = object else {
            let lost = ChainError::HeadMissing { key: key.to_owned() };
            return if known.is_some() { Err(lost.into()) } else { Ok(false) };
        };
        if let Some(known) = known.as_mut().filter(|known| known.signed.note == bytes) {
            known.tag = tag;
            return Ok(false);
        }
        let signed = self.parse_head(kind, bytes)?;
        if let Some(SignedHead { head, .. }) =
            self.head(kind).filter(|known| known.head.size > signed.head.size)
        {
            let expected = format!("{key} with a head of {} leaves or more", head.size);
            let seen = format!("one of {}", signed.head.size);
            return Err(ChainError::RolledBack { expected, seen }.into());
        }
        self.check_root(kind, &signed.head, root_at)?;
        self.set_head(kind, signed, tag);
        Ok(true)
    }

    pub(super) fn set_head(&mut self, kind: HeadKind, signed: SignedHead, tag: Tag) {
        self.seen = self.seen.max(signed.head.size);
        self.heads[kind as usize] = Some(KnownHead { signed, tag });
        self.is_head_known[kind as usize] = true;
    }

    fn parse_head(&self, kind: HeadKind, note: Vec<u8>) -> Result<SignedHead, ChainError> {
        let wrong = |detail: String| ChainError::HeadDamaged { key: kind.as_str().to_owned(), detail };
        let head = if self.options.keys.is_empty() {
            checkpoint::read_unverified(&note).map_err(|e| wrong(e.to_string()))?.0
        } else {
            checkpoint::open(&note, &self.options.keys).map_err(|e| wrong(e.to_string()))?.get().clone()
        };
        if head.origin != self.options.origin {
            return Err(wrong(format!(
                "expected a head of {}, saw one of {}",
                self.options.origin, head.origin
            )));
        }
        Ok(SignedHead { head, note })
    }

    /// Checks a head against the known batches, if they reach its size.
    pub(super) fn check_root<E: From<ChainError>>(
        &self,
        kind: HeadKind,
        head: &Checkpoint,
        root_at: impl Fn(TreeSize) -> Result<Hash, E>,
    ) -> Result<(), E> {
        let root = match head.size {
            size if size > self.edge.size() => return Ok(()),
            size if size == self.edge.size() => self.edge.root(),
            TreeSize::ZERO => Hash::EMPTY_ROOT,
            size => root_at(size)?,
        };
        Ok(check_equal(kind, head, root)?)
    }
}

fn check_equal(kind: HeadKind, head: &Checkpoint, root: Hash) -> Result<(), ChainError> {
    if head.root == root {
        return Ok(());
    }
    let (key, expected, seen) = (kind.as_str().to_owned(), head.root.to_base64(), root.to_base64());
    Err(ChainError::Forked { key, size: head.size, expected, seen })
}
