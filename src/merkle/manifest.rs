//! Manifest trees: one root for a release of many files, and multi-proofs for a few of them.
//!
//! `rs_merkle` builds and folds them. Its verifier accepts duplicate and out-of-range indices and trailing hashes, so
//! untrusted input reaches it only through [`MultiProof::verify`], which rejects them.

use alloc::string::String;
use alloc::vec::Vec;

use rs_merkle::{MerkleProof, MerkleTree};

use super::verify::{check_length, check_root};
use super::{Hash, ProofError, Rfc6962};
use crate::format::{FormatError, cap_count, quote};

/// Most files in one manifest: 2^20, a full Linux distribution's worth, 32 MiB of hashes.
pub const MAX_MANIFEST_FILES: usize = 1 << 20;
/// Most leaves in one multi-proof: `rs_merkle` takes quadratic time.
pub const MAX_MULTI_PROOF: usize = 1_000;

/// Leaf of a manifest tree: the RFC 6962 leaf hash of `path NUL sha256`, the digest as 64
/// lower-case hex digits.
#[must_use]
pub fn manifest_leaf(path: &str, sha256: &Hash) -> Hash {
    Hash::leaf(format!("{path}\0{}", sha256.to_hex()).as_bytes())
}

/// The files of a release in byte order of their paths.
#[derive(Clone)]
pub struct Manifest {
    files: Vec<(String, Hash)>,
    tree: MerkleTree<Rfc6962>,
}

impl Manifest {
    /// Sorts the files and builds their tree.
    ///
    /// # Errors
    /// [`FormatError`] for no files, more than [`MAX_MANIFEST_FILES`], an empty path, a path with
    /// a NUL, or a path given twice.
    pub fn new(mut files: Vec<(String, Hash)>) -> Result<Self, FormatError> {
        const WHAT: &str = "a manifest";
        cap_count(WHAT, "files", files.len(), MAX_MANIFEST_FILES)?;
        if files.is_empty() {
            return Err(FormatError::malformed(WHAT, "at least one file", "none"));
        }
        files.sort_unstable();
        if let Some(pair) = files.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(FormatError::malformed(
                WHAT,
                "each path once",
                format!("{} twice", quote(&pair[0].0)),
            ));
        }
        if let Some((path, _)) = files.iter().find(|(path, _)| path.is_empty() || path.contains('\0')) {
            return Err(FormatError::malformed(
                WHAT,
                "paths that are not empty and hold no NUL",
                quote(path),
            ));
        }
        let leaves: Vec<Hash> = files.iter().map(|(path, digest)| manifest_leaf(path, digest)).collect();
        Ok(Self { files, tree: MerkleTree::from_leaves(&leaves) })
    }

    /// Root of the manifest tree.
    #[must_use]
    pub fn root(&self) -> Hash {
        self.tree.root().expect("a manifest has a file")
    }

    /// Path and SHA-256 of each file, in the order of their leaves.
    #[must_use]
    pub fn files(&self) -> &[(String, Hash)] {
        &self.files
    }

    /// One proof for the leaves at `indices`.
    ///
    /// # Errors
    /// [`ProofError`] unless `indices` are 1 to [`MAX_MULTI_PROOF`] strictly increasing positions.
    pub fn prove(&self, indices: &[usize]) -> Result<MultiProof, ProofError> {
        let total = self.files.len();
        check_indices(indices, total)?;
        let hashes = self.tree.proof(indices).proof_hashes().to_vec();
        Ok(MultiProof { total, indices: indices.to_vec(), hashes })
    }
}

/// Proof that some leaves are at some indices of a manifest tree. Untrusted until verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MultiProof {
    /// Files in the manifest, at least 1.
    pub total: usize,
    /// Indices of the leaves, strictly increasing.
    pub indices: Vec<usize>,
    /// The nodes that can't be computed from the leaves, lowest level first, left to right.
    pub hashes: Vec<Hash>,
}

impl MultiProof {
    /// Checks that `leaves[i]` is the leaf at `self.indices[i]` of the manifest with `root`.
    ///
    /// # Errors
    /// [`ProofError`] if the proof does not show exactly that.
    pub fn verify(&self, leaves: &[Hash], root: &Hash) -> Result<(), ProofError> {
        if self.total > MAX_MANIFEST_FILES {
            return Err(ProofError::TooManyIndices { limit: MAX_MANIFEST_FILES, seen: self.total });
        }
        check_indices(&self.indices, self.total)?;
        check_length(self.indices.len(), leaves)?;
        check_length(multi_proof_length(&self.indices, self.total), &self.hashes)?;
        let proof = MerkleProof::<Rfc6962>::new(self.hashes.clone());
        let seen = proof
            .root(&self.indices, leaves, self.total)
            .expect("indices and lengths are exactly those of the tree");
        check_root(root, &seen)
    }
}

fn check_indices(indices: &[usize], total: usize) -> Result<(), ProofError> {
    if indices.is_empty() || indices.len() > MAX_MULTI_PROOF {
        return Err(ProofError::TooManyIndices { limit: MAX_MULTI_PROOF, seen: indices.len() });
    }
    if let Some(at) = indices.windows(2).position(|pair| pair[0] >= pair[1]) {
        return Err(ProofError::IndicesNotIncreasing { at: at + 1 });
    }
    let last = indices[indices.len() - 1];
    if last >= total {
        let index = super::LeafIndex::new(last as u64).unwrap_or(super::TreeSize::ZERO.next_index());
        let size = super::TreeSize::new(total as u64).unwrap_or_default();
        return Err(ProofError::IndexOutOfRange { index, size });
    }
    Ok(())
}

/// Counts the nodes that can't be computed from the leaves at `indices`: at each level, the siblings that exist and are
/// not known.
pub(crate) fn multi_proof_length(indices: &[usize], total: usize) -> usize {
    let mut known = indices.to_vec();
    let (mut width, mut needed) = (total, 0);
    while width > 1 {
        let siblings = known.iter().filter(|i| (**i ^ 1) < width && known.binary_search(&(**i ^ 1)).is_err());
        needed += siblings.count();
        known = known.iter().map(|i| i / 2).collect();
        known.dedup();
        width = width.div_ceil(2);
    }
    needed
}
