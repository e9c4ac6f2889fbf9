//! Trees too large to build.

use proptest::prelude::*;

use super::*;
use crate::merkle::{MAX_PROOF_HASHES, MAX_TREE_SIZE, Node, RightEdge};

/// A tree of any size whose leaves are all equal: complete subtrees of one height share a hash.
struct Alike([Hash; 63]);

impl Alike {
    fn new() -> Self {
        let mut heights = [Hash::leaf(b"alike"); 63];
        for level in 1..63 {
            heights[level] = Hash::node(&heights[level - 1], &heights[level - 1]);
        }
        Self(heights)
    }

    fn root(&self, size: TreeSize) -> Hash {
        let peaks = (0..63).rev().filter(|level| size.get() >> level & 1 == 1).map(|level| self.0[level]);
        RightEdge::new(size, peaks.collect()).unwrap().root()
    }

    fn fold(&self, plan: &Plan) -> Vec<Hash> {
        let nodes: Vec<Hash> = plan.nodes().map(|node: Node| self.0[node.level as usize]).collect();
        plan.fold(&nodes)
    }

    /// The checked consistency proof.
    fn prove(&self, subtree: Subtree, size: TreeSize) -> Result<Vec<Hash>, ProofError> {
        let hash = self.root(subtree.size());
        assert_eq!(self.fold(&Plan::subtree_root(subtree, size)?), [hash]);
        let proof = self.fold(&Plan::subtree_consistency(subtree, size)?);
        verify_subtree_consistency(subtree, &hash, size, &self.root(size), &proof).map(|()| proof)
    }
}

fn at(start: u64, end: u64) -> Result<Subtree, ProofError> {
    Subtree::new(LeafIndex::new(start).unwrap(), TreeSize::new(end).unwrap())
}

#[test]
fn the_longest_proofs() {
    let tree = Alike::new();
    let prove = |start, end, n| tree.prove(at(start, end).unwrap(), TreeSize::new(n).unwrap()).unwrap().len();
    assert_eq!(prove(0, 1, MAX_TREE_SIZE), 63, "one leaf");
    assert_eq!(prove(0, 3, 1 << 62), 63, "the last hash of the subtree, and its path");
    // One more than the 63 lines that c2sp.org/tlog-witness lets a client send.
    assert_eq!(prove(0, 3, MAX_TREE_SIZE), MAX_PROOF_HASHES);
    assert_eq!(prove(4, 7, MAX_TREE_SIZE), MAX_PROOF_HASHES);
}

#[test]
fn subtrees_near_two_to_the_63() {
    let tree = Alike::new();
    let largest = TreeSize::new(MAX_TREE_SIZE).unwrap();
    for (start, end) in [
        (0, MAX_TREE_SIZE),
        (0, MAX_TREE_SIZE - 1),
        (0, (1 << 62) + 1),
        (1 << 62, MAX_TREE_SIZE),
        (1 << 62, MAX_TREE_SIZE - 1),
        (MAX_TREE_SIZE - 1, MAX_TREE_SIZE),
        (MAX_TREE_SIZE - 3, MAX_TREE_SIZE - 1),
    ] {
        let proof = tree.prove(at(start, end).unwrap(), largest).unwrap();
        assert!(proof.len() <= MAX_PROOF_HASHES);
    }
    for (start, end) in [(1, MAX_TREE_SIZE), (1 << 61, MAX_TREE_SIZE), (MAX_TREE_SIZE - 1, MAX_TREE_SIZE - 1)]
    {
        assert!(matches!(at(start, end), Err(ProofError::NotASubtree { .. })), "[{start}, {end})");
    }
}

prop_compose! {
    /// A subtree of any height, and a tree that contains it.
    fn any_subtree()(bits in 0_u32..63)(
        length in 1..=1_u64 << bits,
        bits in Just(bits),
        place in any::<u64>(),
        more in any::<u64>(),
        few in 0_u32..64,
    ) -> (Subtree, TreeSize) {
        let places = ((MAX_TREE_SIZE - length) >> bits) + 1;
        let start = (place % places) << bits;
        let end = start + length;
        // The tree's last path is as often near the subtree as far from it.
        let size = end + (more >> few) % (MAX_TREE_SIZE - end + 1);
        (at(start, end).unwrap(), TreeSize::new(size).unwrap())
    }
}

proptest! {
    #[test]
    fn any_subtree_of_any_tree((subtree, size) in any_subtree(), pick in any::<prop::sample::Index>(), leaf in any::<u64>()) {
        let tree = Alike::new();
        let (hash, root) = (tree.root(subtree.size()), tree.root(size));
        let proof = tree.prove(subtree, size).unwrap();
        prop_assert!(proof.len() <= MAX_PROOF_HASHES);
        let verify = |proof: &[Hash]| verify_subtree_consistency(subtree, &hash, size, &root, proof);
        let longer = [&proof[..], &[root]].concat();
        let wrong_length = |seen| Err(ProofError::WrongLength { expected: proof.len(), seen });
        prop_assert_eq!(verify(&longer), wrong_length(proof.len() + 1));
        if !proof.is_empty() {
            prop_assert_eq!(verify(&proof[1..]), wrong_length(proof.len() - 1));
            let mut altered = proof.clone();
            altered[pick.index(proof.len())] = Hash::EMPTY_ROOT;
            let refused = verify(&altered);
            prop_assert!(matches!(refused, Err(ProofError::RootMismatch { .. })), "{:?}", refused);
        }
        let index = LeafIndex::new(subtree.start().get() + leaf % subtree.size().get()).unwrap();
        let path = tree.fold(&Plan::subtree_inclusion(index, subtree, size).unwrap());
        prop_assert_eq!(verify_subtree_inclusion(index, &tree.0[0], subtree, &path, &hash), Ok(()));
    }

    #[test]
    fn the_verifiers_are_total((subtree, size) in any_subtree(), start in any::<u64>(), end in any::<u64>(), n in any::<u64>(), count in 0_usize..70) {
        let proof = vec![Hash::EMPTY_ROOT; count];
        let (hash, root) = (Hash::leaf(b"x"), Hash::leaf(b"y"));
        let index = LeafIndex::new(start);
        let other = LeafIndex::new(start).zip(TreeSize::new(end)).and_then(|(start, end)| Subtree::new(start, end).ok());
        for subtree in [Some(subtree), other].into_iter().flatten() {
            for size in [Some(size), TreeSize::new(n)].into_iter().flatten() {
                prop_assert!(verify_subtree_consistency(subtree, &hash, size, &root, &proof).is_err());
            }
            if let Some(index) = index {
                prop_assert!(verify_subtree_inclusion(index, &hash, subtree, &proof, &root).is_err());
            }
        }
    }
}
