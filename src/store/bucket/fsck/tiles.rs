//! Compares the tiles and bundles that the batches determine with those in the bucket.

use std::collections::BTreeSet;
use std::convert::Infallible;

use super::{BucketChecked, BucketFsck, WrongObject};
use crate::bucket::{BucketError, Objects};
use crate::merkle::{Growth, Hash, PartialTiles, TILE_WIDTH, Tile, TileId, TreeSize, hashes_to_bytes};
use crate::proof::bundle;
use crate::store::StoreError;
use crate::store::bucket::layout::{self, IMMUTABLE};
use crate::store::bucket::reader::MAX_BUNDLE_BYTES;
use crate::store::bucket::tiles::PARTIAL;
use crate::store::bucket::{ChainError, parallel};

/// Binary levels of the tree that one level of tiles spans.
const TILE_HEIGHT: u32 = TILE_WIDTH.trailing_zeros();
/// Most damaged tiles that a report names.
const MOST_NAMED: usize = 100;

/// A tile or bundle as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expected {
    /// These bytes.
    Bytes(Vec<u8>),
    /// A bundle of entries whose batch is lost, which hash to these leaves.
    Leaves(Vec<Hash>),
}

impl Expected {
    fn in_words(&self) -> String {
        match self {
            Self::Bytes(bytes) => format!("{} bytes of SHA-256 {}", bytes.len(), Hash::digest(bytes)),
            Self::Leaves(leaves) => format!("{} entries that hash to the log's leaves", leaves.len()),
        }
    }

    fn is(&self, seen: &[u8]) -> bool {
        match self {
            Self::Bytes(bytes) => bytes == seen,
            Self::Leaves(leaves) => bundle::split(seen, leaves.len()).is_ok_and(|entries| {
                entries.iter().map(|entry| Hash::leaf(entry)).eq(leaves.iter().copied())
            }),
        }
    }
}

/// The result of comparing an object with the expected one.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Seen {
    Right,
    Missing,
    Other(usize, Hash),
    TooLarge(usize),
}

impl Seen {
    fn in_words(&self) -> String {
        match self {
            Self::Right => "the right one".to_owned(),
            Self::Missing => "none".to_owned(),
            Self::Other(length, digest) => format!("{length} bytes of SHA-256 {digest}"),
            Self::TooLarge(limit) => format!("more than {limit} bytes"),
        }
    }
}

/// Reads an object and compares it with the expected one.
fn look(objects: &dyn Objects, key: &str, expected: &Expected) -> Result<Seen, ChainError> {
    Ok(match objects.get(key, MAX_BUNDLE_BYTES) {
        Err(BucketError::TooLarge { limit, .. }) => Seen::TooLarge(limit),
        object => match object?.map(|object| object.bytes) {
            None => Seen::Missing,
            Some(seen) if expected.is(&seen) => Seen::Right,
            Some(seen) => Seen::Other(seen.len(), Hash::digest(&seen)),
        },
    })
}

impl BucketFsck<'_> {
    /// Compares tiles with the bucket's. If `repair` is set, rewrites those that are missing or wrong.
    pub(in crate::store::bucket) fn check(
        &self,
        expected: &[(Tile, Expected)],
        covered: TreeSize,
        checked: &mut BucketChecked,
    ) -> Result<(), StoreError> {
        let (objects, repair) = (self.objects.as_ref(), self.repair);
        let wrong = parallel::map(expected, self.threads, |(tile, expected)| {
            let key = layout::tile(*tile);
            let seen = match look(objects, &key, expected)? {
                // A partial tile may be deleted once the full one exists.
                Seen::Missing if !tile.is_full() && tile.id.width_in(covered) == TILE_WIDTH => {
                    return Ok(None);
                }
                Seen::Right => return Ok(None),
                seen => seen.in_words(),
            };
            if let (true, Expected::Bytes(bytes)) = (repair, expected) {
                let headers = if tile.is_full() { IMMUTABLE } else { PARTIAL };
                objects.put(&key, bytes, &headers).map_err(ChainError::from)?;
                let after = look(objects, &key, expected)?;
                if after != Seen::Right {
                    let detail = format!("expected the bytes just written, saw {}", after.in_words());
                    return Err(StoreError::Damaged { what: key, detail });
                }
            }
            Ok::<_, StoreError>(Some(WrongObject { key, expected: expected.in_words(), seen }))
        })?;
        checked.tiles += expected.len() as u64;
        for wrong in wrong.into_iter().flatten() {
            checked.damaged += 1;
            if checked.named.len() < MOST_NAMED {
                checked.named.push(wrong);
            }
        }
        Ok(())
    }
}

/// Computes the tiles that the batches determine.
#[derive(Clone)]
pub struct Tiles {
    partial: PartialTiles,
    /// The last, incomplete bundle; `None` if some of its entries are not known.
    bundle: Option<Vec<u8>>,
}

impl Default for Tiles {
    fn default() -> Self {
        Self { partial: PartialTiles::default(), bundle: Some(Vec::new()) }
    }
}

/// The places within a batch of `count` entries where heads of these sizes end: they have partial tiles of their own. A move
/// into the bucket joins batches, so this happens.
pub fn cuts(first: u64, count: usize, heads: &BTreeSet<TreeSize>) -> Vec<usize> {
    let within = |size: &TreeSize| usize::try_from(size.get().checked_sub(first)?).ok();
    heads.iter().filter_map(within).filter(|at| (1..count).contains(at)).collect()
}

impl Tiles {
    /// Begins after unknown leaves. Tiles that depend on them come out wrong.
    pub fn behind(size: TreeSize) -> Self {
        let levels = std::array::from_fn(|level| {
            let hashes = (size.get() >> (TILE_HEIGHT as usize * level)) % TILE_WIDTH;
            vec![Hash::EMPTY_ROOT; usize::try_from(hashes).expect("below 256")]
        });
        let bundle = size.get().is_multiple_of(TILE_WIDTH).then(Vec::new);
        Self { partial: PartialTiles::new(levels), bundle }
    }

    /// The tiles that become full with new leaves, and the partial tiles if a head ends there. Of a gap in the batches,
    /// the `entries` are not known.
    pub fn grow<'a>(
        &mut self,
        growth: &Growth,
        first: u64,
        entries: Option<impl Iterator<Item = &'a [u8]>>,
        ends_head: bool,
    ) -> Vec<(Tile, Expected)> {
        let (mut tiles, size) = (Vec::new(), growth.edge.size());
        let full = |id| Tile::new(id, TILE_WIDTH).expect("256 is a width");
        let (is_gap, mut has_gap) = (entries.is_none(), self.bundle.is_none());
        let Ok(()) = self.partial.grow(growth, |id, hashes| {
            tiles.push((full(id), Expected::Bytes(hashes_to_bytes(hashes))));
            if let TileId::Hashes { level: 0, index } = id
                && (is_gap || std::mem::take(&mut has_gap))
            {
                tiles.push((full(TileId::Entries { index }), Expected::Leaves(hashes.to_vec())));
            }
            Ok::<(), Infallible>(())
        });
        if is_gap {
            self.bundle = size.get().is_multiple_of(TILE_WIDTH).then(Vec::new);
        }
        for (index, entry) in (first..).zip(entries.into_iter().flatten()) {
            if let Some(bundle) = &mut self.bundle {
                bundle::push(bundle, entry).expect("read from a batch");
            }
            if (index + 1).is_multiple_of(TILE_WIDTH)
                && let Some(bytes) = self.bundle.replace(Vec::new())
            {
                let id = TileId::Entries { index: index / TILE_WIDTH };
                tiles.push((full(id), Expected::Bytes(bytes)));
            }
        }
        if ends_head {
            let partial = self.partial.tiles(size);
            tiles.extend(partial.map(|(tile, hashes)| (tile, Expected::Bytes(hashes_to_bytes(hashes)))));
            let last = TileId::Entries { index: size.get() / TILE_WIDTH };
            let leaves = || Expected::Leaves(self.partial.level(0).to_vec());
            let bundle = self.bundle.clone().map_or_else(leaves, Expected::Bytes);
            tiles.extend(Tile::in_tree(last, size).map(|tile| (tile, bundle)));
        }
        tiles
    }
}

/// The index of the first leaf that a tile covers.
pub(super) fn first_leaf(tile: &Tile) -> u64 {
    let shift = TILE_HEIGHT * (u32::from(tile.id.level()) + 1);
    tile.id.index().checked_shl(shift).unwrap_or(0)
}
