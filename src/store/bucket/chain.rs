//! The chain of batches in a bucket, and the heads over it.
//!
//! A batch's key is the index of its first entry, so the last batch determines the key of the next one. The bucket
//! creates each key only once. That conditional creation is the lock: two servers can't both create the next batch,
//! whatever they believe about the [lease](super::lease), which only keeps them from trying at the same time.
//!
//! ```text
//! batch/…00   <-  batch/…03   <-  batch/…10   <-  batch/…11, which the next append creates
//! entries 0-2     3-9             10
//!                      ^ checkpoint: 10 leaves; a head always covers a prefix of the chain
//! ```
//!
//! If the log was moved away, its chain ends with a [seal](super::seal) under the key of the next batch.
//!
//! A [`Chain`] has no thread, no clock and no files, and its calls block. It checks everything that it reads: a batch
//! must continue the known tree and produce the root that it states; a head must be signed and must match the chain.

mod anchor;
mod heads;
mod sealing;

use std::io;
use std::sync::Arc;

use super::batch_object::{self, BatchObject, ID_BYTES, MAX_OBJECT_BYTES, WriterId};
use super::chain_error::ChainError;
use super::layout::{self, BATCHES, HeadKind};
use super::seal::Seal;
use crate::bucket::{BucketError, Creation, Headers, MAX_LISTED, Objects};
use crate::checkpoint::{Origin, origin_hash};
use crate::merkle::{Growth, Hash, LeafIndex, RightEdge, TreeSize};
use crate::note::NoteKey;
use crate::store::{Batch, Describe, SignedHead};
pub use heads::HeadReplaced;
use heads::KnownHead;
pub use sealing::Sealed;

/// Attempts at one write while its outcome is unclear and the object is not there.
const ATTEMPTS: usize = 2;

/// Generates the nonce of each attempt.
pub type Nonces = Box<dyn FnMut() -> io::Result<[u8; ID_BYTES]> + Send>;

/// The parts of a chain that its server provides.
pub struct ChainOptions {
    /// The bucket.
    pub objects: Arc<dyn Objects>,
    /// The log.
    pub origin: Origin,
    /// The keys that sign the log's heads. If there are none, signatures are not checked.
    pub keys: Vec<NoteKey>,
    /// This process.
    pub writer: WriterId,
    /// The source of nonces: random, except in tests.
    pub nonces: Nonces,
}

impl ChainOptions {
    /// Options with random nonces.
    #[must_use]
    pub fn new(objects: Arc<dyn Objects>, origin: Origin, keys: Vec<NoteKey>, writer: WriterId) -> Self {
        Self { objects, origin, keys, writer, nonces: Box::new(batch_object::random) }
    }
}

/// A checked batch that follows the known chain.
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
    /// The batch in the form that the store applies. `describe` computes the index rows of an entry.
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
    /// The batch is durable and is the new end of the chain.
    Done,
    /// Another batch has this key; [`Chain::next_batch`] returns it. `by` may be this process, if an earlier attempt
    /// succeeded after all.
    Overtaken {
        /// The writer of that batch.
        by: WriterId,
    },
}

/// The known part of the chain of batches, and its two heads.
pub struct Chain {
    options: ChainOptions,
    origin_hash: Hash,
    /// The tree over the known batches.
    edge: RightEdge,
    /// The largest tree size that this process has seen evidence of.
    seen: TreeSize,
    /// True while the last read of the next key found no object, and no write to it is unclear.
    is_end_known: bool,
    /// True once the keys after the next one were checked for a gap.
    is_gap_checked: bool,
    /// The batch that an append found under the next key.
    found: Option<BatchObject>,
    /// The first index of the last known batch; `None` if there is none.
    last: Option<LeafIndex>,
    heads: [Option<KnownHead>; HeadKind::ALL.len()],
    /// For each kind, false from an unclear answer until the head is read.
    is_head_known: [bool; HeadKind::ALL.len()],
}

impl Chain {
    /// Opens the chain. The caller already has its first entries, and `edge` is the tree over them. `root_at` computes
    /// the root at any size up to that of `edge`; it is called for heads of such sizes.
    ///
    /// # Errors
    /// [`ChainError`] and the errors of `root_at`. [`ChainError::RolledBack`] if the bucket lacks a batch that the
    /// caller has.
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
            last: None,
            heads: [None, None],
            is_head_known: [false; HeadKind::ALL.len()],
        };
        chain.restart(edge, root_at)?;
        Ok(chain)
    }

    /// Reopens the chain at `edge`. Discards everything that was not read from the bucket, but remembers the largest
    /// size that was seen.
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
        // 1. HEADS, the published one first: even if both grow meanwhile, it is never larger than the signed one.
        for kind in HeadKind::ALL {
            self.read_head(kind, &root_at)?;
            // Check a head that was known before, too: the tree may be another.
            if let Some(known) = self.head(kind) {
                self.check_root(kind, &known.head, &root_at)?;
            }
        }
        // 2. ANCHOR: the bucket has a batch that ends where the caller's tree ends, with the same root. Otherwise the
        // caller's tree belongs to another chain, or the bucket lost batches.
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

    /// A head as last read or written. It may cover more batches than are known; [`next_batch`](Self::next_batch)
    /// checks it on reaching its size.
    #[must_use]
    pub fn head(&self, kind: HeadKind) -> Option<&SignedHead> {
        self.heads[kind as usize].as_ref().map(|known| &known.signed)
    }

    /// Reads the batch after the known chain, checks it and advances over it. `None` if there is none.
    ///
    /// # Errors
    /// [`ChainError::BatchDamaged`] if the batch does not continue this chain, [`ChainError::Forked`] if a head
    /// contradicts it, [`ChainError::Sealed`] if the log was moved away, [`ChainError::RolledBack`] if the chain ends
    /// before a size that was seen, and the bucket's errors.
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
        // A deleted batch leaves a gap, and an append would fill the gap with a different batch.
        if !self.is_gap_checked
            && let Some((later, _)) = self.ahead(1)?.first()
        {
            // The batch may have been written since the first read.
            let Some(object) = self.get_batch(&key)? else {
                let seen = format!("none, and {}", layout::batch(*later));
                return Err(ChainError::RolledBack { expected: key, seen });
            };
            return self.take(object).map(Some);
        }
        (self.is_end_known, self.is_gap_checked) = (true, true);
        Ok(None)
    }

    /// Lists at most `limit` batches after the known chain: the first leaf index and the length of each object. The
    /// caller can fetch several at once and pass them to [`accept`](Self::accept) in order.
    ///
    /// # Errors
    /// The bucket's errors.
    pub fn ahead(&self, limit: usize) -> Result<Vec<(LeafIndex, u64)>, ChainError> {
        let next = self.edge.next_index();
        // `after` is exclusive, so pass the key before the next one.
        let after = next.get().checked_sub(1).and_then(LeafIndex::new).map(layout::batch);
        let listing = self.options.objects.list(
            BATCHES,
            after.as_deref().unwrap_or_default(),
            limit.min(MAX_LISTED),
        )?;
        let batches = listing.objects.iter();
        Ok(batches.filter_map(|listed| Some((layout::parse_batch(&listed.key)?, listed.size))).collect())
    }

    /// Like [`next_batch`](Self::next_batch), for an object that the caller has read.
    ///
    /// # Errors
    /// As [`next_batch`](Self::next_batch).
    pub fn accept(&mut self, bytes: Vec<u8>) -> Result<Followed, ChainError> {
        let key = layout::batch(self.edge.next_index());
        let object = self.parse(&key, bytes)?;
        self.take(object)
    }

    /// Checks that the bucket still has the last known batch. A bucket that was rolled back lacks it, and an append
    /// would leave a gap.
    ///
    /// # Errors
    /// [`ChainError::RolledBack`], [`ChainError::BatchDamaged`], and the bucket's errors.
    pub fn check_end(&self) -> Result<(), ChainError> {
        let Some(last) = self.last else { return Ok(()) };
        // Twice, because this stops the server for good.
        if self.check_batch(last)? || self.check_batch(last)? {
            return Ok(());
        }
        let expected = format!("{}, which was seen before", layout::batch(last));
        Err(ChainError::RolledBack { expected, seen: "none".to_owned() })
    }

    /// Appends a batch to the known chain.
    ///
    /// # Errors
    /// [`ChainError::Unclear`] if the batch is or may become durable: the next call reads before it writes.
    /// [`ChainError::Sealed`] if the log was moved away. After any other error, the batch was not written.
    ///
    /// # Panics
    /// If the batch does not continue [`edge`](Self::edge): every other server would reject it.
    pub fn append(&mut self, batch: &Batch) -> Result<Appended, ChainError> {
        let mut after = self.edge.clone();
        after.extend(&batch.leaf_hashes);
        assert!(batch.first == self.edge.next_index() && batch.growth.edge == after, "on top of the chain");
        let key = layout::batch(batch.first);
        // 1. LOOK, unless the last read found no object under the key and no write to it is unclear.
        if !self.is_end_known {
            if let Some(object) = self.get_batch(&key)? {
                return Ok(self.overtaken(object));
            }
            self.is_end_known = true;
        }
        // 2. ENCODE. The nonce distinguishes this attempt from all others, including earlier ones of this process with
        // the same entries. A crash before step 3 leaves no trace.
        let nonce = (self.options.nonces)().map_err(ChainError::Randomness)?;
        let (bytes, sha256) =
            batch_object::encode(self.origin_hash, batch, self.edge.root(), self.options.writer, nonce);
        let headers = Headers { sha256: Some(sha256), ..layout::IMMUTABLE };
        self.is_end_known = false;
        let mut detail = String::new();
        for _ in 0..ATTEMPTS {
            // 3. CREATE. From here on the batch may become durable at any time, even after a crash or an error. The next
            // server then finds it and gives its entries the indices that it states. No sender was answered yet.
            let created = self.options.objects.create(&key, &bytes, &headers);
            let exists = match created {
                Ok(Creation::Created(_)) => return Ok(self.advance(batch)),
                Ok(Creation::Exists) => true,
                Err(error) if error.may_be_done() => {
                    detail = error.to_string();
                    false
                }
                Err(error) => return Err(error.into()),
            };
            // 4. READ. The store may have written the batch although it answered "exists" or not at all, so the bytes
            // decide. A crash here has the same effect as a crash after step 3.
            match self.get_batch_again(&key)? {
                Some(object) if object.as_bytes() == bytes => return Ok(self.advance(batch)),
                Some(object) => return Ok(self.overtaken(object)),
                None if exists => {
                    let detail = "the bucket says that it exists, but does not have it".to_owned();
                    return Err(ChainError::Unclear { key, detail });
                }
                // 5. AGAIN, with the same bytes: if the first write arrives late, it is refused or has the same effect.
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

    /// Parses the object under the next key: a batch, or a seal.
    fn parse(&self, key: &str, bytes: Vec<u8>) -> Result<BatchObject, ChainError> {
        if Seal::is_one(&bytes) {
            return Err(self.ended_by(key, &bytes));
        }
        BatchObject::parse(bytes)
            .map_err(|e| ChainError::BatchDamaged { key: key.to_owned(), detail: e.to_string() })
    }

    /// Reads a batch after a write with an unclear outcome.
    fn get_batch_again(&self, key: &str) -> Result<Option<BatchObject>, ChainError> {
        self.get_batch(key).map_err(|error| unclear(key, error))
    }

    /// Keeps another writer's batch for [`next_batch`](Self::next_batch).
    fn overtaken(&mut self, object: BatchObject) -> Appended {
        let by = object.head().writer;
        self.found = Some(object);
        Appended::Overtaken { by }
    }

    fn advance(&mut self, batch: &Batch) -> Appended {
        self.last = Some(batch.first);
        self.edge = batch.growth.edge.clone();
        self.seen = self.seen.max(self.edge.size());
        self.is_end_known = true;
        Appended::Done
    }

    /// Checks that a batch continues this chain, and advances over it.
    fn take(&mut self, object: BatchObject) -> Result<Followed, ChainError> {
        // `init` writes the first head, so a log with batches has at least one. With witnesses, the published head
        // appears with the first quorum. A store without keys is not a log and needs no head.
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
                "expected a batch of the log with origin hash {expected}, saw {seen}"
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
                "expected entries with the root {} that the batch states, computed {after}",
                head.after
            )));
        }
        self.check_heads_over(&leaf_hashes)?;
        self.last = Some(head.first);
        self.edge = growth.edge.clone();
        self.seen = self.seen.max(self.edge.size());
        (self.is_end_known, self.found) = (false, None);
        Ok(Followed { object, leaf_hashes, growth })
    }
}

/// The error of a write whose outcome is unclear because reading it back failed with `error`.
fn unclear(key: &str, error: ChainError) -> ChainError {
    if error.is_damage() || matches!(error, ChainError::Sealed { .. }) {
        error
    } else {
        ChainError::Unclear { key: key.to_owned(), detail: error.to_string() }
    }
}
