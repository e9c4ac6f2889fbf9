//! The oracle: RFC 6962 section 2.1 and what a draft adds to it, written as they stand there, slow
//! and obvious.

use super::Hash;

/// MTH(D[n]).
pub fn root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => Hash::EMPTY_ROOT,
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(k(leaves.len()));
            Hash::node(&root(left), &root(right))
        }
    }
}

/// PATH(m, D[n]).
pub fn path(m: usize, leaves: &[Hash]) -> Vec<Hash> {
    if leaves.len() == 1 {
        return Vec::new();
    }
    let (left, right) = leaves.split_at(k(leaves.len()));
    let (mut path, other) =
        if m < left.len() { (path(m, left), root(right)) } else { (path(m - left.len(), right), root(left)) };
    path.push(other);
    path
}

/// PROOF(m, D[n]).
pub fn proof(m: usize, leaves: &[Hash]) -> Vec<Hash> {
    subproof(m, leaves, true)
}

fn subproof(m: usize, leaves: &[Hash], b: bool) -> Vec<Hash> {
    if m == leaves.len() {
        return if b { Vec::new() } else { vec![root(leaves)] };
    }
    let (left, right) = leaves.split_at(k(leaves.len()));
    let (mut proof, other) = if m <= left.len() {
        (subproof(m, left, b), root(right))
    } else {
        (subproof(m - left.len(), right, false), root(left))
    };
    proof.push(other);
    proof
}

/// `SUBTREE_PROOF(start, end, D_n)` of draft-ietf-plants-merkle-tree-certs-03 section 4.4.1.
pub fn subtree_proof(start: usize, end: usize, leaves: &[Hash]) -> Vec<Hash> {
    subtree_subproof(start, end, leaves, true)
}

fn subtree_subproof(start: usize, end: usize, leaves: &[Hash], b: bool) -> Vec<Hash> {
    if (start, end) == (0, leaves.len()) {
        return if b { Vec::new() } else { vec![root(leaves)] };
    }
    let k = k(leaves.len());
    let (left, right) = leaves.split_at(k);
    let (mut proof, other) = if end <= k {
        (subtree_subproof(start, end, left, b), root(right))
    } else if k <= start {
        (subtree_subproof(start - k, end - k, right, b), root(left))
    } else {
        assert_eq!(start, 0, "\"which implies start = 0\"");
        (subtree_subproof(0, end - k, right, false), root(left))
    };
    proof.push(other);
    proof
}

/// The largest power of two smaller than n.
fn k(n: usize) -> usize {
    let mut k = 1;
    while k * 2 < n {
        k *= 2;
    }
    k
}

/// n different leaf hashes.
pub fn leaves(n: usize) -> Vec<Hash> {
    (0..n).map(|i| Hash::leaf(format!("leaf {i}").as_bytes())).collect()
}
