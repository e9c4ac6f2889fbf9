//! The options of a log in a bucket.

use std::sync::Arc;

use super::{ChainError, WriterId};
use crate::bucket::Objects;
use crate::store::OpenOptions;

/// The parts that a log in a bucket is opened with.
pub struct BucketOptions {
    /// The bucket, below the log's prefix.
    pub objects: Arc<dyn Objects>,
    /// The options that logs on disk have, too. Those of the journal and of the file of leaf hashes are not used.
    pub open: OpenOptions,
    /// True for a log with witnesses: `checkpoint` then has only heads with their quorum, and `checkpoint.signed` what the
    /// log signs.
    pub has_witnesses: bool,
    /// This process; random.
    pub writer: WriterId,
    /// Length of the lease. Without one, this process always tries to append.
    pub lease_seconds: Option<u32>,
    /// The URL at which this process takes entries, for others that don't.
    pub address: Option<String>,
    /// Requests at once.
    pub threads: usize,
    /// Bytes of the local cache of bundles.
    pub bundle_bytes: u64,
}

impl BucketOptions {
    /// For a log without witnesses that no other process serves.
    ///
    /// # Errors
    /// [`ChainError::Randomness`].
    pub fn new(objects: Arc<dyn Objects>, open: OpenOptions) -> Result<Self, ChainError> {
        let writer = WriterId::random().map_err(ChainError::Randomness)?;
        Ok(Self {
            objects,
            open,
            has_witnesses: false,
            writer,
            lease_seconds: None,
            address: None,
            threads: 16,
            bundle_bytes: 1024 * 1024 * 1024,
        })
    }
}
