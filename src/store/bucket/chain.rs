//! The chain of batches in a bucket, and the heads over it.
//!
//! A batch's key is the index of its first entry, so the last batch says under which key the next one stands, and the
//! bucket creates each key once. Whatever servers believe about themselves, two of them can't both have a place: that
//! condition is the lock, and the [lease](super::lease) only keeps them from trying at the same time.
//!
//! ```text
//! batch/…00   <-  batch/…03   <-  batch/…10   <-  nothing yet: where the next append goes
//! entries 0-2     3-9             10
//!                      ^ checkpoint: 10 leaves; always a prefix of the chain
//! ```
//!
//! A chain whose log was moved away ends with a [seal](super::seal) in the place of its next batch.
//!
//! A [`Chain`] has no thread, no clock and no files, and its calls block. It believes nothing that it has not checked: a
//! batch has to continue its own tree and to make the root that it says, a head has to be signed and on the chain.

mod anchor;
mod heads;
mod sealing;

use std::io;
use std::sync::Arc;

use super::batch_object::{self, BatchObject, ID_BYTES, MAX_OBJECT_BYTES, WriterId};
use super::chain_error::ChainError;
use super::layout::{self, BATCHES, HeadKind};
use super::seal::Seal;
use crate::bucket::{BucketError, Creation, MAX_LISTED, Objects};
use crate::checkpoint::{Origin, origin_hash};
use crate::merkle::{Growth, Hash, LeafIndex, RightEdge, TreeSize};
use crate::note::NoteKey;
use crate::store::{Batch, Describe, SignedHead};
pub use heads::HeadReplaced;
use heads::KnownHead;
pub use sealing::Sealed;

/// The number of times that one write is sent while its answers are unclear and the object is not there.
const ATTEMPTS: usize = 2;

/// Makes the nonce of each attempt.
pub type Nonces = Box<dyn FnMut() -> io::Result<[u8; ID_BYTES]> + Send>;

/// The parts of a chain that its server provides.
pub struct ChainOptions {
    /// The bucket.
    pub objects: Arc<dyn Objects>,
    /// The log.
    pub origin: Origin,
    /// The keys that sign the log's heads. Without any, signatures are not checked, and nothing is ever signed.
    pub keys: Vec<NoteKey>,
    /// This process.
    pub writer: WriterId,
    /// Random, except in tests.
    pub nonces: Nonces,
}

impl ChainOptions {
    /// For a process with random nonces.
    #[must_use]
    pub fn new(objects: Arc<dyn Objects>, origin: Origin, keys: Vec<NoteKey>, writer: WriterId) -> Self {
        Self { objects, origin, keys, writer, nonces: Box::new(batch_object::random) }
    }
}

/// A batch that was found at the end of the known chain, checked.
#[derive(Debug, Clone)]
pub struct Followed {
    /// The batch.
    pub object: BatchObject,
    /// The leaf hashes of its entries.
    pub leaf_hashes: Vec<Hash>,
    /// The tree after it.
    pub growth: Growth,
}

impl Followed {
    /// The batch as it is applied. `describe` computes what the indexes hold of an entry.
    #[must_use]
    pub fn into_batch(self, describe: &Describe) -> Batch {
        let entries: Vec<Vec<u8>> = self.object.entries().map(<[u8]>::to_vec).collect();
        let facts = entries.iter().map(|entry| describe(entry)).collect();
        let first = self.object.head().first;
        Batch { first, entries, leaf_hashes: self.leaf_hashes, facts, growth: self.growth }
    }
}

/// The outcome of [`Chain::append`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appended {
    /// The batch is durable, and the next one goes after it.
    Done,
    /// Another batch has the place: [`Chain::next_batch`] has it. `by` may be this process, whose earlier attempt was done
    /// after all.
    Overtaken {
        /// The writer of that batch.
        by: WriterId,
    },
}

/// The chain of batches as far as this process knows it, and its two heads.
pub struct Chain {
    options: ChainOptions,
    origin_hash: Hash,
    /// The tree over the known batches.
    edge: RightEdge,
    /// The largest tree that this process has seen any sign of.
    seen: TreeSize,
    /// Set while the last that was heard about the next key is that nothing is there.
    is_end_known: bool,
    /// Set once the keys after the next one were looked at.
    is_gap_checked: bool,
    /// The batch at the next key, found by an append.
    found: Option<BatchObject>,
    heads: [Option<KnownHead>; HeadKind::ALL.len()],
    /// Unset after an unclear answer, until the head is read.
    is_head_known: [bool; HeadKind::ALL.len()],
}

impl Chain {
    /// Opens the chain of which the caller has the first entries, with the tree `edge` over them. `root_at` computes the
    /// root of a smaller tree than that; it is called for heads that are not larger.
    ///
    /// # Errors
    /// [`ChainError`], and those of `root_at`. [`ChainError::RolledBack`] if the bucket does not have what the caller has.
    pub fn open<E: From<ChainError>>(
        options: ChainOptions,
        edge: RightEdge,
        root_at: impl Fn(TreeSize) -> Result<Hash, E>,
    ) -> Result<Self, E> {
        let mut chain = Self {
            origin_hash: origin_hash(&options.origin),
            options,
            edge: RightEdge::default(),
            seen: TreeSize::ZERO,
            is_end_known: false,
            is_gap_checked: false,
            found: None,
            heads: [None, None],
            is_head_known: [false; HeadKind::ALL.len()],
        };
        chain.restart(edge, root_at)?;
        Ok(chain)
    }

    /// Forgets everything that was not read from the bucket, and begins again at `edge`, as opening does. That the chain
    /// was longer before is not forgotten.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn restart<E: From<ChainError>>(
        &mut self,
        edge: RightEdge,
        root_at: impl Fn(TreeSize) -> Result<Hash, E>,
    ) -> Result<(), E> {
        self.seen = self.seen.max(edge.size());
        self.edge = edge;
        (self.found, self.is_end_known, self.is_gap_checked) = (None, false, false);
        // 1. HEADS, the published one first: it is never larger than the signed one, however they grow meanwhile.
        for kind in HeadKind::ALL {
            self.read_head(kind, &root_at)?;
            // Also one that was known before: it is compared with another tree now.
            if let Some(known) = self.head(kind) {
                self.check_root(kind, &known.head, &root_at)?;
            }
        }
        // 2. ANCHOR: the bucket has the batch that ends where the caller's tree ends, with the same root. If not, the
        // caller's tree is of another chain, or the bucket lost its end.
        Ok(self.check_anchor()?)
    }

    /// The tree over the known batches.
    #[must_use]
    pub const fn edge(&self) -> &RightEdge {
        &self.edge
    }

    /// This process.
    #[must_use]
    pub const fn writer(&self) -> WriterId {
        self.options.writer
    }

    /// A head as it was last read or written. It may be over more batches than are known; [`next_batch`](Self::next_batch) checks it
    /// when it gets there.
    #[must_use]
    pub fn head(&self, kind: HeadKind) -> Option<&SignedHead> {
        self.heads[kind as usize].as_ref().map(|known| &known.signed)
    }

    /// Takes in the batch at the end of the known chain. `None` if there is none.
    ///
    /// # Errors
    /// [`ChainError::BatchDamaged`] unless the batch continues this chain, [`ChainError::Forked`] if a head is not on it,
    /// [`ChainError::Sealed`] if the log goes on elsewhere, [`ChainError::RolledBack`] if the chain ends before something that was seen, and the bucket's errors.
    pub fn next_batch(&mut self) -> Result<Option<Followed>, ChainError> {
        if let Some(object) = self.found.take() {
            return self.take(object).map(Some);
        }
        self.is_end_known = false;
        let key = layout::batch(self.edge.next_index());
        if let Some(object) = self.get_batch(&key)? {
            return self.take(object).map(Some);
        }
        if self.seen > self.edge.size() {
            let expected = format!("batches up to tree size {}, which was seen before", self.seen);
            return Err(ChainError::RolledBack { expected, seen: format!("an end at {}", self.edge.size()) });
        }
        // A batch that was deleted leaves a gap, and an append would fill it with another one.
        if !self.is_gap_checked
            && let Some((later, _)) = self.ahead(1)?.first()
        {
            // It may have been written since.
            let Some(object) = self.get_batch(&key)? else {
                let seen = format!("none, and {}", layout::batch(*later));
                return Err(ChainError::RolledBack { expected: key, seen });
            };
            return self.take(object).map(Some);
        }
        (self.is_end_known, self.is_gap_checked) = (true, true);
        Ok(None)
    }

    /// The first indices of batches after the known ones with the lengths of their objects, at most `limit`, to fetch
    /// several at once: [`accept`](Self::accept) takes them in.
    ///
    /// # Errors
    /// The bucket's.
    pub fn ahead(&self, limit: usize) -> Result<Vec<(LeafIndex, u64)>, ChainError> {
        let next = self.edge.next_index();
        // The key before the next one: `after` is exclusive.
        let after = next.get().checked_sub(1).and_then(LeafIndex::new).map(layout::batch);
        let listing = self.options.objects.list(
            BATCHES,
            after.as_deref().unwrap_or_default(),
            limit.min(MAX_LISTED),
        )?;
        let batches = listing.objects.iter();
        Ok(batches.filter_map(|listed| Some((layout::parse_batch(&listed.key)?, listed.size))).collect())
    }

    /// Takes in the batch at the end of the known chain, whose object the caller has read.
    ///
    /// # Errors
    /// As [`next_batch`](Self::next_batch).
    pub fn accept(&mut self, bytes: Vec<u8>) -> Result<Followed, ChainError> {
        let key = layout::batch(self.edge.next_index());
        let object = self.parse(&key, bytes)?;
        self.take(object)
    }

    /// Appends a batch to the known chain.
    ///
    /// # Errors
    /// [`ChainError::Unclear`] if it may be durable, now or later: the next call reads before it writes.
    /// [`ChainError::Sealed`] if the log goes on elsewhere. Other errors, if the bucket refused it.
    ///
    /// # Panics
    /// If the batch is not one on top of [`edge`](Self::edge): no other server would believe it.
    pub fn append(&mut self, batch: &Batch) -> Result<Appended, ChainError> {
        let mut after = self.edge.clone();
        after.extend(&batch.leaf_hashes);
        assert!(batch.first == self.edge.next_index() && batch.growth.edge == after, "on top of the chain");
        let key = layout::batch(batch.first);
        // 1. LOOK, unless nothing was there when the key was last read, and no write to it is unclear.
        if !self.is_end_known {
            if let Some(object) = self.get_batch(&key)? {
                return Ok(self.overtaken(object));
            }
            self.is_end_known = true;
        }
        // 2. ENCODE. The nonce tells this attempt from all others, also from an earlier one of this process with the same
        // entries. A crash before the next step leaves nothing behind.
        let nonce = (self.options.nonces)().map_err(ChainError::Randomness)?;
        let bytes =
            batch_object::encode(self.origin_hash, batch, self.edge.root(), self.options.writer, nonce);
        self.is_end_known = false;
        let mut detail = String::new();
        for _ in 0..ATTEMPTS {
            // 3. CREATE. From here on the batch may be durable at any time, even after a crash or an error: whoever comes
            // next finds it, follows it, and gives its entries the indices that it says. Nobody was told of it.
            let created = self.options.objects.create(&key, &bytes, &layout::IMMUTABLE);
            let exists = match created {
                Ok(Creation::Created(_)) => return Ok(self.advance(batch)),
                Ok(Creation::Exists) => true,
                Err(error) if error.may_be_done() => {
                    detail = error.to_string();
                    false
                }
                Err(error) => return Err(error.into()),
            };
            // 4. READ. An answer that says "exists", or nothing, may come from a server that wrote the batch all the same,
            // so the bytes decide. A crash here is one after step 3.
            match self.get_batch_again(&key)? {
                Some(object) if object.as_bytes() == bytes => return Ok(self.advance(batch)),
                Some(object) => return Ok(self.overtaken(object)),
                None if exists => {
                    let detail = "the bucket says that it exists, and does not have it".to_owned();
                    return Err(ChainError::Unclear { key, detail });
                }
                // 5. AGAIN, with the same bytes: if the first write comes late, it is refused or has the same effect.
                None => {}
            }
        }
        Err(ChainError::Unclear { key, detail })
    }

    fn get_batch(&self, key: &str) -> Result<Option<BatchObject>, ChainError> {
        match self.options.objects.get(key, MAX_OBJECT_BYTES) {
            Ok(object) => object.map(|object| self.parse(key, object.bytes)).transpose(),
            Err(error @ BucketError::TooLarge { .. }) => {
                Err(ChainError::BatchDamaged { key: key.to_owned(), detail: error.to_string() })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Parses what stands at the end of the known chain.
    fn parse(&self, key: &str, bytes: Vec<u8>) -> Result<BatchObject, ChainError> {
        if Seal::is_one(&bytes) {
            return Err(self.ended_by(key, &bytes));
        }
        BatchObject::parse(bytes)
            .map_err(|e| ChainError::BatchDamaged { key: key.to_owned(), detail: e.to_string() })
    }

    /// Reads a batch after a write of which it is not known whether it was done.
    fn get_batch_again(&self, key: &str) -> Result<Option<BatchObject>, ChainError> {
        self.get_batch(key).map_err(|error| unclear(key, error))
    }

    /// Keeps a batch of somebody else for [`next_batch`](Self::next_batch).
    fn overtaken(&mut self, object: BatchObject) -> Appended {
        let by = object.head().writer;
        self.found = Some(object);
        Appended::Overtaken { by }
    }

    fn advance(&mut self, batch: &Batch) -> Appended {
        self.edge = batch.growth.edge.clone();
        self.seen = self.seen.max(self.edge.size());
        self.is_end_known = true;
        Appended::Done
    }

    /// Takes in a batch, if it is the one that continues this chain.
    fn take(&mut self, object: BatchObject) -> Result<Followed, ChainError> {
        // `init` writes the first head, so a log with batches has one; with witnesses, the published one comes with the
        // first quorum. Stores without keys are no logs.
        let has_head = HeadKind::ALL.into_iter().any(|kind| self.head(kind).is_some());
        if !self.options.keys.is_empty() && !has_head {
            return Err(ChainError::HeadMissing { key: HeadKind::Published.as_str().to_owned() });
        }
        let head = object.head();
        let wrong =
            |detail: String| ChainError::BatchDamaged { key: layout::batch(self.edge.next_index()), detail };
        if head.origin != self.origin_hash {
            let (expected, seen) = (self.origin_hash.to_hex(), head.origin.to_hex());
            return Err(wrong(format!(
                "expected a batch of the log whose origin hashes to {expected}, saw {seen}"
            )));
        }
        if head.first != self.edge.next_index() {
            return Err(wrong(format!("expected its first index to be that of its key, saw {}", head.first)));
        }
        let root = self.edge.root();
        if head.before != root {
            return Err(wrong(format!(
                "expected a batch on top of root {root}, saw one on top of {}",
                head.before
            )));
        }
        let leaf_hashes: Vec<Hash> = object.entries().map(Hash::leaf).collect();
        let growth = self.edge.grow(&leaf_hashes);
        let after = growth.edge.root();
        if head.after != after {
            return Err(wrong(format!(
                "expected the root {}, as it says, saw entries that make {after}",
                head.after
            )));
        }
        self.check_heads_over(&leaf_hashes)?;
        self.edge = growth.edge.clone();
        self.seen = self.seen.max(self.edge.size());
        (self.is_end_known, self.found) = (false, None);
        Ok(Followed { object, leaf_hashes, growth })
    }
}

/// The error of a write that is unclear because of `error`, in reading it back.
fn unclear(key: &str, error: ChainError) -> ChainError {
    if error.is_damage() || matches!(error, ChainError::Sealed { .. }) {
        error
    } else {
        ChainError::Unclear { key: key.to_owned(), detail: error.to_string() }
    }
}
