//! Test vectors that others made, in `../shared/vectors` (its README says whose). A clone without
//! that folder skips them; with `TREEHEAD_REQUIRE_VECTORS` set, as in CI, it fails instead.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::VerifyingKey;
use serde_json::Value;
use treehead::merkle::{Hash, LeafIndex, Subtree, TreeSize, verify_inclusion, verify_subtree_inclusion};
use treehead::note::ed25519_verify;

fn vectors(name: &str) -> Option<Vec<Value>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/vectors");
    if !folder.is_dir() {
        let required = std::env::var_os("TREEHEAD_REQUIRE_VECTORS").is_some();
        assert!(!required, "TREEHEAD_REQUIRE_VECTORS is set, but there is no {}", folder.display());
        println!("skipped: there is no {}", folder.display());
        return None;
    }
    let path = folder.join(name);
    let text = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    Some(serde_json::from_slice(&text).expect("a list of vectors"))
}

fn hash(value: &Value) -> Option<Hash> {
    let bytes = STANDARD.decode(value.as_str().expect("a hash in base64")).expect("base64");
    Hash::try_from(bytes).ok()
}

fn number(vector: &Value, field: &str) -> u64 {
    vector[field].as_u64().unwrap_or_else(|| panic!("{field} of {vector}"))
}

fn proof(vector: &Value) -> Option<Vec<Hash>> {
    match &vector["proof"] {
        Value::Null => Some(Vec::new()),
        proof => proof.as_array().expect("a list").iter().map(hash).collect(),
    }
}

/// Hashes of another length than 32, and numbers that the types refuse, are rejections too.
fn inclusion_is_accepted(vector: &Value) -> Option<bool> {
    let index = LeafIndex::new(number(vector, "leafIdx"))?;
    let size = TreeSize::new(number(vector, "treeSize"))?;
    let (leaf, root) = (hash(&vector["leafHash"])?, hash(&vector["root"])?);
    Some(verify_inclusion(index, size, &leaf, &proof(vector)?, &root).is_ok())
}

/// As [`inclusion_is_accepted`]; leaves that are no subtree are a rejection as well.
fn subtree_inclusion_is_accepted(vector: &Value) -> Option<bool> {
    let index = LeafIndex::new(number(vector, "leafIdx"))?;
    let (start, end) = (LeafIndex::new(number(vector, "start"))?, TreeSize::new(number(vector, "end"))?);
    let subtree = Subtree::new(start, end).ok()?;
    let (leaf, root) = (hash(&vector["leafHash"])?, hash(&vector["root"])?);
    Some(verify_subtree_inclusion(index, &leaf, subtree, &proof(vector)?, &root).is_ok())
}

/// How many of `vectors` are accepted, which are those that are said to be.
fn count_accepted(vectors: &[Value], accepts: fn(&Value) -> Option<bool>) -> usize {
    let mut accepted = 0;
    for vector in vectors {
        let want_error = vector["wantErr"].as_bool().expect("a boolean");
        let seen = accepts(vector).unwrap_or(false);
        assert_eq!(seen, !want_error, "{}: {}", vector["name"], vector["desc"]);
        accepted += usize::from(seen);
    }
    accepted
}

#[test]
fn inclusion_proofs_of_transparency_dev() {
    let Some(vectors) = vectors("merkle-inclusion.json") else { return };
    assert_eq!(vectors.len(), 98);
    let accepted = count_accepted(&vectors, inclusion_is_accepted);
    assert!(accepted > 0 && accepted < 98, "{accepted} accepted");
}

#[test]
fn subtree_inclusion_proofs_of_transparency_dev() {
    let Some(vectors) = vectors("merkle-subtreeinclusion.json") else { return };
    assert_eq!(vectors.len(), 204);
    assert_eq!(count_accepted(&vectors, subtree_inclusion_is_accepted), 12);
}

/// Go's accept set: what is not low order in the residue, nor spelt another way.
#[test]
fn ed25519_edge_cases_of_cctv() {
    let Some(vectors) = vectors("ed25519-edge-cases.json") else { return };
    assert_eq!(vectors.len(), 914);
    let mut accepted = 0;
    for vector in &vectors {
        let bytes = |field: &str| hex::decode(vector[field].as_str().expect("hex")).expect("hex");
        let flags = vector["flags"].as_array().map(Vec::as_slice).unwrap_or_default();
        let refused = flags.iter().any(|flag| flag == "low_order_residue" || flag == "non_canonical_R");
        let message = vector["msg"].as_str().expect("text").as_bytes();
        let key: [u8; 32] = bytes("key").try_into().expect("32 bytes");
        let seen =
            VerifyingKey::from_bytes(&key).is_ok_and(|key| ed25519_verify(&key, message, &bytes("sig")));
        assert_eq!(seen, !refused, "vector {}: {flags:?}", vector["number"]);
        accepted += usize::from(seen);
    }
    assert_eq!(accepted, 208);
}
