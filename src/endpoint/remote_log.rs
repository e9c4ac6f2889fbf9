//! The questions that an endpoint asks a log.

use crate::checkpoint::{Checkpoint, LogKey, LogSigned};
use crate::client::{ClientError, Found, LogClient};
use crate::merkle::{Hash, TileReader, TreeSize};

/// Answers an endpoint's questions about one log. [`LogClient`] asks over HTTP. The endpoint rejects answers that
/// it cannot check against a signature or a signed root.
pub trait RemoteLog: TileReader<Error = ClientError> {
    /// The log's address, for messages.
    fn address(&self) -> &str;

    /// The newest head, signed by one of `keys`.
    ///
    /// # Errors
    /// [`ClientError`].
    fn checkpoint(&self, keys: &[LogKey]) -> Result<LogSigned<Checkpoint>, ClientError>;

    /// Statements before leaf `before` that have all the values in `terms`, newest first. `None` if the log has no
    /// search. An answer for a tree smaller than `tree` is an error.
    ///
    /// # Errors
    /// [`ClientError`].
    fn search(
        &self,
        terms: &[(&str, &str)],
        before: Option<u64>,
        tree: TreeSize,
    ) -> Result<Option<Found>, ClientError>;

    /// Bytes of the proof file of the entry with this leaf hash.
    ///
    /// # Errors
    /// [`ClientError`].
    fn proof_of(&self, leaf: &Hash) -> Result<Vec<u8>, ClientError>;
}

impl RemoteLog for LogClient {
    fn address(&self) -> &str {
        self.prefix()
    }

    fn checkpoint(&self, keys: &[LogKey]) -> Result<LogSigned<Checkpoint>, ClientError> {
        Self::checkpoint(self, keys)
    }

    fn search(
        &self,
        terms: &[(&str, &str)],
        before: Option<u64>,
        tree: TreeSize,
    ) -> Result<Option<Found>, ClientError> {
        Self::search(self, terms, before, tree)
    }

    fn proof_of(&self, leaf: &Hash) -> Result<Vec<u8>, ClientError> {
        Self::proof_of(self, leaf)
    }
}
