//! A log's tiles and bundles over HTTP.

use super::{ClientError, LogClient};
use crate::bundle::{self, LENGTH_BYTES};
use crate::format::FormatError;
use crate::merkle::{HASH_BYTES, Hash, TILE_WIDTH, Tile, TileReader, hashes_from_bytes};
use crate::release::MAX_ENTRY_BYTES;

/// Reads tiles as they are served. Nothing is kept, and nothing is believed: whoever reads proves
/// what they read against a signed root.
#[derive(Debug, Clone)]
pub struct RemoteTiles<'a>(pub &'a LogClient);

impl RemoteTiles<'_> {
    /// The bytes of a tile or bundle, cut to its width. A log may drop a partial tile once the full
    /// one exists, so that is asked for where the partial one is gone.
    fn bytes(&self, tile: Tile, limit: usize) -> Result<(Vec<u8>, bool), ClientError> {
        match self.0.get(&tile.to_string(), limit) {
            Err(ClientError::Status { status: 404 | 410, .. }) if !tile.is_full() => {
                let full = Tile::new(tile.id, TILE_WIDTH).expect("256 is a width");
                Ok((self.0.get(&full.to_string(), limit)?, true))
            }
            other => Ok((other?, false)),
        }
    }

    /// The entries of a bundle, exactly as many as its width.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn entries(&self, tile: Tile) -> Result<Vec<Vec<u8>>, ClientError> {
        let most = if tile.is_full() { tile.width() } else { 256 };
        let (bytes, full) = self.bytes(tile, most * (LENGTH_BYTES + MAX_ENTRY_BYTES))?;
        let malformed = |source| ClientError::Malformed { url: self.0.url(&tile.to_string()), source };
        let mut entries = bundle::split(&bytes, most).map_err(malformed)?;
        if full {
            entries.truncate(tile.width());
        }
        if entries.len() != tile.width() {
            let (expected, seen) = (format!("{} entries", tile.width()), entries.len().to_string());
            return Err(malformed(FormatError::malformed("an entry bundle", expected, seen)));
        }
        Ok(entries.into_iter().map(<[u8]>::to_vec).collect())
    }
}

impl TileReader for RemoteTiles<'_> {
    type Error = ClientError;

    fn read_tiles(&self, tiles: &[Tile]) -> Result<Vec<Vec<Hash>>, ClientError> {
        let read = |tile: &Tile| {
            let (mut bytes, full) = self.bytes(*tile, 256 * HASH_BYTES)?;
            if full {
                bytes.truncate(tile.width() * HASH_BYTES);
            }
            hashes_from_bytes(&bytes, tile.width()).ok_or_else(|| ClientError::Malformed {
                url: self.0.url(&tile.to_string()),
                source: FormatError::malformed(
                    "a tile",
                    format!("{} bytes", tile.width() * HASH_BYTES),
                    format!("{} bytes", bytes.len()),
                ),
            })
        };
        tiles.iter().map(read).collect()
    }
}
