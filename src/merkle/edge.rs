//! The right edge of a tree: the part that is needed to append to it.

use alloc::vec::Vec;

use rs_merkle::PartialTree;

use super::tile::TILE_HEIGHT;
use super::{Hash, LeafIndex, Rfc6962, TreeSize};

/// The roots of the complete subtrees that a tree's size falls into, largest first.
///
/// A tree of 11 = 8 + 2 + 1 leaves has three: over leaves 0 to 7, 8 to 9, and 10.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RightEdge {
    size: TreeSize,
    peaks: Vec<Hash>,
}

/// A run of hashes to append to the tiles of one level.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TileHashes {
    /// Tile level, 0 to 7.
    pub level: u8,
    /// Position of `hashes[0]` within the level, counted in hashes.
    pub first: u64,
    /// Consecutive complete nodes.
    pub hashes: Vec<Hash>,
}

/// The result of appending a batch to a tree.
#[derive(Debug, Clone)]
pub struct Growth {
    /// The edge afterwards.
    pub edge: RightEdge,
    /// New tile hashes, lowest level first; levels without any are left out.
    pub tiles: Vec<TileHashes>,
}

impl RightEdge {
    /// The edge of a tree of `size` whose complete subtrees have these roots, largest first; `None` unless there is one
    /// root for each bit set in `size`.
    #[must_use]
    pub fn new(size: TreeSize, peaks: Vec<Hash>) -> Option<Self> {
        (peaks.len() == size.get().count_ones() as usize).then_some(Self { size, peaks })
    }

    /// Number of leaves.
    #[must_use]
    pub const fn size(&self) -> TreeSize {
        self.size
    }

    /// The roots of its complete subtrees, largest first.
    #[must_use]
    pub fn peaks(&self) -> &[Hash] {
        &self.peaks
    }

    /// The Merkle tree hash, RFC 6962 section 2.1.
    #[must_use]
    pub fn root(&self) -> Hash {
        let mut smallest_first = self.peaks.iter().rev();
        let Some(smallest) = smallest_first.next() else { return Hash::EMPTY_ROOT };
        smallest_first.fold(*smallest, |right, left| Hash::node(left, &right))
    }

    /// Appends leaves, given as their hashes, if the tiles that they make are not wanted: much cheaper than
    /// [`grow`](Self::grow), with the same edge.
    pub fn extend(&mut self, leaf_hashes: &[Hash]) {
        for leaf in leaf_hashes {
            // Each peak that is a left sibling now has its right one: a carry, as in adding one to a binary number.
            let carries = self.size.get().trailing_ones() as usize;
            let left = self.peaks.drain(self.peaks.len() - carries..).rev();
            let node = left.fold(*leaf, |right, left| Hash::node(&left, &right));
            self.peaks.push(node);
            self.size = self.size.plus(1);
        }
    }

    /// Appends leaves, given as their hashes.
    #[must_use]
    pub fn grow(&self, leaf_hashes: &[Hash]) -> Growth {
        if leaf_hashes.is_empty() {
            return Growth { edge: self.clone(), tiles: Vec::new() };
        }
        let size = self.size.plus(leaf_hashes.len());
        let tree = self.partial_tree(leaf_hashes, size);
        let layers = tree.layers();
        let peaks = bits_of(size)
            .map(|level| {
                let index = (size.get() >> level) - 1;
                node_at(&layers[level as usize], index).unwrap_or_else(|| self.peak(level))
            })
            .collect();
        let tiles = (0..layers.len()).step_by(TILE_HEIGHT as usize).filter_map(|level| {
            // Nodes after the last complete one are roots of partial subtrees, which no tile contains.
            let first = self.size.get() >> level;
            let end = size.get() >> level;
            let layer = &layers[level];
            let from = layer.partition_point(|(index, _)| (*index as u64) < first);
            let to = layer.partition_point(|(index, _)| (*index as u64) < end);
            let hashes: Vec<Hash> = layer[from..to].iter().map(|(_, hash)| *hash).collect();
            let level = u8::try_from(level / TILE_HEIGHT as usize).expect("64 layers at most");
            (!hashes.is_empty()).then_some(TileHashes { level, first, hashes })
        });
        Growth { tiles: tiles.collect(), edge: Self { size, peaks } }
    }

    /// The `rs_merkle` partial tree over the peaks and the new leaves: each peak is the left sibling
    /// that the nodes above the batch need at its level.
    fn partial_tree(&self, leaf_hashes: &[Hash], size: TreeSize) -> PartialTree<Rfc6962> {
        let first = usize::try_from(self.size.get()).expect("64-bit indices");
        let depth = (u64::BITS - size.get().leading_zeros()) as usize;
        let mut layers: Vec<Vec<(usize, Hash)>> = vec![Vec::new(); depth];
        layers[0].reserve(leaf_hashes.len() + 1);
        for level in bits_of(self.size) {
            layers[level as usize].push(((first >> level) - 1, self.peak(level)));
        }
        layers[0].extend(leaf_hashes.iter().enumerate().map(|(i, hash)| (first + i, *hash)));
        PartialTree::build(layers, depth).expect("every left sibling is a peak")
    }

    /// The peak over `2^level` leaves; the size has that bit set.
    fn peak(&self, level: u32) -> Hash {
        let larger = (self.size.get() >> level >> 1).count_ones() as usize;
        self.peaks[larger]
    }

    /// The index that the next appended leaf gets.
    #[must_use]
    pub const fn next_index(&self) -> LeafIndex {
        self.size.next_index()
    }
}

/// The levels at which a tree of `size` has a peak, largest first.
pub(super) fn bits_of(size: TreeSize) -> impl Iterator<Item = u32> {
    (0..u64::BITS).rev().filter(move |level| size.get() >> level & 1 == 1)
}

fn node_at(layer: &[(usize, Hash)], index: u64) -> Option<Hash> {
    let at = layer.binary_search_by_key(&index, |(i, _)| *i as u64).ok()?;
    Some(layer[at].1)
}
