//! One statement gets one leaf, whatever its signatures, spelling and transport.

use std::fs;

use serde_json::{Value, json};
use treehead::merkle::Hash;
use treehead::proof::ProofFile;
use treehead::release::{Envelope, PublisherSigner};

use crate::common::log::{Served, batch};
use crate::common::releases::{
    publisher, publisher_toml, scanner, signed, signed_payload, signed_statement, statement, vendor_toml,
};

fn log() -> Served {
    Served::release(&vendor_toml())
}

/// `vendor`, with a second key (seed 2), and `rival` (seed 3), who may make the same statements.
fn rotated_toml() -> String {
    let second = format!("[[publisher.key]]\npem = '''\n{}'''\n\n", publisher(2).public_pem());
    vendor_toml() + &second + &publisher_toml("rival", 3, &["pkg:generic/example/*"], &["build"])
}

/// JSON answers and proofs contain the entry that the log stored.
fn assert_first_is_answered(log: &Served, first: &[u8], again: &[u8]) {
    let answer = log.post_json("/add", again);
    assert_eq!((&answer["index"], &answer["duplicate"]), (&0.into(), &true.into()));
    assert_eq!(answer["leaf_hash"], Hash::leaf(first).to_hex());
    let leaf = format!("/proof/leaf/{}", Hash::leaf(first).to_hex());
    for reply in [log.post_for_proof("/add", again), log.get(&leaf)] {
        let proof = ProofFile::parse(&reply.body).unwrap();
        assert_eq!((proof.index.get(), proof.extra.as_deref()), (0, Some(first)));
    }
    assert_eq!(log.get(&format!("/proof/leaf/{}", Hash::leaf(again).to_hex())).status, 404);
    let answers = log.post_json("/add-batch", &batch(&[again, first]));
    for answer in answers.as_array().unwrap() {
        assert_eq!((&answer["index"], &answer["duplicate"]), (&0.into(), &true.into()), "{answers}");
        assert_eq!(answer["leaf_hash"], Hash::leaf(first).to_hex());
    }
    assert_eq!(log.tree_size(), 1);
}

#[test]
fn one_payload_has_one_leaf_under_whatever_signatures() {
    let payload = scanner(1).to_payload().unwrap();
    let by = |seeds: &[u8]| {
        let keys: Vec<PublisherSigner> = seeds.iter().map(|seed| publisher(*seed)).collect();
        Envelope::sign(payload.clone(), &keys.iter().collect::<Vec<_>>()).unwrap().to_entry()
    };
    for (first, again) in [(&[1][..], &[2][..]), (&[1], &[1, 2, 3]), (&[1, 3], &[3]), (&[3], &[1])] {
        let log = Served::release(&rotated_toml());
        assert_eq!(log.post("/add", &by(first)).text(), "0");
        assert_first_is_answered(&log, &by(first), &by(again));
    }
}

#[test]
fn one_claim_has_one_leaf_however_it_is_spelled_and_whichever_key_signed() {
    let first = signed(&scanner(1), 1);
    let mut spelled = statement(&scanner(1));
    spelled["predicate"]["note"] = json!("what nobody concludes from");
    for seed in [1, 2] {
        let log = Served::release(&rotated_toml());
        assert_eq!(log.post("/add", &first).text(), "0");
        assert_first_is_answered(&log, &first, &signed_statement(&spelled, seed));
    }
    // Another publisher's claim is a different claim.
    let log = Served::release(&rotated_toml());
    assert_eq!(log.post("/add", &first).text(), "0");
    assert_eq!(log.post("/add", &signed_statement(&spelled, 3)).text(), "1");
}

/// The log rebuilds a missing index from the journal.
#[test]
fn payloads_and_claims_are_known_after_a_restart_with_an_index_or_without() {
    let temp = tempfile::tempdir().unwrap();
    fs::write(temp.path().join("publishers.toml"), rotated_toml()).unwrap();
    let start =
        || Served::start(temp.path(), treehead::server::Profile::Release, crate::common::log::quick());
    let first = signed(&scanner(1), 1);
    assert_eq!(start().post("/add", &first).text(), "0");
    let mut spelled = statement(&scanner(1));
    spelled["predicate"]["note"] = json!("what nobody concludes from");
    for without_index in [false, true] {
        if without_index {
            fs::remove_dir_all(temp.path().join("sled")).unwrap();
        }
        let log = start();
        for again in [signed(&scanner(1), 2), signed_statement(&spelled, 2)] {
            assert_first_is_answered(&log, &first, &again);
        }
    }
}

#[test]
fn what_is_signed_elsewhere_is_taken_as_dsse_has_it() {
    let log = log();
    let pretty = serde_json::to_string_pretty(&statement(&scanner(1))).unwrap();
    let payload = pretty.replace("Statement/v1", "Statement/v0.1").into_bytes();
    let entry = signed_payload(payload.clone(), 1);
    let mut envelope: Value = serde_json::from_slice(&entry).unwrap();
    let keyid = envelope["signatures"][0]["keyid"].take();
    assert_eq!(keyid, publisher(1).keyid().to_hex());
    let url_safe = |text: &Value| json!(text.as_str().unwrap().replace('+', "-").replace('/', "_"));
    envelope["payload"] = url_safe(&envelope["payload"]);
    envelope["signatures"][0]["sig"] = url_safe(&envelope["signatures"][0]["sig"]);
    envelope["signatures"][0]["cert"] = json!("-----BEGIN");
    envelope["mediaType"] = json!({ "version": 1.5 });
    for keyid in [Value::Null, json!(""), json!("gpg:0xAB"), keyid] {
        envelope["signatures"][0]["keyid"] = keyid;
        let answer = log.post_json("/add", envelope.to_string().as_bytes());
        assert_eq!(
            (&answer["index"], &answer["leaf_hash"]),
            (&0.into(), &Hash::leaf(&entry).to_hex().into())
        );
    }
    envelope["signatures"][0].as_object_mut().unwrap().remove("keyid");
    let proof = ProofFile::parse(&log.post_for_proof("/add", envelope.to_string().as_bytes()).body).unwrap();
    let logged = Envelope::parse_entry(&proof.extra.unwrap()).unwrap();
    assert_eq!(logged.payload(), payload, "the payload's own bytes, in an envelope of the log's own");
    assert_eq!(log.tree_size(), 1);
}

/// One request must not cause thousands of signature verifications.
#[test]
fn the_search_for_signers_is_bounded() {
    let keys: String = (10..=25)
        .map(|seed| format!("[[publisher.key]]\npem = '''\n{}'''\n", publisher(seed).public_pem()))
        .collect();
    let log = Served::release(&(vendor_toml() + &keys));
    let unnamed = |n: u64, seed: u8| {
        let entry = String::from_utf8(signed(&scanner(n), seed)).unwrap();
        entry.replace(&publisher(seed).keyid().to_hex(), "").into_bytes()
    };
    // A batch signed by one of many keys, without key IDs.
    let own: Vec<Vec<u8>> = (1..=50).map(|n| unnamed(n, 25)).collect();
    assert_eq!(log.post("/add-batch", &batch(&own)).status, 200);
    // Unknown signatures beside good ones: the log tries each under all keys.
    let with_strangers = |n: u64, strangers: &[u8]| {
        let mut envelope: Value = serde_json::from_slice(&signed(&scanner(n), 1)).unwrap();
        for stranger in strangers {
            let other: Value = serde_json::from_slice(&unnamed(n, *stranger)).unwrap();
            envelope["signatures"].as_array_mut().unwrap().push(other["signatures"][0].clone());
        }
        envelope.to_string().into_bytes()
    };
    let both = |n: u64| with_strangers(n, &[9]);
    let few: Vec<Vec<u8>> = (101..=104).map(both).collect();
    assert_eq!(log.post("/add-batch", &batch(&few)).status, 200);
    let many: Vec<Vec<u8>> = (201..=205).map(both).collect();
    let detail = log.post("/add-batch", &batch(&many)).problem(422, "keyid-needed");
    assert!(detail.contains("expected each keyid to name the key"), "{detail}");
    // A single entry may cost 32 failures.
    assert_eq!(log.post("/add", &with_strangers(301, &[8, 9])).status, 200);
    let detail = log.post("/add", &with_strangers(302, &[7, 8, 9])).problem(422, "keyid-needed");
    assert!(detail.contains("32 signature checks failed"), "{detail}");
    assert_eq!(log.tree_size(), 55);
}
