//! The options of a log in a bucket.

use std::sync::Arc;

use super::{ChainError, WriterId};
use crate::bucket::Objects;
use crate::store::OpenOptions;

/// Options for opening a log in a bucket.
pub struct BucketOptions {
    /// The bucket, below the log's prefix.
    pub objects: Arc<dyn Objects>,
    /// The options shared with logs on disk. Those for the journal and for the file of leaf hashes are ignored.
    pub open: OpenOptions,
    /// True for a log with witnesses. `checkpoint` then holds only heads with a quorum, and `checkpoint.signed` the
    /// heads that the log signs.
    pub has_witnesses: bool,
    /// The random id of this process.
    pub writer: WriterId,
    /// Length of the lease. If `None`, this process always tries to append.
    pub lease_seconds: Option<u32>,
    /// The URL at which this process accepts entries. Standbys name it to their clients.
    pub address: Option<String>,
    /// Concurrent requests.
    pub threads: usize,
    /// Size of the local cache of bundles, in bytes.
    pub bundle_bytes: u64,
}

impl BucketOptions {
    /// Options for a log without witnesses that no other process serves.
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
