//! Collects the hashes of a growing tree into tiles.

use alloc::vec::Vec;

use super::tile::TILE_WIDTH;
use super::{Growth, Hash, Tile, TileId, TreeSize};

/// Levels that a tree below 2^63 leaves has tiles at.
const LEVELS: usize = 8;

/// The hashes of each level's last, partial tile.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PartialTiles {
    levels: [Vec<Hash>; LEVELS],
}

impl PartialTiles {
    /// Makes them from the partial tiles of a tree, lowest level first; fewer than 256 hashes each.
    #[must_use]
    pub const fn new(levels: [Vec<Hash>; LEVELS]) -> Self {
        Self { levels }
    }

    /// Adds the growth of a tree. Passes each tile that becomes full to `full`, once.
    ///
    /// # Errors
    /// The callback's.
    ///
    /// # Panics
    /// If the growth does not continue the previous one.
    pub fn grow<E>(
        &mut self,
        growth: &Growth,
        mut full: impl FnMut(TileId, &[Hash]) -> Result<(), E>,
    ) -> Result<(), E> {
        for run in &growth.tiles {
            let partial = &mut self.levels[usize::from(run.level)];
            assert_eq!(partial.len() as u64, run.first % TILE_WIDTH, "growths follow each other");
            let mut index = run.first / TILE_WIDTH;
            for hash in &run.hashes {
                partial.push(*hash);
                if partial.len() as u64 == TILE_WIDTH {
                    full(TileId::Hashes { level: run.level, index }, partial)?;
                    partial.clear();
                    index += 1;
                }
            }
        }
        Ok(())
    }

    /// The partial tile of a level; empty if the level's last tile is full.
    #[must_use]
    pub fn level(&self, level: u8) -> &[Hash] {
        self.levels.get(usize::from(level)).map_or(&[], Vec::as_slice)
    }

    /// The partial tiles, lowest level first. `size` is the tree's size.
    pub fn tiles(&self, size: TreeSize) -> impl Iterator<Item = (Tile, &[Hash])> {
        (0..LEVELS).filter_map(move |level| {
            let number = u8::try_from(level).expect("8 levels");
            let index = (size.get() >> (8 * level)) / TILE_WIDTH;
            let tile = Tile::in_tree(TileId::Hashes { level: number, index }, size)?;
            Some((tile, self.levels[level].as_slice()))
        })
    }
}
