//! The error of the chain of batches.

use std::io;

use super::batch_object::WriterId;
use crate::bucket::BucketError;
use crate::merkle::TreeSize;

/// Why the chain can't be read or written. Each message says what to do next.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChainError {
    /// The object store failed and wrote nothing.
    #[error(transparent)]
    Bucket(#[from] BucketError),
    /// The outcome of a write is unknown, and reading the object did not settle it.
    #[error(
        "could not tell whether {key} was written: {detail}; the log reads it again before it writes anything else"
    )]
    Unclear {
        /// The object.
        key: String,
        /// The failure, in words.
        detail: String,
    },
    /// The bucket has fewer objects, or a smaller head, than before.
    #[error(
        "the bucket was rolled back, or lost objects: expected {expected}, saw {seen}; stop the log's servers and restore the objects (from their versions in the bucket, a backup or a mirror); until then this log must not sign, because it could sign a fork"
    )]
    RolledBack {
        /// The earlier state.
        expected: String,
        /// The state found.
        seen: String,
    },
    /// A batch does not continue the chain.
    #[error(
        "{key} is damaged, or not this log's: {detail}; stop the log's servers and restore the right object (from its versions in the bucket, a backup or a mirror)"
    )]
    BatchDamaged {
        /// The object.
        key: String,
        /// Expected and seen, in words.
        detail: String,
    },
    /// A head is not one that this log signed.
    #[error(
        "{key} is damaged, or not this log's: {detail}; restore the last head (from its versions in the bucket, a backup or a mirror); never delete it: a log that does not know what it signed may sign a fork"
    )]
    HeadDamaged {
        /// The object.
        key: String,
        /// Expected and seen, in words.
        detail: String,
    },
    /// The head is missing. A log has a head before its first batch.
    #[error(
        "{key} is missing: expected the last head of this log; restore it (from its versions in the bucket, a backup or a mirror); until then this log must not sign, because it could sign a fork"
    )]
    HeadMissing {
        /// The object.
        key: String,
    },
    /// A signed head contradicts the batches.
    #[error(
        "the batches are not what was signed: {key} states root {expected} at tree size {size}, the batches have {seen}; stop the log's servers and restore the right objects (from their versions in the bucket, a backup or a mirror); until then this log must not sign"
    )]
    Forked {
        /// The head's object.
        key: String,
        /// Size of the head.
        size: TreeSize,
        /// Its root, base64.
        expected: String,
        /// The root of the batches at that size, base64.
        seen: String,
    },
    /// The chain ends with a seal: the log was moved away.
    #[error(
        "the log was moved away from this bucket at tree size {size}, so no server can append here any more; stop the servers that use this bucket, and serve the log from the directory that it was moved to"
    )]
    Sealed {
        /// The size of the tree at the end.
        size: TreeSize,
        /// The move.
        mover: WriterId,
    },
    /// The system has no random bytes.
    #[error("the system has no random bytes: {0}")]
    Randomness(#[source] io::Error),
}

impl ChainError {
    /// Returns true if objects are lost or damaged, and the operator has to restore them.
    #[must_use]
    pub const fn is_damage(&self) -> bool {
        !matches!(self, Self::Bucket(_) | Self::Unclear { .. } | Self::Sealed { .. } | Self::Randomness(_))
    }
}
