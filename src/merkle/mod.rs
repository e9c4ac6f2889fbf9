//! The tree: RFC 6962 hashing, tiles, the right edge, proofs, subtrees and manifests. Pure functions.
//!
//! A proof is made in three steps, *plan, fetch, fold*: a [`Plan`] lists the nodes that are needed, the caller fetches
//! the tiles that hold them, and the plan folds the nodes into the proof. [`verify_inclusion`] and
//! [`verify_consistency`] verify proofs about trees, [`verify_subtree_inclusion`] and [`verify_subtree_consistency`]
//! those about a [`Subtree`].

mod edge;
mod hash;
mod joint;
mod manifest;
mod partial;
mod plan;
mod size;
mod subtree;
mod tile;
mod verify;

pub use edge::{Growth, RightEdge, TileHashes};
pub use hash::{HASH_BYTES, Hash, Rfc6962, hex_hash};
pub use joint::{join_proofs, verify_joint};
pub(crate) use manifest::multi_proof_length;
pub use manifest::{MAX_MANIFEST_FILES, MAX_MULTI_PROOF, Manifest, MultiProof, manifest_leaf};
pub use partial::PartialTiles;
pub use plan::{Node, Plan, Prefix, TileReader, prove_consistency, prove_inclusion, prove_prefix, read_root};
pub use size::{LeafIndex, MAX_TREE_SIZE, TreeSize};
pub use subtree::{
    Subtree, prove_subtree_consistency, read_subtree_root, verify_subtree_consistency,
    verify_subtree_inclusion,
};
pub use tile::{TILE_WIDTH, Tile, TileId, hashes_from_bytes, hashes_to_bytes, tiles_of};
pub use verify::{MAX_PROOF_HASHES, ProofCode, ProofError, verify_consistency, verify_inclusion};

#[cfg(test)]
pub(crate) mod reference;
#[cfg(test)]
pub(crate) mod tests;
