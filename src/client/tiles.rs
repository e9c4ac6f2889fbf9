//! A log's tiles and bundles over HTTP.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ops::Range;

use super::{ClientError, LogClient};
use crate::format::FormatError;
use crate::merkle::{
    HASH_BYTES, Hash, LeafIndex, TILE_WIDTH, Tile, TileId, TileReader, TreeSize, hashes_from_bytes,
};
use crate::proof::bundle::{self, LENGTH_BYTES};
use crate::release::MAX_ENTRY_BYTES;

impl LogClient {
    /// The bytes of a tile or bundle, and the tile that was served. A log may drop a partial tile once the full one
    /// exists, so this fetches the full one if the partial one is gone.
    fn tile_bytes(&self, tile: Tile) -> Result<(Vec<u8>, Tile), ClientError> {
        let error = match self.get(&tile.to_string(), most_bytes(tile)) {
            Ok(bytes) => return Ok((bytes, tile)),
            Err(error) => error,
        };
        let full = full_instead(tile, &error).ok_or(error)?;
        Ok((self.get(&full.to_string(), most_bytes(full))?, full))
    }

    /// The entries of a bundle, exactly as many as its width.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn entries(&self, tile: Tile) -> Result<Vec<Vec<u8>>, ClientError> {
        let (bytes, asked) = self.tile_bytes(tile)?;
        let spans = spans(self, asked, &bytes)?;
        Ok(spans.into_iter().take(tile.width()).map(|span| bytes[span].to_vec()).collect())
    }

    /// The entry of a leaf; `None` if a tree of this size has no such leaf. The entry is not proven.
    pub(super) fn entry(&self, leaf: LeafIndex, size: TreeSize) -> Result<Option<Vec<u8>>, ClientError> {
        let place = usize::try_from(leaf.get() % TILE_WIDTH).expect("below 256");
        let bundle = Tile::in_tree(TileId::Entries { index: leaf.get() / TILE_WIDTH }, size);
        let bundle = bundle.filter(|bundle| bundle.width() > place);
        bundle.map(|bundle| Ok(self.entries(bundle)?.swap_remove(place))).transpose()
    }
}

/// Most bytes to read of a tile or bundle. One hash more than the tile has, so that a tile that is too long is noticed.
pub(super) const fn most_bytes(tile: Tile) -> usize {
    if tile.is_bundle() {
        tile.width() * (LENGTH_BYTES + MAX_ENTRY_BYTES)
    } else {
        (tile.width() + 1) * HASH_BYTES
    }
}

/// The full tile, if `error` may mean that it replaced the partial one.
pub(super) fn full_instead(tile: Tile, error: &ClientError) -> Option<Tile> {
    let gone = matches!(error, ClientError::Status { status: 404 | 410, .. });
    (gone && !tile.is_full()).then(|| Tile::new(tile.id, TILE_WIDTH).expect("256 is a width"))
}

/// The ranges of a bundle's entries in its bytes: exactly as many as its width.
pub(super) fn spans(client: &LogClient, tile: Tile, bytes: &[u8]) -> Result<Vec<Range<usize>>, ClientError> {
    let wrong = |is_short, source| {
        let url = client.url(&tile.to_string());
        ClientError::Length { url, is_bundle: true, is_short, source }
    };
    let spans = bundle::spans(bytes, tile.width())
        .map_err(|source| wrong(matches!(source, FormatError::Malformed { .. }), source))?;
    if spans.len() < tile.width() {
        let (expected, seen) = (format!("{} entries", tile.width()), spans.len().to_string());
        return Err(wrong(true, FormatError::malformed("an entry bundle", expected, seen)));
    }
    Ok(spans)
}

/// Reads tiles as the log serves them, without keeping or verifying any: the caller proves them against a signed root.
impl TileReader for LogClient {
    type Error = ClientError;

    fn read_tiles(&self, tiles: &[Tile]) -> Result<Vec<Vec<Hash>>, ClientError> {
        let read = |tile: &Tile| {
            let (bytes, asked) = self.tile_bytes(*tile)?;
            let expected = asked.width() * HASH_BYTES;
            let mut hashes = hashes_from_bytes(&bytes, asked.width()).ok_or_else(|| ClientError::Length {
                url: self.url(&asked.to_string()),
                is_bundle: false,
                is_short: bytes.len() < expected,
                source: FormatError::malformed(
                    "a tile",
                    format!("{expected} bytes"),
                    format!("{} bytes", bytes.len()),
                ),
            })?;
            hashes.truncate(tile.width());
            Ok(hashes)
        };
        tiles.iter().map(read).collect()
    }
}

/// Reads each tile once and keeps it: proofs between heads of one log share most of their tiles. For one comparison
/// or command, since it forgets nothing by itself. Kept tiles are no more trusted than fetched ones.
#[derive(Debug)]
pub struct KeptTiles<R> {
    reader: R,
    kept: RefCell<BTreeMap<Tile, Vec<Hash>>>,
    fetched: Cell<u64>,
}

impl<R> KeptTiles<R> {
    /// Reads through `reader`.
    #[must_use]
    pub const fn new(reader: R) -> Self {
        Self { reader, kept: RefCell::new(BTreeMap::new()), fetched: Cell::new(0) }
    }

    /// Number of tiles read through the reader.
    #[cfg(feature = "cli")]
    pub(crate) fn fetched(&self) -> u64 {
        self.fetched.get()
    }

    /// Forgets the tiles for which `keep` is false.
    #[cfg(feature = "cli")]
    pub(crate) fn retain(&self, keep: impl Fn(&Tile) -> bool) {
        self.kept.borrow_mut().retain(|tile, _| keep(tile));
    }
}

impl<R: TileReader> TileReader for KeptTiles<R> {
    type Error = R::Error;

    fn read_tiles(&self, tiles: &[Tile]) -> Result<Vec<Vec<Hash>>, R::Error> {
        let read = |tile: &Tile| {
            if let Some(kept) = self.kept.borrow().get(tile) {
                return Ok(kept.clone());
            }
            let hashes = self.reader.read_tiles(&[*tile])?.remove(0);
            self.fetched.set(self.fetched.get() + 1);
            self.kept.borrow_mut().insert(*tile, hashes.clone());
            Ok(hashes)
        };
        tiles.iter().map(read).collect()
    }
}
