//! Subtrees, runs of a tree's leaves that are Merkle trees themselves, and their proofs:
//! draft-ietf-plants-merkle-tree-certs-03 sections 4.1, 4.3 and 4.4.

use alloc::vec::Vec;
use core::fmt;

use super::plan::{path, prove, run, subtree_proof};
use super::verify::verify_run;
use super::{Hash, LeafIndex, Plan, ProofError, TileReader, TreeSize, verify_inclusion};

/// Leaves `start..end` of a tree that can be shown consistent with it: section 4.1.
///
/// ```text
/// [start, end)   0 <= start < end, and start is a multiple of the smallest power of two that is
///                at least end - start: [4, 8) and [8, 13) are subtrees, [3, 5) is not
/// ```
///
/// Every tree that has at least `end` leaves contains it: [`Self::is_within`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subtree {
    start: LeafIndex,
    end: TreeSize,
}

impl Subtree {
    /// The subtree over leaves `start..end`.
    ///
    /// # Errors
    /// [`ProofError::NotASubtree`] if these leaves are not a subtree; the empty run is not one.
    pub const fn new(start: LeafIndex, end: TreeSize) -> Result<Self, ProofError> {
        // No overflow: end - start is below 2^63.
        if start.get() < end.get()
            && start.get().is_multiple_of((end.get() - start.get()).next_power_of_two())
        {
            Ok(Self { start, end })
        } else {
            Err(ProofError::NotASubtree { start, end })
        }
    }

    /// The first leaf.
    #[must_use]
    pub const fn start(self) -> LeafIndex {
        self.start
    }

    /// The leaf after the last one, which is the size of the smallest tree that holds the subtree.
    #[must_use]
    pub const fn end(self) -> TreeSize {
        self.end
    }

    /// Number of leaves in it, at least 1.
    #[must_use]
    pub const fn size(self) -> TreeSize {
        TreeSize::new(self.end.get() - self.start.get()).expect("at most the end")
    }

    /// Tells whether the subtree contains leaf `index` of the tree.
    #[must_use]
    pub const fn contains(self, index: LeafIndex) -> bool {
        self.start.get() <= index.get() && self.end.contains(index)
    }

    /// Tells whether a tree of `size` contains the subtree: `end <= n`.
    #[must_use]
    pub const fn is_within(self, size: TreeSize) -> bool {
        self.end.get() <= size.get()
    }

    fn check_within(self, size: TreeSize) -> Result<(), ProofError> {
        if self.is_within(size) { Ok(()) } else { Err(ProofError::SubtreeOutOfRange { subtree: self, size }) }
    }

    /// The index of the tree's leaf `index` within the subtree.
    fn place_of(self, index: LeafIndex) -> Result<LeafIndex, ProofError> {
        let outside = ProofError::IndexOutsideSubtree { index, subtree: self };
        let place = index.get().checked_sub(self.start.get()).and_then(LeafIndex::new);
        place.filter(|_| self.contains(index)).ok_or(outside)
    }
}

impl fmt::Display for Subtree {
    /// `[start, end)`, as the draft writes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}, {})", self.start, self.end)
    }
}

/// Checks that `leaf` is leaf `index` of a tree, by its inclusion in `subtree`, whose hash is `subtree_hash`: section
/// 4.3.3. `index` counts from the tree's first leaf.
///
/// # Errors
/// [`ProofError`] for the first step that fails.
pub fn verify_subtree_inclusion(
    index: LeafIndex,
    leaf: &Hash,
    subtree: Subtree,
    proof: &[Hash],
    subtree_hash: &Hash,
) -> Result<(), ProofError> {
    // 1. Evaluate the proof: section 4.3.2, whose step 1 checks that [start, end) is a valid
    // subtree (by its type) and that start <= index < end, ...
    let place = subtree.place_of(index)?;
    // ... and whose other steps are those of RFC 9162 section 2.1.3.2 with leaf_index set to
    // index - start and tree_size to end - start, as the draft says itself.
    // 2. The expected hash must be subtree_hash.
    verify_inclusion(place, subtree.size(), leaf, proof, subtree_hash)
}

/// Checks that the leaves under `subtree_hash` are leaves `[start, end)` of the tree of `size`
/// with `root`: section 4.4.3.
///
/// As with every proof, the caller must know `size` together with `root` from a trusted source: trees of different
/// sizes may have proofs of the same shape.
///
/// # Errors
/// [`ProofError`] for the first step that fails.
pub fn verify_subtree_consistency(
    subtree: Subtree,
    subtree_hash: &Hash,
    size: TreeSize,
    root: &Hash,
    proof: &[Hash],
) -> Result<(), ProofError> {
    // 1. Check that [start, end) is a valid subtree (by its type), and that end <= n.
    subtree.check_within(size)?;
    verify_run(subtree.start.get()..=subtree.end.get() - 1, subtree_hash, (size, root), proof)
}

impl Plan {
    /// The inclusion proof of leaf `index` in `subtree`, read from a tree of `size`: section 4.3.
    ///
    /// # Errors
    /// [`ProofError::SubtreeOutOfRange`] or [`ProofError::IndexOutsideSubtree`].
    pub fn subtree_inclusion(index: LeafIndex, subtree: Subtree, size: TreeSize) -> Result<Self, ProofError> {
        subtree.check_within(size)?;
        subtree.place_of(index)?;
        Ok(Self { size, pieces: path(index, subtree.start.get()..subtree.end.get()) })
    }

    /// The proof that `subtree` is consistent with the tree of `size`: `SUBTREE_PROOF` of section
    /// 4.4.1. For a subtree that starts at 0 it equals [`Self::consistency`]; for a single leaf, [`Self::inclusion`].
    ///
    /// # Errors
    /// [`ProofError::SubtreeOutOfRange`] if the tree does not contain the whole subtree.
    pub fn subtree_consistency(subtree: Subtree, size: TreeSize) -> Result<Self, ProofError> {
        subtree.check_within(size)?;
        let leaves = subtree.start.get()..subtree.end.get();
        Ok(Self { size, pieces: subtree_proof(leaves, 0..size.get()) })
    }

    /// The plan of a single hash, the root of `subtree`, read from a tree of `size`.
    ///
    /// # Errors
    /// [`ProofError::SubtreeOutOfRange`] if the tree does not contain the whole subtree.
    pub fn subtree_root(subtree: Subtree, size: TreeSize) -> Result<Self, ProofError> {
        subtree.check_within(size)?;
        Ok(Self { size, pieces: vec![run(subtree.start.get(), subtree.end.get())] })
    }
}

/// Computes the hash of `subtree` from the tiles of a tree of `size`, which are not verified:
/// [`prove_subtree_consistency`] does that.
///
/// # Errors
/// The outer error is the reader's; the inner one says that the tree does not contain the subtree.
pub fn read_subtree_root<R: TileReader + ?Sized>(
    reader: &R,
    subtree: Subtree,
    size: TreeSize,
) -> Result<Result<Hash, ProofError>, R::Error> {
    Ok(prove(reader, Plan::subtree_root(subtree, size), |_| Ok(()))?.map(|hashes| hashes[0]))
}

/// Makes a subtree consistency proof and verifies it against both hashes.
///
/// # Errors
/// The outer error is the reader's; the inner one says that the tiles do not lead to these hashes.
pub fn prove_subtree_consistency<R: TileReader + ?Sized>(
    reader: &R,
    subtree: Subtree,
    subtree_hash: &Hash,
    size: TreeSize,
    root: &Hash,
) -> Result<Result<Vec<Hash>, ProofError>, R::Error> {
    prove(reader, Plan::subtree_consistency(subtree, size), |proof| {
        verify_subtree_consistency(subtree, subtree_hash, size, root, proof)
    })
}

#[cfg(test)]
mod tests;
