//! Several leaves of one tree, proven together. Hashes that follow from the leaves, or serve several of them, are there once.
//!
//! The tree is split as RFC 6962 splits it. From left to right, each largest subtree with none of the leaves is one hash of
//! the proof. So leaves and size determine their number and order.

use alloc::vec::Vec;
use core::ops::Range;

use super::plan::split_point;
use super::verify::check_root;
use super::{Hash, LeafIndex, ProofError, TreeSize};

/// Checks that these are leaves of the tree of `size` with `root`. Their indices increase strictly; there is at least one.
///
/// # Errors
/// [`ProofError`] for the first step that fails.
pub fn verify_joint(
    leaves: &[(LeafIndex, Hash)],
    (size, root): (TreeSize, &Hash),
    proof: &[Hash],
) -> Result<(), ProofError> {
    check_indices(leaves.iter().map(|(index, _)| *index), size)?;
    let (expected, seen) = (count(0..size.get(), leaves), proof.len());
    if seen != expected {
        return Err(ProofError::WrongLength { expected, seen });
    }
    check_root(root, &fold(0..size.get(), leaves, &mut proof.iter()))
}

/// Joins the inclusion proofs of leaves in the tree of `size`. Their indices increase strictly; there is at least one.
///
/// # Errors
/// [`ProofError`] if a proof has not the length that its index demands. No hash is checked.
pub fn join_proofs(size: TreeSize, proofs: &[(LeafIndex, &[Hash])]) -> Result<Vec<Hash>, ProofError> {
    check_indices(proofs.iter().map(|(index, _)| *index), size)?;
    let mut joint = Vec::new();
    join(0..size.get(), 0, proofs, &mut joint)?;
    Ok(joint)
}

fn check_indices(indices: impl Iterator<Item = LeafIndex>, size: TreeSize) -> Result<(), ProofError> {
    let mut last = None;
    for (at, index) in indices.enumerate() {
        if !size.contains(index) {
            return Err(ProofError::IndexOutOfRange { index, size });
        }
        if last.is_some_and(|last| last >= index) {
            return Err(ProofError::IndicesNotIncreasing { at });
        }
        last = Some(index);
    }
    match last {
        Some(_) => Ok(()),
        None => Err(ProofError::TooManyIndices { limit: usize::MAX, seen: 0 }),
    }
}

/// The two children of a subtree of at least two leaves, and those of `leaves` that are in each.
fn split<T>(tree: &Range<u64>, leaves: &[(LeafIndex, T)]) -> ([Range<u64>; 2], usize) {
    let middle = tree.start + split_point(tree.end - tree.start);
    let at = leaves.partition_point(|(index, _)| index.get() < middle);
    ([tree.start..middle, middle..tree.end], at)
}

/// The number of hashes in the proof of these leaves.
fn count(tree: Range<u64>, leaves: &[(LeafIndex, Hash)]) -> usize {
    if leaves.is_empty() {
        return 1;
    }
    if tree.end - tree.start == 1 {
        return 0;
    }
    let ([left, right], at) = split(&tree, leaves);
    count(left, &leaves[..at]) + count(right, &leaves[at..])
}

/// The hash of a subtree. The number of hashes was checked.
fn fold<'a>(
    tree: Range<u64>,
    leaves: &[(LeafIndex, Hash)],
    proof: &mut impl Iterator<Item = &'a Hash>,
) -> Hash {
    match leaves {
        [] => *proof.next().expect("the length was checked"),
        [(_, leaf), ..] if tree.end - tree.start == 1 => *leaf,
        _ => {
            let ([left, right], at) = split(&tree, leaves);
            let left = fold(left, &leaves[..at], proof);
            Hash::node(&left, &fold(right, &leaves[at..], proof))
        }
    }
}

fn join(
    tree: Range<u64>,
    depth: usize,
    proofs: &[(LeafIndex, &[Hash])],
    joint: &mut Vec<Hash>,
) -> Result<(), ProofError> {
    let of_first = proofs.first().map_or(&[][..], |(_, proof)| proof);
    if tree.end - tree.start == 1 {
        let (expected, seen) = (depth, of_first.len());
        return if seen == expected { Ok(()) } else { Err(ProofError::WrongLength { expected, seen }) };
    }
    let (children, at) = split(&tree, proofs);
    let (left, right) = proofs.split_at(at);
    for (child, within) in children.into_iter().zip([left, right]) {
        if within.is_empty() {
            // A path has the sibling of the leaf first, and this child of the tree last but `depth`.
            let hash = of_first.iter().rev().nth(depth);
            let wrong = ProofError::WrongLength { expected: depth + 1, seen: of_first.len() };
            joint.push(*hash.ok_or(wrong)?);
        } else {
            join(child, depth + 1, within, joint)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::merkle::reference;

    /// Leaves, their indices, and the root: all subsets of small trees.
    #[test]
    fn every_set_of_leaves_of_small_trees_is_proven() {
        for size in 1_u64..=9 {
            let leaves: Vec<Hash> = (0..size).map(|i| Hash::leaf(&i.to_be_bytes())).collect();
            let root = reference::root(&leaves);
            let tree = TreeSize::new(size).unwrap();
            for set in 1_u32..1 << size {
                let chosen: Vec<u64> = (0..size).filter(|i| set >> i & 1 == 1).collect();
                let paths: Vec<Vec<Hash>> =
                    chosen.iter().map(|i| reference::path(usize::try_from(*i).unwrap(), &leaves)).collect();
                let index = |i: &u64| LeafIndex::new(*i).unwrap();
                let proofs: Vec<(LeafIndex, &[Hash])> =
                    chosen.iter().map(index).zip(paths.iter().map(Vec::as_slice)).collect();
                let joint = join_proofs(tree, &proofs).unwrap();
                let of: Vec<(LeafIndex, Hash)> =
                    chosen.iter().map(|i| (index(i), leaves[usize::try_from(*i).unwrap()])).collect();
                assert_eq!(verify_joint(&of, (tree, &root), &joint), Ok(()));
                if chosen.len() == 1 {
                    assert_eq!(joint.len(), paths[0].len());
                }
                // Each hash and each leaf counts, and none is left over.
                for at in 0..joint.len() {
                    let mut wrong = joint.clone();
                    wrong[at] = Hash::digest(b"another");
                    let refused = verify_joint(&of, (tree, &root), &wrong);
                    assert!(matches!(refused, Err(ProofError::RootMismatch { .. })));
                    wrong.remove(at);
                    let refused = verify_joint(&of, (tree, &root), &wrong);
                    assert!(matches!(refused, Err(ProofError::WrongLength { .. })));
                }
                let more: Vec<Hash> = joint.iter().copied().chain([root]).collect();
                assert!(matches!(
                    verify_joint(&of, (tree, &root), &more),
                    Err(ProofError::WrongLength { .. })
                ));
                for at in 0..of.len() {
                    let mut wrong = of.clone();
                    wrong[at].1 = Hash::digest(b"another");
                    assert!(verify_joint(&wrong, (tree, &root), &joint).is_err());
                }
            }
        }
    }

    #[test]
    fn indices_increase_within_the_tree() {
        let index = |i: u64| (LeafIndex::new(i).unwrap(), Hash::EMPTY_ROOT);
        let (size, root) = (TreeSize::new(5).unwrap(), Hash::EMPTY_ROOT);
        let check = |leaves: &[(LeafIndex, Hash)]| verify_joint(leaves, (size, &root), &[]);
        assert!(matches!(check(&[]), Err(ProofError::TooManyIndices { seen: 0, .. })));
        assert!(matches!(check(&[index(5)]), Err(ProofError::IndexOutOfRange { .. })));
        assert_eq!(check(&[index(1), index(1)]), Err(ProofError::IndicesNotIncreasing { at: 1 }));
        assert_eq!(check(&[index(0), index(2), index(1)]), Err(ProofError::IndicesNotIncreasing { at: 2 }));
        let empty = verify_joint(&[index(0)], (TreeSize::ZERO, &root), &[]);
        assert!(matches!(empty, Err(ProofError::IndexOutOfRange { .. })));
        let short = [(LeafIndex::new(0).unwrap(), &[root; 2][..])];
        assert!(matches!(join_proofs(size, &short), Err(ProofError::WrongLength { .. })));
    }

    proptest! {
        #[test]
        fn a_joint_proof_is_never_longer_than_the_proofs(size in 1_u64..200, picks in prop::collection::btree_set(0_u64..200, 1..12)) {
            let leaves: Vec<Hash> = (0..size).map(|i| Hash::leaf(&i.to_be_bytes())).collect();
            let chosen: Vec<u64> = picks.into_iter().filter(|i| *i < size).collect();
            prop_assume!(!chosen.is_empty());
            let paths: Vec<Vec<Hash>> = chosen.iter().map(|i| reference::path(usize::try_from(*i).unwrap(), &leaves)).collect();
            let index = |i: &u64| LeafIndex::new(*i).unwrap();
            let proofs: Vec<(LeafIndex, &[Hash])> = chosen.iter().map(index).zip(paths.iter().map(Vec::as_slice)).collect();
            let tree = TreeSize::new(size).unwrap();
            let joint = join_proofs(tree, &proofs).unwrap();
            prop_assert!(joint.len() <= paths.iter().map(Vec::len).sum());
            let of: Vec<(LeafIndex, Hash)> = chosen.iter().map(|i| (index(i), leaves[usize::try_from(*i).unwrap()])).collect();
            prop_assert_eq!(verify_joint(&of, (tree, &reference::root(&leaves)), &joint), Ok(()));
        }
    }
}
