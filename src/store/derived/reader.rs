//! Reading a log while it grows. Readers never wait for the sequencer.

use std::ops::Range;
use std::sync::{Arc, OnceLock, RwLock};

use super::checked_bundles::CheckedBundles;
use super::index::{CLAIM, EDITION, Index, LEAF, PAYLOAD, WITHDRAWAL, Wanted};
use super::tree::Tree;
use crate::merkle::{Hash, LeafIndex, RightEdge, TILE_WIDTH, Tile, TileId, TileReader as _, TreeSize};
use crate::proof::bundle;
use crate::release::{Facts, Term, Track};
use crate::store::{Describe, IndexUse, SearchPage, StoreError, StoreReader, Stored};

/// The place where a log's entries lie. The reader compares what it reads there with the tree's leaf hashes before anybody
/// sees it.
pub trait EntryStorage: Send + Sync {
    /// Reads the first entries of a bundle, each behind its length. The tree has them.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if they are not there.
    fn read_bundle(&self, tree: &Tree, index: u64, width: usize) -> Result<Vec<u8>, StoreError>;

    /// Reads several full bundles that follow each other, for whoever reads them all.
    ///
    /// # Errors
    /// As [`read_bundle`](Self::read_bundle).
    fn read_bundles(&self, tree: &Tree, bundles: Range<u64>) -> Result<Vec<Vec<u8>>, StoreError> {
        let full = usize::try_from(TILE_WIDTH).expect("256");
        bundles.map(|index| self.read_bundle(tree, index, full)).collect()
    }

    /// The number of bundles to ask [`read_bundles`](Self::read_bundles) for at once.
    fn bundles_at_once(&self) -> u64 {
        1
    }

    /// Reads one entry. The tree has it.
    ///
    /// # Errors
    /// As [`read_bundle`](Self::read_bundle).
    fn read_entry(&self, tree: &Tree, index: LeafIndex) -> Result<Vec<u8>, StoreError>;

    /// The error for damage to `what`, a part of this storage.
    fn damaged(&self, what: &str, detail: String) -> StoreError;

    /// Notes that a tile of the tree does not have the hash above it, so that the tree is made anew.
    fn tree_is_damaged(&self) {}

    /// The damage to this storage that an error reports: the place, and what is wrong. The log appends nothing afterwards.
    fn damage_in(&self, error: &StoreError) -> Option<(String, String)>;
}

/// The log's reader, shared by all who read; a reload replaces its views.
pub struct Reader<E> {
    entries: E,
    describe: Describe,
    views: RwLock<Option<Arc<Views>>>,
    checked: CheckedBundles,
    /// Damage to the entries seen since the log was opened: the place, and what is wrong. Never cleared.
    damage: OnceLock<(String, String)>,
}

pub struct Views {
    pub tree: Tree,
    pub index: Index,
    /// sled writes in the background while it is open.
    pub db: sled::Db,
}

impl<E: EntryStorage> Reader<E> {
    /// A reader of these entries. It can't answer before it has [views](Self::show).
    pub fn new(entries: E, describe: Describe) -> Self {
        let (views, checked) = (RwLock::new(None), CheckedBundles::default());
        Self { entries, describe, views, checked, damage: OnceLock::new() }
    }

    /// The storage of the entries.
    #[cfg(feature = "bucket")]
    pub const fn entries(&self) -> &E {
        &self.entries
    }

    /// Remembers damage to the entries if the error reports it.
    pub fn notice(&self, error: &StoreError) {
        let Some(seen) = self.entries.damage_in(error) else { return };
        if self.damage.set(seen).is_ok() {
            tracing::error!("the log appends nothing more: {error}");
        }
    }

    /// Fails if damage to the entries was seen.
    ///
    /// # Errors
    /// [`StoreError::Damaged`].
    pub fn undamaged(&self) -> Result<(), StoreError> {
        self.damage.get().map_or(Ok(()), |(what, detail)| {
            Err(StoreError::Damaged { what: what.clone(), detail: detail.clone() })
        })
    }

    /// Sets the views for later reads; `None` while the store reloads.
    pub fn show(&self, views: Option<Views>) {
        self.checked.clear();
        *self.views.write().expect("no panic while it is held") = views.map(Arc::new);
    }

    /// The current views.
    pub fn views(&self) -> Result<Arc<Views>, StoreError> {
        let views = self.views.read().expect("no panic while it is held").clone();
        views.ok_or(StoreError::Reloading)
    }
}

impl<E: EntryStorage> StoreReader for Reader<E> {
    fn size(&self) -> TreeSize {
        self.views().map(|views| views.tree.peaks().size()).unwrap_or_default()
    }

    fn applied(&self) -> Result<TreeSize, StoreError> {
        Ok(self.views()?.tree.peaks().size())
    }

    fn index_use(&self) -> IndexUse {
        self.views().map(|views| views.index.usage()).unwrap_or_default()
    }

    fn tiles(&self, tiles: &[Tile]) -> Result<Vec<Vec<Hash>>, StoreError> {
        self.views()?.tree.read_tiles(tiles)
    }

    fn damage(&self) -> Option<String> {
        self.undamaged().err().map(|error| error.to_string())
    }

    fn bundle(&self, index: u64, width: usize) -> Result<Vec<u8>, StoreError> {
        let views = self.views()?;
        self.bundle_of(&views.tree, index, width).inspect_err(|error| self.notice(error))
    }

    fn entry(&self, index: LeafIndex) -> Result<Vec<u8>, StoreError> {
        let tree = &self.views()?.tree;
        let size = tree.peaks().size();
        if !size.contains(index) {
            return Err(StoreError::TreeDamaged {
                detail: format!("expected leaf {index}, saw a tree of {size}"),
            });
        }
        checked_entry(&self.entries, tree, index).inspect_err(|error| self.notice(error))
    }

    fn find_leaves(&self, leaves: &[Hash]) -> Result<Vec<Option<LeafIndex>>, StoreError> {
        let views = self.views()?;
        let wanted: Vec<Wanted> = leaves.iter().map(|leaf| Wanted::hash(LEAF, leaf)).collect();
        let candidates = views.index.find_each(&wanted)?;
        let first = |(leaf, candidates): (&Hash, Vec<LeafIndex>)| {
            for at in candidates {
                if leaf_hash(&views.tree, at)? == *leaf {
                    return Ok(Some(at));
                }
            }
            Ok(None)
        };
        leaves.iter().zip(candidates).map(first).collect()
    }

    fn find_payload(&self, payload: &Hash) -> Result<Option<Stored>, StoreError> {
        let has = |facts: &Facts| (facts.payload == Some(*payload)).then_some(());
        Ok(self.first_that(self.candidates(PAYLOAD, payload)?, has)?.map(|(stored, ())| stored))
    }

    fn find_claim(&self, key: &Hash) -> Result<Option<(Stored, Hash)>, StoreError> {
        let has = |facts: &Facts| facts.claims.iter().find(|claim| claim.key == *key).map(|c| c.content);
        self.first_that(self.candidates(CLAIM, key)?, has)
    }

    fn find_edition(&self, thing: &Hash) -> Result<Option<(Stored, Hash)>, StoreError> {
        self.first_that(self.candidates(EDITION, thing)?.into_iter().rev(), |facts| facts.edition(thing))
    }

    fn find_withdrawal(&self, key: &Hash) -> Result<Option<Stored>, StoreError> {
        let has = |facts: &Facts| facts.withdrawals.contains(key).then_some(());
        Ok(self.first_that(self.candidates(WITHDRAWAL, key)?, has)?.map(|(stored, ())| stored))
    }

    fn highest(&self, track: &Track, below: u64) -> Result<Option<u64>, StoreError> {
        self.views()?.index.highest(track, below)
    }

    fn search(&self, term: &Term, before: Option<LeafIndex>, limit: usize) -> Result<SearchPage, StoreError> {
        self.views()?.index.search(term, before, limit)
    }

    fn names(&self, prefix: &str, limit: usize) -> Result<Option<Vec<Term>>, StoreError> {
        self.views()?.index.names(prefix, limit)
    }
}

impl<E: EntryStorage> Reader<E> {
    fn candidates(&self, kind: u8, hash: &Hash) -> Result<Vec<LeafIndex>, StoreError> {
        self.views()?.index.find(Wanted::hash(kind, hash))
    }

    /// Reads a bundle. A full one that was compared with the tree before only has to have the same bytes.
    fn bundle_of(&self, tree: &Tree, index: u64, width: usize) -> Result<Vec<u8>, StoreError> {
        let id = TileId::Entries { index };
        if id.width_in(tree.peaks().size()) < width as u64 {
            // A request beyond the tree is no fault of the entries.
            let detail = format!("expected {width} entries in bundle {index}, saw fewer");
            return Err(StoreError::TreeDamaged { detail });
        }
        let bytes = self.entries.read_bundle(tree, index, width)?;
        let is_full = width as u64 == TILE_WIDTH;
        if !(is_full && self.checked.knows(index, &bytes)) {
            check_bundle(&self.entries, tree, index, width, &bytes)?;
            if is_full {
                self.checked.remember(index, &bytes);
            }
        }
        Ok(bytes)
    }

    /// The first of these leaves whose entry matches: pointers are only hints.
    fn first_that<T>(
        &self,
        candidates: impl IntoIterator<Item = LeafIndex>,
        has: impl Fn(&Facts) -> Option<T>,
    ) -> Result<Option<(Stored, T)>, StoreError> {
        for index in candidates {
            let entry = self.entry(index)?;
            if let Some(found) = has(&(self.describe)(&entry)) {
                return Ok(Some((Stored { index, leaf: Hash::leaf(&entry) }, found)));
            }
        }
        Ok(None)
    }
}

/// Reads an entry and compares its hash with the tree's.
fn checked_entry(entries: &impl EntryStorage, tree: &Tree, index: LeafIndex) -> Result<Vec<u8>, StoreError> {
    let expected = leaf_hash(tree, index)?;
    let entry = entries.read_entry(tree, index)?;
    if Hash::leaf(&entry) == expected {
        return Ok(entry);
    }
    // Its whole bundle shows whether the entries or sled are to blame.
    let bundle = index.get() / TILE_WIDTH;
    let width = usize::try_from(TileId::Entries { index: bundle }.width_in(tree.peaks().size()));
    let width = width.expect("at most 256");
    check_bundle(entries, tree, bundle, width, &entries.read_bundle(tree, bundle, width)?)?;
    Err(StoreError::TreeDamaged { detail: format!("expected leaf {index} to be what it was a moment ago") })
}

/// The leaf hash in the tree.
fn leaf_hash(tree: &Tree, index: LeafIndex) -> Result<Hash, StoreError> {
    let id = TileId::Hashes { level: 0, index: index.get() / TILE_WIDTH };
    let tile = Tile::new(id, index.get() % TILE_WIDTH + 1).expect("1 to 256");
    Ok(*tree.read_tiles(&[tile])?[0].last().expect("at least one hash"))
}

/// Compares the hashes of a bundle's entries with the tree's.
fn check_bundle(
    entries: &impl EntryStorage,
    tree: &Tree,
    index: u64,
    width: usize,
    bytes: &[u8],
) -> Result<(), StoreError> {
    let expected = leaf_hashes(tree, index, width)?;
    for (at, (entry, hash)) in split(entries, bytes, index, width)?.iter().zip(&expected).enumerate() {
        if Hash::leaf(entry) != *hash {
            let leaf = index * TILE_WIDTH + at as u64;
            // A part of a full tile can't be compared with the hash above it.
            let whole = TileId::Entries { index }.width_in(tree.peaks().size());
            let whole = leaf_hashes(tree, index, usize::try_from(whole).expect("at most 256"))?;
            check_tile(tree, index, &whole).inspect_err(|_| entries.tree_is_damaged())?;
            let detail = format!("expected leaf hash {}, computed another", hash.to_base64());
            return Err(entries.damaged(&format!("entry {leaf}"), detail));
        }
    }
    Ok(())
}

/// The leaf hashes of a bundle's entries in the tree.
pub fn leaf_hashes(tree: &Tree, index: u64, width: usize) -> Result<Vec<Hash>, StoreError> {
    let tile = Tile::new(TileId::Hashes { level: 0, index }, width as u64).expect("1 to 256 entries");
    Ok(tree.read_tiles(&[tile])?.remove(0))
}

/// Returns true if a full tile of leaf hashes matches the hash above it in the tree. If not, sled is damaged.
fn check_tile(tree: &Tree, index: u64, leaves: &[Hash]) -> Result<(), StoreError> {
    if leaves.len() as u64 != TILE_WIDTH {
        return Ok(());
    }
    let above = TileId::Hashes { level: 1, index: index / TILE_WIDTH };
    let tile = Tile::new(above, index % TILE_WIDTH + 1).expect("1 to 256");
    if tree.read_tiles(&[tile])?[0].last() == Some(&RightEdge::default().grow(leaves).edge.root()) {
        return Ok(());
    }
    let detail =
        format!("expected tile {index} of the leaf hashes to have the hash above it, computed another");
    Err(StoreError::TreeDamaged { detail })
}

/// Hashes of the leaves behind the last full tile, from the entries.
pub fn partial_leaves(
    entries: &impl EntryStorage,
    tree: &Tree,
    size: TreeSize,
) -> Result<Vec<Hash>, StoreError> {
    let (number, count) =
        (size.get() / TILE_WIDTH, usize::try_from(size.get() % TILE_WIDTH).expect("below 256"));
    if count == 0 {
        return Ok(Vec::new());
    }
    let bytes = entries.read_bundle(tree, number, count)?;
    Ok(split(entries, &bytes, number, count)?.iter().map(|entry| Hash::leaf(entry)).collect())
}

/// Splits the bytes of a bundle into entries.
pub fn split<'a>(
    entries: &impl EntryStorage,
    bytes: &'a [u8],
    index: u64,
    width: usize,
) -> Result<Vec<&'a [u8]>, StoreError> {
    bundle::split(bytes, width).map_err(|e| entries.damaged(&format!("bundle {index}"), e.to_string()))
}
