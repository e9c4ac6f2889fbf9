//! What an endpoint asks a log.

use crate::checkpoint::{Checkpoint, LogKey, LogSigned};
use crate::client::{ClientError, Found, LogClient, RemoteTiles};
use crate::merkle::{Hash, Tile, TileReader, TreeSize};

/// Answers an endpoint's questions about one log. [`LogClient`] asks over HTTP. The endpoint believes no answer that
/// it cannot check against a signature or a signed root.
pub trait RemoteLog {
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

    /// The hashes of each tile, in order, exactly as many as its width.
    ///
    /// # Errors
    /// [`ClientError`].
    fn tiles(&self, tiles: &[Tile]) -> Result<Vec<Vec<Hash>>, ClientError>;
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

    fn tiles(&self, tiles: &[Tile]) -> Result<Vec<Vec<Hash>>, ClientError> {
        RemoteTiles(self).read_tiles(tiles)
    }
}

/// The log's tiles, for the proofs of the core.
pub(super) struct Tiles<'a>(pub &'a dyn RemoteLog);

impl TileReader for Tiles<'_> {
    type Error = ClientError;

    fn read_tiles(&self, tiles: &[Tile]) -> Result<Vec<Vec<Hash>>, ClientError> {
        self.0.tiles(tiles)
    }
}
