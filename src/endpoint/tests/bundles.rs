//! Verdicts by bundles, and the gate of a trust file.

use super::*;
use crate::proof::ProofBundle;
use crate::release::PurlPattern;

const OTHER: &[u8] = b"the other artifact's bytes";

/// A log of eight leaves, in which a release, its attestations and others stand.
struct World {
    policy: Policy,
    publishers: Publishers,
    gate: Vec<Requirement>,
    entries: Vec<Vec<u8>>,
}

fn summary(artifact: &[u8], result: &str, seed: u8) -> Vec<u8> {
    let digest = Hash::digest(artifact).to_hex();
    let payload = format!(
        r#"{{"_type":"https://in-toto.io/Statement/v1","subject":[{{"digest":{{"sha256":"{digest}"}}}}],"predicateType":"https://slsa.dev/verification_summary/v1","predicate":{{"verifier":{{"id":"https://v"}},"timeVerified":"{}","resourceUri":"pkg:generic/example/scanner@4.2.0","policy":{{"uri":"https://p"}},"verificationResult":"{result}","verifiedLevels":[]}}}}"#,
        format_time(COSIGNED)
    );
    Envelope::sign(payload.into_bytes(), &[&publisher_signer(seed)]).unwrap().to_entry()
}

impl World {
    /// Two rebuilders are asked for, and agree.
    fn new() -> Self {
        let scene = Scene::good();
        let rebuilder = |name, seed| {
            let kinds = ["verification-summary"];
            publisher_toml(name, &[&publisher_signer(seed)], &["pkg:generic/example/*"], &kinds)
        };
        let publishers = scene.publishers + &rebuilder("a", 2) + &rebuilder("b", 3);
        let signed = |release: &Release| signed_entry(release, &[&publisher_signer(1)]);
        let other = Release { sequence: 8, ..sample_release(OTHER) };
        let gate = Requirement {
            purls: vec![PurlPattern::parse("pkg:generic/example/*").unwrap()],
            kinds: Vec::new(),
            attestation: StatementKind::VerificationSummary,
            from: vec!["a".to_owned(), "b".to_owned()],
            at_least: 2,
            says: Conditions { result: Some("PASSED".to_owned()), ..Conditions::default() },
        };
        let entries = vec![
            b"no statement".to_vec(),
            signed(&sample_release(ARTIFACT)),
            summary(ARTIFACT, "PASSED", 2),
            summary(ARTIFACT, "PASSED", 3),
            signed(&other),
            summary(ARTIFACT, "PASSED", 9),
            summary(OTHER, "PASSED", 2),
            summary(ARTIFACT, "FAILED", 3),
        ];
        Self {
            policy: Policy::parse(scene.policy.as_bytes()).unwrap(),
            publishers: Publishers::parse(publishers.as_bytes()).unwrap(),
            gate: vec![gate],
            entries,
        }
    }

    fn files(&self, of: &[u64]) -> Vec<ProofFile> {
        let leaves: Vec<Hash> = self.entries.iter().map(|entry| Hash::leaf(entry)).collect();
        let edge = RightEdge::default().grow(&leaves).edge;
        let log = log_key("example.com/log");
        let head = Checkpoint::new(log.public().name().clone(), edge.size(), edge.root());
        let mut checkpoint = head.sign(&log);
        [1, 2].iter().for_each(|seed| checkpoint.push(cosign(&head, &witness(*seed), COSIGNED)));
        let file = |at: &u64| {
            let index = LeafIndex::new(*at).unwrap();
            let proof = Plan::inclusion(index, edge.size()).unwrap().fetch(&OneTile(&leaves)).unwrap();
            let extra = Some(self.entries[usize::try_from(*at).unwrap()].clone());
            ProofFile { extra, index, proof, checkpoint: checkpoint.clone() }
        };
        of.iter().map(file).collect()
    }

    fn bundle(&self, of: &[u64]) -> String {
        ProofBundle::join(&self.files(of)).unwrap().to_string()
    }

    fn trust(&self) -> Trust<'_> {
        Trust { policy: &self.policy, publishers: &self.publishers, gate: &self.gate }
    }

    fn ask(&self, proof: &[u8], artifact: &[u8]) -> Result<VerifiedRelease, Refusal> {
        let digest = Hash::digest(artifact);
        let freshness = Freshness { now: COSIGNED + 100, max_age: None };
        let question = Question { artifact: unnamed(&digest), proof, freshness, pins: Pins::default() };
        verify(&question, self.trust(), None)
    }
}

#[test]
fn a_bundle_with_the_attestations_that_are_asked_for_is_accepted() {
    let world = World::new();
    let accepted = world.ask(world.bundle(&[1, 2, 3]).as_bytes(), ARTIFACT).unwrap();
    assert_eq!((accepted.index().get(), accepted.publisher()), (1, "vendor"));
    // What is not asked for changes nothing, whoever signed it.
    let more = world.bundle(&[0, 1, 2, 3, 4, 5, 6]);
    assert_eq!(world.ask(more.as_bytes(), ARTIFACT).unwrap().index().get(), 1);
    let refusal = |of: &[u64], artifact| world.ask(world.bundle(of).as_bytes(), artifact).unwrap_err();
    for (of, says) in [
        (&[1][..], "saw none; missing a, b"),
        (&[1, 2], "saw a; missing b"),
        (&[1, 2, 5], "saw a; missing b"),
        (&[1, 3, 6], "saw b; missing a"),
        (&[1, 2, 3, 7], "saw a; missing b (another result, at leaf 7)"),
    ] {
        let refusal = refusal(of, ARTIFACT);
        assert_eq!(refusal.code(), VerdictCode::Attestations);
        assert_eq!(refusal.to_string(), format!("verification-summary by 2 of (a, b): {says}"));
    }
    assert_eq!(refusal(&[2, 3], ARTIFACT).code(), VerdictCode::NotARelease);
    // A proof file has no room for attestations.
    let file = world.files(&[1]).remove(0).to_string();
    assert_eq!(world.ask(file.as_bytes(), ARTIFACT).unwrap_err().code(), VerdictCode::Attestations);
    // Nothing is asked about another package.
    let free = World {
        gate: vec![Requirement {
            purls: vec![PurlPattern::parse("pkg:generic/other/*").unwrap()],
            ..world.gate[0].clone()
        }],
        ..World::new()
    };
    assert!(free.ask(file.as_bytes(), ARTIFACT).is_ok());
}

#[test]
fn each_artifact_of_a_bundle_is_judged_by_its_own_release() {
    let world = World { gate: Vec::new(), ..World::new() };
    let bundle = world.bundle(&[1, 4]);
    let index = |artifact| world.ask(bundle.as_bytes(), artifact).map(|accepted| accepted.index().get());
    assert_eq!((index(ARTIFACT), index(OTHER)), (Ok(1), Ok(4)));
    assert_eq!(index(b"another").unwrap_err().code(), VerdictCode::ArtifactMismatch);
    let digest = Hash::digest(OTHER);
    let stated = stated(bundle.as_bytes(), unnamed(&digest), world.trust()).unwrap();
    assert_eq!((stated.index.get(), stated.origin.as_str()), (4, "example.com/log"));
    assert_eq!(Proven::open(bundle.as_bytes(), world.trust()).unwrap().count(), 2);
    // The newest release with the artifact that is accepted: one for an audience hides none for everyone.
    let mut again = World { gate: Vec::new(), ..World::new() };
    let newer = Release { sequence: 9, ..sample_release(ARTIFACT) };
    again.entries[5] = signed_entry(&newer, &[&publisher_signer(1)]);
    let limited = Release { audience: Some("one".to_owned()), sequence: 10, ..newer };
    again.entries[6] = signed_entry(&limited, &[&publisher_signer(1)]);
    let index =
        |of: &[u64]| again.ask(again.bundle(of).as_bytes(), ARTIFACT).map(|found| found.index().get());
    assert_eq!((index(&[1, 5]), index(&[1, 5, 6])), (Ok(5), Ok(5)));
    assert_eq!(index(&[6]).unwrap_err().code(), VerdictCode::OtherAudience);
}

#[test]
fn a_withdrawal_in_the_same_bundle_counts() {
    let mut world = World { gate: Vec::new(), ..World::new() };
    let release = sample_release(ARTIFACT);
    let withdrawal = |seed| {
        let withdrawal = Withdrawal {
            index: LeafIndex::new(1).unwrap(),
            leaf: Hash::leaf(&world.entries[1]),
            purl: release.purl.clone(),
            subjects: release.subjects.clone(),
            reason: "it deletes files".to_owned(),
            log: None,
        };
        Envelope::sign(withdrawal.to_payload().unwrap(), &[&publisher_signer(seed)]).unwrap().to_entry()
    };
    let (vendors, strangers) = (withdrawal(1), withdrawal(9));
    world.entries[5] = vendors;
    world.entries[6] = strangers;
    assert!(world.ask(world.bundle(&[1, 6]).as_bytes(), ARTIFACT).is_ok());
    let refusal = world.ask(world.bundle(&[1, 5]).as_bytes(), ARTIFACT).unwrap_err();
    assert_eq!(refusal.code(), VerdictCode::Withdrawn);
    assert!(refusal.to_string().contains("it deletes files"), "{refusal}");
}

#[test]
fn every_flipped_byte_of_a_bundle_is_refused() {
    let world = World::new();
    let good = world.bundle(&[1, 2, 3]).into_bytes();
    assert!(world.ask(&good, ARTIFACT).is_ok());
    for at in 0..good.len() {
        let mut bytes = good.clone();
        bytes[at] ^= 1 << (at % 8);
        assert!(world.ask(&bytes, ARTIFACT).is_err(), "byte {at}");
    }
    for at in (0..good.len()).step_by(7) {
        assert!(world.ask(&good[..at], ARTIFACT).is_err(), "cut at {at}");
    }
}

#[test]
fn a_bundle_of_another_head_and_without_quorum_is_refused_as_a_proof_file_is() {
    let world = World { gate: Vec::new(), ..World::new() };
    let good = world.bundle(&[1, 2]);
    let code = |bundle: &str| world.ask(bundle.as_bytes(), ARTIFACT).unwrap_err().code();
    assert_eq!(
        code(&good.replace("example.com/log\n8\n", "example.com/log\n9\n")),
        VerdictCode::CheckpointSignature
    );
    assert_eq!(code(&good.replace("example.com/log", "example.com/lag")), VerdictCode::UnknownLog);
    let line = good.lines().last().unwrap();
    assert_eq!(code(&good.replace(&format!("{line}\n"), "")), VerdictCode::NoQuorum);
    assert_eq!(code(&good.replace("entry 2 ", "entry 3 ")), VerdictCode::NotIncluded);
    assert_eq!(code(&good.replace("entry 2 ", "entry 9 ")), VerdictCode::NotIncluded);
    assert_eq!(code(&good.replace("entry 2 ", "entry 0 ")), VerdictCode::ProofMalformed);
}
