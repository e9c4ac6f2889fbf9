//! The promises of a log, and a check that a directory keeps them.
//!
//! A broken promise is an error rather than a panic: some tests break promises on purpose, and check
//! that this is detected.

use std::collections::{BTreeMap, HashSet};

use treehead::checkpoint::{self, Checkpoint};
use treehead::merkle::{Hash, LeafIndex, TILE_WIDTH, Tile, TileId, TreeSize, read_root, tiles_of};
use treehead::proof::bundle;
use treehead::store::{Store, StoreReader};

use super::log::vkey;

/// Trees by definition: perfect subtrees, joined from the right. Independent of the log's code.
#[derive(Default, Clone)]
pub struct SlowTree {
    subtrees: Vec<(usize, Hash)>,
}

impl SlowTree {
    pub fn push(&mut self, leaf: Hash) {
        self.subtrees.push((1, leaf));
        while let [.., (left_leaves, left), (right_leaves, right)] = self.subtrees[..] {
            if left_leaves != right_leaves {
                break;
            }
            self.subtrees.truncate(self.subtrees.len() - 2);
            self.subtrees.push((left_leaves + right_leaves, Hash::node(&left, &right)));
        }
    }

    pub fn root(&self) -> Hash {
        let mut roots = self.subtrees.iter().rev().map(|(_, root)| *root);
        let Some(last) = roots.next() else { return Hash::EMPTY_ROOT };
        roots.fold(last, |right, left| Hash::node(&left, &right))
    }
}

/// All promises, and all submissions.
#[derive(Default, Clone)]
pub struct Promises {
    /// Acknowledged entries by index.
    pub entries: BTreeMap<u64, Vec<u8>>,
    /// Every head that may have been visible.
    pub heads: Vec<Checkpoint>,
    /// Everything that was submitted: the log may contain any of it, and nothing else.
    pub sent: HashSet<Vec<u8>>,
}

impl Promises {
    /// # Errors
    /// If another entry has this index already.
    pub fn acknowledge(&mut self, index: u64, entry: &[u8]) -> Result<(), String> {
        match self.entries.insert(index, entry.to_vec()) {
            Some(before) if before != entry => Err(format!("two entries were promised index {index}")),
            _ => Ok(()),
        }
    }

    pub fn show(&mut self, head: &Checkpoint) {
        if self.heads.last() != Some(head) {
            self.heads.push(head.clone());
        }
    }

    /// Checks a freshly opened store.
    ///
    /// # Errors
    /// The first broken promise.
    pub fn check_store(&self, store: &dyn Store) -> Result<TreeSize, String> {
        let head = store.checkpoint();
        let head = head.map(|note| checkpoint::open(&note, &[vkey()]).map(|head| head.get().clone()));
        let head = head.transpose().map_err(|e| format!("the durable checkpoint: {e}"))?;
        let size = self.check(store.reader().as_ref(), head.as_ref())?;
        let edge = store.edge();
        if edge.size() != size {
            return Err(format!("the edge is of {} leaves, and the tree of {size}", edge.size()));
        }
        Ok(size)
    }

    /// Checks everything readable, under the durable head.
    ///
    /// # Errors
    /// The first broken promise.
    pub fn check(&self, reader: &dyn StoreReader, head: Option<&Checkpoint>) -> Result<TreeSize, String> {
        let size = reader.size();
        let entries = read_all(reader)?;
        let leaves: Vec<Hash> = entries.iter().map(|entry| Hash::leaf(entry)).collect();
        let mut tree = SlowTree::default();
        let mut roots = vec![tree.root()];
        for leaf in &leaves {
            tree.push(*leaf);
            roots.push(tree.root());
        }
        for (index, entry) in &self.entries {
            if place(&entries, *index) != Some(entry) {
                return Err(format!("lost: what was acknowledged at {index}, in a log of {size}"));
            }
        }
        for shown in self.heads.iter().chain(head) {
            if place(&roots, shown.size.get()) != Some(&shown.root) {
                return Err(format!(
                    "the head of {} leaves is of no prefix of this log of {size}",
                    shown.size
                ));
            }
        }
        let highest = self.heads.iter().map(|head| head.size).max();
        if highest > head.map(|head| head.size) {
            return Err("the durable head is behind one that was shown".to_owned());
        }
        check_tree(reader, &leaves, &roots)?;
        let mut seen = HashSet::new();
        match entries.iter().find(|entry| !self.sent.contains(*entry) || !seen.insert(*entry)) {
            Some(entry) => Err(format!("nobody sent, or sent once: {}", String::from_utf8_lossy(entry))),
            None => Ok(size),
        }
    }
}

/// Checks that tiles and index agree with the journal.
fn check_tree(reader: &dyn StoreReader, leaves: &[Hash], roots: &[Hash]) -> Result<(), String> {
    let size = reader.size();
    let root = read_root(reader, size).map_err(|e| format!("the right edge: {e}"))?.root();
    if roots.last() != Some(&root) {
        return Err(format!("the tree of {size} leaves is not of what the journal has"));
    }
    for tile in tiles_of(size).filter(|tile| matches!(tile.id, TileId::Hashes { level: 0, .. })) {
        let first = usize::try_from(tile.id.index() * TILE_WIDTH).expect("small logs");
        let hashes = reader.tiles(&[tile]).map_err(|e| e.to_string())?.remove(0);
        if hashes != leaves[first..first + tile.width()] {
            return Err(format!("{tile} is not of what the journal has"));
        }
    }
    for (at, leaf) in leaves.iter().enumerate() {
        let found = reader.find_leaf(leaf).map_err(|e| e.to_string())?;
        if found != LeafIndex::new(at as u64) {
            return Err(format!("the index has leaf {at} at {found:?}"));
        }
    }
    Ok(())
}

fn place<T>(items: &[T], index: u64) -> Option<&T> {
    items.get(usize::try_from(index).ok()?)
}

fn read_all(reader: &dyn StoreReader) -> Result<Vec<Vec<u8>>, String> {
    let size = reader.size();
    let mut entries = Vec::new();
    for index in 0..size.get().div_ceil(TILE_WIDTH) {
        let tile = Tile::in_tree(TileId::Entries { index }, size).expect("below the size");
        let bytes = reader.bundle(index, tile.width()).map_err(|e| e.to_string())?;
        let split = bundle::split(&bytes, tile.width()).map_err(|e| e.to_string())?;
        entries.extend(split.into_iter().map(<[u8]>::to_vec));
    }
    Ok(entries)
}
