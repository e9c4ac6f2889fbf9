//! The oracle: RFC 6962 section 2.1 written as it stands there, slow and obvious.

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
