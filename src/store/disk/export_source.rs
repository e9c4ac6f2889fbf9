//! Entries of an export: c2sp.org/tlog-tiles from files.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::rebuild::EntrySource;
use crate::disk::open_plain;
use crate::merkle::{TILE_WIDTH, Tile, TileId, TreeSize};
use crate::proof::bundle::{self, LENGTH_BYTES};
use crate::release::MAX_ENTRY_BYTES;

/// The entries of an exported tree.
#[derive(Debug)]
pub struct ExportSource {
    size: TreeSize,
    dir: PathBuf,
}

impl ExportSource {
    /// The export in `dir`, of a tree of this size.
    #[must_use]
    pub fn new(dir: &Path, size: TreeSize) -> Self {
        Self { size, dir: dir.to_owned() }
    }
}

impl EntrySource for ExportSource {
    fn entries(&mut self, first: u64, most: usize) -> Result<Vec<Vec<u8>>, String> {
        let id = TileId::Entries { index: first / TILE_WIDTH };
        let skip = usize::try_from(first % TILE_WIDTH).expect("below 256");
        let tile = Tile::in_tree(id, self.size)
            .filter(|tile| tile.width() > skip)
            .ok_or_else(|| format!("expected entry {first}, saw a tree of size {}", self.size))?;
        let entries = read_bundle(&self.dir, tile)?;
        Ok(entries.into_iter().skip(skip).take(most).collect())
    }
}

/// Reads a bundle; a partial one may be gone once the full one is there.
fn read_bundle(dir: &Path, tile: Tile) -> Result<Vec<Vec<u8>>, String> {
    let full = Tile::new(tile.id, TILE_WIDTH).expect("256 is a width");
    let path = dir.join(tile.to_string());
    let path = if path.exists() { path } else { dir.join(full.to_string()) };
    let limit = TILE_WIDTH * (LENGTH_BYTES + MAX_ENTRY_BYTES) as u64;
    let mut bytes = Vec::new();
    let read = open_plain(&path).and_then(|file| file.take(limit).read_to_end(&mut bytes));
    read.map_err(|e| format!("could not read {}: {e}", path.display()))?;
    let entries = bundle::split(&bytes, 256).map_err(|e| format!("{}: {e}", path.display()))?;
    if entries.len() < tile.width() {
        let (expected, seen) = (tile.width(), entries.len());
        return Err(format!("{}: expected {expected} entries, saw {seen}", path.display()));
    }
    Ok(entries.into_iter().take(tile.width()).map(<[u8]>::to_vec).collect())
}
