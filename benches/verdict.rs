//! The endpoint's verdict on a proof out of a log of ten million leaves with three cosigners, beside the
//! bare signature checks that it contains: the log's, the publisher's (always Ed25519), and three
//! witnesses'. With Ed25519 alone, with ML-DSA-44 alone, and with both, as `treehead` makes logs and
//! witnesses: then the verdict checks nine. And how large each proof file is, and what a memory of thousands
//! of packages and hundreds of withdrawals adds.
//!
//! Run with `cargo bench --bench verdict`.

#[path = "common/bare.rs"]
mod bare;

use std::fmt::Write as _;
use std::hint::black_box;
use std::time::{Duration, Instant};

use bare::{Secret, Signed};
use treehead::checkpoint::Checkpoint;
use treehead::checkpoint::cosignature::cosign;
use treehead::checkpoint::policy::Policy;
use treehead::endpoint::EndpointState;
use treehead::endpoint::{Artifact, Freshness, Pins, Question, Trust, verify};
use treehead::merkle::{Hash, LeafIndex, Plan, ProofError, TreeSize, verify_inclusion};
use treehead::note::{KeyName, Note, NoteSigner, SignatureType};
use treehead::proof::ProofFile;
use treehead::release::{
    Envelope, Kind, NewPublisher, PublisherSigner, Publishers, Purl, PurlPattern, Release, StatementKind,
    Subject,
};

/// As in the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const LEAVES: u64 = 10_000_000;
const ROUNDS: u32 = 2_000;
const TIME: u64 = 1_770_000_000;
/// The target: the verdict's time divided by that of the bare checks.
const GOAL: f64 = 1.05;
/// Packages that a large endpoint remembers, and withdrawals.
const PACKAGES: usize = 5_000;
const WITHDRAWALS: usize = 500;
/// The target for a memory: the verdict's time with it divided by that without.
const MEMORY_GOAL: f64 = 1.1;
/// About what is signed: a checkpoint or its cosigned message, and a statement.
const HEAD_BYTES: usize = 107;
const STATEMENT_BYTES: usize = 450;

/// The keys that sign heads.
#[derive(Clone, Copy)]
struct Case {
    name: &'static str,
    ed25519: bool,
    ml_dsa: bool,
}

fn main() {
    for case in [
        Case { name: "Ed25519", ed25519: true, ml_dsa: false },
        Case { name: "ML-DSA-44", ed25519: false, ml_dsa: true },
        Case { name: "both", ed25519: true, ml_dsa: true },
    ] {
        measure(case);
    }
    println!(
        "(medians of {ROUNDS} rounds, by turns; a tree of {LEAVES} leaves; the goal is at most {GOAL}; with a memory of\n\
         {PACKAGES} packages and {WITHDRAWALS} withdrawals, at most {MEMORY_GOAL} times as long)"
    );
}

fn measure(case: Case) {
    let publisher = PublisherSigner::from_seed(&[1; 32]);
    let log = case.signers("log.example.com", SignatureType::Ed25519, 2);
    let witnesses: Vec<NoteSigner> = (3..6)
        .flat_map(|seed| case.signers(&format!("w{seed}.example"), SignatureType::CosignatureEd25519, seed))
        .collect();
    let digest = Hash::digest(b"the artifact");
    let entry = entry(&publisher, digest);
    let proof = proof(&entry, &log, &witnesses).to_string();
    let (policy, publishers) = (policy(&log, &witnesses), publishers(&publisher));
    let question = Question {
        artifact: Artifact::File { digest: &digest, name: None },
        proof: proof.as_bytes(),
        freshness: Freshness { now: TIME, max_age: Some(86_400) },
        pins: Pins::default(),
    };
    let trust = Trust { policy: &policy, publishers: &publishers, gate: &[] };
    verify(&question, trust, None).expect("the proof is good");

    let signatures = case.signatures();
    assert_eq!(signatures.len(), 1 + log.len() + witnesses.len());
    let state = state(&proof);
    verify(&question, trust, Some(&state)).expect("nothing that is remembered is against it");
    let (mut bare, mut verdict, mut remembered) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let start = Instant::now();
        black_box(&signatures).iter().for_each(Signed::check);
        bare.push(start.elapsed());
        let start = Instant::now();
        black_box(verify(black_box(&question), trust, None)).expect("the proof is good");
        verdict.push(start.elapsed());
        let start = Instant::now();
        black_box(verify(black_box(&question), trust, Some(&state))).expect("the proof is good");
        remembered.push(start.elapsed());
    }
    // Medians, so that an interrupted round does not count.
    let median = |mut times: Vec<Duration>| {
        times.sort();
        times[times.len() / 2].as_secs_f64() * 1e6
    };
    let (bare, verdict, remembered) = (median(bare), median(verdict), median(remembered));
    println!(
        "{:10} {} bare checks {bare:>7.1} µs   verdict {verdict:>7.1} µs   ratio {:.2}   with a memory {:.2} of that   proof file {:>6} bytes",
        case.name,
        signatures.len(),
        verdict / bare,
        remembered / verdict,
        proof.len()
    );
}

impl Case {
    /// Signers of one name; `ed25519` says what the Ed25519 key is for.
    fn signers(self, name: &str, ed25519: SignatureType, seed: u8) -> Vec<NoteSigner> {
        let kinds = [(self.ed25519, ed25519), (self.ml_dsa, SignatureType::CosignatureMlDsa44)];
        kinds.iter().filter(|(has, _)| *has).map(|(_, kind)| signer(name, *kind, seed)).collect()
    }

    /// As many signatures as the verdict checks, by as many keys, over messages as long. One signature
    /// checked again and again would be one that the processor knows.
    fn signatures(self) -> Vec<Signed> {
        let mut signatures = vec![Secret::ed25519(11).signed(11, STATEMENT_BYTES)];
        for seed in 7..11 {
            if self.ed25519 {
                signatures.push(Secret::ed25519(seed).signed(seed, HEAD_BYTES));
            }
            if self.ml_dsa {
                signatures.push(Secret::ml_dsa_44(seed).signed(seed, HEAD_BYTES));
            }
        }
        signatures
    }
}

/// A memory written by hand, as version 2, which has no checksum: what it holds was believed once, and is not checked
/// again.
fn state(proof: &str) -> EndpointState {
    let checkpoint = ProofFile::parse(proof.as_bytes()).expect("a proof file").checkpoint;
    let head = Checkpoint::parse(checkpoint.text()).expect("a checkpoint");
    let waiting: Vec<String> =
        (1..16).map(|n| format!("{{\"size\":{n},\"root\":\"{}\"}}", head.root.to_base64())).collect();
    let sequence = |n| {
        let package = format!("pkg:generic/example/tool-{n:05}");
        format!(
            "{{\"publisher\":\"example-vendor\",\"package\":\"{package}\",\"channel\":\"stable\",\"sequence\":{n}}}"
        )
    };
    let withdrawal = |n: usize| {
        let leaf = Hash::digest(&n.to_be_bytes()).to_base64();
        format!(
            "{{\"origin\":\"log.example.com\",\"index\":{n},\"leaf\":\"{leaf}\",\"publisher\":\"example-vendor\",\
             \"purl\":\"pkg:generic/example/tool@{n}\",\"artifacts\":\"{leaf}\",\"reason\":\"it deletes what it scans\",\"statement\":\"{leaf}\"}}"
        )
    };
    let note = format!("{:?}", checkpoint.to_string());
    let text = format!(
        "{{\"version\":2,\"logs\":[{{\"origin\":\"log.example.com\",\"proven\":{{\"size\":{},\"root\":\"{}\",\"note\":{note}}},\
         \"unproven\":[{}]}}],\"sequences\":[{}],\"withdrawals\":[{}]}}",
        head.size,
        head.root.to_base64(),
        waiting.join(","),
        (0..PACKAGES).map(sequence).collect::<Vec<_>>().join(","),
        (0..WITHDRAWALS).map(withdrawal).collect::<Vec<_>>().join(","),
    );
    EndpointState::parse(text.as_bytes()).expect("a memory")
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
        location: None,
        log: None,
    };
    let payload = release.to_payload().expect("a sound statement");
    Envelope::sign(payload, &[publisher]).expect("one signer").to_entry()
}

/// A proof of the right length over made-up siblings: it costs what a real one costs.
fn proof(entry: &[u8], log: &[NoteSigner], witnesses: &[NoteSigner]) -> ProofFile {
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
    let head = Checkpoint::new(log[0].public().name().clone(), size, seen);
    let line = |signer: &NoteSigner| match signer.public().kind() {
        SignatureType::Ed25519 => head.sign(signer).signatures()[0].to_string(),
        _ => cosign(&head, signer, TIME).to_string(),
    };
    let lines: String = log.iter().chain(witnesses).map(line).collect();
    let checkpoint = Note::parse(format!("{head}\n{lines}").as_bytes()).expect("a note");
    ProofFile { extra: Some(entry.to_vec()), index, proof, checkpoint }
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

fn publishers(publisher: &PublisherSigner) -> Publishers {
    let pattern = PurlPattern::parse("pkg:generic/example/*").expect("a pattern");
    let new = NewPublisher {
        name: "example-vendor",
        key: &publisher.public_key(),
        purls: &[pattern],
        kinds: &StatementKind::RELEASES,
    };
    Publishers::parse(new.append_to("").expect("one publisher").as_bytes()).expect("one publisher")
}
