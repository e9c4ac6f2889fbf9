//! The tiles and bundles of a head. The bucket has all of them before it has the head.

use super::layout::IMMUTABLE;
use super::{ChainError, layout, parallel};
use crate::bucket::{Headers, Objects};
use crate::merkle::{Hash, RightEdge, TILE_WIDTH, Tile, TileId, TileReader, TreeSize, hashes_to_bytes};
use crate::store::StoreError;
use crate::store::derived::{EntryStorage, Tree};

/// Number of tile levels in a tree of less than 2^63 leaves.
const LEVELS: u8 = 8;

/// Headers of partial tiles. The tag lets a lifecycle rule delete old ones.
pub const PARTIAL: Headers = Headers { tagging: Some("treehead=partial"), ..IMMUTABLE };

/// The tiles and bundles that a head of `to` leaves needs and a head of `from` leaves does not have: those that have
/// become full, and the partial ones of the new size. The lowest level comes first, bundles come last.
pub fn growth(from: TreeSize, to: TreeSize) -> Vec<Tile> {
    let mut tiles = Vec::new();
    let mut add = |level: u8, id: &dyn Fn(u64) -> TileId| {
        let (before, after) = (from.get() >> (8 * u32::from(level)), to.get() >> (8 * u32::from(level)));
        if after <= before {
            return;
        }
        let ids = (before / TILE_WIDTH..after.div_ceil(TILE_WIDTH)).map(id);
        tiles.extend(ids.filter_map(|id| Tile::in_tree(id, to)));
    };
    (0..LEVELS).for_each(|level| add(level, &|index| TileId::Hashes { level, index }));
    add(0, &|index| TileId::Entries { index });
    tiles
}

/// The partial tiles and the partial bundle of a head of this size.
pub fn partial(size: TreeSize) -> Vec<Tile> {
    let at = |level: u8| (size.get() >> (8 * u32::from(level))) / TILE_WIDTH;
    let hashes = (0..LEVELS).map(|level| TileId::Hashes { level, index: at(level) });
    hashes.chain([TileId::Entries { index: at(0) }]).filter_map(|id| Tile::in_tree(id, size)).collect()
}

/// Writes tiles and bundles of the tree, several at once. Their bytes depend only on the entries, so every writer
/// writes the same bytes and the writes are unconditional.
///
/// # Errors
/// [`StoreError`]; some of the tiles may have been written.
pub fn upload(
    objects: &dyn Objects,
    tree: &Tree,
    entries: &impl EntryStorage,
    tiles: &[Tile],
    threads: usize,
) -> Result<(), StoreError> {
    let write = |tile: &Tile| put(objects, tile, &bytes(tree, entries, tile)?);
    parallel::map(tiles, threads, write).map(drop)
}

/// Computes the bytes of a tile or bundle of the tree.
///
/// # Errors
/// [`StoreError`] if the tree or the entries can't be read.
pub fn bytes(tree: &Tree, entries: &impl EntryStorage, tile: &Tile) -> Result<Vec<u8>, StoreError> {
    match tile.id {
        TileId::Hashes { .. } => Ok(hashes_to_bytes(&checked_tile(tree, *tile)?)),
        TileId::Entries { index } => entries.read_bundle(tree, index, tile.width()),
    }
}

/// Writes a tile or bundle.
///
/// # Errors
/// [`StoreError::Chain`] if the bucket fails.
pub fn put(objects: &dyn Objects, tile: &Tile, bytes: &[u8]) -> Result<(), StoreError> {
    let headers = if tile.is_full() { IMMUTABLE } else { PARTIAL };
    objects.put(&layout::tile(*tile), bytes, &headers).map_err(ChainError::from)?;
    Ok(())
}

/// Reads a tile, and compares a full one with the hash above it. A wrong tile in public caches could not be corrected.
fn checked_tile(tree: &Tree, tile: Tile) -> Result<Vec<Hash>, StoreError> {
    let hashes = tree.read_tiles(&[tile])?.remove(0);
    if tile.is_full() {
        let (level, index) = (tile.id.level() + 1, tile.id.index());
        let id = TileId::Hashes { level, index: index / TILE_WIDTH };
        let above = Tile::new(id, index % TILE_WIDTH + 1).expect("1 to 256");
        if tree.read_tiles(&[above])?[0].last() != Some(&RightEdge::default().grow(&hashes).edge.root()) {
            let detail = format!("expected {tile} to have the hash above it, computed another");
            return Err(StoreError::TreeDamaged { detail });
        }
    }
    Ok(hashes)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::merkle::tiles_of;

    fn size(size: u64) -> TreeSize {
        TreeSize::new(size).unwrap()
    }

    #[test]
    fn growth_is_what_the_larger_tree_has_and_the_smaller_one_lacks() {
        let sizes = [0, 1, 2, 255, 256, 257, 511, 512, 700, 65_535, 65_536, 65_537, 65_792, 131_072, 131_329];
        for (at, from) in sizes.iter().enumerate() {
            for to in &sizes[at..] {
                let before: BTreeSet<Tile> = tiles_of(size(*from)).collect();
                let after: BTreeSet<Tile> = tiles_of(size(*to)).collect();
                let grown = growth(size(*from), size(*to));
                let expected: BTreeSet<Tile> = after.difference(&before).copied().collect();
                assert_eq!(grown.iter().copied().collect::<BTreeSet<_>>(), expected, "{from} to {to}");
                assert_eq!(grown.len(), expected.len());
            }
            let of_size = tiles_of(size(*from)).filter(|tile| !tile.is_full());
            assert!(partial(size(*from)).into_iter().eq(of_size), "{from}");
        }
        assert!(growth(size(300), size(299)).is_empty());
    }
}
