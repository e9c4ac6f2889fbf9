//! Publishers whose keys openssl made, of each family, and publishers who have to sign with several.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use treehead::checkpoint::policy::Policy;
use treehead::endpoint::{Artifact, Freshness, Pins, Question, Trust, verify};
use treehead::merkle::Hash;
use treehead::release::{PublicKey, Publishers};

use crate::common::log::{Served, batch, vkey};

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(format!("fixtures/keys/{name}")).expect("a fixture")
}

/// The fields of a key with the text of one of its files.
fn key(file: &str) -> String {
    format!("[[publisher.key]]\npem = '''\n{}'''\n", String::from_utf8(fixture(file)).expect("text"))
}

fn publisher(name: &str, required: &[&str], keys: &[&str]) -> String {
    let keys: String = keys.iter().map(|file| key(file)).collect();
    format!(
        "[[publisher]]\nname = \"{name}\"\npurls = [\"pkg:generic/example/*\"]\nkinds = [\"build\"]\n\
         require_signatures = {required:?}\n{keys}"
    )
}

/// The statement of the fixtures, signed by these keys.
fn signed(by: &[&str]) -> Vec<u8> {
    let signature = |name: &&str| -> Value {
        let key = PublicKey::parse(&fixture(&format!("{name}.der")), None).expect("a key");
        json!({ "keyid": key.keyid().to_hex(), "sig": STANDARD.encode(fixture(&format!("{name}.sig"))) })
    };
    let envelope = json!({
        "payload": STANDARD.encode(fixture("statement.json")), "payloadType": "application/vnd.in-toto+json",
        "signatures": by.iter().map(signature).collect::<Vec<_>>(),
    });
    serde_json::to_vec(&envelope).expect("JSON")
}

/// From a key's file over the log to an endpoint's verdict.
#[test]
fn keys_of_every_family_publish() {
    for (name, file) in [
        ("ed25519", "ed25519.ssh"),
        ("ml-dsa-44", "ml-dsa-44.pem"),
        ("ecdsa-p256", "ecdsa-p256.crt.pem"),
        ("ecdsa-p384", "ecdsa-p384.ssh"),
        ("rsa-2048", "rsa-2048.ssh"),
        ("rsa-4096", "rsa-4096.pem"),
        ("rsa-pss-2048", "rsa-pss-2048.pem"),
    ] {
        let toml = publisher(name, &[], &[file]);
        let log = Served::release(&toml);
        let reply = log.post_for_proof("/add", &signed(&[name]));
        let policy = Policy::parse(format!("log {}\nquorum none\n", vkey()).as_bytes()).expect("a policy");
        let publishers = Publishers::parse(toml.as_bytes()).expect("publishers");
        let digest = Hash::from_hex(&"a".repeat(64)).expect("hex");
        let question = Question {
            artifact: Artifact::File { digest: &digest, name: None },
            proof: &reply.body,
            freshness: Freshness { now: 1_770_000_000, max_age: None },
            pins: Pins::default(),
        };
        let verdict = verify(&question, Trust { policy: &policy, publishers: &publishers, gate: &[] }, None);
        assert_eq!(verdict.expect(name).publisher(), name);
        let other = if name == "ed25519" { "ecdsa-p256" } else { "ed25519" };
        log.post("/add", &signed(&[other])).problem(403, "unknown-publisher");
    }
}

#[test]
fn a_log_refuses_a_statement_without_all_signatures() {
    let both = ["ed25519", "ml-dsa-44"];
    let log = Served::release(&publisher("vendor", &both, &["ed25519.pem", "ml-dsa-44.pem"]));
    for one in both {
        for (path, body) in [("/add", signed(&[one])), ("/add-batch", batch(&[signed(&[one])]))] {
            let detail = log.post(path, &body).problem(403, "signatures-missing");
            let says = format!("each of ed25519 and ml-dsa-44: expected all of them, saw {one}");
            assert!(detail.contains(&says), "{detail}");
        }
    }
    assert_eq!(log.tree_size(), 0);
    assert_eq!(log.post("/add", &signed(&both)).text(), "0");
    // Signatures by strangers change nothing.
    let answer = log.post_json("/add", &signed(&["ed25519", "ml-dsa-44", "rsa-2048"]));
    assert_eq!((&answer["index"], &answer["duplicate"]), (&0.into(), &true.into()));
}

/// A signature without a keyid is tried under keys of its form alone, and a slow one counts for more tries.
#[test]
fn signatures_without_a_keyid_find_their_keys_within_limits() {
    let keys = ["ed25519.pem", "ecdsa-p384.pem", "ecdsa-p256.pem", "ml-dsa-44.pem", "rsa-2048.pem"];
    let log = Served::release(&publisher("vendor", &[], &keys));
    let mut nameless: Value =
        serde_json::from_slice(&signed(&["rsa-2048", "ml-dsa-44", "ecdsa-p256"])).unwrap();
    for signature in nameless["signatures"].as_array_mut().unwrap() {
        signature["keyid"] = "".into();
    }
    assert_eq!(log.post("/add", nameless.to_string().as_bytes()).text(), "0");
    // Signatures of the right form that nobody made: eight of P-384 are more than a request may cost.
    let mut forged: Value = serde_json::from_slice(&signed(&["ecdsa-p384"; 8])).unwrap();
    forged["payload"] = STANDARD
        .encode(String::from_utf8(fixture("statement.json")).unwrap().replace("4.2.0", "4.2.9"))
        .into();
    for signature in forged["signatures"].as_array_mut().unwrap() {
        signature["keyid"] = "".into();
    }
    log.post("/add", forged.to_string().as_bytes()).problem(422, "keyid-needed");
}
