//! Sealing a chain whose log moves away.

use super::{ATTEMPTS, Chain};
use crate::bucket::Creation;
use crate::store::bucket::batch_object::WriterId;
use crate::store::bucket::chain_error::ChainError;
use crate::store::bucket::layout;
use crate::store::bucket::seal::Seal;

/// The outcome of [`Chain::seal`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sealed {
    /// The chain ends here: no server can append to it any more.
    Done,
    /// A batch has this key; [`Chain::next_batch`] returns it.
    Overtaken,
}

impl Chain {
    /// Seals the known chain. A seal with the same `mover` counts as this one: an earlier attempt succeeded after all.
    ///
    /// # Errors
    /// [`ChainError::Sealed`] if another move has sealed the chain; [`ChainError::Unclear`] if the seal is or may
    /// become durable: then call `seal` again; the bucket's errors.
    pub fn seal(&mut self, mover: WriterId) -> Result<Sealed, ChainError> {
        let key = layout::batch(self.edge.next_index());
        let seal = Seal { origin: self.origin_hash, size: self.edge.size(), root: self.edge.root(), mover };
        let bytes = seal.to_bytes();
        self.is_end_known = false;
        let mut detail = String::new();
        for _ in 0..ATTEMPTS {
            // CREATE. From here on the chain may be sealed, even after a crash or an error: the servers on this bucket
            // refuse entries, and the operator repeats the move.
            let created = self.options.objects.create(&key, &bytes, &layout::IMMUTABLE);
            let exists = match created {
                Ok(Creation::Created(_)) => return Ok(Sealed::Done),
                Ok(Creation::Exists) => true,
                Err(error) if error.may_be_done() => {
                    detail = error.to_string();
                    false
                }
                Err(error) => return Err(error.into()),
            };
            // READ, as for a batch.
            match self.get_batch_again(&key) {
                Err(ChainError::Sealed { mover: by, .. }) if by == mover => return Ok(Sealed::Done),
                Err(error) => return Err(error),
                Ok(Some(object)) => {
                    self.found = Some(object);
                    return Ok(Sealed::Overtaken);
                }
                Ok(None) if exists => {
                    let detail = "the bucket says that it exists, but does not have it".to_owned();
                    return Err(ChainError::Unclear { key, detail });
                }
                Ok(None) => {}
            }
        }
        Err(ChainError::Unclear { key, detail })
    }

    /// The error for a chain that ends with this object under the next key.
    pub(super) fn ended_by(&self, key: &str, bytes: &[u8]) -> ChainError {
        let damaged = |detail: String| ChainError::BatchDamaged { key: key.to_owned(), detail };
        let seal = match Seal::parse(bytes) {
            Ok(seal) => seal,
            Err(error) => return damaged(error.to_string()),
        };
        let here = Seal {
            origin: self.origin_hash,
            size: self.edge.size(),
            root: self.edge.root(),
            mover: seal.mover,
        };
        if seal != here {
            let expected = format!("a seal at tree size {} with root {}", here.size, here.root);
            let seen = format!("one at {} with root {}", seal.size, seal.root);
            return damaged(format!("expected {expected} of this log, saw {seen}, or another log's"));
        }
        if self.seen > seal.size {
            let expected = format!("batches up to tree size {}, which was seen before", self.seen);
            return ChainError::RolledBack { expected, seen: format!("a seal at {}", seal.size) };
        }
        ChainError::Sealed { size: seal.size, mover: seal.mover }
    }
}
