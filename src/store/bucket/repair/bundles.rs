//! Entry bundles, in the bucket or in a server's cache, as a source of entries.

use std::path::Path;
use std::sync::Arc;

use crate::bucket::{MAX_LISTED, Objects};
use crate::merkle::{TILE_WIDTH, Tile, TileId};
use crate::proof::bundle;
use crate::store::bucket::cache::BundleCache;
use crate::store::bucket::layout;
use crate::store::bucket::reader::MAX_BUNDLE_BYTES;
use crate::store::{EntrySource, MAX_BATCH_BYTES};

const FULL: usize = 256;

/// Entry bundles as a source of entries.
pub struct BundleSource {
    objects: Option<Arc<dyn Objects>>,
    cache: Option<BundleCache>,
    /// The bundle that was read last, because most callers ask for its next entries.
    last: Option<(u64, Vec<Vec<u8>>)>,
}

impl BundleSource {
    /// The bundles in the bucket.
    #[must_use]
    pub fn of_bucket(objects: Arc<dyn Objects>) -> Self {
        Self { objects: Some(objects), cache: None, last: None }
    }

    /// The bundles in the cache in a server's directory.
    #[must_use]
    pub fn of_cache(dir: &Path) -> Self {
        Self { objects: None, cache: Some(BundleCache::new(dir.join("bundles"), 0)), last: None }
    }

    /// Reads a bundle.
    fn bundle(&self, index: u64) -> Result<Vec<Vec<u8>>, String> {
        let bytes = match (&self.cache, &self.objects) {
            (Some(cache), _) => cache.get(index),
            (None, Some(objects)) => of_bucket(objects.as_ref(), index)?,
            (None, None) => None,
        };
        let bytes = bytes.ok_or_else(|| format!("expected the entry bundle {index}, saw none"))?;
        let entries = bundle::split(&bytes, FULL).map_err(|e| e.to_string())?;
        Ok(entries.into_iter().map(<[u8]>::to_vec).collect())
    }
}

/// The full bundle in the bucket, or else the largest partial one.
fn of_bucket(objects: &dyn Objects, index: u64) -> Result<Option<Vec<u8>>, String> {
    let full = layout::tile(Tile::new(TileId::Entries { index }, TILE_WIDTH).expect("256 is a width"));
    let get = |key: &str| objects.get(key, MAX_BUNDLE_BYTES).map_err(|e| e.to_string());
    if let Some(object) = get(&full)? {
        return Ok(Some(object.bytes));
    }
    let listed = objects.list(&format!("{full}.p/"), "", MAX_LISTED).map_err(|e| e.to_string())?.objects;
    let widest = listed.into_iter().filter_map(|listed| {
        let tile = Tile::parse(&listed.key).ok()?;
        Some((tile.width(), listed.key))
    });
    let Some((_, key)) = widest.max() else { return Ok(None) };
    Ok(get(&key)?.map(|object| object.bytes))
}

impl EntrySource for BundleSource {
    fn entries(&mut self, first: u64, most: usize) -> Result<Vec<Vec<u8>>, String> {
        let (mut found, mut bytes) = (Vec::new(), 0);
        while found.len() < most {
            let at = first + found.len() as u64;
            let index = at / TILE_WIDTH;
            if self.last.as_ref().is_none_or(|(last, _)| *last != index) {
                match self.bundle(index) {
                    Ok(entries) => self.last = Some((index, entries)),
                    // Return the entries found so far.
                    Err(_) if !found.is_empty() => break,
                    Err(error) => return Err(error),
                }
            }
            let skip = usize::try_from(at % TILE_WIDTH).expect("below 256");
            let (_, entries) = self.last.as_ref().expect("just read");
            let Some(entry) = entries.get(skip) else { break };
            bytes += entry.len();
            if bytes > MAX_BATCH_BYTES {
                break;
            }
            found.push(entry.clone());
        }
        if found.is_empty() {
            return Err(format!("expected entry {first}, saw bundles that end before it"));
        }
        Ok(found)
    }
}
