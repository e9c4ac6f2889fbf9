//! The Merkle tree as tiles: full tiles and bundle offsets in sled, the partial tiles of the right
//! edge in memory, and the newest rows in memory too, until [`RowWriter`](super::rows::RowWriter) has written them.
//!
//! ```text
//! "c"                              cursor: size u64 || place of the last batch applied (24) || root (32)
//! "t" || level u8 || index u64     256 hashes of a full tile; written once, never again
//! "b" || index u64                 place of the beginning of a bundle (24), if entries are found by it
//! "p"                              leaf hashes behind the last full tile, if the entries are not at hand
//! ```
//!
//! Only the storage of the entries knows what a [`Place`] says.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::index::{self, Indexed, PointerSum};
use crate::disk::{SledDir, SledError, SledIo};
use crate::merkle::{
    Growth, HASH_BYTES, Hash, PartialTiles, RightEdge, TILE_WIDTH, Tile, TileId, TileReader, TreeSize,
    hashes_from_bytes, hashes_to_bytes, read_root,
};
use crate::store::StoreError;

const CURSOR: &[u8] = b"c";
const PARTIAL: &[u8] = b"p";
/// Levels a tree below 2^63 leaves can have.
const LEVELS: usize = 8;

/// Length of a [`Place`].
pub const PLACE_BYTES: usize = 24;

/// A place in the storage of the entries, which alone can read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Place(pub [u8; PLACE_BYTES]);

/// The end of the entries that the tree has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// Number of leaves.
    pub size: TreeSize,
    /// Root of the tree of that size.
    pub root: Hash,
    /// The last batch applied.
    pub place: Place,
}

impl Cursor {
    /// Length of a cursor in bytes.
    pub const BYTES: usize = 8 + PLACE_BYTES + HASH_BYTES;

    pub fn to_bytes(self) -> Vec<u8> {
        [self.size.get().to_be_bytes().as_slice(), &self.place.0, self.root.as_bytes()].concat()
    }

    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (size, rest) = bytes.split_first_chunk()?;
        let (place, root) = rest.split_first_chunk()?;
        let size = TreeSize::new(u64::from_be_bytes(*size))?;
        Some(Self { size, root: Hash::from_bytes(root.try_into().ok()?), place: Place(*place) })
    }
}

/// The Merkle tree, shared by the writer and all readers.
#[derive(Debug, Clone)]
pub struct Tree {
    rows: sled::Tree,
    recent: Arc<RwLock<Recent>>,
    keeps_partial: bool,
}

/// Rows by their keys, for sled.
pub type Rows = BTreeMap<Vec<u8>, sled::IVec>;

/// The part of the tree that is not in sled yet.
#[derive(Debug, Default)]
struct Recent {
    edge: Edge,
    /// Rows that nobody writes yet.
    waiting: Rows,
    /// Rows that are being written.
    writing: Arc<Rows>,
}

impl Recent {
    fn row(&self, key: &[u8]) -> Option<sled::IVec> {
        self.waiting.get(key).or_else(|| self.writing.get(key)).cloned()
    }
}

/// The right edge, which changes with every batch.
#[derive(Debug, Clone, Default)]
struct Edge {
    peaks: RightEdge,
    partial: PartialTiles,
}

impl Tree {
    /// An empty tree, in place of what the rows may hold.
    pub fn empty(rows: sled::Tree) -> Self {
        Self { rows, recent: Arc::default(), keeps_partial: false }
    }

    /// Also keeps the leaf hashes behind the last full tile in the rows.
    #[cfg(feature = "bucket")]
    pub fn keeping_partial(self) -> Self {
        Self { keeps_partial: true, ..self }
    }

    /// The kept leaf hashes behind the last full tile of a tree of this size.
    ///
    /// # Errors
    /// [`StoreError::TreeDamaged`] if they are not there.
    #[cfg(feature = "bucket")]
    pub fn partial_leaves(&self, size: TreeSize) -> Result<Vec<Hash>, StoreError> {
        let width = usize::try_from(size.get() % TILE_WIDTH).expect("below 256");
        let row = self.row(PARTIAL)?.unwrap_or_default();
        hashes_from_bytes(&row, width).ok_or_else(|| StoreError::TreeDamaged {
            detail: format!("expected {width} leaf hashes of its partial tile, saw {} bytes", row.len()),
        })
    }

    /// Opens the tree and rebuilds the right edge. `tail` reads the entries behind the last full tile, and hashes them.
    ///
    /// # Errors
    /// [`StoreError::TreeDamaged`] if rows are missing, or do not make the root in the cursor: the tree has to be
    /// rebuilt. Others are those of `tail`.
    pub fn open(
        self,
        tail: impl FnOnce(&Self, &Cursor) -> Result<Vec<Hash>, StoreError>,
    ) -> Result<(Self, Option<Cursor>), StoreError> {
        let tree = self;
        let damaged = |why: &str| StoreError::TreeDamaged { detail: why.to_owned() };
        let cursor = tree.rows.get(CURSOR).map_err(|_| damaged("its cursor can't be read"))?;
        let Some(cursor) = cursor else { return Ok((tree, None)) };
        let cursor = Cursor::from_bytes(&cursor).ok_or_else(|| damaged("its cursor does not parse"))?;
        let leaves = tail(&tree, &cursor)?;
        tree.load_edge(&cursor, leaves)?;
        Ok((tree, Some(cursor)))
    }

    /// Rebuilds the partial tiles: each hash above level 0 is the root of a full tile below it, so the whole
    /// right edge is re-hashed and compared with the root in the cursor.
    fn load_edge(&self, cursor: &Cursor, leaves: Vec<Hash>) -> Result<(), StoreError> {
        let mut partial: [Vec<Hash>; LEVELS] = std::array::from_fn(|_| Vec::new());
        partial[0] = leaves;
        for (below, hashes) in (0..).zip(&mut partial[1..]) {
            let width = cursor.size.get() >> (8 * (u32::from(below) + 1));
            for index in width / TILE_WIDTH * TILE_WIDTH..width {
                let tile = self.full_tile(TileId::Hashes { level: below, index })?;
                hashes.push(RightEdge::default().grow(&tile).edge.root());
            }
        }
        let edge = Edge { peaks: RightEdge::default(), partial: PartialTiles::new(partial) };
        let peaks = read_root(&View { tree: self, size: cursor.size, partial: &edge.partial }, cursor.size)?;
        let computed = peaks.root();
        if computed != cursor.root {
            let (expected, seen) = (cursor.root.to_base64(), computed.to_base64());
            let detail = format!("expected root {expected} at tree size {}, computed {seen}", cursor.size);
            return Err(StoreError::TreeDamaged { detail });
        }
        self.recent_mut().edge = Edge { peaks, ..edge };
        Ok(())
    }

    /// Applies one batch or several: makes tile hashes, bundle offsets and cursor readable, all at once. Returns the
    /// number of rows that wait to be written.
    pub fn apply(&self, growth: &Growth, bundles: &[(u64, Place)], cursor: Option<Cursor>) -> usize {
        let mut edge = self.recent().edge.clone();
        let mut rows = Rows::new();
        let full = |id, hashes: &[Hash]| {
            rows.insert(tile_key(id), hashes_to_bytes(hashes).into());
            Ok::<(), Infallible>(())
        };
        let Ok(()) = edge.partial.grow(growth, full);
        edge.peaks = growth.edge.clone();
        for (index, start) in bundles {
            rows.insert(bundle_key(*index), start.0.as_slice().into());
        }
        if let Some(cursor) = cursor {
            rows.insert(CURSOR.to_vec(), cursor.to_bytes().into());
            if self.keeps_partial {
                rows.insert(PARTIAL.to_vec(), hashes_to_bytes(edge.partial.level(0)).into());
            }
        }
        let mut recent = self.recent_mut();
        recent.edge = edge;
        recent.waiting.extend(rows);
        recent.waiting.len()
    }

    /// Writes the rows that wait, through `io`, all or nothing. Readers have them from memory until they are
    /// written.
    pub fn write(&self, io: &dyn SledIo) -> Result<(), SledError> {
        let rows = {
            let mut recent = self.recent_mut();
            let waiting = std::mem::take(&mut recent.waiting);
            // Rows of an attempt that failed stay: the store is opened anew then.
            recent.writing = Arc::new(waiting);
            recent.writing.clone()
        };
        if rows.is_empty() {
            return Ok(());
        }
        let mut batch = sled::Batch::default();
        rows.iter().for_each(|(key, row)| batch.insert(key.as_slice(), row));
        // A crash before or after this line only decides where catching up begins.
        io.write_rows(&mut || Ok(self.rows.apply_batch(batch.clone())?))?;
        self.recent_mut().writing = Arc::default();
        Ok(())
    }

    fn recent(&self) -> RwLockReadGuard<'_, Recent> {
        self.recent.read().expect("no panic while it is held")
    }

    fn recent_mut(&self) -> RwLockWriteGuard<'_, Recent> {
        self.recent.write().expect("no panic while it is held")
    }

    /// The right edge of everything applied.
    pub fn peaks(&self) -> RightEdge {
        self.recent().edge.peaks.clone()
    }

    /// A row from memory or sled. A row leaves memory once it is in sled.
    fn row(&self, key: &[u8]) -> Result<Option<sled::IVec>, StoreError> {
        let recent = self.recent().row(key);
        Ok(if recent.is_some() { recent } else { self.rows.get(key)? })
    }

    /// The last batch applied.
    pub fn cursor(&self) -> Result<Option<Cursor>, StoreError> {
        Ok(self.row(CURSOR)?.as_deref().and_then(Cursor::from_bytes))
    }

    /// The beginning of a bundle, and its full tile of leaf hashes.
    pub fn leaf_rows(&self, index: u64) -> Result<(Place, sled::IVec), StoreError> {
        let id = TileId::Hashes { level: 0, index };
        let hashes = self.row(&tile_key(id))?;
        parse_tile(id, hashes.clone())?;
        Ok((self.bundle_start(index)?, hashes.unwrap_or_default()))
    }

    /// The first hashes of a full tile.
    fn of_full(&self, tile: Tile) -> Result<Vec<Hash>, StoreError> {
        let mut hashes = self.full_tile(tile.id)?;
        hashes.truncate(tile.width());
        Ok(hashes)
    }

    fn full_tile(&self, id: TileId) -> Result<Vec<Hash>, StoreError> {
        parse_tile(id, self.row(&tile_key(id))?)
    }

    /// The beginning of a bundle in the storage of the entries.
    pub fn bundle_start(&self, index: u64) -> Result<Place, StoreError> {
        let row = self.row(&bundle_key(index))?;
        place_of(row.as_deref()).ok_or_else(|| StoreError::TreeDamaged {
            detail: format!("expected a row for bundle {index}, saw none"),
        })
    }
}

impl TileReader for Tree {
    type Error = StoreError;

    fn read_tiles(&self, tiles: &[Tile]) -> Result<Vec<Vec<Hash>>, StoreError> {
        let partial = {
            let recent = self.recent();
            let Edge { peaks, partial } = &recent.edge;
            let read = |tile: &Tile| partial_tile(partial, peaks.size(), *tile);
            tiles.iter().map(read).collect::<Result<Vec<_>, _>>()?
        };
        // sled is read without the lock: nobody who appends waits for a reader's disk.
        let read =
            |(tile, partial): (&Tile, Option<Vec<Hash>>)| partial.map_or_else(|| self.of_full(*tile), Ok);
        tiles.iter().zip(partial).map(read).collect()
    }
}

/// The tree that a cursor describes, while its right edge is not known yet.
struct View<'a> {
    tree: &'a Tree,
    size: TreeSize,
    partial: &'a PartialTiles,
}

impl TileReader for View<'_> {
    type Error = StoreError;

    fn read_tiles(&self, tiles: &[Tile]) -> Result<Vec<Vec<Hash>>, StoreError> {
        let read = |tile: &Tile| match partial_tile(self.partial, self.size, *tile)? {
            Some(hashes) => Ok(hashes),
            None => self.tree.of_full(*tile),
        };
        tiles.iter().map(read).collect()
    }
}

/// Hashes of a tile of the right edge; `None` if they are in a full tile.
fn partial_tile(partial: &PartialTiles, size: TreeSize, tile: Tile) -> Result<Option<Vec<Hash>>, StoreError> {
    let available = tile.id.width_in(size);
    if matches!(tile.id, TileId::Entries { .. }) || available < tile.width() as u64 {
        let detail = format!("expected {tile}, saw {available} hashes of it");
        return Err(StoreError::TreeDamaged { detail });
    }
    // One tile of each level is partial.
    let is_partial = available < TILE_WIDTH;
    Ok(is_partial.then(|| partial.level(tile.id.level())[..tile.width()].to_vec()))
}

fn parse_tile(id: TileId, row: Option<sled::IVec>) -> Result<Vec<Hash>, StoreError> {
    let hashes = row.as_deref().and_then(|bytes| hashes_from_bytes(bytes, 256));
    hashes.ok_or_else(|| {
        let name = Tile::new(id, TILE_WIDTH).expect("256 is a width");
        let seen = row.map_or(0, |row| row.len());
        StoreError::TreeDamaged { detail: format!("expected {name} whole, saw {seen} bytes") }
    })
}

fn place_of(row: Option<&[u8]>) -> Option<Place> {
    row?.try_into().ok().map(Place)
}

fn tile_key(id: TileId) -> Vec<u8> {
    [b"t".as_slice(), &[id.level()], &id.index().to_be_bytes()].concat()
}

fn bundle_key(index: u64) -> Vec<u8> {
    [b"b".as_slice(), &index.to_be_bytes()].concat()
}

/// An open sled and its tree of rows.
pub struct Opened {
    pub db: sled::Db,
    pub tree: sled::Tree,
}

impl Opened {
    pub fn new(db: &sled::Db) -> sled::Result<Self> {
        Ok(Self { db: db.clone(), tree: db.open_tree("tree")? })
    }
}

/// The rows of a log's tree, read one by one for fsck.
pub struct TreeRows {
    rows: sled::Tree,
    index: PathBuf,
    db: sled::Db,
    dir: SledDir,
}

impl Drop for TreeRows {
    fn drop(&mut self) {
        if let Err(error) = self.dir.close(&self.db) {
            tracing::warn!(%error, "sled was not closed; should the power fail, it is rebuilt");
        }
    }
}

impl TreeRows {
    pub const fn new(dir: SledDir, db: sled::Db, rows: sled::Tree, index: PathBuf) -> Self {
        Self { rows, index, db, dir }
    }

    /// Leaves that the index's files cover; the log indexes later ones when it starts.
    pub fn indexed(&self) -> Result<Indexed, StoreError> {
        index::indexed(&self.index)
    }

    /// Compares the index with the pointers of its leaves, made from the entries.
    ///
    /// # Errors
    /// [`StoreError::TreeDamaged`] if any is missing, wrong, or too many.
    pub fn check_index(&self, expected: &PointerSum) -> Result<(), StoreError> {
        let seen = index::sum_up(&self.index)?;
        if seen == *expected {
            return Ok(());
        }
        let (expected, seen) = (expected.count(), seen.count());
        let detail = format!("expected {expected} pointers in the index, saw {seen}, some of them different");
        Err(StoreError::TreeDamaged { detail })
    }

    /// Leaves of the tree, as the cursor says.
    pub fn size(&self) -> Result<TreeSize, StoreError> {
        let cursor = self.rows.get(CURSOR)?;
        let parse = |row: sled::IVec| {
            Cursor::from_bytes(&row)
                .ok_or_else(|| StoreError::TreeDamaged { detail: "its cursor does not parse".to_owned() })
        };
        Ok(cursor.map(parse).transpose()?.map_or(TreeSize::ZERO, |cursor| cursor.size))
    }

    /// Compares a full tile with the one made from the entries.
    pub fn check_tile(&self, id: TileId, expected: &[Hash]) -> Result<(), StoreError> {
        let seen = parse_tile(id, self.rows.get(tile_key(id))?)?;
        match seen.iter().zip(expected).position(|(seen, expected)| seen != expected) {
            None => Ok(()),
            Some(at) => {
                let tile = Tile::new(id, TILE_WIDTH).expect("256 is a width");
                let (expected, seen) = (expected[at].to_base64(), seen[at].to_base64());
                let detail = format!("{tile}, hash {at}: expected {expected}, saw {seen}");
                Err(StoreError::TreeDamaged { detail })
            }
        }
    }

    /// Compares the recorded beginning of a bundle with the journal's.
    pub fn check_bundle(&self, index: u64, expected: Place) -> Result<(), StoreError> {
        let row = self.rows.get(bundle_key(index))?;
        if place_of(row.as_deref()) == Some(expected) {
            return Ok(());
        }
        Err(StoreError::TreeDamaged {
            detail: format!("the row of bundle {index} is not where the journal has it"),
        })
    }
}
