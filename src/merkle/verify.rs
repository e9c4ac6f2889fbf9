//! Verifies proofs, by the numbered steps of draft-ietf-plants-merkle-tree-certs-03 section 4.4.3.
//!
//! One function follows the steps for all proofs. A leaf is a subtree of one leaf, and an older tree is a subtree that
//! starts at 0: for these, the steps are those of RFC 9162 sections 2.1.3.2 (inclusion) and 2.1.4.2 (consistency).

use core::ops::RangeInclusive;

use super::{Hash, LeafIndex, Subtree, TreeSize};
use crate::format::error_codes;

/// Most hashes in a proof: a tree below 2^63 leaves is at most 63 high, and a consistency proof
/// has one hash more than its path.
pub const MAX_PROOF_HASHES: usize = 64;

/// A proof that is not valid, or can't be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum ProofError {
    /// The tree has no such leaf.
    #[error("leaf index {index} is out of range: expected an index below the tree size {size}")]
    IndexOutOfRange { index: LeafIndex, size: TreeSize },
    /// The older tree is the larger one.
    #[error("tree sizes are reversed: expected the old size to be at most the new one, saw {old} and {new}")]
    SizesReversed { old: TreeSize, new: TreeSize },
    /// The leaves are not a subtree.
    #[error(
        "leaves {start} to {end} are not a subtree: expected a start below the end, and a multiple of the \
         smallest power of two that is at least end - start"
    )]
    NotASubtree { start: LeafIndex, end: TreeSize },
    /// The tree does not contain the whole subtree.
    #[error("subtree {subtree} is out of range: expected an end of at most the tree size {size}")]
    SubtreeOutOfRange { subtree: Subtree, size: TreeSize },
    /// The subtree has no such leaf.
    #[error("leaf index {index} is out of range: expected an index in the subtree {subtree}")]
    IndexOutsideSubtree { index: LeafIndex, subtree: Subtree },
    /// The number of hashes does not fit the tree.
    #[error("the proof has the wrong length: expected {expected} hashes, saw {seen}")]
    WrongLength { expected: usize, seen: usize },
    /// The proof leads to another root.
    #[error("the proof does not lead to the root: expected {expected}, computed {seen}")]
    RootMismatch { expected: Hash, seen: Hash },
    /// The indices of a multi-proof are not strictly increasing.
    #[error("the indices are not strictly increasing at position {at}: sort them and ask for each leaf once")]
    IndicesNotIncreasing {
        /// Position in the list of indices.
        at: usize,
    },
    /// More leaves than one multi-proof may cover, or none.
    #[error("a multi-proof covers 1 to {limit} leaves, saw {seen}: split the request")]
    TooManyIndices { limit: usize, seen: usize },
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
    if !size.contains(index) {
        return Err(ProofError::IndexOutOfRange { index, size });
    }
    verify_run(index.get()..=index.get(), leaf, (size, root), proof)
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
    if old != TreeSize::ZERO && old != new {
        return verify_run(0..=old.get() - 1, old_root, (new, new_root), proof);
    }
    check_length(0, proof)?;
    if old != TreeSize::ZERO {
        return check_root(old_root, new_root);
    }
    // Every tree continues the empty tree, but the empty tree has only one root.
    check_root(&Hash::EMPTY_ROOT, old_root)?;
    if new == TreeSize::ZERO { check_root(&Hash::EMPTY_ROOT, new_root) } else { Ok(()) }
}

/// Checks that these leaves, a subtree with hash `node_hash`, are leaves of the tree of `size` with `root`. The caller
/// took step 1: the leaves are a subtree, and within the tree.
pub(super) fn verify_run(
    leaves: RangeInclusive<u64>,
    node_hash: &Hash,
    (size, root): (TreeSize, &Hash),
    proof: &[Hash],
) -> Result<(), ProofError> {
    // 2. Set fn to start, sn to end - 1, and tn to n - 1.
    let (f, s, t) = (*leaves.start(), *leaves.end(), size.get() - 1);
    // 3. If sn is tn: until fn is sn, right-shift all three.
    // 4. Otherwise: until fn is sn or LSB(sn) is not set, right-shift all three.
    let meet = u64::BITS - (f ^ s).leading_zeros();
    let level = if s == t { meet } else { meet.min(s.trailing_ones()) };
    // The level is below 64: the top bit of an index is never set.
    let (mut f, mut s, mut t) = (f >> level, s >> level, t >> level);
    // Not a step of the draft: steps 6.1, 7.1 and 8 together reject exactly the other lengths. Checked first, the
    // length bounds the work and gives a better error.
    check_length(usize::from(f != s) + path_length(s, t), proof)?;
    let (seed, rest) = if f == s {
        // 5. If fn is sn, set fr and sr to node_hash.
        (node_hash, proof)
    } else {
        // 6.1. If proof is an empty array, stop and fail: excluded by the length above.
        // 6.2. Otherwise remove its first value and set fr and sr to that.
        proof.split_first().expect("the length was checked")
    };
    let (mut fr, mut sr) = (*seed, *seed);
    // 7. For each value c in the proof array:
    for c in rest {
        // 7.1. If tn is 0, stop and fail: excluded by the length above.
        if s & 1 == 1 || s == t {
            // 7.2.1. If fn < sn, c is a left sibling in the subtree too.
            if f < s {
                fr = Hash::node(c, &fr);
            }
            // 7.2.2. It is one in the tree.
            sr = Hash::node(c, &sr);
            // 7.2.3. Until LSB(sn) is set, right-shift all three; sn is not 0 here, because tn is not.
            let zeros = s.trailing_zeros();
            f >>= zeros;
            s >>= zeros;
            t >>= zeros;
        } else {
            // 7.3. Otherwise c is a right sibling, only in the tree.
            sr = Hash::node(&sr, c);
        }
        // 7.4. Right-shift all three once more.
        f >>= 1;
        s >>= 1;
        t >>= 1;
    }
    // 8. tn must be 0 (by the length), fr must be node_hash, and sr must be root_hash.
    check_root(node_hash, &fr)?;
    check_root(root, &sr)
}

pub(super) fn check_length(expected: usize, proof: &[Hash]) -> Result<(), ProofError> {
    let seen = proof.len();
    if seen == expected { Ok(()) } else { Err(ProofError::WrongLength { expected, seen }) }
}

pub(super) fn check_root(expected: &Hash, seen: &Hash) -> Result<(), ProofError> {
    if expected == seen {
        return Ok(());
    }
    Err(ProofError::RootMismatch { expected: *expected, seen: *seen })
}

/// Number of hashes in the inclusion proof of node `at` on a level whose last node is `last`: one for each level where
/// their paths are apart, and above that one for each left sibling.
fn path_length(at: u64, last: u64) -> usize {
    let apart = u64::BITS - (at ^ last).leading_zeros();
    let left_siblings = at.checked_shr(apart).unwrap_or(0).count_ones();
    (apart + left_siblings) as usize
}
