use proptest::prelude::*;

use super::*;
use crate::merkle::tests::{Definition, index, size};
use crate::merkle::{reference, verify_consistency};

mod large;

/// The leaf counts of the trees in which every subtree is tested.
const LEAVES: usize = 40;

fn subtree(start: usize, end: usize) -> Subtree {
    Subtree::new(index(start), size(end)).unwrap()
}

/// Section 4.1, literally.
fn valid(start: usize, end: usize) -> bool {
    let bit_ceil = |n: usize| (0..).map(|bit| 1 << bit).find(|power| *power >= n).unwrap();
    start < end && start.is_multiple_of(bit_ceil(end - start))
}

/// Every subtree of a tree of `n` leaves.
fn subtrees(n: usize) -> impl Iterator<Item = (usize, usize)> {
    (1..=n).flat_map(|end| (0..end).map(move |start| (start, end))).filter(|(start, end)| valid(*start, *end))
}

/// A claim: the leaves `start..end` of a tree of `n`.
#[derive(Clone, Copy)]
struct Claim {
    subtree: Subtree,
    hash: Hash,
    size: TreeSize,
    root: Hash,
}

impl Claim {
    fn new(leaves: &[Hash], (start, end): (usize, usize), n: usize) -> Self {
        Self {
            subtree: subtree(start, end),
            hash: reference::root(&leaves[start..end]),
            size: size(n),
            root: reference::root(&leaves[..n]),
        }
    }

    fn verify(&self, proof: &[Hash]) -> Result<(), ProofError> {
        verify_subtree_consistency(self.subtree, &self.hash, self.size, &self.root, proof)
    }
}

#[test]
fn a_subtree_begins_at_a_multiple_of_its_rounded_size() {
    for end in 0..=70 {
        for start in 0..=70 {
            let made = Subtree::new(index(start), size(end));
            assert_eq!(made.is_ok(), valid(start, end), "[{start}, {end})");
            let Ok(made) = made else {
                assert_eq!(made, Err(ProofError::NotASubtree { start: index(start), end: size(end) }));
                continue;
            };
            assert_eq!((made.start(), made.end(), made.size()), (index(start), size(end), size(end - start)));
            for at in 0..=70 {
                assert_eq!(made.contains(index(at)), (start..end).contains(&at), "{at} in {made}");
                assert_eq!(made.is_within(size(at)), end <= at, "{made} within {at}");
            }
        }
    }
    assert_eq!(subtree(8, 13).to_string(), "[8, 13)");
    let refused = Subtree::new(index(3), size(5)).unwrap_err().to_string();
    assert!(refused.starts_with("leaves 3 to 5 are not a subtree: expected "), "{refused}");
}

#[test]
fn examples_of_the_draft() {
    let leaves = reference::leaves(14);
    let range = |start: usize, end: usize| reference::root(&leaves[start..end]);
    let consistency = |(start, end), n: usize| {
        Plan::subtree_consistency(subtree(start, end), size(n))
            .unwrap()
            .fetch(&Definition(&leaves[..n]))
            .unwrap()
    };
    // Section 4.3.1.
    let inclusion = Plan::subtree_inclusion(index(10), subtree(8, 13), size(14)).unwrap();
    assert_eq!(inclusion.fetch(&Definition(&leaves)).unwrap(), [leaves[11], range(8, 10), leaves[12]]);
    // Section 4.4.2: a subtree that the tree contains, and one that it does not.
    assert_eq!(consistency((4, 8), 14), [range(0, 4), range(8, 14)]);
    assert_eq!(consistency((8, 13), 14), [leaves[12], leaves[13], range(8, 12), range(0, 8)]);
}

#[test]
fn every_consistency_proof_is_the_drafts_and_verifies() {
    let leaves = reference::leaves(LEAVES);
    for n in 1..=LEAVES {
        let reader = Definition(&leaves[..n]);
        for (start, end) in subtrees(n) {
            let claim = Claim::new(&leaves, (start, end), n);
            let read = read_subtree_root(&reader, claim.subtree, claim.size).unwrap();
            assert_eq!(read, Ok(claim.hash), "{} of {n}", claim.subtree);
            let proof =
                prove_subtree_consistency(&reader, claim.subtree, &claim.hash, claim.size, &claim.root);
            let proof = proof.unwrap().unwrap();
            assert_eq!(proof, reference::subtree_proof(start, end, &leaves[..n]), "{} of {n}", claim.subtree);
            if start == 0 {
                // Section 4.4.1: SUBTREE_PROOF(0, end, D_n) = PROOF(end, D_n).
                assert_eq!(proof, reference::proof(end, &leaves[..n]));
                assert_eq!(
                    Plan::subtree_consistency(claim.subtree, size(n)),
                    Plan::consistency(size(end), size(n))
                );
                assert_eq!(
                    verify_consistency((size(end), &claim.hash), (size(n), &claim.root), &proof),
                    Ok(())
                );
            }
            if end == start + 1 {
                // Section 4.4.1: SUBTREE_PROOF(start, start + 1, D_n) = PATH(start, D_n).
                assert_eq!(proof, reference::path(start, &leaves[..n]));
                assert_eq!(verify_inclusion(index(start), size(n), &claim.hash, &proof, &claim.root), Ok(()));
            }
        }
    }
}

#[test]
fn every_inclusion_proof_in_every_subtree() {
    let leaves = reference::leaves(LEAVES);
    // A larger tree than the subtree's end: tiles are requested in the width that the tree has.
    for n in [LEAVES - 7, LEAVES] {
        for (start, end) in subtrees(n) {
            let (within, hash) = (subtree(start, end), reference::root(&leaves[start..end]));
            let plan = |at| Plan::subtree_inclusion(index(at), within, size(n));
            for at in start..end {
                let proof = plan(at).unwrap().fetch(&Definition(&leaves[..n])).unwrap();
                assert_eq!(proof, reference::path(at - start, &leaves[start..end]), "{at} of {within}");
                let check =
                    |leaf, proof: &[Hash]| verify_subtree_inclusion(index(at), leaf, within, proof, &hash);
                assert_eq!(check(&leaves[at], &proof), Ok(()));
                assert!(matches!(check(&Hash::EMPTY_ROOT, &proof), Err(ProofError::RootMismatch { .. })));
                for altered in every_alteration(&proof) {
                    assert!(check(&leaves[at], &altered).is_err(), "{at} of {within}");
                }
            }
            for at in (0..start).chain(end..n + 2) {
                let outside = ProofError::IndexOutsideSubtree { index: index(at), subtree: within };
                assert_eq!(plan(at), Err(outside));
                assert_eq!(verify_subtree_inclusion(index(at), &leaves[0], within, &[], &hash), Err(outside));
            }
        }
    }
}

/// The proof with each hash altered, each removed, and one added at each place.
fn every_alteration(proof: &[Hash]) -> Vec<Vec<Hash>> {
    let mut all = Vec::new();
    for at in 0..proof.len() {
        let mut bytes = *proof[at].as_bytes();
        bytes[at % 32] ^= 1 << (at % 8);
        all.push([&proof[..at], &[Hash::from_bytes(bytes)], &proof[at + 1..]].concat());
        all.push([&proof[..at], &proof[at + 1..]].concat());
    }
    for at in 0..=proof.len() {
        all.push([&proof[..at], &[Hash::EMPTY_ROOT], &proof[at..]].concat());
    }
    all
}

#[test]
fn an_altered_consistency_proof_or_claim_is_refused() {
    let leaves = reference::leaves(LEAVES);
    let other = Hash::leaf(b"another history");
    for n in 1..=LEAVES {
        for (start, end) in subtrees(n) {
            let claim = Claim::new(&leaves, (start, end), n);
            let proof = reference::subtree_proof(start, end, &leaves[..n]);
            for altered in every_alteration(&proof) {
                let refused = claim.verify(&altered).unwrap_err();
                let fits = altered.len() == proof.len();
                assert_eq!(matches!(refused, ProofError::RootMismatch { .. }), fits, "{refused}");
                let expected = ProofError::WrongLength { expected: proof.len(), seen: altered.len() };
                assert!(fits || refused == expected, "{refused}");
            }
            let wrong_hash = Claim { hash: other, ..claim };
            assert!(matches!(wrong_hash.verify(&proof), Err(ProofError::RootMismatch { .. })));
            let wrong_root = Claim { root: other, ..claim };
            let mismatch = ProofError::RootMismatch { expected: other, seen: claim.root };
            assert_eq!(wrong_root.verify(&proof), Err(mismatch));
            let too_small = Claim { size: size(end - 1), ..claim };
            let out_of_range = ProofError::SubtreeOutOfRange { subtree: claim.subtree, size: size(end - 1) };
            assert_eq!(too_small.verify(&proof), Err(out_of_range));
            assert_eq!(Plan::subtree_consistency(claim.subtree, size(end - 1)), Err(out_of_range));
            assert_eq!(Plan::subtree_root(claim.subtree, size(end - 1)), Err(out_of_range));
            let inclusion = Plan::subtree_inclusion(index(start), claim.subtree, size(end - 1));
            assert_eq!(inclusion, Err(out_of_range));
        }
    }
}

#[test]
fn a_proof_serves_no_other_start_end_or_size() {
    let leaves = reference::leaves(18);
    let claims = || (1..=18).flat_map(|n| subtrees(n).map(move |range| (range, n)));
    let known: Vec<(Claim, Vec<Hash>)> = claims()
        .map(|((start, end), n)| {
            let proof = reference::subtree_proof(start, end, &leaves[..n]);
            (Claim::new(&leaves, (start, end), n), proof)
        })
        .collect();
    for (claim, proof) in &known {
        for (else_where, its_proof) in &known {
            // Two claims can share a proof, as [4, 7) and [0, 7) of 8 leaves do. No other claim is accepted.
            assert_eq!(else_where.verify(proof).is_ok(), proof == its_proof);
            if claim.subtree != else_where.subtree && claim.size == else_where.size {
                let moved = Claim { subtree: else_where.subtree, ..*claim };
                assert!(moved.verify(proof).is_err(), "{} as {}", claim.subtree, moved.subtree);
            }
        }
    }
}

#[test]
fn a_size_means_nothing_without_what_binds_it_to_the_root() {
    let leaves = reference::leaves(8);
    let proof = reference::subtree_proof(0, 2, &leaves[..7]);
    let claim = Claim::new(&leaves, (0, 2), 7);
    assert_eq!(claim.verify(&proof), Ok(()));
    assert_eq!(Claim { size: size(8), ..claim }.verify(&proof), Ok(()), "trees of 5 to 8 look alike here");
    assert!(Claim { size: size(9), ..claim }.verify(&proof).is_err());
}

#[test]
fn tiles_of_another_history_are_found_before_the_proof_leaves() {
    let leaves = reference::leaves(300);
    let mut damaged = leaves.clone();
    damaged[258] = Hash::leaf(b"a flipped bit");
    let claim = Claim::new(&leaves, (256, 299), 300);
    let prove = |leaves: &[Hash]| {
        let Claim { subtree, hash, size, root } = claim;
        prove_subtree_consistency(&Definition(leaves), subtree, &hash, size, &root).unwrap()
    };
    assert_eq!(prove(&leaves), Ok(reference::subtree_proof(256, 299, &leaves)));
    assert!(matches!(prove(&damaged), Err(ProofError::RootMismatch { .. })));
    let read = read_subtree_root(&Definition(&leaves), claim.subtree, size(298)).unwrap();
    assert_eq!(read, Err(ProofError::SubtreeOutOfRange { subtree: claim.subtree, size: size(298) }));
}

/// The "Subtree Test Vectors" of draft-ietf-plants-merkle-tree-certs-05, which define the same proofs as -03: digests
/// over all subtrees, inclusion proofs and consistency proofs of trees up to 130 leaves.
#[test]
fn accumulated_vectors_of_the_draft() {
    let leaves: Vec<Hash> = (0..130).map(|i| Hash::leaf(&[i])).collect();
    let reader = Definition(&leaves);
    let line = |text: String, hashes: &[Hash]| {
        hashes.iter().fold(text, |line, hash| format!("{line} {}", hash.to_hex())) + "\n"
    };
    let made = |plan: Result<Plan, ProofError>| plan.unwrap().fetch(&reader).unwrap();
    let (mut hashes, mut inclusion, mut consistency) = (String::new(), String::new(), String::new());
    for n in 1..=130 {
        for (start, end) in subtrees(n) {
            let at = subtree(start, end);
            let plan = Plan::subtree_consistency(at, size(n));
            let proof = plan.unwrap().fetch(&Definition(&leaves[..n])).unwrap();
            consistency += &line(format!("{at} {n}"), &proof);
        }
    }
    for (start, end) in subtrees(130) {
        let at = subtree(start, end);
        hashes += &line(at.to_string(), &made(Plan::subtree_root(at, size(130))));
        for i in start..end {
            inclusion += &line(format!("{i} {at}"), &made(Plan::subtree_inclusion(index(i), at, size(130))));
        }
    }
    let digest = |text: &str| Hash::digest(text.as_bytes()).to_hex();
    assert_eq!(digest(&hashes), "94a95384a8c69acea9b50d035a58285b3a777cb7a724005faa5e1f1e1190007f");
    assert_eq!(digest(&inclusion), "ac2a8f989e44d99e399db448050ff5f19757df53cfb716aa81015d3955d8163f");
    assert_eq!(digest(&consistency), "c586ebbb73a5621baf2140095d87dde934e3b6503a562a1a5215b8209edd083d");
}

proptest! {
    #[test]
    fn random_subtrees_beyond_40(n in 41_usize..2_000, bits in 0_u32..11, place in any::<prop::sample::Index>(), length in any::<prop::sample::Index>()) {
        let leaves = reference::leaves(n);
        let bits = bits.min(n.ilog2());
        let start = place.index(n >> bits) << bits;
        let end = start + 1 + length.index((1 << bits).min(n - start));
        let claim = Claim::new(&leaves, (start, end), n);
        let proof = prove_subtree_consistency(&Definition(&leaves), claim.subtree, &claim.hash, claim.size, &claim.root);
        prop_assert_eq!(proof.unwrap(), Ok(reference::subtree_proof(start, end, &leaves)));
    }
}
