//! Test vectors that others made, in `../shared/vectors` (its README says whose). A clone without
//! that folder skips them; with `TREEHEAD_REQUIRE_VECTORS` set, as in CI, it fails instead.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::VerifyingKey;
use serde_json::Value;
use treehead::merkle::{Hash, LeafIndex, TreeSize, verify_inclusion};
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

/// Hashes of another length than 32, and numbers that the types refuse, are rejections too.
fn inclusion_is_accepted(vector: &Value) -> Option<bool> {
    let number = |field: &str| vector[field].as_u64().unwrap_or_else(|| panic!("{field} of {vector}"));
    let index = LeafIndex::new(number("leafIdx"))?;
    let size = TreeSize::new(number("treeSize"))?;
    let (leaf, root) = (hash(&vector["leafHash"])?, hash(&vector["root"])?);
    let proof = match &vector["proof"] {
        Value::Null => Vec::new(),
        proof => proof.as_array().expect("a list").iter().map(hash).collect::<Option<Vec<Hash>>>()?,
    };
    Some(verify_inclusion(index, size, &leaf, &proof, &root).is_ok())
}

#[test]
fn inclusion_proofs_of_transparency_dev() {
    let Some(vectors) = vectors("merkle-inclusion.json") else { return };
    assert_eq!(vectors.len(), 98);
    let mut accepted = 0;
    for vector in &vectors {
        let want_error = vector["wantErr"].as_bool().expect("a boolean");
        let seen = inclusion_is_accepted(vector).unwrap_or(false);
        assert_eq!(seen, !want_error, "{}: {}", vector["name"], vector["desc"]);
        accepted += usize::from(seen);
    }
    assert!(accepted > 0 && accepted < 98, "{accepted} accepted");
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
