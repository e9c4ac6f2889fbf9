//! Re-hashes a log in a bucket: all batches against their roots and the signed heads, and the tiles of the heads against the
//! batches.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;

use super::cache::BundleCache;
use super::chain::ChainOptions;
use super::follow::ChainReader;
use super::layout::{self, IMMUTABLE};
use super::reader::{BucketEntries, MAX_BUNDLE_BYTES};
use super::tail::Tail;
use super::tiles::PARTIAL;
use super::{Chain, ChainError, Followed, HeadKind, ID_BYTES, WriterId, parallel};
use crate::bucket::{BucketError, Objects};
use crate::checkpoint::{Origin, origin_hash};
use crate::merkle::{Hash, PartialTiles, RightEdge, TILE_WIDTH, Tile, TileId, TreeSize, hashes_to_bytes};
use crate::note::NoteKey;
use crate::proof::bundle;
use crate::store::StoreError;
use crate::store::derived::BatchReader as _;

/// Damaged tiles that are named.
const MOST_NAMED: usize = 100;

/// A check of a log in a bucket, also while it is served.
pub struct BucketFsck<'a> {
    /// The bucket, below the log's prefix.
    pub objects: Arc<dyn Objects>,
    /// The log.
    pub origin: Origin,
    /// The keys that sign its heads.
    pub keys: Vec<NoteKey>,
    /// True to write missing or wrong tiles again, from the batches.
    pub repair: bool,
    /// Requests at once.
    pub threads: usize,
    /// Told how many entries of how many were read.
    pub progress: &'a dyn Fn(u64, u64),
}

/// The findings about a log whose batches and heads check.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BucketChecked {
    /// Entries that were re-hashed.
    pub entries: TreeSize,
    /// The batches that they are in.
    pub batches: u64,
    /// Tiles and bundles of the heads.
    pub tiles: u64,
    /// Those that are missing or wrong, or were before they were repaired.
    pub damaged: u64,
    /// The first of them.
    pub named: Vec<Tile>,
}

impl BucketFsck<'_> {
    /// Re-hashes everything.
    ///
    /// # Errors
    /// [`StoreError::Chain`] if a batch or a head does not check, or the bucket fails.
    pub fn run(&self) -> Result<BucketChecked, StoreError> {
        // It writes no batch.
        let writer = WriterId::from_bytes([0; ID_BYTES]);
        let options = ChainOptions::new(self.objects.clone(), self.origin.clone(), self.keys.clone(), writer);
        let mut chain =
            Chain::open(options, RightEdge::default(), |_| Ok::<_, StoreError>(Hash::EMPTY_ROOT))?;
        let sizes = HeadKind::ALL.into_iter().filter_map(|kind| Some(chain.head(kind)?.head.size));
        let heads: BTreeSet<TreeSize> = sizes.collect();
        let covered = heads.last().copied().unwrap_or_default();
        let entries = BucketEntries {
            objects: self.objects.clone(),
            origin: origin_hash(self.origin.as_str()),
            tail: Tail::default(),
            cache: BundleCache::new(PathBuf::new(), 0),
            threads: self.threads,
        };
        let mut batches = ChainReader::new(&mut chain, &entries, covered);
        let (mut tiles, mut checked) = (Tiles::default(), BucketChecked::default());
        while let Some(followed) = batches.next_batch()? {
            checked.entries = followed.growth.edge.size();
            checked.batches += 1;
            let mut expected = tiles.grow(&followed, heads.contains(&checked.entries));
            // The next head's are written shortly before it.
            expected.retain(|(tile, _)| tile.id.width_in(covered) >= tile.width() as u64);
            self.check(&expected, covered, &mut checked)?;
            let (done, total) = batches.progress();
            (self.progress)(done, total);
        }
        Ok(checked)
    }

    fn check(
        &self,
        expected: &[(Tile, Vec<u8>)],
        covered: TreeSize,
        checked: &mut BucketChecked,
    ) -> Result<(), ChainError> {
        let (objects, repair) = (&self.objects, self.repair);
        let is_right = parallel::map(expected, self.threads, |(tile, bytes)| {
            let key = layout::tile(*tile);
            let seen = match objects.get(&key, MAX_BUNDLE_BYTES) {
                Err(BucketError::TooLarge { .. }) => Some(Vec::new()),
                object => object?.map(|object| object.bytes),
            };
            // A partial tile may be deleted once there is a full one.
            let is_right = match seen {
                None => !tile.is_full() && tile.id.width_in(covered) == TILE_WIDTH,
                Some(seen) => seen == *bytes,
            };
            if !is_right && repair {
                let headers = if tile.is_full() { IMMUTABLE } else { PARTIAL };
                objects.put(&key, bytes, &headers)?;
            }
            Ok::<bool, BucketError>(is_right)
        })?;
        checked.tiles += expected.len() as u64;
        for ((tile, _), _) in expected.iter().zip(is_right).filter(|(_, is_right)| !is_right) {
            checked.damaged += 1;
            if checked.named.len() < MOST_NAMED {
                checked.named.push(*tile);
            }
        }
        Ok(())
    }
}

/// The tiles that grow out of the batches.
#[derive(Default)]
struct Tiles {
    partial: PartialTiles,
    /// The bundle that is not full yet.
    bundle: Vec<u8>,
}

impl Tiles {
    /// The tiles that become full with a batch, and the partial ones of a head that ends there.
    fn grow(&mut self, batch: &Followed, ends_head: bool) -> Vec<(Tile, Vec<u8>)> {
        let (mut tiles, size) = (Vec::new(), batch.growth.edge.size());
        let full = |id| Tile::new(id, TILE_WIDTH).expect("256 is a width");
        let Ok(()) = self.partial.grow(&batch.growth, |id, hashes| {
            tiles.push((full(id), hashes_to_bytes(hashes)));
            Ok::<(), Infallible>(())
        });
        for (index, entry) in (batch.object.head().first.get()..).zip(batch.object.entries()) {
            bundle::push(&mut self.bundle, entry).expect("read from a batch");
            if (index + 1).is_multiple_of(TILE_WIDTH) {
                let id = TileId::Entries { index: index / TILE_WIDTH };
                tiles.push((full(id), std::mem::take(&mut self.bundle)));
            }
        }
        if ends_head {
            tiles.extend(self.partial.tiles(size).map(|(tile, hashes)| (tile, hashes_to_bytes(hashes))));
            let last = TileId::Entries { index: size.get() / TILE_WIDTH };
            tiles.extend(Tile::in_tree(last, size).map(|tile| (tile, self.bundle.clone())));
        }
        tiles
    }
}
