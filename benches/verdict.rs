//! The endpoint's verdict on a proof out of a log of ten million leaves, beside the bare signature
//! checks that it contains: the log's, the publisher's, and three witnesses'.
//!
//! Run with `cargo bench --bench verdict`.

use std::fmt::Write as _;
use std::hint::black_box;
use std::time::{Duration, Instant};

use ed25519_dalek::{Signature, Signer as _, SigningKey, Verifier as _, VerifyingKey};
use treehead::checkpoint::Checkpoint;
use treehead::cosignature::cosign;
use treehead::merkle::{Hash, LeafIndex, Plan, ProofError, TreeSize, verify_inclusion};
use treehead::note::{KeyName, NoteSigner, SignatureType};
use treehead::policy::Policy;
use treehead::proof_file::ProofFile;
use treehead::release::{
    Envelope, Kind, NewPublisher, PublisherSigner, Publishers, Purl, PurlPattern, Release, Subject,
};
use treehead::verify::{Artifact, Freshness, Question, verify};

const LEAVES: u64 = 10_000_000;
const ROUNDS: u32 = 2_000;

fn main() {
    let publisher = PublisherSigner::from_seed(&[1; 32]);
    let log = signer("log.example.com", SignatureType::Ed25519, 2);
    let witnesses: Vec<NoteSigner> = (3..6)
        .map(|seed| signer(&format!("w{seed}.example"), SignatureType::CosignatureEd25519, seed))
        .collect();
    let digest = Hash::digest(b"the artifact");
    let entry = entry(&publisher, digest);
    let proof = proof(&entry, &log, &witnesses).to_string();
    let (policy, publishers) = (policy(&log, &witnesses), publishers(&publisher));
    let question = Question {
        artifact: Artifact::File(&digest),
        proof: proof.as_bytes(),
        policy: &policy,
        publishers: &publishers,
        freshness: Freshness { now: 1_770_000_000, max_age: Some(86_400) },
        state: None,
        package: None,
    };
    verify(&question).expect("the proof is good");

    let five = five_signatures();
    let (mut bare, mut verdict) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let start = Instant::now();
        for (key, message, signature) in black_box(&five) {
            key.verify(message, signature).expect("the signature is good");
        }
        bare.push(start.elapsed());
        let start = Instant::now();
        black_box(verify(black_box(&question))).expect("the proof is good");
        verdict.push(start.elapsed());
    }
    // Medians: what interrupts a round is not its cost.
    let median = |mut times: Vec<Duration>| {
        times.sort();
        times[times.len() / 2].as_secs_f64() * 1e6
    };
    let (bare, verdict) = (median(bare), median(verdict));
    println!("five bare Ed25519 checks         {bare:>8.1} µs");
    println!("verdict, 3 cosigners, 10M leaves {verdict:>8.1} µs");
    println!("ratio                            {:>8.2}", verdict / bare);
    println!("proof file                       {:>8} bytes", proof.len());
}

/// Five signatures by five keys, over messages as long as the verdict's: the log's, three witnesses', the
/// publisher's. One signature checked again and again would be one that the processor knows.
fn five_signatures() -> Vec<(VerifyingKey, Vec<u8>, Signature)> {
    let signed = |(seed, length): (u8, usize)| {
        let (key, message) = (SigningKey::from_bytes(&[seed; 32]), vec![seed; length]);
        let signature = key.sign(&message);
        (key.verifying_key(), message, signature)
    };
    [(7, 80), (8, 110), (9, 110), (10, 110), (11, 450)].map(signed).to_vec()
}

fn signer(name: &str, kind: SignatureType, seed: u8) -> NoteSigner {
    NoteSigner::from_seed(KeyName::new(name).expect("a name"), kind, &[seed; 32])
}

fn entry(publisher: &PublisherSigner, sha256: Hash) -> Vec<u8> {
    let release = Release {
        subjects: vec![Subject { name: "scanner.tar.gz".to_owned(), sha256 }],
        purl: Purl::parse("pkg:generic/example/scanner@4.2.0").expect("a purl"),
        kind: Kind::Build,
        channel: "stable".to_owned(),
        sequence: 42,
        source: None,
        manifest: None,
        audience: None,
    };
    let payload = release.to_payload().expect("a sound statement");
    Envelope::sign(payload, &[publisher]).expect("one signer").to_entry()
}

/// A proof of the right length over made-up siblings: it costs what a real one costs.
fn proof(entry: &[u8], log: &NoteSigner, witnesses: &[NoteSigner]) -> ProofFile {
    let size = TreeSize::new(LEAVES).expect("a size");
    let index = LeafIndex::new(LEAVES / 3).expect("an index");
    let plan = Plan::inclusion(index, size).expect("in range");
    let nodes: Vec<Hash> = plan.nodes().map(|node| Hash::leaf(format!("{node:?}").as_bytes())).collect();
    let proof = plan.fold(&nodes);
    let Err(ProofError::RootMismatch { seen, .. }) =
        verify_inclusion(index, size, &Hash::leaf(entry), &proof, &Hash::EMPTY_ROOT)
    else {
        unreachable!("the root is computed here")
    };
    let head = Checkpoint::new(log.public().name().clone(), size, seen);
    let mut note = head.sign(log);
    for witness in witnesses {
        note.push(cosign(&head, witness, 1_770_000_000));
    }
    ProofFile { extra: Some(entry.to_vec()), index, proof, checkpoint: note }
}

fn policy(log: &NoteSigner, witnesses: &[NoteSigner]) -> Policy {
    let mut text = format!("log {}\n", log.public());
    for (at, witness) in witnesses.iter().enumerate() {
        writeln!(text, "witness w{at} {}", witness.public()).expect("strings take everything");
    }
    text += "group all all w0 w1 w2\nquorum all\n";
    Policy::parse(text.as_bytes()).expect("a sound policy")
}

fn publishers(publisher: &PublisherSigner) -> Publishers {
    let pattern = PurlPattern::parse("pkg:generic/example/*").expect("a pattern");
    let pem = publisher.public_pem();
    let new = NewPublisher { name: "example-vendor", pem: &pem, purls: &[pattern], kinds: &Kind::ALL };
    Publishers::parse(new.append_to("").expect("one publisher").as_bytes()).expect("one publisher")
}
