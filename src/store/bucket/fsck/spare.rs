//! The leaves behind a gap in the batches, as the tiles and bundles of the last head have them. Nothing of it is believed
//! before it makes a root that a batch or a head says.

use std::sync::Arc;

use crate::bucket::{BucketError, Objects};
use crate::merkle::{
    Hash, RightEdge, TILE_WIDTH, Tile, TileId, TileReader, TreeSize, hashes_from_bytes, read_root,
};
use crate::proof::bundle;
use crate::store::StoreError;
use crate::store::bucket::reader::MAX_BUNDLE_BYTES;
use crate::store::bucket::{ChainError, layout, parallel};

/// The tiles of the last head.
#[derive(Clone)]
pub(super) struct Spare {
    pub objects: Arc<dyn Objects>,
    /// Size of the head's tree.
    pub covered: TreeSize,
    /// Requests at once.
    pub threads: usize,
}

/// The objects to read first. The others serve if one is missing or has the wrong length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Prefer {
    Tiles,
    Bundles,
}

impl Prefer {
    pub const ALL: [Self; 2] = [Self::Tiles, Self::Bundles];
}

/// Why tiles were not read.
pub(super) enum Unread {
    /// They are missing or malformed.
    Absent,
    Bucket(ChainError),
}

impl Spare {
    /// Passes the leaves from `first` up to `end`, piece by piece, to `each`. Returns false if some can't be had.
    pub fn leaves(
        &self,
        first: u64,
        end: TreeSize,
        prefer: Prefer,
        mut each: impl FnMut(&[Hash]) -> Result<(), StoreError>,
    ) -> Result<bool, StoreError> {
        let mut indices = first / TILE_WIDTH..end.get().div_ceil(TILE_WIDTH);
        loop {
            // A head may claim any size: only a few of its tiles are asked for before the first one is missing.
            let some: Vec<u64> = indices.by_ref().take(4 * self.threads.max(1)).collect();
            if some.is_empty() {
                return Ok(true);
            }
            let read = parallel::map(&some, self.threads, |index| self.chunk(*index, prefer))?;
            for (index, leaves) in some.iter().zip(read) {
                let Some(leaves) = leaves else { return Ok(false) };
                let begin = index * TILE_WIDTH;
                let place = |at: u64| {
                    usize::try_from(at.clamp(begin, begin + TILE_WIDTH) - begin).expect("at most 256")
                };
                let Some(leaves) = leaves.get(place(first)..place(end.get())) else { return Ok(false) };
                each(leaves)?;
            }
        }
    }

    /// The right edge of the tree of the first leaves; `None` if the tiles do not have it.
    pub fn edge(&self, size: TreeSize) -> Result<Option<RightEdge>, ChainError> {
        if size > self.covered {
            return Ok(None);
        }
        match read_root(self, size) {
            Ok(edge) => Ok(Some(edge)),
            Err(Unread::Absent) => Ok(None),
            Err(Unread::Bucket(error)) => Err(error),
        }
    }

    fn chunk(&self, index: u64, prefer: Prefer) -> Result<Option<Vec<Hash>>, ChainError> {
        let (tile, bundle) = (|| self.tile(TileId::Hashes { level: 0, index }), || self.bundle(index));
        Ok(match prefer {
            Prefer::Tiles => tile()?.map_or_else(bundle, |leaves| Ok(Some(leaves)))?,
            Prefer::Bundles => bundle()?.map_or_else(tile, |leaves| Ok(Some(leaves)))?,
        })
    }

    fn tile(&self, id: TileId) -> Result<Option<Vec<Hash>>, ChainError> {
        let Some((tile, bytes)) = self.get(id)? else { return Ok(None) };
        Ok(hashes_from_bytes(&bytes, tile.width()))
    }

    fn bundle(&self, index: u64) -> Result<Option<Vec<Hash>>, ChainError> {
        let Some((tile, bytes)) = self.get(TileId::Entries { index })? else { return Ok(None) };
        let entries =
            bundle::split(&bytes, tile.width()).ok().filter(|entries| entries.len() == tile.width());
        Ok(entries.map(|entries| entries.into_iter().map(Hash::leaf).collect()))
    }

    fn get(&self, id: TileId) -> Result<Option<(Tile, Vec<u8>)>, ChainError> {
        let Some(tile) = Tile::in_tree(id, self.covered) else { return Ok(None) };
        match self.objects.get(&layout::tile(tile), MAX_BUNDLE_BYTES) {
            Err(BucketError::TooLarge { .. }) => Ok(None),
            object => Ok(object?.map(|object| (tile, object.bytes))),
        }
    }
}

impl TileReader for Spare {
    type Error = Unread;

    fn read_tiles(&self, tiles: &[Tile]) -> Result<Vec<Vec<Hash>>, Unread> {
        let read = |tile: &Tile| {
            let hashes = self.tile(tile.id).map_err(Unread::Bucket)?;
            let hashes = hashes.as_ref().and_then(|hashes| hashes.get(..tile.width()));
            hashes.map(<[Hash]>::to_vec).ok_or(Unread::Absent)
        };
        parallel::map(tiles, self.threads, read)
    }
}
