//! Publishers and their statements. All keys come from fixed seeds: TEST KEYS, worth nothing.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use treehead::merkle::{Hash, LeafIndex};
use treehead::release::{Envelope, Kind, PublisherSigner, Purl, Release, Subject, Withdrawal};

pub fn publisher(seed: u8) -> PublisherSigner {
    PublisherSigner::from_seed(&[seed; 32])
}

/// One `[[publisher]]` of a publishers file.
pub fn publisher_toml(name: &str, seed: u8, purls: &[&str], kinds: &[&str]) -> String {
    let pem = publisher(seed).public_pem();
    format!(
        "[[publisher]]\nname = {name:?}\npurls = {purls:?}\nkinds = {kinds:?}\n\n[[publisher.key]]\npem = '''\n{pem}'''\n\n"
    )
}

/// `vendor`, with the key of seed 1, may release builds and updates of all packages under
/// `pkg:generic/example/`.
pub fn vendor_toml() -> String {
    publisher_toml("vendor", 1, &["pkg:generic/example/*"], &["build", "update"])
}

/// A build with one artifact, whose bytes are `content`.
pub fn release(purl: &str, sequence: u64, content: &str) -> Release {
    Release {
        subjects: vec![Subject { name: "scanner.bin".to_owned(), sha256: Hash::digest(content.as_bytes()) }],
        purl: Purl::parse(purl).expect("a purl"),
        kind: Kind::Build,
        channel: "stable".to_owned(),
        sequence,
        source: None,
        manifest: None,
        audience: None,
        location: None,
        log: None,
    }
}

/// Version `n` of the scanner, with its own artifact.
pub fn scanner(n: u64) -> Release {
    release(&format!("pkg:generic/example/scanner@{n}.0"), n, &format!("scanner {n}"))
}

/// An entry with `release`, signed with the key of `seed`.
pub fn signed(release: &Release, seed: u8) -> Vec<u8> {
    signed_payload(release.to_payload().expect("a good release"), seed)
}

/// Like `entry`, for any payload.
pub fn signed_payload(payload: Vec<u8>, seed: u8) -> Vec<u8> {
    Envelope::sign(payload, &[&publisher(seed)]).expect("an envelope").to_entry()
}

/// The withdrawal of the release `entry` at leaf `index`.
pub fn withdrawal(index: u64, entry: &[u8]) -> Withdrawal {
    let index = LeafIndex::new(index).expect("an index");
    Withdrawal::of(index, entry, "it crashes on start").expect("a release")
}

/// An entry with `withdrawal`, signed with the key of `seed`.
pub fn signed_withdrawal(withdrawal: &Withdrawal, seed: u8) -> Vec<u8> {
    signed_payload(withdrawal.to_payload().expect("a good withdrawal"), seed)
}

/// The statement of `release` as JSON, for tests to change.
pub fn statement(release: &Release) -> Value {
    serde_json::from_slice(&release.to_payload().expect("a good release")).expect("JSON")
}

/// Signs a changed statement. Plain ASCII objects with sorted keys, like these, print
/// canonically.
pub fn signed_statement(statement: &Value, seed: u8) -> Vec<u8> {
    signed_payload(serde_json::to_vec(statement).expect("JSON"), seed)
}

/// A subject of a statement.
pub fn subject(name: &str) -> Value {
    json!({ "digest": { "sha256": Hash::digest(name.as_bytes()).to_hex() }, "name": name })
}

/// An unchecked envelope, such as the library refuses to make.
pub fn raw_envelope(payload: &[u8], signature: &str, seed: u8) -> Vec<u8> {
    let signature = json!({ "keyid": publisher(seed).keyid().to_hex(), "sig": signature });
    let envelope = json!({
        "payload": STANDARD.encode(payload), "payloadType": "application/vnd.in-toto+json",
        "signatures": [signature],
    });
    serde_json::to_vec(&envelope).expect("JSON")
}
