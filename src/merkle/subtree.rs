//! Subtrees, runs of a tree's leaves that are Merkle trees themselves, and their proofs. The verifiers follow the
//! numbered steps of draft-ietf-plants-merkle-tree-certs-03 sections 4.1, 4.3 and 4.4.

use alloc::vec::Vec;
use core::fmt;

use super::plan::{path, run, subtree_proof};
use super::verify::path_length;
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
    ///
    /// # Panics
    /// Never.
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
    // 2. to 4.
    let (mut f, mut s, mut t) = starting_node(subtree, size);
    // Not a step of the draft: steps 6.1, 7.1 and 8 together reject exactly the other lengths. Checked first, the length
    // bounds the work and gives a better error.
    let expected = usize::from(f != s) + path_length(s, t);
    if proof.len() != expected {
        return Err(ProofError::WrongLength { expected, seen: proof.len() });
    }
    let (seed, rest) = if f == s {
        // 5. If fn is sn, set fr and sr to node_hash.
        (subtree_hash, proof)
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
    for (expected, seen) in [(subtree_hash, fr), (root, sr)] {
        if seen != *expected {
            return Err(ProofError::RootMismatch { expected: *expected, seen });
        }
    }
    Ok(())
}

/// Steps 2 to 4 of section 4.4.3: `fn`, `sn` and `tn`, the indices of the subtree's first, the subtree's last and the
/// tree's last node on the level where verification starts.
fn starting_node(subtree: Subtree, size: TreeSize) -> (u64, u64, u64) {
    // 2. Set fn to start, sn to end - 1, and tn to n - 1.
    let (f, s, t) = (subtree.start.get(), subtree.end.get() - 1, size.get() - 1);
    let meet = u64::BITS - (f ^ s).leading_zeros();
    let level = if s == t {
        // 3. If sn is tn: until fn is sn, right-shift all three.
        meet
    } else {
        // 4. Otherwise: until fn is sn or LSB(sn) is not set, right-shift all three.
        meet.min(s.trailing_ones())
    };
    // Below 64: the top bit of an index is never set.
    (f >> level, s >> level, t >> level)
}

impl Plan {
    /// The inclusion proof of leaf `index` in `subtree`, read from a tree of `size`: section 4.3.
    ///
    /// # Errors
    /// [`ProofError::SubtreeOutOfRange`] or [`ProofError::IndexOutsideSubtree`].
    pub fn subtree_inclusion(index: LeafIndex, subtree: Subtree, size: TreeSize) -> Result<Self, ProofError> {
        subtree.check_within(size)?;
        subtree.place_of(index)?;
        Ok(Self { size, pieces: path(index.get(), subtree.start.get()..subtree.end.get()) })
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
    let plan = match Plan::subtree_root(subtree, size) {
        Ok(plan) => plan,
        Err(out_of_range) => return Ok(Err(out_of_range)),
    };
    Ok(Ok(plan.fetch(reader)?[0]))
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
    let plan = match Plan::subtree_consistency(subtree, size) {
        Ok(plan) => plan,
        Err(out_of_range) => return Ok(Err(out_of_range)),
    };
    let proof = plan.fetch(reader)?;
    Ok(verify_subtree_consistency(subtree, subtree_hash, size, root, &proof).map(|()| proof))
}

#[cfg(test)]
mod tests;
