//! The one error of the chain of batches.

use std::io;

use super::batch_object::WriterId;
use crate::bucket::BucketError;
use crate::merkle::TreeSize;

/// Why a chain can't be read or written. The messages say what to do next.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChainError {
    /// The object store failed, and wrote nothing.
    #[error(transparent)]
    Bucket(#[from] BucketError),
    /// A write may have been done, and reading the object did not tell.
    #[error(
        "could not tell whether {key} was written: {detail}; it is read again before anything else is written"
    )]
    Unclear {
        /// The object.
        key: String,
        /// The failure, in words.
        detail: String,
    },
    /// The bucket has less than it had.
    #[error(
        "the bucket was rolled back, or lost objects: expected {expected}, saw {seen}; stop the log's servers, and bring the objects back (their versions in the bucket, a backup, a mirror); until then this log must not sign, it could sign a fork"
    )]
    RolledBack {
        /// The state before.
        expected: String,
        /// The state found.
        seen: String,
    },
    /// A batch is not the one that follows on the chain.
    #[error(
        "{key} is damaged, or not this log's: {detail}; stop the log's servers, and bring the right object back (its versions in the bucket, a backup, a mirror)"
    )]
    BatchDamaged {
        /// The object.
        key: String,
        /// Expected and seen, in words.
        detail: String,
    },
    /// A head is not what this log signed.
    #[error(
        "{key} is damaged, or not this log's: {detail}; bring the last head back (its versions in the bucket, a backup, a mirror); never delete it: a log that does not know what it signed may sign a fork"
    )]
    HeadDamaged {
        /// The object.
        key: String,
        /// Expected and seen, in words.
        detail: String,
    },
    /// There is no head, and a log has one before its first batch.
    #[error(
        "{key} is missing: expected the last head of this log; bring it back (its versions in the bucket, a backup, a mirror); until then this log must not sign, it could sign a fork"
    )]
    HeadMissing {
        /// The object.
        key: String,
    },
    /// A signed head is on another chain.
    #[error(
        "the batches are not what was signed: {key} says root {expected} at tree size {size}, the batches make {seen}; stop the log's servers, and bring the right objects back (their versions in the bucket, a backup, a mirror); until then this log must not sign"
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
    /// The chain ends with a seal: the log goes on elsewhere.
    #[error(
        "the log was moved away from this bucket at tree size {size}: nothing is appended here any more; stop the servers that use this bucket, and serve the log from the directory that it was moved to"
    )]
    Sealed {
        /// The size of the tree at the end.
        size: TreeSize,
        /// The move.
        mover: WriterId,
    },
    /// The system has no random bytes.
    #[error("the system has no randomness: {0}")]
    Randomness(#[source] io::Error),
}

impl ChainError {
    /// Returns true if objects are lost or damaged, so that only bringing them back helps.
    #[must_use]
    pub const fn is_damage(&self) -> bool {
        !matches!(self, Self::Bucket(_) | Self::Unclear { .. } | Self::Sealed { .. } | Self::Randomness(_))
    }
}
