//! Bundles beside proof files, out of a log of ten million leaves with three cosigners: ten releases, and a release with
//! three attestations that a gate asks for. How large they are, and how long a verdict takes.
//!
//! Run with `cargo bench --no-default-features --features std --bench bundles`.

use std::fmt::Write as _;
use std::hint::black_box;
use std::time::Instant;

use treehead::checkpoint::Checkpoint;
use treehead::checkpoint::cosignature::cosign;
use treehead::checkpoint::policy::Policy;
use treehead::endpoint::{
    Artifact, Conditions, Freshness, Pins, Proven, Question, Requirement, Trust, verify,
};
use treehead::merkle::{Hash, LeafIndex, TreeSize};
use treehead::note::{KeyName, Note, NoteSigner, SignatureType};
use treehead::proof::{ProofBundle, ProofFile};
use treehead::release::{
    Envelope, Kind, NewPublisher, PublisherSigner, Publishers, Purl, PurlPattern, Release, StatementKind,
    Subject, format_time,
};

const LEAVES: u64 = 10_000_000;
const ROUNDS: u32 = 500;
const TIME: u64 = 1_770_000_000;

fn main() {
    for (name, ed25519, ml_dsa) in [("Ed25519", true, false), ("both", true, true)] {
        measure(name, ed25519, ml_dsa);
    }
    println!(
        "(medians of {ROUNDS} rounds; a tree of {LEAVES} leaves; three cosigners; bytes of whole files)"
    );
}

fn measure(name: &str, ed25519: bool, ml_dsa: bool) {
    let signers = |name: &str, first: SignatureType, seed: u8| -> Vec<NoteSigner> {
        let kinds = [(ed25519, first), (ml_dsa, SignatureType::CosignatureMlDsa44)];
        let name = KeyName::new(name).expect("a name");
        kinds
            .iter()
            .filter(|(has, _)| *has)
            .map(|(_, kind)| NoteSigner::from_seed(name.clone(), *kind, &[seed; 32]))
            .collect()
    };
    let log = signers("log.example.com", SignatureType::Ed25519, 2);
    let witnesses: Vec<NoteSigner> = (3..6)
        .flat_map(|seed| signers(&format!("w{seed}.example"), SignatureType::CosignatureEd25519, seed))
        .collect();
    let (policy, publishers) = (policy(&log, &witnesses), publishers());
    let releases: Vec<Vec<u8>> = (0..10).map(release).collect();
    let together: Vec<u64> = (0..10).map(|at| LEAVES / 3 + at).collect();
    let apart: Vec<u64> = (0..10).map(|at| LEAVES / 11 * (at + 1)).collect();
    let files = files(&together, &releases, &log, &witnesses);
    let ten: usize = files.iter().map(|file| file.to_string().len()).sum();
    let bundle = ProofBundle::join(&files).expect("one head").to_string();
    let spread = ProofBundle::join(&self::files(&apart, &releases, &log, &witnesses)).expect("one head");
    println!(
        "{name:8} ten releases: ten proof files {ten:>7} bytes   one bundle {:>6} ({:.2})   of leaves far apart {:>6} ({:.2})",
        bundle.len(),
        ratio(bundle.len(), ten),
        spread.to_string().len(),
        ratio(spread.to_string().len(), ten)
    );
    let attested: Vec<Vec<u8>> = [release(0)].into_iter().chain((0..3).map(summary)).collect();
    let four = self::files(&[1_000, 400_000, 5_000_000, 9_000_000], &attested, &log, &witnesses);
    let separate: usize = four.iter().map(|file| file.to_string().len()).sum();
    let attested = ProofBundle::join(&four).expect("one head").to_string();
    println!(
        "{name:8} a release with three attestations: four proof files {separate:>6} bytes   one bundle {:>6} ({:.2})",
        attested.len(),
        ratio(attested.len(), separate)
    );

    let gate = [gate()];
    let without = Trust { policy: &policy, publishers: &publishers, gate: &[] };
    let with = Trust { gate: &gate, ..without };
    let digests: Vec<Hash> = (0..10).map(digest).collect();
    let texts: Vec<String> = files.iter().map(ToString::to_string).collect();
    let file = |at: usize| question(&digests[at], texts[at].as_bytes());
    let of_bundle = |at: usize| question(&digests[at], bundle.as_bytes());
    let asked = question(&digests[0], attested.as_bytes());
    let alone = median(|| drop(black_box(verify(&file(0), without, None).expect("it is good"))));
    let plain = median(|| drop(black_box(verify(&asked, without, None).expect("it is good"))));
    let gated = median(|| drop(black_box(verify(&asked, with, None).expect("it is good"))));
    println!(
        "{name:8} a verdict: proof file {alone:>7.1} µs   bundle with attestations {plain:>7.1} µs   with a gate that asks for all three {gated:>7.1} µs"
    );
    let each = median(|| (0..10).for_each(|at| drop(verify(&file(at), without, None).expect("it is good"))));
    let once = median(|| {
        let proven = Proven::open(bundle.as_bytes(), without).expect("it is good");
        (0..10).for_each(|at| drop(proven.judge(&of_bundle(at), None).expect("it is good")));
    });
    println!(
        "{name:8} ten verdicts: ten proof files {each:>8.1} µs   one bundle, opened once {once:>8.1} µs"
    );
}

#[expect(clippy::cast_precision_loss, reason = "sizes of files")]
fn ratio(bytes: usize, of: usize) -> f64 {
    bytes as f64 / of as f64
}

fn median(work: impl Fn()) -> f64 {
    let time = |_| {
        let start = Instant::now();
        work();
        start.elapsed()
    };
    let mut times: Vec<_> = (0..ROUNDS).map(time).collect();
    times.sort();
    times[times.len() / 2].as_secs_f64() * 1e6
}

fn question<'a>(digest: &'a Hash, proof: &'a [u8]) -> Question<'a> {
    Question {
        artifact: Artifact::File { digest, name: None },
        proof,
        freshness: Freshness { now: TIME, max_age: Some(86_400) },
        pins: Pins::default(),
    }
}

fn digest(at: u64) -> Hash {
    Hash::digest(&at.to_be_bytes())
}

fn release(at: u64) -> Vec<u8> {
    let release = Release {
        subjects: vec![Subject { name: format!("scanner-{at}.tar.gz"), sha256: digest(at) }],
        purl: Purl::parse(&format!("pkg:generic/example/scanner@4.2.{at}")).expect("a purl"),
        kind: Kind::Build,
        channel: "stable".to_owned(),
        sequence: 42 + at,
        source: None,
        manifest: None,
        audience: None,
        location: None,
        log: None,
    };
    let payload = release.to_payload().expect("a sound statement");
    Envelope::sign(payload, &[&PublisherSigner::from_seed(&[1; 32])]).expect("one signer").to_entry()
}

/// The summary of a rebuilder, about the first release.
fn summary(by: u8) -> Vec<u8> {
    let (hex, time) = (digest(0).to_hex(), format_time(TIME));
    let payload = format!(
        r#"{{"_type":"https://in-toto.io/Statement/v1","predicate":{{"policy":{{"uri":"https://rebuilders.example/bit-by-bit"}},"resourceUri":"pkg:generic/example/scanner@4.2.0","timeVerified":"{time}","verificationResult":"PASSED","verifiedLevels":["SLSA_BUILD_LEVEL_3"],"verifier":{{"id":"https://rebuilder-{by}.example"}}}},"predicateType":"https://slsa.dev/verification_summary/v1","subject":[{{"digest":{{"sha256":"{hex}"}},"name":"scanner-0.tar.gz"}}]}}"#
    );
    let signer = PublisherSigner::from_seed(&[10 + by; 32]);
    Envelope::sign(payload.into_bytes(), &[&signer]).expect("one signer").to_entry()
}

fn gate() -> Requirement {
    Requirement {
        purls: vec![PurlPattern::parse("pkg:generic/example/*").expect("a pattern")],
        kinds: Vec::new(),
        attestation: StatementKind::VerificationSummary,
        from: (0..3).map(|by| format!("rebuilder-{by}")).collect(),
        at_least: 3,
        says: Conditions {
            result: Some("PASSED".to_owned()),
            levels: vec!["SLSA_BUILD_LEVEL_3".to_owned()],
            max_age: Some(86_400),
            ..Conditions::default()
        },
    }
}

fn publishers() -> Publishers {
    let pattern = PurlPattern::parse("pkg:generic/example/*").expect("a pattern");
    let mut file = String::new();
    let mut add = |name: &str, seed: u8, kinds: &[StatementKind]| {
        let signer = PublisherSigner::from_seed(&[seed; 32]);
        let key = &signer.public_key();
        let new = NewPublisher { name, key, purls: std::slice::from_ref(&pattern), kinds };
        file = new.append_to(&file).expect("a new publisher");
    };
    add("example-vendor", 1, &StatementKind::RELEASES);
    (0..3).for_each(|by| add(&format!("rebuilder-{by}"), 10 + by, &[StatementKind::VerificationSummary]));
    Publishers::parse(file.as_bytes()).expect("publishers")
}

/// All witnesses have to cosign, with all their keys.
fn policy(log: &[NoteSigner], witnesses: &[NoteSigner]) -> Policy {
    let mut text: String = log.iter().map(|key| format!("log {}\n", key.public())).collect();
    for (at, witness) in witnesses.iter().enumerate() {
        writeln!(text, "witness w{at} {}", witness.public()).expect("strings take everything");
    }
    let names: Vec<String> = (0..witnesses.len()).map(|at| format!("w{at}")).collect();
    text += &format!("group all all {}\nquorum all\n", names.join(" "));
    Policy::parse(text.as_bytes()).expect("a sound policy")
}

/// Proof files of leaves in a tree whose other leaves are made up.
fn files(at: &[u64], entries: &[Vec<u8>], log: &[NoteSigner], witnesses: &[NoteSigner]) -> Vec<ProofFile> {
    let leaves: Vec<(u64, Hash)> =
        at.iter().zip(entries).map(|(at, entry)| (*at, Hash::leaf(entry))).collect();
    let size = TreeSize::new(LEAVES).expect("a size");
    let head = Checkpoint::new(log[0].public().name().clone(), size, subtree(0, LEAVES, &leaves));
    let line = |signer: &NoteSigner| match signer.public().kind() {
        SignatureType::Ed25519 => head.sign(signer).signatures()[0].to_string(),
        _ => cosign(&head, signer, TIME).to_string(),
    };
    let lines: String = log.iter().chain(witnesses).map(line).collect();
    let checkpoint = Note::parse(format!("{head}\n{lines}").as_bytes()).expect("a note");
    let file = |(at, entry): (&u64, &Vec<u8>)| ProofFile {
        extra: Some(entry.clone()),
        index: LeafIndex::new(*at).expect("an index"),
        proof: path(*at, &leaves),
        checkpoint: checkpoint.clone(),
    };
    at.iter().zip(entries).map(file).collect()
}

/// The middle of a subtree of at least two leaves, as RFC 6962 splits it.
const fn middle(from: u64, to: u64) -> u64 {
    from + (1 << (u64::BITS - 1 - (to - from - 1).leading_zeros()))
}

fn subtree(from: u64, to: u64, leaves: &[(u64, Hash)]) -> Hash {
    let mut within = leaves.iter().filter(|(at, _)| (from..to).contains(at));
    match within.next() {
        None => Hash::leaf(format!("{from} to {to}").as_bytes()),
        Some((_, leaf)) if to - from == 1 => *leaf,
        Some(_) => {
            let middle = middle(from, to);
            Hash::node(&subtree(from, middle, leaves), &subtree(middle, to, leaves))
        }
    }
}

fn path(at: u64, leaves: &[(u64, Hash)]) -> Vec<Hash> {
    let (mut from, mut to, mut path) = (0, LEAVES, Vec::new());
    while to - from > 1 {
        let middle = middle(from, to);
        if at < middle {
            path.push(subtree(middle, to, leaves));
            to = middle;
        } else {
            path.push(subtree(from, middle, leaves));
            from = middle;
        }
    }
    path.reverse();
    path
}
