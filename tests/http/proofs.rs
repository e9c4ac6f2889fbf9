//! `/proof/...`: the verifier checks every proof, never the code that made it.

use serde_json::Value;
use treehead::merkle::{Hash, LeafIndex, TreeSize, verify_consistency, verify_inclusion};
use treehead::proof::ProofFile;

use crate::common::log::{Served, leaf_hashes, numbered, root_of, vkey};

const SIZE: usize = 300;

fn log() -> Served {
    let log = Served::opaque();
    log.add_all(&numbered(SIZE));
    log
}

fn hash(value: &Value) -> Hash {
    Hash::from_base64(value.as_str().expect("base64")).expect("a hash")
}

fn hashes(value: &Value) -> Vec<Hash> {
    value.as_array().expect("a list").iter().map(hash).collect()
}

#[test]
fn inclusion_is_proven_for_leaves_of_trees_of_all_sorts() {
    let (log, leaves) = (log(), leaf_hashes(&numbered(SIZE)));
    for size in [1_usize, 2, 3, 7, 8, 9, 255, 256, 257, 299, 300] {
        let root = root_of(&leaves[..size]);
        for index in [0, 1, 2, size / 2, 254, 255, 256, size - 1].into_iter().filter(|index| *index < size) {
            let reply = log.get(&format!("/proof/inclusion/{size}/{index}"));
            let proof = reply.json();
            assert_eq!((&proof["leaf_index"], &proof["tree_size"]), (&index.into(), &size.into()));
            assert_eq!((hash(&proof["leaf_hash"]), hash(&proof["root_hash"])), (leaves[index], root));
            let (at, of) = (LeafIndex::new(index as u64).unwrap(), TreeSize::new(size as u64).unwrap());
            verify_inclusion(at, of, &leaves[index], &hashes(&proof["hashes"]), &root)
                .unwrap_or_else(|e| panic!("leaf {index} of {size}: {e}"));
        }
    }
}

#[test]
fn consistency_is_proven_between_trees_of_all_sorts() {
    let (log, leaves) = (log(), leaf_hashes(&numbered(SIZE)));
    let sizes = [0_usize, 1, 2, 3, 7, 8, 255, 256, 257, 299, 300];
    for (at, old) in sizes.iter().enumerate() {
        for new in &sizes[at..] {
            let proof = log.get(&format!("/proof/consistency/{old}/{new}")).json();
            assert_eq!((&proof["old_size"], &proof["new_size"]), (&(*old).into(), &(*new).into()));
            let roots = (root_of(&leaves[..*old]), root_of(&leaves[..*new]));
            assert_eq!((hash(&proof["old_root"]), hash(&proof["new_root"])), roots);
            let size = |size: usize| TreeSize::new(size as u64).unwrap();
            verify_consistency((size(*old), &roots.0), (size(*new), &roots.1), &hashes(&proof["hashes"]))
                .unwrap_or_else(|e| panic!("{old} to {new}: {e}"));
        }
    }
}

#[test]
fn what_the_published_tree_does_not_have_is_404() {
    let log = log();
    for path in ["inclusion/300/300", "inclusion/1/1", "inclusion/0/0", "inclusion/300/9223372036854775806"] {
        let detail = log.get(&format!("/proof/{path}")).problem(404, "not-found");
        assert!(detail.contains("ends before leaf index"), "{detail}");
    }
    for path in [
        "inclusion/301/0",
        "inclusion/9223372036854775807/0",
        "consistency/1/301",
        "consistency/301/301",
        "consistency/9223372036854775807/300",
    ] {
        let detail = log.get(&format!("/proof/{path}")).problem(404, "not-found");
        assert!(detail.contains("the published tree size is 300"), "{detail}");
    }
}

#[test]
fn an_old_size_above_the_new_one_is_malformed() {
    let log = log();
    for path in ["300/299", "1/0", "257/256"] {
        let detail = log.get(&format!("/proof/consistency/{path}")).problem(400, "malformed");
        assert!(detail.contains("at most the new one"), "{detail}");
    }
}

#[test]
fn numbers_in_paths_have_one_spelling() {
    let log = log();
    for bad in [
        "007",
        "00",
        "+1",
        "-1",
        "1.0",
        "1e2",
        "0x1",
        "%201",
        "1%20",
        "%2B1",
        "x",
        "9223372036854775808",
        "18446744073709551616",
        "99999999999999999999999999",
        "%D9%A1",
        "%FF",
    ] {
        for path in [
            format!("inclusion/{bad}/0"),
            format!("inclusion/300/{bad}"),
            format!("consistency/{bad}/300"),
            format!("consistency/1/{bad}"),
        ] {
            log.get(&format!("/proof/{path}")).problem(400, "malformed");
        }
    }
}

#[test]
fn a_leaf_s_proof_file_is_found_by_its_hash() {
    let (log, entries) = (log(), numbered(SIZE));
    let head = log.head();
    for index in [0, 1, 255, 256, 299] {
        let leaf = Hash::leaf(&entries[index]);
        let reply = log.get(&format!("/proof/leaf/{}", leaf.to_hex()));
        assert_eq!(reply.header("content-type"), Some("text/x-tlog-proof; charset=utf-8"));
        let proof = ProofFile::parse(&reply.body).expect("a proof file");
        assert_eq!(proof.extra.as_ref(), Some(&entries[index]));
        assert_eq!(proof.index.get(), index as u64);
        let note = proof.checkpoint.to_string();
        assert_eq!(treehead::checkpoint::open(note.as_bytes(), &[vkey()]).unwrap().get(), &head);
        verify_inclusion(proof.index, head.size, &leaf, &proof.proof, &head.root).unwrap();
    }
}

#[test]
fn a_leaf_hash_that_is_unknown_or_malformed_is_refused() {
    let log = log();
    let known = Hash::leaf(&numbered(1)[0]).to_hex();
    // The index stores eight bytes of a hash: a hash with the same eight bytes is a different leaf.
    let neighbour = format!("{}{}", &known[..63], if known.ends_with('0') { '1' } else { '0' });
    for unknown in [Hash::leaf(b"not logged").to_hex(), neighbour, "00".repeat(32)] {
        let detail = log.get(&format!("/proof/leaf/{unknown}")).problem(404, "not-found");
        assert!(detail.contains("no entry of the published tree of size 300 has this leaf hash"), "{detail}");
    }
    let malformed = [
        known.to_uppercase(),
        known[1..].to_owned(),
        format!("{known}0"),
        format!("sha256:{known}"),
        "x".repeat(64),
        "%FF".repeat(32),
        "%00".to_owned(),
    ];
    for malformed in malformed {
        log.get(&format!("/proof/leaf/{malformed}")).problem(400, "malformed");
    }
}
