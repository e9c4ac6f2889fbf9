//! Makes proofs: plans the nodes that are needed, fetches their tiles, and folds the nodes.

use alloc::collections::BinaryHeap;
use alloc::vec::Vec;
use core::ops::Range;

use super::edge::bits_of;
use super::tile::{TILE_HEIGHT, TILE_WIDTH};
use super::{
    Hash, LeafIndex, ProofError, RightEdge, Tile, TileId, TreeSize, verify_consistency, verify_inclusion,
};

/// A complete subtree: `2^level` leaves starting at leaf `index * 2^level`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Node {
    /// Height above the leaves, 0 to 62.
    pub level: u32,
    /// Index within the level.
    pub index: u64,
}

impl Node {
    /// The tile from which the node is computed, and the range of hashes in it.
    fn in_tile(self) -> (TileId, Range<usize>) {
        let level = u8::try_from(self.level / TILE_HEIGHT).expect("below 64 / 8");
        let height = self.level % TILE_HEIGHT;
        let first = self.index << height;
        let start = usize::try_from(first % TILE_WIDTH).expect("below 256");
        (TileId::Hashes { level, index: first / TILE_WIDTH }, start..start + (1 << height))
    }
}

/// The nodes from which a proof is computed.
///
/// Each hash of a proof is the root of a run of leaves. A run that is not a complete subtree is folded from the
/// complete subtrees that it consists of, so a plan is a list of lists of nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Size of the tree from which the nodes are read.
    pub(super) size: TreeSize,
    /// For each hash of the proof, the nodes from which it is folded, left to right.
    pub(super) pieces: Vec<Vec<Node>>,
}

impl Plan {
    /// The inclusion proof of leaf `index` in a tree of `size`: PATH of RFC 6962 section 2.1.1.
    ///
    /// # Errors
    /// [`ProofError::IndexOutOfRange`] if the tree has no such leaf.
    pub fn inclusion(index: LeafIndex, size: TreeSize) -> Result<Self, ProofError> {
        if !size.contains(index) {
            return Err(ProofError::IndexOutOfRange { index, size });
        }
        Ok(Self { size, pieces: path(index, 0..size.get()) })
    }

    /// The consistency proof from a tree of `old` to one of `new` leaves: PROOF of RFC 6962
    /// section 2.1.2. Empty if `old` is 0 or equals `new`: there is nothing to prove.
    ///
    /// # Errors
    /// [`ProofError::SizesReversed`] if `old` is larger than `new`.
    pub fn consistency(old: TreeSize, new: TreeSize) -> Result<Self, ProofError> {
        if old > new {
            return Err(ProofError::SizesReversed { old, new });
        }
        let pieces =
            if old == TreeSize::ZERO { Vec::new() } else { subtree_proof(0..old.get(), 0..new.get()) };
        Ok(Self { size: new, pieces })
    }

    /// The peaks of a tree of `size`, one piece each, largest first.
    #[must_use]
    pub fn right_edge(size: TreeSize) -> Self {
        let pieces = bits_of(size).map(|level| vec![Node { level, index: (size.get() >> level) - 1 }]);
        Self { size, pieces: pieces.collect() }
    }

    /// The nodes that are needed, in the order in which [`fold`](Self::fold) takes them.
    pub fn nodes(&self) -> impl Iterator<Item = Node> + '_ {
        self.pieces.iter().flatten().copied()
    }

    /// The tiles that hold the nodes, each once and as wide as the tree has them.
    #[must_use]
    pub fn tiles(&self) -> Vec<Tile> {
        let ids: BinaryHeap<TileId> = self.nodes().map(|node| node.in_tile().0).collect();
        let mut ids = ids.into_sorted_vec();
        ids.dedup();
        ids.into_iter().filter_map(|id| Tile::in_tree(id, self.size)).collect()
    }

    /// Computes the proof from the hashes of [`nodes`](Self::nodes), in that order.
    ///
    /// # Panics
    /// Unless there is one hash for each node.
    #[must_use]
    pub fn fold(&self, nodes: &[Hash]) -> Vec<Hash> {
        let mut rest = nodes;
        let proof = self.pieces.iter().map(|piece| {
            let (these, others) = rest.split_at(piece.len());
            rest = others;
            let (last, left) = these.split_last().expect("a piece has a node");
            left.iter().rev().fold(*last, |right, left| Hash::node(left, &right))
        });
        let proof = proof.collect();
        assert!(rest.is_empty(), "one hash for each node of the plan");
        proof
    }

    /// Reads the tiles through `reader` and folds the proof.
    ///
    /// # Errors
    /// The reader's.
    pub fn fetch<R: TileReader + ?Sized>(&self, reader: &R) -> Result<Vec<Hash>, R::Error> {
        let wanted = self.tiles();
        let tiles = reader.read_tiles(&wanted)?;
        let nodes: Vec<Hash> = self
            .nodes()
            .map(|node| {
                let (id, run) = node.in_tile();
                let at = wanted.binary_search_by_key(&id, |tile| tile.id);
                complete_root(&tiles[at.expect("the plan wants the tiles of its nodes")][run])
            })
            .collect();
        Ok(self.fold(&nodes))
    }
}

/// A source of tiles, such as a store or a log on the network.
pub trait TileReader {
    /// The error of a read.
    type Error;

    /// Reads the hashes of each tile, in the order of `tiles`: exactly [`Tile::width`] each.
    ///
    /// # Errors
    /// If any of the tiles can't be read in full.
    fn read_tiles(&self, tiles: &[Tile]) -> Result<Vec<Vec<Hash>>, Self::Error>;
}

impl<R: TileReader + ?Sized> TileReader for &R {
    type Error = R::Error;

    fn read_tiles(&self, tiles: &[Tile]) -> Result<Vec<Vec<Hash>>, R::Error> {
        R::read_tiles(self, tiles)
    }
}

/// Fetches a proof and verifies it. The outer error is the reader's; the inner one is the plan's or the verifier's.
pub(super) fn prove<R: TileReader + ?Sized>(
    reader: &R,
    plan: Result<Plan, ProofError>,
    verify: impl FnOnce(&[Hash]) -> Result<(), ProofError>,
) -> Result<Result<Vec<Hash>, ProofError>, R::Error> {
    let plan = match plan {
        Ok(plan) => plan,
        Err(e) => return Ok(Err(e)),
    };
    let proof = plan.fetch(reader)?;
    Ok(verify(&proof).map(|()| proof))
}

/// Makes an inclusion proof and verifies it against `root`, so that a damaged tree is found here and not by the
/// proof's verifier.
///
/// # Errors
/// The outer error is the reader's; the inner one says that the tiles do not lead to this root.
pub fn prove_inclusion<R: TileReader + ?Sized>(
    reader: &R,
    index: LeafIndex,
    leaf: &Hash,
    size: TreeSize,
    root: &Hash,
) -> Result<Result<Vec<Hash>, ProofError>, R::Error> {
    prove(reader, Plan::inclusion(index, size), |proof| verify_inclusion(index, size, leaf, proof, root))
}

/// Makes a consistency proof and verifies it against both roots.
///
/// # Errors
/// As [`prove_inclusion`].
pub fn prove_consistency<R: TileReader + ?Sized>(
    reader: &R,
    (old, old_root): (TreeSize, &Hash),
    (new, new_root): (TreeSize, &Hash),
) -> Result<Result<Vec<Hash>, ProofError>, R::Error> {
    prove(reader, Plan::consistency(old, new), |proof| {
        verify_consistency((old, old_root), (new, new_root), proof)
    })
}

/// A prefix of a tree, proven by the larger tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prefix {
    /// Merkle tree hash over the prefix's leaves.
    pub root: Hash,
    /// Consistency proof from the prefix to the larger tree.
    pub proof: Vec<Hash>,
}

/// Computes the root that the tree of size `large` had at size `small`, with its proof, from tiles of the larger tree
/// alone: when a log has forked, the smaller tree's tiles can't be had.
///
/// # Errors
/// The outer error is the reader's; the inner one says that the tiles do not lead to the larger root.
pub fn prove_prefix<R: TileReader + ?Sized>(
    reader: &R,
    small: TreeSize,
    (large, large_root): (TreeSize, &Hash),
) -> Result<Result<Prefix, ProofError>, R::Error> {
    let mut plan = match Plan::consistency(small, large) {
        Ok(plan) => plan,
        Err(reversed) => return Ok(Err(reversed)),
    };
    // Complete subtrees of the smaller tree are complete in the larger one, so its tiles are read once for both.
    let peaks = Plan::right_edge(small).pieces;
    let count = peaks.len();
    plan.pieces.splice(..0, peaks);
    let mut peaks = plan.fetch(reader)?;
    let proof = peaks.split_off(count);
    let root = RightEdge::new(small, peaks).expect("one peak for each bit of the size").root();
    Ok(verify_consistency((small, &root), (large, large_root), &proof).map(|()| Prefix { root, proof }))
}

/// Reads the right edge of a tree of `size` from its tiles.
///
/// # Errors
/// The reader's.
pub fn read_root<R: TileReader + ?Sized>(reader: &R, size: TreeSize) -> Result<RightEdge, R::Error> {
    let peaks = Plan::right_edge(size).fetch(reader)?;
    Ok(RightEdge::new(size, peaks).expect("one peak for each bit of the size"))
}

/// The root of a complete subtree, from its `2^n` hashes at one level.
fn complete_root(hashes: &[Hash]) -> Hash {
    let mut layer = hashes.to_vec();
    while layer.len() > 1 {
        layer = layer.chunks_exact(2).map(|pair| Hash::node(&pair[0], &pair[1])).collect();
    }
    layer[0]
}

/// Largest power of two below `count`, which is at least 2: k of RFC 6962 section 2.1.
pub(super) fn split_point(count: u64) -> u64 {
    1 << (u64::BITS - 1 - (count - 1).leading_zeros())
}

/// PATH of RFC 6962 section 2.1.1: the runs beside the path of leaf `index` in the tree over `leaves`, the leaf's
/// sibling first. `leaves` are a whole tree's or a [`Subtree`](super::Subtree)'s.
pub(super) fn path(index: LeafIndex, leaves: Range<u64>) -> Vec<Vec<Node>> {
    subtree_proof(index.get()..index.get() + 1, leaves)
}

/// `SUBTREE_PROOF` of draft-ietf-plants-merkle-tree-certs-03 section 4.4.1, which is PROOF of
/// RFC 6962 section 2.1.2 where the subtree starts at 0. `subtree` is valid and within `tree`.
pub(super) fn subtree_proof(mut subtree: Range<u64>, mut tree: Range<u64>) -> Vec<Vec<Node>> {
    let mut pieces = Vec::new();
    // The verifier knows the hash of the whole subtree, and needs that of a part only (the flag b of both documents).
    let mut known = true;
    while subtree != tree {
        let split = tree.start + split_point(tree.end - tree.start);
        if subtree.end <= split {
            pieces.push(run(split, tree.end));
            tree.end = split;
        } else {
            pieces.push(run(tree.start, split));
            tree.start = split;
            // If the subtree spans the split, its left part is the hash just listed.
            if subtree.start < split {
                subtree.start = split;
                known = false;
            }
        }
    }
    if !known {
        pieces.push(run(tree.start, tree.end));
    }
    pieces.reverse(); // The recursion lists the innermost piece first.
    pieces
}

/// The complete subtrees that make up leaves `start..end`, left to right. `start` is a multiple of the smallest power
/// of two that is not below the run's length, because RFC 6962 splits trees so.
pub(super) fn run(start: u64, end: u64) -> Vec<Node> {
    let mut at = start;
    let levels = (0..u64::BITS).rev().filter(|level| (end - start) >> level & 1 == 1);
    levels
        .map(|level| {
            let node = Node { level, index: at >> level };
            at += 1 << level;
            node
        })
        .collect()
}
