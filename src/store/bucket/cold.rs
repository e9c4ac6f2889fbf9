//! A start without a cache. Builds the tree from the tiles of leaf hashes in the bucket, which must produce the signed
//! root. Reads only those entries that the index in the bucket lacks.

use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread;

use super::reader::BucketEntries;
use super::{ChainError, index_objects, layout, parallel};
use crate::checkpoint::Checkpoint;
use crate::merkle::{HASH_BYTES, Hash, TILE_WIDTH, Tile, TileId, TreeSize, hashes_from_bytes};
use crate::proof::bundle;
use crate::store::derived::index::{self, IndexOptions};
use crate::store::derived::{Place, RowWriter, Tree};
use crate::store::{OpenOptions, StoreError};
use crate::threads;

/// Number of tiles that are read together.
const GROUP_TILES: u64 = if cfg!(test) { 3 } else { 256 };
/// Size of the smallest tree for which this is faster than reading the batches.
const LEAST_LEAVES: u64 = if cfg!(test) { 300 } else { 65_536 };

/// Fills an empty tree and an empty index from the bucket, up to a signed head. Returns false if that is impossible:
/// then the caller clears the tree and the index, and rebuilds them from the batches.
///
/// # Errors
/// [`StoreError`] if the bucket or the disk fails.
pub fn load(
    tree: &Tree,
    head: &Checkpoint,
    entries: &BucketEntries,
    options: &OpenOptions,
    index_options: &IndexOptions,
) -> Result<bool, StoreError> {
    let (objects, threads) = (entries.objects.as_ref(), entries.threads);
    if head.size.get() < LEAST_LEAVES {
        return Ok(false);
    }
    // Without an index, every entry has to be read anyway.
    let kept = index::indexed(&index_options.dir)
        .ok()
        .map(|indexed| indexed.size)
        .filter(|size| *size > TreeSize::ZERO);
    let indexed = match kept {
        // After a power cut, the index files that the manifest names are intact, although sled may not be.
        Some(size) => Some(size),
        None => index_objects::download(objects, &index_options.dir, threads)?,
    };
    let Some(indexed) = indexed else { return Ok(false) };
    tracing::info!(leaves = %head.size, %indexed, "filling the cache from the bucket");
    let rows = RowWriter::new(tree.clone(), options.io.clone(), options.row_lag, Arc::new(|| ()))?;
    let full = head.size.get() / TILE_WIDTH;
    let grow = |leaf_hashes: &[Hash]| {
        let growth = tree.peaks().grow(leaf_hashes);
        // Write the rows without a cursor: after a crash, the next start discards them and begins again.
        let grown = rows.apply_rows(&growth, &[], None);
        (options.progress)(growth.edge.size().get(), head.size.get());
        grown
    };
    let is_whole = thread::scope(|scope| -> Result<bool, StoreError> {
        // Read one group while the previous one is hashed.
        let (sender, groups) = sync_channel(1);
        threads::start_in(scope, "cold tiles", move || {
            let mut first = 0;
            while first < full {
                let group: Vec<u64> = (first..full.min(first + GROUP_TILES)).collect();
                let read = parallel::map(&group, threads, |index| tile(entries, *index));
                let is_last = read.as_ref().map_or(true, |tiles| tiles.iter().any(Option::is_none));
                if sender.send(read).is_err() || is_last {
                    return;
                }
                first += GROUP_TILES;
            }
        })?;
        for group in groups {
            let Some(tiles) = group?.into_iter().collect::<Option<Vec<Vec<Hash>>>>() else {
                return Ok(false);
            };
            grow(&tiles.concat())?;
        }
        Ok(true)
    })?;
    if !is_whole {
        tracing::warn!("the bucket lacks some tiles; rebuilding the cache from the batches");
        return Ok(false);
    }
    let bytes = entries.bundle_of_batches(full * TILE_WIDTH..head.size.get())?;
    let split = bundle::split(&bytes, 256);
    let split = split.map_err(|e| StoreError::TreeDamaged { detail: e.to_string() })?;
    let leaf_hashes: Vec<Hash> = split.iter().map(|entry| Hash::leaf(entry)).collect();
    let growth = tree.peaks().grow(&leaf_hashes);
    if (growth.edge.size(), growth.edge.root()) != (head.size, head.root) {
        tracing::warn!(
            "the tiles in the bucket do not produce the signed root; rebuilding the cache from the batches"
        );
        return Ok(false);
    }
    rows.apply(&growth, &[], Place::default())?;
    Ok(true)
}

/// Reads a full tile of leaf hashes. `None` if it is missing or malformed.
fn tile(entries: &BucketEntries, index: u64) -> Result<Option<Vec<Hash>>, ChainError> {
    let tile = Tile::new(TileId::Hashes { level: 0, index }, TILE_WIDTH).expect("256 is a width");
    let object = entries.objects.get(&layout::tile(tile), 256 * HASH_BYTES);
    // A longer object is not the tile.
    match object {
        Err(crate::bucket::BucketError::TooLarge { .. }) => Ok(None),
        object => Ok(object?.and_then(|object| hashes_from_bytes(&object.bytes, 256))),
    }
}
