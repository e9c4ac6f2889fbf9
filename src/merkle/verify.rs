//! Verifies proofs, by the numbered steps of RFC 9162 sections 2.1.3.2 and 2.1.4.2.

use super::{Hash, LeafIndex, Subtree, TreeSize};
use crate::format::error_codes;

/// Most hashes in a proof: a tree below 2^63 leaves is at most 63 high, and a consistency proof
/// has one hash more than its path.
pub const MAX_PROOF_HASHES: usize = 64;

/// Why a proof is not valid, or can't be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProofError {
    /// The tree has no such leaf.
    #[error("leaf index {index} is out of range: expected an index below the tree size {size}")]
    IndexOutOfRange {
        /// The index asked for.
        index: LeafIndex,
        /// The tree it was asked of.
        size: TreeSize,
    },
    /// The older tree is the larger one.
    #[error("tree sizes are reversed: expected the old size to be at most the new one, saw {old} and {new}")]
    SizesReversed {
        /// Size of the older tree.
        old: TreeSize,
        /// Size of the newer tree.
        new: TreeSize,
    },
    /// The leaves are not a subtree.
    #[error(
        "leaves {start} to {end} are not a subtree: expected a start below the end, and a multiple of the \
         smallest power of two that is at least end - start"
    )]
    NotASubtree {
        /// First leaf.
        start: LeafIndex,
        /// The leaf after the last one.
        end: TreeSize,
    },
    /// The tree does not contain the whole subtree.
    #[error("subtree {subtree} is out of range: expected an end of at most the tree size {size}")]
    SubtreeOutOfRange {
        /// The subtree asked for.
        subtree: Subtree,
        /// The tree it was asked of.
        size: TreeSize,
    },
    /// The subtree has no such leaf.
    #[error("leaf index {index} is out of range: expected an index in the subtree {subtree}")]
    IndexOutsideSubtree {
        /// The index asked for.
        index: LeafIndex,
        /// The subtree it was asked of.
        subtree: Subtree,
    },
    /// The number of hashes does not fit the tree.
    #[error("the proof has the wrong length: expected {expected} hashes, saw {seen}")]
    WrongLength {
        /// Hashes that a proof for these sizes has.
        expected: usize,
        /// Hashes that this one has.
        seen: usize,
    },
    /// The proof leads to another root.
    #[error("the proof does not lead to the root: expected {expected}, computed {seen}")]
    RootMismatch {
        /// The root to be proven.
        expected: Hash,
        /// The root that the proof computes.
        seen: Hash,
    },
    /// The indices of a multi-proof are not strictly increasing.
    #[error("the indices are not strictly increasing at position {at}: sort them and ask for each leaf once")]
    IndicesNotIncreasing {
        /// Position in the list of indices.
        at: usize,
    },
    /// More leaves than one multi-proof may cover, or none.
    #[error("a multi-proof covers 1 to {limit} leaves, saw {seen}: split the request")]
    TooManyIndices {
        /// The most that is accepted.
        limit: usize,
        /// How many there were.
        seen: usize,
    },
}

error_codes! { ProofCode of ProofError {
    Self::IndexOutOfRange { .. } | Self::IndexOutsideSubtree { .. } => IndexOutOfRange = 100, "index-out-of-range";
    Self::SizesReversed { .. } => SizesReversed = 101, "sizes-reversed";
    Self::NotASubtree { .. } => NotASubtree = 102, "not-a-subtree";
    Self::SubtreeOutOfRange { .. } => SubtreeOutOfRange = 103, "subtree-out-of-range";
    Self::WrongLength { .. } => WrongLength = 104, "wrong-length";
    Self::RootMismatch { .. } => RootMismatch = 105, "root-mismatch";
    Self::IndicesNotIncreasing { .. } => IndicesNotIncreasing = 106, "indices-not-increasing";
    Self::TooManyIndices { .. } => TooManyIndices = 107, "too-many-indices";
}}

/// Checks that `leaf` is leaf `index` of the tree of `size` with `root`: RFC 9162 section 2.1.3.2.
///
/// # Errors
/// [`ProofError`] for the first step that fails.
pub fn verify_inclusion(
    index: LeafIndex,
    size: TreeSize,
    leaf: &Hash,
    proof: &[Hash],
    root: &Hash,
) -> Result<(), ProofError> {
    // 1. Compare leaf_index to tree_size. If leaf_index is greater than or equal, fail.
    if !size.contains(index) {
        return Err(ProofError::IndexOutOfRange { index, size });
    }
    // Not a step of the RFC: steps 4.1 and 5 together reject exactly the other lengths. Checked first, the length bounds
    // the work and gives a better error.
    let expected = path_length(index.get(), size.get() - 1);
    if proof.len() != expected {
        return Err(ProofError::WrongLength { expected, seen: proof.len() });
    }
    // 2. Set two variables, fn to leaf_index and sn to tree_size - 1.
    let mut f = index.get();
    let mut s = size.get() - 1;
    // 3. Set r to hash.
    let mut r = *leaf;
    // 4. For each value p in the inclusion_path array:
    for p in proof {
        // 4.1. If sn is 0, stop and fail: excluded by the length above.
        if f & 1 == 1 || f == s {
            // 4.2.1. LSB(fn) is set, or fn equals sn: r is a right child.
            r = Hash::node(p, &r);
            // 4.2.2. If LSB(fn) is not set, right-shift both until it is, or fn is 0.
            while f & 1 == 0 && f != 0 {
                f >>= 1;
                s >>= 1;
            }
        } else {
            // 4.3. Otherwise r is a left child.
            r = Hash::node(&r, p);
        }
        // 4.4. Finally, right-shift both one time.
        f >>= 1;
        s >>= 1;
    }
    // 5. Compare sn to 0 (excluded by the length) and r against the root hash.
    if r == *root { Ok(()) } else { Err(ProofError::RootMismatch { expected: *root, seen: r }) }
}

/// Number of hashes in the inclusion proof of node `at` on a level whose last node is `last`: one for each level where
/// their paths are apart, and above that one for each left sibling.
pub(super) fn path_length(at: u64, last: u64) -> usize {
    let apart = u64::BITS - (at ^ last).leading_zeros();
    let left_siblings = at.checked_shr(apart).unwrap_or(0).count_ones();
    (apart + left_siblings) as usize
}

/// Checks that the `old` tree is a prefix of the `new` one: RFC 9162 section 2.1.4.2, preceded by
/// the cases that it leaves out, an empty old tree and equal sizes, in which the proof must be empty.
///
/// # Errors
/// [`ProofError`] for the first step that fails.
pub fn verify_consistency(
    (old, old_root): (TreeSize, &Hash),
    (new, new_root): (TreeSize, &Hash),
    proof: &[Hash],
) -> Result<(), ProofError> {
    if old > new {
        return Err(ProofError::SizesReversed { old, new });
    }
    let expected = consistency_length(old, new);
    if proof.len() != expected {
        return Err(ProofError::WrongLength { expected, seen: proof.len() });
    }
    let same = |expected: &Hash, seen: &Hash| {
        if expected == seen {
            Ok(())
        } else {
            Err(ProofError::RootMismatch { expected: *expected, seen: *seen })
        }
    };
    if old == TreeSize::ZERO {
        // Every tree continues the empty tree, but the empty tree has only one root.
        same(&Hash::EMPTY_ROOT, old_root)?;
        return if new == TreeSize::ZERO { same(&Hash::EMPTY_ROOT, new_root) } else { Ok(()) };
    }
    if old == new {
        return same(old_root, new_root);
    }
    // 1. If consistency_path is an empty array, stop and fail: excluded by the length above.
    // 2. If first is an exact power of 2, prepend first_hash to the consistency_path array.
    let (seed, path) = if old.get().is_power_of_two() {
        (*old_root, proof)
    } else {
        let (seed, path) = proof.split_first().expect("the length was checked");
        (*seed, path)
    };
    // 3. Set two variables, fn to first - 1 and sn to second - 1.
    let mut f = old.get() - 1;
    let mut s = new.get() - 1;
    // 4. If LSB(fn) is set, right-shift both equally until LSB(fn) is not set.
    let ones = f.trailing_ones();
    f >>= ones;
    s >>= ones;
    // 5. Set both fr and sr to the first value in the consistency_path array.
    let (mut fr, mut sr) = (seed, seed);
    // 6. For each subsequent value c in the consistency_path array:
    for c in path {
        // 6.1. If sn is 0, stop and fail: excluded by the length above.
        if f & 1 == 1 || f == s {
            // 6.2.1. and 6.2.2. c is a left sibling in both trees.
            fr = Hash::node(c, &fr);
            sr = Hash::node(c, &sr);
            // 6.2.3. If LSB(fn) is not set, right-shift both until it is, or fn is 0.
            while f & 1 == 0 && f != 0 {
                f >>= 1;
                s >>= 1;
            }
        } else {
            // 6.3. Otherwise c is a right sibling, only in the new tree.
            sr = Hash::node(&sr, c);
        }
        // 6.4. Finally, right-shift both one time.
        f >>= 1;
        s >>= 1;
    }
    // 7. fr must be first_hash, sr must be second_hash, and sn must be 0 (by the length).
    same(old_root, &fr)?;
    same(new_root, &sr)
}

/// Number of hashes in the consistency proof between two sizes.
fn consistency_length(old: TreeSize, new: TreeSize) -> usize {
    if old == TreeSize::ZERO || old == new {
        return 0;
    }
    let level = old.get().trailing_zeros();
    let start = usize::from(!old.get().is_power_of_two());
    // The rest is the inclusion proof of the old tree's last complete subtree on its level.
    start + path_length((old.get() - 1) >> level, (new.get() - 1) >> level)
}
