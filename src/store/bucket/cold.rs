//! A start without a cache: the tree grows from the tiles of leaf hashes in the bucket, which must make the signed root. The
//! entries themselves are read only where the index in the bucket lacks them.

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

/// Tiles that are read together.
const GROUP_TILES: u64 = if cfg!(test) { 3 } else { 256 };
/// Below so many leaves, reading the batches costs as little.
const LEAST_LEAVES: u64 = if cfg!(test) { 300 } else { 65_536 };

/// Fills an empty tree and an empty index from the bucket, as far as a signed head covers them. False if that can't be
/// done, and everything is to be made from the batches; then the tree and the index have to be emptied again.
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
    // Without an index, every entry is read anyway.
    let kept = index::indexed(&index_options.dir)
        .ok()
        .map(|indexed| indexed.size)
        .filter(|size| *size > TreeSize::ZERO);
    let indexed = match kept {
        // The files that its manifest names outlive a power cut; sled does not.
        Some(size) => Some(size),
        None => index_objects::download(objects, &index_options.dir, threads)?,
    };
    let Some(indexed) = indexed else { return Ok(false) };
    tracing::info!(leaves = %head.size, %indexed, "filling the cache from the bucket");
    let rows = RowWriter::new(tree.clone(), options.io.clone(), options.row_lag, Arc::new(|| ()));
    let full = head.size.get() / TILE_WIDTH;
    let grow = |leaf_hashes: &[Hash]| {
        let growth = tree.peaks().grow(leaf_hashes);
        // Without a cursor. A crash leaves rows that count for nothing, and the next start begins again.
        let grown = rows.apply_rows(&growth, &[], None);
        (options.progress)(growth.edge.size().get(), head.size.get());
        grown
    };
    let is_whole = thread::scope(|scope| -> Result<bool, StoreError> {
        // One group is read while the one before it is hashed.
        let (sender, groups) = sync_channel(1);
        scope.spawn(move || {
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
        });
        for group in groups {
            let Some(tiles) = group?.into_iter().collect::<Option<Vec<Vec<Hash>>>>() else {
                return Ok(false);
            };
            grow(&tiles.concat())?;
        }
        Ok(true)
    })?;
    if !is_whole {
        tracing::warn!("tiles are missing in the bucket; making the cache from the batches");
        return Ok(false);
    }
    let bytes = entries.bundle_of_batches(full * TILE_WIDTH..head.size.get())?;
    let split = bundle::split(&bytes, 256);
    let split = split.map_err(|e| StoreError::TreeDamaged { detail: e.to_string() })?;
    let leaf_hashes: Vec<Hash> = split.iter().map(|entry| Hash::leaf(entry)).collect();
    let growth = tree.peaks().grow(&leaf_hashes);
    if (growth.edge.size(), growth.edge.root()) != (head.size, head.root) {
        tracing::warn!(
            "the tiles in the bucket do not make the signed root; making the cache from the batches"
        );
        return Ok(false);
    }
    rows.apply(&growth, &[], Place::default())?;
    Ok(true)
}

/// Reads a full tile of leaf hashes. `None` if it is not there.
fn tile(entries: &BucketEntries, index: u64) -> Result<Option<Vec<Hash>>, ChainError> {
    let tile = Tile::new(TileId::Hashes { level: 0, index }, TILE_WIDTH).expect("256 is a width");
    let object = entries.objects.get(&layout::tile(tile), 256 * HASH_BYTES);
    // One that is too large is another.
    match object {
        Err(crate::bucket::BucketError::TooLarge { .. }) => Ok(None),
        object => Ok(object?.and_then(|object| hashes_from_bytes(&object.bytes, 256))),
    }
}
